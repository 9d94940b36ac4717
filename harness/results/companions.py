"""The companion files of an entry: next to it, or in the store that its leaderboards name in `store.toml`.

A store is a folder or a data set of the hub. Its files are named by the sha256 of their lines, and never change.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from baseline_bench.core.command_options import cache_folder
from baseline_bench.core.errors import BenchError, UnreachableError
from baseline_bench.core.records import write_atomically
from baseline_bench.core.untrusted import FILE_LIMIT, parse_toml, read_bytes
from baseline_bench.results.completions import CommittedCompletion, compress_lines, decompress_file, parse_completions
from baseline_bench.results.entry import Entry

STORE_FILE = "store.toml"
# The one that the others end with comes last.
LOSSES, SOLUTIONS, COMPLETIONS = SUFFIXES = (".loss.jsonl.gz", ".solutions.jsonl.gz", ".jsonl.gz")
_PLACE = re.compile(r"hf://datasets/(\w[\w.-]*/\w[\w.-]*)|(?!\w+://)[^\0]+", re.ASCII)
_LONGEST_PLACE = 200
_SHA256 = re.compile("[0-9a-f]{64}")
_STORE_ADVICE = 'write a line: completions = "FOLDER" or "hf://datasets/OWNER/NAME"'
_REACH_ADVICE = "create or mount it, and give the command again: a run keeps its answers"
_RESTORE_ADVICE = "restore the file, or give the command that made the row again: it writes all files of the row"


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of files named by content; with `repository` it keeps what was fetched from that data set of the hub."""

    folder: Path
    repository: str | None = None

    def find(self, sha256: str) -> Path | None:
        """Find the file of these lines; None if there is none, BenchError for a link, a damaged file or other lines."""
        path = self.folder / f"{sha256}{COMPLETIONS}"
        if self.repository is None and not self.folder.is_dir():
            raise UnreachableError(f"the completions store {self.folder} is no folder", _REACH_ADVICE)
        if self.repository is not None and not _has_lines(path, sha256):
            from baseline_bench.models import hub  # imports the hub's library, which few commands need

            path.unlink(missing_ok=True)
            hub.download_dataset_file(self.repository, path, FILE_LIMIT)
        if path.is_symlink() or (path.exists() and not _has_lines(path, sha256)):
            raise BenchError(f"{path} in the completions store does not hold what its name says", _RESTORE_ADVICE)
        return path if path.exists() else None

    def add(self, contents: Mapping[str, bytes]) -> None:
        """Add files, by the sha256 of their lines; UnreachableError if the store cannot be written."""
        if self.repository is not None:
            from baseline_bench.models import hub  # as above

            files = {f"{sha256}{COMPLETIONS}": data for sha256, data in contents.items()}
            return hub.upload_dataset_files(self.repository, files)
        try:
            for sha256, data in contents.items():
                path = self.folder / f"{sha256}{COMPLETIONS}"
                if path.is_symlink() or not _has_lines(path, sha256):
                    write_atomically(path, data)  # creates no folder: the store's disk may not be mounted
        except OSError as error:
            what = f"the completions store {self.folder} cannot be written ({error.strerror})"
            raise UnreachableError(what, _REACH_ADVICE) from None


def read_store(leaderboards: Path) -> Store | None:
    """Read which store the leaderboards name; None without `store.toml`. Raises BenchError if it names none."""
    path = leaderboards / STORE_FILE
    if not path.exists():
        return None
    place = parse_toml(read_bytes(path, _STORE_ADVICE), str(path), _STORE_ADVICE).get("completions")
    if not isinstance(place, str) or len(place) > _LONGEST_PLACE or (match := _PLACE.fullmatch(place)) is None:
        raise BenchError(f"{path}: {place!r:.80} is no store", _STORE_ADVICE)
    return Store(cache_folder() / "completions", match[1]) if match[1] else Store(leaderboards / place)


def build_companion_path(path: Path, suffix: str) -> Path:
    """Return the path of a companion file next to the entry at `path`."""
    return path.with_name(path.name.removesuffix(".json") + suffix)


