"""Several tests at once, counts over different items, and several seeds: what one p value cannot answer."""

from collections.abc import Sequence
from math import ceil, sqrt

import scipy  # loads stats, which takes seconds, when it is first used
from baseline_bench.analysis.statistics import Interval, wilson_interval

# Fewer seeds describe single checkpoints, not the recipe that made them.
MIN_SEEDS = 3


def holm_adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjust the p values of one family, in the order given: below alpha means significant in the family.

    Holm's step-down method keeps the chance of any false finding below alpha, however the tests depend on one another.
    Holm, Scand. J. Stat. 6 (1979) 65-70. An adjusted value is never below the original, nor above 1, and the order by
    size is kept.

    Raises:
        ValueError: a value is not a probability.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"{list(p_values)} are no p values")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def boschloo_p_value(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Compute the two-sided p value of Boschloo's exact test that two groups, known by counts, have one rate.

    For rows without item-level results; McNemar's test compares rows on the same items with more power.
    Boschloo, Stat. Neerl. 24 (1970) 1-35.

    Args:
        first: (right, total) of one group.
        second: (right, total) of the other.

    Raises:
        ValueError: the counts are impossible.
    """
    _check_proportions(first, second)
    (first_right, first_total), (second_right, second_total) = first, second
    # Groups are columns: scipy conditions on the column totals.
    table = [[first_right, second_right], [first_total - first_right, second_total - second_right]]
    return min(1.0, float(scipy.stats.boschloo_exact(table).pvalue))


def unpaired_interval(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> Interval:
    """Compute the interval of the difference of two independent proportions, first less second.

    From their Wilson intervals: Newcombe, Stat. Med. 17 (1998) 873-890, method 10 there.

    Raises:
        ValueError: the counts are impossible.
    """
    _check_proportions(first, second)
    rate, other = first[0] / first[1], second[0] / second[1]
    low, high = wilson_interval(*first, confidence)
    other_low, other_high = wilson_interval(*second, confidence)
    difference = rate - other
    return Interval(
        max(-1.0, difference - sqrt((rate - low) ** 2 + (other_high - other) ** 2)),
        min(1.0, difference + sqrt((high - rate) ** 2 + (other - other_low) ** 2)),
    )


def unpaired_power(rate: float, other: float, each: int, alpha: float = 0.05) -> float:
    """Compute the power of comparing two rows of `each` items by their counts alone.

    The normal approximation, accurate enough from about a hundred items on, without continuity correction. Fleiss,
    Levin and Paik, Statistical Methods for Rates and Proportions (3rd ed., 2003), ch. 4.
    """
    spread, pooled = _standard_deviations(rate, other)
    if spread == 0:  # every item is certain: 0 against 0 is no difference, 0 against 1 is found at once
        return float(rate != other)
    reach = (abs(rate - other) * sqrt(each) + float(scipy.special.ndtri(alpha / 2)) * pooled) / spread
    return float(scipy.special.ndtr(reach))


def unpaired_items_needed(rate: float, other: float, power: float = 0.80, alpha: float = 0.05) -> int | None:
    """Compute the items a row for which `unpaired_power` reaches `power`; None for equal rates."""
    if rate == other:
        return None
    spread, pooled = _standard_deviations(rate, other)
    reach = float(scipy.special.ndtri(power)) * spread - float(scipy.special.ndtri(alpha / 2)) * pooled
    return ceil((reach / (rate - other)) ** 2)


def _standard_deviations(rate: float, other: float) -> tuple[float, float]:
    """Return the standard deviation of one item's difference at these rates, and with both at their mean."""
    mean = (rate + other) / 2
    return sqrt(rate * (1 - rate) + other * (1 - other)), sqrt(2 * mean * (1 - mean))


def _check_proportions(*groups: tuple[int, int]) -> None:
    for right, total in groups:
        if not 0 <= right <= total or total < 1:
            raise ValueError(f"{right} of {total} is no proportion")
