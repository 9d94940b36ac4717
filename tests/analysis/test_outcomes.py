"""The rule that turns two intervals and a margin into an outcome."""

import pytest
from baseline_bench.analysis.outcomes import OUTCOMES, Outcome, decide_outcome
from baseline_bench.analysis.statistics import Interval

CASES: list[tuple[Interval, Interval, float | None, Outcome]] = [
    (Interval(0.01, 0.05), Interval(0.015, 0.045), None, "better"),
    (Interval(0.001, 0.005), Interval(0.002, 0.004), 0.02, "better"),
    (Interval(-0.05, -0.01), Interval(-0.045, -0.015), 0.1, "worse"),
    (Interval(-0.012, 0.012), Interval(-0.009, 0.009), 0.01, "equivalent"),
    (Interval(-0.012, 0.03), Interval(-0.009, 0.028), 0.01, "non-inferior"),
    (Interval(-0.012, 0.03), Interval(-0.01, 0.028), 0.01, "inconclusive"),
    (Interval(-0.012, 0.012), Interval(-0.009, 0.009), None, "inconclusive"),
    (Interval(0.0, 0.02), Interval(0.0, 0.018), None, "inconclusive"),
]


@pytest.mark.parametrize(("interval", "margin_interval", "margin", "outcome"), CASES)
def test_an_outcome_follows_from_the_intervals(
    interval: Interval, margin_interval: Interval, margin: float | None, outcome: Outcome
) -> None:
    assert decide_outcome(interval, margin_interval, margin) == outcome


def test_the_cases_reach_every_outcome() -> None:
    assert {outcome for *_, outcome in CASES} == set(OUTCOMES)


def test_a_wider_margin_never_takes_a_conclusion_back() -> None:
    order: list[Outcome] = ["inconclusive", "non-inferior", "equivalent"]
    interval, margin_interval = Interval(-0.02, 0.03), Interval(-0.015, 0.025)
    ranks = [order.index(decide_outcome(interval, margin_interval, margin / 1000)) for margin in range(1, 60)]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}
