"""The text of a board: Markdown and CSV that no name, version or path in an entry can break or decorate."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.judging.statistics import resolvable_difference, wilson
from harness.store.entry import Entry, Result
from harness.store.markup import UNKNOWN, cell, code, csv_cell
from harness.types import Sampling

MARKER = "<!-- Rendered by `bench board` from the entries. Never edited: change nothing here, run it again. -->"
_HOW_TO_READ = """\
## How to read a row

1. **exact match**: items whose answer, read from what the model wrote, equals the gold answer. The interval is \
Wilson's: the true rates that fit this result.
2. **strict**: the answer is right and in the task's own format. **unread**: no answer was found. **cut**: the text \
ended at the token limit. Unread items count as wrong.
3. Rows are sorted by name, not by rank. A difference smaller than the one a table can resolve is not evidence; \
overlapping intervals are no proof of equality.
4. **prompt**: `template` is the model's own chat template, `text` is plain text. **tokens/s** is speed on that device \
and says nothing about quality.
5. **entry**: the row's record with one bit an item, every digest and setting, and beside it all completions.
"""
_STORE = """\
Every run is one entry, `<board>/<date>-<candidate>-<hash of its content>.json`, with all its completions beside it. \
Entries are only ever added: `bench board --check --base REF` fails on one that was changed, renamed or removed. \
The pages and tables are rendered from the entries by `bench board`; after a merge conflict, run it again. \
This folder may grow to {budget}.
"""
_COLUMNS = (
    ("candidate", "---"),
    ("exact match %", "---:"),
    ("95 % interval", ":---:"),
    ("strict %", "---:"),
    ("unread %", "---:"),
    ("cut %", "---:"),
    ("prompt", "---"),
    ("engine", "---"),
    ("dtype, device", "---"),
    ("tokens/s", "---:"),
    ("entry", "---"),
)
_ITEMS = ("items", "---:")


@dataclass(frozen=True, slots=True)
class Row:
    """An entry and the name of its file in the board's folder."""

    file: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Board:
    """The entries of one folder, in any order."""

    name: str
    rows: tuple[Row, ...]


def page(board: Board) -> str:
    """The Markdown page of a board: one table for each protocol, partial runs apart."""
    parts = [MARKER, f"# {board.name}"]
    for rows in tables(board):
        full, partial = split(rows)
        parts += [f"## {code(rows[0].entry.result.task.label)}", _facts(rows[0].entry.result)]
        parts += [_table(board.name, full)] if full else []
        if partial:
            parts += ["### Partial runs (not comparable with full ones)", _table(board.name, partial, partial=True)]
    return "\n\n".join([*parts, _HOW_TO_READ])


def tables(board: Board) -> list[tuple[Row, ...]]:
    """The rows that were asked the same, group by group, sorted by name within each."""
    ordered = sorted(board.rows, key=_order)
    return [tuple(group) for _, group in groupby(ordered, key=lambda row: _protocol(row.entry.result))]


