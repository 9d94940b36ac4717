"""Score models one after another with one engine: generate missing answers, grade them, store the entry."""

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
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.options import parse_options
from baseline_bench.core.types import Model, Value
from baseline_bench.engines.multi_gpu import distributed
from baseline_bench.engines.multi_gpu.distributed import MultiGpuStarter
from baseline_bench.evaluation import (
    entry_builder,
    evaluate,
    provenance,
    reload_reference,
    runs,
    solution_likelihood,
)
from baseline_bench.evaluation.engine_reuse import LoadInfo, ReferenceLogprobs, ReusableEngine
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions, TaskPlan, choose_run_folder
from baseline_bench.results import answers, entries
from baseline_bench.results.candidate import LOSS_FILE
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry

_REFERENCE_FUNCTION = "baseline_bench.evaluation.reload_reference:measure_in_child"
Render = Callable[[Path], object]  # updates the pages of a leaderboards' folder


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """A finished evaluation: the entry, its file on the board, the run's folder, and the findings."""

    entry: Entry
    path: Path
    folder: Path
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class EarlyProcesses:
    """Processes that load their libraries while the models are still being prepared.

    Attributes:
        start: starts the engine's processes; None if the engine runs in this process.
        reference: measures the references that verify a reload; None if nothing will be reloaded.
    """

    start: MultiGpuStarter | None = None
    reference: ChildProcess | None = None


@contextmanager
def start_early(
    options: ScoringOptions, task_plan: TaskPlan, console: Console, models: int = 1
) -> Iterator[EarlyProcesses]:
    """Start processes while the models are still being prepared; end those that were not needed.

    Args:
        options: what is scored.
        task_plan: shared by all models.
        console: for warnings.
        models: how many there will be.
    """
    start = distributed.build_starter(
        task_plan.engine, task_plan.options, options.gpus, len(task_plan.problems[1]), console.warn
    )
    if start is None:
        yield EarlyProcesses()
        return
    with ExitStack() as processes:
        processes.callback(start.close)
        start.begin()
        reference = None
        if models > 1 and _supports_reload(task_plan.engine):
            reference = processes.enter_context(ChildProcess(_REFERENCE_FUNCTION))
        yield EarlyProcesses(start, reference)


def evaluate_plans(
    plans: Sequence[EvaluationPlan],
    console: Console,
    start_time: float,
    render: Render,
    early_processes: EarlyProcesses | None = None,
) -> list[EvaluationResult]:
    """Score every plan; report a run that was finished before and do not repeat it.

    All plans use the same engine with the same options. It starts once, when the first answer is needed, and goes from
    model to model by reloading weights if the reload can be verified; on several GPUs it is one process on each.

    Args:
        plans: one per model, the base first.
        console: for messages and progress.
        start_time: when the command began, so that preparation is counted.
        render: updates the pages of the leaderboards' folder, after every entry.
        early_processes: processes that were started before.
    """
    folders = [choose_run_folder(plan) for plan in plans]
    phases = {"prepare": (perf_counter() - start_time) / len(plans)}
    waiting = [plan for plan, folder in zip(plans, folders, strict=True) if not (folder / "entry.json").is_file()]
    engine = EnginePool(waiting, console, early_processes)
    try:
        pairs = zip(plans, folders, strict=True)
        return [_evaluate_plan(plan, folder, engine, dict(phases), console, render) for plan, folder in pairs]
    finally:
        engine.close()


