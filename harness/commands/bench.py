"""The stories: which steps, in which order, and what is kept after each. Read this to see the program."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from baseline_bench.analysis import compare
from baseline_bench.commands import summary
from baseline_bench.core import findings, plugins
from baseline_bench.core.display import Screen
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import entry_builder, evaluate, pipeline, runs
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.pipeline import Scored
from baseline_bench.evaluation.plan import Asked, Order, Sitting
from baseline_bench.models import registry
from baseline_bench.rendering import leaderboard
from baseline_bench.results import candidate, entries, retractions
from baseline_bench.results.entry import Entry
from baseline_bench.training import contamination, merging, recipes, resolve_candidate
from baseline_bench.training import train as training
from baseline_bench.training.merging import Made
from baseline_bench.training.resolve_candidate import Found
from baseline_bench.training.train import Order as Training
from baseline_bench.training.train import Plan


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


def baseline(order: Order, screen: Screen) -> int:
    """Score a model and add its row."""
    began = perf_counter()
    asked = planning.ask(order)
    with pipeline.begun(order, asked, screen) as ahead:
        (scored,) = pipeline.score([planning.prepare(order, screen, asked)], screen, began, leaderboard.write, ahead)
    summary.announce(scored, order.as_json, screen)
    return 0


def train(order: Training, screen: Screen) -> int:
    """Train a candidate, and neither merge nor score it."""
    folder = training.train(training.prepare(order, screen), screen)
    summary.trained(folder, candidate.read(folder), screen)
    return 0


def merge(order: Merge, screen: Screen) -> int:
    """Make whole weights of a candidate's adapter, or of one from elsewhere."""
    findings.require_known(order.accept)
    found = resolve_candidate.find(order.folder, order.cache, screen)
    made = _made(found, order, screen, order.step, order.out)
    for one in made.findings:
        screen.warn(f"{found.label}: [{one.code}] {one.message}")
    summary.merged(made, screen)
    return 0


def score(order: Score, screen: Screen) -> int:
    """Score trained candidates, adapters and folders of weights, all through one engine, and add their rows."""
    began = perf_counter()
    if len(order.folders) > 1 and (order.name or order.run):
        raise BenchError("--name and --run are for one folder", "score the folders one by one, or leave them out")
    asked = planning.ask(order)
    with pipeline.begun(order, asked, screen, len(order.folders) + order.with_base) as ahead:
        seats = [_seat(order, asked, folder, screen) for folder in order.folders]
        bases = _bases(order, asked, seats, screen) if order.with_base else []
        rows = pipeline.score([*bases, *(seat for seat, _ in seats)], screen, began, leaderboard.write, ahead)
    for scored in rows:
        summary.announce(scored, order.as_json, screen)
        base = _base_row(scored.entry, order.leaderboards)
        if base is not None and not order.as_json:
            summary.verdict(scored.entry, base, screen)
    return 0


def train_and_score(order: Study, screen: Screen) -> int:
    """Train, merge, score base and candidates by one protocol through one engine, and say whether it helped."""
    began = perf_counter()
    plans = [
        training.prepare(_training(order, name), screen, [order.task] if order.task else []) for name in order.recipes
    ]
    order = _exam(order, plans)
    asked = planning.ask(order)
    exams = [planning.seat(replace(order, name=None), screen, plan.model, None, asked) for plan in plans]
    bases: dict[str | None, Sitting] = {}
    seats: list[Sitting] = []
    for plan, exam in zip(plans, exams, strict=True):
        folder = training.train(plan, screen)
        inside = replace(order, runs=folder)
        if not order.reuse_base:
            bases.setdefault(plan.model.weights_sha256, replace(exam, order=replace(inside, name=None)))
        for step in (*map(int, candidate.read(folder).checkpoints), None):
            with planning.refusing(order, screen):
                made = merging.whole(folder, step, order.cache, screen, order.accept)
            named = f"{order.name}-step{step}" if order.name and step is not None else order.name
            seat = replace(inside, name=named)
            seats.append(planning.seat(seat, screen, made.model, made.training, asked, made.findings))
    rows = pipeline.score([*bases.values(), *seats], screen, began, leaderboard.write)
    _report(order, rows[: len(bases)], rows[len(bases) :], screen)
    return 0


def quickstart(order: Study, screen: Screen) -> int:
    """Baseline first: score the embedded model on the embedded task; then a short LoRA, and whether it helped."""
    if order.run is not None:
        raise BenchError("a quickstart makes two runs", "leave --run out")
    baseline(order, screen)
    train_and_score(replace(order, base=order.model, name=None), screen)
    if not order.as_json:
        summary.next_steps(order.leaderboards, entry_builder.board(order.task), screen)
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
        entry = entry_builder.judged_again(entries.read(order.run / "entry.json"), task, verdicts)
        committed, losses = entry_builder.committed(problems, written), pipeline.losses_of(order.run)
        path = pipeline.add(entry, committed, order.run, order.leaderboards, leaderboard.write, losses)
    runs.write_verdicts(order.run, verdicts)
    summary.regraded(evaluate.score(verdicts), changed, path or order.run, screen)
    return 0


