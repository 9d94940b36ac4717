"""The paired interval against published numbers, a second implementation, exact enumeration and what it promises."""

from math import sqrt

import pytest
from baseline_bench.analysis.statistics import (
    PairCounts,
    critical_value,
    exact_power,
    least_discordant,
    mcnemar_p_value,
    paired_interval,
    paired_p_value,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from benchmarks.statistics import paired_interval as enumeration

cells = st.integers(0, 400)
tables = st.builds(PairCounts, cells, cells, cells, cells).filter(lambda pairs: pairs.total > 0)
inner_cells = st.integers(1, 30)
inner_tables = st.builds(PairCounts, inner_cells, inner_cells, inner_cells, inner_cells)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99, 0.999])


def decides(pairs: PairCounts, confidence: float = 0.95) -> bool:
    """Whether 0 is outside the interval."""
    low, high = paired_interval(pairs, confidence)
    return low > 0 or high < 0


def score(pairs: PairCounts, difference: float, corrected: bool = True) -> float:
    """The score statistic, its estimate found as the root of the likelihood's derivative instead of by a formula."""
    total, first, second = pairs.total, pairs.first, pairs.second

    def derivative(losses: float) -> float:
        return (
            first / (losses + difference)
            + second / losses
            - 2 * (total - first - second) / (1 - 2 * losses - difference)
        )

    least, most = max(0.0, -difference), (1 - difference) / 2
    margin = 1e-13 * (most - least)
    ends = least + margin, most - margin
    losses = brentq(derivative, *ends, xtol=1e-16) if derivative(ends[0]) > 0 else least
    discordance = 2 * losses + difference
    correction = (abs(difference) / discordance + 2 * difference**4) / 3 if corrected else 0.0
    distance = abs(first - second - total * difference)
    return max(0.0, distance - correction) / sqrt(total * (discordance - difference**2))


@pytest.mark.parametrize(
    ("cell", "confidence", "bound"),
    [
        ((43, 0, 1, 0), 0.90, -0.096),
        ((10, 9, 3, 10), 0.95, -0.027),
        ((10, 9, 3, 10), 0.95, 0.390),
        ((59, 6, 16, 80), 0.95, -0.1240),
        ((59, 6, 16, 80), 0.95, -0.0054),
    ],
)
def test_published_bounds_solve_the_uncorrected_test(cell, confidence, bound):
    """Tango's examples of 1998 (lenses, sleep) and Fagerland, Lydersen and Laake's (therapy), to the last digit."""
    half_digit = 0.00005 if bound in (-0.1240, -0.0054) else 0.0005
    around = [score(PairCounts(*cell), bound + side * half_digit, corrected=False) for side in (-1, 1)]
    assert min(around) <= norm.ppf((1 + confidence) / 2) <= max(around)


def test_the_published_statistic_against_a_margin():
    """Tango's lenses against a loss of ten points."""
    assert score(PairCounts(43, 0, 1, 0), -0.1, corrected=False) == pytest.approx(1.709, abs=0.0005)


@given(inner_tables, confidences)
def test_a_bound_is_where_the_second_implementation_reaches_the_critical_value(pairs, confidence):
    """Wherever no rule puts a bound at 0."""
    for bound in paired_interval(pairs, confidence):
        if bound and abs(bound) < 1 - 1e-6:
            assert score(pairs, bound) == pytest.approx(critical_value(pairs.total, 1 - confidence), rel=1e-5)


@given(tables, confidences)
def test_the_enumeration_tests_what_the_program_computes(pairs, confidence):
    """A difference just inside a bound is accepted there, one just outside is not."""
    first, second = (enumeration.np.array([float(count)]) for count in (pairs.first, pairs.second))
    low, high = paired_interval(pairs, confidence)
    for bound, inward in ((low, 1e-9), (high, -1e-9)):
        inside, outside = (
            enumeration.cover(first, second, pairs.total, bound + side, 1 - confidence)[0] for side in (inward, -inward)
        )
        assert inside
        assert not outside or abs(bound) > 1 - 2e-9


