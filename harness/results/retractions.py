"""What is said of an entry later, in files of their own beside it: that it is withdrawn, that it was checked again.

Each file names its entry by file name and content, is named by its own content, and never changes again. Of several
about one entry the newest retraction is shown and the highest verification counts; neither is ever taken back.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.records import decode_record, encode_indented, parse_json, parse_time, write_if_changed
from baseline_bench.results.entry import Provenance

RETRACTIONS_FOLDER, VERIFICATIONS_FOLDER = "retractions", "verifications"
# Characters of a reason, which stands whole in a table.
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
    """An entry that was checked again.

    Attributes:
        created: UTC.
        entry, entry_sha256: file name and content of the entry, as in a retraction.
        level: 0 numbers follow from bits, 1 bits from completions, 2 completions came out token for token again,
            3 the score came out inside the recorded noise.
        found: what was looked at, one line each.
        missing: what the next level would take; empty after the last.
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
class BoardRecords:
    """Everything said of a board's entries, each list sorted by time, then by file name."""

    retractions: tuple[Retraction, ...]
    verifications: tuple[Verification, ...]

    def retraction(self, file: str) -> Retraction | None:
        """The newest retraction of an entry, or None."""
        return next((one for one in reversed(self.retractions) if one.entry == file), None)

    def level(self, file: str) -> int | None:
        """The highest level at which an entry was verified, or None."""
        return max((one.level for one in self.verifications if one.entry == file), default=None)


@dataclass(frozen=True, slots=True)
class RecordFault:
    """What is wrong with one record's file, which is named relative to the board's folder."""

    file: str
    what: str


Record = TypeVar("Record", Retraction, Verification)


def write_record(record: Retraction | Verification, board: Path) -> Path:
    """Add a record to the board's folder; the same record again changes nothing."""
    return write_if_changed(board / record_path(record), encode_indented(record))


def record_path(record: Retraction | Verification) -> str:
    """Where the record's file lies, relative to its board's folder."""
    kind = RETRACTIONS_FOLDER if isinstance(record, Retraction) else VERIFICATIONS_FOLDER
    return f"{kind}/{build_record_name(record.entry, encode_indented(record))}"


def build_record_name(entry: str, data: bytes) -> str:
    """`<stem of the entry>-<12 hex of the record's own sha256>.json`."""
    return f"{entry.removesuffix('.json')}-{hashlib.sha256(data).hexdigest()[:12]}.json"


def read_records(board: Path) -> BoardRecords:
    """Every record of a board.

    Raises:
        BenchError: naming each file that is none, or whose name does not follow from its content.
    """
    retractions, unsound = _read_record_folder(Retraction, board / RETRACTIONS_FOLDER)
    verifications, others = _read_record_folder(Verification, board / VERIFICATIONS_FOLDER)
    if problems := unsound + others:
        raise combine_problems([problem.what for problem in problems], str(board), "see bench board --check")
    return BoardRecords(tuple(retractions), tuple(verifications))


def check_records(board: Path) -> list[RecordFault]:
    """What is wrong with the records of a board: each by itself, against its entry, and the chains that they form."""
    retractions, unsound = _read_record_folder(Retraction, board / RETRACTIONS_FOLDER)
    verifications, others = _read_record_folder(Verification, board / VERIFICATIONS_FOLDER)
    contents = {path.name: path.read_bytes() for path in board.glob("*.json") if path.is_file()}
    digests = {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
    return [
        *unsound,
        *others,
        *(problem for record in retractions for problem in _check_references(record, digests)),
        *(problem for record in verifications for problem in _check_references(record, digests)),
        *(
            RecordFault(record_path(record), "its chain of successors comes back to its entry")
            for record in find_successor_loops(retractions)
        ),
    ]


def find_successor_loops(retractions: Sequence[Retraction]) -> list[Retraction]:
    """The retractions from whose entry the successors, each by its newest record, lead back to that entry."""
    after = {record.entry: record.superseded_by for record in sorted(retractions, key=_sort_key)}
    return [record for record in retractions if _leads_back(record.entry, after)]


def _leads_back(entry: str, after: Mapping[str, str | None]) -> bool:
    seen: set[str] = set()
    step: str | None = after.get(entry)
    while step is not None and step != entry and step not in seen:
        seen.add(step)
        step = after.get(step)
    return step == entry


def _check_references(record: Retraction | Verification, digests: Mapping[str, str]) -> Iterator[RecordFault]:
    """What the record says of entries that does not hold."""
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
    """The records of a folder in order of time, and the files that are none."""
    records: list[Record] = []
    problems: list[RecordFault] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            records.append(_read_record(kind, path))
        except BenchError as error:
            problems.append(RecordFault(f"{folder.name}/{path.name}", error.what))
    return sorted(records, key=_sort_key), problems


def _sort_key(record: Retraction | Verification) -> tuple[str, str]:
    return record.created, record_path(record)


def _read_record(kind: type[Record], path: Path) -> Record:
    if path.is_symlink():
        raise BenchError(f"{path.name}: a link, not a file", _RESTORE_ADVICE)
    data = path.read_bytes()
    record = decode_record(kind, parse_json(data, path.name, _RESTORE_ADVICE), path.name, _RESTORE_ADVICE)
    if encode_indented(record) != data or path.name != build_record_name(record.entry, data):
        raise BenchError(f"{path.name}: its name or spelling does not follow from its content", _RESTORE_ADVICE)
    return record
