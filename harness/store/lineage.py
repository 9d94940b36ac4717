"""What is said of an entry later, in files of their own beside it: that it is withdrawn, that it was checked again.

Each file names its entry by file name and content, is named by its own content, and never changes again. A record that
turns out wrong is answered by a newer one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from harness.errors import BenchError
from harness.store.entry import Provenance
from harness.store.records import decode, parse, pretty, replace_file

RETRACTIONS, VERIFICATIONS = "retractions", "verifications"
_RESTORE = "restore the file from git, or remove it"


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
class Said:
    """Everything said of a board's entries, each list sorted by time, then by file name."""

    retractions: tuple[Retraction, ...]
    verifications: tuple[Verification, ...]

    def retraction(self, file: str) -> Retraction | None:
        """The newest retraction of an entry, or None."""
        return next((one for one in reversed(self.retractions) if one.entry == file), None)

    def level(self, file: str) -> int | None:
        """The highest level at which an entry was verified, or None."""
        return max((one.level for one in self.verifications if one.entry == file), default=None)


Record = TypeVar("Record", Retraction, Verification)


def write(record: Retraction | Verification, board: Path) -> Path:
    """Add a record to the board's folder; the same record again changes nothing."""
    kind = RETRACTIONS if isinstance(record, Retraction) else VERIFICATIONS
    data = pretty(record)
    path = board / kind / name(record.entry, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        replace_file(path, data)
    return path


def name(entry: str, data: bytes) -> str:
    """`<stem of the entry>-<12 hex of the record's own sha256>.json`."""
    return f"{entry.removesuffix('.json')}-{hashlib.sha256(data).hexdigest()[:12]}.json"


def read(board: Path) -> Said:
    """Every record of a board.

    Raises:
        BenchError: a file that is none, or whose name does not follow from its content.
    """
    return Said(
        tuple(_read(Retraction, board / RETRACTIONS)),
        tuple(_read(Verification, board / VERIFICATIONS)),
    )


def _read(kind: type[Record], folder: Path) -> Sequence[Record]:
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return sorted((_one(kind, path) for path in paths), key=lambda record: record.created)


def _one(kind: type[Record], path: Path) -> Record:
    data = path.read_bytes()
    record = decode(kind, parse(data, path.name, _RESTORE), path.name, _RESTORE)
    if pretty(record) != data or path.name != name(record.entry, data):
        raise BenchError(f"{path.name}: its name or spelling does not follow from its content", _RESTORE)
    return record
