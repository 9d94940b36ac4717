"""Two rows on the same items: what their difference may mean, how large it is with its doubt, and why it moved."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from baseline_bench.analysis.differences import (
    Difference,
    compare_identities,
    compare_mappings,
    compare_settings,
    is_untrained,
)
from baseline_bench.analysis.statistics import (
    Interval,
    PairCounts,
    items_needed,
    mcnemar_mid_p_value,
    mcnemar_p_value,
    newcombe_interval,
)
from baseline_bench.core.errors import BenchError
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.entry import Entry, Selection

ChangeCause = Literal["unread", "stopping", "answer", "format"]
ComparisonOutcome = Literal["worse", "better", "not resolved"]

ALPHA = 0.05
# Six items of which one row wins all are the fewest that the exact test tells from chance: 2 / 2^5 > 0.05 > 2 / 2^6.
MIN_DISCORDANT = 6
# Settings that say which weights answered and how they came there, not how answers were made.
_WEIGHT_SETTINGS = ("weights", "adapter")


@dataclass(frozen=True, slots=True)
class ComparisonKind:
    """What the difference of two rows may mean.

    Attributes:
        name: "comparable" (the weights alone differ), "system comparison" (the same items, but prompts, engine or
            machine differ as well) or "not comparable" (other items, another version of the task, another reader).
        differs: what differs beside the weights; of rows that are not comparable, why they are not.
    """

    name: Literal["comparable", "system comparison", "not comparable"]
    differs: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item on which two rows differ.

    Attributes:
        place: of the item in the rows' order, from 0.
        cause: as in `Flips`.
        won: the first row is the one that is right (strictly, for the cause "format").
    """

    place: int
    cause: ChangeCause
    won: bool


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """Items on which two rows differ, by cause; each counts the first row's gains and losses.

    Attributes:
        unread: right changed, and in one of the rows nothing could be read.
        stopping: right changed, and one of the answers was cut at the token limit.
        answer: right changed, for the answer itself is another.
        format: right did not change, but strict did: only the manner of stating the answer is another.
    """

    unread: tuple[int, int]
    stopping: tuple[int, int]
    answer: tuple[int, int]
    format: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row against another.

    Attributes:
        pairs: items right in both, in the first alone, in the second alone, in neither.
        interval: of the difference, 95 %, Newcombe's method 10.
        p: exact McNemar, which decides.
        p_mid: McNemar's mid-p, shown beside it.
        flips: why single items moved.
        differs: what differs beside the weights; something only in a system comparison.
    """

    pairs: PairCounts
    interval: Interval
    p: float
    p_mid: float
    flips: ChangeCounts
    differs: tuple[Difference, ...] = ()

    @property
    def system(self) -> bool:
        """More than the weights differs."""
        return bool(self.differs)

    @property
    def discordant(self) -> int:
        """Items that exactly one of the rows gets right."""
        return self.pairs.first + self.pairs.second

    @property
    def verdict(self) -> ComparisonOutcome:
        """Worse, better, or not resolved, by the exact test at 5 %."""
        return classify_outcome(self.pairs, self.p)

    @property
    def needed(self) -> int | None:
        """Items on which a difference like this one would be resolved; None where none was seen, or not more are.

        Connor's formula is of large numbers: of five items, all won, it would say that four are enough. The exact test
        wants six items that differ, whatever the formula says.
        """
        if self.pairs.first == self.pairs.second:
            return None
        total = self.pairs.total
        found = items_needed(self.pairs.difference, self.discordant / total) or 0
        found = max(found, ceil(MIN_DISCORDANT * total / self.discordant))
        return found if found > total else None

    @property
    def at_odds(self) -> bool:
        """Interval and test disagree about whether there is a difference."""
        return (self.interval.low > 0 or self.interval.high < 0) != (self.p < ALPHA)


def explain_incomparability(first: Entry, second: Entry) -> str | None:
    """Why the difference of two rows would not be their weights'; None where it is.

    A candidate and its base share protocol, items, prompts as token ids, stop tokens, and what generated.
    """
    if first.result.aggregates is not None:
        return "no item is right or wrong"
    return next((str(difference) for difference in _list_system_differences(first, second)), None)


def classify_comparison(first: Entry, second: Entry) -> ComparisonKind:
    """What the difference of two rows may mean.

    Rows of other items, of another version of the same task or of another reader have no difference that means
    anything. Items are never intersected: another selection is another exam.
    """
    if reasons := tuple(_list_task_differences(first, second)):
        return ComparisonKind("not comparable", reasons)
    differs = tuple(_list_system_differences(first, second))
    return ComparisonKind("system comparison" if differs else "comparable", differs)


def is_base(base: Entry, tuned: Entry) -> bool:
    """The first row is of the weights, and of nothing beside them, that the second's were trained from."""
    own = tuned.result.base_sha256
    return own is not None and own == base.result.model.weights_sha256 and is_untrained(base)


def classify_outcome(pairs: PairCounts, p: float) -> ComparisonOutcome:
    """What the exact test's p value says of two rows at 5 %: the first is worse, better, or nobody can tell."""
    if p >= ALPHA:
        return "not resolved"
    return "better" if pairs.first > pairs.second else "worse"


