"""Draws the forest plot of a board: each row's exact match with its interval, over the interval of its base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from baseline_bench.analysis.board_comparisons import ComparedBoard
from baseline_bench.analysis.compare import explain_incomparability
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.statistics import format_points
from baseline_bench.rendering.board_lines import BoardLine
from baseline_bench.rendering.drawing import Canvas, choose_ticks, truncate_text
from baseline_bench.rendering.formatting import name_measure
from baseline_bench.rendering.report.axes import AxisRange, PlotFrame
from baseline_bench.results.board import BoardTable, Row

MOST_ROWS = 100
_WIDTH, _MARGIN = 960.0, 20.0
_NAMES, _COLUMNS = 30.0, 36
_LEFT, _RIGHT = 300.0, 740.0
_RATES, _OUTCOMES = 800.0, 816.0
_LINE, _GAP, _HEAD, _FOOT = 22.0, 14.0, 56.0, 34.0
_COLOURS = {"better": "better", "worse": "worse", "neither": "muted"}


@dataclass(frozen=True, slots=True)
class ForestGroup:
    """A run of a base and the candidates that are compared with it.

    Attributes:
        title: the base's name.
        apart: why these rows do not compare with the group before, where that has the same title; else empty.
        base: the run that the others compare with; None where there is none.
    """

    title: str
    apart: str
    base: BoardLine | None
    marks: tuple[BoardLine, ...]


def draw_forest_plot(judged: ComparedBoard) -> str:
    """Draw the SVG plot: a panel for the newest version of each task, with at most its newest hundred rows."""
    panels = [table for table in judged.tables if table.newer is None and table.full]
    grouped = [_build_groups(judged, table) for table in panels]
    height = _MARGIN + sum(map(_measure_height, grouped)) + _FOOT
    rows = sum(len(table.full) for table in panels)
    title = f"Exact match on {judged.board.name} with 95 % intervals"
    canvas = Canvas(_WIDTH, height, title, f"{rows:,} rows. The numbers are in the tables of {judged.board.name}.md.")
    y = _MARGIN
    for table, groups in zip(panels, grouped, strict=True):
        _draw_panel(canvas, y, table, groups)
        y += _measure_height(groups)
    _draw_legend(canvas, height - _FOOT / 2)
    return canvas.render()


def _build_groups(judged: ComparedBoard, table: BoardTable) -> list[ForestGroup]:
    newest = sorted(table.full, key=lambda row: (row.entry.created, row.file))[-MOST_ROWS:]
    newest_files = {row.file for row in newest}
    rows = [row for row in table.full if row.file in newest_files]
    rows.sort(key=lambda row: _group_sort_key(judged.home, row))  # stable: by name and time within
    groups: list[ForestGroup] = []
    for _, group in groupby(rows, key=lambda row: _group_sort_key(judged.home, row)):
        group_rows = list(group)
        home = judged.home.get(group_rows[0].file)
        marks = tuple(BoardLine((row,), None, judged.against.get(row.file)) for row in group_rows)
        if home is None:
            groups.append(ForestGroup("no run to compare with", "", None, marks))
        else:
            apart = _describe_group_difference(home, groups)
            groups.append(ForestGroup(home.result.candidate, apart, BoardLine((home,), None, None), marks))
    return groups


def _describe_group_difference(home: Row, before: Sequence[ForestGroup]) -> str:
    """Say in short how a base's run differs from the one drawn just above, such as "other engine settings"."""
    last = before[-1].base if before else None
    if last is None or last.name != home.result.candidate:
        return ""
    return (explain_incomparability(home.entry, last.rows[0].entry) or "other weights").partition(" (")[0]


def _group_sort_key(home: Mapping[str, Row], row: Row) -> tuple[bool, str, str, str]:
    """Sort groups by the name and the time of their base; rows without a base come last."""
    base = home.get(row.file)
    return (True, "", "", "") if base is None else (False, base.result.candidate, base.entry.created, base.file)


def _measure_height(groups: Sequence[ForestGroup]) -> float:
    return _HEAD + sum(_LINE * (1 + len(group.marks)) + _GAP for group in groups) + _FOOT


