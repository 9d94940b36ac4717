"""What a branch adds to the leaderboards, and what stood on them where it left its base: by git, names and content."""

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import decode_record, parse_json
from baseline_bench.results import entries, history
from baseline_bench.results.board import Row
from baseline_bench.results.completions import CommittedCompletion, decompress_file, parse_completions
from baseline_bench.results.entry import Entry
from baseline_bench.results.retractions import RETRACTIONS_FOLDER, Retraction

_ENTRY_SUFFIX = ".json"
_RESTORE_ADVICE = "restore the file from git"
_FSCK_ADVICE = "check the repository: git fsck"


@dataclass(frozen=True, slots=True)
class BoardChanges:
    """One board, before and after.

    Attributes:
        name: of the board.
        old: the rows of the merge-base, read from git, whatever the working tree has made of them.
        new: the rows that only the working tree has, committed or not.
        withdrawn: the retractions of the merge-base, read from git.
        retracted: the retractions that only the working tree has.
        unsound: the names of new entries that are left out of `new`, for they do not hold together.
    """

    name: str
    old: tuple[Row, ...]
    new: tuple[Row, ...]
    withdrawn: tuple[Retraction, ...]
    retracted: tuple[Retraction, ...]
    unsound: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BranchChanges:
    """Every board that a branch touches.

    Attributes:
        commit: the merge-base.
        prefix: of the leaderboards' folder inside the repository, such as "leaderboards/"; empty for the root.
        boards: those with a new entry or a new retraction, sorted by name.
    """

    commit: str
    prefix: str
    boards: tuple[BoardChanges, ...]


def find_branch_changes(folder: Path, ref: str) -> BranchChanges:
    """What the working tree adds to `folder` since HEAD left `ref`.

    A new entry whose name, numbers, completions and losses do not follow from one another is no row here:
    `bench board --check` says what is wrong with it.

    Raises:
        BenchError: no repository, no such ref, or no common commit.
    """
    past = history.read_folder_history(folder, ref)
    blobs = _list_blobs(folder, past.commit)
    prefix = _run_git(folder, "rev-parse", "--show-prefix").decode("utf-8", "surrogateescape").strip("\n")
    names = sorted(
        {path.parent.name for path in folder.glob(f"*/*{_ENTRY_SUFFIX}")} | {name.split("/")[0] for name in blobs}
    )
    stands = [_compare_board(folder, name, blobs) for name in names]
    return BranchChanges(
        past.commit, prefix, tuple(stand for stand in stands if stand.new or stand.retracted or stand.unsound)
    )


def read_committed_completions(folder: Path, commit: str, file: str) -> tuple[CommittedCompletion, ...]:
    """The completions of an entry: as the merge-base has them, else as the working tree has.

    Args:
        folder: the leaderboards.
        commit: the merge-base.
        file: the entry, as `<board>/<name>.json`.

    Raises:
        BenchError: they are missing or damaged.
    """
    beside = entries.completions_path(folder / file)
    name = f"{Path(file).parent}/{beside.name}"
    committed = _list_blobs(folder, commit, name)
    if not committed:
        return parse_completions(decompress_file(beside), beside.name)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, beside.name)
        copy.write_bytes(_read_blobs(folder, committed)[name])
        return parse_completions(decompress_file(copy), copy.name)


def _compare_board(folder: Path, board: str, blobs: Mapping[str, str]) -> BoardChanges:
    of_board = {
        file: blob for file, blob in blobs.items() if file.startswith(f"{board}/") and file.endswith(_ENTRY_SUFFIX)
    }
    old = _read_blobs(folder, {file: blob for file, blob in of_board.items() if file.count("/") == 1})
    said = _read_blobs(folder, {file: blob for file, blob in of_board.items() if _is_retraction_file(file)})
    here = sorted((folder / board).glob(f"*{_ENTRY_SUFFIX}"))
    new = [path for path in here if f"{board}/{path.name}" not in blobs]
    sound = _read_sound_rows(new)
    said_here = sorted((folder / board / RETRACTIONS_FOLDER).glob(f"*{_ENTRY_SUFFIX}"))
    later = [path for path in said_here if path.is_file() and not path.is_symlink()]
    return BoardChanges(
        name=board,
        old=_parse_rows(old),
        new=sound,
        withdrawn=_parse_retractions(said),
        retracted=_parse_retractions(
            {path.name: path.read_bytes() for path in later if f"{board}/{RETRACTIONS_FOLDER}/{path.name}" not in blobs}
        ),
        unsound=tuple(sorted({path.name for path in new} - {row.file for row in sound})),
    )


def _is_retraction_file(file: str) -> bool:
    return file.count("/") == 2 and file.split("/")[1] == RETRACTIONS_FOLDER


def _parse_rows(contents: Mapping[str, bytes]) -> tuple[Row, ...]:
    rows = []
    for file, data in sorted(contents.items()):
        try:
            rows.append(
                Row(
                    file.split("/")[1],
                    decode_record(Entry, parse_json(data, file, _RESTORE_ADVICE), file, _RESTORE_ADVICE),
                )
            )
        except BenchError:
            continue
    return tuple(rows)


def _read_sound_rows(paths: list[Path]) -> tuple[Row, ...]:
    """The entries of which nothing is wrong at level L0."""
    return tuple(Row(path.name, entries.read_entry(path)) for path in paths if not entries.verify_entry(path))


def _parse_retractions(contents: Mapping[str, bytes]) -> tuple[Retraction, ...]:
    found = []
    for file, data in sorted(contents.items()):
        try:
            found.append(decode_record(Retraction, parse_json(data, file, _RESTORE_ADVICE), file, _RESTORE_ADVICE))
        except BenchError:
            continue
    return tuple(found)


def _list_blobs(folder: Path, commit: str, *paths: str) -> dict[str, str]:
    """The files of the folder at a commit, by path relative to it, with the ids of their contents; no links."""
    listed = _run_git(folder, "ls-tree", "-r", "-z", commit, "--", *paths).decode("utf-8", "surrogateescape")
    found = {}
    for line in filter(None, listed.split("\0")):
        facts, _, path = line.partition("\t")
        mode, kind, blob = facts.split(" ")
        if kind == "blob" and mode != "120000":
            found[path] = blob
    return found


def _read_blobs(folder: Path, blobs: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of blobs, by the names they are given here."""
    if not blobs:
        return {}
    told = _run_git(folder, "cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs.values()).encode())
    contents, at = {}, 0
    for name in blobs:
        end = told.index(b"\n", at)
        size = int(told[at:end].split(b" ")[2])
        contents[name] = told[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return contents


def _run_git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"git cannot read {folder} ({' '.join(arguments[:1])})", _FSCK_ADVICE)
    return done.stdout
