"""Intervals and resolvable differences against published numbers, an independent implementation and their formula."""

from math import sqrt

import numpy as np
import pytest
from baseline_bench.analysis.statistics import (
    PairCounts,
    exact_power,
    items_needed,
    items_needed_exact,
    items_needed_for_margin,
    margin_power,
    mcnemar_mid_p_value,
    mcnemar_p_value,
    newcombe_interval,
    paired_interval,
    resolvable_difference,
    wilson_interval,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

counts = st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@pytest.mark.parametrize(
    ("successes", "low", "high"),
    [(6, 2.8, 12.5), (31, 22.8, 40.6), (23, 15.8, 32.2), (20, 13.3, 28.9), (11, 6.3, 18.6)],
)
def test_wilson_gives_the_published_table_at_100_items(successes: int, low: float, high: float) -> None:
    """The intervals of the published table come out to its last digit."""
    interval = wilson_interval(successes, 100)
    assert (round(100 * interval.low, 1), round(100 * interval.high, 1)) == (low, high)


@given(counts, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(case: tuple[int, int], confidence: float) -> None:
    """Every interval is the one that scipy's binomial test gives by the same method."""
    successes, total = case
    theirs = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, total, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(counts)
def test_wilson_holds_the_rate_and_stays_between_0_and_1(case: tuple[int, int]) -> None:
    """The interval contains the observed rate, has a width even at 0 and at all, and never leaves 0 to 1."""
    successes, total = case
    low, high = wilson_interval(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert low < high


def test_wilson_ends_are_exact_where_nothing_or_everything_is_right() -> None:
    """No right answer gives a lower end of exactly 0, all right an upper end of exactly 1."""
    assert wilson_interval(0, 1319).low == 0
    assert wilson_interval(1319, 1319).high == 1


@pytest.mark.parametrize(("successes", "total", "confidence"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_wilson_refuses_impossible_counts(successes: int, total: int, confidence: float) -> None:
    """Counts that are no proportion, or a certain interval, are a mistake of the caller."""
    with pytest.raises(ValueError, match="is no pro"):
        wilson_interval(successes, total, confidence)


@settings(max_examples=30)
@given(st.integers(1, 5000), st.floats(0.01, 1.0), st.floats(0.5, 0.99), st.sampled_from([0.2, 0.05, 0.001]))
def test_the_resolvable_difference_is_the_least_that_reaches_the_power(
    total: int, discordance: float, power: float, alpha: float
) -> None:
    """A millionth less does not, and there is none if the whole discordance does not."""
    difference = resolvable_difference(total, discordance, power, alpha)
    if difference is None:
        assert exact_power(total, discordance, discordance, alpha) < power
    else:
        assert exact_power(total, difference, discordance, alpha) >= power
        assert exact_power(total, difference - 2e-6, discordance, alpha) < power


def test_the_whole_gsm8k_test_set_resolves_under_four_points() -> None:
    """1,319 items resolve 3.88 points at 25 % discordance, 100 items 13.98."""
    assert resolvable_difference(1319) == pytest.approx(0.03883, abs=1e-5)
    assert resolvable_difference(100) == pytest.approx(0.13985, abs=1e-5)


def test_a_handful_of_items_resolves_nothing() -> None:
    """Where even discordance in one direction only would go unseen there is no difference to name."""
    assert resolvable_difference(1) is None
    assert resolvable_difference(12) is None
    assert resolvable_difference(64) is not None


@pytest.mark.parametrize("arguments", [(0,), (10, 0.0), (10, 1.5), (10, 0.25, 1.0), (10, 0.25, 0.8, 0.0)])
def test_the_resolvable_difference_refuses_an_impossible_design(arguments: tuple[float, ...]) -> None:
    """No items, a discordance outside 0 to 1, certain power or no error at all are mistakes of the caller."""
    with pytest.raises(ValueError, match="no design has"):
        resolvable_difference(*arguments)  # type: ignore[arg-type]


cells = st.integers(0, 400)
tables = st.builds(PairCounts, cells, cells, cells, cells).filter(lambda pairs: pairs.total > 0)


def swapped(pairs: PairCounts) -> PairCounts:
    """The same table with its two rows exchanged."""
    return PairCounts(pairs.both, pairs.second, pairs.first, pairs.neither)


def test_pairs_count_items_and_give_their_difference() -> None:
    """Right in both, in the first, in the second, in neither: 32 of 50 against 22 of 50 are 20 points."""
    pairs = PairCounts(20, 12, 2, 16)
    assert (pairs.total, pairs.difference) == (50, 0.2)


@pytest.mark.parametrize(
    ("cell", "low", "high"),
    [
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((0, 30, 0, 0), 0.8395, 1.0),
    ],
)
def test_newcombe_gives_the_intervals_of_method_10(cell: tuple[int, ...], low: float, high: float) -> None:
    """Published and hand-computed 2 x 2 tables come out to their last digit."""
    interval = newcombe_interval(PairCounts(*cell))
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(tables, st.sampled_from([0.8, 0.95, 0.99]))
def test_newcombe_stays_around_the_difference_and_within_bounds(pairs: PairCounts, confidence: float) -> None:
    """The interval contains the difference seen, has a width, and never leaves -1 to 1."""
    low, high = newcombe_interval(pairs, confidence)
    assert -1 <= low <= pairs.difference <= high <= 1
    assert low < high


@given(tables)
def test_exchanging_the_rows_turns_the_sign_and_keeps_the_test(pairs: PairCounts) -> None:
    """Which of two rows is named first changes no p value and mirrors the interval."""
    there, back = newcombe_interval(pairs), newcombe_interval(swapped(pairs))
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-12)
    assert swapped(pairs).difference == -pairs.difference
    assert mcnemar_p_value(swapped(pairs)) == mcnemar_p_value(pairs)
    assert mcnemar_mid_p_value(swapped(pairs)) == mcnemar_mid_p_value(pairs)


@given(tables)
def test_more_confidence_is_a_wider_interval(pairs: PairCounts) -> None:
    """The 99 % interval holds the 95 % one."""
    narrow, wide = newcombe_interval(pairs), newcombe_interval(pairs, 0.99)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@pytest.mark.parametrize("cell", [(0, 0, 0, 0), (3, -1, 2, 1)])
def test_newcombe_refuses_impossible_counts(cell: tuple[int, ...]) -> None:
    """No item, or less than none, is a mistake of the caller."""
    with pytest.raises(ValueError, match="counts no items"):
        newcombe_interval(PairCounts(*cell))


@given(tables)
def test_mcnemar_agrees_with_scipy(pairs: PairCounts) -> None:
    """The exact test is the binomial test of the discordant pairs; concordant ones do not matter."""
    discordant = pairs.first + pairs.second
    theirs = binomtest(pairs.first, discordant, 0.5).pvalue if discordant else 1.0
    assert mcnemar_p_value(pairs) == pytest.approx(theirs, abs=1e-12)
    assert mcnemar_p_value(pairs._replace(both=0, neither=0)) == mcnemar_p_value(pairs)


@given(tables)
def test_the_mid_p_takes_half_of_what_was_seen(pairs: PairCounts) -> None:
    """It never exceeds the exact p, and lies above the p of one pair less in the smaller cell."""
    exact, mid = mcnemar_p_value(pairs), mcnemar_mid_p_value(pairs)
    assert 0 <= mid <= exact <= 1
    discordant, least = pairs.first + pairs.second, min(pairs.first, pairs.second)
    if pairs.first != pairs.second:
        tail = binomtest(least, discordant, 0.5, alternative="less").pvalue
        seen = tail - (binomtest(least - 1, discordant, 0.5, alternative="less").pvalue if least else 0.0)
        assert mid == pytest.approx(2 * tail - seen, abs=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "exact", "mid"),
    [(12, 2, 0.0129, 0.0074), (6, 16, 0.0525, 0.0347), (10, 10, 1.0, 0.9119), (1, 0, 1.0, 0.5), (7, 0, 0.0156, 0.0078)],
)
def test_mcnemar_gives_known_p_values(first: int, second: int, exact: float, mid: float) -> None:
    """Exact and mid-p of discordant cells, worked out from the binomial distribution."""
    pairs = PairCounts(5, first, second, 7)
    assert (round(mcnemar_p_value(pairs), 4), round(mcnemar_mid_p_value(pairs), 4)) == (exact, mid)


@given(cells.filter(bool), cells)
def test_without_a_discordant_pair_there_is_nothing_to_test(both: int, neither: int) -> None:
    """Both p values are 1, and the interval is around 0 and still has a width."""
    pairs = PairCounts(both, 0, 0, neither)
    assert (mcnemar_p_value(pairs), mcnemar_mid_p_value(pairs)) == (1.0, 1.0)
    assert newcombe_interval(pairs).low < 0 < newcombe_interval(pairs).high


@given(st.integers(6, 2000), cells, cells)
def test_a_perfect_separation_is_always_resolved(won: int, both: int, neither: int) -> None:
    """From six items on, all won and none lost is significant, whatever else there is; five can never be."""
    assert mcnemar_p_value(PairCounts(both, won, 0, neither)) < 0.05
    assert mcnemar_mid_p_value(PairCounts(both, won, 0, neither)) < 0.05
    assert newcombe_interval(PairCounts(0, won, 0, 0)).low > 0
    assert mcnemar_p_value(PairCounts(both, 5, 0, neither)) > 0.05


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.floats(0.5, 0.99), st.floats(0.001, 0.2))
def test_items_needed_are_connor_s(discordance: float, share: float, power: float, alpha: float) -> None:
    """The least whole number of items by Connor's formula."""
    gap = share * discordance
    a, b = norm.ppf(1 - alpha / 2), norm.ppf(power)
    wanted = ((a * sqrt(discordance) + b * sqrt(discordance - gap**2)) / gap) ** 2
    needed = items_needed(gap, discordance, power, alpha)
    assert needed is not None
    assert wanted * (1 - 1e-9) <= needed < wanted * (1 + 1e-9) + 1


def test_items_needed_of_a_published_design() -> None:
    """Discordant cells of 0.45 and 0.05 take 23 items."""
    assert items_needed(0.40, 0.50) == 23


@given(st.floats(0.01, 0.5), st.floats(0.5, 1.0), st.floats(0.1, 0.9))
def test_a_smaller_difference_and_more_noise_take_more_items(gap: float, discordance: float, share: float) -> None:
    """More power too; and the sign of the difference does not matter."""
    needed, of_less = items_needed(gap, discordance), items_needed(share * gap, discordance)
    calmer, surer = items_needed(gap, max(gap, share * discordance)), items_needed(gap, discordance, power=0.95)
    assert needed is not None
    assert of_less is not None
    assert calmer is not None
    assert surer is not None
    assert calmer <= needed <= of_less
    assert needed <= surer
    assert items_needed(-gap, discordance) == needed


def test_no_difference_takes_no_number_of_items() -> None:
    """There is nothing to find, on however many items."""
    assert items_needed(0.0, 0.25) is None


@settings(max_examples=30)
@given(st.integers(1, 16), st.floats(0.05, 1.0), st.floats(0.1, 1.0), st.sampled_from([0.01, 0.05, 0.1, 0.2]))
def test_the_exact_power_is_that_of_the_interval(total: int, discordance: float, share: float, alpha: float) -> None:
    """Summed over every table whose interval is above 0, it is the same number."""
    gap = share * discordance
    won, lost = (discordance + gap) / 2, max(0.0, (discordance - gap) / 2)
    power = 0.0
    for gains in range(total + 1):
        for losses in range(min(gains, total - gains) + 1):
            if paired_interval(PairCounts(total - gains - losses, gains, losses, 0), 1 - alpha).low > 0:
                chance = float(binom.pmf(gains, total, won))
                power += chance * float(
                    binom.pmf(losses, total - gains, min(1.0, lost / (1 - won)) if won < 1 else 0.0)
                )
    assert exact_power(total, gap, discordance, alpha) == pytest.approx(power, abs=1e-9)
    assert exact_power(total, -gap, discordance, alpha) == exact_power(total, gap, discordance, alpha)


@given(st.floats(0.02, 0.3), st.floats(0.1, 1.0), st.floats(0.6, 0.95))
def test_the_interval_takes_no_fewer_items_than_the_formula(discordance: float, share: float, power: float) -> None:
    """The number suffices, and one item less does not unless the formula says so."""
    gap = max(0.01, share * discordance)
    formula, exact = items_needed(gap, discordance, power), items_needed_exact(gap, discordance, power)
    assert formula is not None
    assert formula <= exact
    assert exact_power(exact, gap, discordance) >= power
    assert exact == formula or exact_power(exact - 1, gap, discordance) < power


def test_the_exact_items_of_known_designs() -> None:
    """Five points of rows that disagree on a quarter take 798 items, by the formula 783; six where one always wins."""
    assert (items_needed_exact(0.05, 0.25), items_needed(0.05, 0.25)) == (798, 783)
    assert items_needed_exact(1.0, 1.0) == 6


def test_a_tiny_gain_is_planned_by_the_formula() -> None:
    """Above a million items the formula is exact enough, and the sums would take minutes."""
    assert items_needed_exact(0.0001, 0.25) == items_needed(0.0001, 0.25)


@pytest.mark.parametrize(
    ("total", "difference", "discordance"), [(0, 0.1, 0.2), (9, 0.3, 0.2), (9, 0.0, 0.2), (9, 0.1, 1.2)]
)
def test_the_exact_power_refuses_impossible_rows(total: int, difference: float, discordance: float) -> None:
    """No items, a difference above the discordance, none, or a discordance above 1 are mistakes of the caller."""
    with pytest.raises(ValueError, match="no two rows have"):
        exact_power(total, difference, discordance)
    with pytest.raises(ValueError, match="finds a difference of 0"):
        items_needed_exact(0.0, 0.2)


@settings(max_examples=15)
@given(
    st.integers(1, 16), st.floats(0.01, 1.0), st.floats(-1.0, 1.0), st.floats(0.01, 0.9), st.sampled_from([0.05, 0.2])
)
def test_the_power_for_a_margin_is_that_of_the_interval(
    total: int, discordance: float, share: float, margin: float, alpha: float
) -> None:
    """Summed over every table whose interval is above -margin, and over those that are below margin as well."""
    difference = share * discordance
    gain, loss = (discordance + difference) / 2, (discordance - difference) / 2
    above = within = 0.0
    for won in range(total + 1):
        for lost in range(total - won + 1):
            low, high = paired_interval(PairCounts(0, won, lost, total - won - lost), 1 - 2 * alpha)
            chance = float(binom.pmf(won, total, gain) * binom.pmf(lost, total - won, min(1.0, loss / (1 - gain))))
            above += chance * (low > -margin)
            within += chance * (-margin < low and high < margin)
    power = margin_power(total, margin, difference, discordance, alpha)
    assert power == pytest.approx((within, above), abs=1e-9)
    assert margin_power(total, margin, -difference, discordance, alpha)[0] == pytest.approx(within, abs=1e-9)


def test_the_power_for_a_margin_is_how_often_simulated_rows_show_it() -> None:
    """Within three standard errors of 2,000 drawn tables."""
    draws = np.random.default_rng(0).multinomial(500, [0.07, 0.06, 0.87], 2000).tolist()
    bounds = [paired_interval(PairCounts(0, won, lost, rest), 0.90) for won, lost, rest in draws]
    shown = [
        np.mean([low > -0.04 and high < 0.04 for low, high in bounds]),
        np.mean([low > -0.04 for low, _ in bounds]),
    ]
    assert margin_power(500, 0.04, 0.01, 0.13) == pytest.approx(tuple(shown), abs=3 * sqrt(0.25 / 2000))


def test_the_items_for_a_margin_suffice() -> None:
    """One less does not; a smaller margin or more noise takes more; a difference outside the margin has no number."""
    needed = items_needed_for_margin(0.02, 0.005, 0.06)
    assert needed == (1768, 645)
    for index, number in enumerate(needed):
        assert margin_power(number, 0.02, 0.005, 0.06)[index] >= 0.8
        assert margin_power(number - 1, 0.02, 0.005, 0.06)[index] < 0.8
    assert items_needed_for_margin(0.02, 0.02, 0.06)[0] is None
    assert items_needed_for_margin(0.02, -0.03, 0.06) == (None, None)
    wider, noisier = items_needed_for_margin(0.03, 0.0, 0.06), items_needed_for_margin(0.03, 0.0, 0.12)
    assert all(one < other for one, other in zip(wider, noisier, strict=True))


@pytest.mark.parametrize(
    "arguments", [(0, 0.1, 0.0, 0.1), (9, 0.0, 0.0, 0.1), (9, 0.1, 0.2, 0.1), (9, 0.1, 0, 0.1, 0.5)]
)
def test_the_power_for_a_margin_refuses_the_impossible(arguments: tuple[float, ...]) -> None:
    """No items, no margin, a difference above the discordance, or a level of a half."""
    with pytest.raises(ValueError, match="no two rows have"):
        margin_power(*arguments)  # type: ignore[arg-type]
