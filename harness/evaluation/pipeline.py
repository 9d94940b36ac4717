"""Score models one after another through one engine: generate what is not yet answered, grade, keep, add the row."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from baseline_bench.core import options, plugins, records
from baseline_bench.core.child_process import Stage
from baseline_bench.core.contracts import Generator
from baseline_bench.core.display import Screen
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.findings import Finding
from baseline_bench.core.types import Model, Value
from baseline_bench.engines.multi_gpu import fleet
from baseline_bench.engines.multi_gpu.fleet import Start
from baseline_bench.evaluation import (
    entry_builder,
    evaluate,
    plan,
    provenance,
    reload_reference,
    runs,
    solution_likelihood,
)
from baseline_bench.evaluation.engine_reuse import How, Reference, Warm
from baseline_bench.evaluation.plan import Asked, Order, Sitting
from baseline_bench.results import answers, entries
from baseline_bench.results.candidate import LOSSES
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry

_REFERENCE = "baseline_bench.evaluation.reload_reference:work"
Render = Callable[[Path], object]  # brings the pages of a leaderboards' folder up to date


@dataclass(frozen=True, slots=True)
class Scored:
    """A finished row: the entry, its file on the board, the run's folder, and what the checks noticed."""

    entry: Entry
    path: Path
    folder: Path
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Ahead:
    """Processes that load their libraries before there is anything for them.

    Attributes:
        start: the engine's; None where it runs in this one.
        reference: of what a reload is held to; None where nothing will be reloaded.
    """

    start: Start | None = None
    reference: Stage | None = None


@contextmanager
def begun(order: Order, asked: Asked, screen: Screen, models: int = 1) -> Iterator[Ahead]:
    """What can begin while the models are still looked for; processes that nobody needed are ended.

    Args:
        order: what is scored.
        asked: of every model.
        screen: where to warn.
        models: how many there will be.
    """
    start = fleet.start(asked.engine, asked.options, order.gpus, len(asked.problems[1]), screen.warn)
    if start is None:
        yield Ahead()
        return
    with ExitStack() as processes:
        processes.callback(start.close)
        start.begin()
        reference = None
        if models > 1 and _reloads(asked.engine):
            reference = processes.enter_context(Stage(_REFERENCE))
        yield Ahead(start, reference)


def score(
    seats: Sequence[Sitting], screen: Screen, began: float, render: Render, ahead: Ahead | None = None
) -> list[Scored]:
    """Score every seat; a run that was finished before is reported and not repeated.

    All seats ask the same engine with the same options. It is started once, where the first answer is wanted, and goes
    from model to model by reloading weights where that can be proved; on several GPUs it is one process on each.

    Args:
        seats: the models, the base first.
        screen: where to talk.
        began: when the command began, so that preparing is counted.
        render: brings the pages of the leaderboards' folder up to date, after every entry.
        ahead: the processes that were begun before.
    """
    folders = [plan.folder(seat) for seat in seats]
    phases = {"prepare": (perf_counter() - began) / len(seats)}
    waiting = [seat for seat, folder in zip(seats, folders, strict=True) if not (folder / "entry.json").is_file()]
    warm = Engine(waiting, screen, ahead)
    try:
        pairs = zip(seats, folders, strict=True)
        return [_one(seat, folder, warm, dict(phases), screen, render) for seat, folder in pairs]
    finally:
        warm.close()


