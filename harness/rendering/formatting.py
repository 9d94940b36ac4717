"""Formats the tables of a board's page: one line a row, at most eleven columns, no padding, fixed decimals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from baseline_bench.analysis.board_comparisons import BaseComparison, ComparedBoard
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.outcomes import Outcome
from baseline_bench.analysis.statistics import Interval, format_points, wilson_interval
from baseline_bench.core.markup import UNKNOWN_MARK, make_visible, table_cell
from baseline_bench.core.options import format_settings
from baseline_bench.results.board import BoardTable, Row
from baseline_bench.results.entry import Result
from baseline_bench.results.retractions import Regrade, Retraction, record_path

ALIGN_LEFT, ALIGN_RIGHT, _ALIGN_CENTRE = "---", "---:", ":---:"
EXACT_MATCH = "exact match"
OUTCOME_WORDS: Mapping[Outcome, str] = {
    "worse": "worse than",
    "better": "better than",
    "equivalent": "equivalent to",
    "non-inferior": "non-inferior to",
    "inconclusive": "inconclusive against",
}
# After an outcome that also holds among all comparisons of the board.
SURVIVES_MARK = "†"
_SCORE_COLUMNS = ((f"{EXACT_MATCH} %", ALIGN_RIGHT), ("95 % interval", _ALIGN_CENTRE))
_SHARE_COLUMNS = (("strict %", ALIGN_RIGHT), ("unread %", ALIGN_RIGHT), ("cut %", ALIGN_RIGHT))
_SETUP_COLUMNS = (("prompt", ALIGN_LEFT), ("engine, dtype, device", ALIGN_LEFT))
_CANDIDATE_COLUMN, _ENTRY_COLUMN = ("candidate", ALIGN_LEFT), ("entry", ALIGN_LEFT)
_FULL_COLUMNS = (
    _CANDIDATE_COLUMN,
    *_SCORE_COLUMNS,
    *_SHARE_COLUMNS,
    ("against base", ALIGN_LEFT),
    *_SETUP_COLUMNS,
    ("tokens/s", ALIGN_RIGHT),
    _ENTRY_COLUMN,
)
_PARTIAL_COLUMNS = (
    _CANDIDATE_COLUMN,
    ("problems", ALIGN_RIGHT),
    *_SCORE_COLUMNS,
    *_SHARE_COLUMNS,
    *_SETUP_COLUMNS,
    _ENTRY_COLUMN,
)
_WITHDRAWN_COLUMNS = (
    _CANDIDATE_COLUMN,
    ("task", ALIGN_LEFT),
    *_SCORE_COLUMNS,
    ("withdrawn", ALIGN_LEFT),
    ("why", ALIGN_LEFT),
    ("instead", ALIGN_LEFT),
    _ENTRY_COLUMN,
)
_MOVED_COLUMNS = (
    _CANDIDATE_COLUMN,
    ("task", ALIGN_LEFT),
    ("right before", ALIGN_RIGHT),
    ("right now", ALIGN_RIGHT),
    ("problems that changed", ALIGN_LEFT),
    ("record", ALIGN_LEFT),
)


def render_full_rows(judged: ComparedBoard, table: BoardTable) -> str:
    """Render the table of the full runs."""
    return render_table(
        _name_measure_column(_FULL_COLUMNS, table.full), [_full_row_cells(judged, row) for row in table.full]
    )


def render_partial_rows(judged: ComparedBoard, table: BoardTable) -> str:
    """Render the table of the partial runs, with the number of items instead of a comparison and a speed."""
    return render_table(
        _name_measure_column(_PARTIAL_COLUMNS, table.partial),
        [_partial_row_cells(judged, row) for row in table.partial],
    )


def render_withdrawn_rows(board: str, rows: Sequence[tuple[Row, Retraction]]) -> str:
    """Render the table of the withdrawn rows, each with its reason."""
    columns = _name_measure_column(_WITHDRAWN_COLUMNS, [row for row, _ in rows])
    return render_table(columns, [_withdrawn_row_cells(board, row, record) for row, record in rows])


def render_moved_rows(board: str, rows: Sequence[tuple[Row, Regrade]]) -> str:
    """Render the table of the rows that a newer reader judges otherwise, with the counts and reasons."""
    return render_table(_MOVED_COLUMNS, [_moved_row_cells(board, row, record) for row, record in rows])


def name_measure(rows: Iterable[Row]) -> str:
    """Return what the share of right items is called in a table of these rows."""
    return next((row.result.task.measure for row in rows if row.result.task.bar is not None), EXACT_MATCH)


def format_percent(count: int, total: int, decimals: int) -> str:
    """Format a share in percent, without the sign."""
    return f"{100 * count / total:.{decimals}f}"


def format_interval(interval: Interval) -> str:
    """Format an interval of proportions in percent."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def format_margin(margin: float, interval: Interval) -> str:
    """Format the 90 % interval of a difference, and how it compares with the margin."""
    low, high = interval.low > -margin, interval.high < margin
    bound = format_points(-margin)
    where = f"within {bound} to {format_points(margin)}" if low and high else f"{'' if low else 'not '}above {bound}"
    return f"90 % interval {' to '.join(map(format_points, interval))} points, {where}"


