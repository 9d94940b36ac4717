"""Find an entry by path, by file name, or by a candidate's name on a board."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from baseline_bench.core.errors import BenchError, combine_problems, suggest_name
from baseline_bench.results import audit, entries, retractions
from baseline_bench.results.entry import Entry
from baseline_bench.results.retractions import Regrade, Retraction

_NAME_ONE_ADVICE = "give one of their files"


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry, its file, and the newest retraction and re-grade of it, if any."""

    path: Path
    entry: Entry
    retraction: Retraction | None
    regrade: Regrade | None = None

    @property
    def counts(self) -> bool:
        """Whether it is a full run that is not withdrawn."""
        return self.entry.result.selection.limit is None and self.retraction is None

    @property
    def is_regraded(self) -> bool:
        """Whether `entry` has the judgements of the re-grade and not those of its file."""
        return self.regrade is not None and self.entry.result.task == self.regrade.task


def find_entry(name: str, leaderboards: Path, board: str | None = None) -> FoundEntry:
    """Find the entry with a path, file name or candidate name.

    A path or a file name selects that file, even if it is withdrawn or covers a subset. A candidate's name selects its
    newest full row that is not withdrawn.

    Args:
        name: the path of an entry, its file name with or without `.json`, or a candidate's name.
        board: the only board to search; None for every board.

    Raises:
        BenchError: no entry matches, or more than one; the way out lists the known ones.
    """
    return _select_newest(name, _find_matches(name, leaderboards, board, lambda: read_boards(leaderboards, board)))


def find_pair(
    first: str, second: str, leaderboards: Path, board: str | None, *fits: Callable[[Entry, Entry], bool]
) -> tuple[FoundEntry, FoundEntry]:
    """Find two entries; where a name has several rows, take the newest pair that fits.

    A pair is as old as the older of its two rows. Rows of two versions of a task are paired on the newer version's
    judgements, if the older row has a re-grade. Where no pair fits, each row is the one that `find_entry` returns.

    Args:
        first, second, leaderboards, board: as in `find_entry`.
        fits: tell whether two rows can be compared; a later one is asked only where no pair fits those before.

    Raises:
        BenchError: as in `find_entry`; for several boards or task versions only where pairs of more than one fit.
    """
    read_rows = cache(lambda: read_boards(leaderboards, board))
    first_matches, second_matches = (_find_matches(name, leaderboards, board, read_rows) for name in (first, second))
    candidates = [(one, other) for one in first_matches for other in second_matches]
    aligned = [_align_versions(*pair) for pair in candidates]
    fitting = (
        [pair for pair in group if fit(pair[0].entry, pair[1].entry)] for fit in fits for group in (candidates, aligned)
    )
    pairs = next(filter(None, fitting), [])
    if not pairs:
        return _align_versions(_select_newest(first, first_matches), _select_newest(second, second_matches))
    _require_one_board_and_version(first, [one for one, _ in pairs])
    _require_one_board_and_version(second, [other for _, other in pairs])
    newest_time = max(map(_pair_age, pairs))
    newest = [pair for pair in pairs if _pair_age(pair) == newest_time]
    if len(newest) > 1:
        raise BenchError(
            f"'{first}' and '{second}' have several pairs of one second",
            f"{_NAME_ONE_ADVICE}: "
            f"{_format_file_names(list({row.path: row for pair in newest for row in pair}.values()))}",
        )
    return newest[0]


def _align_versions(one: FoundEntry, other: FoundEntry) -> tuple[FoundEntry, FoundEntry]:
    """Give the row of the older task version the judgements of the other row's version, where it has a re-grade."""
    return _judge_by_version_of(other, one), _judge_by_version_of(one, other)


def _judge_by_version_of(newer: FoundEntry, row: FoundEntry) -> FoundEntry:
    record, label = row.regrade, newer.entry.result.task.label
    if record is None or record.task.label != label or row.entry.result.task.label == label:
        return row
    return replace(row, entry=record.apply(row.entry))


def read_board_entries(folder: Path) -> tuple[FoundEntry, ...]:
    """Read every entry of a board, sorted by file name; BenchError for a faulty entry, retraction or verification."""
    records = retractions.read_records(folder)
    return tuple(_read_sound_entry(path, records) for path in _list_entry_files(folder))


