"""analysis.multiple_testing: families of tests, counts of different items, and seeds, against published numbers."""

from itertools import pairwise

import pytest
from baseline_bench.analysis.multiple_testing import (
    boschloo_p_value,
    holm_adjust,
    unpaired_interval,
    unpaired_items_needed,
    unpaired_power,
)
from hypothesis import given
from hypothesis import strategies as st

p_values = st.lists(st.floats(0, 1), max_size=20)
counts = st.integers(1, 60).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
BASE = (6, 100)
FULL_MAIN, FULL_SOCRATIC, LORA_MAIN, LORA_SOCRATIC = (31, 100), (23, 100), (20, 100), (11, 100)


def test_holm_of_the_published_methods_leaves_none():
    """Full over LoRA on main and socratic, main over socratic under full and LoRA: one is below 5 % alone, none is in
    the family.
    """
    pairs = [
        (FULL_MAIN, LORA_MAIN),
        (FULL_SOCRATIC, LORA_SOCRATIC),
        (FULL_MAIN, FULL_SOCRATIC),
        (LORA_MAIN, LORA_SOCRATIC),
    ]
    found = [boschloo_p_value(*pair) for pair in pairs]
    assert [round(p, 3) for p in found] == [0.078, 0.028, 0.229, 0.094]
    assert holm_adjust(found) == pytest.approx((0.235, 0.113, 0.235, 0.235), abs=5e-4)


def test_holm_against_the_published_base_leaves_three():
    """Both full fine-tunes and LoRA on main stand; LoRA on socratic does not."""
    found = holm_adjust([boschloo_p_value(row, BASE) for row in (FULL_MAIN, FULL_SOCRATIC, LORA_MAIN, LORA_SOCRATIC)])
    assert max(found[:3]) <= 0.008
    assert round(found[3], 2) == 0.26


@given(p_values)
def test_an_adjusted_p_is_never_below_its_own_nor_above_1(values: list[float]):
    """And the largest family factor is the number of tests."""
    for value, adjusted in zip(values, holm_adjust(values), strict=True):
        assert value <= adjusted <= min(1.0, len(values) * value) + 1e-12


@given(p_values)
def test_holm_keeps_the_order_by_size(values: list[float]):
    """A smaller p never gets the larger adjusted one; equal ones get the same."""
    ordered = sorted(zip(values, holm_adjust(values), strict=True))
    assert all(one[1] <= other[1] for one, other in pairwise(ordered))
    assert all(one[1] == other[1] for one, other in pairwise(ordered) if one[0] == other[0])


@given(p_values, st.randoms())
def test_holm_does_not_depend_on_the_order_of_the_tests(values: list[float], random):
    """Each p keeps its adjusted one wherever it stands."""
    places = list(range(len(values)))
    random.shuffle(places)
    adjusted = holm_adjust(values)
    assert holm_adjust([values[place] for place in places]) == tuple(adjusted[place] for place in places)


def test_holm_of_one_test_is_its_p_and_of_none_is_nothing():
    """A family of one needs no adjustment."""
    assert holm_adjust([0.03]) == (0.03,)
    assert holm_adjust([]) == ()


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(value: float):
    """A mistake of the caller, never a silent 1."""
    with pytest.raises(ValueError, match="no p values"):
        holm_adjust([0.5, value])


@pytest.mark.parametrize(
    ("first", "second"), [((7, 12), (1, 12)), ((3, 9), (5, 14)), ((0, 8), (8, 8)), ((0, 5), (0, 7))]
)
def test_boschloo_does_not_ask_which_group_is_named_first(first: tuple[int, int], second: tuple[int, int]):
    """Exchanging the groups keeps the p value, which lies between 0 and 1."""
    assert 0 < boschloo_p_value(first, second) <= 1
    assert boschloo_p_value(first, second) == pytest.approx(boschloo_p_value(second, first), abs=1e-6)


@pytest.mark.parametrize("group", [(3, 2), (-1, 5), (0, 0)])
def test_impossible_counts_are_refused(group: tuple[int, int]):
    """More right than asked, less than none, and nothing asked are mistakes of the caller."""
    for judge in (boschloo_p_value, unpaired_interval):
        with pytest.raises(ValueError, match="is no proportion"):
            judge(group, (1, 2))


def test_the_unpaired_interval_is_newcombe_s():
    """56 of 70 against 48 of 80, from his paper: 0.2 [0.0524, 0.3339]."""
    assert unpaired_interval((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(counts, counts)
def test_the_unpaired_interval_holds_the_difference_and_mirrors(first: tuple[int, int], second: tuple[int, int]):
    """It stays within -1 to 1, and exchanging the rows turns its sign."""
    low, high = unpaired_interval(first, second)
    assert -1 <= low <= first[0] / first[1] - second[0] / second[1] <= high <= 1
    back = unpaired_interval(second, first)
    assert (back.low, back.high) == pytest.approx((-high, -low), abs=1e-12)


def test_the_published_effects_would_be_found_on_the_whole_test_split():
    """Each with a power above .99 on 1,319 items."""
    pairs = [(0.31, 0.20), (0.23, 0.11), (0.31, 0.23), (0.20, 0.11), (0.06, 0.11)]
    assert all(unpaired_power(*pair, 1319) > 0.99 for pair in pairs)


def test_certain_items_have_a_certain_power():
    """None right against all right is always found, equal rates without any spread never."""
    assert (unpaired_power(0.0, 1.0, 10), unpaired_power(1.0, 1.0, 10), unpaired_power(0.0, 0.0, 10)) == (1, 0, 0)
    assert unpaired_items_needed(0.0, 1.0) is not None


def test_unpaired_items_of_a_published_design():
    """Rates of .25 and .40 take 203 a group for 90 % power (Fleiss); on those the power is reached, on one less not."""
    assert unpaired_items_needed(0.25, 0.40, 0.9) == 203
    assert unpaired_power(0.25, 0.40, 203) >= 0.9 > unpaired_power(0.25, 0.40, 202)
    assert unpaired_items_needed(0.3, 0.3) is None


@pytest.mark.parametrize(("right", "wrong"), [(1, 1), (3, 20), (40, 2)])
def test_boschloo_of_equal_rates_finds_nothing(right: int, wrong: int):
    """Two groups with the same counts are never told apart."""
    assert boschloo_p_value((right, right + wrong), (right, right + wrong)) > 0.05