def compare_entries(first: Entry, second: Entry, system: bool = False) -> Comparison:
    """The first row against the second.

    Args:
        first: the row that wins or loses.
        second: what it is held against.
        system: more than the weights may differ; the comparison then says what does.

    Raises:
        BenchError: they cannot be compared, for the reason told, or one of them lacks items: those are never zeros.
    """
    found = classify_comparison(first, second)
    why = "; ".join(map(str, found.differs)) if found.name == "not comparable" else None
    why = why if system else explain_incomparability(first, second) or why
    if why:
        names = f"{first.result.candidate} and {second.result.candidate}"
        raise BenchError(f"{names} are not comparable: {why}", "score both by one command, or with the same settings")
    one, other = _read_both_bits(first, second)
    right = list(zip(one["correct"], other["correct"], strict=True))
    pairs = PairCounts(right.count((1, 1)), right.count((1, 0)), right.count((0, 1)), right.count((0, 0)))
    flips = _count_changes(_iterate_changes(one, other))
    return Comparison(
        pairs, newcombe_interval(pairs), mcnemar_p_value(pairs), mcnemar_mid_p_value(pairs), flips, found.differs
    )


def list_item_changes(first: Entry, second: Entry) -> tuple[ItemChange, ...]:
    """Every item on which two rows differ, in item order. Errors as in `compare` for a system comparison."""
    compare_entries(first, second, system=True)
    return tuple(_iterate_changes(*_read_both_bits(first, second)))


def _list_task_differences(first: Entry, second: Entry) -> Iterator[Difference]:
    """What makes two rows the answers to different questions."""
    one, other = first.result, second.result
    if one.aggregates is not None or other.aggregates is not None:
        yield Difference("items that are right or wrong", "none", "none")
    yield from compare_mappings(
        *(
            {
                "items": result.task.items_sha256[:12],
                "selections": _format_selection(result.selection),
                "readers": result.task.reader,
            }
            for result in (one, other)
        )
    )
    # gsm8k-1shot@v1 and gsm8k-0shot@v1 ask the same otherwise; @v1 and @v2 of one manner are two exams.
    manners = [task.label.rpartition("@")[0] or task.label for task in (one.task, other.task)]
    same_manner = manners[0] == manners[1]
    if same_manner and one.task.protocol_sha256 != other.task.protocol_sha256:
        told = [f"{task.label} {task.protocol_sha256[:12]}" for task in (one.task, other.task)]
        yield Difference("versions of the task", *told)


def _format_selection(selection: Selection) -> str:
    return f"{selection.scored} of {selection.total}, {selection.ids_sha256[:12]}"


def _list_system_differences(first: Entry, second: Entry) -> Iterator[Difference]:
    """What two rows must have in common if their weights alone are to be compared, digests shortened for the eye.

    Of equal weights that is the whole model. Other weights may come with another configuration: a training sets one.
    """
    one, other = first.result.model, second.result.model
    if one.weights_sha256 == other.weights_sha256 is not None:
        yield from compare_identities(one, other)
    yield from compare_mappings(_describe_setup(first), _describe_setup(second))
    others = list(compare_settings(first.result.engine.settings, second.result.engine.settings, _WEIGHT_SETTINGS))
    if others:
        named = [", ".join(f"{one.what}={value}" for one, value in side) for side in _split_sides(others)]
        yield Difference("engine settings", *named)
    yield from compare_mappings(*({"devices": entry.result.provenance.device} for entry in (first, second)))


def _split_sides(others: Sequence[Difference]) -> Iterator[list[tuple[Difference, str]]]:
    yield [(one, one.first) for one in others]
    yield [(one, one.second) for one in others]


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
    """The bits of every item by kind.

    Raises:
        BenchError: they are not those of `total` items.
    """
    result = entry.result
    try:
        # Their hex digits alone would not tell 11 items from 12 of which the last is wrong.
        if result.counts.total != total:
            raise ValueError(f"it has {result.counts.total:,}")
        kinds = ("correct", "strict", "unread", "cut")
        return {kind: tuple(map(int, hex_to_bits(getattr(result.bits, kind), total))) for kind in kinds}
    except ValueError as error:
        raise BenchError(
            f"{result.candidate} lacks some of {total:,} items ({error})",
            "score it again: a missing item is never counted as wrong",
        ) from None


def _iterate_changes(one: Mapping[str, tuple[int, ...]], other: Mapping[str, tuple[int, ...]]) -> Iterator[ItemChange]:
    def changed(kind: str, place: int) -> bool:
        return one[kind][place] != other[kind][place]

    for place, now in enumerate(one["correct"]):
        if changed("correct", place):
            cause: ChangeCause = (
                "unread" if changed("unread", place) else "stopping" if changed("cut", place) else "answer"
            )
            yield ItemChange(place, cause, bool(now))
        elif changed("strict", place):
            yield ItemChange(place, "format", bool(one["strict"][place]))


def _count_changes(found: Iterator[ItemChange]) -> ChangeCounts:
    counted: dict[ChangeCause, list[int]] = {"unread": [0, 0], "stopping": [0, 0], "answer": [0, 0], "format": [0, 0]}
    for move in found:
        counted[move.cause][0 if move.won else 1] += 1
    return ChangeCounts(**{cause: (gained, lost) for cause, (gained, lost) in counted.items()})
