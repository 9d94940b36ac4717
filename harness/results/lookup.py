"""Find the entry that somebody means: by path, by file name, or by the name of a candidate on a board."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from baseline_bench.core.errors import BenchError, combine_problems, suggest_name
from baseline_bench.results import audit, entries, retractions
from baseline_bench.results.entry import Entry
from baseline_bench.results.retractions import Retraction

_NAME_ONE_ADVICE = "give one of their file names"


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """An entry, its file, and the newest word that withdraws it, if there is one."""

    path: Path
    entry: Entry
    retraction: Retraction | None

    @property
    def counts(self) -> bool:
        """A full run that nobody withdrew."""
        return self.entry.result.selection.limit is None and self.retraction is None


def find_entry(asked: str, leaderboards: Path, board: str | None = None) -> FoundEntry:
    """The entry that is meant.

    A path and a file name mean that very file, also one that was withdrawn or covers a subset. A candidate's name means
    its newest full row that nobody withdrew.

    Args:
        asked: the path of an entry, its file name with or without `.json`, or a candidate's name.
        leaderboards: the folder of the boards.
        board: look there alone; None for every board.

    Raises:
        BenchError: nothing is called so, or more than one thing is; the way out lists what there is.
    """
    return _select_newest(asked, _find_matches(asked, leaderboards, board, lambda: _read_boards(leaderboards, board)))


def find_pair(
    first: str, second: str, leaderboards: Path, board: str | None, fit: Callable[[Entry, Entry], bool]
) -> tuple[FoundEntry, FoundEntry]:
    """The two entries that are meant: where a name has several rows, those of the newest pair that fits.

    A pair is as old as the older of its two rows. Where no pair fits, each is the one that `choose` gives.

    Args:
        first, second, leaderboards, board: as in `choose`.
        fit: whether two rows can be compared.

    Raises:
        BenchError: as in `choose`; of several boards or versions of a task only where pairs of more than one fit.
    """
    found = cache(lambda: _read_boards(leaderboards, board))
    ones, others = (_find_matches(asked, leaderboards, board, found) for asked in (first, second))
    pairs = [(one, other) for one in ones for other in others if fit(one.entry, other.entry)]
    if not pairs:
        return _select_newest(first, ones), _select_newest(second, others)
    _require_one_board_and_version(first, [one for one, _ in pairs])
    _require_one_board_and_version(second, [other for _, other in pairs])
    last = max(map(_pair_age, pairs))
    newest = [each for each in pairs if _pair_age(each) == last]
    if len(newest) > 1:
        raise BenchError(
            f"'{first}' and '{second}' have several pairs of one second",
            f"{_NAME_ONE_ADVICE}: "
            f"{_format_file_names(list({row.path: row for each in newest for row in each}.values()))}",
        )
    return newest[0]


def read_board_entries(folder: Path) -> tuple[FoundEntry, ...]:
    """Every entry of a board, sorted by file name.

    Raises:
        BenchError: one of them is unsound, or a record that withdraws or verifies one is.
    """
    said = retractions.read_records(folder)
    return tuple(_read_sound_entry(path, said) for path in _list_entry_files(folder))


def _list_board_folders(leaderboards: Path, board: str | None) -> list[Path]:
    if not leaderboards.is_dir():
        raise BenchError(f"no folder {leaderboards}", "give the folder of the leaderboards with --leaderboards")
    folders = sorted(path for path in leaderboards.iterdir() if path.is_dir() and not path.is_symlink())
    there = [folder for folder in folders if _list_entry_files(folder)]
    if board is None:
        return there
    if board not in [folder.name for folder in there]:
        names = [folder.name for folder in there]
        raise BenchError(f"no board '{board}' in {leaderboards}", suggest_name(board, names, "bench board"))
    return [leaderboards / board]


def _list_entry_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _read_sound_entry(path: Path, said: retractions.BoardRecords) -> FoundEntry:
    entry = entries.read_entry(path)
    if problems := audit.check_numbers(entry):
        raise combine_problems(problems, str(path), "see bench board --check")
    return FoundEntry(path, entry, said.retraction(path.name))


def _read_boards(leaderboards: Path, board: str | None) -> list[FoundEntry]:
    return [row for folder in _list_board_folders(leaderboards, board) for row in read_board_entries(folder)]


def _find_matches(
    asked: str, leaderboards: Path, board: str | None, on_boards: Callable[[], Sequence[FoundEntry]]
) -> Sequence[FoundEntry]:
    """The very file, or every row of a name that counts."""
    if asked.endswith(".json") and Path(asked).is_file():
        path = Path(asked)
        return [_read_sound_entry(path, retractions.read_records(path.parent))]
    found = on_boards()
    if named := [row for row in found if asked.removesuffix(".json") == row.path.name.removesuffix(".json")]:
        return [_require_single(asked, named, "lies on several boards", "name one with --board")]
    named = [row for row in found if asked == row.entry.result.candidate]
    if not named:
        known = sorted({row.entry.result.candidate for row in found})
        where = str(leaderboards if board is None else leaderboards / board)
        raise BenchError(
            f"no row '{asked}' in {where}", suggest_name(asked, known, "or the path or file name of an entry")
        )
    if counting := [row for row in named if row.counts]:
        return counting
    raise BenchError(
        f"'{asked}' has no full row that nobody withdrew", f"{_NAME_ONE_ADVICE}: {_format_file_names(named)}"
    )


def _pair_age(rows: tuple[FoundEntry, FoundEntry]) -> tuple[str, str]:
    one, other = sorted(row.entry.created for row in rows)
    return one, other


def _select_newest(asked: str, named: Sequence[FoundEntry]) -> FoundEntry:
    _require_one_board_and_version(asked, named)
    last = max(row.entry.created for row in named)
    return _require_single(
        asked, [row for row in named if row.entry.created == last], "has rows of one second", _NAME_ONE_ADVICE
    )


def _require_one_board_and_version(asked: str, named: Sequence[FoundEntry]) -> None:
    for what, values in (
        ("boards", {row.path.parent for row in named}),
        ("versions of a task", {row.entry.result.task.protocol_sha256 for row in named}),
    ):
        if len(values) > 1:
            way_out = "name one with --board" if what == "boards" else _NAME_ONE_ADVICE
            raise BenchError(f"'{asked}' has rows of {len(values)} {what}", f"{way_out}: {_format_file_names(named)}")


def _require_single(asked: str, found: Sequence[FoundEntry], what: str, way_out: str) -> FoundEntry:
    if len(found) > 1:
        raise BenchError(f"'{asked}' {what}", f"{way_out}: {_format_file_names(found)}")
    return found[0]


def _format_file_names(found: Sequence[FoundEntry]) -> str:
    return ", ".join(f"{row.path.parent.name}/{row.path.name}" for row in found)
