"""Enumerate size, coverage and width of the paired interval, over the tables that two rows of n problems can give.

    python -m benchmarks.statistics.paired_interval [--sizes 25 50 ...] [--confidence 0.95]
        [--candidates | --margins | --power]

Prints a Markdown table; takes minutes. Left out are tables so far from their expectation that together they have a
probability below 1e-12. The score test is written here again, for arrays, and compared with the program's.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import scipy
from baseline_bench.analysis import statistics
from baseline_bench.analysis.statistics import Interval, PairCounts

Numbers = npt.NDArray[np.float64]
# Maps a tested difference and the discordance estimated under it to the problems taken off the distance.
Correction = Callable[[float | Numbers, Numbers], Numbers]

SIZES = (4, 8, 16, 25, 50, 100, 200, 400, 1319, 5000)
# Discordance and difference of the designs over which widths are averaged.
COMMON = tuple((share, gap) for share in (0.05, 0.1, 0.2, 0.3, 0.4) for gap in (0.0, 0.05, 0.1, 0.15) if gap < share)
MARGINS = (0.01, 0.02, 0.05, 0.1)
# Discordance and difference of the designs whose power is compared with the exact test's.
DESIGNS = ((0.06, 0.02), (0.25, 0.05), (0.25, 0.1))
# How many standard deviations, and problems, a count is followed from its expectation.
_DEVIATIONS, _PROBLEMS = 7.5, 16
_WIDTH_TABLES = 300


@dataclass(frozen=True, slots=True)
class Procedure:
    """A score test of the paired difference, inverted to an interval.

    Attributes:
        critical: maps the number of problems and the level to the critical value.
        correction: for continuity.
        few_decide: also fewer discordant problems than the exact test needs can decide.
    """

    critical: Callable[[int, float], float]
    correction: Correction
    few_decide: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A value found at a true discordance and difference."""

    value: float
    discordance: float
    difference: float


@dataclass(frozen=True, slots=True)
class Quality:
    """What enumeration finds for one number of problems; shares from 0 to 1.

    Attributes:
        problems: that both rows answer.
        critical: value of the test.
        size: the largest error at a difference of 0.
        coverage: the least.
        widths: mean over `COMMON`, against Newcombe's interval and against the same test's without a correction.
        lost: tables, up to the order of their counts, that the exact test rejects and this one does not.
    """

    problems: int
    critical: float
    size: Point
    coverage: Point
    widths: tuple[float, float]
    lost: int


def correct_one_sided(difference: float | Numbers, discordance: Numbers) -> Numbers:
    """Return the share by which the discordance favours one row."""
    return np.divide(difference, discordance, out=np.zeros_like(discordance), where=discordance > 0)


def correct(difference: float | Numbers, discordance: Numbers) -> Numbers:
    """Return the correction in use."""
    return (correct_one_sided(difference, discordance) + 2 * difference**4) / 3


def _correct_nothing(_: float | Numbers, discordance: Numbers) -> Numbers:
    return np.zeros_like(discordance)


IN_USE = Procedure(statistics.critical_value, correct)
CANDIDATES: Mapping[str, Procedure] = {
    "Tango's interval": Procedure(
        lambda _, alpha: float(scipy.special.ndtri(1 - alpha / 2)), _correct_nothing, few_decide=True
    ),
    "with the critical value raised": Procedure(statistics.critical_value, _correct_nothing, few_decide=True),
    "corrected by d^4 / 2": Procedure(statistics.critical_value, lambda d, s: 0 * s + d**4 / 2),
    "corrected by d^4": Procedure(statistics.critical_value, lambda d, s: 0 * s + d**4),
    "corrected by (d/D)^2 / 4 + 3 d^4 / 4": Procedure(
        statistics.critical_value, lambda d, s: (correct_one_sided(d, s) ** 2 + 3 * d**4) / 4
    ),
    "corrected by d/D / 3 + 2 d^4 / 3, in use": IN_USE,
}


