"""analysis.recipe_contrast: the interval of two recipes over seeds and problems, on real rows and in simulation."""

from functools import cache
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
import scipy.stats
from baseline_bench.analysis.recipe_contrast import (
    SMALLEST_P,
    ContrastVariance,
    DesignCost,
    Goal,
    TrainingNoise,
    compare_recipes,
    compute_power,
    find_problems,
    find_seeds,
    forecast_designs,
    half_width,
    plan_designs,
    resize_variance,
)
from baseline_bench.analysis.recipe_rows import read_right_answers
from committed_rows import BASE, real

from benchmarks.statistics import recipe_interval
from benchmarks.statistics.recipe_interval import Setting

NO_NOISE = TrainingNoise(1, 0.0, 0.0)


@cache
def committed(recipe: str) -> np.ndarray:
    """The right answers of seeds 0 to 2 of a recipe on the committed board."""
    return np.array([read_right_answers(real(f"{BASE}+{recipe}-s{seed}")) for seed in range(3)])


def drawn(seeds: int, problems: int, rate: float, seed: int) -> np.ndarray:
    """Answers that are right by chance alone."""
    return np.random.default_rng(seed).random((seeds, problems)) < rate


def test_the_committed_recipes_differ_by_a_point_and_the_interval_holds_zero():
    """Three seeds a side: +1.06 points, most of the variance from seeds that answer other problems right."""
    contrast = compare_recipes(committed("full-main"), committed("lora-main"))
    assert contrast.difference == pytest.approx((69 + 71 + 71 - 60 - 58 - 51) / 3 / 1319)
    assert contrast.outcome == "inconclusive"
    assert half_width(contrast.variance) == pytest.approx(0.01118, abs=1e-5)
    assert contrast.p == pytest.approx(0.0579, abs=1e-4)
    assert contrast.variance.shares.problems < 0.1


def test_the_interval_and_p_agree_on_every_table():
    """The interval at confidence 1 - p ends at 0, so that p below 5 % and an interval without 0 are one outcome."""
    for seed in range(40):
        first, second = drawn(3, 60, 0.6, seed), drawn(2, 60, 0.45, 100 + seed)
        contrast = compare_recipes(first, second)
        assert half_width(contrast.variance, 1 - contrast.p) == pytest.approx(abs(contrast.difference), rel=1e-6)
        assert (contrast.outcome != "inconclusive") == (contrast.p < 0.05)
        mirrored = compare_recipes(second, first)
        assert mirrored.difference == pytest.approx(-contrast.difference)
        assert mirrored.p == pytest.approx(contrast.p)


@pytest.mark.parametrize("seeds", [2, 3])
def test_every_table_has_a_p_value(seeds):
    """Against fixed weights, against a side without noise, and where every answer differs."""
    for number in range(40):
        first = drawn(seeds, 60, 0.6, number)
        for second in (drawn(1, 60, 0.4, 100 + number), np.zeros((2, 60), bool), drawn(2, 60, 0.4, 100 + number)):
            contrast = compare_recipes(first, second)
            assert half_width(contrast.variance, 1 - contrast.p) == pytest.approx(abs(contrast.difference), rel=1e-6)
    for problems in (2, 3, 1319):
        contrast = compare_recipes(np.ones((seeds, problems)), np.zeros((seeds, problems)))
        assert SMALLEST_P <= contrast.p <= 1
        assert (contrast.outcome != "inconclusive") == (contrast.p < 0.05)


def test_the_components_are_those_of_the_analysis_of_variance():
    """Seeds, seed x problem and problems of a table of 2 x 4 answers a side, by hand."""
    first = [[1, 1, 0, 0], [1, 0, 0, 0]]
    variance = compare_recipes(first, np.zeros((2, 4))).variance
    assert variance.first.between == pytest.approx(1 / 32)
    # Residuals of the first side: its total variation less that of its seeds and of its problems, over 3 freedoms.
    assert variance.first.flips == pytest.approx((0.5 - 4 / 32) / 3)
    gaps = [1, 0.5, 0, 0]
    expected = np.var(gaps, ddof=1) + 1 / 4 - variance.first.flips / 2
    assert variance.by_problem == pytest.approx(expected)
    assert sum(variance.shares) == pytest.approx(1)


def test_seeds_that_happen_to_score_alike_do_not_hide_their_flips():
    """Equal scores on other problems: the variance of the side is what its flips cause, not 0."""
    first = np.zeros((2, 100), bool)
    first[0, :10] = first[1, 10:20] = True
    variance = compare_recipes(first, np.zeros((2, 100), bool)).variance
    assert variance.first.between == 0
    assert variance.first.flips > 0
    assert variance.training[0] == pytest.approx(variance.first.flips / 100 / 2)
    assert variance.first.seed_effect(100) == 0


def test_no_interval_shrinks_to_nothing():
    """No row answers anything right: the difference is 0, and its interval still has a width."""
    contrast = compare_recipes(np.zeros((3, 50), bool), np.zeros((3, 50), bool))
    assert contrast.difference == 0
    assert contrast.p == 1
    assert contrast.interval.high == -contrast.interval.low > 0.01


