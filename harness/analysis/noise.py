"""How small a difference between two rows means nothing, judged from a model that was scored several times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from math import exp, lgamma, log, sqrt

from baseline_bench.core.records import digest
from baseline_bench.results.noise import NoiseRecord, count_flips

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What the runs of one model say about differences in items answered right.

    Attributes:
        seen: the largest difference between two of the runs.
        flips: the most items that flipped between two of them.
        expected: 95 % of the differences between two runs with so many flips lie within plus and minus this.
        most: the same for the most flips that so few runs leave possible (95 %, one-sided).
        least: the smallest difference that need not be noise, in items.
    """

    seen: int
    flips: int
    expected: int
    most: int
    least: int


def compute_noise_floor(noise: NoiseRecord) -> NoiseFloor:
    """The floor under any difference between two rows of the same engine and device.

    Two runs of one model are exchangeable: an item that flips between them is a gain or a loss with equal chance, so
    the variance of their difference is the expected number of flips, however unlike the items are, and the difference
    of Poisson many gains and losses follows Skellam's distribution (J. R. Stat. Soc. A 109 (1946) 296). The pair with
    the most flips counts, not the mean: runs come in clusters of one schedule, and two rows may be of two of them.

    `least` is one more than the larger of `seen` and `expected`. Where no item flipped it is one more than `most`,
    since silence of few runs is weak evidence; where every answer of every run, and of every pass, is equal in every
    token, it is 1.
    """
    low, high = noise.spread
    unsteady = noise.unsteady
    worst = max(count_flips(one, other) for one, other in combinations(noise.runs, 2))
    # One item on which a single run disagrees flips in this share of the pairs.
    share = worst / unsteady if unsteady else 2 / len(noise.runs)
    seen, expected = high - low, bound_difference(worst)
    most = bound_difference(min(share * _poisson_upper_limit(unsteady), float(noise.items)))
    if noise.equal_share == 1 and not _depends_on_batch(noise):
        return NoiseFloor(seen, worst, expected, most, 1)
    return NoiseFloor(seen, worst, expected, most, 1 + (max(seen, expected) if unsteady else most))


@dataclass(frozen=True, slots=True)
class SettingsFlips:
    """Two records of one model whose settings should ask it for the same, and do not.

    Attributes:
        first, second: the records.
        won, lost: items that the second's first run alone has right, and the first's alone.
    """

    first: NoiseRecord
    second: NoiseRecord
    won: int
    lost: int

    @property
    def flips(self) -> int:
        """Items on which the two do not agree."""
        return self.won + self.lost

    @property
    def least(self) -> int:
        """The smallest difference in items that so many flips do not explain (see `floor`)."""
        return 1 + bound_difference(self.flips)

    @property
    def even(self) -> bool:
        """Whether gains and losses are balanced as chance leaves them, so that rounding may be all that differs."""
        return abs(self.won - self.lost) < self.least


def select_newest_records(records: Iterable[NoiseRecord]) -> list[NoiseRecord]:
    """Of records of the same model under the same settings the last one, by model: it was asked for as the better."""
    kinds = {
        (_request_key(one), digest(one.engine), one.provenance.device): one
        for one in sorted(records, key=lambda one: (one.created, digest(one.runs)))
    }
    return sorted(kinds.values(), key=lambda one: (one.candidate, _request_key(one), one.created, digest(one.engine)))


def find_settings_flips(records: Sequence[NoiseRecord]) -> list[SettingsFlips]:
    """Of each model with several records, the two under unlike settings between which the most items flip.

    A command that repeats itself to the token only repeats how rounding fell: another share of prompts in a batch, or
    another kernel, lets it fall otherwise. What then flips is the part of an answer's luck that repetition hides.

    Args:
        records: as `newest` gives them; records of one model stand together.
    """
    found = []
    for _, group in groupby(records, _request_key):
        pairs = [_count_settings_flips(one, other) for one, other in combinations(group, 2)]
        if moved := [pair for pair in pairs if pair.flips]:
            found.append(max(moved, key=lambda pair: pair.flips))
    return found


def _count_settings_flips(one: NoiseRecord, other: NoiseRecord) -> SettingsFlips:
    first, second = (int(noise.runs[0].correct, 16) for noise in (one, other))
    won, lost = (second & ~first).bit_count(), (first & ~second).bit_count()
    return SettingsFlips(one, other, won, lost)


def _request_key(noise: NoiseRecord) -> tuple[str, ...]:
    """What was asked of which model: records that are alike in it differ by engine, settings or device alone."""
    return (
        noise.model.weights_sha256 or noise.candidate,
        digest(noise.model.identity),
        noise.task.protocol_sha256,
        noise.selection.ids_sha256,
        noise.prompts_sha256,
    )


def describe_noise_floor(noise: NoiseRecord) -> str:
    """What a reader may take along, in one sentence."""
    found, times, mixed = compute_noise_floor(noise), len(noise.runs), _depends_on_batch(noise)
    where = (
        f"two rows like {noise.candidate}'s of {noise.items:,} items on {noise.engine.version} and "
        f"{noise.provenance.device}"
    )
    if found.least == 1:
        return f"all {times} runs are equal in every token: as far as they tell, no difference between {where} is noise"
    told = f"a difference smaller than {found.least} items between {where} means nothing ({times} runs"
    if noise.unsteady == 0:
        equal = f"{100 * noise.equal_share:.1f} % of the answers equal in every token"
        asked = ", not all of them where prompts shared their batches otherwise" if mixed else ""
        return f"{told}, {equal}{asked}: no item flipped, but so few runs leave a difference of {found.most} possible)"
    return (
        f"{told}: {found.seen} was the largest difference seen, {found.expected} covers 95 % where {found.flips:,} "
        f"{_pluralise_flips(found.flips)}, as between two of them; so few runs leave {found.most} possible)"
    )


def _depends_on_batch(noise: NoiseRecord) -> bool:
    """Whether an answer hung on the prompts that shared its batch."""
    made = noise.passes
    return made is not None and any(pair.equal < made.selection.scored for pair in made.pairs)


def _pluralise_flips(count: int) -> str:
    return "item flips" if count == 1 else "items flip"


def bound_difference(mean: float) -> int:
    """The smallest whole number that 95 % of the differences between two runs do not exceed in size.

    Args:
        mean: items that change between right and wrong from one run to the next, on average.
    """
    counts = _poisson_probabilities(mean / 2)
    inside, reach = sum(one * one for one in counts), 0
    while inside < CONFIDENCE and reach < len(counts):
        reach += 1
        inside += 2 * sum(one * other for one, other in zip(counts, counts[reach:], strict=False))
    return reach


def _poisson_probabilities(mean: float) -> list[float]:
    """Probabilities of 0, 1, 2, ... events, as far as they matter."""
    if mean <= 0:
        return [1.0]
    last = int(mean + 12 * sqrt(mean) + 20)
    return [exp(count * log(mean) - mean - lgamma(count + 1)) for count in range(last + 1)]


def _poisson_upper_limit(events: int) -> float:
    """The one-sided 95 % upper limit of a Poisson mean of which so many events were seen (Garwood, 1936)."""
    low, high = float(events), events + 10 * sqrt(events + 1) + 10
    for _ in range(60):
        middle = (low + high) / 2
        if sum(_poisson_probabilities(middle)[: events + 1]) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high