def score(
    gains: Numbers, losses: Numbers, problems: int, difference: float | Numbers, correction: Correction
) -> Numbers:
    """Compute the corrected score statistic of tables against a difference, without its sign."""
    # A loss is tested as a gain of the other row.
    lower = np.less(difference, 0)
    gains, losses = np.where(lower, losses, gains), np.where(lower, gains, losses)
    difference = np.abs(difference)
    linear = (2 * problems - gains + losses) * difference - gains - losses
    constant = losses * difference * (1 - difference)
    root = np.sqrt(linear * linear + 8 * problems * constant)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(linear < 0, (root - linear) / (4 * problems), np.nan_to_num(2 * constant / (root + linear)))
        discordance = 2 * share + difference
        variance = problems * (discordance - difference * difference)
        distance = np.abs(gains - losses - problems * difference) - correction(difference, discordance)
        return np.where(distance > 0, distance / np.sqrt(np.maximum(variance, 0)), 0.0)


def decide(
    gains: Numbers, losses: Numbers, problems: int, alpha: float, how: Procedure = IN_USE
) -> npt.NDArray[np.bool_]:
    """Tell which tables decide for one of the rows."""
    discordant = gains + losses
    least = 1 if how.few_decide else statistics.least_discordant(alpha)
    values = np.abs(gains - losses) / np.sqrt(np.maximum(discordant, 1))
    decided: npt.NDArray[np.bool_] = (values >= how.critical(problems, alpha)) & (discordant >= least)
    return decided


def cover(
    gains: Numbers, losses: Numbers, problems: int, difference: float, alpha: float, how: Procedure = IN_USE
) -> npt.NDArray[np.bool_]:
    """Tell which tables' intervals contain the difference."""
    undecided = ~decide(gains, losses, problems, alpha, how)
    if difference == 0:
        return undecided
    inside = score(gains, losses, problems, difference, how.correction) < how.critical(problems, alpha)
    # The interval of a table that decides nothing contains all from 0 to the observed difference.
    between: npt.NDArray[np.bool_] = undecided & (np.sign(difference) * (gains - losses) >= problems * abs(difference))
    return between | inside


def list_tables(problems: int, discordance: float, difference: float) -> tuple[Numbers, Numbers, Numbers]:
    """Return gains, losses and probability of every table near the expectation."""
    gain, loss = (discordance + difference) / 2, max(0.0, (discordance - difference) / 2)
    gains, losses = (_list_counts(problems, share) for share in (gain, loss))
    of_the_rest = min(1.0, loss / (1 - gain)) if gain < 1 else 0.0
    chances = scipy.stats.binom.pmf(gains, problems, gain)[:, None] * scipy.stats.binom.pmf(
        losses, problems - gains[:, None], of_the_rest
    )
    rows, columns = np.nonzero(chances > 1e-18)
    return gains[rows], losses[columns], chances[rows, columns]


def measure_coverage(
    problems: int, discordance: float, difference: float, alpha: float, how: Procedure = IN_USE
) -> Point:
    """Compute the probability that the interval contains the true difference."""
    gains, losses, chances = list_tables(problems, discordance, difference)
    missed = ~cover(gains, losses, problems, difference, alpha, how)
    return Point(1 - float(chances[missed].sum()), discordance, difference)


def find_least_coverage(problems: int, alpha: float, how: Procedure = IN_USE, steps: int = 40) -> Point:
    """Search the whole simplex: a grid that is denser at its edges, then ever closer around its worst points."""
    points = [measure_coverage(problems, *point, alpha, how) for point in _list_grid(problems, steps)]
    random = np.random.default_rng(0)
    for closer in (1.0, 0.3, 0.1):
        points = sorted(points, key=lambda point: point.value)[:8]
        for point in tuple(points):
            for _ in range(steps):
                near, far = random.normal(scale=closer / steps, size=2)
                discordance = min(1.0, point.discordance * float(np.exp(near)))
                difference = discordance * min(1.0, abs(point.difference / point.discordance + float(far)))
                points.append(measure_coverage(problems, discordance, difference, alpha, how))
    return min(points, key=lambda point: point.value)


def find_size(problems: int, alpha: float, how: Procedure = IN_USE, steps: int = 200) -> Point:
    """Find the largest probability of a decision where the true difference is 0."""
    shares = np.unique(np.r_[np.linspace(0, 1, steps + 1)[1:], np.geomspace(1 / problems, 1, steps)])
    points = (measure_coverage(problems, float(share), 0.0, alpha, how) for share in shares)
    return max((Point(1 - point.value, point.discordance, 0.0) for point in points), key=lambda point: point.value)


