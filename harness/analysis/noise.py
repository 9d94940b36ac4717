"""The noise floor: how small a difference of two rows means nothing, from several runs of one model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import scipy  # loads stats, which takes seconds, when it is first used
from baseline_bench.core.records import digest
from baseline_bench.results.noise import NoiseRecord, count_flips

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What several runs of one model imply for differences in items answered right.

    Attributes:
        seen: the largest difference between two of the runs.
        flips: the largest number of items that flipped between two of them.
        expected: 95 % of the differences between two runs with so many flips are within plus and minus this.
        most: the same for the upper limit of flips compatible with so few runs (95 %, one-sided).
        least: the smallest difference above the noise, in items.
    """

    seen: int
    flips: int
    expected: int
    most: int
    least: int


def compute_noise_floor(noise: NoiseRecord) -> NoiseFloor:
    """Compute the noise floor of differences between two rows of the same engine and device.

    Two runs of one model are exchangeable: an item that flips between them is a gain or a loss with equal chance, so
    the variance of their difference is the expected number of flips, however unlike the items are, and the difference
    of Poisson many gains and losses follows Skellam's distribution (J. R. Stat. Soc. A 109 (1946) 296). The pair with
    the most flips counts, not the mean: runs cluster by batch schedule, and two rows may be of two clusters.

    `least` is one more than the larger of `seen` and `expected`. Where no item flipped it is one more than `most`,
    since few runs without a flip are weak evidence; where every answer of every run and every pass is equal in every
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
    """Two records of one model under settings that should give equal answers but do not.

    Attributes:
        first, second: the records.
        won, lost: items right only in the second's first run, and only in the first's.
    """

    first: NoiseRecord
    second: NoiseRecord
    won: int
    lost: int

    @property
    def flips(self) -> int:
        """Number of items that are right in one record and wrong in the other."""
        return self.won + self.lost

    @property
    def least(self) -> int:
        """The smallest difference in items that so many flips do not explain (see `compute_noise_floor`)."""
        return 1 + bound_difference(self.flips)

    @property
    def even(self) -> bool:
        """Whether gains and losses are balanced within chance, so that rounding alone may explain them."""
        return abs(self.won - self.lost) < self.least


def select_newest_records(records: Iterable[NoiseRecord]) -> list[NoiseRecord]:
    """Select the newest record of each model, settings and device, sorted by model."""
    newest_records = {
        (_request_key(record), digest(record.engine), record.provenance.device): record
        for record in sorted(records, key=lambda record: (record.created, digest(record.runs)))
    }
    return sorted(
        newest_records.values(),
        key=lambda record: (record.candidate, _request_key(record), record.created, digest(record.engine)),
    )


def find_settings_flips(records: Sequence[NoiseRecord]) -> list[SettingsFlips]:
    """Find, for each model with several records, the two settings between which the most items flip.

    A run that reproduces every token also reproduces its rounding errors; another batch composition or another kernel
    rounds differently. The items that then flip are noise that repeated runs do not show.

    Args:
        records: as `select_newest_records` returns them; records of one model are adjacent.
    """
    settings_flips = []
    for _, group in groupby(records, _request_key):
        pairs = [_count_settings_flips(one, other) for one, other in combinations(group, 2)]
        if unequal_pairs := [pair for pair in pairs if pair.flips]:
            settings_flips.append(max(unequal_pairs, key=lambda pair: pair.flips))
    return settings_flips


def _count_settings_flips(one: NoiseRecord, other: NoiseRecord) -> SettingsFlips:
    first, second = (int(noise.runs[0].correct, 16) for noise in (one, other))
    won, lost = (second & ~first).bit_count(), (first & ~second).bit_count()
    return SettingsFlips(one, other, won, lost)


def _request_key(noise: NoiseRecord) -> tuple[str, ...]:
    """Identify what was asked of which model: records with one key differ only by engine, settings or device."""
    identity = noise.model.identity
    return (
        noise.model.weights_sha256 or noise.candidate,
        (None if identity is None else identity.sha256) or digest(identity),
        noise.task.protocol_sha256,
        noise.selection.ids_sha256,
        noise.prompts_sha256,
    )


def describe_noise_floor(noise: NoiseRecord) -> str:
    """Describe the noise floor in one sentence."""
    floor, runs, mixed = compute_noise_floor(noise), len(noise.runs), _depends_on_batch(noise)
    subject = (
        f"two rows like {noise.candidate}'s of {noise.items:,} problems on {noise.engine.version} and "
        f"{noise.provenance.device}"
    )
    if floor.least == 1:
        return f"all {runs} runs are equal in every token: they show no noise between {subject}"
    summary = f"ignore a difference of fewer than {floor.least} problems between {subject} ({runs} runs"
    if noise.unsteady == 0:
        equal = f"{100 * noise.equal_share:.1f} % of the answers equal in every token"
        note = ", not all of them where prompts shared their batches otherwise" if mixed else ""
        return f"{summary}, {equal}{note}: no problem flipped, but so few runs leave {floor.most} possible)"
    return (
        f"{summary}: the largest difference was {floor.seen}; {floor.expected} covers 95 % where {floor.flips:,} "
        f"{'problem flips' if floor.flips == 1 else 'problems flip'}, as between two of them; so few runs leave "
        f"{floor.most} possible)"
    )


def _depends_on_batch(noise: NoiseRecord) -> bool:
    """Tell whether any answer depended on the other prompts in its batch."""
    passes = noise.passes
    return passes is not None and any(pair.equal < passes.selection.scored for pair in passes.pairs)


def bound_difference(mean: float) -> int:
    """Compute the smallest whole number that 95 % of the differences between two runs do not exceed.

    Args:
        mean: items that change between right and wrong from one run to the next, on average.
    """
    return int(scipy.stats.skellam.ppf((1 + CONFIDENCE) / 2, mean / 2, mean / 2)) if mean > 0 else 0


def _poisson_upper_limit(events: int) -> float:
    """Compute the one-sided 95 % upper limit of a Poisson mean, given an event count (Garwood, 1936)."""
    return float(scipy.stats.chi2.ppf(CONFIDENCE, 2 * (events + 1))) / 2