class EnginePool:
    """The engine of all plans, started when it is first needed.

    Attributes:
        most: the maximum number of engines that share the questions; None allows as many as there are GPUs for.
    """

    most: int | None = None

    def __init__(
        self, plans: Sequence[EvaluationPlan], console: Console, early_processes: EarlyProcesses | None = None
    ) -> None:
        self._seats = plans
        self._screen = console
        self._start = None if early_processes is None else early_processes.start
        self._reference = None if early_processes is None else early_processes.reference
        self._warm: ReusableEngine | None = None

    def generator(self, plan: EvaluationPlan) -> tuple[Generator, LoadInfo]:
        """Return a generator that holds the plan's weights."""
        if self._warm is None:
            engine_options = parse_options(
                plugins.load_engine(plan.engine).Options, plan.options.options, f"engine {plan.engine}"
            )
            sequences = reload_reference.build_probe_sequences(plan.speech)
            load = self._load(plan, engine_options)
            self._warm = ReusableEngine(load, engine_options, self._references(sequences), sequences, self._screen.say)
        self._screen.say(f"engine {plan.engine}: loading {plan.model.name}")
        return self._warm.generator(plan.model)

    def close(self) -> None:
        """End the engine and release its memory."""
        if self._warm is not None:
            self._warm.close()
        if self._start is not None:
            self._start.close()

    def _load(self, plan: EvaluationPlan, engine_options: Any) -> Callable[[Model, Any], Generator]:
        """Return what loads the engine: in this process, in one of its own, or in one on each of several GPUs."""
        if self._start is None:
            max_engines = self.most or max(len(each.exam.requests) for each in self._seats)
            self._start = distributed.build_starter(
                plan.engine, engine_options, plan.options.gpus, max_engines, self._screen.warn
            )
        if self._start is None:
            return plugins.load_engine(plan.engine).load
        # The engine loads its libraries while the references are measured.
        self._start.begin()
        return self._start.load

    def _references(self, sequences: Sequence[Sequence[int]]) -> Mapping[str, ReferenceLogprobs]:
        """Measure each model's log-probabilities of the probe sequences before the engine takes the memory."""
        # The probe's ids belong to one tokenizer; models with another tokenizer restart the engine.
        same_tokenizer = [
            plan for plan in self._seats if plan.speech.tokenizer_sha256 == self._seats[0].speech.tokenizer_sha256
        ]
        folders = {plan.model.weights_sha256: plan.model.folder for plan in same_tokenizer if plan.model.weights_sha256}
        if len(folders) < 2 or not _supports_reload(self._seats[0].engine):
            return {}
        self._screen.say(f"references of {len(folders)} models, to prove what the engine will hold")
        with self._reference or ChildProcess(_REFERENCE_FUNCTION) as reference:
            references = reference.ask((list(folders.values()), sequences, "bfloat16"))
        return dict(zip(folders, references, strict=True))


def _supports_reload(engine: str) -> bool:
    return bool(getattr(plugins.load_engine(engine), "RELOADS", False))


def _evaluate_plan(
    plan: EvaluationPlan, folder: Path, engine: EnginePool, phases: dict[str, float], console: Console, render: Render
) -> EvaluationResult:
    with runs.Run(folder, plan.settings) as run:
        done = folder / "entry.json"
        if done.is_file():
            console.say(f"{folder} was finished before; --again scores it again")
            entry, committed = (
                entries.read_entry(done),
                entry_builder.commit_completions(plan.exam.problems, run.finished, plan),
            )
            path = add_to_board(
                entry, committed, folder, plan.options.leaderboards, render, _read_training_losses(plan)
            )
            return EvaluationResult(entry, path, folder, (*plan.findings, *answers.find_answer_faults(committed)))
        runs.write_problems(folder, plan.exam.problems)
        tokens, answered = 0, len(run.finished) == len(plan.exam.problems)
        if not answered or _needs_solutions(plan, folder):
            try:
                tokens, timed = generate_completions(plan, run, engine, console, measure=True)
                phases |= timed
            except BenchError as error:
                if not answered or isinstance(error, NotFiniteError):
                    raise
                console.warn(f"{solution_likelihood.WITHOUT_SOLUTIONS}: {error.what} ({error.way_out})")
        return _store_result(plan, run, phases, tokens, console, render)


