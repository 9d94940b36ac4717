"""The stories: which steps, in which order, and what is kept after each. Read this to see the program."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from baseline_bench.analysis import compare
from baseline_bench.commands import summary
from baseline_bench.core import findings, plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import entry_builder, evaluate, pipeline, runs
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.pipeline import EvaluationResult
from baseline_bench.evaluation.plan import EvaluationPlan, Order, TaskPlan
from baseline_bench.models import registry
from baseline_bench.rendering import leaderboard
from baseline_bench.results import candidate, entries, retractions
from baseline_bench.results.entry import Entry
from baseline_bench.training import contamination, merging, recipes, resolve_candidate
from baseline_bench.training import train as training
from baseline_bench.training.merging import CandidateWeights
from baseline_bench.training.resolve_candidate import CandidateSource
from baseline_bench.training.train import Order as Training
from baseline_bench.training.train import TrainingPlan


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


@dataclass(frozen=True, slots=True)
class Merge:
    """A candidate or an adapter to be made whole: see `bench merge --help`."""

    folder: str
    base: str | None
    step: int | None
    out: Path | None
    accept: list[str]
    cache: Path


@dataclass(frozen=True, slots=True)
class Score(Order):
    """Candidates to be scored: training runs, adapters, trainers' outputs or whole weights, folders or the hub's.

    Attributes:
        base: the base of an adapter; None takes the one that it names.
        with_base: score the bases of training runs and adapters too, first and through the same engine.
    """

    folders: list[str]
    base: str | None
    with_base: bool


@dataclass(frozen=True, slots=True)
class Study(Order):
    """Recipes to be trained and scored beside their base; see `bench train-and-score --help`.

    Attributes:
        gpus: as many processes train; without a wish one trains, and the engine takes what it is made for.
        reuse_base: compare with the newest row of the base that is comparable, instead of scoring the base again.
        log: trackers that are told every step of the trainings.
    """

    recipes: list[str]
    sets: list[str]
    base: str | None
    train_seed: int
    checkpoints: int
    reuse_base: bool
    log: Sequence[str] = ()


def baseline(order: Order, console: Console) -> int:
    """Score a model and add its row."""
    began = perf_counter()
    asked = planning.plan_task(order)
    with pipeline.start_early(order, asked, console) as ahead:
        (scored,) = pipeline.evaluate_plans(
            [planning.plan_evaluation(order, console, asked)], console, began, leaderboard.update_pages, ahead
        )
    summary.show_entry(scored, order.as_json, console)
    return 0


def train(order: Training, console: Console) -> int:
    """Train a candidate, and neither merge nor score it."""
    folder = training.train_candidate(training.plan_training(order, console), console)
    summary.show_training(folder, candidate.read_candidate(folder), console)
    return 0


def merge(order: Merge, console: Console) -> int:
    """Make whole weights of a candidate's adapter, or of one from elsewhere."""
    findings.require_known_codes(order.accept)
    found = resolve_candidate.find_source(order.folder, order.cache, console)
    made = _make_whole_weights(found, order, console, order.step, order.out)
    for one in made.findings:
        console.warn(f"{found.label}: [{one.code}] {one.message}")
    summary.show_merge(made, console)
    return 0


def score(order: Score, console: Console) -> int:
    """Score trained candidates, adapters and folders of weights, all through one engine, and add their rows."""
    began = perf_counter()
    if len(order.folders) > 1 and (order.name or order.run):
        raise BenchError("--name and --run are for one folder", "score the folders one by one, or leave them out")
    asked = planning.plan_task(order)
    with pipeline.start_early(order, asked, console, len(order.folders) + order.with_base) as ahead:
        seats = [_plan_candidate(order, asked, folder, console) for folder in order.folders]
        bases = _plan_bases(order, asked, seats, console) if order.with_base else []
        rows = pipeline.evaluate_plans(
            [*bases, *(seat for seat, _ in seats)], console, began, leaderboard.update_pages, ahead
        )
    for scored in rows:
        summary.show_entry(scored, order.as_json, console)
        base = _find_base_entry(scored.entry, order.leaderboards)
        if base is not None and not order.as_json:
            summary.show_comparison(scored.entry, base, console)
    return 0


