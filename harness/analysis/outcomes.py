"""Decide what a difference means: one rule for rows, recipes and claims."""

from typing import Literal, get_args

from baseline_bench.analysis.statistics import Interval

Outcome = Literal["better", "worse", "equivalent", "non-inferior", "inconclusive"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

CONFIDENCE = 0.95
# Two one-sided tests at 5 % reject where this interval lies within the margin (Schuirmann 1987).
MARGIN_CONFIDENCE = 0.90


def decide_outcome(interval: Interval, margin_interval: Interval, margin: float | None = None) -> Outcome:
    """Decide the outcome of a difference, first less second.

    Better and worse come first: they hold at 5 % whatever the margin is. A difference can be worse and still within the
    margin; the second interval shows it. Without a margin nothing is equivalent or non-inferior.

    Args:
        interval: of the difference, at `CONFIDENCE`.
        margin_interval: of the same procedure, at `MARGIN_CONFIDENCE`.
        margin: the largest difference that does not matter, declared before the rows existed; a share above 0.
    """
    if interval.low > 0:
        return "better"
    if interval.high < 0:
        return "worse"
    if margin is None or margin_interval.low <= -margin:
        return "inconclusive"
    return "equivalent" if margin_interval.high < margin else "non-inferior"
