"""Decide what a difference means: one rule for rows, recipes and claims."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

from baseline_bench.analysis.statistics import (
    Interval,
    PairCounts,
    mcnemar_mid_p_value,
    mcnemar_p_value,
    paired_interval,
    paired_p_value,
)

# In the order in which they are listed.
Outcome = Literal["worse", "better", "equivalent", "non-inferior", "inconclusive"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

ALPHA = 0.05
CONFIDENCE = 0.95
# Two one-sided tests at 5 % reject where this interval is within the margin (Schuirmann 1987).
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


class DecidedDifference(ABC):
    """A difference, first less second, whose interval decides its outcome.

    Attributes:
        margin: the largest difference that does not matter, a share declared beforehand; None if none was.
    """

    __slots__ = ()
    margin: float | None

    @abstractmethod
    def compute_interval(self, confidence: float) -> Interval:
        """Compute the interval at any confidence, above 0 and below 1."""

    @property
    def interval(self) -> Interval:
        """The 95 % interval, which decides between better and worse."""
        return self.compute_interval(CONFIDENCE)

    @property
    def margin_interval(self) -> Interval:
        """The 90 % interval, which decides against the margin."""
        return self.compute_interval(MARGIN_CONFIDENCE)

    @property
    def outcome(self) -> Outcome:
        """The outcome of this comparison alone."""
        return decide_outcome(self.interval, self.margin_interval, self.margin)


@dataclass(frozen=True, slots=True)
class PairedDifference(DecidedDifference):
    """A difference of two rows on the same problems, first less second; intervals, p values and outcome follow.

    Attributes:
        pairs: problems right in both, in the first alone, in the second alone, in neither.
        margin: the largest difference that does not matter, a share declared beforehand; None if none was.
    """

    pairs: PairCounts
    margin: float | None

    @property
    def difference(self) -> float:
        """The first row's rate less the second's."""
        return self.pairs.difference

    def compute_interval(self, confidence: float) -> Interval:
        """Compute the interval at any confidence, above 0 and below 1."""
        return paired_interval(self.pairs, confidence)

    @property
    def p(self) -> float:
        """The level at which the interval would end at 0, for adjustment over several comparisons."""
        return paired_p_value(self.pairs)

    @property
    def p_exact(self) -> float:
        """The p value of McNemar's exact test, for information."""
        return mcnemar_p_value(self.pairs)

    @property
    def p_mid(self) -> float:
        """McNemar's mid-p value, for information."""
        return mcnemar_mid_p_value(self.pairs)

    def decide_adjusted(self, p: float) -> Outcome:
        """Decide the outcome as one of several, by its adjusted p value; of one comparison alone it is `outcome`."""
        interval = self.interval if p < ALPHA else Interval(-1.0, 1.0)
        return decide_outcome(interval, self.margin_interval, self.margin)