class Engine:
    """The engine of all seats, not started before it is needed.

    Attributes:
        most: so many engines at most share the questions; None has as many as there are GPUs for.
    """

    most: int | None = None

    def __init__(self, seats: Sequence[Sitting], screen: Screen, ahead: Ahead | None = None) -> None:
        self._seats = seats
        self._screen = screen
        self._start = None if ahead is None else ahead.start
        self._reference = None if ahead is None else ahead.reference
        self._warm: Warm | None = None

    def generator(self, seat: Sitting) -> tuple[Generator, How]:
        """A generator that holds the seat's weights."""
        if self._warm is None:
            chosen = options.parse(plugins.engine(seat.engine).Options, seat.order.options, f"engine {seat.engine}")
            sequences = reload_reference.sequences(seat.speech)
            load = self._load(seat, chosen)
            self._warm = Warm(load, chosen, self._references(sequences), sequences, self._screen.say)
        self._screen.say(f"engine {seat.engine}: loading {seat.model.name}")
        return self._warm.generator(seat.model)

    def close(self) -> None:
        """Give the memory back."""
        if self._warm is not None:
            self._warm.close()
        if self._start is not None:
            self._start.close()

    def _load(self, seat: Sitting, chosen: Any) -> Callable[[Model, Any], Generator]:
        """What starts the engine: in this process, in one of its own, or one on each of several GPUs."""
        if self._start is None:
            most = self.most or max(len(each.exam.requests) for each in self._seats)
            self._start = fleet.start(seat.engine, chosen, seat.order.gpus, most, self._screen.warn)
        if self._start is None:
            return plugins.engine(seat.engine).load
        # It loads its libraries while the references are made.
        self._start.begin()
        return self._start.load

    def _references(self, sequences: Sequence[Sequence[int]]) -> Mapping[str, Reference]:
        """What each model's own weights make of the probes, found before the engine takes the memory."""
        # The probe's ids are those of one tokenizer; a model with another is loaded anew.
        kin = [seat for seat in self._seats if seat.speech.tokenizer_sha256 == self._seats[0].speech.tokenizer_sha256]
        places = {seat.model.weights_sha256: seat.model.folder for seat in kin if seat.model.weights_sha256}
        if len(places) < 2 or not _reloads(self._seats[0].engine):
            return {}
        self._screen.say(f"references of {len(places)} models, to prove what the engine will hold")
        asked = {"folders": [str(folder) for folder in places.values()], "sequences": sequences, "dtype": "bfloat16"}
        with self._reference or Stage(_REFERENCE) as reference:
            found = reference.ask(asked)["references"]
        return {digest: Reference.of(**told) for digest, told in zip(places, found, strict=True)}


def _reloads(engine: str) -> bool:
    return bool(getattr(plugins.engine(engine), "RELOADS", False))


def _one(
    seat: Sitting, folder: Path, engine: Engine, phases: dict[str, float], screen: Screen, render: Render
) -> Scored:
    with runs.Run(folder, seat.settings) as run:
        done = folder / "entry.json"
        if done.is_file():
            screen.say(f"{folder} was finished before; --again scores anew")
            entry, committed = entries.read(done), entry_builder.committed(seat.exam.problems, run.finished, seat)
            path = add(entry, committed, folder, seat.order.leaderboards, render, _losses(seat))
            return Scored(entry, path, folder, (*seat.findings, *answers.findings(committed)))
        runs.write_problems(folder, seat.exam.problems)
        tokens, answered = 0, len(run.finished) == len(seat.exam.problems)
        if not answered or _lacks_solutions(seat, folder):
            try:
                tokens, timed = generate(seat, run, engine, screen, measure=True)
                phases |= timed
            except BenchError as error:
                if not answered or isinstance(error, NotFiniteError):
                    raise
                screen.warn(f"{solution_likelihood.WITHOUT}: {error.what} ({error.way_out})")
        return _keep(seat, run, phases, tokens, screen, render)