def count_lost(problems: int, alpha: float) -> int:
    """Count the tables that McNemar's exact test rejects and the procedure does not."""
    gains, losses = (counts.ravel().astype(float) for counts in np.mgrid[0 : problems + 1, 0 : problems + 1])
    real = (gains + losses <= problems) & (losses < gains)
    gains, losses = gains[real], losses[real]
    exact = 2 * scipy.stats.binom.cdf(losses, gains + losses, 0.5) < alpha
    return int(np.sum(exact & ~decide(gains, losses, problems, alpha)))


def compare_widths(problems: int, confidence: float) -> tuple[float, float]:
    """Return the mean width against Newcombe's, and against the same test's without a correction.

    Newcombe's depends on the concordant problems: half of them are right in both rows.
    """
    ratios = []
    for discordance, difference in COMMON:
        gains, losses, chances = list_tables(problems, discordance, difference)
        likely = np.argsort(-chances)[:_WIDTH_TABLES]
        gains, losses, chances = gains[likely], losses[likely], chances[likely]
        own, newcombe = (
            np.array([_width(method(pairs, confidence)) for pairs in _build_pairs(problems, gains, losses)])
            for method in (statistics.paired_interval, statistics.newcombe_interval)
        )
        plain = _find_high(gains, losses, problems, 1 - confidence) + _find_high(
            losses, gains, problems, 1 - confidence
        )
        ratios.append((chances @ own / (chances @ newcombe), chances @ own / (chances @ plain)))
    return tuple(np.mean(ratios, axis=0).tolist())


def measure(problems: int, confidence: float, steps: int) -> Quality:
    """Enumerate everything for one number of problems."""
    alpha = 1 - confidence
    return Quality(
        problems,
        statistics.critical_value(problems, alpha),
        find_size(problems, alpha, steps=5 * steps),
        find_least_coverage(problems, alpha, steps=steps),
        compare_widths(problems, confidence),
        count_lost(problems, alpha),
    )


def find_margin_size(problems: int, margin: float, alpha: float = 0.05, steps: int = 40) -> Point:
    """Find the largest probability of showing that a difference of -margin is above -margin.

    By symmetry equivalence has no larger size, at either margin.
    """
    shares = np.unique(np.r_[np.linspace(margin, 1, steps), np.geomspace(margin, 1, steps)])
    points = (
        Point(statistics.margin_power(problems, margin, -margin, share, alpha).non_inferiority, share, -margin)
        for share in shares.tolist()
    )
    return max(points, key=lambda point: point.value)


def measure_exact_power(problems: int, discordance: float, difference: float, alpha: float) -> float:
    """Compute how often McNemar's exact test finds a difference on its own side."""
    discordant = np.arange(problems + 1)
    losses = scipy.stats.binom.ppf(alpha / 2, discordant, 0.5) - 1
    found = scipy.stats.binom.cdf(losses, discordant, (1 - difference / discordance) / 2)
    return float(scipy.stats.binom.pmf(discordant, problems, discordance) @ found)


def main(words: Sequence[str] | None = None) -> int:
    """Print the table of the procedure in use, or of all candidates."""
    parser = argparse.ArgumentParser(description="Size, coverage and width of the paired interval, by enumeration.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--confidence", type=float, default=0.95)
    tables = parser.add_mutually_exclusive_group()
    for name, render, what in (
        ("--candidates", _render_candidates, "the least coverage of what else was tried"),
        ("--margins", _render_margins, "the size of decisions by a margin, and their power"),
        ("--power", _render_power, "the power to find a difference"),
    ):
        tables.add_argument(name, action="store_const", dest="render", const=render, help=what)
    parser.add_argument("--steps", type=int, default=40, help="of the grid, along one side")
    parser.set_defaults(render=_render_quality)
    options = parser.parse_args(words)
    for line in options.render(options.sizes, options.confidence, options.steps):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


