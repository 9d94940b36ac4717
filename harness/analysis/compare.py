"""Compare two rows on the same problems: what may be concluded, the difference with its outcome, and its causes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from baseline_bench.analysis.differences import (
    Difference,
    compare_identities,
    compare_mappings,
    compare_settings,
    is_untrained,
)
from baseline_bench.analysis.outcomes import PairedDifference
from baseline_bench.analysis.statistics import PairCounts
from baseline_bench.core.errors import BenchError
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.candidate import ModelKey
from baseline_bench.results.entry import Entry

# Why an item is right in one row alone: one row has no readable answer, an answer was cut at the token limit, or the
# answer itself changed. "format": only strict correctness changed. The last two are of logs of other tools: the same
# answer judged differently, and what a log does not tell.
ChangeCause = Literal["unread", "stopping", "answer", "format", "judgement", "unknown"]
# For each cause the items that the first of two rows wins, and those that it loses.
ChangeCounts = Mapping[ChangeCause, tuple[int, int]]
_ROW_CAUSES: tuple[ChangeCause, ...] = ("unread", "stopping", "answer", "format")

# Settings that name the weights and how they were loaded, not how answers were generated.
_WEIGHT_SETTINGS = ("weights", "adapter")


@dataclass(frozen=True, slots=True)
class ComparisonKind:
    """What may be concluded from the difference of two rows.

    Attributes:
        name: "comparable" (the weights alone differ), "system comparison" (the same items, but prompts, engine or
            machine differ as well) or "not comparable" (other items, another version of the task, another reader).
        differs: what differs besides the weights; for rows that are not comparable, the reasons.
    """

    name: Literal["comparable", "system comparison", "not comparable"]
    differs: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item on which two rows differ.

    Attributes:
        place: index of the item in the rows' order, from 0.
        cause: why it differs.
        won: the first row is right and the second wrong (strictly, for the cause "format").
    """

    place: int
    cause: ChangeCause
    won: bool


@dataclass(frozen=True, slots=True)
class Comparison(PairedDifference):
    """One row compared with another on the same problems.

    Attributes:
        flips: changed items by cause.
        differs: what differs besides the weights; empty unless this is a system comparison.
    """

    flips: ChangeCounts
    differs: tuple[Difference, ...] = ()

    @property
    def system(self) -> bool:
        """Whether more than the weights differs."""
        return bool(self.differs)

    @property
    def discordant(self) -> int:
        """Number of items that exactly one of the rows gets right."""
        return self.pairs.first + self.pairs.second


def explain_incomparability(first: Entry, second: Entry) -> str | None:
    """Return why the difference of two rows cannot be attributed to their weights; None if it can.

    A candidate and its base share protocol, items, prompts as token ids, stop tokens, engine and device.
    """
    if first.result.aggregates is not None:
        return "no item is right or wrong"
    return next((str(difference) for difference in _list_system_differences(first, second)), None)


def classify_comparison(first: Entry, second: Entry) -> ComparisonKind:
    """Classify what may be concluded from the difference of two rows.

    Rows of other items, of another version of the same task or of another reader are not comparable. Items are never
    intersected: another selection is another test.
    """
    if reasons := tuple(_list_task_differences(first, second)):
        return ComparisonKind("not comparable", reasons)
    differs = tuple(_list_system_differences(first, second))
    return ComparisonKind("system comparison" if differs else "comparable", differs)


def is_base(base: Entry, tuned: Entry) -> bool:
    """Tell whether the first row scores, without an adapter, the model from which the second's was trained."""
    model = tuned.result.base
    return model is not None and is_untrained(base) and model.matches(base.result.model.key)


def find_margin(entry: Entry) -> float | None:
    """Return the margin that the recipe of a row declares, a share of the problems; None without a valid one."""
    margin = None if entry.result.trained is None else entry.result.trained.values.get("margin")
    return margin if isinstance(margin, float) and 0 < margin < 1 else None


def compare_entries(first: Entry, second: Entry, system: bool = False, margin: float | None = None) -> Comparison:
    """Compare the first row with the second.

    Args:
        first: the row that wins or loses.
        second: the row that it is compared with.
        system: more than the weights may differ; the comparison then lists what does.
        margin: the largest difference that does not matter, a share; None takes the one of the first row's recipe.

    Raises:
        BenchError: they cannot be compared, or one of them lacks items: a missing item never counts as wrong.
    """
    kind = classify_comparison(first, second)
    reason = "; ".join(map(str, kind.differs)) if kind.name == "not comparable" else None
    reason = reason if system else explain_incomparability(first, second) or reason
    if reason:
        names = f"{first.result.candidate} and {second.result.candidate}"
        raise BenchError(
            f"{names} are not comparable: {reason}", "score both by one command, or with the same settings"
        )
    first_bits, second_bits = _read_both_bits(first, second)
    right = list(zip(first_bits["correct"], second_bits["correct"], strict=True))
    pairs = PairCounts(right.count((1, 1)), right.count((1, 0)), right.count((0, 1)), right.count((0, 0)))
    flips = count_changes(_iterate_changes(first_bits, second_bits), _ROW_CAUSES)
    return Comparison(pairs, find_margin(first) if margin is None else margin, flips, kind.differs)


