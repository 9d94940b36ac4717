"""What a benchmark leaves behind: one file a day and machine, one part a question, read back strictly."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import records, untrusted

FOLDER = Path(__file__).resolve().parent / "results"
_WAY_OUT = "measure anew, or restore the file"


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured; no host name, no path.

    Attributes:
        name: as the file is called, such as "2-cores" or "2x-nvidia-h100-80gb-hbm3".
        processor: as its maker calls it.
        cores: that this process may use.
        memory_gib: of main memory; None where the system does not tell.
        gpus: name and driver of each.
    """

    name: str
    processor: str
    cores: int
    memory_gib: float | None
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """A target, as it was when it was measured; fields as in `measuring.Target`."""

    measure: str
    ours: str
    theirs: str | None
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """One measure of one arm over all repetitions."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Side:
    """One arm: its repetitions in the order they ran, and each measure's spread."""

    samples: tuple[Mapping[str, float], ...]
    measures: Mapping[str, Spread]


@dataclass(frozen=True, slots=True)
class Question:
    """One comparison.

    Attributes:
        title: of its section.
        how: it was measured, in sentences.
        notes: what else is to be known, profiles of what missed its target among it.
        measured: the time it ended, UTC.
        commit: of this program; None where nobody knows.
        dirty: whether it had uncommitted changes.
        python: the version of the interpreter.
        libraries: the versions of what was installed.
        arms: by name, in the order they ran.
        targets: what was to be reached.
    """

    title: str
    how: str
    notes: tuple[str, ...]
    measured: str
    commit: str | None
    dirty: bool | None
    python: str
    libraries: Mapping[str, str]
    arms: Mapping[str, Side]
    targets: tuple[Goal, ...]


@dataclass(frozen=True, slots=True)
class Day:
    """One file: what one machine measured on one day."""

    date: str
    machine: Machine
    questions: Mapping[str, Question]


@dataclass(frozen=True, slots=True)
class Reached:
    """A target held against what was measured.

    Attributes:
        value: the ratio of the medians, or the median itself where there is nothing to divide by.
        least: over the repetitions, each divided by the peer's of the same round.
        most: likewise.
        yes: whether the value is within the bound.
    """

    value: float
    least: float
    most: float
    yes: bool


def read(path: Path) -> Day:
    """One file of results.

    Raises:
        BenchError: it is none.
    """
    return records.decode_record(Day, untrusted.read_json(path, _WAY_OUT), path.name, _WAY_OUT)


def reached(goal: Goal, arms: Mapping[str, Side]) -> Reached:
    """How near the measured values came to a target."""
    ours = arms[goal.ours]
    mine = [sample[goal.measure] for sample in ours.samples]
    value = ours.measures[goal.measure].median
    if goal.theirs is not None:
        theirs = arms[goal.theirs]
        value /= theirs.measures[goal.measure].median
        mine = [mark / sample[goal.measure] for mark, sample in zip(mine, theirs.samples, strict=True)]
    low = goal.at_least is None or value >= goal.at_least
    high = goal.at_most is None or value <= goal.at_most
    return Reached(value, min(mine), max(mine), low and high)
