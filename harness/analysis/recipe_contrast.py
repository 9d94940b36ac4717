"""Compare two recipes over training seeds and problems: the interval, what widens it, and the power of a design.

The estimand is the mean over new training seeds and new problems of right(first) - right(second). Seeds and problems
are crossed random effects (Owen, Ann. Appl. Stat. 1 (2007) 386-411): every seed of a recipe answers every problem, so
that the variance of the difference has a part of the seeds, one of the problems, and one of seed x problem.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, copysign, floor, log10, sqrt
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # loads special, which takes a moment, when it is first used
from baseline_bench.analysis.outcomes import CONFIDENCE, DecidedDifference
from baseline_bench.analysis.statistics import Interval

Advice = Literal["seeds", "problems", "nothing"]
Aim = Literal["difference", "equivalence", "non-inferiority"]

MAX_SEEDS = 50
MAX_PROBLEMS = 1_000_000
# Below it some of scipy's quantiles are NaN, infinite, or too large to square.
SMALLEST_P = 1e-100
_POWER_DRAWS = 20_000
_POWER_ERROR = 0.01


@dataclass(frozen=True, slots=True)
class TrainingNoise:
    """How the right answers of one recipe change from seed to seed; fixed weights have `seeds` 1 and no variance.

    Attributes:
        seeds: trainings that were scored.
        between: variance of the seeds' scores, which are shares of the problems.
        flips: variance of seed x problem, of one answer: half the share of the problems on which two seeds differ,
            without what their scores differ by.
    """

    seeds: int
    between: float
    flips: float

    def score_variance(self, problems: int) -> float:
        """Estimate the variance of one seed's score: never less than the flips alone cause."""
        return max(self.between, self.flips / problems)

    def seed_effect(self, problems: int) -> float:
        """Estimate the variance of the scores that more problems would leave."""
        return self.score_variance(problems) - self.flips / problems


@dataclass(frozen=True, slots=True)
class ContrastVariance:
    """The variance components of a difference of two recipes.

    Attributes:
        first, second: training noise of each side.
        by_problem: variance over problems of the recipes' difference, of one problem.
        problems: how many each seed answered.
    """

    first: TrainingNoise
    second: TrainingNoise
    by_problem: float
    problems: int

    @property
    def training(self) -> tuple[float, float]:
        """What either side's seeds add to the variance of the difference, seed x problem included."""
        return _mean_variance(self.first, self.problems), _mean_variance(self.second, self.problems)

    @property
    def shares(self) -> "VarianceShares":
        """The shares of the variance of the difference."""
        flips = sum(side.flips / self.problems / side.seeds for side in (self.first, self.second))
        parts = sum(self.training) - flips, flips, self.by_problem / self.problems
        return VarianceShares(*(part / (sum(parts) or 1.0) for part in parts))


class VarianceShares(NamedTuple):
    """The shares of a variance that shrink with more seeds, with more seeds or problems, and with more problems."""

    seeds: float
    seeds_by_problems: float
    problems: float


@dataclass(frozen=True, slots=True)
class Contrast(DecidedDifference):
    """The difference of two recipes, or of a recipe and fixed weights.

    Attributes:
        difference: mean over the seeds and problems of the first side's right answers less the second's, a share.
        variance: its components.
        margin: the largest difference that does not matter, a share declared beforehand; None if none was.
    """

    difference: float
    variance: ContrastVariance
    margin: float | None = None

    @property
    def p(self) -> float:
        """The level at which the interval would end at 0; `SMALLEST_P` is also returned for anything below."""
        return _find_p_value(self.difference, self.variance)

    def compute_interval(self, confidence: float) -> Interval:
        """Compute the interval of the mean over new seeds and new problems."""
        half = half_width(self.variance, confidence)
        return Interval(max(self.difference - half, -1.0), min(self.difference + half, 1.0))


@dataclass(frozen=True, slots=True)
class Forecast:
    """Half-widths of the interval, now and expected after equal numbers of further completions.

    Attributes:
        now: of the contrast.
        one_more_seed: with one more seed a side.
        problems: how many problems the same number of completions would make.
        more_problems: with so many problems.
        advice: what shrinks it most; nothing where the outcome is decided.
    """

    now: float
    one_more_seed: float
    problems: int
    more_problems: float
    advice: Advice


@dataclass(frozen=True, slots=True)
class Goal:
    """What a design is to show, and the true difference under which it is to show it.

    Attributes:
        gain: the true difference, first less second, a share.
        aim: "difference": the interval excludes 0 on the side of the gain; "equivalence": it is within -margin to
            margin; "non-inferiority": it is above -margin.
        margin: the largest difference that does not matter, a share; 0 where the aim is a difference.
        confidence: of the interval: 1 - alpha for a difference, 1 - 2 alpha against a margin.
    """

    gain: float
    aim: Aim = "difference"
    margin: float = 0.0
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True)
class DesignCost:
    """What seeds and problems cost, in any unit: one training, and one completion."""

    training: float
    problem: float


