"""Read, write and verify entry files. An entry file never changes once it is written."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from baseline_bench.core.errors import BenchError, UnreachableError
from baseline_bench.core.records import encode_indented, parse_record, write_if_changed
from baseline_bench.core.types import Judgement
from baseline_bench.core.untrusted import read_bytes
from baseline_bench.results import audit, companions
from baseline_bench.results.completions import CommittedCompletion, parse_completions, serialise_completions
from baseline_bench.results.entry import Entry

_RESTORE_ADVICE = "restore the file from git, or read it with the version of bench that wrote it"
# A finished run keeps everything that its row is built from.
_RERUN_ADVICE = "restore the file from git, or give the command that made the row again: it writes all files of the row"
# The task's code may have changed under the same label, and then the row is sound.
_REREAD_ADVICE = "check with the task as it read the row; if that says the same, score again and do not commit this row"

# Paths next to the entry at a path: of its completions, its loss history if its weights were trained here, and its
# solutions' log-probabilities if they were measured.
completions_path = partial(companions.build_companion_path, suffix=companions.COMPLETIONS)
losses_path = partial(companions.build_companion_path, suffix=companions.LOSSES)
solutions_path = partial(companions.build_companion_path, suffix=companions.SOLUTIONS)

# Judges committed completions again with the reader of the entry's task; only the caller knows the tasks.
# Returns None where that reader no longer exists (an older version of the task). Raises BenchError where the checker's
# machine lacks something; that is no fault of the entry, and the error's way out says what to install or fetch.
RegradeFunction = Callable[[Entry, Sequence[CommittedCompletion]], Sequence[Judgement] | None]


@dataclass(frozen=True, slots=True)
class EntryFault:
    """One fault of an entry's files, or one thing that the checker lacks.

    Attributes:
        what: the fault, in one sentence.
        advice: what to do where the entry may be sound; None where the entry itself is proved to be faulty.
    """

    what: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class AuditedEntry:
    """What the files of an entry hold, and their faults.

    Attributes:
        entry: None where its file cannot be read.
        completions: empty where they cannot be read.
        faults: of its entry and of all files that could be read.
        unreachable: why a file could not be read, because its store does not answer; None if none was out of reach.
    """

    entry: Entry | None
    completions: tuple[CommittedCompletion, ...]
    faults: tuple[EntryFault, ...]
    unreachable: str | None = None


def build_file_stem(entry: Entry, data: bytes | None = None) -> str:
    """Return the entry's file name without suffix: `<date>-<candidate>-<12 hex of the file's sha256>`."""
    content = hashlib.sha256(data or encode_indented(entry)).hexdigest()[:12]
    return f"{entry.created[:10]}-{slugify(entry.result.candidate)}-{content}"


def slugify(name: str) -> str:
    """Turn any name into a part of a file name that is safe on every system and in URLs; two names may share one."""
    safe = re.sub(r"[^a-z0-9_.]+", "-", name.lower().encode("ascii", "replace").decode())
    return re.sub(r"\.{2,}", ".", safe)[:60].strip("-._") or "unnamed"


def write_entry(
    entry: Entry,
    completions: Sequence[CommittedCompletion],
    folder: Path,
    losses: bytes | None = None,
    solutions: bytes | None = None,
) -> Path:
    """Add an entry to a board's folder, companion files first (there or in the store); again changes nothing.

    Args:
        completions: of every scored item; the bits follow from them.
        losses: the loss history, where its weights were trained here.
        solutions: the lines of its solutions' log-probabilities, where they were measured.

    Raises:
        ValueError: the parts of the entry contradict one another; nothing is written.
        BenchError: `store.toml` names no store, or it does not answer; no entry is written.
    """
    lines, data = serialise_completions(completions), encode_indented(entry)
    problems = audit.check_numbers(entry) + audit.check_completions(entry, completions, lines)
    problems += audit.check_losses(entry, losses) + audit.check_solutions(entry, completions, solutions)
    if problems:
        raise ValueError("; ".join(problems))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{build_file_stem(entry, data)}.json"
    contents = {companions.COMPLETIONS: lines, companions.LOSSES: losses, companions.SOLUTIONS: solutions}
    paths = (companions.build_companion_path(path, suffix) for suffix in companions.SUFFIXES)
    new_paths = [companion for companion in paths if not companion.exists()]
    try:
        companions.write_companions(
            path, {suffix: content for suffix, content in contents.items() if content is not None}
        )
        write_if_changed(path, data)
    except OSError:
        for companion in new_paths:
            companion.unlink(missing_ok=True)
        raise
    return path


def read_entry(path: Path) -> Entry:
    """Read an entry file; BenchError if it is not an entry of this schema. `verify_entry` checks that it is sound."""
    if path.is_symlink():
        raise BenchError(f"{path.name}: a link, not a file", _RESTORE_ADVICE)
    return parse_record(Entry, read_bytes(path, _RESTORE_ADVICE), path.name, _RESTORE_ADVICE)


def verify_entry(path: Path, regrade: RegradeFunction | None = None) -> list[str]:
    """List the faults of an entry's files at level L0, with `regrade` also L1 (bits follow from completions)."""
    audited = audit_entry(path, regrade)
    return [fault.what for fault in audited.faults] + ([] if audited.unreachable is None else [audited.unreachable])


def audit_entry(path: Path, regrade: RegradeFunction | None = None) -> AuditedEntry:
    """Read all files of an entry, and find the same faults as `verify_entry`, each with advice."""
    try:
        entry = read_entry(path)
    except BenchError as error:
        return AuditedEntry(None, (), (EntryFault(error.what, error.way_out or _RESTORE_ADVICE),))
    faults = [
        *map(EntryFault, audit.check_numbers(entry)),
        *map(EntryFault, audit.check_training(entry)),
        *(EntryFault(message, _RERUN_ADVICE) for message in _check_name_and_spelling(path, entry)),
    ]
    contents, unreachable, unread = _read_companions(path, entry)
    faults += unread
    losses, solutions, lines = map(contents.get, companions.SUFFIXES)
    completions: tuple[CommittedCompletion, ...] = ()
    messages = audit.check_losses(entry, losses) if companions.LOSSES in contents else []
    if lines is not None:
        try:
            completions = parse_completions(lines, completions_path(path).name)
        except BenchError as error:
            faults.append(EntryFault(error.what, error.way_out or _RERUN_ADVICE))
        else:
            messages += audit.check_completions(entry, completions, lines)
            messages += audit.check_solutions(entry, completions, solutions) if companions.SOLUTIONS in contents else []
            faults += _check_judgements(entry, completions, regrade)
    faults += [EntryFault(message, _RERUN_ADVICE) for message in messages]
    # Files that do not belong to the entry would give other totals too.
    sums = [] if lines is None else audit.check_tokens(entry, completions)
    totals = [] if faults else sums + audit.check_cost(entry, losses)
    return AuditedEntry(entry, completions, (*faults, *map(EntryFault, totals)), unreachable)


def _read_companions(path: Path, entry: Entry) -> tuple[dict[str, bytes | None], str | None, list[EntryFault]]:
    """Read the lines of an entry's companion files, by suffix; why one is out of reach, and faults of the others."""
    contents: dict[str, bytes | None] = {}
    unreachable, faults = None, []
    for suffix in companions.SUFFIXES:
        try:
            contents[suffix] = companions.read_lines(path, entry, suffix)
            if suffix == companions.COMPLETIONS and contents[suffix] is None:
                raise BenchError(f"lacks its completions {completions_path(path).name}")
        except UnreachableError as error:
            unreachable = error.what
        except BenchError as error:
            faults.append(EntryFault(error.what, error.way_out or _RERUN_ADVICE))
    return contents, unreachable, faults


def _check_judgements(
    entry: Entry, completions: Sequence[CommittedCompletion], regrade: RegradeFunction | None
) -> list[EntryFault]:
    try:
        judgements = None if regrade is None else regrade(entry, completions)
    except BenchError as error:
        return [EntryFault(error.what, error.way_out or "check with what the row was scored with")]
    found = [] if judgements is None else audit.check_judgements(entry, completions, judgements)
    return [EntryFault(what, _REREAD_ADVICE) for what in found]


def check_entry_file(path: Path, entry: Entry) -> list[str]:
    """List the faults of the entry read from `path`; its completions are not checked."""
    return [*audit.check_numbers(entry), *_check_name_and_spelling(path, entry)]


def _check_name_and_spelling(path: Path, entry: Entry) -> Iterator[str]:
    data = encode_indented(entry)
    if read_bytes(path, _RESTORE_ADVICE) != data:
        yield "is not spelled as bench spells entries"
    name = f"{build_file_stem(entry, data)}.json"
    if path.name != name:
        yield f"its name does not follow from its content (that gives {name})"
