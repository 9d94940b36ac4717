"""`bench sweep`: choose hyper-parameters by loss and score on a held-out part of the train data, never on test.

A sweep adds no row: it only writes a recipe. If it is killed, the same command resumes it.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from baseline_bench.core import records
from baseline_bench.core.command_options import MUST_BE_GIVEN, argument, option, recipe_base_option, recipe_keys_option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import UNKNOWN_MARK, make_visible
from baseline_bench.core.options import record_options
from baseline_bench.core.types import Judgement, Model, Value
from baseline_bench.evaluation import evaluate, pipeline, runs
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.engine_pool import EnginePool
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.evaluation.plan import EvaluationPlan, ResolvedEngine, ScoringOptions
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
    """The hyper-parameters to try, and how much of the data to train on.

    `seed` is used for the split and for every training. A sweep scores its own items and adds no row.
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
    max_tokens: int | None = None
    template: str | None = None
    template_arguments: list[str] = field(default_factory=list)
    run: Path | None = None
    again: bool = False
    as_json: bool = False
    accept: list[str] = field(default_factory=list)
    leaderboards: Path = Path("leaderboards")


@dataclass(frozen=True, slots=True)
class SweepSetup:
    """What all trials share.

    Attributes:
        plan: the training plan of a trial, with the rows to train on and those held out.
        prepared_task: the held-out rows as problems; None if some gold answer cannot be read.
        rows: number of rows in the whole data.
    """

    options: Options
    plan: TrainingPlan
    prepared_task: PreparedTask | None
    engine: ResolvedEngine
    rows: int


def run(options: Options, console: Console) -> int:
    """Train every trial, score them and the base on held-out rows, choose the winner and write its recipe.

    Raises:
        BenchError: before any training, a grid, recipe, base, engine or data that cannot be used; or every trial
            failed.
    """
    trials = grid.expand_grid(options.recipe, options.sets, options.base, options.grid)
    setup = _prepare_sweep(options, trials[0], console)
    name = setup.plan.model.name
    file = options.write or Path(f"{entries.slugify(setup.plan.recipe.name)}-{entries.slugify(name)}.toml")
    _require_sweep_file(file)
    base_judgements, results = _score_trials(setup, *_train_trials(setup, trials, console), console)
    winner, rule = grid.choose_winner(results)
    lines = [
        (f"{name}, untrained", UNKNOWN_MARK, UNKNOWN_MARK, UNKNOWN_MARK, _format_score(base_judgements), ""),
        *_build_lines(results, winner),
    ]
    notes = [
        f"held out: {len(setup.plan.held_out):,} of {setup.rows:,} train rows (seed {options.seed}), trained on "
        f"{len(setup.plan.rows.rows):,}; no test item was scored",
        f"chosen: {' '.join(winner.tried.sets)}, {rule}",
        *grid.describe_grid_edges(trials, winner.tried),
    ]
    if base_judgements and winner.correct <= sum(judgement.correct for judgement in base_judgements):
        notes.append("the chosen one answers no more held-out problems than its base")
    comments = [
        f"{HEADER_MARK}: {options.words}",
        *notes,
        *(" | ".join(line).rstrip(" |") for line in [HEADINGS, *lines]),
    ]
    with runs.explaining_write_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"# {make_visible(line)}\n" for line in comments) + recipes.format_recipe(
            _relocate_paths(winner.tried.recipe, file.parent)
        )
        records.write_atomically(file, text.encode())
    console.print(_build_table(lines), Text("\n".join([*notes, f"recipe: {file} (bench train-and-score {file})"])))
    return 0


def _prepare_sweep(options: Options, first: Trial, console: Console) -> SweepSetup:
    """Prepare split, held-out task and engine: all that could fail before the first training."""
    if not 0 < options.fraction <= 1:
        raise BenchError(f"--fraction {options.fraction} is out of range", "give a number above 0, at most 1")
    training_options = _build_training_options(options, first)
    training.read_recipe(training_options)  # now, since an engine imports heavy libraries
    engine = planning.resolve_engine(options.engine, options.options, options.gpus)
    whole_plan = training.plan_training(training_options, console)
    from baseline_bench.training import data  # loads datasets

    samples = data.load_samples(whole_plan.recipe, options.mirror)
    plan = held_out.split_held_out(whole_plan, samples, options.held_out, options.fraction)
    prepared = held_out.prepare_held_out_task(plan, samples)
    planning.require_measuring_engine(prepared.task, engine)
    if unread := [problem.id for problem in prepared.problems if not problem.answer]:
        console.warn(f"no scores: {len(unread)} held-out solutions have no answer to be read, {unread[0]} first")
    return SweepSetup(options, plan, None if unread else prepared, engine, len(whole_plan.rows.rows))


def _build_training_options(options: Options, trial: Trial) -> training.TrainingOptions:
    return training.TrainingOptions.of(options, sets=[*options.sets, *trial.sets], commit=None)


def _train_trials(
    setup: SweepSetup, trials: Sequence[Trial], console: Console
) -> tuple[list[TrialResult], list[tuple[Model, Path]]]:
    """Train and merge every trial; a failure becomes a line of the table and does not end the sweep.

    Returns:
        A result for each trial, not scored, and whole weights with their training folder for each that did not fail.
    """
    results, models = [], []
    for trial in trials:
        label = " ".join(trial.sets)
        console.say(f"trying {label}")
        options = _build_training_options(setup.options, trial)
        try:
            folder = training.train_candidate(replace(setup.plan, options=options, recipe=trial.recipe), console)
            model = merging.make_whole_weights(folder, None, setup.options.cache, console).model
        except BenchError as error:
            console.warn(f"{label} failed: {error.what}")
            results.append(TrialResult(trial, None, None, error.what))
            continue
        results.append(TrialResult(trial, candidate.read_candidate(folder), None, None))
        models.append((replace(model, name=f"{model.name} {label}"), folder))
    return results, models


