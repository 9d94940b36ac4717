"""An entry: one row of a board and all it takes to repeat and to check it, in a file that never changes again."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from harness.bits import Bits, bits_to_hex
from harness.completions import CommittedCompletion, compress, from_lines, read_lines, to_lines
from harness.errors import BenchError
from harness.records import decode, digest, parse, plain, pretty, replace_file
from harness.types import BosRule, Sampling, Score, Value, Verdict

_RESTORE = "restore the file from git, or remove the entry and score again"
_TIME = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What was asked. `items_sha256` is over all items of the task, whichever of them were scored."""

    name: str
    label: str
    protocol_sha256: str
    items_sha256: str
    reader: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which items were scored. `limit` and `seed` are None for all; `ids_sha256` is `digest` over the list of ids."""

    total: int
    scored: int
    limit: int | None
    seed: int | None
    ids_sha256: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Who answered, and how its prompts were made."""

    name: str
    source: str
    revision: str | None
    weights_sha256: str | None
    tokenizer_sha256: str | None
    template_sha256: str | None
    prompt_style: Literal["template", "text"]
    bos: BosRule
    stop_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What generated, with every setting as it was resolved."""

    name: str
    version: str
    settings: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the row comes from: program, command, libraries, machine."""

    bench: str
    git_commit: str | None
    git_dirty: bool | None
    command: str
    python: str
    libraries: Mapping[str, str]
    device: str
    driver: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """All of a row but its timings, so that a resumed run and an unbroken one have the same digest."""

    candidate: str
    task: TaskRecord
    selection: Selection
    model: ModelRecord
    prompts_sha256: str
    engine: EngineRecord
    sampling: Sampling
    training: None
    bits: Bits
    counts: Score
    completions_sha256: str
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by phase (prepare, load, generate, grade) and tokens; None where a server does not tell."""

    phases: Mapping[str, float]
    generated_tokens: int | None
    prompt_tokens: int | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a board. `created` is UTC as 2026-11-22T12:00:00Z."""

    schema: Literal[1]
    created: str
    result: Result
    result_sha256: str
    timings: Timings

    @classmethod
    def of(cls, result: Result, created: str, timings: Timings) -> Self:
        """The entry of a result, its digest added."""
        return cls(schema=1, created=created, result=result, result_sha256=digest(result), timings=timings)


# Judges committed completions again with the reader of the entry's task; the caller knows the tasks, this file none.
# None where its reader is no longer here: an older version of a task stays as it was.
Regrade = Callable[[Entry, Sequence[CommittedCompletion]], Sequence[Verdict] | None]


def stem(entry: Entry) -> str:
    """`<date>-<candidate>-<12 hex of the file's sha256>`: the file name of the entry without its suffix."""
    return _stem(entry, pretty(entry))


def _stem(entry: Entry, data: bytes) -> str:
    content = hashlib.sha256(data).hexdigest()[:12]
    return f"{entry.created[:10]}-{slug(entry.result.candidate)}-{content}"


def slug(name: str) -> str:
    """A part of a file name that every system and every URL takes, whatever the name; two names may share one."""
    safe = re.sub(r"[^a-z0-9_.]+", "-", name.lower().encode("ascii", "replace").decode())
    return re.sub(r"\.{2,}", ".", safe)[:60].strip("-._") or "unnamed"


def completions_path(path: Path) -> Path:
    """The completions that stand beside the entry at `path`."""
    return path.with_name(path.name.removesuffix(".json") + ".jsonl.gz")


def write(entry: Entry, completions: Sequence[CommittedCompletion], folder: Path) -> Path:
    """Add an entry to a board's folder, its completions first; adding it again changes nothing.

    Raises:
        ValueError: the parts of the entry do not fit one another; nothing is written.
    """
    lines, data = to_lines(completions), pretty(entry)
    problems = audit(entry) + _audit_completions(entry, completions, lines)
    if problems:
        raise ValueError("; ".join(problems))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_stem(entry, data)}.json"
    beside = completions_path(path)
    fresh = not beside.exists()
    if not _holds(beside, lines):
        replace_file(beside, compress(lines))
    try:
        if not path.is_file() or path.read_bytes() != data:
            replace_file(path, data)
    except OSError:
        if fresh:
            beside.unlink(missing_ok=True)
        raise
    return path


def _holds(path: Path, lines: bytes) -> bool:
    """Another zlib compresses otherwise: a committed file with the right content is left as it is."""
    try:
        return path.is_file() and read_lines(path) == lines
    except BenchError:
        return False


