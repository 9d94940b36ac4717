"""Noise records: one model scored several times with nothing changed, to measure how much the score moves.

Each file is in `noise/` inside its board's folder, is named by its content, and never changes again.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from baseline_bench.core import records
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entries import slugify
from baseline_bench.results.entry import EngineRecord, ModelRecord, Provenance, Selection, TaskRecord

FOLDER = "noise"
_RESTORE_ADVICE = "restore the file from git, or read it with the version of bench that wrote it"


@dataclass(frozen=True, slots=True)
class NoiseRun:
    """One scoring of the model.

    Attributes:
        how: "all" (every prompt passed to the engine at once, in the task's order), "shuffled" (at once, in a seeded
            random order) or "batch 8" (eight prompts, then the next eight, and so on).
        correct, unread, cut: one bit an item in the task's order, as in an entry.
        answers: `digest` over the answers' fingerprints (see `fingerprint_completion`), in the task's order.
        seconds: to generate all answers, without loading; None if the run was interrupted and resumed.
        tokens: generated; None where a server does not report them.
    """

    how: str
    items: int
    correct: str
    unread: str
    cut: str
    answers: str
    seconds: float | None
    tokens: int | None

    @property
    def right(self) -> int:
        """Number of items answered right."""
        return int(self.correct or "0", 16).bit_count()

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens a second; None where seconds or tokens are not known."""
        return self.tokens / self.seconds if self.tokens is not None and self.seconds else None


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs, by their indices in the list, and how many of their answers are equal in every token."""

    first: int
    second: int
    equal: int


@dataclass(frozen=True, slots=True)
class BatchPasses:
    """A subset run in several batch compositions on one loaded engine, to see whether batching changes answers."""

    selection: Selection
    runs: tuple[NoiseRun, ...]
    pairs: tuple[RunPair, ...]


@dataclass(frozen=True, slots=True)
class NoiseRecord:
    """One model scored several times under the same settings, each time with a newly started engine.

    Attributes:
        created: UTC as 2026-11-22T12:00:00Z.
        candidate to provenance: as in an entry; the same for every run.
        runs: two or more.
        pairs: every pair of the runs.
        passes: None if no batch passes were requested.
    """

    schema: Literal[1]
    created: str
    candidate: str
    task: TaskRecord
    selection: Selection
    model: ModelRecord
    prompts_sha256: str
    engine: EngineRecord
    provenance: Provenance
    runs: tuple[NoiseRun, ...]
    pairs: tuple[RunPair, ...]
    passes: BatchPasses | None

    @property
    def items(self) -> int:
        """Number of items in each run."""
        return self.selection.scored

    @property
    def spread(self) -> tuple[int, int]:
        """The smallest and the largest number of items answered right by a run."""
        right = [run.right for run in self.runs]
        return min(right), max(right)

    @property
    def flip_rate(self) -> float:
        """Share of the items that are right in one of two runs and wrong in the other, the mean over all pairs."""
        return sum(count_flips(*pair) for pair in combinations(self.runs, 2)) / (len(self.pairs) * self.items)

    @property
    def equal_share(self) -> float:
        """Share of the answers that are equal in every token, the mean over all pairs."""
        return sum(pair.equal for pair in self.pairs) / (len(self.pairs) * self.items)

    @property
    def unsteady(self) -> int:
        """Number of items that are right in some runs and wrong in others."""
        ever, always = 0, -1
        for run in self.runs:
            ever, always = ever | int(run.correct, 16), always & int(run.correct, 16)
        return (ever ^ always).bit_count()


def count_flips(first: NoiseRun, second: NoiseRun) -> int:
    """Count the items that are right in one run and wrong in the other."""
    return (int(first.correct, 16) ^ int(second.correct, 16)).bit_count()


def fingerprint_completion(line: CommittedCompletion) -> str:
    """Return the digest of an answer's token ids, or of its text where a server reports no ids."""
    return line.ids_sha256 or records.digest(line.text if line.more is None else [line.text, *line.more])[:16]


def pair_runs(traces: Sequence[Sequence[str]]) -> tuple[RunPair, ...]:
    """Pair all runs, in order, and count equal answers, given each run's fingerprints in item order."""
    return tuple(
        RunPair(one, two, sum(a == b for a, b in zip(traces[one], traces[two], strict=True)))
        for one, two in combinations(range(len(traces)), 2)
    )


