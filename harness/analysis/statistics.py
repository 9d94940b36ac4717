"""Intervals of one row's score and of the difference of two rows, with the tests and sample sizes for them."""

from collections.abc import Callable
from functools import cache
from math import ceil, floor, inf, isqrt, log2, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # loads stats, which takes seconds, when it is first used

# The share of items on which two rows are assumed to disagree before they are measured.
DEFAULT_DISCORDANCE = 0.25
_EXACT_LIMIT = 1_000_000
_BISECTION_STEPS = 40
_DIFFERENCE_STEP = 1e-6

IntegerArray = npt.NDArray[np.int64]


class Interval(NamedTuple):
    """The ends of an interval, as proportions from 0 to 1."""

    low: float
    high: float


def format_points(difference: float) -> str:
    """Format a difference of proportions, or a bound of one, in points: two decimals and its sign.

    A value too small for the decimals keeps its sign, so -0.00 is a loss; only a true zero is +0.00.
    """
    return f"{100 * difference + 0.0:+.2f}"


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Compute Wilson's score interval of a proportion, without continuity correction.

    It stays within 0 to 1 and keeps its width near 0 and 1, where a Wald interval shrinks to nothing.
    Wilson, JASA 22 (1927) 209-212; recommended by Brown, Cai and DasGupta, Stat. Sci. 16 (2001) 101-133.

    Args:
        successes: items answered right.
        total: items asked, at least 1.
        confidence: coverage, above 0 and below 1.

    Raises:
        ValueError: the counts or the confidence are impossible.
    """
    if not 0 <= successes <= total or total < 1:
        raise ValueError(f"{successes} of {total} is no proportion")
    z = _normal_quantile((1 + confidence) / 2)
    rate = successes / total
    shrink = 1 + z * z / total
    centre = (rate + z * z / (2 * total)) / shrink
    half = z * sqrt(rate * (1 - rate) / total + z * z / (4 * total * total)) / shrink
    # At 0 and at `total` an end is exact; rounding must not leave 1e-17 there.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Interval(low, high)


def resolvable_difference(
    total: int, discordance: float = DEFAULT_DISCORDANCE, power: float = 0.80, alpha: float = 0.05
) -> float | None:
    """Compute the smallest true difference between two rows on the same items that `paired_interval` finds.

    By bisection of `exact_power`, which grows with the difference.

    Args:
        total: items that both rows answered, at least 1.
        discordance: share of items that exactly one of the two rows gets right.
        power: probability of finding the difference.
        alpha: two-sided significance level.

    Returns:
        The difference as a proportion; None if even fully one-sided discordance is not found with so few items.

    Raises:
        ValueError: an argument is impossible.
    """
    if total < 1 or not 0 < discordance <= 1 or not 0 < alpha < 1 or not 0.5 <= power < 1:
        raise ValueError(f"no design has {total=}, {discordance=}, {power=}, {alpha=}")
    if exact_power(total, discordance, discordance, alpha) < power:
        return None
    below, enough = 0.0, discordance
    while enough - below > _DIFFERENCE_STEP:
        middle = (below + enough) / 2
        reached = exact_power(total, middle, discordance, alpha) >= power
        below, enough = (below, middle) if reached else (middle, enough)
    return enough


class PairCounts(NamedTuple):
    """Item counts of two rows on the same items: right in both, only in the first, only in the second, in neither."""

    both: int
    first: int
    second: int
    neither: int

    @property
    def total(self) -> int:
        """Number of items."""
        return sum(self)

    @property
    def difference(self) -> float:
        """The first row's rate less the second's."""
        return (self.first - self.second) / self.total


def paired_interval(pairs: PairCounts, confidence: float = 0.95) -> Interval:
    """Compute the interval of a paired difference from which the decision follows: 0 outside it is a difference.

    Tango's score interval (Stat. Med. 17 (1998) 891-908) with two changes. Its critical value is `critical_value`, so
    that 0 is outside wherever McNemar's exact test rejects; with fewer discordant items than that test needs for any
    decision, 0 stays inside. A continuity correction that is nothing at a difference of 0 keeps the coverage where
    almost all discordant items favour one row. docs/statistics.md has its coverage by enumeration.

    Args:
        pairs: counts of at least one item.
        confidence: coverage, above 0 and below 1.

    Returns:
        The interval within -1 to 1. Exchanging the rows mirrors it exactly.

    Raises:
        ValueError: no item, a negative count, or an impossible confidence.
    """
    if min(pairs) < 0 or pairs.total < 1:
        raise ValueError(f"{pairs} counts no items")
    critical = critical_value(pairs.total, 1 - confidence)
    low = -_find_upper_bound(pairs.second, pairs.first, pairs.total, critical)
    high = _find_upper_bound(pairs.first, pairs.second, pairs.total, critical)
    if pairs.first + pairs.second < least_discordant(1 - confidence):
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(low, high)


def paired_p_value(pairs: PairCounts) -> float:
    """Compute the level at which `paired_interval` would end at 0: its interval at level alpha excludes 0 if p < alpha.

    Never above McNemar's exact p value: it is the least of those whose |b - c| / sqrt(b + c) is at most the observed
    one, over the numbers of discordant items that `critical_value` considers.

    Raises:
        ValueError: as for `paired_interval`.
    """
    if min(pairs) < 0 or pairs.total < 1:
        raise ValueError(f"{pairs} counts no items")
    observed = pairs.first + pairs.second
    if pairs.first == pairs.second:
        return 1.0
    discordant = _list_decisive_counts(pairs.total)
    spread = abs(pairs.first - pairs.second) / sqrt(observed) * np.sqrt(discordant)
    losses = np.ceil((discordant - spread) / 2 - 1e-9)
    least = 2 * float(np.min(scipy.stats.binom.cdf(losses, discordant, 0.5), where=losses >= 0, initial=0.5))
    return min(max(least, 2.0 ** (1 - observed)), mcnemar_p_value(pairs))


@cache
def critical_value(total: int, alpha: float = 0.05) -> float:
    """Compute the least |b - c| / sqrt(b + c) that decides for one of two rows, b and c counting its discordant items.

    It is the least at which McNemar's exact test rejects for any b + c up to `total`: no decision of that test is lost.

    Args:
        total: items that both rows answered; with fewer than `least_discordant` that number counts.
        alpha: two-sided significance level.

    Raises:
        ValueError: the level is impossible.
    """
    total = max(total, least_discordant(alpha))
    discordant = _list_decisive_counts(total)
    losses = _most_exact_losses(discordant, alpha)
    values = (discordant - 2 * losses) / np.sqrt(discordant)
    return float(np.min(values[losses >= 0]))


def least_discordant(alpha: float = 0.05) -> int:
    """Compute with how many discordant items, all in favour of one row, McNemar's exact test rejects: 6 at 5 %.

    Raises:
        ValueError: the level is impossible.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"{alpha} is no level between 0 and 1")
    return floor(1 - log2(alpha)) + 1