@dataclass(frozen=True, slots=True)
class Design:
    """A number of seeds a side and of problems: half the interval's width, power, and cost above the planned design."""

    seeds: int
    problems: int
    half_width: float
    power: float
    cost: float


@dataclass(frozen=True, slots=True)
class DesignPlan:
    """A planned design, and what the cost of one more seed a side would buy."""

    planned: Design
    more_seeds: Design
    more_problems: Design

    @property
    def advice(self) -> Advice:
        """What gives more power for the cost, or the narrower interval where powers are equal within the draws."""
        seeds, problems = self.more_seeds, self.more_problems
        if abs(seeds.power - problems.power) > _POWER_ERROR:
            return "seeds" if seeds.power > problems.power else "problems"
        return "seeds" if seeds.half_width < problems.half_width else "problems"


def compare_recipes(first: npt.ArrayLike, second: npt.ArrayLike, margin: float | None = None) -> Contrast:
    """Compare two recipes by the right answers of their seeds.

    The squares of two half-widths add: of Welch's t interval over the seeds, with Satterthwaite's degrees of freedom,
    and of Student's over the problems. Such a sum covers at least as often as its parts (Banerjee, Sankhya 22
    (1960) 47-50); one t interval for all parts together covers 92 % in places with two seeds a side. A side's
    variance is never less than its seeds' flips cause. Half a problem is added to each cell of the table of pairs
    (Agresti and Min, Stat. Med. 24 (2005) 729-740), so that no interval shrinks to nothing.
    `benchmarks/statistics/recipe_interval.py` measures the coverage.

    Args:
        first, second: one row a seed, one column a problem, True where right; equal columns. One row alone is taken as
            fixed weights, such as the base's.
        margin: the largest difference that does not matter, a share declared beforehand.

    Raises:
        ValueError: no row, other columns, or one column.
    """
    rows = [np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (first, second)]
    problems = rows[0].shape[1]
    if problems < 2 or rows[1].shape[1] != problems or not all(map(len, rows)):
        raise ValueError("the sides need one row or more, and the same two problems or more")
    sides = [_measure_noise(side) for side in rows]
    gaps = rows[0].mean(axis=0) - rows[1].mean(axis=0)
    by_problem = float(gaps.var(ddof=1)) + 1 / problems - sum(side.flips / side.seeds for side in sides)
    variance = ContrastVariance(sides[0], sides[1], max(by_problem, 0.0), problems)
    return Contrast(float(gaps.mean()), variance, margin)


def half_width(variance: ContrastVariance, confidence: float = CONFIDENCE) -> float:
    """Compute half the width of the interval of a difference with these variance components."""
    tail = (1 - confidence) / 2
    return sqrt(_squared_half_width(variance, tail))


def resize_variance(variance: ContrastVariance, seeds: tuple[int, int], problems: int) -> ContrastVariance:
    """Return the components that are expected with so many seeds on either side, and so many problems.

    A side of fixed weights stays one row.
    """

    def resize(side: TrainingNoise, count: int) -> TrainingNoise:
        between = side.seed_effect(variance.problems) + side.flips / problems
        return side if side.seeds == 1 else TrainingNoise(count, between, side.flips)

    first, second = (resize(*pair) for pair in zip((variance.first, variance.second), seeds, strict=True))
    return replace(variance, first=first, second=second, problems=problems)


def forecast_designs(contrast: Contrast) -> Forecast:
    """Forecast the interval with one more seed a side, and with as many further completions on new problems."""
    variance = contrast.variance
    sides = variance.first.seeds, variance.second.seeds
    trained = sum(seeds > 1 for seeds in sides)
    problems = variance.problems + ceil(trained * variance.problems / sum(sides))
    more_seeds = half_width(resize_variance(variance, (sides[0] + 1, sides[1] + 1), variance.problems))
    more_problems = half_width(resize_variance(variance, sides, problems))
    if contrast.outcome != "inconclusive":
        advice: Advice = "nothing"
    else:
        advice = "seeds" if more_seeds < more_problems else "problems"
    return Forecast(half_width(variance), more_seeds, problems, more_problems, advice)


