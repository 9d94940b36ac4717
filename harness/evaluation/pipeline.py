"""Score models one after another through one engine: generate what is not yet answered, grade, keep, add the row."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from baseline_bench.core import plugins, records
from baseline_bench.core.child_process import ChildProcess
from baseline_bench.core.contracts import Generator
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.findings import Finding
from baseline_bench.core.options import parse_options
from baseline_bench.core.types import Model, Value
from baseline_bench.engines.multi_gpu import fleet
from baseline_bench.engines.multi_gpu.fleet import MultiGpuStarter
from baseline_bench.evaluation import (
    entry_builder,
    evaluate,
    plan,
    provenance,
    reload_reference,
    runs,
    solution_likelihood,
)
from baseline_bench.evaluation.engine_reuse import LoadInfo, ReferenceLogprobs, ReusableEngine
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions, TaskPlan
from baseline_bench.results import answers, entries
from baseline_bench.results.candidate import LOSS_FILE
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry

_REFERENCE_FUNCTION = "baseline_bench.evaluation.reload_reference:measure_in_child"
Render = Callable[[Path], object]  # brings the pages of a leaderboards' folder up to date


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """A finished row: the entry, its file on the board, the run's folder, and what the checks noticed."""

    entry: Entry
    path: Path
    folder: Path
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlyProcesses:
    """Processes that load their libraries before there is anything for them.

    Attributes:
        start: the engine's; None where it runs in this one.
        reference: of what a reload is held to; None where nothing will be reloaded.
    """

    start: MultiGpuStarter | None = None
    reference: ChildProcess | None = None


@contextmanager
def start_early(
    options: ScoringOptions, asked: TaskPlan, console: Console, models: int = 1
) -> Iterator[EarlyProcesses]:
    """What can begin while the models are still looked for; processes that nobody needed are ended.

    Args:
        options: what is scored.
        asked: of every model.
        console: where to warn.
        models: how many there will be.
    """
    start = fleet.build_starter(asked.engine, asked.options, options.gpus, len(asked.problems[1]), console.warn)
    if start is None:
        yield EarlyProcesses()
        return
    with ExitStack() as processes:
        processes.callback(start.close)
        start.begin()
        reference = None
        if models > 1 and _supports_reload(asked.engine):
            reference = processes.enter_context(ChildProcess(_REFERENCE_FUNCTION))
        yield EarlyProcesses(start, reference)


def evaluate_plans(
    seats: Sequence[EvaluationPlan], console: Console, began: float, render: Render, ahead: EarlyProcesses | None = None
) -> list[EvaluationResult]:
    """Score every seat; a run that was finished before is reported and not repeated.

    All seats ask the same engine with the same options. It is started once, where the first answer is wanted, and goes
    from model to model by reloading weights where that can be proved; on several GPUs it is one process on each.

    Args:
        seats: the models, the base first.
        console: where to talk.
        began: when the command began, so that preparing is counted.
        render: brings the pages of the leaderboards' folder up to date, after every entry.
        ahead: the processes that were begun before.
    """
    folders = [plan.choose_run_folder(seat) for seat in seats]
    phases = {"prepare": (perf_counter() - began) / len(seats)}
    waiting = [seat for seat, folder in zip(seats, folders, strict=True) if not (folder / "entry.json").is_file()]
    warm = EnginePool(waiting, console, ahead)
    try:
        pairs = zip(seats, folders, strict=True)
        return [_evaluate_plan(seat, folder, warm, dict(phases), console, render) for seat, folder in pairs]
    finally:
        warm.close()