def newcombe_interval(pairs: PairCounts, confidence: float = 0.95) -> Interval:
    """Compute the interval of a paired difference of proportions: Newcombe's method 10, from Wilson's intervals.

    Newcombe, Stat. Med. 17 (1998) 2635-2650, with the continuity correction of the correlation given there. It stays
    within -1 to 1 and does not shrink to nothing where no pair is discordant.

    Args:
        pairs: counts of at least one item.
        confidence: coverage, above 0 and below 1.

    Raises:
        ValueError: no item, or a negative count.
    """
    if min(pairs) < 0 or pairs.total < 1:
        raise ValueError(f"{pairs} counts no items")
    total = pairs.total
    right, other = pairs.both + pairs.first, pairs.both + pairs.second
    low, high = wilson_interval(right, total, confidence)
    other_low, other_high = wilson_interval(other, total, confidence)
    rate, other_rate = right / total, other / total
    phi = _phi_coefficient(pairs)
    below, above = rate - low, other_high - other_rate
    down = sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    below, above = other_rate - other_low, high - rate
    up = sqrt(max(0.0, below**2 - 2 * phi * below * above + above**2))
    return Interval(max(-1.0, pairs.difference - down), min(1.0, pairs.difference + up))


def mcnemar_p_value(pairs: PairCounts) -> float:
    """Compute the two-sided p value of McNemar's exact test that discordant pairs are equally likely either way.

    McNemar, Psychometrika 12 (1947) 153-157; exact by the binomial distribution. Without a discordant pair it is 1.
    """
    discordant = pairs.first + pairs.second
    if not discordant:
        return 1.0
    return min(1.0, 2 * float(scipy.stats.binom.cdf(min(pairs.first, pairs.second), discordant, 0.5)))


