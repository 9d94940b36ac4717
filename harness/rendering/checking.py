"""The check of the leaderboards: nothing was made up, edited, renamed or removed; and how each fault is mended."""

import json
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import visible
from baseline_bench.core.records import digest
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.page import MARKER
from baseline_bench.results import consistency, entries, foreign, history, noise, retractions
from baseline_bench.results.board import Row
from baseline_bench.results.candidate import steps
from baseline_bench.results.completions import read_lines
from baseline_bench.results.entries import Flaw, Regrade
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.history import History

_COMPLETIONS = ".jsonl.gz"
_BESIDE = (".loss.jsonl.gz", ".solutions.jsonl.gz", _COMPLETIONS)
_RECORDS = (retractions.RETRACTIONS, retractions.VERIFICATIONS, noise.FOLDER, foreign.FOLDER)
_RENDERED = (".md", ".csv", ".svg")
_RECORD = "restore the file or what it names from git, or write it again with the command that made it"
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


@dataclass(frozen=True, slots=True)
class Found:
    """One entry's file: relative to the folder, what it holds where it can be read, and what is wrong with it."""

    file: str
    entry: Entry | None
    problems: tuple[Flaw, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What is wrong in a folder, sorted by file; and what is right and yet worth a line."""

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def check(folder: Path, regrade: Regrade | None = None, base: str | None = None) -> list[Fault]:
    """The faults alone; see `report`."""
    return list(report(folder, regrade, base).faults)


def report(folder: Path, regrade: Regrade | None = None, base: str | None = None) -> Report:
    """Read every file of the folder once, and say what is wrong or worth a line.

    Args:
        folder: the leaderboards.
        regrade: grades committed completions again (level L1); None leaves that out.
        base: a git ref; records that the commit at which HEAD left it holds must be here unchanged.

    Raises:
        BenchError: no such folder, no git repository, or a base that git does not know.
    """
    names = leaderboard.boards(folder)
    past = None if base is None else history.since(folder, base)
    found = {name: [_look(folder, path, regrade) for path in _entries(folder / name)] for name in names}
    files = [one for board in found.values() for one in board]
    faults = [
        *_changed(folder, past),
        *_unsound(folder, files, past),
        *_said(folder, past),
        *_strays(folder),
        *_stale_pages(folder, found),
        *_over_budget(folder),
    ]
    return Report(tuple(sorted(faults, key=lambda fault: (fault.file, fault.what))), tuple(_notes(folder, files)))


def _entries(board: Path) -> list[Path]:
    return leaderboard.files(board, leaderboard.ENTRY)


def _look(folder: Path, path: Path, regrade: Regrade | None) -> Found:
    file = path.relative_to(folder).as_posix()
    try:
        entry = entries.read(path)
    except BenchError as error:
        return Found(file, None, (Flaw(error.what, error.way_out),))
    flaws = [*entries.examine(path, regrade), *map(Flaw, consistency.training(entry))]
    # What stands beside it is read once more only where it is whole: else that is the fault.
    return Found(file, entry, tuple(flaws or map(Flaw, _beside(path, entry))))


def _beside(path: Path, entry: Entry) -> Iterator[str]:
    lines = read_lines(entries.completions_path(path)).splitlines()
    yield from consistency.tokens(entry, [json.loads(line)["tokens"] for line in lines])
    losses = entries.losses_path(path)
    if losses.exists():
        yield from consistency.cost(entry, steps(read_lines(losses)))


def _command(*words: str) -> str:
    return f"`{shlex.join(words)}`"


def _shown(folder: Path, file: str) -> str:
    return (folder / file).as_posix()


def _is_record(file: str) -> bool:
    """An entry or what stands beside it, one level below the leaderboards; or what was said of it, two levels below."""
    parts = file.split("/")
    if len(parts) == 2:
        return file.endswith((leaderboard.ENTRY, _COMPLETIONS))
    return len(parts) == 3 and parts[1] in _RECORDS and file.endswith(".json")


def _is_claims(file: str) -> bool:
    """A file of hypotheses: it may grow, and its contrasts' age tells a change; none goes because it came out badly."""
    return file.startswith(f"{leaderboard.CLAIMS}/") and file.endswith(".toml")


def _changed(folder: Path, past: History | None) -> Iterator[Fault]:
    if past is None:
        return
    for file in past.changed:
        there = (folder / file).exists()
        if not _is_record(file) and (there or not _is_claims(file)):
            continue
        what = "changed" if there else "removed or renamed"
        yield Fault(_shown(folder, file), f"{what} since {past.commit[:12]}", _restore(folder, file, past))


def _restore(folder: Path, file: str, past: History | None, advice: str | None = None) -> str:
    """What brings back a file that was sound once; else the advice, or the removal of an entry that never was sound."""
    if past is not None and file in (past.frozen if advice is None else past.changed):
        return _command("git", "checkout", past.commit[:12], "--", _shown(folder, file))
    if advice is not None:
        return advice
    if past is None:
        return _command("git", "checkout", "--", _shown(folder, file))
    return _remove(folder, file)


def _remove(folder: Path, file: str) -> str:
    """Delete an entry that was proved to be unsound, with all that belongs to it."""
    stem = _stem(file).removesuffix(leaderboard.ENTRY)
    parts = [stem + suffix for suffix in (leaderboard.ENTRY, *_BESIDE) if (folder / (stem + suffix)).exists()]
    return f"{_command('git', 'rm', '-f', '--', *(_shown(folder, part) for part in parts))} and score again"


def _stem(file: str) -> str:
    """The name without the suffix of what stands beside an entry."""
    return file.removesuffix(next((suffix for suffix in _BESIDE if file.endswith(suffix)), ""))


def _unsound(folder: Path, found: Iterable[Found], past: History | None) -> Iterator[Fault]:
    readable: list[tuple[str, Entry]] = []
    for one in found:
        for flaw in one.problems:
            # Of an entry that can be read, a flaw with advice is one of what it is read with or of another file.
            mend = flaw.advice if one.entry is not None else None
            yield Fault(_shown(folder, one.file), flaw.what, mend or _restore(folder, one.file, past, flaw.advice))
        if one.entry is not None:
            readable.append((one.file, one.entry))
    # What stood at the base is right and what came later is not, whatever time an entry gives itself.
    frozen = past.frozen if past is not None else frozenset()
    readable.sort(key=lambda item: (item[0] not in frozen, item[1].created, item[0]))
    for file, what, where in _contradictions(readable):
        compare = _command("bench", "compare", _shown(folder, where), _shown(folder, file))
        mend = f"see what differs by {compare}; score again what has the wrong name or label, under its own (--name)"
        yield Fault(_shown(folder, file), f"{what} than in {where}", f"{mend}, and do not commit this row")


def _contradictions(readable: Iterable[tuple[str, Entry]]) -> Iterator[tuple[str, str, str]]:
    """(file, what, the other file): entries that give a label or a name a second meaning, the first one being right."""
    first: dict[tuple[str, str], tuple[object, str]] = {}
    for file, entry in readable:
        for subject, what, value in _meanings(entry):
            if value is None:  # unknown, as the weights behind a server are
                continue
            meant, where = first.setdefault((subject, what), (value, file))
            if value != meant:
                yield file, f"{subject} has another {what}", where


def _meanings(entry: Entry) -> Iterator[tuple[str, str, object]]:
    model = entry.result.model
    for what, value in _FIXED_BY_LABEL.items():
        yield f"label {entry.result.task.label!r:.80}", what, value(entry)
    parts = (("weights", model.weights_sha256), *(model.identity.parts if model.identity is not None else ()))
    for kind, name in (("candidate", entry.result.candidate), ("model", model.name)):
        for part, digested in parts:
            yield f"{kind} {name!r:.80}", part, digested


def _notes(folder: Path, found: Iterable[Found]) -> Iterator[str]:
    """Rows of equal weights under two names that are not the same model, one line a name."""
    rows = [(one.entry.created, one.file, one.entry.result) for one in found if one.entry is not None]
    first: dict[str, tuple[str, Result]] = {}
    named: set[tuple[str, str]] = set()
    for _, file, result in sorted(rows, key=lambda row: row[:2]):
        weights = result.model.weights_sha256
        if weights is None or result.model.identity is None:
            continue
        where, before = first.setdefault(weights, (file, result))
        unlike = before.model.unlike(result.model) if before.candidate != result.candidate else ""
        if unlike and (weights, result.candidate) not in named:
            named.add((weights, result.candidate))
            what = f"the same weights as in {_shown(folder, where)}, with another {unlike}"
            yield visible(f"note: {_shown(folder, file)}: {what}")


def _said(folder: Path, past: History | None) -> Iterator[Fault]:
    """Retractions, verifications, noise and foreign records that are none, or speak of what is not there."""
    for board in leaderboard.folders(folder):
        for problem in retractions.audit(board):
            file = f"{board.name}/{problem.file}"
            yield Fault(_shown(folder, file), problem.what, _restore(folder, file, past, _RECORD))
        for kind in (noise, foreign):
            try:
                kind.read(board)
            except BenchError as error:
                shown = _shown(folder, f"{board.name}/{kind.FOLDER}")
                yield Fault(shown, error.what, error.way_out or _RECORD)


def _strays(folder: Path) -> Iterator[Fault]:
    """Files of a board that no entry stands for, and files among its records that are none."""
    for board in leaderboard.folders(folder):
        stems = {path.name.removesuffix(leaderboard.ENTRY) for path in _entries(board)}
        for path in leaderboard.files(board, _COMPLETIONS):
            if _stem(path.name) not in stems:
                mend = f"restore {_stem(path.name)}{leaderboard.ENTRY}, or move this file out of the board's folder"
                yield Fault(path.as_posix(), "completions or losses without their entry", mend)
        for path in sorted(other for kind in _RECORDS for other in board.glob(f"{kind}/*")):
            if path.suffix != ".json" or path.is_dir():
                yield Fault(path.as_posix(), "is no record", "move it out of the board's folder")


def _stale_pages(folder: Path, found: Mapping[str, Sequence[Found]]) -> Iterator[Fault]:
    loaded, texts, unsound = [], {}, False
    for name, files in found.items():
        try:
            loaded.append(leaderboard.of(folder, name, _sound(folder, files)))
        except BenchError:
            what = "has no page, for its name, its entries or its records are not sound"
            yield Fault(_shown(folder, name), what, "mend them first, name it with a-z, 0-9, - and _")
    try:
        for board in loaded:
            texts.update(leaderboard.texts(folder, board))
        texts.update(leaderboard.unclaimed(folder, list(found)))
    except BenchError as error:
        unsound = True
        yield Fault(_shown(folder, leaderboard.CLAIMS), error.what, error.way_out or "mend the claims first")
    if len(loaded) == len(found):  # it lists every board
        texts["README.md"] = leaderboard.list_of(loaded)
    for file, text in texts.items():
        if leaderboard.stale(folder / file, text):
            yield Fault(_shown(folder, file), "is not what the entries give", "`bench board`")
    yield from _orphans(folder, [*found, *(Path(file).stem for file in texts)], unsound)


def _orphans(folder: Path, known: Collection[str], unsound: bool) -> Iterator[Fault]:
    """Rendered files of no board and of no claims."""
    claimed = [] if unsound else (folder / leaderboard.CLAIMS).glob("*.md")
    for path in sorted([*folder.glob("*.md"), *claimed]):
        if path.stem not in (*known, "README") and path.read_bytes().startswith(MARKER.encode()):
            parts = [path.with_suffix(suffix) for suffix in _RENDERED if path.with_suffix(suffix).exists()]
            mend = _command("git", "rm", "-f", "--", *(part.as_posix() for part in parts))
            what = "is the page of no board" if path.parent == folder else "is the page of no claims"
            yield Fault(path.as_posix(), what, mend)


def _sound(folder: Path, files: Iterable[Found]) -> list[Row]:
    """The rows of a board whose numbers all follow; completions that are missing or lie do not hide its page."""
    rows = []
    for one in files:
        path = folder / one.file
        if one.entry is None or (one.problems and entries.audit_file(path, one.entry)):
            raise BenchError(f"{one.file} is not sound")
        rows.append(Row(path.name, one.entry))
    return rows


def _over_budget(folder: Path) -> Iterator[Fault]:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    if size > leaderboard.BUDGET:
        what = f"holds {size:,} bytes, over its budget of {leaderboard.BUDGET:,}"
        yield Fault(folder.as_posix(), what, "raise BUDGET in harness/rendering/leaderboard.py in a change of its own")
