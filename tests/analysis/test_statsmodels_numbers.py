"""The statistics against numbers of statsmodels, which benchmarks/statistics/golden_numbers.py computed and stored."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from baseline_bench.analysis.multiple_testing import (
    holm_adjust,
    unpaired_interval,
    unpaired_items_needed,
    unpaired_power,
)
from baseline_bench.analysis.recipe_contrast import (
    Contrast,
    ContrastVariance,
    TrainingNoise,
    compare_recipes,
    half_width,
)
from baseline_bench.analysis.statistics import (
    PairCounts,
    items_needed,
    mcnemar_mid_p_value,
    mcnemar_p_value,
    wilson_interval,
)

NUMBERS = json.loads((Path(__file__).parents[1] / "data" / "statsmodels.json").read_text())
VERSIONS = NUMBERS.pop("versions")
FIXED = TrainingNoise(1, 0.0, 0.0)


def as_answers(table: list[str]) -> np.ndarray:
    """The right answers of a recipe: one text a seed, one character a problem."""
    return np.array([[answer == "1" for answer in row] for row in table])


def estimate_components(table: list[str]) -> list[float]:
    """The variance of seed, seed x problem and problem, from a comparison with weights that get nothing right."""
    variance = compare_recipes(as_answers(table), np.zeros((1, len(table[0])))).variance
    side, problems = variance.first, variance.problems
    return [side.between - side.flips / problems, side.flips, variance.by_problem - 1 / problems]


def compare_scores(first: list[float], second: list[float], confidence: float) -> list[float]:
    """Half-width and p where all noise is that of the seeds' scores."""
    sides = [TrainingNoise(len(scores), float(np.var(scores, ddof=1)), 0.0) for scores in (first, second)]
    variance = ContrastVariance(sides[0], sides[1], 0.0, 1319)
    return [half_width(variance, confidence), Contrast(float(np.mean(first) - np.mean(second)), variance).p]


def compare_problems(gaps: list[float], confidence: float) -> list[float]:
    """Half-width and p where all noise is that of the problems."""
    variance = ContrastVariance(FIXED, FIXED, float(np.var(gaps, ddof=1)), len(gaps))
    return [half_width(variance, confidence), Contrast(float(np.mean(gaps)), variance).p]


def contrast_tables(first: list[str], second: list[str]) -> list[float]:
    """The difference of two recipes and its half-width."""
    contrast = compare_recipes(as_answers(first), as_answers(second))
    return [contrast.difference, half_width(contrast.variance)]


FUNCTIONS: dict[str, Callable[..., float | Sequence[float] | None]] = {
    "mcnemar_p_value": lambda *cells: mcnemar_p_value(PairCounts(*cells)),
    "mcnemar_mid_p_value": lambda *cells: mcnemar_mid_p_value(PairCounts(*cells)),
    "holm_adjust": lambda *p_values: holm_adjust(p_values),
    "wilson_interval": wilson_interval,
    "unpaired_interval": unpaired_interval,
    "items_needed": items_needed,
    "unpaired_power": unpaired_power,
    "unpaired_items_needed": unpaired_items_needed,
    "scores of seeds": compare_scores,
    "gaps of problems": compare_problems,
    "analysis of variance": estimate_components,
    "mixed model": estimate_components,
    "compare_recipes": contrast_tables,
}
# An optimiser found them; all others are formulas.
RELATIVE = {"mixed model": 2e-6}
# The p values of McNemar's tests go down to 1e-301; elsewhere a formula may give 1e-17 where 0 is exact.
ABSOLUTE = {"mcnemar_p_value": 0.0, "mcnemar_mid_p_value": 0.0}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_numbers_are_those_of_statsmodels(name):
    """Every section of the file has a function here, which gives the stored outputs."""
    for given, expected in NUMBERS[name]:
        found = FUNCTIONS[name](*given)
        assert found == pytest.approx(expected, rel=RELATIVE.get(name, 1e-9), abs=ABSOLUTE.get(name, 1e-12)), given


def test_every_function_has_eight_cases():
    """None is left out of the file."""
    assert {name for name, cases in NUMBERS.items() if len(cases) >= 8} == set(FUNCTIONS)