@pytest.mark.parametrize(("won", "outcome"), [(4, "inconclusive"), (6, "better")])
def test_a_few_problems_won_by_every_seed_are_not_enough(won, outcome):
    """As with the exact test of two rows, about six discordant problems are the least."""
    first = np.zeros((3, 1000), bool)
    first[:, :won] = True
    assert compare_recipes(first, np.zeros((3, 1000), bool)).outcome == outcome


def test_two_problems_show_nothing():
    """Even if one side gets both right with every seed, and the other none."""
    assert compare_recipes(np.ones((3, 2)), np.zeros((3, 2))).outcome == "inconclusive"


def test_one_row_is_fixed_weights():
    """A base adds no training noise; two seeds against it have one degree of freedom."""
    recipe, base = drawn(2, 200, 0.5, 1), drawn(1, 200, 0.5, 2)
    variance = compare_recipes(recipe, base).variance
    assert variance.second == NO_NOISE
    training, problems = variance.training[0], variance.by_problem / 200
    assert half_width(variance) == pytest.approx(sqrt(12.7062**2 * training + 1.97196**2 * problems), rel=1e-4)


def test_impossible_tables_are_refused():
    """No rows, other problems, or a single problem."""
    for first, second in (([], [[1, 0]]), ([[1, 0]], [[1, 0, 1]]), ([[1]], [[0]])):
        with pytest.raises(ValueError, match="the same two problems"):
            compare_recipes(first, second)


def test_more_seeds_or_more_problems_narrow_the_interval_that_they_concern():
    """Noise between seeds shrinks with seeds alone; the recipes' differences by problem with problems alone."""
    seeds = ContrastVariance(TrainingNoise(5, 1e-2, 0.0), TrainingNoise(5, 1e-2, 0.0), 0.0, 100)
    assert half_width(resize_variance(seeds, (5, 5), 1000)) == pytest.approx(half_width(seeds))
    assert half_width(resize_variance(seeds, (6, 6), 100)) < half_width(seeds)
    problems = ContrastVariance(TrainingNoise(5, 0.0, 0.0), NO_NOISE, 0.2, 100)
    assert half_width(resize_variance(problems, (9, 9), 100)) == pytest.approx(half_width(problems))
    assert half_width(resize_variance(problems, (5, 5), 400)) == pytest.approx(half_width(problems) / 2, rel=0.02)
    assert compute_power(problems, Goal(3 * half_width(problems))) > 0.9


def test_a_forecast_says_what_would_narrow_the_interval():
    """Seeds with the committed rows; nothing once the interval excludes 0; the base gets no second row."""
    forecast = forecast_designs(compare_recipes(committed("full-main"), committed("lora-main")))
    assert (forecast.advice, forecast.problems) == ("seeds", 1759)
    assert forecast.one_more_seed < forecast.more_problems < forecast.now
    base = read_right_answers(real(BASE))
    decided = forecast_designs(compare_recipes(committed("full-main"), base))
    assert (decided.advice, decided.problems) == ("nothing", 1319 + 330)


def average_variance(contrasts):
    """The mean components of several contrasts of one design."""
    parts = [contrast.variance for contrast in contrasts]
    between, flips = (float(np.mean([getattr(part.first, name) for part in parts])) for name in ("between", "flips"))
    noise = TrainingNoise(parts[0].first.seeds, between, flips)
    return ContrastVariance(noise, noise, float(np.mean([part.by_problem for part in parts])), parts[0].problems)


def test_power_is_how_often_the_interval_finds_the_difference():
    """By simulated tables; without a difference it is at most half of the level."""
    setting = Setting(3, 200, (0.5, 0.3), (1.0, 1.0))
    contrasts = list(recipe_interval.simulate(setting, 400))
    found = np.mean([contrast.outcome == "better" for contrast in contrasts])
    variance = average_variance(contrasts)
    assert compute_power(variance, Goal(0.2)) == pytest.approx(found, abs=0.08)
    assert compute_power(variance, Goal(-0.2)) == compute_power(variance, Goal(0.2))
    assert compute_power(variance, Goal(0.0)) <= 0.03


@pytest.mark.parametrize("number", [3, 4, 9])
def test_power_is_that_of_the_t_test_of_the_only_component(number):
    """Of seeds alone that of a noncentral t; the variance of problems alone is taken as known, its quantile is not."""
    critical = scipy.stats.t.isf(0.025, number - 1)
    seeds = ContrastVariance(TrainingNoise(number, 0.01, 0.0), NO_NOISE, 0.0, 100)
    gain = critical * sqrt(0.01 / number)
    expected = scipy.stats.nct.sf(critical, number - 1, critical)
    assert compute_power(seeds, Goal(gain)) == pytest.approx(expected, abs=0.01)
    problems = ContrastVariance(NO_NOISE, NO_NOISE, 0.3, number)
    assert compute_power(problems, Goal(critical * sqrt(0.3 / number))) == pytest.approx(0.5, abs=0.01)


