"""`bench train-and-score`: train candidates, score them and their base, and report whether training helped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from baseline_bench.commands import summary
from baseline_bench.commands.score import find_base_entry
from baseline_bench.core import child_process, machine, plugins, records
from baseline_bench.core.command_options import (
    argument,
    checkpoints_option,
    option,
    recipe_base_option,
    recipe_keys_option,
    trackers_option,
)
from baseline_bench.core.display import Console
from baseline_bench.core.early_processes import early_processes
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import pipeline, reload_reference
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.engine_pool import EnginePool, begin_likely_engine
from baseline_bench.evaluation.pipeline import EvaluationResult
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions, TaskPlan
from baseline_bench.rendering import leaderboard
from baseline_bench.results import candidate
from baseline_bench.training import merging, recipes
from baseline_bench.training import train as training
from baseline_bench.training.train import TrainingOptions, TrainingPlan


@dataclass(frozen=True, kw_only=True)
class Options(ScoringOptions):
    """Recipes to train and score together with their base."""

    recipes: list[str] = argument("names of `bench list recipes`, or .toml files; one base each", "RECIPE")
    base: str | None = recipe_base_option()
    sets: list[str] = recipe_keys_option()
    train_seed: int = option("--seed", "of the training (default: %(default)s)", "S", 0)
    checkpoints: int = checkpoints_option()
    log: list[str] = trackers_option()
    gpus: int | None = option(
        "--gpus", "how many train together, and then share the questions (default: 1, and as in `bench score`)", "N"
    )
    task: str = option("--task", "the task to score on (default: the recipe's own task)", "NAME", "")
    name: str | None = option("--name", "the name of the row (default: base, recipe and seed)", "NAME")
    reuse_base: bool = option(
        "--reuse-base", "compare with the base's newest comparable row, do not score it again", default=False
    )
    model: str = ""
    template: str | None = None  # a training asks by the default template: score its run with another one
    template_arguments: list[str] = field(default_factory=list)
    run: Path | None = None
    seed: int = 0


@early_processes()
def run(options: Options, console: Console) -> int:
    """Train, merge, score base and candidates through one engine, and report whether training helped."""
    start_time = perf_counter()
    training_options = [
        TrainingOptions.of(options, recipe=name, seed=options.train_seed, gpus=options.gpus or 1)
        for name in options.recipes
    ]
    tasks = [options.task] if options.task else []
    for each in training_options:  # now, since a process that trains imports heavy libraries
        training.read_recipe(each, tasks)
    if options.engine:
        plugins.require_name("engine", options.engine)
    _begin_processes(options, training_options[0])
    plans = [training.plan_training(each, console, tasks) for each in training_options]
    options = _resolve_task(options, plans)
    task_plan = planning.plan_task(options)
    base_plans = [
        planning.plan_model(replace(options, name=None), console, plan.model, None, task_plan) for plan in plans
    ]
    bases: dict[str, EvaluationPlan] = {}
    candidate_plans: list[EvaluationPlan] = []
    train_seconds = 0.0
    for plan, base_plan in zip(plans, base_plans, strict=True):
        train_start = perf_counter()
        folder = training.train_candidate(plan, console)
        train_seconds += perf_counter() - train_start
        folder_options = replace(options, runs=folder)
        if not options.reuse_base:
            key = records.digest([plan.model.weights_sha256, base_plan.identity])
            bases.setdefault(key, replace(base_plan, options=replace(folder_options, name=None)))
        candidate_plans += _plan_candidates(folder_options, folder, task_plan, console)
    scored_plans = [*bases.values(), *candidate_plans]
    with EnginePool(task_plan.engine, console) as engines:  # after training, which needs the GPUs
        rows = pipeline.evaluate_plans(
            scored_plans, engines, console, start_time, leaderboard.update_pages, train_seconds
        )
    _report_gains(options, rows[: len(bases)], rows[len(bases) :], console)
    return 0


def _begin_processes(options: Options, first_training: TrainingOptions) -> None:
    """Start the processes of the whole command, which import their libraries while this one prepares and trains.

    On a CPU only that of the training: the others would take memory from it.
    """
    training.begin_training(first_training)
    if machine.has_accelerator():
        child_process.begin_call(merging.MERGE_FUNCTION)
        begin_likely_engine(options.engine, options.gpus)
        if not options.reuse_base:
            child_process.begin_call(reload_reference.REFERENCE_FUNCTION)


def _plan_candidates(options: Options, folder: Path, task_plan: TaskPlan, console: Console) -> Iterator[EvaluationPlan]:
    """Merge and plan every set of weights of a training, its last one last."""
    for step in (*map(int, candidate.read_candidate(folder).checkpoints), None):
        with planning.write_refusals_as_json(options, console):
            weights = merging.make_whole_weights(folder, step, options.cache, console, options.accept)
        name = f"{options.name}-step{step}" if options.name and step is not None else options.name
        named_options = replace(options, name=name)
        yield planning.plan_model(named_options, console, weights.model, weights.training, task_plan, weights.findings)


def _resolve_task(options: Options, plans: Sequence[TrainingPlan]) -> Options:
    """Return the options with their task set; fail now for what would fail after hours of training."""
    recipe_tasks = {recipes.resolve_path(plan.recipe, "task") for plan in plans}
    if not options.task and len(recipe_tasks) > 1:
        raise BenchError(f"the recipes have several tasks: {', '.join(sorted(recipe_tasks))}", "choose one with --task")
    names = [
        options.name or candidate.build_candidate_name(p.model.name, p.recipe.name, options.train_seed, None)
        for p in plans
    ]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise BenchError(f"two candidates would be called '{duplicate}'", "train and score the recipes one by one")
    for name, plan in zip(names, plans, strict=True):
        training.require_unused_name(name, plan, options.leaderboards)
    return replace(options, task=options.task or recipe_tasks.pop())


def _report_gains(
    options: Options, bases: Sequence[EvaluationResult], candidates: Sequence[EvaluationResult], console: Console
) -> None:
    """Print every row, and what each candidate gained over its base."""
    for scored in [*bases, *candidates]:
        summary.show_entry(scored, options.as_json, console)
    if options.as_json:
        return
    if options.checkpoints:
        summary.show_steps(candidates, console)
    for scored in candidates:
        base = find_base_entry(scored.entry, options.leaderboards)
        if base is None:
            console.warn(
                f"no row of the base of {scored.entry.result.candidate} to compare with: leave --reuse-base out"
            )
        else:
            summary.show_comparison(scored.entry, base, console)
