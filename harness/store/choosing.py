"""Find the entry that somebody means: by path, by file name, or by the name of a candidate on a board."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError, gathered, nearest
from harness.store import audit, entries, lineage
from harness.store.entry import Entry
from harness.store.lineage import Retraction

_GIVE_ONE = "give one of their file names"


@dataclass(frozen=True, slots=True)
class Chosen:
    """An entry, its file, and the newest word that withdraws it, if there is one."""

    path: Path
    entry: Entry
    retraction: Retraction | None

    @property
    def counts(self) -> bool:
        """A full run that nobody withdrew."""
        return self.entry.result.selection.limit is None and self.retraction is None


def choose(asked: str, leaderboards: Path, board: str | None = None) -> Chosen:
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
    if asked.endswith(".json") and Path(asked).is_file():
        path = Path(asked)
        return _read(path, lineage.read(path.parent))
    found = [row for folder in _folders(leaderboards, board) for row in rows(folder)]
    if named := [row for row in found if asked.removesuffix(".json") == row.path.name.removesuffix(".json")]:
        return _only(asked, named, "lies on several boards", "name one with --board")
    if named := [row for row in found if asked == row.entry.result.candidate]:
        return _newest(asked, named)
    known = sorted({row.entry.result.candidate for row in found})
    where = str(leaderboards if board is None else leaderboards / board)
    raise BenchError(f"no row '{asked}' in {where}", nearest(asked, known, "or the path or file name of an entry"))


def rows(folder: Path) -> tuple[Chosen, ...]:
    """Every entry of a board, sorted by file name.

    Raises:
        BenchError: one of them is unsound, or a record that withdraws or verifies one is.
    """
    said = lineage.read(folder)
    return tuple(_read(path, said) for path in _files(folder))


def _folders(leaderboards: Path, board: str | None) -> list[Path]:
    if not leaderboards.is_dir():
        raise BenchError(f"no folder {leaderboards}", "give the folder of the leaderboards with --leaderboards")
    folders = sorted(path for path in leaderboards.iterdir() if path.is_dir() and not path.is_symlink())
    there = [folder for folder in folders if _files(folder)]
    if board is None:
        return there
    if board not in [folder.name for folder in there]:
        names = [folder.name for folder in there]
        raise BenchError(f"no board '{board}' in {leaderboards}", nearest(board, names, "bench board"))
    return [leaderboards / board]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _read(path: Path, said: lineage.Said) -> Chosen:
    entry = entries.read(path)
    if problems := audit.numbers(entry):
        raise gathered(problems, str(path), "see bench board --check")
    return Chosen(path, entry, said.retraction(path.name))


def _newest(asked: str, named: Sequence[Chosen]) -> Chosen:
    counting = [row for row in named if row.counts]
    if not counting:
        raise BenchError(f"'{asked}' has no full row that nobody withdrew", f"{_GIVE_ONE}: {_listed(named)}")
    for what, values in (
        ("boards", {row.path.parent for row in counting}),
        ("versions of a task", {row.entry.result.task.protocol_sha256 for row in counting}),
    ):
        if len(values) > 1:
            way_out = "name one with --board" if what == "boards" else _GIVE_ONE
            raise BenchError(f"'{asked}' has rows of {len(values)} {what}", f"{way_out}: {_listed(counting)}")
    last = max(row.entry.created for row in counting)
    return _only(asked, [row for row in counting if row.entry.created == last], "has rows of one second", _GIVE_ONE)


def _only(asked: str, found: Sequence[Chosen], what: str, way_out: str) -> Chosen:
    if len(found) > 1:
        raise BenchError(f"'{asked}' {what}", f"{way_out}: {_listed(found)}")
    return found[0]


def _listed(found: Sequence[Chosen]) -> str:
    return ", ".join(f"{row.path.parent.name}/{row.path.name}" for row in found)