def build_record_name(noise: NoiseRecord) -> str:
    """Build the file name `<date>-<candidate>-<12 hex of the file's sha256>.json`."""
    digest = hashlib.sha256(records.encode_indented(noise)).hexdigest()
    return f"{noise.created[:10]}-{slugify(noise.candidate)}-{digest[:12]}.json"


def write_record(noise: NoiseRecord, board_folder: Path) -> Path:
    """Add a record to a board's folder, once; ValueError, and nothing is written, if its parts contradict."""
    if problems := check_record(noise):
        raise ValueError("; ".join(problems))
    return records.write_if_changed(board_folder / FOLDER / build_record_name(noise), records.encode_indented(noise))


def read_records(board_folder: Path) -> tuple[NoiseRecord, ...]:
    """Read every noise record of a board, sorted by time, then by file name.

    Raises:
        BenchError: a file is not such a record, is faulty, or has a name that does not follow from its content.
    """
    folder = board_folder / FOLDER
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    found = (
        records.read_named_record(NoiseRecord, path, _RESTORE_ADVICE, check_record, build_record_name) for path in paths
    )
    return tuple(sorted(found, key=lambda noise: noise.created))


def check_record(noise: NoiseRecord) -> list[str]:
    """List the faults of a record: malformed digests, bits of other items, impossible counts."""
    problems = [] if records.parse_time(noise.created) else [f"created is no UTC time: {noise.created!r:.60}"]
    problems += records.find_malformed_digests(noise, noise.task, noise.selection, noise.model)
    if len(noise.runs) < 2:
        return [*problems, "fewer than two runs show no noise"]
    problems += _check_runs(noise.runs, noise.pairs, noise.selection)
    if noise.passes is not None:
        problems += _check_runs(noise.passes.runs, noise.passes.pairs, noise.passes.selection)
    return problems


def _check_runs(runs: Sequence[NoiseRun], run_pairs: Sequence[RunPair], selection: Selection) -> list[str]:
    expected_items = selection.total if selection.limit is None else selection.limit
    if not 1 <= selection.scored == expected_items <= selection.total:
        return [f"{selection.scored} of {selection.total} items scored does not fit the limit"]
    problems = [
        problem for run_number, run in enumerate(runs, 1) for problem in _check_run(run, run_number, selection.scored)
    ]
    expected_pairs = list(combinations(range(len(runs)), 2))
    if [(pair.first, pair.second) for pair in run_pairs] != expected_pairs:
        problems.append("pairs are not every pair of the runs in order")
    return problems or list(_check_pairs(runs, run_pairs))


def _check_run(run: NoiseRun, run_number: int, items: int) -> Iterable[str]:
    width, padding = -(-items // 4), -items % 4
    bit_texts = [run.correct, run.unread, run.cut]
    if run.items != items or not all(re.fullmatch(f"[0-9a-f]{{{width}}}", text) for text in bit_texts):
        yield f"run {run_number}: the bits are not those of {items} items"
    elif any(int(text, 16) & ((1 << padding) - 1) for text in bit_texts):
        yield f"run {run_number}: a padding bit is set"
    elif int(run.correct, 16) & int(run.unread, 16):
        yield f"run {run_number}: an item is both correct and unread"
    if not re.fullmatch("[0-9a-f]{64}", run.answers):
        yield f"run {run_number}: answers is no sha256: {run.answers!r:.70}"
    if (run.seconds or 0) < 0 or (run.tokens or 0) < 0:
        yield f"run {run_number}: a count is negative"


def _check_pairs(runs: Sequence[NoiseRun], run_pairs: Sequence[RunPair]) -> Iterator[str]:
    for pair in run_pairs:
        one, two = runs[pair.first], runs[pair.second]
        where = f"runs {pair.first + 1} and {pair.second + 1}"
        if not 0 <= pair.equal <= one.items or (pair.equal == one.items) != (one.answers == two.answers):
            yield f"{where}: {pair.equal} equal answers do not fit their digests"
        elif count_flips(one, two) > one.items - pair.equal:
            yield f"{where}: more answers changed their judgement than changed at all"
