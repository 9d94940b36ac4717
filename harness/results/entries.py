"""An entry: one row of a board and all it takes to repeat and to check it, in a file that never changes again."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import decode_record, encode_indented, parse_json, write_atomically, write_if_changed
from baseline_bench.core.types import Judgement
from baseline_bench.results import audit
from baseline_bench.results.completions import (
    CommittedCompletion,
    compress_lines,
    decompress_file,
    parse_completions,
    serialise_completions,
)
from baseline_bench.results.entry import Entry

_RESTORE_ADVICE = "restore the file from git, or read it with the version of bench that wrote it"
# A finished run keeps all that its row is made of.
_RERUN_ADVICE = "restore the file from git, or give the command that made the row again: it writes all files of the row"

# Judges committed completions again with the reader of the entry's task; the caller knows the tasks, this file none.
# None where its reader is no longer here: an older version of a task stays as it was. It raises BenchError where the
# checker lacks something: that says nothing against the entry, and its way out is what the checker can do.
RegradeFunction = Callable[[Entry, Sequence[CommittedCompletion]], Sequence[Judgement] | None]


@dataclass(frozen=True, slots=True)
class EntryFault:
    """One thing that is wrong with an entry's files, or that the checker lacks.

    Attributes:
        what: it, in one sentence.
        advice: the way out where the entry may be sound; None where the entry itself was proved to be unsound.
    """

    what: str
    advice: str | None = None


def build_file_stem(entry: Entry) -> str:
    """`<date>-<candidate>-<12 hex of the file's sha256>`: the file name of the entry without its suffix."""
    return _build_file_stem(entry, encode_indented(entry))


def _build_file_stem(entry: Entry, data: bytes) -> str:
    content = hashlib.sha256(data).hexdigest()[:12]
    return f"{entry.created[:10]}-{slugify(entry.result.candidate)}-{content}"


def slugify(name: str) -> str:
    """A part of a file name that every system and every URL takes, whatever the name; two names may share one."""
    safe = re.sub(r"[^a-z0-9_.]+", "-", name.lower().encode("ascii", "replace").decode())
    return re.sub(r"\.{2,}", ".", safe)[:60].strip("-._") or "unnamed"


def completions_path(path: Path) -> Path:
    """The completions that stand beside the entry at `path`."""
    return path.with_name(path.name.removesuffix(".json") + ".jsonl.gz")


def losses_path(path: Path) -> Path:
    """The loss history that stands beside the entry at `path`, where its weights were trained here."""
    return path.with_name(path.name.removesuffix(".json") + ".loss.jsonl.gz")


def solutions_path(path: Path) -> Path:
    """The solutions' log-probabilities that stand beside the entry at `path`, where they were measured."""
    return path.with_name(path.name.removesuffix(".json") + ".solutions.jsonl.gz")


def write_entry(
    entry: Entry,
    completions: Sequence[CommittedCompletion],
    folder: Path,
    losses: bytes | None = None,
    solutions: bytes | None = None,
) -> Path:
    """Add an entry to a board's folder, what stands beside it first; adding it again changes nothing.

    Args:
        entry: the row.
        completions: all that its bits were read from.
        folder: of the board; made if need be.
        losses: the loss history, where its weights were trained here.
        solutions: the lines of its solutions' log-probabilities, where they were measured.

    Raises:
        ValueError: the parts of the entry do not fit one another; nothing is written.
    """
    lines, data = serialise_completions(completions), encode_indented(entry)
    problems = (
        audit.check_numbers(entry)
        + audit.check_completions(entry, completions, lines)
        + audit.check_losses(entry, losses)
    )
    problems += audit.check_solutions(entry, completions, solutions)
    if problems:
        raise ValueError("; ".join(problems))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_build_file_stem(entry, data)}.json"
    there = {completions_path(path): lines, losses_path(path): losses, solutions_path(path): solutions}
    beside = {place: content for place, content in there.items() if content is not None}
    fresh = [place for place in beside if not place.exists()]
    try:
        for place, content in beside.items():
            if not _has_content(place, content):
                write_atomically(place, compress_lines(content))
        write_if_changed(path, data)
    except OSError:
        for place in fresh:
            place.unlink(missing_ok=True)
        raise
    return path


def _has_content(path: Path, lines: bytes) -> bool:
    """Another zlib compresses otherwise: a committed file with the right content is left as it is."""
    try:
        return path.is_file() and decompress_file(path) == lines
    except BenchError:
        return False


def read_entry(path: Path) -> Entry:
    """The entry in a file; BenchError for anything but an entry of this schema. `verify` says if it is sound."""
    if path.is_symlink():
        raise BenchError(f"{path.name}: a link, not a file", _RESTORE_ADVICE)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchError(f"{path.name}: cannot be read ({error.strerror})", _RESTORE_ADVICE) from None
    return decode_record(Entry, parse_json(data, path.name, _RESTORE_ADVICE), path.name, _RESTORE_ADVICE)


def verify_entry(path: Path, regrade: RegradeFunction | None = None) -> list[str]:
    """Everything that is wrong with a file: level L0, and with `regrade` L1 (the bits follow from the completions)."""
    return [flaw.what for flaw in find_entry_faults(path, regrade)]


def find_entry_faults(path: Path, regrade: RegradeFunction | None = None) -> list[EntryFault]:
    """As `verify`, each with the way out where the entry itself may be sound."""
    try:
        entry = read_entry(path)
    except BenchError as error:
        return [EntryFault(error.what, error.way_out or _RESTORE_ADVICE)]
    flaws = [
        *map(EntryFault, audit.check_numbers(entry)),
        *(EntryFault(what, _RERUN_ADVICE) for what in _check_name_and_spelling(path, entry)),
    ]
    try:
        lines = _read_completion_lines(path)
        completions = parse_completions(lines, completions_path(path).name)
        beside = audit.check_completions(entry, completions, lines) + audit.check_losses(
            entry, _read_companion_file(losses_path(path))
        )
        beside += audit.check_solutions(entry, completions, _read_companion_file(solutions_path(path)))
    except BenchError as error:
        return [*flaws, EntryFault(error.what, _RERUN_ADVICE)]
    flaws += [EntryFault(what, _RERUN_ADVICE) for what in beside]
    try:
        verdicts = None if regrade is None else regrade(entry, completions)
    except BenchError as error:
        return [*flaws, EntryFault(error.what, error.way_out or "check with what the row was scored with")]
    return (
        flaws if verdicts is None else [*flaws, *map(EntryFault, audit.check_judgements(entry, completions, verdicts))]
    )


def check_entry_file(path: Path, entry: Entry) -> list[str]:
    """What is wrong with the entry read from `path`, its completions left aside."""
    return [*audit.check_numbers(entry), *_check_name_and_spelling(path, entry)]


def _check_name_and_spelling(path: Path, entry: Entry) -> Iterator[str]:
    data = encode_indented(entry)
    if path.read_bytes() != data:
        yield "is not spelled as bench spells entries"
    name = f"{_build_file_stem(entry, data)}.json"
    if path.name != name:
        yield f"its name does not follow from its content (that gives {name})"


def _read_completion_lines(path: Path) -> bytes:
    beside = completions_path(path)
    if beside.is_symlink() or not beside.is_file():
        raise BenchError(f"lacks its completions {beside.name}")
    return decompress_file(beside)


def _read_companion_file(beside: Path) -> bytes | None:
    if beside.is_symlink():
        raise BenchError(f"{beside.name} is a link, not a file")
    return decompress_file(beside) if beside.is_file() else None
