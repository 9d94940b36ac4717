"""The leaderboards' folder: pages rendered from entries, and the check that nothing was made up, edited or removed."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError, gathered
from harness.store import entries, history
from harness.store.entries import Regrade
from harness.store.entry import Entry
from harness.store.history import History
from harness.store.markup import visible
from harness.store.page import MARKER, Board, Row, index, page, sheet
from harness.store.records import digest, replace_file

BUDGET = 50 * 1024 * 1024
_NAME = re.compile("[a-z0-9][a-z0-9_-]*")
_ENTRY, _COMPLETIONS, _LOSSES = ".json", ".jsonl.gz", ".loss.jsonl.gz"
# What a label fixes, and what a name fixes: a second value under the same one is a fault of the later entry.
_FIXED_BY_LABEL: Mapping[str, Callable[[Entry], object]] = {
    "protocol": lambda entry: entry.result.task.protocol_sha256,
    "items": lambda entry: entry.result.task.items_sha256,
    "reader": lambda entry: entry.result.task.reader,
    "sampling": lambda entry: digest(entry.result.sampling),
    "number of items": lambda entry: entry.result.selection.total,
    "item list": lambda entry: None if entry.result.selection.limit is not None else entry.result.selection.ids_sha256,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, in one line: the file, what it is, and what mends it."""

    file: str
    what: str
    mend: str

    def __str__(self) -> str:
        return visible(f"{self.file}: {self.what}; mend: {self.mend}")


def load(folder: Path, board: str) -> Board:
    """The entries of a board, their numbers checked against their bits and digests.

    Raises:
        BenchError: naming every entry that is unsound, or there is none.
    """
    if board not in boards(folder):
        raise BenchError(f"no board {board!r} in {folder}", f"boards: {', '.join(boards(folder)) or 'none'}")
    if not _NAME.fullmatch(board):
        raise BenchError(f"{board!r} is no name for a board", "name the folder with a-z, 0-9, - and _")
    rows, problems = [], []
    for path in _files(folder / board, _ENTRY):
        try:
            entry = entries.read(path)
            problems += [f"{path.name}: {problem}" for problem in entries.audit_file(path, entry)]
            rows.append(Row(path.name, entry))
        except BenchError as error:
            problems.append(error.what)
    if problems:
        raise gathered(problems, str(folder / board), "see bench board --check")
    return Board(board, tuple(rows))


def boards(folder: Path) -> list[str]:
    """The names of the sub-folders that hold entries, sorted."""
    if not folder.is_dir():
        raise BenchError(f"no folder {folder}", "give the folder of the leaderboards")
    return [path.name for path in _folders(folder) if _files(path, _ENTRY)]


def render(folder: Path, board: str) -> dict[str, str]:
    """Page and CSV of one board, by path relative to `folder`. Nothing is written. Errors as in `load`."""
    return _texts(load(folder, board))


def render_all(folder: Path) -> dict[str, str]:
    """Every page and CSV and the README that lists them, by path relative to `folder`. Errors as in `load`."""
    return _all_texts([load(folder, board) for board in boards(folder)])


def write(folder: Path) -> list[Path]:
    """Bring every rendered file up to date; the ones that changed. Errors as in `load`: then nothing is written."""
    stale = [(folder / path, text.encode()) for path, text in render_all(folder).items() if _stale(folder / path, text)]
    for path, data in stale:
        replace_file(path, data)
    return [path for path, _ in stale]


def check(folder: Path, regrade: Regrade | None = None, base: str | None = None) -> list[Fault]:
    """Everything wrong in the folder, sorted by file.

    Args:
        folder: the leaderboards.
        regrade: grades committed completions again (level L1); None leaves that out.
        base: a git ref; entries that the commit at which HEAD left it holds must be here unchanged.

    Raises:
        BenchError: no such folder, no git repository, or a base that git does not know.
    """
    names = boards(folder)
    past = None if base is None else history.since(folder, base)
    faults = [
        *_changed(folder, past),
        *_unsound(folder, regrade, past),
        *_strays(folder),
        *_stale_pages(folder, names),
        *_over_budget(folder),
    ]
    return sorted(faults, key=lambda fault: (fault.file, fault.what))


def _texts(board: Board) -> dict[str, str]:
    return {f"{board.name}.md": page(board), f"{board.name}.csv": sheet(board)}


def _all_texts(loaded: list[Board]) -> dict[str, str]:
    texts = {path: text for board in loaded for path, text in _texts(board).items()}
    return {**texts, "README.md": index(loaded, f"{BUDGET // 1024**2} MiB")}


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix) and not path.name.startswith("."))


def _stale(path: Path, text: str) -> bool:
    return not path.is_file() or path.read_bytes() != text.encode()


def _is_record(file: str) -> bool:
    """An entry or its completions: a file one level below the leaderboards."""
    return file.count("/") == 1 and file.endswith((_ENTRY, _COMPLETIONS))


