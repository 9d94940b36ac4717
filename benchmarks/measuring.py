"""The frame of every benchmark: arms run in turns, in one go, and what came out is kept with machine and versions."""

import argparse
import os
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from baseline_bench.core import records
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import provenance

from benchmarks import record
from benchmarks.children import timed
from benchmarks.record import Day, Goal, Machine, Question, Side, Spread

__all__ = ["Arm", "Asked", "Target", "asked", "interleave", "keep", "this_machine", "timed"]

LIBRARIES = (*provenance.LIBRARIES, "accelerate", "bitsandbytes", "lm_eval", "peft", "safetensors", "trl")

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: such as "bench" or "lm-eval hf, batch 8".
        run: one repetition; returns measures by name with the unit in the name, such as
            {"seconds": 3.1, "tokens_per_second": 210.0, "peak_gib": 1.2}.
        may_fail: the others are measured without it then.
    """

    name: str
    run: Callable[[], Mapping[str, float]]
    may_fail: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached: a bound on one arm's measure divided by another's, or on the measure itself.

    Attributes:
        measure: its name.
        ours: the arm.
        theirs: the arm it is divided by; None bounds the measure itself.
        at_least: the bound, or
        at_most: this one; exactly one of the two.
    """

    measure: str
    ours: str
    theirs: str | None
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a target has one bound: at_least or at_most")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line of a question says.

    Attributes:
        repeats: how often each arm runs.
        results: the folder of the results.
        quick: a tiny version that ends in seconds: it shows that the script works, and nothing else.
    """

    repeats: int
    results: Path
    quick: bool


def asked(what: str, repeats: int, words: Sequence[str] | None = None) -> Asked:
    """Read the command line of a question.

    Args:
        what: it measures, for --help.
        repeats: by default.
        words: the command line; None takes the program's.
    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument(
        "--repeats", type=int, default=None, metavar="N", help=f"rounds of all arms (default {repeats})"
    )
    parser.add_argument("--results", type=Path, default=None, metavar="DIR", help="where to keep what came out")
    parser.add_argument("--quick", action="store_true", help="a tiny version that ends in seconds; not a measurement")
    found = parser.parse_args(words)
    if found.quick and found.results is None:
        parser.error("--quick measures nothing: name a folder of its own with --results")
    rounds = found.repeats if found.repeats is not None else (1 if found.quick else repeats)
    if rounds < 1:
        parser.error("--repeats must be 1 or more")
    return Asked(rounds, found.results or record.FOLDER, found.quick)


def interleave(
    arms: Sequence[Arm], repeats: int, *, warmups: int = 0, say: Callable[[str], object] = print
) -> dict[str, list[dict[str, float]]]:
    """Run the arms in turns, A B C A B C, so that a machine that slows down slows all of them.

    Args:
        arms: names differ.
        repeats: rounds that count.
        warmups: rounds before them, which are run and dropped.
        say: told each sample as it comes.

    Returns:
        By arm its samples in order; one that failed and may is not among them.

    Raises:
        BenchError: an arm that may not fail did.
    """
    if len({arm.name for arm in arms}) < len(arms):
        raise ValueError("two arms bear one name")
    samples: dict[str, list[dict[str, float]]] = {arm.name: [] for arm in arms}
    for turn in range(-warmups, repeats):
        for arm in [arm for arm in arms if arm.name in samples]:
            try:
                sample = {name: float(value) for name, value in arm.run().items()}
            except BenchError as error:
                if not arm.may_fail:
                    raise
                say(f"{arm.name} failed and is left out: {error}")
                del samples[arm.name]
                continue
            told = ", ".join(f"{name} {value:.4g}" for name, value in sample.items())
            say(f"{'warm-up' if turn < 0 else turn + 1}  {arm.name}: {told}")
            if turn >= 0:
                samples[arm.name].append(sample)
    return samples


