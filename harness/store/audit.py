"""Whether the parts of an entry fit one another: numbers, bits, digests, completions, loss history."""

import hashlib
import re
from collections.abc import Sequence

from harness.store.bits import Bits, bits_to_hex
from harness.store.candidate import final_loss, steps
from harness.store.completions import CommittedCompletion
from harness.store.entry import Entry, Result
from harness.store.records import digest, plain
from harness.types import Verdict

_TIME = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII)


def numbers(entry: Entry) -> list[str]:
    """Level L0 without files: the numbers follow from the bits and the digests from what they are over."""
    result, problems = entry.result, []
    if not _TIME.fullmatch(entry.created):
        problems.append(f"created is no UTC time such as 2026-11-22T12:00:00Z: {entry.created!r:.60}")
    if entry.result_sha256 != digest(result):
        problems.append("result_sha256 is not the digest of the result")
    for part in (result, result.task, result.selection, result.model):
        for name, value in plain(part).items():
            if name.endswith("_sha256") and value is not None and not re.fullmatch("[0-9a-f]{64}", value):
                problems.append(f"{name} is no sha256: {value!r:.70}")
    numbers = [*plain(entry.timings).values(), *entry.timings.phases.values()]
    if any(isinstance(number, int | float) and number < 0 for number in numbers):
        problems.append("a timing is negative")
    return problems + _audit_selection(result) + _audit_counts(result)


def _audit_selection(result: Result) -> list[str]:
    selection = result.selection
    asked = selection.total if selection.limit is None else min(selection.limit, selection.total)
    if (
        selection.total >= 1
        and selection.scored == asked >= 1
        and (selection.limit is None) == (selection.seed is None)
    ):
        return []
    return [f"{selection.scored} of {selection.total} items scored does not fit limit and seed"]


def _audit_counts(result: Result) -> list[str]:
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


def completions(entry: Entry, completions: Sequence[CommittedCompletion], lines: bytes) -> list[str]:
    result, problems = entry.result, []
    if hashlib.sha256(lines).hexdigest() != result.completions_sha256:
        problems.append("completions_sha256 is not the digest of the completions")
    if digest([completion.id for completion in completions]) != result.selection.ids_sha256:
        problems.append("selection.ids_sha256 is not the digest of the completions' ids")
    if len({completion.id for completion in completions}) != len(completions):
        problems.append("an item has two completions")
    if bits_to_hex([completion.finish == "length" for completion in completions]) != result.bits.cut:
        problems.append("the cut bits do not follow from the completions")
    return problems


def losses(entry: Entry, losses: bytes | None) -> list[str]:
    training = entry.result.training
    trained = training.candidate if training is not None else None
    if (trained is None) != (losses is None):
        return [
            "a loss history stands beside it, but nothing was trained" if trained is None else "lacks its loss history"
        ]
    if trained is None or losses is None:
        return []
    if hashlib.sha256(losses).hexdigest() != trained.losses_sha256:
        return ["losses_sha256 is not the digest of the loss history"]
    try:
        history = steps(losses)
    except (ValueError, TypeError):
        return ["the loss history cannot be read"]
    if not history or final_loss(history) != trained.final_loss or len(history) != trained.cost.steps:
        return ["final_loss and steps do not follow from the loss history"]
    return []


def grades(entry: Entry, completions: Sequence[CommittedCompletion], verdicts: Sequence[Verdict]) -> list[str]:
    if [verdict.problem_id for verdict in verdicts] != [completion.id for completion in completions]:
        return ["grading again did not give one verdict for each completion"]
    again, bits = Bits.of(verdicts), entry.result.bits
    return [
        f"the {name} bits do not follow from the completions"
        for name in ("correct", "strict", "unread", "cut")
        if getattr(again, name) != getattr(bits, name)
    ]