def mcnemar_mid_p_value(pairs: PairCounts) -> float:
    """Compute the mid-p value, with half of the observed outcome's probability: less conservative, nearly exact.

    Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13 (2013) 91.
    """
    discordant, least = pairs.first + pairs.second, min(pairs.first, pairs.second)
    if not discordant:
        return 1.0
    if pairs.first == pairs.second:
        return 1.0 - float(scipy.stats.binom.pmf(least, discordant, 0.5)) / 2
    return min(1.0, mcnemar_p_value(pairs) - float(scipy.stats.binom.pmf(least, discordant, 0.5)))


def items_needed(difference: float, discordance: float, power: float = 0.80, alpha: float = 0.05) -> int | None:
    """Compute the items with which McNemar's two-sided test finds a difference, by Connor's sample size.

    n = ((z(1 - alpha/2) sqrt(psi) + z(power) sqrt(psi - d^2)) / d)^2 with psi the discordance (Biometrics 43 (1987)
    207-211, p. 209). It holds for large numbers.

    Args:
        difference: the true one, as a proportion.
        discordance: share of items that exactly one of the two rows gets right; at least the difference.
        power: probability of finding the difference.
        alpha: two-sided significance level.

    Returns:
        The number; None for no difference at all.
    """
    gap = abs(difference)
    if gap == 0:
        return None
    z_alpha, z_power = _normal_quantile(1 - alpha / 2), _normal_quantile(power)
    spread = max(discordance, gap)
    return ceil(((z_alpha * sqrt(spread) + z_power * sqrt(max(0.0, spread - gap * gap))) / gap) ** 2)


def exact_power(total: int, difference: float, discordance: float, alpha: float = 0.05) -> float:
    """Compute the probability that `paired_interval` finds a true difference in its own direction.

    The number of discordant pairs is binomial, and so are the better row's wins among them. Both sums are complete but
    for discordant counts in either tail of probability below 1e-15.

    Args:
        total: items that both rows answer, at least 1.
        difference: the true one, as a proportion; its sign does not matter.
        discordance: share of items that exactly one of the two rows gets right; at least the difference.
        alpha: two-sided significance level.

    Raises:
        ValueError: no two rows can differ like this.
    """
    gap = abs(difference)
    if total < 1 or not 0 < gap <= discordance <= 1 or not 0 < alpha < 1:
        raise ValueError(f"no two rows have {total=}, {difference=}, {discordance=}, {alpha=}")
    least, most = scipy.stats.binom.ppf(1e-15, total, discordance), scipy.stats.binom.isf(1e-15, total, discordance)
    discordant = np.arange(max(0, int(least)), int(most) + 1)
    losses = _most_decided_losses(discordant, total, alpha)
    power_given_discordant = scipy.stats.binom.cdf(losses, discordant, (1 - gap / discordance) / 2)
    return float(np.sum(scipy.stats.binom.pmf(discordant, total, discordance) * power_given_discordant))


