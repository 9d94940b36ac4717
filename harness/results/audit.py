"""Check that the parts of an entry agree: numbers, bits, digests, completions, training, loss history, solutions."""

import hashlib
from collections.abc import Iterator, Sequence

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import digest, find_malformed_digests, parse_time, to_json_value
from baseline_bench.core.types import Judgement, ModelIdentity, Step, Value
from baseline_bench.results import answers
from baseline_bench.results import candidate as candidates
from baseline_bench.results.bits import Bits, bits_to_hex
from baseline_bench.results.candidate import Candidate, ModelKey, TrainingRecord, compute_final_loss
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.solutions import parse_likelihoods, summarise_likelihoods

# Recipe keys that hold lists; a candidate's record joins them by commas.
_LIST_FIELDS = ("derived_from", "targets")
_OWN_TRAINERS = ("full", "lora", "qlora")


def check_numbers(entry: Entry) -> list[str]:
    """Check at level L0, without other files, that numbers follow from bits and digests from their content."""
    result, problems = entry.result, []
    candidate = result.trained
    times: list[tuple[str, str | None]] = [("created", entry.created)]
    times += [] if candidate is None else [("created", candidate.created), ("begun", candidate.begun)]
    problems += [
        f"{name} is no UTC time such as 2026-11-22T12:00:00Z: {time!r:.60}"
        for name, time in times
        if time is not None and parse_time(time) is None
    ]
    if entry.result_sha256 != digest(result):
        problems.append("result_sha256 is not the digest of the result")
    parts = (result, result.task, result.selection, result.model, result.model.identity)
    problems += find_malformed_digests(*parts)
    if (identity := result.model.identity) is not None:
        if identity.template_sha256 != result.model.template_sha256:
            problems.append("the identity has another chat template than the model")
        if identity.settings is not None and ModelIdentity.of(identity.settings, identity.defaults) != identity:
            problems.append("the digests of the identity are not those of its settings")
    numbers = [*to_json_value(entry.timings).values(), *entry.timings.phases.values()]
    if any(isinstance(number, int | float) and number < 0 for number in numbers):
        problems.append("a timing is negative")
    if result.model.weights_sha256 is None and not (result.is_served or result.is_scripted):
        problems.append("weights_sha256 is missing, though no server answered")
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
    if any(line.tokens is None or line.ids_sha256 is None for line in completions) and not (
        result.is_served or result.is_scripted
    ):
        problems.append("tokens or ids_sha256 of an answer are missing, though no server answered")
    if len({completion.id for completion in completions}) != len(completions):
        problems.append("an item has two completions")
    draws, checks = result.sampling.draws or 1, result.checks
    problems += check_item_metrics(entry, completions)
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
    candidate = entry.result.trained
    if (candidate is None) != (losses is None):
        return ["it has a loss history, but nothing was trained" if candidate is None else "lacks its loss history"]
    if candidate is None or losses is None:
        return []
    if hashlib.sha256(losses).hexdigest() != candidate.losses_sha256:
        return ["losses_sha256 is not the digest of the loss history"]
    return _check_loss_values(candidate, losses)


def _check_loss_values(candidate: Candidate, losses: bytes) -> list[str]:
    try:
        history = _parse_losses(losses)
        computed = compute_final_loss(history), len(history)
    except BenchError as error:
        return [f"the loss history cannot be read: {error.what}"]
    except ZeroDivisionError:
        return ["final_loss cannot follow from a loss history without supervised tokens at its end"]
    if computed != (candidate.final_loss, candidate.cost.steps):
        return ["final_loss and steps do not follow from the loss history"]
    return []


def _parse_losses(losses: bytes) -> list[Step]:
    """Parse a whole loss history; BenchError for steps that no training writes, and for a truncated last line."""
    history = candidates.parse_steps(losses if losses.endswith(b"\n") else losses + b"\n")
    previous = 0
    for line_number, step in enumerate(history, start=1):
        if min(step.rows, step.tokens, step.supervised, step.seconds) < 0:
            raise BenchError(f"line {line_number}: rows, tokens or seconds are negative")
        if step.number <= previous:
            raise BenchError(f"line {line_number}: step {step.number} does not come after the one before")
        previous = step.number
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