def locate_companion(path: Path, entry: Entry, suffix: str) -> Path | None:
    """Find a companion file: next to the entry at `path`, there for the caller to check, else in the store, or None.

    Raises BenchError for a link and as `read_store` and `Store.find`.
    """
    companion, sha256 = build_companion_path(path, suffix), _get_sha256(entry, suffix)
    if companion.is_symlink():
        raise BenchError(f"{companion.name} is a link, not a file", _RESTORE_ADVICE)
    if companion.is_file():
        return companion
    store = read_store(path.absolute().parent.parent)
    return None if store is None or sha256 is None else store.find(sha256)


def read_lines(path: Path, entry: Entry, suffix: str) -> bytes | None:
    """Decompress a companion file; None if there is none. Raises as `locate_companion`, or if it is damaged."""
    found = locate_companion(path, entry, suffix)
    return None if found is None else decompress_file(found)


def load_completions(path: Path, entry: Entry) -> tuple[CommittedCompletion, ...]:
    """Load an entry's completions; BenchError if they are missing, damaged, not the entry's, or out of reach."""
    lines, companion = read_lines(path, entry, COMPLETIONS), build_companion_path(path, COMPLETIONS)
    if lines is None:
        raise BenchError(f"no completions {companion.name} next to {path}", _RESTORE_ADVICE)
    if _digest(lines) != entry.result.completions_sha256:
        raise BenchError(f"{companion}: not the completions that its entry was made from", _RESTORE_ADVICE)
    return parse_completions(lines, companion.name)


def write_companions(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write lines, by suffix, into the store, or next to the entry at `path` without one or where a file is there."""
    store, storing = read_store(path.absolute().parent.parent), {}
    for suffix, lines in contents.items():
        companion, sha256 = build_companion_path(path, suffix), _digest(lines)
        if store is not None and not companion.exists():
            storing[sha256] = compress_lines(lines)
        elif not _has_lines(companion, sha256):  # another zlib's compression must not rewrite a committed file
            write_atomically(companion, compress_lines(lines))
    if store is not None and storing:
        store.add(storing)


def move_companions(leaderboards: Path, rows: Mapping[Path, Entry], direction: Literal["out", "in"]) -> Iterator[Path]:
    """Move sound companion files into the store, or back next to their entries; yield their paths there.

    The files are copied as they are, so that moving them back gives git the same bytes.
    """
    if (store := read_store(leaderboards)) is None:
        raise BenchError(f"no {leaderboards / STORE_FILE}", _STORE_ADVICE)
    leaving: dict[Path, str] = {}
    for path, suffix in product(rows, SUFFIXES):
        companion, sha256 = build_companion_path(path, suffix), _get_sha256(rows[path], suffix)
        if sha256 is None or companion.exists() == (direction == "in"):
            continue
        if direction == "out" and _has_lines(companion, sha256):
            leaving[companion] = sha256
        elif direction == "in" and (found := store.find(sha256)) is not None:
            write_atomically(companion, found.read_bytes())
            yield companion
    if leaving:
        store.add({sha256: path.read_bytes() for path, sha256 in leaving.items()})
    for path, sha256 in leaving.items():
        if store.find(sha256) is not None:
            path.unlink()
            yield path


def _get_sha256(entry: Entry, suffix: str) -> str | None:
    """Return the sha256 of a companion's lines; None where the entry names none, or a text that may be a path."""
    candidate, solutions = entry.result.trained, entry.result.solutions
    sha256 = {
        COMPLETIONS: entry.result.completions_sha256,
        LOSSES: None if candidate is None else candidate.losses_sha256,
        SOLUTIONS: None if solutions is None else solutions.sha256,
    }[suffix]
    return sha256 if sha256 is not None and _SHA256.fullmatch(sha256) else None


def _digest(lines: bytes) -> str:
    return hashlib.sha256(lines).hexdigest()


def _has_lines(path: Path, sha256: str) -> bool:
    """Tell whether a file is sound and its lines have this digest."""
    try:
        return path.is_file() and _digest(decompress_file(path)) == sha256
    except BenchError:
        return False