def _score_trials(
    setup: SweepSetup, results: list[TrialResult], models: Sequence[tuple[Model, Path]], console: Console
) -> tuple[tuple[Judgement, ...] | None, list[TrialResult]]:
    """Return the base's judgements and every trial's result with its own; one engine answers for all."""
    if setup.prepared_task is None or not models:
        return None, results
    base, *others = _judge_models(setup, setup.prepared_task, [(setup.plan.model, None), *models], console)
    judged = iter(others)
    return base, [one if one.made is None else replace(one, verdicts=next(judged)) for one in results]


def _judge_models(
    setup: SweepSetup, prepared: PreparedTask, models: Sequence[tuple[Model, Path | None]], console: Console
) -> list[tuple[Judgement, ...]]:
    """Judge every model on the held-out problems; answers go to the trial's folder, the base's to the runs folder."""
    plans = [_plan_model(setup, prepared, model) for model, _ in models]
    run_folders = [_find_run_folder(plan, folder) for plan, (_, folder) in zip(plans, models, strict=True)]
    unfinished = [plan for plan, at in zip(plans, run_folders, strict=True) if not (at / "verdicts.jsonl").is_file()]
    judgements_by_model = []
    with EnginePool(setup.engine, console) as engines:
        engines.expect(unfinished)
        for plan, run_folder in zip(plans, run_folders, strict=True):
            with runs.Run(run_folder, plan.settings) as run:
                runs.write_problems(run_folder, prepared.problems)
                if len(run.finished) < len(prepared.problems):
                    pipeline.generate_completions(plan, run, engines, console)
                judgements_by_model.append(
                    tuple(evaluate.judge_completions(prepared.task, prepared.problems, run.finished))
                )
                runs.write_judgements(run_folder, judgements_by_model[-1])
    return judgements_by_model


def _plan_model(setup: SweepSetup, prepared: PreparedTask, model: Model) -> EvaluationPlan:
    """Plan a model's evaluation on the held-out problems; a candidate has exactly its base's tokenizer."""
    from baseline_bench.models import identity  # loads transformers

    options, model_tokenizer = setup.options, setup.plan.model_tokenizer
    model_identity = identity.describe_model(model, model_tokenizer)
    settings: dict[str, Value] = {
        "task": recipes.resolve_path(setup.plan.recipe, "task"),
        "held out": prepared.protocol_sha256,
        "prompts": digest_prompts(prepared.requests),
        "stop ids": " ".join(map(str, model_tokenizer.prompt_format.stop_ids)),
        "weights": model.weights_sha256,
        **(model_identity.settings or {}),
        "engine": setup.engine.name,
        **{f"option {key}": value for key, value in record_options(setup.engine.options).items()},
    }
    return EvaluationPlan(
        options, setup.engine, model, model_tokenizer, prepared, settings, None, identity=model_identity
    )


def _find_run_folder(plan: EvaluationPlan, folder: Path | None) -> Path:
    """Name the folder by the settings, so that other weights, items or engines never share a run."""
    stem = "held-out" if folder is not None else f"held-out-{entries.slugify(plan.model.name)}"
    return (folder or plan.options.runs) / f"{stem}-{records.digest(plan.settings)[:8]}"


def _require_sweep_file(file: Path) -> None:
    """Refuse, before hours of training, to overwrite a file that no sweep wrote."""
    if file.exists() and not (file.is_file() and file.read_text("utf-8", "replace").startswith(f"# {HEADER_MARK}")):
        raise BenchError(f"{file} exists and was not written by a sweep", "name another file with --write FILE")


def _relocate_paths(recipe: Recipe, folder: Path) -> Recipe:
    """Rewrite the recipe's relative paths for another folder; keep names and absolute paths."""
    base, trainer, task, data = (_relocate_path(folder, recipe, key) for key in ("base", "trainer", "task", "data"))
    return replace(recipe, base=base, trainer=trainer, task=task, data=data)


def _relocate_path(folder: Path, recipe: Recipe, key: str) -> str:
    value, path = str(getattr(recipe, key)), recipes.resolve_path(recipe, key)
    if path == value or value.startswith("~"):
        return value
    relative = os.path.relpath(path, folder)
    return f"./{relative}" if value.startswith(".") and not relative.startswith(".") else relative


def _build_lines(results: Sequence[TrialResult], winner: TrialResult) -> Iterator[TableLine]:
    for result in results:
        label, trained = " ".join(result.tried.sets), result.made
        if trained is None:
            yield (label, UNKNOWN_MARK, UNKNOWN_MARK, UNKNOWN_MARK, UNKNOWN_MARK, f"failed: {result.failure}")
            continue
        loss = UNKNOWN_MARK if math.isinf(result.loss) else f"{result.loss:.4f}"
        mark = "chosen" if result is winner else ""
        losses = f"{trained.final_loss:.4f}", loss
        yield label, f"{trained.cost.steps:,}", *losses, _format_score(result.verdicts), mark


def _format_score(judgements: Sequence[Judgement] | None) -> str:
    if not judgements:
        return UNKNOWN_MARK
    counts = evaluate.count_judgements(judgements)
    from baseline_bench.analysis import statistics  # loads scipy

    low, high = statistics.wilson_interval(counts.correct, counts.total)
    share = f"{100 * counts.correct / counts.total:.1f} % ({counts.correct} of {counts.total})"
    return f"{share}, {100 * low:.1f} to {100 * high:.1f} %"


def _build_table(lines: Sequence[TableLine]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if 0 < column < 4 else "left", overflow="fold")
    for line in lines:
        table.add_row(*(Text(make_visible(cell)) for cell in line))
    return table
