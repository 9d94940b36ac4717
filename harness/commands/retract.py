"""`bench retract`: withdraw an entry. The entry stays unchanged; a separate record says why it no longer counts."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.core.command_options import MUST_BE_GIVEN, argument, leaderboards_option, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.locks import FolderLock
from baseline_bench.evaluation import runs
from baseline_bench.rendering import leaderboard
from baseline_bench.results import entries, retractions
from baseline_bench.results.retractions import BoardRecords, Retraction


@dataclass(frozen=True, kw_only=True)
class Options:
    """The entry to withdraw, and why."""

    entry: str = argument("its path, or its file name on any board", "ENTRY")
    why: str = option("--why", "one line for the reader of the board", "TEXT", MUST_BE_GIVEN)
    superseded_by: str | None = option("--superseded-by", "the entry of the same board that takes its place", "ENTRY")
    leaderboards: Path = leaderboards_option()


def run(options: Options, console: Console) -> int:
    """Write the record, render the pages, and print every changed file.

    Retracting again for the same reason changes nothing; for another reason, the pages show the newest record.

    Raises:
        BenchError: no such entry, no reason, or an invalid successor.
    """
    why = _check_reason(options.why)
    console.say(f"withdrawing {options.entry}, rendering the pages of {options.leaderboards}")
    path = _find_entry_file(options.entry, options.leaderboards)
    board = path.parent
    with runs.explaining_write_errors(options.leaderboards), FolderLock(options.leaderboards, wait=True):
        board_records = retractions.read_records(board)
        successor = None if options.superseded_by is None else _find_successor(options, path, board_records)
        record = _build_record(path, why, successor, board_records)
        _refuse_loop(record, board_records)
        written = retractions.write_record(record, board)
        changed = leaderboard.update_pages(options.leaderboards)
    console.write("".join(f"{file}\n" for file in (written, *changed)))
    return 0


def _check_reason(text: str) -> str:
    why = " ".join(text.split())
    if not why:
        raise BenchError("--why gives no reason", "say in one line what is wrong with the entry")
    if len(why) > retractions.MAX_REASON_LENGTH:
        what = f"--why has {len(why)} characters"
        raise BenchError(what, f"say it in {retractions.MAX_REASON_LENGTH}, since a table shows it")
    return why


def _find_entry_file(name: str, leaderboards: Path) -> Path:
    """Return the entry's file; raise BenchError if there is none, or the name is on several boards."""
    boards = leaderboard.list_boards(leaderboards)
    known = [path for board in boards for path in sorted((leaderboards / board).glob("*.json"))]
    given_path = Path(name)
    if given_path.suffix == ".json" and given_path.is_file():
        match = next((path for path in known if path.samefile(given_path)), None)
        if match is None:
            raise BenchError(f"{name} is no entry of a board in {leaderboards}", "give its folder with --leaderboards")
        return match
    file_name = name if name.endswith(".json") else f"{name}.json"
    matches = [path for path in known if path.name == file_name]
    if not matches:
        names = sorted({path.name for path in known})
        raise BenchError(f"no entry {name!r} in {leaderboards}", suggest_name(file_name, names, "or give its path"))
    if len(matches) > 1:
        raise BenchError(f"{name} is on several boards", "give its path")
    return matches[0]


def _find_successor(options: Options, path: Path, board_records: BoardRecords) -> str:
    other = _find_entry_file(options.superseded_by or "", options.leaderboards)
    if other == path:
        raise BenchError(f"{path.name} cannot supersede itself", "name the entry that takes its place")
    if other.parent != path.parent:
        own_board, other_board = path.parent.name, other.parent.name
        what = f"{other.name} is on the board {other_board}, not on {own_board}"
        raise BenchError(what, f"name an entry of {own_board}")
    retraction = board_records.retraction(other.name)
    if retraction is not None and retraction.superseded_by is None:
        raise BenchError(f"{other.name} is retracted itself: {retraction.why}", "name an entry that counts")
    return other.name


def _build_record(path: Path, why: str, successor: str | None, board_records: BoardRecords) -> Retraction:
    """Return the existing record if it already says so, or else a new one."""
    entries.read_entry(path)  # raises if it is not an entry: then remove the file
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    record = Retraction(1, runs.current_time(), path.name, content, why, successor)
    previous = board_records.retraction(path.name)
    return record if previous is None or replace(previous, created=record.created) != record else previous


def _refuse_loop(record: Retraction, board_records: BoardRecords) -> None:
    others = [retraction for retraction in board_records.retractions if retraction.entry != record.entry]
    if retractions.find_successor_loops([*others, record]):
        successor = record.superseded_by
        raise BenchError(
            f"{successor} is itself superseded, in the end by {record.entry}: a chain that comes back to its beginning",
            "name the entry that counts",
        )