def train_and_score(order: Study, console: Console) -> int:
    """Train, merge, score base and candidates by one protocol through one engine, and say whether it helped."""
    began = perf_counter()
    plans = [
        training.plan_training(_build_training_options(order, name), console, [order.task] if order.task else [])
        for name in order.recipes
    ]
    order = _resolve_task(order, plans)
    asked = planning.plan_task(order)
    exams = [planning.plan_model(replace(order, name=None), console, plan.model, None, asked) for plan in plans]
    bases: dict[str | None, EvaluationPlan] = {}
    seats: list[EvaluationPlan] = []
    for plan, exam in zip(plans, exams, strict=True):
        folder = training.train_candidate(plan, console)
        inside = replace(order, runs=folder)
        if not order.reuse_base:
            bases.setdefault(plan.model.weights_sha256, replace(exam, order=replace(inside, name=None)))
        for step in (*map(int, candidate.read_candidate(folder).checkpoints), None):
            with planning.write_refusals_as_json(order, console):
                made = merging.make_whole_weights(folder, step, order.cache, console, order.accept)
            named = f"{order.name}-step{step}" if order.name and step is not None else order.name
            seat = replace(inside, name=named)
            seats.append(planning.plan_model(seat, console, made.model, made.training, asked, made.findings))
    rows = pipeline.evaluate_plans([*bases.values(), *seats], console, began, leaderboard.update_pages)
    _report_gains(order, rows[: len(bases)], rows[len(bases) :], console)
    return 0


def quickstart(order: Study, console: Console) -> int:
    """Baseline first: score the embedded model on the embedded task; then a short LoRA, and whether it helped."""
    if order.run is not None:
        raise BenchError("a quickstart makes two runs", "leave --run out")
    baseline(order, console)
    train_and_score(replace(order, base=order.model, name=None), console)
    if not order.as_json:
        summary.show_next_steps(order.leaderboards, entry_builder.board_name(order.task), console)
    return 0


def regrade(order: Regrade, console: Console) -> int:
    """Judge a run's answers again by the reader of today; neither model nor data set is needed.

    Raises:
        BenchError: the run is incomplete, or there is none.
    """
    problems, written = runs.read_problems(order.run), runs.read_completions(order.run)
    task = plugins.load_task(order.task or str(runs.read_json(order.run / "run.json")["settings"]["task"]))
    before = {verdict.problem_id: verdict for verdict in runs.read_judgements(order.run)}
    verdicts = evaluate.judge_completions(task, problems, written)
    changed = [v.problem_id for v in verdicts if v.problem_id in before and before[v.problem_id] != v]
    path = None
    if order.leaderboards is not None:
        entry = entry_builder.rejudge_entry(entries.read_entry(order.run / "entry.json"), task, verdicts)
        committed, losses = entry_builder.commit_completions(problems, written), pipeline.read_losses(order.run)
        path = pipeline.add_to_board(entry, committed, order.run, order.leaderboards, leaderboard.update_pages, losses)
    runs.write_judgements(order.run, verdicts)
    summary.show_regrading(evaluate.count_judgements(verdicts), changed, path or order.run, console)
    return 0


def _resolve_task(order: Study, plans: Sequence[TrainingPlan]) -> Study:
    """The order with its exam named, and what would fail after hours of training told before."""
    own = {recipes.resolve_path(plan.recipe, "task") for plan in plans}
    if not order.task and len(own) > 1:
        raise BenchError(f"the recipes have several tasks: {', '.join(sorted(own))}", "name the exam with --task")
    names = [
        order.name or candidate.build_candidate_name(p.model.name, p.recipe.name, order.train_seed, None) for p in plans
    ]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BenchError(f"two candidates would be called '{twice}'", "train and score the recipes one by one")
    for name, plan in zip(names, plans, strict=True):
        training.require_unused_name(name, plan, order.leaderboards)
    return replace(order, task=order.task or own.pop())


def _build_training_options(order: Study, recipe: str) -> Training:
    return Training(
        recipe=recipe,
        sets=order.sets,
        base=order.base,
        seed=order.train_seed,
        gpus=order.gpus or 1,
        checkpoints=order.checkpoints,
        runs=order.runs,
        again=order.again,
        mirror=order.mirror,
        cache=order.cache,
        commit=order.commit,
        log=order.log,
    )


