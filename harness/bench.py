"""The stories of scoring: which steps, in which order, and what is kept after each."""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from harness import completions, entries, evaluate, options, plugins, provenance, row, runs, sitting, summary
from harness.display import Screen
from harness.entries import Entry
from harness.errors import BenchError
from harness.sitting import Order, Sitting
from harness.types import Generator, Value


@dataclass(frozen=True, slots=True)
class Regrade:
    """A run to be judged again; `task` names the task's file where it is none of ours."""

    run: Path
    task: str | None


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
        summary.next_steps(order.leaderboards, order.task, screen)
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
    runs.write_verdicts(order.run, verdicts)
    summary.regraded(evaluate.score(verdicts), changed, order.run, screen)
    return 0


def _scored(order: Order, screen: Screen) -> tuple[Entry, Path, Path]:
    """Prepare, generate, grade, keep. A run that was finished before is reported and not repeated."""
    began = perf_counter()
    seat = sitting.prepare(order, screen)
    folder = sitting.folder(seat)
    with runs.Run(folder, seat.settings) as run:
        kept = _kept(folder)
        if kept is not None:
            screen.say(f"{folder} was finished before; --again scores anew")
            return (*kept, folder)
        runs.write_problems(folder, seat.exam.problems)
        phases = {"prepare": perf_counter() - began}
        tokens = 0
        if len(run.finished) < len(seat.exam.requests):
            tokens, timed = _generate(seat, run, screen)
            phases |= timed
        return (*_keep(seat, run, phases, tokens), folder)


def _kept(folder: Path) -> tuple[Entry, Path] | None:
    """The entry that a finished run left, where it still stands."""
    done = folder / "entry.json"
    path = Path(str(runs.read_json(done)["entry"])) if done.is_file() else None
    return (entries.read(path), path) if path is not None and path.is_file() else None


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
    return {"version": generator.version, "hardware": device, "driver": driver, **generator.settings}


def _keep(seat: Sitting, run: runs.Run, phases: dict[str, float], tokens: int) -> tuple[Entry, Path]:
    """Grade, and write verdicts, completions and entry; the entry appears last and whole."""
    began = perf_counter()
    exam = seat.exam
    verdicts = evaluate.grade(exam.task, exam.problems, run.finished)
    runs.write_verdicts(run.folder, verdicts)
    committed = [completions.commit(problem, run.finished[problem.id]) for problem in exam.problems]
    resolved = runs.read_json(run.folder / "engine.json")
    phases["grade"] = perf_counter() - began
    entry = row.entry(row.result(seat, verdicts, committed, resolved), row.timings(exam, committed, phases, tokens))
    with runs.writing(seat.order.leaderboards):
        path = entries.write(entry, committed, seat.order.leaderboards / entry.result.task.name)
        plugins.room("harness.leaderboard").write(seat.order.leaderboards)
    runs.write_json(run.folder / "entry.json", {"entry": str(path.resolve())})
    return entry, path
