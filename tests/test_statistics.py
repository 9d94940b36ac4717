"""Intervals and resolvable differences against published numbers, an independent implementation and their formula."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from harness.statistics import resolvable_difference, wilson

counts = st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@pytest.mark.parametrize(
    ("successes", "low", "high"),
    [(6, 2.8, 12.5), (31, 22.8, 40.6), (23, 15.8, 32.2), (20, 13.3, 28.9), (11, 6.3, 18.6)],
)
def test_wilson_gives_the_published_table_at_100_items(successes: int, low: float, high: float) -> None:
    """The intervals of the published table come out to its last digit."""
    interval = wilson(successes, 100)
    assert (round(100 * interval.low, 1), round(100 * interval.high, 1)) == (low, high)


@given(counts, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(case: tuple[int, int], confidence: float) -> None:
    """Every interval is the one that scipy's binomial test gives by the same method."""
    successes, total = case
    theirs = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    assert wilson(successes, total, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@given(counts)
def test_wilson_holds_the_rate_and_stays_between_0_and_1(case: tuple[int, int]) -> None:
    """The interval contains the observed rate, has a width even at 0 and at all, and never leaves 0 to 1."""
    successes, total = case
    low, high = wilson(successes, total)
    assert 0 <= low <= successes / total <= high <= 1
    assert low < high


def test_wilson_ends_are_exact_where_nothing_or_everything_is_right() -> None:
    """No right answer gives a lower end of exactly 0, all right an upper end of exactly 1."""
    assert wilson(0, 1319).low == 0
    assert wilson(1319, 1319).high == 1


@pytest.mark.parametrize(("successes", "total", "confidence"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_wilson_refuses_impossible_counts(successes: int, total: int, confidence: float) -> None:
    """Counts that are no proportion, or a certain interval, are a mistake of the caller."""
    with pytest.raises(ValueError, match="is no pro"):
        wilson(successes, total, confidence)


@given(st.integers(10, 100_000), st.floats(0.01, 1.0), st.floats(0.5, 0.99), st.floats(0.001, 0.2))
def test_the_resolvable_difference_needs_exactly_that_many_items(
    total: int, discordance: float, power: float, alpha: float
) -> None:
    """Connor's sample size for the difference found is the number of items it was found for."""
    difference = resolvable_difference(total, discordance, power, alpha)
    if difference is not None:
        a, b = norm.ppf(1 - alpha / 2), norm.ppf(power)
        needed = ((a * sqrt(discordance) + b * sqrt(discordance - difference**2)) / difference) ** 2
        assert needed == pytest.approx(total, rel=1e-6)


def test_the_resolvable_difference_of_a_published_design() -> None:
    """Discordant cells of 0.45 and 0.05, 80 % power, two-sided 5 %: 23 items are enough and 22 are not."""
    enough, too_few = resolvable_difference(23, discordance=0.5), resolvable_difference(22, discordance=0.5)
    assert enough is not None
    assert too_few is not None
    assert enough <= 0.45 - 0.05 < too_few


def test_the_whole_gsm8k_test_set_resolves_under_four_points() -> None:
    """1,319 items resolve 3.85 points at 25 % discordance, 100 items 13.8."""
    assert resolvable_difference(1319) == pytest.approx(0.0385, abs=1e-4)
    assert resolvable_difference(100) == pytest.approx(0.1375, abs=1e-3)


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