def _command(*words: str) -> str:
    return f"`{shlex.join(words)}`"


def _changed(folder: Path, past: History | None) -> Iterator[Fault]:
    if past is None:
        return
    for file in filter(_is_record, past.changed):
        what = "changed" if (folder / file).exists() else "removed or renamed"
        yield Fault(_shown(folder, file), f"{what} since {past.commit[:12]}", _restore(folder, file, past))


def _shown(folder: Path, file: str) -> str:
    return (folder / file).as_posix()


def _restore(folder: Path, file: str, past: History | None) -> str:
    """What brings back a file that was sound once, or removes an entry that never was."""
    if past is not None and file in past.frozen:
        return _command("git", "checkout", past.commit[:12], "--", _shown(folder, file))
    if past is None:
        return _command("git", "checkout", "--", _shown(folder, file))
    return _remove(folder, file)


def _remove(folder: Path, file: str) -> str:
    stem = file.removesuffix(_LOSSES).removesuffix(_COMPLETIONS).removesuffix(_ENTRY)
    parts = [stem + suffix for suffix in (_ENTRY, _COMPLETIONS, _LOSSES) if (folder / (stem + suffix)).exists()]
    return f"{_command('git', 'rm', '-f', '--', *(_shown(folder, part) for part in parts))} and score again"


def _unsound(folder: Path, regrade: Regrade | None, past: History | None) -> Iterator[Fault]:
    readable: list[tuple[str, Entry]] = []
    for board in boards(folder):
        for path in _files(folder / board, _ENTRY):
            file = f"{board}/{path.name}"
            for problem in entries.verify(path, regrade):
                yield Fault(_shown(folder, file), problem, _restore(folder, file, past))
            try:
                readable.append((file, entries.read(path)))
            except BenchError:
                continue
    # What stood at the base is right and what came later is not, whatever time an entry gives itself.
    frozen = past.frozen if past is not None else frozenset()
    readable.sort(key=lambda item: (item[0] not in frozen, item[1].created, item[0]))
    for file, what in _contradictions(readable):
        yield Fault(_shown(folder, file), what, _remove(folder, file))


def _contradictions(readable: Iterable[tuple[str, Entry]]) -> Iterator[tuple[str, str]]:
    """Entries that give a label or a name a second meaning, the first one being right."""
    first: dict[tuple[str, str], tuple[object, str]] = {}
    for file, entry in readable:
        for subject, what, value in _meanings(entry):
            if value is None:  # unknown, as the weights behind a server are
                continue
            meant, where = first.setdefault((subject, what), (value, file))
            if value != meant:
                yield file, f"{subject} has another {what} than in {where}"


def _meanings(entry: Entry) -> Iterator[tuple[str, str, object]]:
    model = entry.result.model
    for what, value in _FIXED_BY_LABEL.items():
        yield f"label {entry.result.task.label!r:.80}", what, value(entry)
    for kind, name in (("candidate", entry.result.candidate), ("model", model.name)):
        yield f"{kind} {name!r:.80}", "weights", model.weights_sha256


def _strays(folder: Path) -> Iterator[Fault]:
    """Files of a board that no entry stands for."""
    for board in _folders(folder):
        stems = {path.name.removesuffix(_ENTRY) for path in _files(board, _ENTRY)}
        for path in _files(board, _COMPLETIONS):
            if path.name.removesuffix(_LOSSES).removesuffix(_COMPLETIONS) not in stems:
                shown = path.as_posix()
                yield Fault(
                    shown, "completions or losses without their entry", _command("git", "rm", "-f", "--", shown)
                )


def _stale_pages(folder: Path, names: list[str]) -> Iterator[Fault]:
    loaded = []
    for name in names:
        try:
            loaded.append(load(folder, name))
        except BenchError:
            what = "has no page, for its name or its entries are not sound"
            yield Fault(_shown(folder, name), what, "mend its entries first, name it with a-z, 0-9, - and _")
    texts = _all_texts(loaded)
    if len(loaded) < len(names):
        del texts["README.md"]  # it lists every board
    for file, text in texts.items():
        if _stale(folder / file, text):
            yield Fault(_shown(folder, file), "is not what the entries give", "`bench board`")
    for path in sorted(folder.glob("*.md")):
        if path.stem not in (*names, "README") and path.read_bytes().startswith(MARKER.encode()):
            both = [_shown(folder, f"{path.stem}{suffix}") for suffix in (".md", ".csv")]
            yield Fault(path.as_posix(), "is the page of no board", _command("git", "rm", "-f", "--", *both))


def _over_budget(folder: Path) -> Iterator[Fault]:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    if size > BUDGET:
        what = f"holds {size:,} bytes, over its budget of {BUDGET:,}"
        yield Fault(folder.as_posix(), what, "raise BUDGET in harness/store/leaderboard.py in a change of its own")
