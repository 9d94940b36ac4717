"""`bench sweep`: choose hyper-parameters by loss and score on a held-out part of the train data, never on test.

A sweep is no result: it adds no row, and what it writes is a recipe. Killed, the same command goes on where it stood.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from baseline_bench.core import plugins, records
from baseline_bench.core.command_options import MUST_BE_GIVEN, argument, option, recipe_base_option, recipe_keys_option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import UNKNOWN_MARK, make_visible
from baseline_bench.core.options import parse_options, record_options
from baseline_bench.core.types import Judgement, Model, Value
from baseline_bench.evaluation import evaluate, pipeline, runs
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions
from baseline_bench.models.tokens import digest_prompts
from baseline_bench.results import candidate, entries
from baseline_bench.training import grid, held_out, merging, recipes
from baseline_bench.training import train as training
from baseline_bench.training.grid import Trial, TrialResult
from baseline_bench.training.recipes import Recipe
from baseline_bench.training.train import TrainingPlan
from rich.table import Table
from rich.text import Text

HEADER_MARK = "Chosen by `bench sweep`"
HEADINGS = ("tried", "steps", "training loss", "held-out loss", "held-out score, 95 % interval", "")

TableLine = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Options(ScoringOptions):
    """What to try, and how much of the data to train on.

    `seed` is that of the split and of every training. A sweep scores its own items and adds no row.
    """

    recipe: str = argument("a name of `bench list recipes`, or a .toml file", "RECIPE")
    grid: list[str] = option(
        "--grid",
        "values of a hyper-parameter, such as lr=1e-4,2e-4; repeated, every combination is tried",
        "KEY=V,V",
        MUST_BE_GIVEN,
    )
    base: str | None = recipe_base_option()
    sets: list[str] = recipe_keys_option()
    fraction: float = option("--fraction", "share of the rest to train on (default: %(default)s)", "F", 0.25)
    held_out: int | None = option("--held-out", "train rows kept to choose by (default: 256, a tenth at most)", "N")
    seed: int = option("--seed", "of split and training (default: %(default)s)", "S", 0)
    gpus: int = option("--gpus", "processes that share the work (default: %(default)s)", "N", 1)
    runs: Path = option("--runs", "the folder of the tries (default: %(default)s)", "DIR", Path("runs/sweep"))
    write: Path | None = option(
        "--write", "where the winning recipe goes (default: RECIPE-BASE.toml, in this folder)", "FILE"
    )
    model: str = ""
    task: str = ""
    name: str | None = None
    limit: int | None = None
    run: Path | None = None
    again: bool = False
    as_json: bool = False
    accept: list[str] = field(default_factory=list)
    leaderboards: Path = Path("leaderboards")


@dataclass(frozen=True, slots=True)
class SweepSetup:
    """All that the tries share.

    Attributes:
        plan: of a try, with the rows to train on and those held out.
        exam: the held-out rows as problems; None where not every gold answer can be read.
        engine: its name.
        rows: of the whole data.
    """

    options: Options
    plan: TrainingPlan
    exam: PreparedTask | None
    engine: str
    rows: int


@dataclass(frozen=True, slots=True)
class TrainedTrial:
    """A try before it is scored: its whole weights and the folder of its training; or why there are none."""

    tried: Trial
    folder: Path | None
    model: Model | None
    failure: str | None


def run(options: Options, console: Console) -> int:
    """Train every try, score them and the base on what none of them saw, choose one and write its recipe.

    Raises:
        BenchError: a grid, recipe, base, engine or data that cannot be used, told before anything is trained; or every
            try failed.
    """
    tried = grid.expand_grid(options.recipe, options.sets, options.base, options.grid)
    setup = _prepare_sweep(options, tried[0], console)
    name = setup.plan.model.name
    file = options.write or Path(f"{entries.slugify(setup.plan.recipe.name)}-{entries.slugify(name)}.toml")
    _require_sweep_file(file)
    base, outcomes = _score_trials(setup, [_train_trial(setup, each, console) for each in tried], console)
    winner, rule = grid.choose_winner(outcomes)
    lines = [
        (f"{name}, untrained", UNKNOWN_MARK, UNKNOWN_MARK, UNKNOWN_MARK, _format_score(base), ""),
        *_build_lines(outcomes, winner),
    ]
    told = [
        f"held out: {len(setup.plan.held_out):,} of {setup.rows:,} train rows (seed {options.seed}), trained on "
        f"{len(setup.plan.rows.rows):,}; no test item was scored",
        f"chosen: {' '.join(winner.tried.sets)}, {rule}",
        *grid.describe_grid_edges(tried, winner.tried),
    ]
    if base and winner.correct <= sum(verdict.correct for verdict in base):
        told.append("the chosen one answers no more held-out problems than its base")
    about = [f"{HEADER_MARK}: {options.words}", *told, *(" | ".join(line).rstrip(" |") for line in [HEADINGS, *lines])]
    with runs.explaining_write_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"# {make_visible(line)}\n" for line in about) + recipes.format_recipe(
            _relocate_paths(winner.tried.recipe, file.parent)
        )
        records.write_atomically(file, text.encode())
    console.print(_build_table(lines), Text("\n".join([*told, f"recipe: {file} (bench train-and-score {file})"])))
    return 0


def _prepare_sweep(options: Options, first: Trial, console: Console) -> SweepSetup:
    """Split, exam and engine: all that could fail before the first training."""
    if not 0 < options.fraction <= 1:
        raise BenchError(f"--fraction {options.fraction} is out of range", "give a number above 0, at most 1")
    engine = options.engine or planning.choose_default_engine()[0]
    parse_options(plugins.load_engine(engine).Options, options.options, f"engine {engine}")
    whole = training.plan_training(_build_training_options(options, first), console)
    from baseline_bench.training import data  # loads datasets

    samples = data.load_samples(whole.recipe, options.mirror)
    plan = held_out.split_held_out(whole, samples, options.held_out, options.fraction)
    exam = held_out.prepare_held_out_task(plan, samples)
    planning.require_measuring_engine(exam.task, engine, plugins.load_engine(engine))
    if unread := [problem.id for problem in exam.problems if not problem.answer]:
        console.warn(f"no scores: {len(unread)} held-out solutions have no answer to be read, {unread[0]} first")
    return SweepSetup(options, plan, None if unread else exam, engine, len(whole.rows.rows))


def _build_training_options(options: Options, tried: Trial) -> training.TrainingOptions:
    return training.TrainingOptions(
        recipe=options.recipe,
        sets=[*options.sets, *tried.sets],
        base=options.base,
        seed=options.seed,
        gpus=options.gpus,
        checkpoints=0,
        runs=options.runs,
        again=False,
        mirror=options.mirror,
        cache=options.cache,
    )


def _train_trial(setup: SweepSetup, tried: Trial, console: Console) -> TrainedTrial:
    """Train and merge one try; a failure is a line of the table, not the end of the sweep."""
    label = " ".join(tried.sets)
    console.say(f"trying {label}")
    try:
        folder = training.train_candidate(
            replace(setup.plan, options=_build_training_options(setup.options, tried), recipe=tried.recipe), console
        )
        model = merging.make_whole_weights(folder, None, setup.options.cache, console).model
    except BenchError as error:
        console.warn(f"{label} failed: {error.what}")
        return TrainedTrial(tried, None, None, error.what)
    return TrainedTrial(tried, folder, replace(model, name=f"{model.name} {label}"), None)


def _score_trials(
    setup: SweepSetup, tried: Sequence[TrainedTrial], console: Console
) -> tuple[tuple[Judgement, ...] | None, list[TrialResult]]:
    """Verdicts of the base, and every outcome; one engine answers for all."""
    done = [(each.model, each.folder) for each in tried if each.model is not None and each.folder is not None]
    verdicts: Iterator[tuple[Judgement, ...] | None] = iter([None] * (len(done) + 1))
    if setup.exam is not None and done:
        verdicts = iter(_judge_models(setup, setup.exam, [(setup.plan.model, None), *done], console))
    base = next(verdicts)
    return base, [
        TrialResult(each.tried, None, None, each.failure)
        if each.folder is None
        else TrialResult(each.tried, candidate.read_candidate(each.folder), next(verdicts), None)
        for each in tried
    ]


def _judge_models(
    setup: SweepSetup, exam: PreparedTask, models: Sequence[tuple[Model, Path | None]], console: Console
) -> list[tuple[Judgement, ...]]:
    """Every model's verdicts on the exam; answers lie in the try's folder, the base's beside them."""
    seats = [_plan_model(setup, exam, model) for model, _ in models]
    places = [_find_run_folder(seat, folder) for seat, (_, folder) in zip(seats, models, strict=True)]
    waiting = [seat for seat, at in zip(seats, places, strict=True) if not (at / "verdicts.jsonl").is_file()]
    engine = pipeline.EnginePool(waiting, console)
    found = []
    try:
        for seat, place in zip(seats, places, strict=True):
            with runs.Run(place, seat.settings) as run:
                runs.write_problems(place, exam.problems)
                if len(run.finished) < len(exam.problems):
                    pipeline.generate_completions(seat, run, engine, console)
                found.append(tuple(evaluate.judge_completions(exam.task, exam.problems, run.finished)))
                runs.write_judgements(place, found[-1])
    finally:
        engine.close()
    return found


