"""Compute the numbers of `tests/data/statsmodels.json`, with statsmodels alone and without a line of the harness.

statsmodels is no dependency; any environment that has it will do:
`python -m benchmarks.statistics.golden_numbers > tests/data/statsmodels.json`
"""

import json
import sys
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt
import scipy
import statsmodels
from statsmodels.regression.linear_model import OLS
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import normal_sample_size_one_tail
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    power_proportions_2indep,
    proportion_confint,
    samplesize_proportions_2indep_onetail,
)
from statsmodels.stats.rates import test_poisson_2indep
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttest_ind

Table = list[str]  # one row a seed, one character a problem: 1 where it is right
Floats = npt.NDArray[np.float64]

# Right in both, only in the first, only in the second, in neither.
PAIRS = [
    (20, 12, 2, 16), (59, 6, 16, 80), (5, 10, 10, 7), (5, 1, 0, 7), (5, 7, 0, 7), (0, 6, 0, 0), (3, 0, 0, 4),
    (0, 0, 40, 0), (700, 180, 140, 299), (0, 1000, 0, 0), (40_000, 5200, 4900, 49_900), (1, 1, 4, 0),
]  # fmt: skip
FAMILIES = [
    [0.03], [0.01, 0.02, 0.03, 0.04], [0.04, 0.01, 0.03], [0.5, 0.5, 0.5], [0.0, 1.0], [1e-12, 0.049, 0.02, 0.8],
    [0.2, 0.9, 0.4], [0.0125, 0.0166, 0.025, 0.05], [0.001 * n for n in range(20, 0, -1)],
]  # fmt: skip
PROPORTIONS = [
    (6, 100, 0.95), (0, 1, 0.95), (1, 1, 0.95), (0, 1319, 0.95), (1319, 1319, 0.99), (1, 20, 0.8), (7, 12, 0.9),
    (659, 1319, 0.95), (3, 100_000, 0.95), (99_999, 100_000, 0.999),
]  # fmt: skip
GROUPS = [
    ((56, 70), (48, 80), 0.95), ((31, 100), (6, 100), 0.95), ((0, 10), (0, 10), 0.95), ((10, 10), (0, 10), 0.95),
    ((0, 8), (5, 1319), 0.95), ((1, 1), (1, 1), 0.9), ((9, 10), (3, 10), 0.99), ((660, 1319), (640, 1319), 0.95),
    ((0, 20), (20, 20), 0.8), ((50_300, 100_000), (1, 3), 0.95),
]  # fmt: skip
# True difference, discordance, power, alpha.
PAIRED_DESIGNS = [
    (0.4, 0.5, 0.8, 0.05), (0.05, 0.25, 0.8, 0.05), (0.01, 0.06, 0.9, 0.05), (0.25, 0.25, 0.8, 0.05),
    (1.0, 1.0, 0.8, 0.05), (0.001, 0.3, 0.8, 0.05), (0.1, 1.0, 0.5, 0.1), (0.03, 0.1, 0.95, 0.01),
    (0.2, 0.3, 0.99, 0.001),
]  # fmt: skip
# Rate, the other, alpha, the items of each row, and the power to find items for.
UNPAIRED_DESIGNS = [
    (0.40, 0.25, 0.05, 203, 0.9), (0.31, 0.20, 0.05, 1319, 0.8), (0.23, 0.11, 0.05, 100, 0.8),
    (0.5, 0.49, 0.05, 50, 0.5), (0.9, 0.1, 0.05, 5, 0.99), (0.02, 0.01, 0.01, 20_000, 0.8),
    (1.0, 0.97, 0.05, 250, 0.95), (0.05, 0.0, 0.1, 40, 0.8), (0.61, 0.60, 0.001, 100_000, 0.6),
]  # fmt: skip
# Of the seeds of two recipes, and the confidence.
SCORES = [
    ([0.52, 0.53, 0.51], [0.47, 0.46, 0.49], 0.95), ([0.5, 0.9], [0.1, 0.15], 0.95),
    ([0.2, 0.2, 0.2], [0.1, 0.3, 0.2, 0.15], 0.9), ([0.61, 0.6, 0.62, 0.63, 0.58], [0.5, 0.7], 0.99),
    ([0.1, 0.2], [0.3, 0.3], 0.95), ([1.0, 0.9, 1.0], [0.0, 0.1, 0.0], 0.95),
    ([0.001, 0.002, 0.0], [0.0, 0.001, 0.001], 0.8),
    ([0.01, 0.08, 0.15, 0.23, 0.3, 0.37, 0.44, 0.02], [0.01, 0.13, 0.26, 0.38, 0.11, 0.23], 0.95),
]  # fmt: skip


