"""A board in memory: its rows, the later retractions and verifications, and which rows share a table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from baseline_bench.results.advisories import Advisory
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.foreign import ExternalResult
from baseline_bench.results.noise import NoiseRecord
from baseline_bench.results.retractions import BoardRecords, Regrade, Retraction

_VERSION = re.compile(r"(.*)@v(\d{1,9})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """An entry, the name of its file in the board's folder, and the advisories that concern it."""

    file: str
    entry: Entry
    advisories: tuple[Advisory, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """The codes to show with the row: of its findings, then of the advisories that concern it."""
        return (*self.result.marks, *(advisory.id for advisory in self.advisories))

    @property
    def result(self) -> Result:
        """All of the row but its timings."""
        return self.entry.result

    @property
    def partial(self) -> bool:
        """Whether only a subset of the items was scored."""
        return self.entry.result.selection.limit is not None


@dataclass(frozen=True, slots=True)
class Board:
    """The entries of one folder, in any order, with everything recorded about them."""

    name: str
    rows: tuple[Row, ...]
    said: BoardRecords = field(default_factory=lambda: BoardRecords((), ()))
    noise: tuple[NoiseRecord, ...] = ()
    external: tuple[ExternalResult, ...] = ()


@dataclass(frozen=True, slots=True)
class BoardTable:
    """The rows that share a protocol and items, sorted by name and time, without withdrawn ones.

    Attributes:
        label: of the task's version.
        full, partial: rows of all items, and of subsets.
        newer: the table of the task's newest version; None if this is it.
        regraded: candidates whose answers here have a re-grade by the newest version.
    """

    label: str
    full: tuple[Row, ...]
    partial: tuple[Row, ...]
    newer: "BoardTable | None" = None
    regraded: frozenset[str] = frozenset()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, full runs first."""
        return self.full + self.partial

    @property
    def waiting(self) -> tuple[str, ...]:
        """Candidates with a full run here and no judgements by the newest version: incumbents to score again."""
        if self.newer is None:
            return ()
        newest_candidates = {row.result.candidate for row in self.newer.full}
        return tuple(sorted({row.result.candidate for row in self.full} - newest_candidates - self.regraded))


def split_task_label(label: str) -> tuple[str, int]:
    """Split `gsm8k-1shot@v2` into `gsm8k-1shot` and 2; a label of another form is its own version 0."""
    match = _VERSION.fullmatch(label)
    return (match[1], int(match[2])) if match and match[2].isascii() else (label, 0)


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Sort the rows by task, newest version first, then by candidate, time and file."""
    return sorted(rows, key=lambda row: (_task_sort_key(row), row.result.candidate, row.entry.created, row.file))


def build_tables(board: Board) -> list[BoardTable]:
    """Group a board's rows into tables: tasks by name, the newest version of each first."""
    board_tables: list[BoardTable] = []
    newest: dict[str, BoardTable] = {}
    for _, group in groupby(sort_rows(list_active_rows(board)), key=_task_sort_key):
        rows = tuple(group)
        label = rows[0].result.task.label
        family, number = split_task_label(label)
        newer = newest.get(family)
        full = tuple(row for row in rows if not row.partial)
        partial = tuple(row for row in rows if row.partial)
        newer = None if newer is None or split_task_label(newer.label)[1] == number else newer
        regraded = () if newer is None else list_regraded_rows(board, newer.label)
        table = BoardTable(label, full, partial, newer, frozenset(row.result.candidate for row in regraded))
        newest.setdefault(family, table)
        board_tables.append(table)
    return board_tables


def list_active_rows(board: Board) -> list[Row]:
    """List the rows that are not withdrawn."""
    retracted_files = {record.entry for record in board.said.retractions}
    return [row for row in board.rows if row.file not in retracted_files]


def list_regraded_rows(board: Board, label: str) -> list[Row]:
    """List the full rows of older versions of a task as the version `label` judges them, by their re-grades."""
    return [
        Row(row.file, record.apply(row.entry))
        for row in list_active_rows(board)
        if not row.partial and (record := board.said.regrade(row.file)) is not None and record.task.label == label
    ]


def list_moved_rows(board: Board) -> list[tuple[Row, Regrade]]:
    """List the rows of which a re-grade moved any item, each with that record."""
    records = [(row, board.said.regrade(row.file)) for row in sort_rows(list_active_rows(board))]
    return [(row, record) for row, record in records if record is not None and record.moved]


def list_withdrawn_rows(board: Board) -> list[tuple[Row, Retraction]]:
    """List the retracted or superseded rows, each with the newest record that withdraws it."""
    retractions_by_file = {record.entry: record for record in board.said.retractions}
    return [(row, retractions_by_file[row.file]) for row in sort_rows(board.rows) if row.file in retractions_by_file]


def _task_sort_key(row: Row) -> tuple[str, int, str, str, str]:
    task = row.result.task
    family, number = split_task_label(task.label)
    return family, -number, task.label, task.protocol_sha256, task.items_sha256
