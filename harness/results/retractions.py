"""Retractions, verifications and re-grades of entries, each in a file of its own in the board's folder.

Each file identifies its entry by file name and digest, is named by its own content, and never changes again. If an
entry has several, the newest retraction is shown, the highest verification and the newest re-grade count; none is ever
taken back.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.records import encode_indented, parse_time, read_named_record, write_if_changed
from baseline_bench.core.types import Score
from baseline_bench.core.untrusted import read_bytes
from baseline_bench.results.bits import Bits
from baseline_bench.results.entry import Entry, Provenance, TaskRecord

RETRACTIONS_FOLDER, VERIFICATIONS_FOLDER, REGRADES_FOLDER = "retractions", "verifications", "regrades"
# Characters of a reason; a table shows it in full.
MAX_REASON_LENGTH = 300
_RESTORE_ADVICE = "restore the file from git, or read it with the version of bench that wrote it"


@dataclass(frozen=True, slots=True)
class Retraction:
    """An entry that no longer counts.

    Attributes:
        created: UTC as 2026-11-22T12:00:00Z.
        entry: its file name, in the same board.
        entry_sha256: of that file's bytes.
        why: one line for the reader.
        superseded_by: the file name of the entry that takes its place; None for a plain retraction.
    """

    schema: Literal[1]
    created: str
    entry: str
    entry_sha256: str
    why: str
    superseded_by: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of checking an entry again.

    Attributes:
        created: UTC.
        entry, entry_sha256: file name and content of the entry, as in a retraction.
        level: 0 numbers follow from bits, 1 bits from completions, 2 completions were reproduced token for token,
            3 the score was reproduced within the recorded noise.
        found: what was checked, one line each.
        missing: what the next level needs; empty after the last.
        provenance: of the program and the machine that checked.
    """

    schema: Literal[1]
    created: str
    entry: str
    entry_sha256: str
    level: Literal[0, 1, 2, 3]
    found: tuple[str, ...]
    missing: tuple[str, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Regrade:
    """An entry's answers judged by a newer reader, under a task version that has the same items, prompts and sampling.

    Attributes:
        created: UTC.
        entry, entry_sha256: file name and content of the entry, as in a retraction.
        task: the newer version.
        bits, counts: of the new judgements, as in an entry.
        moved: number of items whose right, strict or unread bit changed, by how and why, such as "wrong by
            last-number, now unread (malformed)"; empty if none did.
    """

    schema: Literal[1]
    created: str
    entry: str
    entry_sha256: str
    task: TaskRecord
    bits: Bits
    counts: Score
    moved: Mapping[str, int]

    def apply(self, entry: Entry) -> Entry:
        """Return the entry as the newer version judges it; for comparisons in memory, never stored."""
        result = replace(entry.result, task=self.task, bits=self.bits, counts=self.counts)
        return Entry.of(result, entry.created, entry.timings)


@dataclass(frozen=True, slots=True)
class BoardRecords:
    """All records about a board's entries, each list sorted by time, then by file name."""

    retractions: tuple[Retraction, ...]
    verifications: tuple[Verification, ...]
    regrades: tuple[Regrade, ...] = ()

    def retraction(self, file: str) -> Retraction | None:
        """Return the newest retraction of an entry, or None."""
        return next((record for record in reversed(self.retractions) if record.entry == file), None)

    def level(self, file: str) -> int | None:
        """Return the highest level at which an entry was verified, or None."""
        return max((record.level for record in self.verifications if record.entry == file), default=None)

    def regrade(self, file: str) -> Regrade | None:
        """Return the newest re-grade of an entry, or None."""
        return next((record for record in reversed(self.regrades) if record.entry == file), None)


@dataclass(frozen=True, slots=True)
class RecordFault:
    """One fault of a record's file; `file` is relative to the board's folder."""

    file: str
    what: str


Record = TypeVar("Record", Retraction, Verification, Regrade)
AnyRecord = Retraction | Verification | Regrade
_FOLDERS: Mapping[type[AnyRecord], str] = {
    Retraction: RETRACTIONS_FOLDER,
    Verification: VERIFICATIONS_FOLDER,
    Regrade: REGRADES_FOLDER,
}


def write_record(record: AnyRecord, board: Path) -> Path:
    """Add a record to the board's folder; the same record again changes nothing."""
    return write_if_changed(board / record_path(record), encode_indented(record))


def record_path(record: AnyRecord) -> str:
    """Return the path of the record's file, relative to its board's folder."""
    return f"{_FOLDERS[type(record)]}/{build_record_name(record)}"


def build_record_name(record: AnyRecord) -> str:
    """Build the file name `<stem of the entry>-<12 hex of the record's own sha256>.json`."""
    return f"{record.entry.removesuffix('.json')}-{hashlib.sha256(encode_indented(record)).hexdigest()[:12]}.json"


def read_records(board: Path) -> BoardRecords:
    """Read every retraction, verification and re-grade of a board.

    Raises:
        BenchError: naming each file that is not a record or whose name does not follow from its content.
    """
    records, problems = _read_board(board)
    if problems:
        raise combine_problems([problem.what for problem in problems], str(board), "see bench board --check")
    return records


def _read_board(board: Path) -> tuple[BoardRecords, list[RecordFault]]:
    retractions, first = _read_record_folder(Retraction, board / RETRACTIONS_FOLDER)
    verifications, second = _read_record_folder(Verification, board / VERIFICATIONS_FOLDER)
    regrades, third = _read_record_folder(Regrade, board / REGRADES_FOLDER)
    return BoardRecords(tuple(retractions), tuple(verifications), tuple(regrades)), first + second + third


def check_records(board: Path) -> tuple[BoardRecords, list[RecordFault]]:
    """Read a board's records; list the faults of each file, of its references, and of the successor chains.

    A file that is not a record is left out.
    """
    records, faulty = _read_board(board)
    contents = {path.name: read_bytes(path, _RESTORE_ADVICE) for path in board.glob("*.json") if path.is_file()}
    digests = {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
    all_records: list[AnyRecord] = [*records.retractions, *records.verifications, *records.regrades]
    return records, [
        *faulty,
        *(problem for record in all_records for problem in _check_references(record, digests)),
        *(
            RecordFault(record_path(record), "its chain of successors comes back to its entry")
            for record in find_successor_loops(records.retractions)
        ),
    ]


def find_successor_loops(retractions: Sequence[Retraction]) -> list[Retraction]:
    """Find the retractions whose successors, each by its newest record, lead back to the same entry."""
    successors = {record.entry: record.superseded_by for record in sorted(retractions, key=_sort_key)}
    return [record for record in retractions if _leads_back(record.entry, successors)]


def _leads_back(entry: str, successors: Mapping[str, str | None]) -> bool:
    visited: set[str] = set()
    successor: str | None = successors.get(entry)
    while successor is not None and successor != entry and successor not in visited:
        visited.add(successor)
        successor = successors.get(successor)
    return successor == entry


def _check_references(record: AnyRecord, digests: Mapping[str, str]) -> Iterator[RecordFault]:
    """Yield what is wrong in the record's references to entries, its time and its reason."""
    file = record_path(record)
    if parse_time(record.created) is None:
        yield RecordFault(file, f"created is no UTC time such as 2026-11-22T12:00:00Z: {record.created!r:.60}")
    if record.entry not in digests:
        yield RecordFault(file, f"names an entry that is not here: {record.entry!r:.100}")
    elif digests[record.entry] != record.entry_sha256:
        yield RecordFault(file, f"was written of another content of {record.entry!r:.100}")
    if isinstance(record, Retraction):
        if not record.why.strip():
            yield RecordFault(file, "gives no reason")
        if len(record.why) > MAX_REASON_LENGTH:
            yield RecordFault(file, f"gives a reason longer than {MAX_REASON_LENGTH} characters")
        if record.superseded_by is not None and record.superseded_by not in digests:
            yield RecordFault(file, f"names a successor that is not here: {record.superseded_by!r:.100}")


def _read_record_folder(kind: type[Record], folder: Path) -> tuple[list[Record], list[RecordFault]]:
    """Read a folder's records, sorted by time, and list the files that are not valid records."""
    records: list[Record] = []
    problems: list[RecordFault] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            records.append(read_named_record(kind, path, _RESTORE_ADVICE, lambda _: [], build_record_name))
        except BenchError as error:
            problems.append(RecordFault(f"{folder.name}/{path.name}", error.what))
    return sorted(records, key=_sort_key), problems


def _sort_key(record: AnyRecord) -> tuple[str, str]:
    return record.created, record_path(record)
