"""The page of a board whose items are neither right nor wrong: results of all items together, compared with nothing."""

from collections.abc import Iterator, Sequence

from baseline_bench.core.markup import cell, code
from baseline_bench.rendering import formatting
from baseline_bench.rendering.formatting import LEFT, RIGHT, written
from baseline_bench.results.board import Board, Row, tables, withdrawn
from baseline_bench.results.entry import Result

_LEGEND = """\
Each number is the task's own aggregate over all items. An item has no bit that is right or wrong, so no interval, no \
paired test and no verdict is given, and rows are compared with nothing."""


def measured(board: Board) -> bool:
    """Whether the board's rows are such."""
    return any(row.result.aggregates is not None for row in board.rows)


def page(board: Board, marker: str) -> str:
    """The Markdown page: a table for each version of the task."""
    parts = [marker, f"# {board.name}", _LEGEND]
    for found in tables(board):
        names = sorted({name for row in found.rows for name in row.result.aggregates or {}})
        columns = [("candidate", LEFT), ("items", RIGHT), *((name, RIGHT) for name in names), ("engine", LEFT)]
        lines = [_line(board.name, row, names) for row in found.rows]
        parts += [f"## {code(found.label)}", written((*columns, ("entry", LEFT)), lines)]
    gone = withdrawn(board)
    parts += ["## Superseded and retracted", formatting.withdrawn(board.name, gone)] if gone else []
    return "\n\n".join(parts) + "\n"


def told(result: Result) -> list[tuple[str, str]]:
    """(name, value) of each aggregate, to be printed."""
    return [(name, f"{value:.6g}") for name, value in (result.aggregates or {}).items()]


def _line(board: str, row: Row, names: Sequence[str]) -> Iterator[str]:
    values = dict(told(row.result))
    yield cell(row.result.candidate)
    yield f"{row.result.selection.scored:,}" + (" (partial)" if row.partial else "")
    yield from (values.get(name, "") for name in names)
    yield cell(f"{row.result.engine.version}, {row.result.provenance.device}")
    yield f"[entry]({board}/{row.file})"
