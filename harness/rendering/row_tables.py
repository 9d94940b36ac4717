"""Renders the tables of rows on a board's page: at most eight columns, and above them what their rows share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from baseline_bench.analysis.board_comparisons import BaseComparison, ComparedBoard
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.recipe_contrast import Contrast
from baseline_bench.analysis.statistics import format_points, wilson_interval
from baseline_bench.core.markup import UNKNOWN_MARK, table_cell
from baseline_bench.rendering.board_lines import BoardLine, shorten_names
from baseline_bench.rendering.formatting import (
    ALIGN_CENTRE,
    ALIGN_LEFT,
    ALIGN_RIGHT,
    EXACT_MATCH,
    SURVIVES_MARK,
    describe_setup,
    format_interval,
    format_margin,
    format_outcome,
    format_percent,
    format_shares,
    name_measure,
    quote_sentence,
    render_table,
)
from baseline_bench.results.board import Row
from baseline_bench.results.entry import Result
from baseline_bench.results.retractions import Regrade, Retraction, record_path

# After the entry of a row whose model is known in part.
PARTLY_KNOWN_MARK = "‡"
_PARTLY_KNOWN = f"model known in part {PARTLY_KNOWN_MARK}"
_SCORE_COLUMNS = ((f"{EXACT_MATCH} %", ALIGN_RIGHT), ("95 % interval", ALIGN_CENTRE))
_SHARE_COLUMNS = (("strict %", ALIGN_RIGHT), ("unread %", ALIGN_RIGHT), ("cut %", ALIGN_RIGHT))
_CANDIDATE_COLUMN, _ENTRY_COLUMN = ("candidate", ALIGN_LEFT), ("entry", ALIGN_LEFT)
_FULL_COLUMNS = (_CANDIDATE_COLUMN, *_SCORE_COLUMNS, ("against base", ALIGN_LEFT), *_SHARE_COLUMNS, _ENTRY_COLUMN)
_PARTIAL_COLUMNS = (_CANDIDATE_COLUMN, ("problems", ALIGN_RIGHT), *_SCORE_COLUMNS, *_SHARE_COLUMNS, _ENTRY_COLUMN)
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


@dataclass(frozen=True, slots=True)
class SharedNotes:
    """What the rows of a table share, to be said once above it.

    Attributes:
        setup: prompt, engine, dtype and device of most rows, as `describe_setup` writes them.
        differs: whether a row has another setup; its last cell then says so.
        marks: of all rows.
    """

    setup: tuple[str, ...]
    differs: bool
    marks: tuple[str, ...]


def find_shared_notes(judged: ComparedBoard, rows: Sequence[Row]) -> SharedNotes:
    """Find what the rows of a table share: the setup of most, the first of them on a tie, and the marks of all."""
    setups = Counter(describe_setup(row.result) for row in rows)
    every = [_list_marks(judged, row) for row in rows]
    marks = tuple(mark for mark in every[0] if all(mark in one for one in every))
    return SharedNotes(setups.most_common(1)[0][0], len(setups) > 1, marks)


def describe_shared_notes(shared: SharedNotes) -> str:
    """Describe in a sentence what the rows of a table share."""
    rows = "Each row, unless its last cell says otherwise" if shared.differs else "All rows"
    marks = f". All rows: {', '.join(shared.marks)}" if shared.differs and shared.marks else ""
    return f"{rows}: {', '.join(shared.setup if marks else (*shared.setup, *shared.marks))}{marks}."


def render_lines(judged: ComparedBoard, lines: Sequence[BoardLine], shared: SharedNotes) -> str:
    """Render the table of the full runs, folded into lines."""
    columns = _name_measure_column(_FULL_COLUMNS, [row for line in lines for row in line.rows])
    names = shorten_names(lines)
    cells = [_line_cells(judged, line, shared) for line in lines]
    return render_table(
        columns, [chain([_name_line(name, line)], one) for name, line, one in zip(names, lines, cells, strict=True)]
    )


def render_single_rows(judged: ComparedBoard, rows: Sequence[Row], shared: SharedNotes) -> str:
    """Render the table of every full run, each with its link and speed."""
    lines = [BoardLine((row,), None, judged.against.get(row.file)) for row in rows]
    cells = [chain([_name_line(line.name, line)], _line_cells(judged, line, shared, speeds=True)) for line in lines]
    return render_table(_name_measure_column(_FULL_COLUMNS, rows), cells)


def render_partial_rows(judged: ComparedBoard, rows: Sequence[Row], shared: SharedNotes) -> str:
    """Render the table of the partial runs, with the number of items instead of a comparison."""
    cells = [_partial_row_cells(judged, row, shared) for row in rows]
    return render_table(_name_measure_column(_PARTIAL_COLUMNS, rows), cells)


def render_withdrawn_rows(board: str, rows: Sequence[tuple[Row, Retraction]]) -> str:
    """Render the table of the withdrawn rows, each with its reason."""
    columns = _name_measure_column(_WITHDRAWN_COLUMNS, [row for row, _ in rows])
    return render_table(columns, [_withdrawn_row_cells(board, row, record) for row, record in rows])


def render_moved_rows(board: str, rows: Sequence[tuple[Row, Regrade]]) -> str:
    """Render the table of the rows that a newer reader judges otherwise, with the counts and reasons."""
    return render_table(_MOVED_COLUMNS, [_moved_row_cells(board, row, record) for row, record in rows])


def format_comparison(against: BaseComparison | Contrast, mark: str = "") -> str:
    """Format a comparison with a base: the outcome, the points gained, their interval, and the margin if any."""
    low, high = map(format_points, against.interval)
    margin = "" if against.margin is None else f"; {format_margin(against.margin, against.margin_interval)}"
    interval = f"({low} to {high})".replace(" ", "\N{NO-BREAK SPACE}")
    difference = f"{format_points(against.difference)} {interval}"
    return f"{format_outcome(against.outcome)}{mark} {difference}{margin}"


def _name_measure_column(columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> Sequence[tuple[str, str]]:
    return [(name.replace(EXACT_MATCH, name_measure(rows)), side) for name, side in columns]


def _name_line(name: str, line: BoardLine) -> str:
    return table_cell(name) + (f", {line.contents}" if line.contents else "")


def _line_cells(judged: ComparedBoard, line: BoardLine, shared: SharedNotes, speeds: bool = False) -> Iterator[str]:
    first = line.rows[0]
    yield f"{100 * line.score:.2f}"
    yield format_interval(line.interval)
    if line.comparison is not None:
        survives = line.recipe is None and judged.survives(first.file)
        yield format_comparison(line.comparison, SURVIVES_MARK if survives else "")
    else:
        yield "" if is_untrained(first.entry) else UNKNOWN_MARK
    yield from format_shares(*(row.result for row in line.scored))
    links = [] if line.recipe is not None else [_link_entry(judged, first)]
    speed = first.entry.timings.tokens_per_second if speeds else None
    notes = [*links, *_count_notes(judged, line.scored, shared), *([] if speed is None else [f"{speed:,.0f} tokens/s"])]
    yield ", ".join(notes).replace(f", {PARTLY_KNOWN_MARK}", f" {PARTLY_KNOWN_MARK}", 1)


def _partial_row_cells(judged: ComparedBoard, row: Row, shared: SharedNotes) -> Iterator[str]:
    yield table_cell(row.result.candidate)
    yield f"{row.result.counts.total:,}"
    yield from _score_cells(row.result)
    yield from format_shares(row.result)
    yield ", ".join([_link_entry(judged, row), *_count_notes(judged, [row], shared)])


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


def _list_marks(judged: ComparedBoard, row: Row) -> list[str]:
    """List a row's marks: who verified it, and what is not known about it."""
    level = judged.board.said.level(row.file)
    marks = [] if level is None else [f"L{level}"]
    marks += ["uncommitted code"] if row.result.provenance.git_dirty else []
    return marks + ([_PARTLY_KNOWN] if row.result.model.is_partly_known else [])


def _count_notes(judged: ComparedBoard, rows: Sequence[Row], shared: SharedNotes) -> list[str]:
    """List what the rows do not share with the table, then their warnings; of several rows with how many have each."""
    notes: Counter[str] = Counter()
    for row in rows:
        setup = zip(describe_setup(row.result), shared.setup, strict=True)
        notes.update(part for part, usual in setup if part != usual)
        notes.update(mark for mark in _list_marks(judged, row) if mark not in shared.marks)
    codes = Counter(table_cell(code) for row in rows for code in row.marks)
    warned, found = (
        [note if count == len(rows) else f"{note} ({count} of {len(rows)})" for note, count in counts.items()]
        for counts in (codes, notes)
    )
    found = [note.replace(_PARTLY_KNOWN, PARTLY_KNOWN_MARK) for note in found]
    return found + ([f"warned: {', '.join(warned)}"] if warned else [])


def _link_entry(judged: ComparedBoard, row: Row) -> str:
    return f"[entry]({judged.board.name}/{row.file})"
