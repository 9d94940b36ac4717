"""Renders docs/performance.md from the results kept here: `python -m benchmarks.render`, with --check to compare."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import records
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation.provenance import REPOSITORY_ROOT

from benchmarks import record
from benchmarks.record import Day, Goal, Machine, Question, Side, Spread

PAGE = REPOSITORY_ROOT / "docs" / "performance.md"
OPENING = """\
# Performance

A figure is the median of its repetitions with the least and the most of them in brackets. Where a section says nothing
else, the arms ran side by side, in turns on one machine. A ratio is one median over another, in brackets the ratios
round by round.
Each names its machine, and figures of two machines are not to be compared.
`make benchmarks` measures what a CPU can tell, `benchmarks/gpu.sh` what takes a GPU, `python -m benchmarks.NAME` one
question; results go to `benchmarks/results/`, from which `python -m benchmarks.render` makes this page.
"""
_NOTHING = "Nothing has been measured yet.\n"


@dataclass(frozen=True, slots=True)
class Told:
    """One question as the page tells it.

    Attributes:
        name: of its file here.
        machine: that measured it.
        question: what came out.
    """

    name: str
    machine: Machine
    question: Question


def main(words: Sequence[str] | None = None) -> int:
    """Write the page, or say whether it is what the results give: 1 where it is not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is another")
    parser.add_argument("--results", type=Path, default=record.FOLDER, metavar="DIR", help="where the results lie")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="the page")
    asked = parser.parse_args(words)
    try:
        rendered = page(asked.results)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    there = asked.page.read_bytes() if asked.page.is_file() else b""
    if asked.check and there != rendered:
        sys.stderr.write(f"{asked.page.name} is not what the results give: python -m benchmarks.render\n")
        return 1
    if not asked.check:
        records.write_atomically(asked.page, rendered)
    return 0


def page(results: Path) -> bytes:
    """The page that a folder of results gives.

    Raises:
        BenchError: a file that is no file of results.
    """
    found = newest(record.read(path) for path in sorted(results.glob("*.json")))
    parts = [OPENING, _targets(found), *map(_section, found)] if found else [OPENING, _NOTHING]
    return "\n".join(parts).encode()


def newest(days: Iterable[Day]) -> list[Told]:
    """Of each question and machine what was measured last, sorted by question and machine."""
    last: dict[tuple[str, str], Told] = {}
    for day in days:
        for name, question in day.questions.items():
            key = name, day.machine.name
            if key not in last or last[key].question.measured < question.measured:
                last[key] = Told(name, day.machine, question)
    return [last[key] for key in sorted(last)]


def _targets(found: Sequence[Told]) -> str:
    head = ("question", "machine", "measured", "beside", "to reach", "measured value", "reached")
    rows = [row for told in found for row in _reached(told)]
    return f"## Targets\n\n{_table(head, rows)}"


def _reached(told: Told) -> Iterator[tuple[str, ...]]:
    for goal in told.question.targets:
        came = record.reached(goal, told.question.arms)
        yield (
            told.question.title,
            told.machine.name,
            f"{_words(goal.measure)} of {goal.ours}",
            "" if goal.theirs is None else goal.theirs,
            _bound(goal),
            _spread(Spread(came.value, came.least, came.most)),
            "yes" if came.yes else "**no**",
        )


def _bound(goal: Goal) -> str:
    return f"at most {goal.at_most:g}" if goal.at_most is not None else f"at least {goal.at_least:g}"


def _section(told: Told) -> str:
    """What was run, on what, and what each arm took."""
    asked = told.question
    libraries = ", ".join(f"{name} {version}" for name, version in asked.libraries.items())
    commit = f" at `{asked.commit[:7]}`{' with changes' if asked.dirty else ''}" if asked.commit else ""
    where = f"{_machine(told.machine)}. {asked.measured[:10]}, bench{commit}, Python {asked.python}; {libraries}."
    lines = [f"## {asked.title}: {told.machine.name}", where, asked.how, _arms(asked.arms).rstrip("\n")]
    if (PAGE.parent / f"{told.name}.svg").is_file():
        lines.append(f"![{asked.title}: what each process does, over time]({told.name}.svg)")
    lines += [f"- {note}" for note in asked.notes]
    script = f"`python -m benchmarks.{told.name}`"
    return "\n\n".join([*lines, f"Measured by {script}."]) + "\n"


def _machine(machine: Machine) -> str:
    gpus = f"; {len(machine.gpus)} x {machine.gpus[0]}" if machine.gpus else ""
    memory = f", {machine.memory_gib:g} GiB of memory" if machine.memory_gib is not None else ""
    return f"{machine.processor}, {machine.cores} cores{memory}{gpus}"


def _arms(arms: Mapping[str, Side]) -> str:
    measures = list(dict.fromkeys(name for side in arms.values() for name in side.measures))
    rows = [
        (name, str(len(side.samples)), *(_spread(side.measures.get(measure)) for measure in measures))
        for name, side in arms.items()
    ]
    return _table(("arm", "repetitions", *map(_words, measures)), rows)


def _spread(spread: Spread | None) -> str:
    """Median and, where they differ, least and most."""
    if spread is None:
        return ""
    if spread.least == spread.most:
        return _number(spread.median)
    return f"{_number(spread.median)} [{_number(spread.least)}, {_number(spread.most)}]"


def _number(value: float) -> str:
    """Three figures that mean something, no power of ten."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else (f"{value:.2f}" if size >= 1 else f"{value:.3f}")


def _words(measure: str) -> str:
    return measure.replace("_", " ").replace("gib", "GiB")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
