"""More than one test at a time, counts of different items, and several seeds: what one p value cannot say."""

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import fmean, stdev

from baseline_bench.analysis.statistics import Interval, wilson_interval
from scipy.special import ndtr, ndtri
from scipy.stats import boschloo_exact, nct
from scipy.stats import t as student

# Fewer seeds say something of checkpoints, not of the recipe that made them.
MIN_SEEDS = 3
_MAX_SEEDS = 1000


def holm_adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p values adjusted for being one family, in the order given: below alpha is significant in the family.

    Holm's step-down method keeps the chance of any false finding below alpha, whatever the tests have to do with one
    another. Holm, Scand. J. Stat. 6 (1979) 65-70. An adjusted value is never below its own, nor above 1, and the order
    by size stays.

    Raises:
        ValueError: a value is no probability.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"{list(p_values)} are no p values")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = running
    return tuple(adjusted)


def boschloo_p_value(first: tuple[int, int], second: tuple[int, int]) -> float:
    """The two-sided p value of Boschloo's exact test: have two groups, of which only counts are known, one rate.

    For rows whose single items nobody kept; rows on the same items are compared by McNemar's test, which finds more.
    Boschloo, Stat. Neerl. 24 (1970) 1-35.

    Args:
        first: (right, asked) of one group.
        second: (right, asked) of the other.

    Raises:
        ValueError: counts that are no proportions.
    """
    _check_proportions(first, second)
    (right, total), (other, asked) = first, second
    # Groups are columns: scipy conditions on the column totals.
    return min(1.0, float(boschloo_exact([[right, other], [total - right, asked - other]]).pvalue))


def unpaired_interval(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> Interval:
    """The interval of the difference of two independent proportions, first less second, by their Wilson intervals.

    Newcombe, Stat. Med. 17 (1998) 873-890, method 10 there.

    Raises:
        ValueError: counts that are no proportions.
    """
    _check_proportions(first, second)
    rate, other = first[0] / first[1], second[0] / second[1]
    low, high = wilson_interval(*first, confidence)
    least, most = wilson_interval(*second, confidence)
    difference = rate - other
    return Interval(
        max(-1.0, difference - sqrt((rate - low) ** 2 + (most - other) ** 2)),
        min(1.0, difference + sqrt((high - rate) ** 2 + (other - least) ** 2)),
    )


def unpaired_power(rate: float, other: float, each: int, alpha: float = 0.05) -> float:
    """The probability that two rows of `each` items, compared by their counts alone, show their true difference.

    The normal formula, exact enough from some hundred items on. Fleiss, Levin and Paik, Statistical Methods for Rates
    and Proportions (3rd ed., 2003), ch. 4, without continuity correction.
    """
    spread, pooled = _standard_deviations(rate, other)
    if spread == 0:  # every item is certain: 0 against 0 is no difference, 0 against 1 is found at once
        return float(rate != other)
    reach = (abs(rate - other) * sqrt(each) + float(ndtri(alpha / 2)) * pooled) / spread
    return float(ndtr(reach))


def unpaired_items_needed(rate: float, other: float, power: float = 0.80, alpha: float = 0.05) -> int | None:
    """Items a row that `unpaired_power` asks for; None for equal rates."""
    if rate == other:
        return None
    spread, pooled = _standard_deviations(rate, other)
    return ceil(((float(ndtri(power)) * spread - float(ndtri(alpha / 2)) * pooled) / (rate - other)) ** 2)


def seeds_interval(rates: Sequence[float], confidence: float = 0.95) -> Interval:
    """The t interval of a recipe's mean score over training seeds, each seed one observation (df = seeds - 1).

    Items are not observations here: seeds answer the same ones. The ends may leave 0 to 1; few seeds say little.

    Raises:
        ValueError: fewer than three seeds, or a confidence that is none.
    """
    if len(rates) < MIN_SEEDS or not 0 < confidence < 1:
        raise ValueError(f"{len(rates)} seeds and a confidence of {confidence} give no interval")
    half = float(student.ppf((1 + confidence) / 2, len(rates) - 1)) * stdev(rates) / sqrt(len(rates))
    return Interval(fmean(rates) - half, fmean(rates) + half)


def seeds_needed(gain: float, spread: float, power: float = 0.80, alpha: float = 0.05, arms: int = 1) -> int | None:
    """Training seeds on which a two-sided t test finds a gain of the mean, in its own direction.

    Args:
        gain: true difference of the mean score, as a proportion; its sign does not matter.
        spread: standard deviation of the score between seeds, as a proportion.
        power: probability of finding it.
        alpha: two-sided significance level.
        arms: 1 where the other side is one fixed model, 2 where it is a recipe trained with as many seeds.

    Returns:
        Seeds a recipe, at least three; None where a thousand do not suffice.
    """
    for seeds in range(MIN_SEEDS, _MAX_SEEDS + 1):
        if spread == 0:
            return seeds
        freedom, shift = arms * (seeds - 1), abs(gain) / (spread * sqrt(arms / seeds))
        if float(nct.sf(student.ppf(1 - alpha / 2, freedom), freedom, shift)) >= power:
            return seeds
    return None


def _standard_deviations(rate: float, other: float) -> tuple[float, float]:
    """Standard deviation of one item's difference where the rates are these, and where both are their mean."""
    mean = (rate + other) / 2
    return sqrt(rate * (1 - rate) + other * (1 - other)), sqrt(2 * mean * (1 - mean))


def _check_proportions(*groups: tuple[int, int]) -> None:
    for right, total in groups:
        if not 0 <= right <= total or total < 1:
            raise ValueError(f"{right} of {total} is no proportion")
