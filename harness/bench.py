"""The stories of scoring: which steps, in which order, and what is kept after each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from harness import entries, evaluate, options, plugins, provenance, records, row, runs, sitting, summary
from harness.completions import CommittedCompletion
from harness.display import Screen
from harness.entries import Entry
from harness.errors import BenchError
from harness.sitting import Order, Sitting
from harness.types import Generator, Value


@dataclass(frozen=True, slots=True)
class Regrade:
    """A run to be judged again.

    Attributes:
        task: the task's file where it is none of ours.
        leaderboards: where the row with the new verdicts goes; None adds none.
    """

    run: Path
    task: str | None
    leaderboards: Path | None


def baseline(order: Order, screen: Screen) -> int:
    """Score a model and add its row."""
    entry, path, folder = _scored(order, screen)
    summary.announce(entry, path, folder, order.as_json, screen)
    return 0


def score(order: Order, screen: Screen) -> int:
    """Score a folder of weights and add its row."""
    if not Path(order.model).expanduser().is_dir():
        raise BenchError(f"no folder {order.model}", "give a folder of weights; `bench baseline` takes names")
    return baseline(order, screen)


def quickstart(order: Order, screen: Screen) -> int:
    """Score the embedded model on the embedded task, and print the board this makes and where to go from here."""
    baseline(order, screen)
    if not order.as_json:
        summary.next_steps(order.leaderboards, row.board(order.task), screen)
    return 0


def regrade(order: Regrade, screen: Screen) -> int:
    """Judge a run's answers again by the reader of today; neither model nor data set is needed.

    Raises:
        BenchError: the run is incomplete, or there is none.
    """
    problems, written = runs.read_problems(order.run), runs.read_completions(order.run)
    task = plugins.task(order.task or str(runs.read_json(order.run / "run.json")["settings"]["task"]))
    before = {verdict.problem_id: verdict for verdict in runs.read_verdicts(order.run)}
    verdicts = evaluate.grade(task, problems, written)
    changed = [v.problem_id for v in verdicts if v.problem_id in before and before[v.problem_id] != v]
    path = None
    if order.leaderboards is not None:
        entry = row.judged_again(entries.read(order.run / "entry.json"), task, verdicts)
        path = _add(entry, row.committed(problems, written), order.run, order.leaderboards)
    runs.write_verdicts(order.run, verdicts)
    summary.regraded(evaluate.score(verdicts), changed, path or order.run, screen)
    return 0


def _scored(order: Order, screen: Screen) -> tuple[Entry, Path, Path]:
    """Prepare, generate, grade, keep. A run that was finished before is reported and not repeated."""
    began = perf_counter()
    seat = sitting.prepare(order, screen)
    folder = sitting.folder(seat)
    with runs.Run(folder, seat.settings) as run:
        done = folder / "entry.json"
        if done.is_file():
            screen.say(f"{folder} was finished before; --again scores anew")
            entry, committed = entries.read(done), row.committed(seat.exam.problems, run.finished)
            return entry, _add(entry, committed, folder, order.leaderboards), folder
        runs.write_problems(folder, seat.exam.problems)
        phases = {"prepare": perf_counter() - began}
        tokens = 0
        if len(run.finished) < len(seat.exam.requests):
            tokens, timed = _generate(seat, run, screen)
            phases |= timed
        return (*_keep(seat, run, phases, tokens), folder)


def _generate(seat: Sitting, run: runs.Run, screen: Screen) -> tuple[int, dict[str, float]]:
    """(tokens generated, seconds to load and to generate)."""
    began = perf_counter()
    screen.say(f"engine {seat.engine}: loading {seat.model.name}")
    engine = plugins.engine(seat.engine)
    generator = engine.load(seat.model, options.parse(engine.Options, seat.order.options, f"engine {seat.engine}"))
    try:
        run.confirm(_resolved(generator))
        evaluate.fits(seat.exam, generator.context)
        loaded = perf_counter()
        with screen.progress(seat.exam.task.LABEL, len(seat.exam.requests)) as bar:
            stop_ids = seat.speech.manner.stop_ids
            tokens = evaluate.generate(seat.exam, generator, run, stop_ids, lambda p: bar(p.done, p.tokens))
        return tokens, {"load": loaded - began, "generate": perf_counter() - loaded}
    finally:
        generator.close()


def _resolved(generator: Generator) -> dict[str, Value]:
    """What the engine made of its options, and the hardware: a resumed run must meet all of it again."""
    device, driver = provenance.hardware(str(generator.settings.get("device", "cpu")))
    found = {f"library {name}": version for name, version in provenance.libraries().items()}
    used = {f"setting {name}": value for name, value in generator.settings.items()}
    return {"version": generator.version, "hardware": device, "driver": driver, **found, **used}


def _keep(seat: Sitting, run: runs.Run, phases: dict[str, float], tokens: int) -> tuple[Entry, Path]:
    """Grade, and write verdicts, completions and entry; the entry appears last and whole."""
    began = perf_counter()
    exam = seat.exam
    verdicts = evaluate.grade(exam.task, exam.problems, run.finished)
    runs.write_verdicts(run.folder, verdicts)
    committed = row.committed(exam.problems, run.finished)
    resolved = runs.read_json(run.folder / "engine.json")
    phases["grade"] = perf_counter() - began
    entry = row.entry(row.result(seat, verdicts, committed, resolved), row.timings(exam, committed, phases, tokens))
    return entry, _add(entry, committed, run.folder, seat.order.leaderboards)


def _add(entry: Entry, committed: Sequence[CommittedCompletion], run: Path, leaderboards: Path) -> Path:
    """Let the run remember its entry, so that it never makes a second one, then add it to its board and pages."""
    with runs.writing(run):
        records.replace_file(run / "entry.json", records.pretty(entry))
    with runs.writing(leaderboards):
        leaderboards.mkdir(parents=True, exist_ok=True)
        lock = runs.held(leaderboards, wait=True)
        try:
            path = entries.write(entry, committed, leaderboards / entry.result.task.name)
            plugins.room("harness.leaderboard").write(leaderboards)
        finally:
            os.close(lock)
    return path