def _plan_model(setup: SweepSetup, exam: PreparedTask, model: Model) -> EvaluationPlan:
    """A model before the held-out exam; a candidate has its base's tokenizer, byte for byte."""
    from baseline_bench.models import identity  # loads transformers

    options, speech = setup.options, setup.plan.speech
    chosen = parse_options(plugins.load_engine(setup.engine).Options, options.options, f"engine {setup.engine}")
    described = identity.describe_model(model, speech)
    settings: dict[str, Value] = {
        "task": recipes.resolve_path(setup.plan.recipe, "task"),
        "held out": exam.protocol_sha256,
        "prompts": digest_prompts(exam.requests),
        "stop ids": " ".join(map(str, speech.manner.stop_ids)),
        "weights": model.weights_sha256,
        **described.settings,
        "engine": setup.engine,
        **{f"option {key}": value for key, value in record_options(chosen).items()},
    }
    return EvaluationPlan(options, setup.engine, model, speech, exam, settings, None, identity=described.identity)


def _find_run_folder(seat: EvaluationPlan, folder: Path | None) -> Path:
    """Named by its settings, so that other weights, items or engines never meet in one run."""
    stem = "held-out" if folder is not None else f"held-out-{entries.slugify(seat.model.name)}"
    return (folder or seat.options.runs) / f"{stem}-{records.digest(seat.settings)[:8]}"


