"""The check of the leaderboards: nothing was made up, edited, renamed or removed; and how each fault is mended."""

import json
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import make_visible
from baseline_bench.core.records import digest
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.page import MARKER
from baseline_bench.results import consistency, entries, foreign, history, noise, retractions
from baseline_bench.results.board import Row
from baseline_bench.results.candidate import parse_steps
from baseline_bench.results.completions import decompress_file
from baseline_bench.results.entries import EntryFault, RegradeFunction
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.history import FolderHistory

_COMPLETIONS_SUFFIX = ".jsonl.gz"
_COMPANION_SUFFIXES = (".loss.jsonl.gz", ".solutions.jsonl.gz", _COMPLETIONS_SUFFIX)
_RECORD_FOLDERS = (retractions.RETRACTIONS_FOLDER, retractions.VERIFICATIONS_FOLDER, noise.FOLDER, foreign.FOLDER)
_RENDERED_SUFFIXES = (".md", ".csv", ".svg")
_RECORD_ADVICE = "restore the file or what it names from git, or write it again with the command that made it"
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
        return make_visible(f"{self.file}: {self.what}; mend: {self.mend}")


@dataclass(frozen=True, slots=True)
class CheckedEntry:
    """One entry's file: relative to the folder, what it holds where it can be read, and what is wrong with it."""

    file: str
    entry: Entry | None
    problems: tuple[EntryFault, ...]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is wrong in a folder, sorted by file; and what is right and yet worth a line."""

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def find_faults(folder: Path, regrade: RegradeFunction | None = None, base: str | None = None) -> list[Fault]:
    """The faults alone; see `report`."""
    return list(check_leaderboards(folder, regrade, base).faults)


def check_leaderboards(folder: Path, regrade: RegradeFunction | None = None, base: str | None = None) -> CheckReport:
    """Read every file of the folder once, and say what is wrong or worth a line.

    Args:
        folder: the leaderboards.
        regrade: grades committed completions again (level L1); None leaves that out.
        base: a git ref; records that the commit at which HEAD left it holds must be here unchanged.

    Raises:
        BenchError: no such folder, no git repository, or a base that git does not know.
    """
    names = leaderboard.list_boards(folder)
    past = None if base is None else history.read_folder_history(folder, base)
    found = {name: [_check_entry(folder, path, regrade) for path in _list_entry_files(folder / name)] for name in names}
    files = [one for board in found.values() for one in board]
    faults = [
        *_find_changed_files(folder, past),
        *_find_entry_faults(folder, files, past),
        *_find_record_faults(folder, past),
        *_find_stray_files(folder),
        *_find_stale_pages(folder, found),
        *_check_size(folder),
    ]
    return CheckReport(
        tuple(sorted(faults, key=lambda fault: (fault.file, fault.what))), tuple(_note_equal_weights(folder, files))
    )


def _list_entry_files(board: Path) -> list[Path]:
    return leaderboard.list_files(board, leaderboard.ENTRY_SUFFIX)


def _check_entry(folder: Path, path: Path, regrade: RegradeFunction | None) -> CheckedEntry:
    file = path.relative_to(folder).as_posix()
    try:
        entry = entries.read_entry(path)
    except BenchError as error:
        return CheckedEntry(file, None, (EntryFault(error.what, error.way_out),))
    flaws = [*entries.find_entry_faults(path, regrade), *map(EntryFault, consistency.check_training(entry))]
    # What stands beside it is read once more only where it is whole: else that is the fault.
    return CheckedEntry(file, entry, tuple(flaws or map(EntryFault, _check_companion_files(path, entry))))


def _check_companion_files(path: Path, entry: Entry) -> Iterator[str]:
    lines = decompress_file(entries.completions_path(path)).splitlines()
    yield from consistency.check_tokens(entry, [json.loads(line)["tokens"] for line in lines])
    losses = entries.losses_path(path)
    if losses.exists():
        yield from consistency.check_cost(entry, parse_steps(decompress_file(losses)))


def _format_command(*words: str) -> str:
    return f"`{shlex.join(words)}`"


def _format_path(folder: Path, file: str) -> str:
    return (folder / file).as_posix()


def _is_record_file(file: str) -> bool:
    """An entry or what stands beside it, one level below the leaderboards; or what was said of it, two levels below."""
    parts = file.split("/")
    if len(parts) == 2:
        return file.endswith((leaderboard.ENTRY_SUFFIX, _COMPLETIONS_SUFFIX))
    return len(parts) == 3 and parts[1] in _RECORD_FOLDERS and file.endswith(".json")


def _is_claims_file(file: str) -> bool:
    """A file of hypotheses: it may grow, and its contrasts' age tells a change; none goes because it came out badly."""
    return file.startswith(f"{leaderboard.CLAIMS_FOLDER}/") and file.endswith(".toml")


