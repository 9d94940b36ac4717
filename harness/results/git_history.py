"""Find what a branch adds to the leaderboards, and the rows at its merge-base, by git, file names and content."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import parse_record
from baseline_bench.results import entries, history
from baseline_bench.results.advisories import find_advisories, read_advisories
from baseline_bench.results.board import Row
from baseline_bench.results.companions import load_completions
from baseline_bench.results.completions import CommittedCompletion, decompress_file, parse_completions
from baseline_bench.results.entry import Entry
from baseline_bench.results.retractions import RETRACTIONS_FOLDER, Retraction

_ENTRY_SUFFIX = ".json"
_RESTORE_ADVICE = "restore the file from git"
_FSCK_ADVICE = "check the repository: git fsck"

Record = TypeVar("Record", Entry, Retraction)


@dataclass(frozen=True, slots=True)
class BoardChanges:
    """One board before and after a branch.

    Attributes:
        old: the rows at the merge-base, read from git, even if the working tree has changed them.
        new: the rows that only the working tree has, committed or not.
        withdrawn: the retractions at the merge-base, read from git.
        retracted: the retractions that only the working tree has.
        unsound: the names of new entries that fail the audit, so are not in `new`.
    """

    name: str
    old: tuple[Row, ...]
    new: tuple[Row, ...]
    withdrawn: tuple[Retraction, ...]
    retracted: tuple[Retraction, ...]
    unsound: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BranchChanges:
    """The boards that a branch changes.

    Attributes:
        commit: the merge-base.
        prefix: of the leaderboards' folder inside the repository, such as "leaderboards/"; empty for the root.
        boards: those with a new entry or a new retraction, sorted by name.
    """

    commit: str
    prefix: str
    boards: tuple[BoardChanges, ...]


def find_branch_changes(folder: Path, ref: str) -> BranchChanges:
    """Find what the working tree adds to `folder` since HEAD left `ref`.

    A new entry whose name, numbers, completions and losses contradict one another is left out:
    `bench board --check` lists its faults.

    Raises:
        BenchError: no repository, no such ref, or no common commit.
    """
    base_history = history.read_folder_history(folder, ref)
    blobs = _list_blobs(folder, base_history.commit)
    prefix = _run_git(folder, "rev-parse", "--show-prefix").decode("utf-8", "surrogateescape").strip("\n")
    names = sorted(
        {path.parent.name for path in folder.glob(f"*/*{_ENTRY_SUFFIX}")} | {name.split("/")[0] for name in blobs}
    )
    board_changes = [_compare_board(folder, name, blobs) for name in names]
    return BranchChanges(
        base_history.commit,
        prefix,
        tuple(changes for changes in board_changes if changes.new or changes.retracted or changes.unsound),
    )


def read_committed_completions(folder: Path, commit: str, board: str, row: Row) -> tuple[CommittedCompletion, ...]:
    """Read a row's completions: from the merge-base if it has them, else from the working tree or the store.

    Raises:
        BenchError: they are missing or damaged.
    """
    completions_file = entries.completions_path(folder / board / row.file)
    name = f"{board}/{completions_file.name}"
    committed = _list_blobs(folder, commit, name)
    if not committed:
        return load_completions(folder / board / row.file, row.entry)
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, completions_file.name)
        copy.write_bytes(_read_blobs(folder, committed)[name])
        return parse_completions(decompress_file(copy), copy.name)


def _compare_board(folder: Path, board: str, blobs: Mapping[str, str]) -> BoardChanges:
    of_board = {
        file: blob for file, blob in blobs.items() if file.startswith(f"{board}/") and file.endswith(_ENTRY_SUFFIX)
    }
    retractions = f"{board}/{RETRACTIONS_FOLDER}"
    old_entries = _read_blobs(folder, {file: blob for file, blob in of_board.items() if file.count("/") == 1})
    old_retractions = _read_blobs(
        folder, {file: blob for file, blob in of_board.items() if file.rpartition("/")[0] == retractions}
    )
    entry_paths = sorted((folder / board).glob(f"*{_ENTRY_SUFFIX}"))
    new_paths = [path for path in entry_paths if f"{board}/{path.name}" not in blobs]
    new_rows = _read_sound_rows(new_paths, folder)
    retraction_paths = sorted((folder / board / RETRACTIONS_FOLDER).glob(f"*{_ENTRY_SUFFIX}"))
    new_retractions = {
        path.name: path.read_bytes()
        for path in retraction_paths
        if path.is_file() and not path.is_symlink() and f"{retractions}/{path.name}" not in blobs
    }
    return BoardChanges(
        name=board,
        old=tuple(Row(file.split("/")[1], entry) for file, entry in _parse_records(Entry, old_entries)),
        new=new_rows,
        withdrawn=tuple(record for _, record in _parse_records(Retraction, old_retractions)),
        retracted=tuple(record for _, record in _parse_records(Retraction, new_retractions)),
        unsound=tuple(sorted({path.name for path in new_paths} - {row.file for row in new_rows})),
    )


def _parse_records(kind: type[Record], contents: Mapping[str, bytes]) -> Iterator[tuple[str, Record]]:
    """Yield (path, record) of each file, sorted by path, without those that hold no such record."""
    for file, data in sorted(contents.items()):
        with suppress(BenchError):
            yield file, parse_record(kind, data, file, _RESTORE_ADVICE)


def _read_sound_rows(paths: list[Path], folder: Path) -> tuple[Row, ...]:
    """Read the entries that have no fault at level L0, with the advisories that concern them."""
    known = read_advisories(folder)
    sound = [(path.name, entries.read_entry(path)) for path in paths if not entries.verify_entry(path)]
    return tuple(Row(name, entry, find_advisories(entry, known)) for name, entry in sound)


def _list_blobs(folder: Path, commit: str, *paths: str) -> dict[str, str]:
    """Map the folder's files at a commit, by path relative to it, to their blob ids; links are left out."""
    listed = _run_git(folder, "ls-tree", "-r", "-z", commit, "--", *paths).decode("utf-8", "surrogateescape")
    blob_ids = {}
    for line in filter(None, listed.split("\0")):
        attributes, _, path = line.partition("\t")
        mode, kind, blob = attributes.split(" ")
        if kind == "blob" and mode != "120000":
            blob_ids[path] = blob
    return blob_ids


def _read_blobs(folder: Path, blobs: Mapping[str, str]) -> dict[str, bytes]:
    """Read the contents of blobs, keyed by the same names."""
    if not blobs:
        return {}
    output = _run_git(folder, "cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs.values()).encode())
    contents, position = {}, 0
    for name in blobs:
        end = output.index(b"\n", position)
        size = int(output[position:end].split(b" ")[2])
        contents[name] = output[end + 1 : end + 1 + size]
        position = end + 1 + size + 1
    return contents


def _run_git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    if (printed := history.run_git(folder, *arguments, given=given)) is None:
        raise BenchError(f"git cannot read {folder} ({' '.join(arguments[:1])})", _FSCK_ADVICE)
    return printed
