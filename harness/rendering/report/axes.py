"""What all figures share: the finished figure with its takeaway, and a frame with axes that maps values to pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from baseline_bench.rendering.drawing import Canvas, choose_ticks
from baseline_bench.rendering.report.safe_text import Sentence

WIDTH = 760.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A finished figure.

    Attributes:
        file: its name in the report's folder.
        takeaway: what it shows, in one sentence computed from the data.
        note: how to read it, and what it does not show.
        svg: the whole file.
    """

    file: str
    takeaway: Sentence
    note: Sentence
    svg: str


@dataclass(frozen=True, slots=True)
class AxisRange:
    """A range from `low` to `high`, in the unit of the data."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float], zero: bool = False) -> "AxisRange":
        """Return a range a little wider than the values, so that no mark touches the frame; from 0 where `zero`."""
        low, high = min(values), max(values)
        slack = (high - low or abs(high) or 1.0) * 0.06
        return cls(0.0 if zero else low - slack, high + slack)


@dataclass(frozen=True, slots=True)
class PlotFrame:
    """A rectangle of a canvas, in pixels, and the ranges of data that its sides show."""

    canvas: Canvas
    left: float
    top: float
    width: float
    height: float
    across: AxisRange
    up: AxisRange

    def x(self, value: float) -> float:
        """Return the pixel of a value from left to right."""
        return self.left + (value - self.across.low) / (self.across.high - self.across.low) * self.width

    def y(self, value: float) -> float:
        """Return the pixel of a value from bottom to top."""
        return self.top + self.height - (value - self.up.low) / (self.up.high - self.up.low) * self.height

    def axis_below(self, title: str, most: int = 6) -> None:
        """Draw ticks and their numbers along the lower side, with faint lines through the frame."""
        bottom = self.top + self.height
        marks = choose_ticks(self.across.low, self.across.high, most)
        for mark in marks:
            self.canvas.line(self.x(mark), self.top, self.x(mark), bottom, "grid")
            self.canvas.text(self.x(mark), bottom + 16, _format_tick(mark, marks), "muted small", "middle")
        self.canvas.text(self.left + self.width / 2, bottom + 33, title, "muted", "middle")

    def axis_left(self, title: str, most: int = 6) -> None:
        """Draw ticks and their numbers along the left side, with the title above the frame."""
        marks = choose_ticks(self.up.low, self.up.high, most)
        for mark in marks:
            self.canvas.line(self.left, self.y(mark), self.left + self.width, self.y(mark), "grid")
            self.canvas.text(self.left - 7, self.y(mark) + 4, _format_tick(mark, marks), "muted small", "end")
        self.canvas.text(self.left, self.top - 9, title, "muted")


def spread_labels(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions for labels: each as near to its own as possible, `gap` from the next, in the same order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    positions: dict[int, float] = {}
    below = low - gap
    for index in order:
        below = max(places[index], below + gap)
        positions[index] = below
    above = high + gap
    for index in reversed(order):
        above = min(positions[index], above - gap)
        positions[index] = above
    return [positions[index] for index in range(len(places))]


def _format_tick(mark: float, marks: Sequence[float]) -> str:
    """Format with as many decimals as the step between marks needs."""
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    decimals = next((places for places in range(6) if abs(step * 10**places - round(step * 10**places)) < 1e-6), 6)
    return f"{mark:,.{decimals}f}"