def _require_sweep_file(file: Path) -> None:
    """Told before hours of training: a file of the user's is never written over."""
    if file.exists() and not (file.is_file() and file.read_text("utf-8", "replace").startswith(f"# {HEADER_MARK}")):
        raise BenchError(f"{file} exists and was not written by a sweep", "name another file with --write FILE")


def _relocate_paths(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its paths as they read from another folder; names and absolute paths stay."""
    base, trainer, task, data = (_relocate_path(folder, recipe, key) for key in ("base", "trainer", "task", "data"))
    return replace(recipe, base=base, trainer=trainer, task=task, data=data)


def _relocate_path(folder: Path, recipe: Recipe, key: str) -> str:
    value, place = str(getattr(recipe, key)), recipes.resolve_path(recipe, key)
    if place == value or value.startswith("~"):
        return value
    found = os.path.relpath(place, folder)
    return f"./{found}" if value.startswith(".") and not found.startswith(".") else found


def _build_lines(outcomes: Sequence[TrialResult], winner: TrialResult) -> Iterator[TableLine]:
    for outcome in outcomes:
        label, made = " ".join(outcome.tried.sets), outcome.made
        if made is None:
            yield (label, UNKNOWN_MARK, UNKNOWN_MARK, UNKNOWN_MARK, UNKNOWN_MARK, f"failed: {outcome.failure}")
            continue
        loss = UNKNOWN_MARK if math.isinf(outcome.loss) else f"{outcome.loss:.4f}"
        mark = "chosen" if outcome is winner else ""
        yield (label, f"{made.cost.steps:,}", f"{made.final_loss:.4f}", loss, _format_score(outcome.verdicts), mark)


def _format_score(verdicts: Sequence[Judgement] | None) -> str:
    if not verdicts:
        return UNKNOWN_MARK
    counts = evaluate.count_judgements(verdicts)
    from baseline_bench.analysis import statistics  # loads scipy

    low, high = statistics.wilson_interval(counts.correct, counts.total)
    share = f"{100 * counts.correct / counts.total:.1f} % ({counts.correct} of {counts.total})"
    return f"{share}, {100 * low:.1f} to {100 * high:.1f} %"


def _build_table(lines: Sequence[TableLine]) -> Table:
    made = Table(box=None, pad_edge=False)
    for place, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="right" if 0 < place < 4 else "left", overflow="fold")
    for line in lines:
        made.add_row(*(Text(make_visible(cell)) for cell in line))
    return made