def items_needed_exact(difference: float, discordance: float, power: float = 0.80, alpha: float = 0.05) -> int:
    """Compute the items with which `paired_interval` reaches the power: Connor's number, raised as needed.

    It needs a few more than the formula, which holds for large numbers. The power is not quite monotone in
    the items; the result suffices while one item less does not, unless the formula's own number suffices. Above a
    million items the two differ by less than 0.2 %, and the formula's number is returned.

    Raises:
        ValueError: no two rows can differ like this.
    """
    least = items_needed(difference, discordance, power, alpha)
    if least is None:
        raise ValueError("no number of items finds a difference of 0")
    if least > _EXACT_LIMIT:
        return least
    return _raise_until(least, lambda total: exact_power(total, difference, discordance, alpha) >= power)


class MarginPower(NamedTuple):
    """Probabilities that the interval is within -margin to margin, and that it is above -margin."""

    equivalence: float
    non_inferiority: float


def margin_power(total: int, margin: float, difference: float, discordance: float, alpha: float = 0.05) -> MarginPower:
    """Compute how often `paired_interval` of confidence 1 - 2 alpha shows that a difference is within a margin.

    Sums the probabilities of all tables of gains and losses; left out are counts in tails of probability below 1e-15.

    Args:
        total: items that both rows answer, at least 1.
        margin: the largest difference that does not matter, a share above 0 and below 1.
        difference: the true one, first less second, a share.
        discordance: share of items that exactly one of the two rows gets right; at least the difference.
        alpha: level of each of the two one-sided tests, below 0.5.

    Raises:
        ValueError: no two rows can differ like this, or the margin or level is impossible.
    """
    if total < 1 or not abs(difference) <= discordance <= 1 or not 0 < margin < 1 or not 0 < alpha < 0.5:
        raise ValueError(f"no two rows have {total=}, {difference=}, {discordance=}, {margin=}, {alpha=}")
    gain, loss = (discordance + difference) / 2, (discordance - difference) / 2
    ends = [scipy.stats.binom.ppf([1e-15, 1 - 1e-15], total, share) for share in (gain, loss)]
    counts = np.arange(max(0, int(np.min(ends))), int(np.max(ends)) + 1)
    losses = _least_losses_within(counts, total, margin, critical_value(total, 2 * alpha))
    # Exchanging the rows mirrors the interval: so many losses at most leave it above -margin.
    most = counts[0] + np.searchsorted(losses, counts, side="right") - 1
    chances = scipy.stats.binom.pmf(counts, total, gain)
    up_to = scipy.stats.binom(total - counts, min(1.0, loss / (1 - gain)) if gain < 1 else 0.0)
    non_inferior = up_to.cdf(most)
    equivalent = np.maximum(non_inferior - up_to.cdf(losses - 1), 0.0)
    return MarginPower(float(chances @ equivalent), float(chances @ non_inferior))


def items_needed_for_margin(
    margin: float, difference: float, discordance: float, power: float = 0.80, alpha: float = 0.05
) -> tuple[int | None, int | None]:
    """Compute the items with which `margin_power` reaches the power: for equivalence and for non-inferiority.

    None where the true difference is not within the margin. Errors as in `margin_power`.
    """
    quantiles = _normal_quantile(1 - alpha) + _normal_quantile(power)

    def search(distance: float, which: int) -> int | None:
        if distance <= 0:
            return None
        least = max(1, ceil((discordance - difference**2) * (quantiles / distance) ** 2))
        return _raise_until(least, lambda n: margin_power(n, margin, difference, discordance, alpha)[which] >= power)

    return search(margin - abs(difference), 0), search(margin + difference, 1)


def _raise_until(least: int, suffices: Callable[[int], bool]) -> int:
    """Return `least` if it suffices, else a larger number that does while one less does not."""
    if suffices(least):
        return least
    step = 1
    while not suffices(least + step):
        step *= 2
    below, enough = least + step // 2, least + step
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if suffices(middle) else (middle, enough)
    return enough