def read_boards(leaderboards: Path, board: str | None) -> list[FoundEntry]:
    """Read every entry of one board, or of all boards if `board` is None. Errors as in `read_board_entries`."""
    return [row for folder in _list_board_folders(leaderboards, board) for row in read_board_entries(folder)]


def _list_board_folders(leaderboards: Path, board: str | None) -> list[Path]:
    if not leaderboards.is_dir():
        raise BenchError(f"no folder {leaderboards}", "give the folder of the leaderboards with --leaderboards")
    folders = sorted(path for path in leaderboards.iterdir() if path.is_dir() and not path.is_symlink())
    board_folders = [folder for folder in folders if _list_entry_files(folder)]
    if board is None:
        return board_folders
    if board not in [folder.name for folder in board_folders]:
        names = [folder.name for folder in board_folders]
        raise BenchError(f"no board '{board}' in {leaderboards}", suggest_name(board, names, "bench board"))
    return [leaderboards / board]


def _list_entry_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _read_sound_entry(path: Path, records: retractions.BoardRecords) -> FoundEntry:
    entry = entries.read_entry(path)
    if problems := audit.check_numbers(entry):
        raise combine_problems(problems, str(path), "see bench board --check")
    return FoundEntry(path, entry, records.retraction(path.name), records.regrade(path.name))


def _find_matches(
    name: str, leaderboards: Path, board: str | None, on_boards: Callable[[], Sequence[FoundEntry]]
) -> Sequence[FoundEntry]:
    """Return the named file, or every full row of a candidate that is not withdrawn."""
    if name.endswith(".json") and Path(name).is_file():
        path = Path(name)
        return [_read_sound_entry(path, retractions.read_records(path.parent))]
    rows = on_boards()
    if matches := [row for row in rows if name.removesuffix(".json") == row.path.name.removesuffix(".json")]:
        _require_one_board_and_version(name, matches)
        return matches
    matches = [row for row in rows if name == row.entry.result.candidate]
    if not matches:
        known = sorted({row.entry.result.candidate for row in rows})
        searched_folder = str(leaderboards if board is None else leaderboards / board)
        what = f"no row '{name}' in {searched_folder}"
        raise BenchError(what, suggest_name(name, known, "or the path or file name of an entry"))
    if full_rows := [row for row in matches if row.counts]:
        return full_rows
    what = f"every row of '{name}' is withdrawn or covers a subset"
    raise BenchError(what, f"{_NAME_ONE_ADVICE}: {_format_file_names(matches)}")


def _pair_age(rows: tuple[FoundEntry, FoundEntry]) -> tuple[str, str]:
    one, other = sorted(row.entry.created for row in rows)
    return one, other


def _select_newest(name: str, matches: Sequence[FoundEntry]) -> FoundEntry:
    _require_one_board_and_version(name, matches)
    newest_time = max(row.entry.created for row in matches)
    return _require_single(
        name, [row for row in matches if row.entry.created == newest_time], "has rows of one second", _NAME_ONE_ADVICE
    )


def _require_one_board_and_version(name: str, matches: Sequence[FoundEntry]) -> None:
    for kind, values in (
        ("boards", {row.path.parent for row in matches}),
        ("versions of a task", {row.entry.result.task.protocol_sha256 for row in matches}),
    ):
        if len(values) > 1:
            boards = " or ".join(sorted({f"--board {row.path.parent.name}" for row in matches}))
            way_out = f"add {boards}" if kind == "boards" else f"{_NAME_ONE_ADVICE}: {_format_file_names(matches)}"
            raise BenchError(f"'{name}' has rows of {len(values)} {kind}", way_out)


def _require_single(name: str, matches: Sequence[FoundEntry], problem: str, way_out: str) -> FoundEntry:
    if len(matches) > 1:
        raise BenchError(f"'{name}' {problem}", f"{way_out}: {_format_file_names(matches)}")
    return matches[0]


def _format_file_names(rows: Sequence[FoundEntry]) -> str:
    return ", ".join(str(row.path) for row in rows)