class EnginePool:
    """The engine of all seats, not started before it is needed.

    Attributes:
        most: so many engines at most share the questions; None has as many as there are GPUs for.
    """

    most: int | None = None

    def __init__(self, seats: Sequence[EvaluationPlan], console: Console, ahead: EarlyProcesses | None = None) -> None:
        self._seats = seats
        self._screen = console
        self._start = None if ahead is None else ahead.start
        self._reference = None if ahead is None else ahead.reference
        self._warm: ReusableEngine | None = None

    def generator(self, seat: EvaluationPlan) -> tuple[Generator, LoadInfo]:
        """A generator that holds the seat's weights."""
        if self._warm is None:
            chosen = parse_options(
                plugins.load_engine(seat.engine).Options, seat.options.options, f"engine {seat.engine}"
            )
            sequences = reload_reference.build_probe_sequences(seat.speech)
            load = self._load(seat, chosen)
            self._warm = ReusableEngine(load, chosen, self._references(sequences), sequences, self._screen.say)
        self._screen.say(f"engine {seat.engine}: loading {seat.model.name}")
        return self._warm.generator(seat.model)

    def close(self) -> None:
        """Give the memory back."""
        if self._warm is not None:
            self._warm.close()
        if self._start is not None:
            self._start.close()

    def _load(self, seat: EvaluationPlan, chosen: Any) -> Callable[[Model, Any], Generator]:
        """What starts the engine: in this process, in one of its own, or one on each of several GPUs."""
        if self._start is None:
            most = self.most or max(len(each.exam.requests) for each in self._seats)
            self._start = fleet.build_starter(seat.engine, chosen, seat.options.gpus, most, self._screen.warn)
        if self._start is None:
            return plugins.load_engine(seat.engine).load
        # It loads its libraries while the references are made.
        self._start.begin()
        return self._start.load

    def _references(self, sequences: Sequence[Sequence[int]]) -> Mapping[str, ReferenceLogprobs]:
        """What each model's own weights make of the probes, found before the engine takes the memory."""
        # The probe's ids are those of one tokenizer; a model with another is loaded anew.
        kin = [seat for seat in self._seats if seat.speech.tokenizer_sha256 == self._seats[0].speech.tokenizer_sha256]
        places = {seat.model.weights_sha256: seat.model.folder for seat in kin if seat.model.weights_sha256}
        if len(places) < 2 or not _supports_reload(self._seats[0].engine):
            return {}
        self._screen.say(f"references of {len(places)} models, to prove what the engine will hold")
        asked = {"folders": [str(folder) for folder in places.values()], "sequences": sequences, "dtype": "bfloat16"}
        with self._reference or ChildProcess(_REFERENCE_FUNCTION) as reference:
            found = reference.ask(asked)["references"]
        return {digest: ReferenceLogprobs.of(**told) for digest, told in zip(places, found, strict=True)}


def _supports_reload(engine: str) -> bool:
    return bool(getattr(plugins.load_engine(engine), "RELOADS", False))


def _evaluate_plan(
    seat: EvaluationPlan, folder: Path, engine: EnginePool, phases: dict[str, float], console: Console, render: Render
) -> EvaluationResult:
    with runs.Run(folder, seat.settings) as run:
        done = folder / "entry.json"
        if done.is_file():
            console.say(f"{folder} was finished before; --again scores anew")
            entry, committed = (
                entries.read_entry(done),
                entry_builder.commit_completions(seat.exam.problems, run.finished, seat),
            )
            path = add_to_board(
                entry, committed, folder, seat.options.leaderboards, render, _read_training_losses(seat)
            )
            return EvaluationResult(entry, path, folder, (*seat.findings, *answers.find_degenerate_answers(committed)))
        runs.write_problems(folder, seat.exam.problems)
        tokens, answered = 0, len(run.finished) == len(seat.exam.problems)
        if not answered or _needs_solutions(seat, folder):
            try:
                tokens, timed = generate_completions(seat, run, engine, console, measure=True)
                phases |= timed
            except BenchError as error:
                if not answered or isinstance(error, NotFiniteError):
                    raise
                console.warn(f"{solution_likelihood.WITHOUT_SOLUTIONS}: {error.what} ({error.way_out})")
        return _store_result(seat, run, phases, tokens, console, render)