def round_digits(value: object) -> object:
    """Round every number to 12 significant digits."""
    if isinstance(value, list | tuple):
        return [round_digits(part) for part in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def find_mid_p(first: int, second: int) -> float:
    """Double the smaller one-sided mid-p: given their sum, two equal Poisson rates share it like the discordant pairs.

    Where both counts are equal, Fagerland's definition is the two-sided one; without a pair it is 1.
    """
    if first == second:
        return float(test_poisson_2indep(first, 1, second, 1, method="cond-midp").pvalue) if first else 1.0
    least, most = sorted((first, second))
    return 2 * float(test_poisson_2indep(least, 1, most, 1, method="cond-midp", alternative="smaller").pvalue)


def half(interval: tuple[float, float]) -> float:
    """Halve an interval's width."""
    return float(interval[1] - interval[0]) / 2


def compare_scores(first: list[float], second: list[float], confidence: float) -> list[float]:
    """Compute half the width of Welch's interval, and its test's p value."""
    means = CompareMeans(DescrStatsW(first), DescrStatsW(second))
    p = ttest_ind(first, second, usevar="unequal")[1]
    return [half(means.tconfint_diff(1 - confidence, usevar="unequal")), float(p)]


def describe_gaps(gaps: list[float], confidence: float) -> list[float]:
    """Compute half the width of Student's interval, and its test's p value."""
    stats = DescrStatsW(gaps)
    return [half(stats.tconfint_mean(1 - confidence)), float(stats.ttest_mean(0)[1])]


def as_answers(table: Table) -> Floats:
    """Turn a table into numbers."""
    return np.array([[float(answer) for answer in row] for row in table])


def _indicators(table: Table) -> tuple[Floats, Floats, Floats]:
    """Return the answers one after another, with indicators of their seeds and of their problems."""
    answers = as_answers(table)
    seeds, problems = answers.shape
    return answers.ravel(), np.repeat(np.eye(seeds), problems, axis=0), np.tile(np.eye(problems), (seeds, 1))


def analyse_variance(table: Table) -> tuple[float, float, float]:
    """Estimate by the mean squares of seeds and problems: seed, seed x problem, problem."""
    right, by_seed, by_problem = _indicators(table)
    (_, seeds), problems = by_seed.shape, by_problem.shape[1]
    both = OLS(right, np.hstack([by_seed, by_problem[:, 1:]])).fit()
    of_seeds = (OLS(right, by_problem).fit().ssr - both.ssr) / (seeds - 1)
    of_problems = (OLS(right, by_seed).fit().ssr - both.ssr) / (problems - 1)
    flips = float(both.mse_resid)
    return (of_seeds - flips) / problems, flips, (of_problems - flips) / seeds


def fit_mixed_model(table: Table) -> tuple[float, float, float]:
    """Estimate the same by the restricted likelihood of a model with crossed random effects.

    Equal if no component is negative, up to what the optimiser leaves. It warns where a component is small.
    """
    right, by_seed, by_problem = _indicators(table)
    names = [[[f"{name}{n}" for n in range(part.shape[1])]] for name, part in (("s", by_seed), ("p", by_problem))]
    components = VCSpec(["seed", "problem"], names, [[by_seed], [by_problem]])
    model = MixedLM(right, np.ones((len(right), 1)), groups=np.ones(len(right)), exog_re=None, exog_vc=components)
    found = model.fit(reml=True, method="powell", ftol=1e-14)
    seed, problem = found.vcomp
    return float(seed), float(found.scale), float(problem)


def contrast_tables(first: Table, second: Table) -> list[float]:
    """Compute the difference of two recipes and half the width of its 95 % interval, by Welch's and Student's."""
    sides = [as_answers(table) for table in (first, second)]
    scores = [side.mean(axis=1).tolist() for side in sides]
    gaps = DescrStatsW(sides[0].mean(axis=0) - sides[1].mean(axis=0))
    problems = len(first[0])
    flips = [analyse_variance(table)[1] / len(table) for table in (first, second) if len(table) > 1]
    of_seeds = (
        compare_scores(scores[0], scores[1], 0.95)[0]
        if len(second) > 1
        else half(DescrStatsW(scores[0]).tconfint_mean(0.05))
    )
    share = (gaps.var_ddof(1) + 1 / problems - sum(flips)) / gaps.var_ddof(1)
    return [float(gaps.mean), sqrt(of_seeds**2 + half(gaps.tconfint_mean(0.05)) ** 2 * share)]


def draw_table(seed: int, shape: tuple[int, int], spread: float = 0.2) -> Table:
    """Draw the answers of seeds that differ, to problems that do."""
    rng = np.random.default_rng(seed)
    ability = np.linspace(-spread, spread, shape[0])[:, None]
    right = rng.random(shape) < rng.uniform(0, 1, shape[1]) + ability
    return ["".join(map(str, row)) for row in right.astype(int).tolist()]


def list_numbers() -> dict[str, list[list[object]]]:
    """List the pairs of input and output of each function of the harness."""
    shapes = [(3, 30), (4, 24), (5, 40), (3, 60), (6, 20), (2, 50), (4, 50), (8, 16)]
    tables = [draw_table(n, shape) for n, shape in enumerate(shapes, 1)]
    others = [draw_table(100 + n, (len(table) - n % 2, len(table[0])), 0.25) for n, table in enumerate(tables)]
    even = ["1" * 13 + "0" * 27, "1" * 10 + "0" * 3 + "1" * 3 + "0" * 24]  # equal scores, other problems
    won = ["1" * 6 + "0" * 33 + "1", "1" * 6 + "0" * 34], ["0" * 40]
    gaps = [[*first, *(-value / 2 for value in second)] for first, second, _ in SCORES]
    return {
        "mcnemar_p_value": [[c, float(mcnemar([[c[0], c[1]], [c[2], c[3]]]).pvalue)] for c in PAIRS],
        "mcnemar_mid_p_value": [[c, find_mid_p(c[1], c[2])] for c in PAIRS],
        "holm_adjust": [[c, multipletests(c, method="holm")[1].tolist()] for c in FAMILIES],
        "wilson_interval": [
            [c, [float(v) for v in proportion_confint(c[0], c[1], 1 - c[2], "wilson")]] for c in PROPORTIONS
        ],
        "unpaired_interval": [
            [c, [float(v) for v in confint_proportions_2indep(*c[0], *c[1], method="newcomb", alpha=1 - c[2])]]
            for c in GROUPS
        ],
        "items_needed": [
            [c, ceil(normal_sample_size_one_tail(c[0], c[2], c[3] / 2, sqrt(c[1]), sqrt(c[1] - c[0] ** 2)))]
            for c in PAIRED_DESIGNS
        ],
        "unpaired_power": [
            [
                (a, b, n, alpha),
                float(power_proportions_2indep(a - b, b, n, alpha=alpha / 2, alternative="larger").power),
            ]
            for a, b, alpha, n, _ in UNPAIRED_DESIGNS
        ],
        "unpaired_items_needed": [
            [(a, b, power, alpha), ceil(samplesize_proportions_2indep_onetail(a - b, b, power, alpha=alpha))]
            for a, b, alpha, _, power in UNPAIRED_DESIGNS
        ],
        "scores of seeds": [[c, compare_scores(*c)] for c in SCORES],
        "gaps of problems": [[(gap, c[2]), describe_gaps(gap, c[2])] for gap, c in zip(gaps, SCORES, strict=True)],
        "analysis of variance": [
            [(table,), analyse_variance(table)] for table in [*tables, *others, even, won[0]] if len(table) > 1
        ],
        "mixed model": [[(table,), fit_mixed_model(table)] for table in tables],
        "compare_recipes": [[pair, contrast_tables(*pair)] for pair in [*zip(tables, others, strict=True), won]],
    }


def main() -> None:
    """Write one line a case, numbers with 12 digits."""
    versions = json.dumps({"statsmodels": statsmodels.__version__, "scipy": scipy.__version__})
    sections = [
        f' "{name}": [\n  ' + ",\n  ".join(json.dumps(round_digits(case)) for case in cases) + "\n ]"
        for name, cases in list_numbers().items()
    ]
    sys.stdout.write("{\n" + ",\n".join([f' "versions": {versions}', *sections]) + "\n}\n")


if __name__ == "__main__":
    main()