def test_the_critical_value_is_the_least_at_which_the_exact_test_rejects():
    """Over every table of up to that many discordant items, and known for some."""
    for total in (6, 7, 20, 40):
        stats = [
            (discordant - 2 * losses) / sqrt(discordant)
            for discordant in range(1, total + 1)
            for losses in range(discordant // 2 + 1)
            if binomtest(losses, discordant, 0.5).pvalue < 0.05
        ]
        assert critical_value(total) == min(stats)
    assert [round(critical_value(total), 3) for total in (50, 100, 200, 400)] == [2.111, 2.063, 2.031, 2.010]


def test_few_discordant_items_decide_nothing_whatever_else_there_is():
    """Six at 5 %, five at 10 %, as for the exact test; so five items or fewer never decide."""
    assert [least_discordant(alpha) for alpha in (0.05, 0.1, 0.0625, 0.01)] == [6, 5, 6, 8]
    for total in (*range(1, 6), 1319, 100_000):
        won = min(5, total)
        assert paired_interval(PairCounts(total - won, won, 0, 0)).low <= 0
        assert critical_value(total) > sqrt(5) or total > 5


@given(st.integers(6, 2000), cells, cells)
def test_a_perfect_separation_of_six_items_or_more_is_decided(won, both, neither):
    """Whatever else there is."""
    assert paired_interval(PairCounts(both, won, 0, neither)).low > 0


@given(tables, confidences)
def test_what_the_exact_test_rejects_is_decided(pairs, confidence):
    """No decision of the exact test is lost, in its direction; and the interval contains the observed difference."""
    low, high = paired_interval(pairs, confidence)
    assert -1 <= low <= pairs.difference <= high <= 1
    assert low < high
    if mcnemar_p_value(pairs) < 1 - confidence:
        assert decides(pairs, confidence)


@given(tables, confidences)
def test_exchanging_the_rows_mirrors_the_interval(pairs, confidence):
    """To the last bit."""
    low, high = paired_interval(pairs, confidence)
    assert paired_interval(PairCounts(pairs.both, pairs.second, pairs.first, pairs.neither), confidence) == (
        -high,
        -low,
    )


@given(tables)
def test_more_confidence_is_a_wider_interval(pairs):
    """The 90 % interval is inside the 95 % one, and that in the 99 % one."""
    narrow, usual, wide = (paired_interval(pairs, confidence) for confidence in (0.9, 0.95, 0.99))
    assert wide.low <= usual.low <= narrow.low
    assert narrow.high <= usual.high <= wide.high


@given(tables, confidences)
def test_one_more_gain_or_one_loss_less_lowers_no_bound(pairs, confidence):
    """The items stay as many; a concordant item becomes a gain, or a loss a concordant item."""
    low, high = paired_interval(pairs, confidence)
    both, first, second, neither = pairs
    better = [PairCounts(both, first + 1, second, neither - 1)] if neither else []
    better += [PairCounts(both + 1, first, second - 1, neither)] if second else []
    for other in better:
        changed = paired_interval(other, confidence)
        assert changed.low >= low - 1e-11
        assert changed.high >= high - 1e-11


@pytest.mark.parametrize(("cell", "confidence"), [((0, 0, 0, 0), 0.95), ((3, -1, 2, 1), 0.95), ((1, 1, 1, 1), 1.0)])
def test_impossible_counts_and_levels_are_refused(cell, confidence):
    """No item, less than none, or certainty is a mistake of the caller."""
    with pytest.raises(ValueError, match=r"counts no items|is no level"):
        paired_interval(PairCounts(*cell), confidence)


@pytest.mark.parametrize("problems", [25, 50])
@pytest.mark.parametrize(("alpha", "largest_size", "least_coverage"), [(0.05, 0.055, 0.94), (0.10, 0.105, 0.89)])
def test_size_and_coverage_by_enumeration(problems, alpha, largest_size, least_coverage):
    """Over a grid of the whole simplex, the edges searched more closely; the exact test loses nothing."""
    assert enumeration.find_size(problems, alpha, steps=30).value <= largest_size
    assert enumeration.find_least_coverage(problems, alpha, steps=10).value >= least_coverage
    assert enumeration.count_lost(problems, alpha) == 0


def test_the_enumeration_notices_an_interval_that_is_too_short():
    """Tango's own misses one in eight differences near 1; and one table's probability is what the binomial says."""
    tango = enumeration.CANDIDATES["Tango's interval"]
    assert enumeration.find_least_coverage(25, 0.05, tango, steps=10).value < 0.9
    gains, losses, chances = enumeration.list_tables(5, 0.5, 0.1)
    table = (gains == 2) & (losses == 1)
    assert chances[table] == pytest.approx([30 * 0.3**2 * 0.2 * 0.5**2])
    assert chances.sum() == pytest.approx(1)


def test_the_enumeration_prints_a_line_a_size(capsys):
    """For the procedure in use and for the others that were tried."""
    assert enumeration.main(["--sizes", "4", "--steps", "4"]) == 0
    quality = capsys.readouterr().out.splitlines()
    assert quality[2].split(" | ")[:2] == ["| 4", "2.449"]
    assert enumeration.main(["--sizes", "4", "--steps", "4", "--candidates", "--confidence", "0.9"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(enumeration.CANDIDATES)
    assert enumeration.main(["--sizes", "25", "--steps", "3", "--margins", "--confidence", "0.9"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(enumeration.MARGINS)
    assert enumeration.main(["--sizes", "25", "50", "--power"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 2


@pytest.mark.parametrize("problems", [25, 100, 400])
@pytest.mark.parametrize("margin", [0.02, 0.1])
def test_a_difference_at_the_margin_is_rarely_called_smaller(problems, margin):
    """At most one in twenty, and half a point; the enumeration notices a level that is twice as large."""
    assert enumeration.find_margin_size(problems, margin, steps=10).value <= 0.055
    assert problems < 100 or enumeration.find_margin_size(problems, margin, 0.1, steps=10).value > 0.055


def test_the_exact_test_has_less_power_than_the_interval():
    """At every design of the table; of six discordant problems all won it finds those of six and more."""
    for share, gap in enumeration.DESIGNS:
        assert enumeration.measure_exact_power(100, share, gap, 0.05) <= exact_power(100, gap, share)
    assert enumeration.measure_exact_power(6, 1.0, 1.0, 0.05) == 1.0
    assert enumeration.measure_exact_power(5, 1.0, 1.0, 0.05) == 0.0


@pytest.mark.parametrize("total", [3, 7, 20, 256, 1319])
def test_the_p_value_is_where_the_interval_ends_at_zero(total: int) -> None:
    """At every level; never above the exact test's, and the same for exchanged rows."""
    for discordant in range(1, min(total, 45) + 1, 1 if total < 25 else 4):
        for wins in range((discordant + 1) // 2, discordant + 1):
            pairs = PairCounts(0, wins, discordant - wins, total - discordant)
            p = paired_p_value(pairs)
            assert p == paired_p_value(PairCounts(0, discordant - wins, wins, total - discordant))
            assert p <= mcnemar_p_value(pairs)
            for alpha in (0.1, 0.05, 0.025, 0.01):
                assert (p < alpha) == (paired_interval(pairs, 1 - alpha).low > 0)
