"""Lays a board's tables out for a terminal of 80 columns."""

import re
from typing import Literal

from baseline_bench.analysis.board_comparisons import ComparedBoard
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.statistics import format_points
from baseline_bench.core.markup import UNKNOWN_MARK, make_visible
from baseline_bench.rendering.board_lines import BoardLine, fold_rows, shorten_names
from baseline_bench.rendering.comparison_text import color_outcome
from baseline_bench.rendering.formatting import SURVIVES_MARK, format_interval, name_measure
from baseline_bench.results.board import BoardTable
from rich.table import Table
from rich.text import Text

SortColumn = Literal["name", "score", "gain"]
# Where a name of a base and its recipe is broken, since a terminal would break it within a word.
_RECIPE = re.compile(r"(?<!^)\+")


def build_terminal_table(judged: ComparedBoard, table: BoardTable, sort: SortColumn) -> Table:
    """Build the table of a task's full runs, folded as on the board's page.

    Args:
        judged: the board, its rows compared with their bases.
        table: one of its tables.
        sort: by name; or by score or gain, the highest first and lines without a gain last.
    """
    lines = fold_rows(judged, table)
    bases = {line.name for line in lines if is_untrained(line.rows[0].entry)}
    is_clear = sort == "name" or len(bases) == 1
    named = list(zip(shorten_names(lines) if is_clear else [line.name for line in lines], lines, strict=True))
    if sort == "score":
        named.sort(key=lambda pair: -pair[1].score)
    if sort == "gain":
        named.sort(key=lambda pair: 2.0 if pair[1].comparison is None else -pair[1].comparison.difference)
    title = f"{judged.board.name}: {make_visible(table.label)}"
    laid_out = Table(title=title, title_justify="left", box=None, pad_edge=False)
    laid_out.add_column("candidate", overflow="fold")
    laid_out.add_column(f"{make_visible(name_measure(table.full))} %", no_wrap=True)
    laid_out.add_column("against base", no_wrap=True)
    for name, line in named:
        contents = f", {line.contents}" if line.contents else ""
        score = f"{100 * line.score:.2f} ({format_interval(line.interval)})"
        on_two_lines = _RECIPE.sub("\n+", make_visible(name), count=1)
        laid_out.add_row(Text(f"{on_two_lines}{contents}"), Text(score), _describe_gain(judged, line))
    return laid_out


def _describe_gain(judged: ComparedBoard, line: BoardLine) -> Text:
    if (against := line.comparison) is None:
        return Text("" if is_untrained(line.rows[0].entry) else UNKNOWN_MARK)
    low, high = map(format_points, against.interval)
    mark = SURVIVES_MARK if line.recipe is None and judged.survives(line.rows[0].file) else ""
    points = format_points(against.difference)
    return color_outcome(against.outcome, f"{against.outcome}{mark} {points} ({low} to {high})")