def check_item_metrics(entry: Entry, completions: Sequence[CommittedCompletion]) -> list[str]:
    """List contradictions with the items' metrics; empty for entries without them.

    An item is right if its metric is 1, or reaches the threshold that the reader names.
    """
    result = entry.result
    if result.aggregates is not None:
        return ["an item without a bit is right"] if result.counts.correct else []
    item_metrics = [completion.metrics for completion in completions if completion.metrics is not None]
    if not item_metrics:
        return []
    metric_parts = result.task.counted
    if metric_parts is None:
        return [f"the reader {result.task.reader!r:.80} names no metric, and the items keep some"]
    key = f"{metric_parts['metric']},{metric_parts['filter']}"
    values = [metrics[key] for metrics in item_metrics if key in metrics]
    if len(values) < len(completions):
        return [f"{len(completions) - len(values)} items keep no {key}"]
    threshold = 1.0 if metric_parts["bar"] is None else float(metric_parts["bar"])
    right = [value <= threshold if metric_parts["less"] else value >= threshold for value in values]
    return (
        [] if bits_to_hex(right) == result.bits.correct else [f"the correct bits do not follow from each item's {key}"]
    )


def check_tokens(entry: Entry, completions: Sequence[CommittedCompletion]) -> list[str]:
    """Check that generated tokens are the sum over the completions, where a server reports them."""
    generated_tokens = entry.timings.generated_tokens
    known = [line.tokens for line in completions if line.tokens is not None]
    if generated_tokens is None or len(known) < len(completions) or sum(known) == generated_tokens:
        return []
    return [f"generated_tokens do not follow from the completions, which give {sum(known)}"]


def check_training(entry: Entry) -> list[str]:
    """Check that the training record names the row's weights, base, recipe and name."""
    record = entry.result.training
    return [] if record is None else [*_check_merge(entry, record), *_check_trained_weights(entry, record)]


def check_cost(entry: Entry, losses: bytes | None) -> list[str]:
    """Check that rows, tokens and seconds of a training follow from its loss history, which is sound."""
    candidate = entry.result.trained
    if candidate is None or losses is None:
        return []
    cost, history = candidate.cost, _parse_losses(losses)
    computed = {
        "steps": len(history),
        "rows": sum(step.rows for step in history),
        "tokens": sum(step.tokens for step in history),
        "supervised": sum(step.supervised for step in history),
        "seconds": candidates.sum_seconds(history),
        "samples_per_second": candidates.compute_samples_per_second(history),
    }
    return [
        f"cost.{name} does not follow from the loss history, which gives {value}"
        for name, value in computed.items()
        if getattr(cost, name) != value
    ]


def _check_merge(entry: Entry, record: TrainingRecord) -> Iterator[str]:
    merge, trained = record.merge, record.candidate
    if merge is None:
        return
    if merge.merged_sha256 != entry.result.model.weights_sha256:
        yield "merge.merged_sha256 is not the digest of the weights that answered"
    if trained is None:
        return
    if not trained.base.key.matches(ModelKey(merge.base_sha256, merge.base_identity)):
        yield "merge.base_sha256 and merge.base_identity are not those of the candidate's base"
    if merge.quantised != trained.quantised:
        yield "merge and candidate do not name the same quantised form"
    if record.step is None and merge.adapter_sha256 != trained.weights_sha256:
        yield "merge.adapter_sha256 is not the digest of the candidate's weights"


def _check_trained_weights(entry: Entry, record: TrainingRecord) -> Iterator[str]:
    trained, result = record.candidate, entry.result
    if trained is None:
        return
    if (trained.kind == "adapter") != (record.merge is not None):
        yield "an adapter is merged and whole weights are not"
    if trained.kind == "full" and record.step is None and trained.weights_sha256 != result.model.weights_sha256:
        yield "the candidate's weights_sha256 is not the digest of the weights that answered"
    if result.model.source != f"trained:{trained.recipe}@{trained.recipe_sha256[:12]}":
        yield "the model's source does not name the candidate's recipe"
    if (
        trained.values.get("trainer") in _OWN_TRAINERS
        and digest(_restore_list_values(trained)) != trained.recipe_sha256
    ):
        yield "recipe_sha256 is not the digest of the recipe's values"
    if record.step is not None and str(record.step) not in trained.checkpoints:
        yield "the candidate kept no weights of that step"
    if trained.created > entry.created:
        yield "it was scored before it was trained"


def _restore_list_values(trained: Candidate) -> dict[str, Value | list[str]]:
    """Return the recipe's values in the form over which its digest is computed."""
    values: dict[str, Value | list[str]] = dict(trained.values)
    for key in _LIST_FIELDS:
        value = trained.values.get(key)
        if isinstance(value, str):
            values[key] = value.split(",") if value else []
    return values