def format_shares(result: Result) -> Iterator[str]:
    """Yield the shares of strict, unread and cut answers in percent; with the last, that of unfinished thoughts."""
    counts, unfinished = result.counts, result.unfinished_thoughts
    yield from (format_percent(count, counts.total, 1) for count in (counts.strict, counts.unread))
    thoughts = "" if unfinished is None else f", {format_percent(unfinished, counts.total, 1)} in a thought"
    yield format_percent(counts.cut, counts.total, 1) + thoughts


def quote_sentence(text: str) -> str:
    """Quote a whole sentence from outside for a table cell, in code spans that its text cannot end."""
    return " ".join(table_cell(part) for part in wrap(make_visible(text), 90)) or UNKNOWN_MARK


def format_warnings(row: Row) -> str:
    """Format the codes of a row's findings and advisories, as the end of a cell; empty where it has none."""
    return f", warned: {', '.join(map(table_cell, row.marks))}" if row.marks else ""


def find_dtype(result: Result) -> str | None:
    """Return the dtype while generating, and how weights are quantised; None where the engine does not report it."""
    parts = [result.engine.settings.get(key) for key in ("dtype", "quantised")]
    return " over ".join(str(part) for part in parts if part is not None) or None


def render_table(columns: Sequence[tuple[str, str]], rows: Sequence[Iterator[str]]) -> str:
    """Render a Markdown table from columns (heading, alignment) and rows of finished cells."""
    head = ["|".join(["", *names, ""]) for names in zip(*columns, strict=True)]
    return "\n".join([*head, *("|".join(["", *cells, ""]) for cells in rows)])


def _name_measure_column(columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> Sequence[tuple[str, str]]:
    return [(name.replace(EXACT_MATCH, name_measure(rows)), side) for name, side in columns]


def _full_row_cells(judged: ComparedBoard, row: Row) -> Iterator[str]:
    yield table_cell(row.result.candidate)
    yield from _score_cells(row.result)
    yield from format_shares(row.result)
    if (against := judged.against.get(row.file)) is not None:
        yield _format_difference(against) + (SURVIVES_MARK if judged.survives(row.file) else "")
    else:
        yield "" if is_untrained(row.entry) else UNKNOWN_MARK
    yield from _setup_cells(row.result)
    speed = row.entry.timings.tokens_per_second
    yield UNKNOWN_MARK if speed is None else f"{speed:,.0f}"
    yield _link_entry(judged, row)


def _partial_row_cells(judged: ComparedBoard, row: Row) -> Iterator[str]:
    yield table_cell(row.result.candidate)
    yield f"{row.result.counts.total:,}"
    yield from _score_cells(row.result)
    yield from format_shares(row.result)
    yield from _setup_cells(row.result)
    yield _link_entry(judged, row)


def _withdrawn_row_cells(board: str, row: Row, record: Retraction) -> Iterator[str]:
    yield table_cell(row.result.candidate)
    yield table_cell(row.result.task.label)
    yield from _score_cells(row.result)
    yield f"[{record.created[:10]}]({board}/{record_path(record)})"
    yield quote_sentence(record.why)
    yield "" if record.superseded_by is None else f"[entry]({board}/{record.superseded_by})"
    yield f"[entry]({board}/{row.file})"


def _moved_row_cells(board: str, row: Row, record: Regrade) -> Iterator[str]:
    yield table_cell(row.result.candidate)
    yield f"{table_cell(row.result.task.label)} to {table_cell(record.task.label)}"
    yield f"{row.result.counts.correct:,}"
    yield f"{record.counts.correct:,}"
    yield "; ".join(f"{count:,} {table_cell(move)}" for move, count in record.moved.items())
    yield f"[record]({board}/{record_path(record)})"


def _score_cells(result: Result) -> Iterator[str]:
    counts = result.counts
    yield format_percent(counts.correct, counts.total, 2)
    yield format_interval(wilson_interval(counts.correct, counts.total))


def _format_difference(against: BaseComparison) -> str:
    low, high = against.interval
    margin = "" if against.margin is None else f"; {format_margin(against.margin, against.margin_interval)}"
    return (
        f"{format_points(against.pairs.difference)} ({format_points(low)} to {format_points(high)}) "
        f"{against.outcome}{margin}"
    )


def _setup_cells(result: Result) -> Iterator[str]:
    chosen = [name for name in (result.model.template_name,) if name]
    chosen += format_settings(result.model.template_arguments)
    yield ", ".join([result.model.prompt_style, *map(table_cell, chosen)])
    yield table_cell(f"{result.engine.version}, {find_dtype(result) or UNKNOWN_MARK}, {result.provenance.device}")


def _link_entry(judged: ComparedBoard, row: Row) -> str:
    level = judged.board.said.level(row.file)
    marks = ["" if level is None else f" L{level}", ", uncommitted code" if row.result.provenance.git_dirty else ""]
    marks += [", model known in part" if row.result.model.is_partly_known else ""]
    return f"[entry]({judged.board.name}/{row.file}){''.join(marks)}{format_warnings(row)}"
