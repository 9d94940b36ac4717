"""A board in memory: its rows, what was said of them later, and which of them stand in one table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.retractions import BoardRecords, Retraction

_VERSION = re.compile(r"(.*)@v(\d{1,9})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """An entry and the name of its file in the board's folder."""

    file: str
    entry: Entry

    @property
    def result(self) -> Result:
        """All of the row but its timings."""
        return self.entry.result

    @property
    def partial(self) -> bool:
        """Only a subset of the items was scored."""
        return self.entry.result.selection.limit is not None


@dataclass(frozen=True, slots=True)
class Board:
    """The entries of one folder, in any order, and what its other records say of them."""

    name: str
    rows: tuple[Row, ...]
    said: BoardRecords = field(default_factory=lambda: BoardRecords((), ()))


@dataclass(frozen=True, slots=True)
class BoardTable:
    """The rows that were asked the same, sorted by name and time, withdrawn ones left out.

    Attributes:
        label: of the task's version.
        full, partial: rows of all items, and of subsets.
        newer: the full runs' table of the newest version, where this one is not of that version.
    """

    label: str
    full: tuple[Row, ...]
    partial: tuple[Row, ...]
    newer: "BoardTable | None" = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """Full ones first."""
        return self.full + self.partial

    @property
    def waiting(self) -> tuple[str, ...]:
        """Candidates with a full run here and none under the newest version: incumbents to score again."""
        if self.newer is None:
            return ()
        there = {row.result.candidate for row in self.newer.full}
        return tuple(sorted({row.result.candidate for row in self.full} - there))


def split_task_label(label: str) -> tuple[str, int]:
    """`gsm8k-1shot@v2` is version 2 of `gsm8k-1shot`; a label of another form is its own only version."""
    match = _VERSION.fullmatch(label)
    return (match[1], int(match[2])) if match and match[2].isascii() else (label, 0)


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows by task, newest version first, then by candidate, time and file, in whatever order they came."""
    return sorted(rows, key=lambda row: (_task_sort_key(row), row.result.candidate, row.entry.created, row.file))


def build_tables(board: Board) -> list[BoardTable]:
    """The board's tables: tasks by name, of each the newest version first."""
    found: list[BoardTable] = []
    newest: dict[str, BoardTable] = {}
    for _, group in groupby(sort_rows(list_active_rows(board)), key=_task_sort_key):
        rows = tuple(group)
        label = rows[0].result.task.label
        family, number = split_task_label(label)
        newer = newest.get(family)
        full = tuple(row for row in rows if not row.partial)
        partial = tuple(row for row in rows if row.partial)
        table = BoardTable(
            label, full, partial, None if newer is None or split_task_label(newer.label)[1] == number else newer
        )
        newest.setdefault(family, table)
        found.append(table)
    return found


def list_active_rows(board: Board) -> list[Row]:
    """The rows that nobody has withdrawn."""
    gone = {record.entry for record in board.said.retractions}
    return [row for row in board.rows if row.file not in gone]


def list_withdrawn_rows(board: Board) -> list[tuple[Row, Retraction]]:
    """The rows that were retracted or superseded, each with the newest record that says so."""
    said = {record.entry: record for record in board.said.retractions}
    return [(row, said[row.file]) for row in sort_rows(board.rows) if row.file in said]


def _task_sort_key(row: Row) -> tuple[str, int, str, str, str]:
    task = row.result.task
    family, number = split_task_label(task.label)
    return family, -number, task.label, task.protocol_sha256, task.items_sha256
