"""`bench score`: score training runs, adapters and folders of weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from baseline_bench.analysis import compare
from baseline_bench.commands import summary
from baseline_bench.commands.merge import make_whole_weights
from baseline_bench.core.command_options import argument, option
from baseline_bench.core.display import Console
from baseline_bench.core.early_processes import early_processes
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import pipeline
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.engine_pool import EnginePool, begin_likely_engine
from baseline_bench.evaluation.pipeline import EvaluationResult
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions, TaskPlan
from baseline_bench.models import registry
from baseline_bench.rendering import leaderboard
from baseline_bench.results import entries, retractions
from baseline_bench.results.entry import Entry
from baseline_bench.training import contamination, merging, resolve_candidate
from baseline_bench.training import train as training
from baseline_bench.training.resolve_candidate import CandidateSource


@dataclass(frozen=True, kw_only=True)
class Options(ScoringOptions):
    """Candidates to score: training runs, adapters, trainers' outputs or whole weights."""

    folders: list[str] = argument(
        "a training run, an adapter, a trainer's output, weights, org/name[@revision], or as in `bench list models`",
        "RUN|FOLDER|NAME",
    )
    base: str | None = option("--base", "the base of an adapter (default: the one that it names)", "MODEL")
    with_base: bool = option(
        "--with-base", "score the bases too, through the same engine, and compare with them", default=False
    )
    model: str = ""


def run(options: Options, console: Console) -> int:
    """Score candidates, print their rows, and compare each with its base's row."""
    for scored in score_candidates(options, console):
        summary.show_entry(scored, options.as_json, console)
        base = find_base_entry(scored.entry, options.leaderboards)
        if base is not None and not options.as_json:
            summary.show_comparison(scored.entry, base, console)
    return 0


@early_processes()
def score_candidates(options: Options, console: Console) -> list[EvaluationResult]:
    """Score candidates through one engine, add their rows, and return them, bases first."""
    start_time = perf_counter()
    if len(options.folders) > 1 and (options.name or options.run):
        raise BenchError("--name and --run are for one folder", "score the folders one by one, or leave them out")
    for folder in options.folders:  # now, since reading the items imports heavy libraries
        resolve_candidate.require_source(folder)
    begin_likely_engine(options.engine, options.gpus)
    task_plan = planning.plan_task(options)
    models = len(options.folders) + options.with_base
    with EnginePool(task_plan.engine, console, early=models, most=len(task_plan.chosen)) as engines:
        plans = [_plan_candidate(options, task_plan, folder, console) for folder in options.folders]
        bases = _plan_bases(options, task_plan, plans, console) if options.with_base else []
        return pipeline.evaluate_plans(
            [*bases, *(plan for plan, _ in plans)], engines, console, start_time, leaderboard.update_pages
        )


def _plan_candidate(
    options: Options, task_plan: TaskPlan, name: str, console: Console
) -> tuple[EvaluationPlan, str | None]:
    """Plan a candidate's evaluation and name its base; a training run is scored in its own folder."""
    source = resolve_candidate.find_source(name, options.cache, console)
    if source.folder is not None and (source.folder.resolve().parent / training.REQUEST_FILE).is_file():
        parent = source.folder.parent
        raise BenchError(f"{source.folder} belongs to a training run", f"score the run: bench score {parent}")
    if source.kind == "whole":
        console.say(f"model {name}: looking for it, fetching what is missing")
        return planning.plan_model(
            options, console, resolve_candidate.load_whole_weights(source, options.cache), None, task_plan
        ), None
    with planning.write_refusals_as_json(options, console):
        weights = make_whole_weights(source, options, console)
    if weights.training.candidate is not None:
        data = weights.training.candidate.data
        contamination.require_separate_origins(data.derived_from, data.name, options.task)
    plan_options = options if source.kind == "adapter" else replace(options, runs=Path(source.name))
    plan = planning.plan_model(plan_options, console, weights.model, weights.training, task_plan, weights.findings)
    return plan, _find_base_name(source, options.base)


def _find_base_name(source: CandidateSource, base: str | None) -> str | None:
    if source.kind != "adapter" or source.folder is None:
        return None  # a training run records its own base
    return base or merging.read_base_name(source.folder)


def _plan_bases(
    options: Options, task_plan: TaskPlan, plans: Sequence[tuple[EvaluationPlan, str | None]], console: Console
) -> list[EvaluationPlan]:
    """Plan the base of every training run and adapter among the plans, once each."""
    from baseline_bench.models import identity  # loads transformers

    base_plans: dict[tuple[str | None, str], EvaluationPlan] = {}
    for plan, name in plans:
        if plan.training is None:
            continue
        if plan.training.candidate is not None:
            model = merging.find_base(plan.training.candidate, plan.options.runs, options.cache)
        else:
            model = registry.resolve_model(str(name), options.cache)
        base_options = replace(options, name=None, runs=plan.options.runs)
        key = model.weights_sha256, identity.digest_config(model.folder)
        if key not in base_plans:
            base_plans[key] = planning.plan_model(base_options, console, model, None, task_plan)
    return list(base_plans.values())


def find_base_entry(entry: Entry, leaderboards: Path) -> Entry | None:
    """Return the newest comparable, not retracted entry on the board of the base that this one was trained from."""
    if entry.result.base is None:
        return None
    board = leaderboards / entry.result.task.name
    board_records = retractions.read_records(board)
    rows = [
        entries.read_entry(path) for path in sorted(board.glob("*.json")) if board_records.retraction(path.name) is None
    ]
    comparable = [
        row for row in rows if compare.is_base(row, entry) and not compare.explain_incomparability(entry, row)
    ]
    return max(comparable, key=lambda row: row.created, default=None)
