"""Renders the page of a board whose rows have aggregates over all items instead of right and wrong items."""

from collections.abc import Iterator, Sequence

from baseline_bench.core.markup import code_span, table_cell
from baseline_bench.rendering import row_tables
from baseline_bench.rendering.formatting import ALIGN_LEFT, ALIGN_RIGHT, render_table
from baseline_bench.results.board import Board, Row, build_tables, list_withdrawn_rows
from baseline_bench.results.entry import Result

_LEGEND = """\
Each number is the task's own aggregate over all problems. No single problem is right or wrong, so there is no \
interval and no outcome, and no row is compared with another."""


def has_aggregates(board: Board) -> bool:
    """Return whether a row of the board has aggregates."""
    return any(row.result.aggregates is not None for row in board.rows)


def render_page(board: Board, marker: str) -> str:
    """Render the Markdown page: a table for each version of the task."""
    parts = [marker, f"# {board.name}", _LEGEND]
    for table in build_tables(board):
        names = sorted({name for row in table.rows for name in row.result.aggregates or {}})
        columns = [
            ("candidate", ALIGN_LEFT),
            ("problems", ALIGN_RIGHT),
            *((name, ALIGN_RIGHT) for name in names),
            ("engine", ALIGN_LEFT),
        ]
        lines = [_row_cells(board.name, row, names) for row in table.rows]
        parts += [f"## {code_span(table.label)}", render_table((*columns, ("entry", ALIGN_LEFT)), lines)]
    if withdrawn_rows := list_withdrawn_rows(board):
        parts += ["## Superseded and retracted", row_tables.render_withdrawn_rows(board.name, withdrawn_rows)]
    return "\n\n".join(parts) + "\n"


def format_aggregates(result: Result) -> list[tuple[str, str]]:
    """Return (name, printable value) of each aggregate."""
    return [(name, f"{value:.6g}") for name, value in (result.aggregates or {}).items()]


def _row_cells(board: str, row: Row, names: Sequence[str]) -> Iterator[str]:
    values = dict(format_aggregates(row.result))
    yield table_cell(row.result.candidate)
    yield f"{row.result.selection.scored:,}" + (" (partial)" if row.partial else "")
    yield from (values.get(name, "") for name in names)
    yield table_cell(f"{row.result.engine.version}, {row.result.provenance.device}")
    yield f"[entry]({board}/{row.file})"