def list_item_changes(first: Entry, second: Entry) -> tuple[ItemChange, ...]:
    """List every item on which two rows differ, in order. Errors as in `compare_entries` with `system`."""
    compare_entries(first, second, system=True)
    return tuple(_iterate_changes(*_read_both_bits(first, second)))


def _list_task_differences(first: Entry, second: Entry) -> Iterator[Difference]:
    """Yield what makes two rows answers to different questions."""
    one, other = first.result, second.result
    if one.aggregates is not None or other.aggregates is not None:
        yield Difference("items that are right or wrong", "none", "none")
    yield from compare_mappings(
        *(
            {
                "items": result.task.items_sha256[:12],
                "selections": f"{result.selection.scored} of {result.selection.total}, "
                f"{result.selection.ids_sha256[:12]}",
                "readers": result.task.reader,
            }
            for result in (one, other)
        )
    )
    # gsm8k-1shot@v1 and gsm8k-0shot@v1 ask the same with other prompts; @v1 and @v2 of one prompt style are two tests.
    prompt_styles = [task.label.rpartition("@")[0] or task.label for task in (one.task, other.task)]
    same_style = prompt_styles[0] == prompt_styles[1]
    if same_style and one.task.protocol_sha256 != other.task.protocol_sha256:
        version_labels = [f"{task.label} {task.protocol_sha256[:12]}" for task in (one.task, other.task)]
        yield Difference("versions of the task", *version_labels)


def _list_system_differences(first: Entry, second: Entry) -> Iterator[Difference]:
    """Yield what else differs where the weights alone should, digests shortened for display.

    Equal weights must have an equal model identity, those of the bases too. Other weights may come with another config:
    training writes one. An adapter is weights, and the user may choose a base's chat template.
    """
    model, other_model = first.result.model.key, second.result.model.key
    base, other_base = first.result.base, second.result.base
    yield from _compare_models(model, other_model, "unmerged adapter")
    for one, other in ((base, other_model), (model, other_base), (base, other_base)):
        for difference in _compare_models(one, other, "chat template"):
            yield replace(difference, what=f"base's {difference.what}")
    yield from compare_mappings(_describe_setup(first), _describe_setup(second))
    settings = list(compare_settings(first.result.engine.settings, second.result.engine.settings, _WEIGHT_SETTINGS))
    if settings:
        first_text = ", ".join(f"{one.what}={one.first}" for one in settings)
        yield Difference("engine settings", first_text, ", ".join(f"{one.what}={one.second}" for one in settings))
    yield from compare_mappings(*({"devices": entry.result.provenance.device} for entry in (first, second)))


def _compare_models(one: ModelKey | None, other: ModelKey | None, ignored: str) -> Iterator[Difference]:
    """Yield how the identities of two models with equal tensors differ, without one part."""
    if one is not None and other is not None and one.weights_sha256 == other.weights_sha256 is not None:
        yield from (each for each in compare_identities(one.identity, other.identity) if each.what != ignored)


def _describe_setup(entry: Entry) -> Mapping[str, object]:
    result = entry.result
    return {
        "protocols": result.task.protocol_sha256[:12],
        "items": result.selection.ids_sha256[:12],
        "prompts as token ids": result.prompts_sha256[:12],
        "stop tokens": result.model.stop_ids,
        "engines": result.engine.version,
    }


def _read_both_bits(first: Entry, second: Entry) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    total = max(first.result.counts.total, second.result.counts.total)
    return _read_bits(first, total), _read_bits(second, total)


def _read_bits(entry: Entry, total: int) -> dict[str, tuple[int, ...]]:
    """Read the bits of every item by kind, or raise BenchError if they are not those of `total` items."""
    result = entry.result
    try:
        # The hex digits alone do not distinguish 11 items from 12 of which the last is wrong.
        if result.counts.total != total:
            raise ValueError(f"it has {result.counts.total:,}")
        kinds = ("correct", "strict", "unread", "cut")
        return {kind: tuple(map(int, hex_to_bits(getattr(result.bits, kind), total))) for kind in kinds}
    except ValueError as error:
        raise BenchError(
            f"{result.candidate} lacks some of {total:,} items ({error})",
            "score it again: a missing item is never counted as wrong",
        ) from None


def _iterate_changes(
    first_bits: Mapping[str, tuple[int, ...]], second_bits: Mapping[str, tuple[int, ...]]
) -> Iterator[ItemChange]:
    def changed(kind: str, index: int) -> bool:
        return first_bits[kind][index] != second_bits[kind][index]

    for index, is_right in enumerate(first_bits["correct"]):
        if changed("correct", index):
            cause: ChangeCause = (
                "unread" if changed("unread", index) else "stopping" if changed("cut", index) else "answer"
            )
            yield ItemChange(index, cause, bool(is_right))
        elif changed("strict", index):
            yield ItemChange(index, "format", bool(first_bits["strict"][index]))


def count_changes(changes: Iterable[ItemChange], causes: Iterable[ChangeCause]) -> ChangeCounts:
    """Count the items won and lost for each cause."""
    counts = Counter((change.cause, change.won) for change in changes)
    return {cause: (counts[cause, True], counts[cause, False]) for cause in causes}
