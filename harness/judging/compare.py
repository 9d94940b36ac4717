"""Two rows on the same items: the difference with its doubt, and why it moved."""

from dataclasses import dataclass

from harness.errors import BenchError
from harness.judging.statistics import Interval, Pairs, items_needed, mcnemar, mcnemar_mid, newcombe
from harness.store.bits import hex_to_bits
from harness.store.entry import Entry

ALPHA = 0.05
# Settings that say which weights answered and how they came there, not how answers were made.
_OF_THE_WEIGHTS = ("weights", "adapter")


@dataclass(frozen=True, slots=True)
class Flips:
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
    """

    pairs: Pairs
    interval: Interval
    p: float
    p_mid: float
    flips: Flips

    @property
    def verdict(self) -> str:
        """Worse, better, or not resolved, by the exact test at 5 %."""
        if self.p >= ALPHA:
            return "not resolved"
        return "better" if self.pairs.first > self.pairs.second else "worse"

    @property
    def needed(self) -> int | None:
        """Items on which a difference like this one would be resolved; None where none was seen, or not more are.

        The formula is of large numbers: of five items, all won, it would say that four are enough.
        """
        discordance = (self.pairs.first + self.pairs.second) / self.pairs.total
        found = items_needed(self.pairs.difference, discordance)
        return found if found is not None and found > self.pairs.total else None

    @property
    def at_odds(self) -> bool:
        """Interval and test disagree about whether there is a difference."""
        return (self.interval.low > 0 or self.interval.high < 0) != (self.p < ALPHA)


def comparable(first: Entry, second: Entry) -> str | None:
    """Why the difference of two rows would mean nothing; None where it means something.

    A candidate and its base share protocol, items, prompts as token ids, stop tokens, and what generated.
    """
    one, other = _shared(first), _shared(second)
    return next((f"other {what} ({one[what]}, {other[what]})" for what in one if one[what] != other[what]), None)


def _shared(entry: Entry) -> dict[str, object]:
    """What two rows must have in common, digests shortened to what an eye compares."""
    result = entry.result
    settings = {name: value for name, value in result.engine.settings.items() if name not in _OF_THE_WEIGHTS}
    return {
        "protocols": result.task.protocol_sha256[:12],
        "items": result.selection.ids_sha256[:12],
        "prompts as token ids": result.prompts_sha256[:12],
        "stop tokens": result.model.stop_ids,
        "engines": result.engine.version,
        "engine settings": ", ".join(f"{name}={value}" for name, value in sorted(settings.items())),
        "devices": result.provenance.device,
    }


def compare(first: Entry, second: Entry) -> Comparison:
    """The first row against the second.

    Raises:
        BenchError: they cannot be compared; the reason is told.
    """
    if why := comparable(first, second):
        names = f"{first.result.candidate} and {second.result.candidate}"
        raise BenchError(f"{names} are not comparable: {why}", "score both by one command, or with the same settings")
    total = first.result.counts.total
    one, other = (_bits(entry, total) for entry in (first, second))
    right = list(zip(one["correct"], other["correct"], strict=True))
    pairs = Pairs(right.count((1, 1)), right.count((1, 0)), right.count((0, 1)), right.count((0, 0)))
    return Comparison(pairs, newcombe(pairs), mcnemar(pairs), mcnemar_mid(pairs), _flips(one, other))


def _bits(entry: Entry, total: int) -> dict[str, list[int]]:
    bits = entry.result.bits
    kinds = ("correct", "strict", "unread", "cut")
    return {kind: [int(bit) for bit in hex_to_bits(getattr(bits, kind), total)] for kind in kinds}


def _flips(one: dict[str, list[int]], other: dict[str, list[int]]) -> Flips:
    counted = {kind: [0, 0] for kind in ("unread", "stopping", "answer", "format")}
    for place, (now, then) in enumerate(zip(one["correct"], other["correct"], strict=True)):
        if now != then:
            kind = next(
                (
                    name
                    for name, bit in (("unread", "unread"), ("stopping", "cut"))
                    if one[bit][place] != other[bit][place]
                ),
                "answer",
            )
            counted[kind][0 if now else 1] += 1
        elif one["strict"][place] != other["strict"][place]:
            counted["format"][0 if one["strict"][place] else 1] += 1
    return Flips(**{kind: (gained, lost) for kind, (gained, lost) in counted.items()})