def _least_losses_within(gains: IntegerArray, total: int, margin: float, critical: float) -> IntegerArray:
    """Compute for consecutive gains the least losses with which the interval is below the margin.

    One more than the items leave where no number is enough. More gains never take fewer losses.
    """
    losses, least = max(0, floor(int(gains[0]) - margin * total)), []
    for gained in gains.tolist():
        while gained + losses <= total and _score_against(gained, losses, total, margin) < critical:
            losses += 1
        least.append(losses)
    return np.array(least)


def _list_decisive_counts(total: int) -> IntegerArray:
    """List the numbers of discordant items, close to `total`, at which `critical_value` is reached.

    Within 11 square roots of it, up to 200,000 items and from alpha 0.2 to 0.0001.
    """
    return np.arange(max(1, total - 20 * isqrt(total)), total + 1)


def _most_exact_losses(discordant: IntegerArray, alpha: float) -> IntegerArray:
    """Compute the most losses with which McNemar's exact test still rejects; -1 if it never does."""
    # One less than the first count whose tail reaches half of alpha.
    least: IntegerArray = scipy.stats.binom.ppf(alpha / 2, discordant, 0.5).astype(int)
    return least - 1


def _most_decided_losses(discordant: IntegerArray, total: int, alpha: float) -> IntegerArray:
    """Compute the most losses with which `paired_interval` still decides for the other row; -1 if it never does."""
    critical = critical_value(total, alpha)
    roots = np.sqrt(np.maximum(discordant, 1))
    losses = np.floor((discordant - critical * roots) / 2 + 1e-6).astype(int)
    losses -= (discordant - 2 * losses) / roots < critical  # where rounding, or the 1e-6, gave one too many
    return np.where(discordant < least_discordant(alpha), -1, losses)


def _find_upper_bound(gains: int, losses: int, total: int, critical: float) -> float:
    """Find the largest difference that the score test does not reject, by bisection from the observed one to 1."""
    inside, outside = (gains - losses) / total, 1.0
    if gains < losses:
        if (losses - gains) / sqrt(gains + losses) < critical:
            inside = 0.0
        else:
            outside = 0.0
    for _ in range(_BISECTION_STEPS):
        middle = (inside + outside) / 2
        if _score_against(gains, losses, total, middle) < critical:
            inside = middle
        else:
            outside = middle
    return inside


def _score_against(gains: int, losses: int, total: int, difference: float) -> float:
    """Compute Tango's score statistic against a difference above the observed one, corrected for continuity.

    The estimates under that difference are his. The correction is at most one item: a third by how one-sided the
    discordance then is, which matters if few items are discordant, and two thirds near a difference of 1.
    """
    linear = (2 * total - gains + losses) * difference - gains - losses
    constant = -losses * difference * (1 - difference)
    root = sqrt(max(0.0, linear * linear - 8 * total * constant))
    # The share of losses under the difference; of two equal forms, the one that subtracts nothing.
    share = (root - linear) / (4 * total) if linear < 0 else -2 * constant / (root + linear) if root else 0.0
    discordance = 2 * max(share, -difference, 0.0) + difference
    variance = total * (discordance - difference * difference)
    one_sided = abs(difference) / discordance if discordance else 0.0
    distance = total * difference - (gains - losses) - (one_sided + 2 * difference**4) / 3
    if distance <= 0:
        return 0.0
    return distance / sqrt(variance) if variance > 0 else inf


def _phi_coefficient(pairs: PairCounts) -> float:
    """Compute phi of the 2 x 2 table, a positive numerator corrected for continuity; 0 if a margin is 0."""
    both, first, second, neither = pairs
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins == 0:
        return 0.0
    product = both * neither - first * second
    corrected = max(product - pairs.total / 2, 0.0) if product > 0 else product
    return float(corrected / sqrt(margins))


def _normal_quantile(probability: float) -> float:
    if not 0 < probability < 1:
        raise ValueError(f"{probability} is no probability between 0 and 1")
    return float(scipy.special.ndtri(probability))