def _draw_panel(canvas: Canvas, top: float, table: BoardTable, groups: Sequence[ForestGroup]) -> None:
    total = table.full[0].result.selection.total
    canvas.text(_MARGIN, top + 16, truncate_text(table.label, 60), "ink strong large")
    shown = sum(len(group.marks) for group in groups)
    of = "" if shown == len(table.full) else f"; the newest {shown:,} of {len(table.full):,} rows"
    caption = f"{name_measure(table.full)} %, {total:,} problems, 95 % Wilson intervals{of}"
    canvas.text(_MARGIN, top + 34, caption, "muted small")
    canvas.text(_RATES, top + 34, "%", "muted small", "end")
    canvas.text(_OUTCOMES, top + 34, "against its base", "muted small")
    height = _measure_height(groups) - _FOOT - _HEAD + 6
    frame = PlotFrame(canvas, _LEFT, top + _HEAD - 6, _RIGHT - _LEFT, height, _choose_range(groups), AxisRange(0, 1))
    y = top + _HEAD
    for group in groups:
        _draw_band(frame, y, group)
        y += _LINE * (1 + len(group.marks)) + _GAP
    _draw_axis(frame)
    y = top + _HEAD
    for group in groups:
        y = _draw_rows(frame, y, group)


def _choose_range(groups: Sequence[ForestGroup]) -> AxisRange:
    """Start the range, in percent, at 0 where rows are near it, else a little below the lowest interval."""
    shown = [mark.interval for group in groups for mark in (*group.marks, *([group.base] if group.base else []))]
    low, high = 100 * min(one.low for one in shown), 100 * max(one.high for one in shown)
    room = max(0.05 * (high - low), 0.05)
    return AxisRange(0.0 if low < high - low else max(0.0, low - room), min(100.0, high + room))


def _draw_axis(frame: PlotFrame) -> None:
    bottom = frame.top + frame.height
    for tick in choose_ticks(frame.across.low, frame.across.high, 8):
        x = frame.x(tick)
        frame.canvas.line(x, frame.top, x, bottom, "grid")
        frame.canvas.text(x, bottom + 15, f"{tick:g}", "muted small", "middle")
    frame.canvas.line(_LEFT, bottom, _RIGHT, bottom, "grid")


def _draw_band(frame: PlotFrame, y: float, group: ForestGroup) -> None:
    if group.base is not None:
        low, high = (frame.x(100 * end) for end in group.base.interval)
        frame.canvas.rect(low, y, high - low, _LINE * (1 + len(group.marks)), "band")


def _draw_rows(frame: PlotFrame, y: float, group: ForestGroup) -> float:
    canvas, style = frame.canvas, "muted mono" if group.base is None else "ink mono strong"
    canvas.text(_MARGIN, y + 15, truncate_text(group.title, _COLUMNS), style)
    if group.apart:
        canvas.text(_OUTCOMES, y + 15, truncate_text(group.apart, 22), "muted small")
    for mark in group.marks:
        y += _LINE
        _draw_row(frame, y + _LINE / 2, mark, group)
    return y + _LINE + _GAP


def _draw_row(frame: PlotFrame, middle: float, mark: BoardLine, group: ForestGroup) -> None:
    canvas, against, row = frame.canvas, mark.comparison, mark.rows[0]
    base = is_untrained(row.entry)
    colour = "ink" if against is None else _COLOURS.get(against.outcome, "muted")
    warned = ", warned" if row.marks else ""
    name = truncate_text(_shorten_name(row, group), _COLUMNS - 1 - len(warned)) + warned
    canvas.text(_NAMES, middle + 4, name, "muted mono" if base else "ink mono")
    low, high = (frame.x(100 * end) for end in mark.interval)
    canvas.line(low, middle, high, middle, f"{colour} thick")
    x = frame.x(100 * mark.score)
    if base:
        canvas.rect(x - 4, middle - 4, 8, 8, colour)
    else:
        canvas.circle(x, middle, 4.5, colour)
    canvas.text(_RATES, middle + 4, f"{100 * mark.score:.2f}", "ink", "end")
    if against is not None:
        canvas.text(_OUTCOMES, middle + 4, f"{format_points(against.difference)} {against.outcome}", colour)


def _shorten_name(row: Row, group: ForestGroup) -> str:
    """Drop the base's name from the start of a candidate's; show a run of the base itself by its time."""
    name = row.result.candidate
    if group.base is None or not name.startswith(group.title):
        return name
    return name.removeprefix(group.title) or f"base, {row.entry.created[:16].replace('T', ' ')}"


def _draw_legend(canvas: Canvas, y: float) -> None:
    canvas.rect(_MARGIN, y - 5, 14, 10, "band")
    canvas.text(_MARGIN + 20, y + 4, "95 % interval of the base", "muted small")
    canvas.rect(_MARGIN + 183, y - 4, 8, 8, "ink")
    canvas.text(_MARGIN + 198, y + 4, "base", "muted small")
    canvas.text(_LEFT, y + 4, "against its base, by the 95 % interval of the difference:", "muted small")
    x = _LEFT + 330
    for word, colour in _COLOURS.items():
        canvas.circle(x, y, 4.5, colour)
        canvas.text(x + 10, y + 4, word, "muted small")
        x += 40 + 6 * len(word)
