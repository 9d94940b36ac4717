"""Score models one after another with one engine: generate missing answers, grade them, store the entry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from baseline_bench.core import plugins, records, trace
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.findings import Finding
from baseline_bench.core.locks import FolderLock
from baseline_bench.evaluation import entry_builder, evaluate, provenance, runs, solution_likelihood
from baseline_bench.evaluation.engine_pool import EnginePool
from baseline_bench.evaluation.plan import EvaluationPlan
from baseline_bench.results import answers, entries
from baseline_bench.results.candidate import LOSS_FILE
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry
from baseline_bench.results.solutions import SOLUTIONS_FILE

Render = Callable[[Path], object]  # updates the pages of a leaderboards' folder


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """A finished evaluation: the entry, its file on the board, the run's folder, and the findings."""

    entry: Entry
    path: Path
    folder: Path
    findings: tuple[Finding, ...] = ()


def evaluate_plans(
    plans: Sequence[EvaluationPlan],
    engines: EnginePool,
    console: Console,
    start_time: float,
    render: Render,
    train_seconds: float = 0.0,
) -> list[EvaluationResult]:
    """Score every plan; report a run that was finished before and do not repeat it.

    Args:
        plans: one per model, the base first.
        engines: of the engine that all plans name; it starts when the first answer is needed.
        start_time: when the command began, so that preparation is counted.
        render: updates the pages of the leaderboards' folder, after every entry.
        train_seconds: of the time since then, spent on training the plans' candidates.
    """
    folders = [_choose_run_folder(plan) for plan in plans]
    trained = sum(plan.training is not None for plan in plans)
    prepare = {"prepare": (perf_counter() - start_time - train_seconds) / len(plans)}
    train = {"train": train_seconds / trained} if trained and train_seconds else {}
    pairs = list(zip(plans, folders, strict=True))
    engines.expect([plan for plan, folder in pairs if not (folder / "entry.json").is_file()])
    results = [
        _evaluate_plan(plan, folder, engines, prepare | (train if plan.training else {}), console, render)
        for plan, folder in pairs
    ]
    task, _ = plugins.split_token_limit(plans[0].options.task)
    with runs.explaining_write_errors(plugins.OWN_TASKS_FILE):
        if plugins.remember_task(task):
            console.say(f"{plugins.OWN_TASKS_FILE} names {task} from now on: commit it")
    return results


def _choose_run_folder(plan: EvaluationPlan) -> Path:
    """Choose the run's folder: an unfinished or identical run of this name, else the next free number."""
    options = plan.options
    if options.run is not None and options.again:
        raise BenchError("--again and --run do not go together", "name a new folder with --run, or leave --run out")
    if options.run is not None:
        return options.run
    part = "" if plan.prepared_task.limit is None else f"-{plan.prepared_task.limit}-seed{plan.prepared_task.seed}"
    names = (Path(plugins.name_task(options.task_name)).stem, plan.model.name, plan.engine.name)
    stem = "-".join(map(entries.slugify, names)) + part
    number = 1
    folder: Path = options.runs / stem
    while (folder / "run.json").exists():
        finished = (folder / "entry.json").exists()
        same = _read_run_settings(folder) == runs.match_recorded_settings(folder, plan.settings)
        if (same and not (options.again and finished)) or not (finished or options.again):
            break
        number += 1
        folder = options.runs / f"{stem}-{number}"
    return folder


def _read_run_settings(folder: Path) -> object:
    """Return the settings that a run was started with; None if its record is damaged."""
    try:
        return runs.read_settings(folder)
    except BenchError:
        return None


