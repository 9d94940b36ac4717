"""`bench retract`: an entry that no longer counts is never edited or removed; a record beside it says why."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.core.command_options import MUST_BE_GIVEN, argument, leaderboards_option, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.evaluation import runs
from baseline_bench.rendering import leaderboard
from baseline_bench.results import entries, retractions
from baseline_bench.results.retractions import BoardRecords, Retraction


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which entry to withdraw, and why."""

    entry: str = argument("its path, or its file name on any board", "ENTRY")
    why: str = option("--why", "one line for the reader of the board", "TEXT", MUST_BE_GIVEN)
    superseded_by: str | None = option("--superseded-by", "the entry of the same board that takes its place", "ENTRY")
    leaderboards: Path = leaderboards_option()


def run(options: Options, console: Console) -> int:
    """Write the record and render the pages, naming every file that changed.

    Withdrawing it again for the same reason changes nothing; for another, the newest record is the one that is shown.

    Raises:
        BenchError: no such entry, no reason, or a successor that cannot be one.
    """
    why = _check_reason(options.why)
    path = _find_entry_file(options.entry, options.leaderboards, leaderboard.list_boards(options.leaderboards))
    board = path.parent
    with runs.explaining_write_errors(options.leaderboards):
        said = retractions.read_records(board)
        successor = None if options.superseded_by is None else _find_successor(options, path, said)
        record = _build_record(path, why, successor, said)
        _refuse_loop(record, said)
        written = retractions.write_record(record, board)
        changed = leaderboard.update_pages(options.leaderboards)
    console.write("".join(f"{file}\n" for file in (written, *changed)))
    return 0


def _check_reason(told: str) -> str:
    why = " ".join(told.split())
    if not why:
        raise BenchError("--why gives no reason", "say in one line what is wrong with the entry")
    if len(why) > retractions.MAX_REASON_LENGTH:
        raise BenchError(
            f"--why has {len(why)} characters", f"say it in {retractions.MAX_REASON_LENGTH}, for it stands in a table"
        )
    return why


def _find_entry_file(asked: str, leaderboards: Path, boards: Sequence[str]) -> Path:
    """The entry's file; BenchError where there is none, or the name lies on several boards."""
    known = [path for board in boards for path in sorted((leaderboards / board).glob("*.json"))]
    given = Path(asked)
    if given.suffix == ".json" and given.is_file():
        match = next((path for path in known if path.samefile(given)), None)
        if match is None:
            raise BenchError(f"{asked} is no entry of a board in {leaderboards}", "give its folder with --leaderboards")
        return match
    name = asked if asked.endswith(".json") else f"{asked}.json"
    places = [path for path in known if path.name == name]
    if not places:
        names = sorted({path.name for path in known})
        raise BenchError(f"no entry {asked!r} in {leaderboards}", suggest_name(name, names, "or give its path"))
    if len(places) > 1:
        raise BenchError(f"{asked} lies on several boards", "give its path")
    return places[0]


def _find_successor(options: Options, path: Path, said: BoardRecords) -> str:
    asked = options.superseded_by or ""
    other = _find_entry_file(asked, options.leaderboards, leaderboard.list_boards(options.leaderboards))
    if other == path:
        raise BenchError(f"{path.name} cannot supersede itself", "name the entry that takes its place")
    if other.parent != path.parent:
        here, there = path.parent.name, other.parent.name
        raise BenchError(f"{other.name} is on the board {there}, not on {here}", f"name an entry of {here}")
    gone = said.retraction(other.name)
    if gone is not None and gone.superseded_by is None:
        raise BenchError(f"{other.name} is retracted itself: {gone.why}", "name an entry that counts")
    return other.name


def _build_record(path: Path, why: str, successor: str | None, said: BoardRecords) -> Retraction:
    """The record to write: the one that already says so, or a new one."""
    entries.read_entry(path)  # what is no entry is not withdrawn but removed
    before = said.retraction(path.name)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    if before is not None and (before.why, before.superseded_by, before.entry_sha256) == (why, successor, content):
        return before
    schema: Literal[1] = 1
    return Retraction(schema, runs.current_time(), path.name, content, why, successor)


def _refuse_loop(record: Retraction, said: BoardRecords) -> None:
    others = [one for one in said.retractions if one.entry != record.entry]
    if retractions.find_successor_loops([*others, record]):
        successor = record.superseded_by
        raise BenchError(
            f"{successor} is itself superseded, in the end by {record.entry}: a chain that comes back to its beginning",
            "name the entry that counts",
        )