def _plan_candidate(order: Score, asked: TaskPlan, name: str, console: Console) -> tuple[EvaluationPlan, str | None]:
    """A candidate before its exam, and what its base is called; what a training made is scored in its own folder."""
    found = resolve_candidate.find_source(name, order.cache, console)
    if found.folder is not None and (found.folder.resolve().parent / training.REQUEST_FILE).is_file():
        parent = found.folder.parent
        raise BenchError(f"{found.folder} belongs to a training run", f"score the run: bench score {parent}")
    if found.kind == "whole":
        console.say(f"model {name}: looking for it, fetching what is missing")
        return planning.plan_model(
            order, console, resolve_candidate.load_whole_weights(found, order.cache), None, asked
        ), None
    with planning.write_refusals_as_json(order, console):
        made = _make_whole_weights(found, order, console)
    if made.training.candidate is not None:
        data = made.training.candidate.data
        contamination.require_separate_origins(data.derived_from, data.name, order.task)
    place = order if found.kind == "adapter" else replace(order, runs=Path(found.name))
    seat = planning.plan_model(place, console, made.model, made.training, asked, made.findings)
    return seat, _find_base_name(found, order.base)


def _find_base_name(found: CandidateSource, base: str | None) -> str | None:
    """What an adapter's base is called; a training run knows its own."""
    return (
        base or merging.read_base_name(found.folder) if found.kind == "adapter" and found.folder is not None else None
    )


def _plan_bases(
    order: Score, asked: TaskPlan, seats: Sequence[tuple[EvaluationPlan, str | None]], console: Console
) -> list[EvaluationPlan]:
    """The base of every training run and adapter among the seats, once each."""
    made: dict[str | None, EvaluationPlan] = {}
    for seat, name in seats:
        if seat.training is None:
            continue
        if seat.training.candidate is not None:
            model = merging.find_base(seat.training.candidate, seat.order.runs, order.cache)
        else:
            model = registry.resolve_model(str(name), order.cache)
        there = replace(order, name=None, runs=seat.order.runs)
        if model.weights_sha256 not in made:
            made[model.weights_sha256] = planning.plan_model(there, console, model, None, asked)
    return list(made.values())


def _make_whole_weights(
    found: CandidateSource, order: Score | Merge, console: Console, step: int | None = None, out: Path | None = None
) -> CandidateWeights:
    """Whole weights of a training run or of an adapter."""
    if found.kind == "training":
        if order.base is not None or out is not None:
            raise BenchError(
                f"{found.name} is a training run, which has its base and its place", "leave --base and --out out"
            )
        return merging.make_whole_weights(Path(found.name), step, order.cache, console, order.accept)
    if found.kind == "whole":
        raise BenchError(
            f"{found.name} is neither a training run nor an adapter", "give a folder that holds one of them"
        )
    if step is not None:
        raise BenchError(
            f"{found.name} is an adapter, which has no steps", "leave --step out, or give the training run"
        )
    return resolve_candidate.merge_adapter(found, order.base, order.cache, console, out, order.accept)


def _report_gains(
    order: Study, bases: Sequence[EvaluationResult], candidates: Sequence[EvaluationResult], console: Console
) -> None:
    """Every row, and what each candidate gained over its base."""
    for scored in [*bases, *candidates]:
        summary.show_entry(scored, order.as_json, console)
    if order.as_json:
        return
    own = {scored.entry.result.model.weights_sha256: scored.entry for scored in bases}
    if order.checkpoints:
        summary.show_steps(candidates, console)
    for scored in candidates:
        base = own.get(scored.entry.result.base_sha256) or _find_base_entry(scored.entry, order.leaderboards)
        if base is None:
            console.warn(
                f"no row of the base of {scored.entry.result.candidate} to compare with: leave --reuse-base out"
            )
        else:
            summary.show_comparison(scored.entry, base, console)


def _find_base_entry(entry: Entry, leaderboards: Path) -> Entry | None:
    """The newest row on the board of the base that this one was trained from, comparable and not withdrawn."""
    if entry.result.base_sha256 is None:
        return None
    board = leaderboards / entry.result.task.name
    said = retractions.read_records(board)
    rows = [entries.read_entry(path) for path in sorted(board.glob("*.json")) if said.retraction(path.name) is None]
    fit = [row for row in rows if compare.is_base(row, entry) and not compare.explain_incomparability(entry, row)]
    return max(fit, key=lambda row: row.created, default=None)