def test_power_against_a_margin_is_how_often_the_interval_is_within_it():
    """By simulated tables; a loss is harder to show non-inferior than a gain; equivalence does not see the sign."""
    setting = Setting(3, 200, (0.5, 0.48), (1.0, 1.0))
    tables = [recipe_interval.draw_tables(np.random.default_rng(number), setting) for number in range(400)]
    contrasts = [compare_recipes(*sides, margin=0.15) for sides in tables]
    above = np.array([one.margin_interval.low > -0.15 for one in contrasts])
    within = above & [one.margin_interval.high < 0.15 for one in contrasts]
    variance = average_variance(contrasts)
    aims = {"equivalence": within, "non-inferiority": above}
    for aim, shown in aims.items():
        assert compute_power(variance, Goal(0.02, aim, 0.15, 0.9)) == pytest.approx(np.mean(shown), abs=0.08)
    powers = [[compute_power(variance, Goal(gain, aim, 0.15, 0.9)) for aim in aims] for gain in (0.02, -0.02)]
    assert powers[0][0] == powers[1][0]
    assert powers[0][1] > powers[1][1]
    assert compute_power(variance, Goal(-0.15, "non-inferiority", 0.15, 0.9)) <= 0.055


def test_a_plan_buys_what_the_variance_consists_of():
    """Seeds where the seeds differ, problems where the recipes differ by problem or a training is dear."""
    noisy = ContrastVariance(TrainingNoise(3, 4e-4, 0.02), TrainingNoise(3, 4e-4, 0.02), 0.001, 500)
    plan = plan_designs(noisy, Goal(0.03), (3, 500), DesignCost(0.0, 1.0))
    assert (plan.advice, plan.planned.cost, plan.more_seeds.cost) == ("seeds", 0.0, 1000.0)
    assert (plan.more_problems.seeds, plan.more_problems.problems) == (3, 500 + 166)
    quiet = ContrastVariance(TrainingNoise(3, 0.0, 0.02), TrainingNoise(3, 0.0, 0.02), 0.2, 500)
    assert plan_designs(quiet, Goal(0.03), (5, 500), DesignCost(0.0, 1.0)).advice == "problems"
    assert plan_designs(noisy, Goal(0.03), (3, 500), DesignCost(10_000.0, 0.0)).more_problems.problems == 500
    enough = find_seeds(noisy, Goal(0.03), 0.8, 500)
    assert enough is not None
    assert compute_power(resize_variance(noisy, (enough, enough), 500), Goal(0.03)) >= 0.8
    assert compute_power(resize_variance(noisy, (enough - 1, enough - 1), 500), Goal(0.03)) < 0.8
    assert find_seeds(noisy, Goal(0.001), 0.8, 500) is None
    problems = find_problems(quiet, Goal(0.03), 0.8, 5)
    assert problems is not None
    assert compute_power(resize_variance(quiet, (5, 5), problems), Goal(0.03)) >= 0.8
    assert compute_power(resize_variance(quiet, (5, 5), problems - 5), Goal(0.03)) < 0.8
    assert find_problems(noisy, Goal(0.03), 0.8, 3) is None


def test_a_wider_margin_never_takes_a_conclusion_back():
    """The rule of rows: inconclusive, non-inferior, equivalent; exchanging the recipes keeps equivalent."""
    sides = committed("full-main"), committed("lora-main")
    outcomes = [compare_recipes(*sides, margin).outcome for margin in (None, 0.001, 0.01, 0.02, 0.05)]
    assert outcomes == ["inconclusive", "non-inferior", "non-inferior", "equivalent", "equivalent"]
    assert compare_recipes(*reversed(sides), 0.05).outcome == "equivalent"
    assert compare_recipes(*reversed(sides), 0.01).outcome == "inconclusive"


@pytest.mark.parametrize("number", range(4))
def test_the_interval_covers_new_seeds_and_new_problems(number):
    """A small version of benchmarks/statistics/recipe_interval.py: within two standard errors of its goals."""
    setting = (
        Setting(2, 200, (0.20, 0.30), (1.0, 1.0), by_recipe=0.5),
        Setting(3, 200, (0.50, 0.50), (10.0, 10.0)),
        Setting(3, 400, (0.053, 0.043), (0.0, 0.0), by_recipe=0.2),
        Setting(5, 200, (0.80, 0.75), (3.0, 3.0), by_recipe=1.0),
    )[number]
    assert not recipe_interval.measure_coverage(setting, 300, seed=number).missed


def test_splits_of_the_seeds_of_one_recipe_rarely_differ():
    """Six seeds of one recipe in two halves of three, each way: at most 5 % of all splits give an outcome."""
    setting = Setting(6, 300, (0.3, 0.3), (3.0, 3.0))
    outcomes = []
    for number in range(20):
        rng = np.random.default_rng(number)
        rows = recipe_interval.draw_tables(rng, setting)[0]
        for half in combinations(range(1, 6), 2):
            chosen = [0, *half]
            others = [seed for seed in range(6) if seed not in chosen]
            outcomes.append(compare_recipes(rows[chosen], rows[others]).outcome != "inconclusive")
    assert np.mean(outcomes) <= 0.05