def _exam(order: Study, plans: Sequence[Plan]) -> Study:
    """The order with its exam named, and what would fail after hours of training told before."""
    own = {recipes.place(plan.recipe, "task") for plan in plans}
    if not order.task and len(own) > 1:
        raise BenchError(f"the recipes have several tasks: {', '.join(sorted(own))}", "name the exam with --task")
    names = [order.name or candidate.name(p.model.name, p.recipe.name, order.train_seed, None) for p in plans]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BenchError(f"two candidates would be called '{twice}'", "train and score the recipes one by one")
    for name, plan in zip(names, plans, strict=True):
        training.require_free(name, plan, order.leaderboards)
    return replace(order, task=order.task or own.pop())


def _training(order: Study, recipe: str) -> Training:
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


def _seat(order: Score, asked: Asked, name: str, screen: Screen) -> tuple[Sitting, str | None]:
    """A candidate before its exam, and what its base is called; what a training made is scored in its own folder."""
    found = resolve_candidate.find(name, order.cache, screen)
    if found.folder is not None and (found.folder.resolve().parent / training.ASKED).is_file():
        parent = found.folder.parent
        raise BenchError(f"{found.folder} belongs to a training run", f"score the run: bench score {parent}")
    if found.kind == "whole":
        screen.say(f"model {name}: looking for it, fetching what is missing")
        return planning.seat(order, screen, resolve_candidate.whole(found, order.cache), None, asked), None
    with planning.refusing(order, screen):
        made = _made(found, order, screen)
    if made.training.candidate is not None:
        data = made.training.candidate.data
        contamination.require_apart(data.derived_from, data.name, order.task)
    place = order if found.kind == "adapter" else replace(order, runs=Path(found.name))
    seat = planning.seat(place, screen, made.model, made.training, asked, made.findings)
    return seat, _base_name(found, order.base)


def _base_name(found: Found, base: str | None) -> str | None:
    """What an adapter's base is called; a training run knows its own."""
    return base or merging.base_of(found.folder) if found.kind == "adapter" and found.folder is not None else None


def _bases(order: Score, asked: Asked, seats: Sequence[tuple[Sitting, str | None]], screen: Screen) -> list[Sitting]:
    """The base of every training run and adapter among the seats, once each."""
    made: dict[str | None, Sitting] = {}
    for seat, name in seats:
        if seat.training is None:
            continue
        if seat.training.candidate is not None:
            model = merging.base(seat.training.candidate, seat.order.runs, order.cache)
        else:
            model = registry.resolve(str(name), order.cache)
        there = replace(order, name=None, runs=seat.order.runs)
        if model.weights_sha256 not in made:
            made[model.weights_sha256] = planning.seat(there, screen, model, None, asked)
    return list(made.values())


def _made(found: Found, order: Score | Merge, screen: Screen, step: int | None = None, out: Path | None = None) -> Made:
    """Whole weights of a training run or of an adapter."""
    if found.kind == "training":
        if order.base is not None or out is not None:
            raise BenchError(
                f"{found.name} is a training run, which has its base and its place", "leave --base and --out out"
            )
        return merging.whole(Path(found.name), step, order.cache, screen, order.accept)
    if found.kind == "whole":
        raise BenchError(
            f"{found.name} is neither a training run nor an adapter", "give a folder that holds one of them"
        )
    if step is not None:
        raise BenchError(
            f"{found.name} is an adapter, which has no steps", "leave --step out, or give the training run"
        )
    return resolve_candidate.merged(found, order.base, order.cache, screen, out, order.accept)


def _report(order: Study, bases: Sequence[Scored], candidates: Sequence[Scored], screen: Screen) -> None:
    """Every row, and what each candidate gained over its base."""
    for scored in [*bases, *candidates]:
        summary.announce(scored, order.as_json, screen)
    if order.as_json:
        return
    own = {scored.entry.result.model.weights_sha256: scored.entry for scored in bases}
    if order.checkpoints:
        summary.by_step(candidates, screen)
    for scored in candidates:
        base = own.get(scored.entry.result.base_sha256) or _base_row(scored.entry, order.leaderboards)
        if base is None:
            screen.warn(
                f"no row of the base of {scored.entry.result.candidate} to compare with: leave --reuse-base out"
            )
        else:
            summary.verdict(scored.entry, base, screen)


def _base_row(entry: Entry, leaderboards: Path) -> Entry | None:
    """The newest row on the board of the base that this one was trained from, comparable and not withdrawn."""
    if entry.result.base_sha256 is None:
        return None
    board = leaderboards / entry.result.task.name
    said = retractions.read(board)
    rows = [entries.read(path) for path in sorted(board.glob("*.json")) if said.retraction(path.name) is None]
    fit = [row for row in rows if compare.is_base(row, entry) and not compare.comparable(entry, row)]
    return max(fit, key=lambda row: row.created, default=None)