def _render_quality(sizes: Sequence[int], confidence: float, steps: int) -> Iterator[str]:
    yield "| problems | z | largest size | least coverage | at discordance, difference | Newcombe | Tango | lost |"
    yield f"|{' ---: |' * 8}"
    for size in sizes:
        one = measure(size, confidence, steps)
        place = f"{100 * one.coverage.discordance:.2f}, {100 * one.coverage.difference:.2f}"
        widths = " | ".join(f"{width:.3f}" for width in one.widths)
        shares = f"{100 * one.size.value:.2f} | {100 * one.coverage.value:.2f}"
        yield f"| {size:,} | {one.critical:.3f} | {shares} | {place} | {widths} | {one.lost} |"


def _render_candidates(sizes: Sequence[int], confidence: float, steps: int) -> Iterator[str]:
    yield f"| interval | {' | '.join(f'{size:,}' for size in sizes)} |"
    yield f"| --- |{' ---: |' * len(sizes)}"
    for name, how in CANDIDATES.items():
        least = (find_least_coverage(size, 1 - confidence, how, steps).value for size in sizes)
        yield f"| {name} | {' | '.join(f'{100 * value:.2f}' for value in least)} |"


def _render_margins(sizes: Sequence[int], confidence: float, steps: int) -> Iterator[str]:
    alpha = (1 - confidence) / 2
    yield "| problems | margin | largest size | at discordance | equivalence | non-inferiority |"
    yield f"|{' ---: |' * 6}"
    for size, margin in product(sizes, MARGINS):
        worst = find_margin_size(size, margin, alpha, steps)
        power = statistics.margin_power(size, margin, 0.0, 0.06, alpha)
        shares = " | ".join(f"{100 * share:.2f}" for share in (worst.value, worst.discordance, *power))
        yield f"| {size:,} | {100 * margin:g} | {shares} |"


def _render_power(sizes: Sequence[int], confidence: float, _: int) -> Iterator[str]:
    yield f"| problems | {' | '.join(f'{100 * gap:g} of {100 * share:g}' for share, gap in DESIGNS)} |"
    yield f"|{' ---: |' * (1 + len(DESIGNS))}"
    for size in sizes:
        pairs = (
            (
                statistics.exact_power(size, gap, share, 1 - confidence),
                measure_exact_power(size, share, gap, 1 - confidence),
            )
            for share, gap in DESIGNS
        )
        yield f"| {size:,} | {' | '.join(f'{100 * own:.1f} ({100 * exact:.1f})' for own, exact in pairs)} |"


def _list_counts(problems: int, share: float) -> Numbers:
    reach = _DEVIATIONS * np.sqrt(problems * share * (1 - share)) + _PROBLEMS
    least, most = max(0, int(problems * share - reach)), min(problems, int(problems * share + reach))
    return np.arange(least, most + 1, dtype=float)


def _list_grid(problems: int, steps: int) -> Iterator[tuple[float, float]]:
    edge = np.geomspace(0.2 / problems, 0.3, steps)
    shares = np.unique(np.r_[np.linspace(0, 1, steps + 1)[1:], edge, 1 - edge])
    parts = np.unique(np.r_[np.linspace(0, 1, steps // 2 + 1), 1 - np.geomspace(0.1 / problems, 0.3, steps // 4)])
    yield from ((float(share), float(share * part)) for share in shares for part in parts)


def _build_pairs(problems: int, gains: Numbers, losses: Numbers) -> Iterator[PairCounts]:
    for gained, lost in zip(gains.astype(int).tolist(), losses.astype(int).tolist(), strict=True):
        concordant = problems - gained - lost
        yield PairCounts(concordant // 2, gained, lost, concordant - concordant // 2)


def _find_high(gains: Numbers, losses: Numbers, problems: int, alpha: float) -> Numbers:
    """Find the upper bounds without a correction, by bisection."""
    critical = statistics.critical_value(problems, alpha)
    inside, outside = (gains - losses) / problems, np.ones_like(gains)
    for _ in range(40):
        middle = (inside + outside) / 2
        accepted = score(gains, losses, problems, middle, _correct_nothing) < critical
        inside, outside = np.where(accepted, middle, inside), np.where(accepted, outside, middle)
    return inside


def _width(interval: Interval) -> float:
    return interval.high - interval.low


if __name__ == "__main__":
    raise SystemExit(main())