def split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(full runs, partial runs)."""
    full = [row for row in rows if row.entry.result.selection.limit is None]
    return full, [row for row in rows if row.entry.result.selection.limit is not None]


def _protocol(result: Result) -> tuple[str, str, str]:
    return result.task.label, result.task.protocol_sha256, result.task.items_sha256


def _order(row: Row) -> tuple[tuple[str, str, str], str, str, str]:
    return _protocol(row.entry.result), row.entry.result.candidate, row.entry.created, row.file


def _facts(result: Result) -> str:
    total = result.selection.total
    return (
        f"{total:,} items, reader {code(result.task.reader)}, {_drawn(result.sampling)}, at most "
        f"{result.sampling.max_tokens:,} tokens, protocol `{result.task.protocol_sha256[:12]}`. {_resolution(total)}"
    )


def _drawn(sampling: Sampling) -> str:
    return "greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:.2f}"


def _resolution(total: int) -> str:
    difference = resolvable_difference(total)
    if difference is None:
        return (
            "Too few items to resolve any difference between two rows (80 % power, rows that disagree on 25 % of them)."
        )
    return (
        f"Two full rows can resolve a difference of {100 * difference:.1f} points "
        "(80 % power at the 5 % level, rows that disagree on 25 % of the items)."
    )


def _table(board: str, rows: Sequence[Row], partial: bool = False) -> str:
    """In a partial table the number of items takes the place of the speed."""
    columns = [*_COLUMNS[:1], _ITEMS, *_COLUMNS[1:9], _COLUMNS[10]] if partial else [*_COLUMNS]
    head = ["|".join(["", *names, ""]) for names in zip(*columns, strict=True)]
    return "\n".join([*head, *("|".join(["", *_cells(board, row, partial), ""]) for row in rows)])


def _cells(board: str, row: Row, partial: bool) -> Iterator[str]:
    result = row.entry.result
    counts, interval = result.counts, wilson(result.counts.correct, result.counts.total)
    yield cell(result.candidate)
    if partial:
        yield f"{counts.total:,}"
    yield _percent(counts.correct, counts.total, 2)
    yield f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
    yield from (_percent(count, counts.total, 1) for count in (counts.strict, counts.unread, counts.cut))
    yield result.model.prompt_style
    yield cell(result.engine.version)
    yield cell(f"{_dtype(result) or UNKNOWN}, {result.provenance.device}")
    if not partial:
        yield _speed(row.entry)
    dirty = ", uncommitted code" if result.provenance.git_dirty else ""
    yield f"[entry]({board}/{row.file}){dirty}"


def _percent(count: int, total: int, decimals: int) -> str:
    return f"{100 * count / total:.{decimals}f}"


def _speed(entry: Entry) -> str:
    return UNKNOWN if entry.timings.tokens_per_second is None else f"{entry.timings.tokens_per_second:,.0f}"


def _dtype(result: Result) -> str | None:
    dtype = result.engine.settings.get("dtype")
    return None if dtype is None else str(dtype)


def sheet(board: Board) -> str:
    """The board as CSV, partial runs marked; empty where something is unknown."""
    records = [_record(row) for row in sorted(board.rows, key=_order)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in records[0]])
    writer.writerows([csv_cell("" if value is None else str(value)) for _, value in record] for record in records)
    return text.getvalue()


def _record(row: Row) -> tuple[tuple[str, str | int | None], ...]:
    entry, result, counts = row.entry, row.entry.result, row.entry.result.counts
    interval, speed, dtype = wilson(counts.correct, counts.total), entry.timings.tokens_per_second, _dtype(result)
    return (
        ("candidate", result.candidate),
        ("label", result.task.label),
        ("partial", _yes_no(result.selection.limit is not None)),
        ("items", counts.total),
        ("task_items", result.selection.total),
        ("correct", counts.correct),
        ("strict", counts.strict),
        ("unread", counts.unread),
        ("cut", counts.cut),
        ("exact_match_percent", _percent(counts.correct, counts.total, 2)),
        ("low_percent", f"{100 * interval.low:.2f}"),
        ("high_percent", f"{100 * interval.high:.2f}"),
        ("prompt_style", result.model.prompt_style),
        ("engine", result.engine.version),
        ("dtype", dtype),
        ("device", result.provenance.device),
        ("tokens_per_second", None if speed is None else f"{speed:.1f}"),
        ("model", result.model.name),
        ("source", result.model.source),
        ("revision", result.model.revision),
        ("weights_sha256", result.model.weights_sha256),
        ("protocol_sha256", result.task.protocol_sha256),
        ("items_sha256", result.task.items_sha256),
        ("git_commit", result.provenance.git_commit),
        ("git_dirty", _yes_no(result.provenance.git_dirty)),
        ("created", entry.created),
        ("result_sha256", entry.result_sha256),
        ("entry", row.file),
    )


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else ("yes" if value else "no")


def index(boards: Sequence[Board], budget: str) -> str:
    """The page that lists the boards and the rules of the store."""
    head = "|board|task|items|full runs|partial runs|\n|---|---|---:|---:|---:|"
    lines = [line for board in sorted(boards, key=lambda board: board.name) for line in _index_lines(board)]
    listed = "\n".join([head, *lines]) if lines else "No runs yet."
    return "\n\n".join([MARKER, "# Leaderboards", listed, _STORE.format(budget=budget)])


def _index_lines(board: Board) -> Iterator[str]:
    for rows in tables(board):
        full, partial = split(rows)
        result = rows[0].entry.result
        label, total = cell(result.task.label), result.selection.total
        yield f"|[{board.name}]({board.name}.md)|{label}|{total:,}|{len(full):,}|{len(partial):,}|"
