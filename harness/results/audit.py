"""Check that the parts of an entry agree: numbers, bits, digests, completions, loss history, solutions."""

import hashlib
import re
from collections.abc import Sequence

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import decode_record, digest, parse_time, to_json_value
from baseline_bench.core.types import Judgement, Step
from baseline_bench.core.untrusted import parse_json
from baseline_bench.results import answers, item_metrics
from baseline_bench.results.bits import Bits, bits_to_hex
from baseline_bench.results.candidate import Candidate, compute_final_loss
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.solutions import parse_likelihoods, summarise_likelihoods


def check_numbers(entry: Entry) -> list[str]:
    """Check at level L0, without other files, that numbers follow from bits and digests from their content."""
    result, problems = entry.result, []
    candidate = result.training.candidate if result.training is not None else None
    times = [entry.created] if candidate is None else [entry.created, candidate.created]
    problems += [
        f"created is no UTC time such as 2026-11-22T12:00:00Z: {time!r:.60}"
        for time in times
        if parse_time(time) is None
    ]
    if entry.result_sha256 != digest(result):
        problems.append("result_sha256 is not the digest of the result")
    for part in (result, result.task, result.selection, result.model, result.model.identity):
        for name, value in (to_json_value(part) or {}).items():
            if name.endswith("_sha256") and value is not None and not re.fullmatch("[0-9a-f]{64}", value):
                problems.append(f"{name} is no sha256: {value!r:.70}")
    if result.model.identity is not None and result.model.identity.template_sha256 != result.model.template_sha256:
        problems.append("the identity has another chat template than the model")
    numbers = [*to_json_value(entry.timings).values(), *entry.timings.phases.values()]
    if any(isinstance(number, int | float) and number < 0 for number in numbers):
        problems.append("a timing is negative")
    return problems + _check_selection(result) + _check_counts(result)


def _check_selection(result: Result) -> list[str]:
    selection = result.selection
    expected = selection.total if selection.limit is None else min(selection.limit, selection.total)
    if (
        selection.total >= 1
        and selection.scored == expected >= 1
        and (selection.limit is None) == (selection.seed is None)
    ):
        return []
    return [f"{selection.scored} of {selection.total} items scored does not fit limit and seed"]


def _check_counts(result: Result) -> list[str]:
    total = result.counts.total
    if total != result.selection.scored or total < 1:
        return ["counts.total does not follow from the selection"]
    try:
        counts = result.bits.counts(total)
    except ValueError as error:
        return [f"the bits are not those of {total} items: {error}"]
    if counts != result.counts:
        return [f"counts do not follow from the bits, which give {counts}"]
    if int(result.bits.correct, 16) & int(result.bits.unread, 16):
        return ["an item is both correct and unread"]
    return []


def check_completions(entry: Entry, completions: Sequence[CommittedCompletion], lines: bytes) -> list[str]:
    result, problems = entry.result, []
    if hashlib.sha256(lines).hexdigest() != result.completions_sha256:
        problems.append("completions_sha256 is not the digest of the completions")
    if digest([completion.id for completion in completions]) != result.selection.ids_sha256:
        problems.append("selection.ids_sha256 is not the digest of the completions' ids")
    if len({completion.id for completion in completions}) != len(completions):
        problems.append("an item has two completions")
    draws, checks = result.sampling.draws or 1, result.checks
    problems += item_metrics.check_item_metrics(entry, completions)
    if any(len(completion.more or ()) + 1 != draws for completion in completions):
        problems.append(f"an item has not the number of draws that its sampling asks for, {draws}")
    elif not all(map(_answer_starts_fit, completions)):
        problems.append("an answer does not start inside its text")
    elif checks is not None and checks.unfinished_thoughts != answers.count_unfinished_thoughts(completions):
        problems.append("unfinished_thoughts does not follow from the completions")
    if checks is not None and not _findings_match(checks.findings, completions):
        problems.append("findings do not follow from the completions")
    if bits_to_hex([completion.finish == "length" for completion in completions]) != result.bits.cut:
        problems.append("the cut bits do not follow from the completions")
    return problems


