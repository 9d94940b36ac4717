"""How far a score may be believed: the interval of one row, and the difference that two rows can show."""

from math import sqrt
from typing import NamedTuple

from scipy.special import ndtri


class Interval(NamedTuple):
    """The ends of an interval, as proportions from 0 to 1."""

    low: float
    high: float


def wilson(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion, without continuity correction.

    It never leaves 0 to 1 and stays honest at the floor, where a Wald interval shrinks to nothing.
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
    z = _quantile((1 + confidence) / 2)
    rate = successes / total
    shrink = 1 + z * z / total
    centre = (rate + z * z / (2 * total)) / shrink
    half = z * sqrt(rate * (1 - rate) / total + z * z / (4 * total * total)) / shrink
    # At 0 and at `total` an end is exact; rounding must not leave 1e-17 there.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Interval(low, high)


def resolvable_difference(
    total: int, discordance: float = 0.25, power: float = 0.80, alpha: float = 0.05
) -> float | None:
    """The smallest true difference that McNemar's two-sided test finds between two rows on the same items.

    Connor's sample size for paired proportions (Biometrics 43 (1987) 207-211, p. 209),
    n = ((z(1 - alpha/2) sqrt(psi) + z(power) sqrt(psi - d^2)) / d)^2 with psi the discordance, solved for d.

    Args:
        total: items that both rows answered, at least 1.
        discordance: share of items that exactly one of the two rows gets right.
        power: probability of finding the difference.
        alpha: two-sided significance level.

    Returns:
        The difference as a proportion; None where even one-sided discordance would not be found on so few items.

    Raises:
        ValueError: an argument is impossible.
    """
    if total < 1 or not 0 < discordance <= 1 or not 0 < alpha < 1 or not 0.5 <= power < 1:
        raise ValueError(f"no design has {total=}, {discordance=}, {power=}, {alpha=}")
    z_alpha, z_power = _quantile(1 - alpha / 2), _quantile(power)
    radicand = total + z_power**2 - z_alpha**2
    if radicand < 0:
        return None
    difference = sqrt(discordance) * (z_alpha * sqrt(total) + z_power * sqrt(radicand)) / (total + z_power**2)
    return difference if difference <= discordance else None


def _quantile(probability: float) -> float:
    """The standard normal quantile."""
    if not 0 < probability < 1:
        raise ValueError(f"{probability} is no probability between 0 and 1")
    return float(ndtri(probability))