def _find_changed_files(folder: Path, past: FolderHistory | None) -> Iterator[Fault]:
    if past is None:
        return
    for file in past.changed:
        there = (folder / file).exists()
        if not _is_record_file(file) and (there or not _is_claims_file(file)):
            continue
        what = "changed" if there else "removed or renamed"
        yield Fault(
            _format_path(folder, file), f"{what} since {past.commit[:12]}", _advise_restoring(folder, file, past)
        )


def _advise_restoring(folder: Path, file: str, past: FolderHistory | None, advice: str | None = None) -> str:
    """What brings back a file that was sound once; else the advice, or the removal of an entry that never was sound."""
    if past is not None and file in (past.frozen if advice is None else past.changed):
        return _format_command("git", "checkout", past.commit[:12], "--", _format_path(folder, file))
    if advice is not None:
        return advice
    if past is None:
        return _format_command("git", "checkout", "--", _format_path(folder, file))
    return _advise_removing(folder, file)


def _advise_removing(folder: Path, file: str) -> str:
    """Delete an entry that was proved to be unsound, with all that belongs to it."""
    stem = _strip_suffix(file).removesuffix(leaderboard.ENTRY_SUFFIX)
    parts = [
        stem + suffix
        for suffix in (leaderboard.ENTRY_SUFFIX, *_COMPANION_SUFFIXES)
        if (folder / (stem + suffix)).exists()
    ]
    return (
        f"{_format_command('git', 'rm', '-f', '--', *(_format_path(folder, part) for part in parts))} and score again"
    )


def _strip_suffix(file: str) -> str:
    """The name without the suffix of what stands beside an entry."""
    return file.removesuffix(next((suffix for suffix in _COMPANION_SUFFIXES if file.endswith(suffix)), ""))


def _find_entry_faults(folder: Path, found: Iterable[CheckedEntry], past: FolderHistory | None) -> Iterator[Fault]:
    readable: list[tuple[str, Entry]] = []
    for one in found:
        for flaw in one.problems:
            # Of an entry that can be read, a flaw with advice is one of what it is read with or of another file.
            mend = flaw.advice if one.entry is not None else None
            yield Fault(
                _format_path(folder, one.file),
                flaw.what,
                mend or _advise_restoring(folder, one.file, past, flaw.advice),
            )
        if one.entry is not None:
            readable.append((one.file, one.entry))
    # What stood at the base is right and what came later is not, whatever time an entry gives itself.
    frozen = past.frozen if past is not None else frozenset()
    readable.sort(key=lambda item: (item[0] not in frozen, item[1].created, item[0]))
    for file, what, where in _find_contradictions(readable):
        compare = _format_command("bench", "compare", _format_path(folder, where), _format_path(folder, file))
        mend = f"see what differs by {compare}; score again what has the wrong name or label, under its own (--name)"
        yield Fault(_format_path(folder, file), f"{what} than in {where}", f"{mend}, and do not commit this row")


def _find_contradictions(readable: Iterable[tuple[str, Entry]]) -> Iterator[tuple[str, str, str]]:
    """(file, what, the other file): entries that give a label or a name a second meaning, the first one being right."""
    first: dict[tuple[str, str], tuple[object, str]] = {}
    for file, entry in readable:
        for subject, what, value in _list_fixed_values(entry):
            if value is None:  # unknown, as the weights behind a server are
                continue
            meant, where = first.setdefault((subject, what), (value, file))
            if value != meant:
                yield file, f"{subject} has another {what}", where


def _list_fixed_values(entry: Entry) -> Iterator[tuple[str, str, object]]:
    model = entry.result.model
    for what, value in _FIXED_BY_LABEL.items():
        yield f"label {entry.result.task.label!r:.80}", what, value(entry)
    parts = (("weights", model.weights_sha256), *(model.identity.parts if model.identity is not None else ()))
    for kind, name in (("candidate", entry.result.candidate), ("model", model.name)):
        for part, digested in parts:
            yield f"{kind} {name!r:.80}", part, digested


def _note_equal_weights(folder: Path, found: Iterable[CheckedEntry]) -> Iterator[str]:
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
            what = f"the same weights as in {_format_path(folder, where)}, with another {unlike}"
            yield make_visible(f"note: {_format_path(folder, file)}: {what}")