def generate_completions(
    plan: EvaluationPlan, run: runs.Run, engine: EnginePool, console: Console, *, measure: bool = False
) -> tuple[int, dict[str, float]]:
    """Generate the missing answers; return (tokens generated, seconds by phase: load, reload, proof, generate).

    Args:
        plan: the model and its prepared task.
        run: locked by this process.
        engine: of all plans.
        console: for progress.
        measure: also measure the solutions, after the last answer, so that measuring affects no answer.
    """
    generator, load_info = engine.generator(plan)
    run.confirm(_collect_resolved_settings(generator, load_info))
    evaluate.require_context(plan.exam, generator.context)
    loaded = perf_counter()
    with console.progress(plan.model.name, len(plan.exam.requests)) as bar:
        tokens = evaluate.generate_completions(plan.exam, generator, run, plan.speech, lambda p: bar(p.done, p.tokens))
    spent = {"load": load_info.load, "reload": load_info.reload, "proof": load_info.proof}
    seconds_by_phase = {name: seconds for name, seconds in spent.items() if seconds is not None}
    seconds_by_phase["generate"] = perf_counter() - loaded
    if measure and _needs_solutions(plan, run.folder):
        generated = perf_counter()
        if solution_likelihood.measure_solutions(plan.exam, plan.speech, generator, run.folder, console):
            seconds_by_phase["solutions"] = perf_counter() - generated
    return tokens, seconds_by_phase


def _needs_solutions(plan: EvaluationPlan, folder: Path) -> bool:
    return solution_likelihood.is_missing(folder, plan.engine, plan.options.options)


def _collect_resolved_settings(generator: Generator, load_info: LoadInfo) -> dict[str, Value]:
    """Collect the engine's resolved settings and the hardware; a resumed run must match all of them."""
    device, driver = provenance.describe_hardware(str(generator.settings.get("device", "cpu")))
    library_versions = {f"library {name}": version for name, version in provenance.list_library_versions().items()}
    engine_settings = {f"setting {name}": value for name, value in generator.settings.items()}
    load_path = {runs.WEIGHTS_SETTING: load_info.path} if load_info.path != "loaded" else {}
    return {
        "version": generator.version,
        "hardware": device,
        "driver": driver,
        **library_versions,
        **engine_settings,
        **load_path,
    }


def _store_result(
    plan: EvaluationPlan, run: runs.Run, phases: dict[str, float], tokens: int, console: Console, render: Render
) -> EvaluationResult:
    """Grade, then write judgements, completions and entry; the entry comes last and is written atomically."""
    start_time = perf_counter()
    prepared = plan.exam
    judgements = evaluate.judge_completions(prepared.task, prepared.problems, run.finished)
    runs.write_judgements(run.folder, judgements)
    committed = entry_builder.commit_completions(prepared.problems, run.finished, plan)
    resolved = runs.read_json(run.folder / "engine.json")
    phases["grade"] = perf_counter() - start_time
    noticed = answers.find_answer_faults(committed)
    for finding in noticed:
        console.warn(f"{plan.model.name}: [{finding.code}] {finding.message}")
    plan = replace(plan, findings=(*plan.findings, *noticed))
    result = entry_builder.build_result(
        plan, judgements, committed, resolved, solution_likelihood.read_summary(run.folder)
    )
    entry = entry_builder.build_entry(result, entry_builder.build_timings(prepared, committed, phases, tokens))
    path = add_to_board(entry, committed, run.folder, plan.options.leaderboards, render, _read_training_losses(plan))
    return EvaluationResult(entry, path, run.folder, plan.findings)


def add_to_board(
    entry: Entry,
    committed: Sequence[CommittedCompletion],
    run: Path,
    leaderboards: Path,
    render: Render,
    losses: bytes | None = None,
) -> Path:
    """Store the entry in the run, so that the run never creates a second one, then add it to its board and pages.

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
        with FolderLock(leaderboards, wait=True):
            path = entries.write_entry(entry, committed, leaderboards / entry.result.task.name, losses, measured)
            render(leaderboards)
    return path


def read_losses(run: Path) -> bytes | None:
    """Read the loss history of the run's weights, or None."""
    path = run / LOSS_FILE
    return path.read_bytes() if path.is_file() else None


def _read_training_losses(plan: EvaluationPlan) -> bytes | None:
    """Read the loss history next to the folder of weights that a training wrote, or None."""
    trained = plan.training is not None and plan.training.candidate is not None
    return read_losses(plan.model.folder.parent) if trained else None