def generate(
    seat: Sitting, run: runs.Run, engine: Engine, screen: Screen, *, measure: bool = False
) -> tuple[int, dict[str, float]]:
    """Generate what the run lacks: (tokens generated, seconds to load or reload, to prove and to generate).

    Args:
        seat: the model before its exam.
        run: held by this process.
        engine: of all seats.
        screen: where to talk.
        measure: then measure the solutions too, after the last answer, so that no answer is touched by it.
    """
    generator, how = engine.generator(seat)
    run.confirm(_resolved(generator, how))
    evaluate.fits(seat.exam, generator.context)
    loaded = perf_counter()
    with screen.progress(seat.model.name, len(seat.exam.requests)) as bar:
        tokens = evaluate.generate(seat.exam, generator, run, seat.speech, lambda p: bar(p.done, p.tokens))
    spent = {"load": how.load, "reload": how.reload, "proof": how.proof}
    told = {name: seconds for name, seconds in spent.items() if seconds is not None}
    told["generate"] = perf_counter() - loaded
    if measure and _lacks_solutions(seat, run.folder):
        generated = perf_counter()
        if solution_likelihood.measure(seat.exam, seat.speech, generator, run.folder, screen):
            told["solutions"] = perf_counter() - generated
    return tokens, told


def _lacks_solutions(seat: Sitting, folder: Path) -> bool:
    return solution_likelihood.lacking(folder, seat.engine, seat.order.options)


def _resolved(generator: Generator, how: How) -> dict[str, Value]:
    """What the engine made of its options, and the hardware: a resumed run must meet all of it again."""
    device, driver = provenance.hardware(str(generator.settings.get("device", "cpu")))
    found = {f"library {name}": version for name, version in provenance.libraries().items()}
    used = {f"setting {name}": value for name, value in generator.settings.items()}
    path = {runs.PATH: how.path} if how.path != "loaded" else {}
    return {"version": generator.version, "hardware": device, "driver": driver, **found, **used, **path}


def _keep(
    seat: Sitting, run: runs.Run, phases: dict[str, float], tokens: int, screen: Screen, render: Render
) -> Scored:
    """Grade, and write verdicts, completions and entry; the entry appears last and whole."""
    began = perf_counter()
    exam = seat.exam
    verdicts = evaluate.grade(exam.task, exam.problems, run.finished)
    runs.write_verdicts(run.folder, verdicts)
    committed = entry_builder.committed(exam.problems, run.finished, seat)
    resolved = runs.read_json(run.folder / "engine.json")
    phases["grade"] = perf_counter() - began
    noticed = answers.findings(committed)
    for one in noticed:
        screen.warn(f"{seat.model.name}: [{one.code}] {one.message}")
    seat = replace(seat, findings=(*seat.findings, *noticed))
    result = entry_builder.result(seat, verdicts, committed, resolved, solution_likelihood.kept(run.folder))
    entry = entry_builder.entry(result, entry_builder.timings(exam, committed, phases, tokens))
    path = add(entry, committed, run.folder, seat.order.leaderboards, render, _losses(seat))
    return Scored(entry, path, run.folder, seat.findings)


def add(
    entry: Entry,
    committed: Sequence[CommittedCompletion],
    run: Path,
    leaderboards: Path,
    render: Render,
    losses: bytes | None = None,
) -> Path:
    """Let the run remember its entry, so that it never makes a second one, then add it to its board and pages.

    Raises:
        BenchError: the run has lost lines that the entry names.
    """
    measured = solution_likelihood.beside(entry, run)
    with runs.writing(run):
        records.replace_file(run / "entry.json", records.pretty(entry))
        if losses is not None:
            records.replace_file(run / LOSSES, losses)
    with runs.writing(leaderboards):
        leaderboards.mkdir(parents=True, exist_ok=True)
        lock = runs.held(leaderboards, wait=True)
        try:
            path = entries.write(entry, committed, leaderboards / entry.result.task.name, losses, measured)
            render(leaderboards)
        finally:
            os.close(lock)
    return path


def losses_of(run: Path) -> bytes | None:
    """The loss history that a run keeps of its weights, or None."""
    path = run / LOSSES
    return path.read_bytes() if path.is_file() else None


def _losses(seat: Sitting) -> bytes | None:
    """The history beside the folder of weights that a training wrote."""
    trained = seat.training is not None and seat.training.candidate is not None
    return losses_of(seat.model.folder.parent) if trained else None