def _findings_match(codes: Sequence[str], completions: Sequence[CommittedCompletion]) -> bool:
    """Tell whether an entry's findings on empty, constant and cut answers follow from its completions."""
    expected_codes = {finding.code for finding in answers.find_answer_faults(completions)}
    return expected_codes == set(codes).intersection(answers.FINDING_CODES)


def _answer_starts_fit(line: CommittedCompletion) -> bool:
    """Tell whether each draw's answer starts inside its text, or at its end if a thought was never closed."""
    texts = (line.text, *(line.more or ()))
    starts = line.answer_starts
    return starts is None or (
        len(starts) == len(texts)
        and any(starts)
        and all(0 <= start <= len(text) for start, text in zip(starts, texts, strict=True))
    )


def check_losses(entry: Entry, losses: bytes | None) -> list[str]:
    training = entry.result.training
    candidate = training.candidate if training is not None else None
    if (candidate is None) != (losses is None):
        return ["it has a loss history, but nothing was trained" if candidate is None else "lacks its loss history"]
    if candidate is None or losses is None:
        return []
    if hashlib.sha256(losses).hexdigest() != candidate.losses_sha256:
        return ["losses_sha256 is not the digest of the loss history"]
    return _check_loss_values(candidate, losses)


def _check_loss_values(candidate: Candidate, losses: bytes) -> list[str]:
    try:
        history = _parse_loss_history(losses)
        computed = compute_final_loss(history), len(history)
    except BenchError as error:
        return [f"the loss history cannot be read: {error.what}"]
    except ZeroDivisionError:
        return ["final_loss cannot follow from a loss history without supervised tokens at its end"]
    if computed != (candidate.final_loss, candidate.cost.steps):
        return ["final_loss and steps do not follow from the loss history"]
    return []


def _parse_loss_history(losses: bytes) -> list[Step]:
    """Parse a loss history; BenchError for lines that no training writes."""
    history: list[Step] = []
    for line_number, line in enumerate(losses.splitlines(), start=1):
        step = decode_record(Step, parse_json(line, f"line {line_number}", None), f"line {line_number}", "")
        if min(step.rows, step.tokens, step.supervised, step.seconds) < 0:
            raise BenchError(f"line {line_number}: rows, tokens or seconds are negative")
        if step.number <= (history[-1].number if history else 0):
            raise BenchError(f"line {line_number}: step {step.number} does not come after the one before")
        history.append(step)
    if not history:
        raise BenchError("it holds no step")
    return history


def check_solutions(entry: Entry, completions: Sequence[CommittedCompletion], lines: bytes | None) -> list[str]:
    recorded = entry.result.solutions
    if recorded is None or lines is None:
        if recorded is not None:
            return ["lacks its solutions' log-probabilities"]
        return [] if lines is None else ["solutions' log-probabilities are stored next to it, but it names none"]
    if hashlib.sha256(lines).hexdigest() != recorded.sha256:
        return ["solutions.sha256 is not the digest of the solutions' log-probabilities"]
    try:
        items, computed = parse_likelihoods(lines, "solutions"), summarise_likelihoods(lines, "solutions")
    except BenchError as error:
        return [error.what]
    problems = []
    if [item.id for item in items] != [completion.id for completion in completions]:
        problems.append("the solutions are not those of the completions' items")
    if computed != recorded:
        problems.append(f"solutions do not follow from their lines, which give {computed}")
    return problems


def check_judgements(
    entry: Entry, completions: Sequence[CommittedCompletion], judgements: Sequence[Judgement]
) -> list[str]:
    if [judgement.problem_id for judgement in judgements] != [completion.id for completion in completions]:
        return ["its items are not those that its limit and seed draw"]
    recomputed_bits, recorded_bits = Bits.of(judgements), entry.result.bits
    return [
        f"the {name} bits do not follow from the completions"
        for name in ("correct", "strict", "unread", "cut")
        if getattr(recomputed_bits, name) != getattr(recorded_bits, name)
    ]
