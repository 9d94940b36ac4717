"""Measure how often the interval of two recipes covers the truth: `python -m benchmarks.statistics.recipe_interval`.

Right and wrong answers follow a logistic model: the log odds of a problem for a seed are the sum of a constant, the
problem's difficulty, recipe x problem, the seed's effect and seed x problem, all normal. Every draw has new seeds and
new problems. It takes a quarter of an hour on two cores; the exit status is 1 if a setting misses its goal.
"""

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy
from baseline_bench.analysis.recipe_contrast import Contrast, compare_recipes

# The least coverage. Among seeds of one recipe it is 1 less the share of false outcomes. Where strong noise between
# seeds is on one side alone, scores near 0 are too skewed for a t interval over ten seeds or fewer.
GOALS = {"two recipes": 0.94, "one recipe": 0.95, "unequal noise": 0.94, "strong noise on one side": 0.90}
_STRONG = 3.0  # times the binomial variance
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


@dataclass(frozen=True, slots=True)
class Setting:
    """Two recipes and the design that compares them.

    Attributes:
        seeds: a side.
        problems: answered by every seed.
        rates: shares that either recipe gets right, over all seeds and problems.
        seed_ratios: variance of either recipe's score over seeds, in units of rate (1 - rate) / problems, the binomial
            variance.
        difficulty: standard deviation of the problems' log odds.
        by_recipe: the same of recipe x problem; 0 and equal rates and ratios make both sides one recipe.
        by_seed: the same of seed x problem.
    """

    seeds: int
    problems: int
    rates: tuple[float, float]
    seed_ratios: tuple[float, float]
    difficulty: float = 2.7
    by_recipe: float = 0.0
    by_seed: float = 0.7

    @property
    def kind(self) -> Literal["one recipe", "two recipes", "unequal noise", "strong noise on one side"]:
        """What the setting is for; every better or worse among seeds of one recipe is false."""
        if self.seed_ratios[0] != self.seed_ratios[1]:
            return "unequal noise" if max(self.seed_ratios) <= _STRONG else "strong noise on one side"
        return "one recipe" if self.rates[0] == self.rates[1] and self.by_recipe == 0 else "two recipes"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What many draws of a setting gave: the share of intervals that cover the truth, and their mean width."""

    setting: Setting
    draws: int
    covered: float
    width: float

    @property
    def missed(self) -> bool:
        """Whether the goal is missed by more than two standard errors of this simulation."""
        goal = GOALS[self.setting.kind]
        return self.covered < goal - 2 * sqrt(goal * (1 - goal) / self.draws)


def list_settings() -> Iterator[Setting]:
    """List the settings of the whole run; the second pair of rates is that of the committed full-main and lora-main."""
    recipes = [((0.03, 0.03), 0.0), ((0.053, 0.043), 0.2), ((0.03, 0.10), 1.0), ((0.20, 0.30), 0.5)]
    recipes += [((0.50, 0.50), 0.0), ((0.80, 0.75), 1.0)]
    ratios = [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0), (3.0, 3.0), (10.0, 10.0)]
    ratios += [(0.0, 1.0), (0.0, 3.0), (1.0, 3.0), (0.0, 10.0)]
    for seeds, problems, (rates, by_recipe), seed_ratios in product((2, 3, 5, 10), (200, 1319), recipes, ratios):
        yield Setting(seeds, problems, rates, seed_ratios, by_recipe=by_recipe)


def simulate(setting: Setting, draws: int, seed: int = 0) -> Iterator[Contrast]:
    """Draw tables of right and wrong answers and compare their sides."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        first, second = draw_tables(rng, setting)
        yield compare_recipes(first, second)


def draw_tables(rng: np.random.Generator, setting: Setting) -> list[npt.NDArray[np.bool_]]:
    """Draw the right answers of both recipes: one row a seed, one column a problem."""
    difficulty = setting.difficulty * rng.standard_normal(setting.problems, np.float32)
    return [_draw_rows(rng, setting, difficulty, *_find_log_odds(setting, side)) for side in (0, 1)]


def measure_coverage(setting: Setting, draws: int, seed: int = 0) -> Coverage:
    """Measure how often the interval covers the difference of the rates."""
    truth = setting.rates[0] - setting.rates[1]
    contrasts = list(simulate(setting, draws, seed))
    covered = np.mean([one.interval.low <= truth <= one.interval.high for one in contrasts])
    return Coverage(setting, draws, float(covered), float(np.mean([np.ptp(one.interval) for one in contrasts])))