def compute_power(variance: ContrastVariance, goal: Goal) -> float:
    """Compute how often the interval shows the goal, by seeded draws (within 0.01).

    Args:
        variance: the true components, with the seeds and problems of the design.
        goal: what is to be shown, and the true difference.
    """
    rng = np.random.default_rng(0)
    training = np.array(variance.training)
    freedom = np.array([max(variance.first.seeds - 1, 1), max(variance.second.seeds - 1, 1)])
    by_problem = variance.by_problem / variance.problems
    # Towards the gain, whichever side has it.
    ahead = rng.normal(abs(goal.gain), sqrt(training.sum() + by_problem), _POWER_DRAWS)
    estimated = training * rng.chisquare(freedom, (_POWER_DRAWS, 2)) / freedom
    floors = [side.flips / variance.problems / side.seeds for side in (variance.first, variance.second)]
    estimated = np.maximum(estimated, floors)
    total = estimated.sum(axis=1)
    welch = np.maximum(total**2 / np.maximum((estimated**2 / freedom).sum(axis=1), 1e-300), 1.0)
    tail = (1 - goal.confidence) / 2
    of_problems = scipy.special.stdtrit(max(variance.problems - 1, 1), tail) ** 2 * by_problem
    half = np.sqrt(scipy.special.stdtrit(welch, tail) ** 2 * total + of_problems)
    if goal.aim == "difference":
        return float(np.mean(ahead > half))
    if goal.aim == "equivalence":
        return float(np.mean(np.abs(ahead) + half < goal.margin))
    return float(np.mean(copysign(1, goal.gain) * ahead - half > -goal.margin))


def plan_designs(variance: ContrastVariance, goal: Goal, design: tuple[int, int], cost: DesignCost) -> DesignPlan:
    """Compute interval and power of a design, with one more seed a side, and with problems for the same cost.

    Args:
        variance: estimated or assumed components.
        goal: what is to be shown.
        design: seeds a side, and problems.
        cost: of a training and of a completion.
    """
    seeds, problems = design
    spent = 2 * (cost.training + problems * cost.problem)
    more = floor(spent / (2 * seeds * cost.problem)) if cost.problem else 0

    def describe(seeds: int, problems: int, spent: float) -> Design:
        resized = resize_variance(variance, (seeds, seeds), problems)
        return Design(seeds, problems, half_width(resized, goal.confidence), compute_power(resized, goal), spent)

    return DesignPlan(
        describe(seeds, problems, 0.0), describe(seeds + 1, problems, spent), describe(seeds, problems + more, spent)
    )


def find_seeds(variance: ContrastVariance, goal: Goal, power: float, problems: int) -> int | None:
    """Find the number of seeds a side that gives the power on so many problems; None above 50."""
    return _find_least(
        2, MAX_SEEDS, lambda n: compute_power(resize_variance(variance, (n, n), problems), goal) >= power
    )


def find_problems(variance: ContrastVariance, goal: Goal, power: float, seeds: int) -> int | None:
    """Find the number of problems that gives the power with so many seeds a side; None above a million."""
    sides = seeds, seeds
    return _find_least(2, MAX_PROBLEMS, lambda n: compute_power(resize_variance(variance, sides, n), goal) >= power)


def _find_least(least: int, most: int, suffices: Callable[[int], bool]) -> int | None:
    number = bisect_left(range(least, most + 1), True, key=suffices) + least
    return number if number <= most else None


def _measure_noise(rows: npt.NDArray[np.float64]) -> TrainingNoise:
    seeds, problems = rows.shape
    if seeds == 1:
        return TrainingNoise(1, 0.0, 0.0)
    between = float(rows.mean(axis=1).var(ddof=1))
    within = float(rows.var(axis=0, ddof=1).mean())  # of seeds and seed x problem together
    return TrainingNoise(seeds, between, max((within - between) * problems / (problems - 1), 0.0))


def _mean_variance(side: TrainingNoise, problems: int) -> float:
    return side.score_variance(problems) / side.seeds


def _squared_half_width(variance: ContrastVariance, tail: float) -> float:
    first, second = variance.training
    total = first + second
    quantile = float(scipy.special.stdtrit(max(variance.problems - 1, 1), tail))
    problems = quantile**2 * variance.by_problem / variance.problems
    if total == 0:
        return problems
    parts = zip((first, second), (variance.first, variance.second), strict=True)
    freedom = total**2 / sum(part**2 / (side.seeds - 1) for part, side in parts if part)
    return float(scipy.special.stdtrit(freedom, tail)) ** 2 * total + problems


def _find_p_value(difference: float, variance: ContrastVariance) -> float:
    if difference == 0:
        return 1.0

    def excess(exponent: float) -> float:
        return _squared_half_width(variance, 10**exponent / 2) - difference**2

    lowest = log10(SMALLEST_P)
    if excess(lowest) <= 0:
        return SMALLEST_P
    return float(10 ** scipy.optimize.brentq(excess, lowest, 0.0, xtol=1e-12))