def keep(  # noqa: PLR0913  # a question's part has so many sides, and each is named where it is given
    question: str,
    samples: Mapping[str, Sequence[Mapping[str, float]]],
    targets: Sequence[Target],
    *,
    title: str,
    how: str,
    notes: Sequence[str] = (),
    results: Path | None = None,
) -> Path:
    """Put a question's samples into `<results>/<date>-<machine>.json`, beside what that day's file holds already.

    Where that file is of a machine that has the same GPUs and other cores, the cores are added to this one's name.

    Args:
        question: the name of its file here, such as "merging"; an earlier part of that name is replaced.
        samples: as `interleave` returned them.
        targets: of arms and measures that are there.
        title: of the section in docs/performance.md.
        how: it was measured, in sentences.
        notes: what else is to be known, one paragraph each.
        results: the folder; None takes benchmarks/results.

    Returns:
        The file.

    Raises:
        BenchError: the day's file is there and no file of results.
    """
    now = datetime.now(UTC)
    folder = record.FOLDER if results is None else results
    path, day = _day(folder, f"{now:%Y-%m-%d}", this_machine())
    here = provenance.describe_program("", os.environ.get("BENCH_COMMIT"), "cpu", None)
    part = Question(
        title=title,
        how=how,
        notes=tuple(notes),
        measured=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        commit=here.git_commit,
        dirty=here.git_dirty,
        python=here.python,
        libraries=provenance.list_library_versions(LIBRARIES),
        arms={name: _side(taken) for name, taken in samples.items()},
        targets=tuple(Goal(**asdict(target)) for target in targets),
    )
    for goal in part.targets:
        record.reached(goal, part.arms)
    folder.mkdir(parents=True, exist_ok=True)
    records.write_atomically(path, records.encode_indented(replace(day, questions={**day.questions, question: part})))
    return path


def _day(folder: Path, date: str, machine: Machine) -> tuple[Path, Day]:
    """The day's file of this very machine, and what it holds already."""
    for name in (machine.name, f"{machine.name}-{machine.cores}-cores"):
        path = folder / f"{date}-{name}.json"
        if not path.is_file():
            return path, Day(date, replace(machine, name=name), {})
        day = record.read(path)
        there = day.machine
        if (there.processor, there.cores, there.gpus) == (machine.processor, machine.cores, machine.gpus):
            return path, day
    raise BenchError(f"{path} is of another machine", "name this one by BENCH_MACHINE")


def this_machine() -> Machine:
    """This machine, called BENCH_MACHINE, else by its GPUs, else by its cores."""
    gpus = _gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = os.environ.get("BENCH_MACHINE") or _called(gpus) or f"{cores}-cores"
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    return Machine(name, provenance.find_processor_name(), cores or 1, round(total, 1), gpus)


def _side(taken: Sequence[Mapping[str, float]]) -> Side:
    """Measures that every sample has, with their spread."""
    shared = [name for name in taken[0] if all(name in sample for sample in taken)]
    columns = {name: [sample[name] for sample in taken] for name in shared}
    spreads = {name: Spread(statistics.median(column), min(column), max(column)) for name, column in columns.items()}
    return Side(tuple(dict(sample) for sample in taken), spreads)


def _gpus() -> tuple[str, ...]:
    """Name and driver of each GPU that CUDA_VISIBLE_DEVICES leaves, as the driver's own tool tells."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    ids = [] if chosen is None else [f"--id={chosen}"]
    query = [tool, *ids, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    return tuple(line.replace(", ", ", driver ") for line in answer.stdout.splitlines() if ", " in line)


def _called(gpus: Sequence[str]) -> str | None:
    """Such as 2x-nvidia-h100-80gb-hbm3."""
    if not gpus:
        return None
    slug = re.sub(r"[^a-z0-9]+", "-", gpus[0].partition(",")[0].lower()).strip("-")
    return f"{len(gpus)}x-{slug}" if len(gpus) > 1 else slug