def _draw_rows(
    rng: np.random.Generator, setting: Setting, difficulty: npt.NDArray[np.float32], constant: float, seed_sd: float
) -> npt.NDArray[np.bool_]:
    shape = (setting.seeds, setting.problems)
    log_odds = difficulty + np.float32(constant)
    if setting.by_recipe:
        log_odds = log_odds + setting.by_recipe * rng.standard_normal(setting.problems, np.float32)
    of_seeds = seed_sd * rng.standard_normal((setting.seeds, 1), np.float32)
    log_odds = log_odds + of_seeds + setting.by_seed * rng.standard_normal(shape, np.float32)
    draws = rng.random(shape, np.float32)
    return np.asarray(draws * (1 + np.exp(-log_odds)) < 1)


@cache
def _find_log_odds(setting: Setting, side: int) -> tuple[float, float]:
    """Return the constant that gives the side's rate, and the standard deviation of its seeds' effects in log odds."""
    rate, ratio = setting.rates[side], setting.seed_ratios[side]
    others = setting.difficulty**2 + setting.by_recipe**2 + setting.by_seed**2
    wanted = ratio * rate * (1 - rate) / setting.problems

    def solve_constant(spread: float) -> float:
        return float(scipy.optimize.brentq(lambda x: _mean_rate(x, spread) - rate, -60, 60))

    def excess(seed_variance: float) -> float:
        constant = solve_constant(sqrt(others + seed_variance))
        rates = [_mean_rate(constant + sqrt(seed_variance) * node, sqrt(others)) for node in _NODES]
        return float(np.average((np.array(rates) - rate) ** 2, weights=_WEIGHTS)) - wanted

    seed_variance = float(scipy.optimize.brentq(excess, 0.0, 100.0)) if ratio else 0.0
    return solve_constant(sqrt(others + seed_variance)), sqrt(seed_variance)


def _mean_rate(constant: float, spread: float) -> float:
    return float(np.average(scipy.special.expit(constant + spread * _NODES), weights=_WEIGHTS))


def _measure(task: tuple[int, Setting, int]) -> Coverage:
    number, setting, draws = task
    return measure_coverage(setting, draws, number)


def main(arguments: list[str] | None = None) -> int:
    """Print one line a setting, and the least coverage of each kind and number of seeds.

    The lowest settings are measured again with sixteen times as many new tables, and that figure counts.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000, help="tables a setting (default: %(default)s)")
    parser.add_argument("--again", type=int, default=40, help="lowest settings to measure again (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    tasks = [(number, setting, options.draws) for number, setting in enumerate(list_settings())]
    with ProcessPoolExecutor(options.processes) as pool:
        results = list(pool.map(_measure, tasks, chunksize=4))
        # The least of many simulated shares is low by chance.
        lowest = sorted(range(len(results)), key=lambda number: results[number].covered)[: options.again]
        again = [(number + len(tasks), results[number].setting, 16 * options.draws) for number in lowest]
        for number, result in zip(lowest, pool.map(_measure, again), strict=True):
            results[number] = result
    sys.stdout.write("seeds  problems  rates          seed variance  recipe x problem  covered  width (points)\n")
    sys.stdout.writelines(map(_format_line, results))
    for kind, seeds in product(GOALS, (2, 3, 5, 10)):
        shares = [one.covered for one in results if (one.setting.kind, one.setting.seeds) == (kind, seeds)]
        least, mean = 100 * min(shares), 100 * float(np.mean(shares))
        sys.stdout.write(f"{kind}, {seeds} seeds a side: covered {least:.1f} % at least, {mean:.1f} % in the mean\n")
    return int(any(one.missed for one in results))


def _format_line(result: Coverage) -> str:
    setting = result.setting
    rates, ratios = (f"{first:g}, {second:g}" for first, second in (setting.rates, setting.seed_ratios))
    return (
        f"{setting.seeds:5}  {setting.problems:8}  {rates:13}  {ratios:13}  {setting.by_recipe:16g}  "
        f"{100 * result.covered:6.1f}%  {100 * result.width:14.2f}  {'MISSED' if result.missed else setting.kind}\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