def _evaluate_plan(
    plan: EvaluationPlan, folder: Path, engines: EnginePool, phases: dict[str, float], console: Console, render: Render
) -> EvaluationResult:
    with runs.Run(folder, plan.settings) as run:
        done = folder / "entry.json"
        if done.is_file():
            console.say(f"{folder} was finished before; --again scores it again")
            entry, losses = entries.read_entry(done), _read_training_losses(plan)
            committed = entry_builder.commit_completions(plan.prepared_task.problems, run.finished, plan)
            path = add_to_board(entry, committed, folder, plan.options.leaderboards, render, losses)
            return EvaluationResult(entry, path, folder, (*plan.findings, *answers.find_answer_faults(committed)))
        runs.write_problems(folder, plan.prepared_task.problems)
        tokens, answered = 0, len(run.finished) == len(plan.prepared_task.problems)
        if not answered or _needs_solutions(plan, folder):
            try:
                tokens, timed = generate_completions(plan, run, engines, console, measure=True)
                phases |= timed
            except BenchError as error:
                if not answered or isinstance(error, NotFiniteError):
                    raise
                console.warn(f"{solution_likelihood.WITHOUT_SOLUTIONS}: {error.what} ({error.way_out})")
        engines.release(plan)
        return _store_result(plan, run, phases, tokens, console, render)


def generate_completions(
    plan: EvaluationPlan, run: runs.Run, engines: EnginePool, console: Console, *, measure: bool = False
) -> tuple[int, dict[str, float]]:
    """Generate the missing answers; return (tokens generated, seconds by phase: load, reload, proof, generate).

    Args:
        run: locked by this process.
        measure: also measure the solutions, after the last answer, so that measuring affects no answer.
    """
    generator, load_info = engines.generator(plan)
    run.confirm(provenance.describe_engine(generator) | {runs.WEIGHTS_SETTING: load_info.path})
    evaluate.require_context(plan.prepared_task, generator.context)
    loaded = perf_counter()
    with trace.span("generate"), console.progress(plan.model.name, len(plan.prepared_task.requests)) as bar:
        tokens = evaluate.generate_completions(plan.prepared_task, generator, run, plan.model_tokenizer, bar)
    spent = {"load": load_info.load, "reload": load_info.reload, "proof": load_info.proof}
    seconds_by_phase = {name: seconds for name, seconds in spent.items() if seconds is not None}
    seconds_by_phase["generate"] = perf_counter() - loaded
    if measure and _needs_solutions(plan, run.folder):
        generated = perf_counter()
        if solution_likelihood.measure_solutions(
            plan.prepared_task, plan.model, plan.model_tokenizer, generator, run.folder, console
        ):
            seconds_by_phase["solutions"] = perf_counter() - generated
    return tokens, seconds_by_phase


def _needs_solutions(plan: EvaluationPlan, folder: Path) -> bool:
    return not (folder / SOLUTIONS_FILE).is_file() and plan.engine.measures


def _store_result(
    plan: EvaluationPlan, run: runs.Run, phases: dict[str, float], tokens: int, console: Console, render: Render
) -> EvaluationResult:
    """Grade, then write judgements, completions and entry; the entry comes last and is written atomically."""
    start_time = perf_counter()
    prepared = plan.prepared_task
    with trace.span("grade"):
        judgements = evaluate.judge_completions(prepared.task, prepared.problems, run.finished)
        runs.write_judgements(run.folder, judgements)
        committed = entry_builder.commit_completions(prepared.problems, run.finished, plan)
    phases["grade"] = perf_counter() - start_time
    noticed = answers.find_answer_faults(committed)
    for finding in noticed:
        console.warn(f"{plan.model.name}: [{finding.code}] {finding.message}")
    plan = replace(plan, findings=(*plan.findings, *noticed))
    report = entry_builder.RunReport(run.resolved, solution_likelihood.read_summary(run.folder), phases, tokens)
    with trace.span("write entry"):
        entry = entry_builder.build_entry(plan, judgements, committed, report)
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
    """Store the entry in the run, so that the run never creates a second one, then add it to its board and pages."""
    measured = solution_likelihood.read_lines(entry, run)
    with runs.explaining_write_errors(run):
        records.write_atomically(run / "entry.json", records.encode_indented(entry))
        if losses is not None:
            records.write_atomically(run / LOSS_FILE, losses)
    with runs.explaining_write_errors(leaderboards):
        leaderboards.mkdir(parents=True, exist_ok=True)
        with trace.span("write entry"), FolderLock(leaderboards, wait=True):
            path = entries.write_entry(entry, committed, leaderboards / entry.result.task.name, losses, measured)
            with trace.span("render boards"):
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