def _find_record_faults(folder: Path, past: FolderHistory | None) -> Iterator[Fault]:
    """Retractions, verifications, noise and foreign records that are none, or speak of what is not there."""
    for board in leaderboard.list_folders(folder):
        for problem in retractions.check_records(board):
            file = f"{board.name}/{problem.file}"
            yield Fault(_format_path(folder, file), problem.what, _advise_restoring(folder, file, past, _RECORD_ADVICE))
        for kind in (noise, foreign):
            try:
                kind.read_records(board)
            except BenchError as error:
                shown = _format_path(folder, f"{board.name}/{kind.FOLDER}")
                yield Fault(shown, error.what, error.way_out or _RECORD_ADVICE)


def _find_stray_files(folder: Path) -> Iterator[Fault]:
    """Files of a board that no entry stands for, and files among its records that are none."""
    for board in leaderboard.list_folders(folder):
        stems = {path.name.removesuffix(leaderboard.ENTRY_SUFFIX) for path in _list_entry_files(board)}
        for path in leaderboard.list_files(board, _COMPLETIONS_SUFFIX):
            if _strip_suffix(path.name) not in stems:
                mend = (
                    f"restore {_strip_suffix(path.name)}{leaderboard.ENTRY_SUFFIX}, or move this file out of the "
                    "board's folder"
                )
                yield Fault(path.as_posix(), "completions or losses without their entry", mend)
        for path in sorted(other for kind in _RECORD_FOLDERS for other in board.glob(f"{kind}/*")):
            if path.suffix != ".json" or path.is_dir():
                yield Fault(path.as_posix(), "is no record", "move it out of the board's folder")


def _find_stale_pages(folder: Path, found: Mapping[str, Sequence[CheckedEntry]]) -> Iterator[Fault]:
    loaded, texts, unsound = [], {}, False
    for name, files in found.items():
        try:
            loaded.append(leaderboard.build_board(folder, name, _select_sound_rows(folder, files)))
        except BenchError:
            what = "has no page, for its name, its entries or its records are not sound"
            yield Fault(_format_path(folder, name), what, "mend them first, name it with a-z, 0-9, - and _")
    try:
        for board in loaded:
            texts.update(leaderboard.render_board(folder, board))
        texts.update(leaderboard.render_claims_without_board(folder, list(found)))
    except BenchError as error:
        unsound = True
        yield Fault(
            _format_path(folder, leaderboard.CLAIMS_FOLDER), error.what, error.way_out or "mend the claims first"
        )
    if len(loaded) == len(found):  # it lists every board
        texts["README.md"] = leaderboard.render_readme(loaded)
    for file, text in texts.items():
        if leaderboard.is_stale(folder / file, text):
            yield Fault(_format_path(folder, file), "is not what the entries give", "`bench board`")
    yield from _find_orphaned_pages(folder, [*found, *(Path(file).stem for file in texts)], unsound)


def _find_orphaned_pages(folder: Path, known: Collection[str], unsound: bool) -> Iterator[Fault]:
    """Rendered files of no board and of no claims."""
    claimed = [] if unsound else (folder / leaderboard.CLAIMS_FOLDER).glob("*.md")
    for path in sorted([*folder.glob("*.md"), *claimed]):
        if path.stem not in (*known, "README") and path.read_bytes().startswith(MARKER.encode()):
            parts = [path.with_suffix(suffix) for suffix in _RENDERED_SUFFIXES if path.with_suffix(suffix).exists()]
            mend = _format_command("git", "rm", "-f", "--", *(part.as_posix() for part in parts))
            what = "is the page of no board" if path.parent == folder else "is the page of no claims"
            yield Fault(path.as_posix(), what, mend)


def _select_sound_rows(folder: Path, files: Iterable[CheckedEntry]) -> list[Row]:
    """The rows of a board whose numbers all follow; completions that are missing or lie do not hide its page."""
    rows = []
    for one in files:
        path = folder / one.file
        if one.entry is None or (one.problems and entries.check_entry_file(path, one.entry)):
            raise BenchError(f"{one.file} is not sound")
        rows.append(Row(path.name, one.entry))
    return rows


def _check_size(folder: Path) -> Iterator[Fault]:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    if size > leaderboard.SIZE_BUDGET:
        what = f"holds {size:,} bytes, over its budget of {leaderboard.SIZE_BUDGET:,}"
        yield Fault(folder.as_posix(), what, "raise BUDGET in harness/rendering/leaderboard.py in a change of its own")