def generate_completions(
    seat: EvaluationPlan, run: runs.Run, engine: EnginePool, console: Console, *, measure: bool = False
) -> tuple[int, dict[str, float]]:
    """Generate what the run lacks: (tokens generated, seconds to load or reload, to prove and to generate).

    Args:
        seat: the model before its exam.
        run: held by this process.
        engine: of all seats.
        console: where to talk.
        measure: then measure the solutions too, after the last answer, so that no answer is touched by it.
    """
    generator, how = engine.generator(seat)
    run.confirm(_collect_resolved_settings(generator, how))
    evaluate.require_context(seat.exam, generator.context)
    loaded = perf_counter()
    with console.progress(seat.model.name, len(seat.exam.requests)) as bar:
        tokens = evaluate.generate_completions(seat.exam, generator, run, seat.speech, lambda p: bar(p.done, p.tokens))
    spent = {"load": how.load, "reload": how.reload, "proof": how.proof}
    told = {name: seconds for name, seconds in spent.items() if seconds is not None}
    told["generate"] = perf_counter() - loaded
    if measure and _needs_solutions(seat, run.folder):
        generated = perf_counter()
        if solution_likelihood.measure_solutions(seat.exam, seat.speech, generator, run.folder, console):
            told["solutions"] = perf_counter() - generated
    return tokens, told


def _needs_solutions(seat: EvaluationPlan, folder: Path) -> bool:
    return solution_likelihood.is_missing(folder, seat.engine, seat.options.options)


def _collect_resolved_settings(generator: Generator, how: LoadInfo) -> dict[str, Value]:
    """What the engine made of its options, and the hardware: a resumed run must meet all of it again."""
    device, driver = provenance.describe_hardware(str(generator.settings.get("device", "cpu")))
    found = {f"library {name}": version for name, version in provenance.list_library_versions().items()}
    used = {f"setting {name}": value for name, value in generator.settings.items()}
    path = {runs.WEIGHTS_SETTING: how.path} if how.path != "loaded" else {}
    return {"version": generator.version, "hardware": device, "driver": driver, **found, **used, **path}


def _store_result(
    seat: EvaluationPlan, run: runs.Run, phases: dict[str, float], tokens: int, console: Console, render: Render
) -> EvaluationResult:
    """Grade, and write verdicts, completions and entry; the entry appears last and whole."""
    began = perf_counter()
    exam = seat.exam
    verdicts = evaluate.judge_completions(exam.task, exam.problems, run.finished)
    runs.write_judgements(run.folder, verdicts)
    committed = entry_builder.commit_completions(exam.problems, run.finished, seat)
    resolved = runs.read_json(run.folder / "engine.json")
    phases["grade"] = perf_counter() - began
    noticed = answers.find_degenerate_answers(committed)
    for one in noticed:
        console.warn(f"{seat.model.name}: [{one.code}] {one.message}")
    seat = replace(seat, findings=(*seat.findings, *noticed))
    result = entry_builder.build_result(
        seat, verdicts, committed, resolved, solution_likelihood.read_summary(run.folder)
    )
    entry = entry_builder.build_entry(result, entry_builder.build_timings(exam, committed, phases, tokens))
    path = add_to_board(entry, committed, run.folder, seat.options.leaderboards, render, _read_training_losses(seat))
    return EvaluationResult(entry, path, run.folder, seat.findings)


def add_to_board(
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
    measured = solution_likelihood.read_lines(entry, run)
    with runs.explaining_write_errors(run):
        records.write_atomically(run / "entry.json", records.encode_indented(entry))
        if losses is not None:
            records.write_atomically(run / LOSS_FILE, losses)
    with runs.explaining_write_errors(leaderboards):
        leaderboards.mkdir(parents=True, exist_ok=True)
        lock = runs.lock_folder(leaderboards, wait=True)
        try:
            path = entries.write_entry(entry, committed, leaderboards / entry.result.task.name, losses, measured)
            render(leaderboards)
        finally:
            os.close(lock)
    return path


def read_losses(run: Path) -> bytes | None:
    """The loss history that a run keeps of its weights, or None."""
    path = run / LOSS_FILE
    return path.read_bytes() if path.is_file() else None


def _read_training_losses(seat: EvaluationPlan) -> bytes | None:
    """The history beside the folder of weights that a training wrote."""
    trained = seat.training is not None and seat.training.candidate is not None
    return read_losses(seat.model.folder.parent) if trained else None