def read(path: Path) -> Entry:
    """The entry in a file; BenchError for anything but an entry of this schema. `verify` says if it is sound."""
    if path.is_symlink():
        raise BenchError(f"{path.name}: a link, not a file", _RESTORE)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchError(f"{path.name}: cannot be read ({error.strerror})", _RESTORE) from None
    return decode(Entry, parse(data, path.name, _RESTORE), path.name, _RESTORE)


def verify(path: Path, regrade: Regrade | None = None) -> list[str]:
    """Everything that is wrong with a file: level L0, and with `regrade` L1 (the bits follow from the completions)."""
    try:
        entry = read(path)
    except BenchError as error:
        return [error.what]
    problems = audit_file(path, entry)
    try:
        lines = _lines_beside(path)
        completions = from_lines(lines, completions_path(path).name)
        problems += _audit_completions(entry, completions, lines)
        if regrade is not None:
            verdicts = regrade(entry, completions)
            problems += [] if verdicts is None else _audit_grades(entry, completions, verdicts)
    except BenchError as error:
        problems.append(error.what)
    return problems


def audit_file(path: Path, entry: Entry) -> list[str]:
    """What is wrong with the entry read from `path`, its completions left aside."""
    problems, data = audit(entry), pretty(entry)
    if path.read_bytes() != data:
        problems.append("is not spelled as bench spells entries")
    name = f"{_stem(entry, data)}.json"
    if path.name != name:
        problems.append(f"its name does not follow from its content (that gives {name})")
    return problems


def _lines_beside(path: Path) -> bytes:
    beside = completions_path(path)
    if beside.is_symlink() or not beside.is_file():
        raise BenchError(f"lacks its completions {beside.name}")
    return read_lines(beside)


def audit(entry: Entry) -> list[str]:
    """Level L0 without files: the numbers follow from the bits and the digests from what they are over."""
    result, problems = entry.result, []
    if not _TIME.fullmatch(entry.created):
        problems.append(f"created is no UTC time such as 2026-11-22T12:00:00Z: {entry.created!r:.60}")
    if entry.result_sha256 != digest(result):
        problems.append("result_sha256 is not the digest of the result")
    for part in (result, result.task, result.selection, result.model):
        for name, value in plain(part).items():
            if name.endswith("_sha256") and value is not None and not re.fullmatch("[0-9a-f]{64}", value):
                problems.append(f"{name} is no sha256: {value!r:.70}")
    numbers = [*plain(entry.timings).values(), *entry.timings.phases.values()]
    if any(isinstance(number, int | float) and number < 0 for number in numbers):
        problems.append("a timing is negative")
    return problems + _audit_selection(result) + _audit_counts(result)


def _audit_selection(result: Result) -> list[str]:
    selection = result.selection
    asked = selection.total if selection.limit is None else min(selection.limit, selection.total)
    if (
        selection.total >= 1
        and selection.scored == asked >= 1
        and (selection.limit is None) == (selection.seed is None)
    ):
        return []
    return [f"{selection.scored} of {selection.total} items scored does not fit limit and seed"]


def _audit_counts(result: Result) -> list[str]:
    total = result.counts.total
    if total != result.selection.scored or total < 1:
        return ["counts.total does not follow from the selection"]
    try:
        counts = result.bits.counts(total)
    except ValueError as error:
        return [f"the bits are not those of {total} items: {error}"]
    if counts != result.counts:
        return [f"counts do not follow from the bits, which give {counts}"]
    if int(result.bits.correct, 16) & int(result.bits.unread, 16):
        return ["an item is both correct and unread"]
    return []


def _audit_completions(entry: Entry, completions: Sequence[CommittedCompletion], lines: bytes) -> list[str]:
    result, problems = entry.result, []
    if hashlib.sha256(lines).hexdigest() != result.completions_sha256:
        problems.append("completions_sha256 is not the digest of the completions")
    if digest([completion.id for completion in completions]) != result.selection.ids_sha256:
        problems.append("selection.ids_sha256 is not the digest of the completions' ids")
    if len({completion.id for completion in completions}) != len(completions):
        problems.append("an item has two completions")
    if bits_to_hex([completion.finish == "length" for completion in completions]) != result.bits.cut:
        problems.append("the cut bits do not follow from the completions")
    return problems


def _audit_grades(entry: Entry, completions: Sequence[CommittedCompletion], verdicts: Sequence[Verdict]) -> list[str]:
    if [verdict.problem_id for verdict in verdicts] != [completion.id for completion in completions]:
        return ["grading again did not give one verdict for each completion"]
    again, bits = Bits.of(verdicts), entry.result.bits
    return [
        f"the {name} bits do not follow from the completions"
        for name in ("correct", "strict", "unread", "cut")
        if getattr(again, name) != getattr(bits, name)
    ]
