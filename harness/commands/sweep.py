"""`bench sweep`: choose hyper-parameters by loss and score on a held-out part of the train data, never on test.

A sweep is no result: it adds no row, and what it writes is a recipe. Killed, the same command goes on where it stood.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.core import options, plugins, records
from baseline_bench.core.display import Screen
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import UNKNOWN, visible
from baseline_bench.core.types import Model, Value, Verdict
from baseline_bench.evaluation import evaluate, pipeline, runs
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.evaluate import Exam
from baseline_bench.evaluation.plan import Order, Sitting
from baseline_bench.models.tokens import prompts_sha256
from baseline_bench.results import candidate, entries
from baseline_bench.training import grid, held_out, merging, recipes
from baseline_bench.training import train as training
from baseline_bench.training.grid import Outcome, Try
from baseline_bench.training.recipes import Recipe
from baseline_bench.training.train import Plan
from rich.table import Table
from rich.text import Text

MARK = "Chosen by `bench sweep`"
HEADINGS = ("tried", "steps", "training loss", "held-out loss", "held-out score, 95 % interval", "")

Line = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sweep(Order):
    """What is to be tried; see `bench sweep --help`.

    Attributes:
        seed: of the split and of every training.
        grid: `key=value,value` texts; every combination of their values is tried.
        fraction: share of the rows that are not held out to train on, above 0 and at most 1.
        held_out: how many rows; None takes 256, and a tenth of the data at most.
        write: where the winner goes; None names the file after recipe and base.
    """

    recipe: str
    sets: list[str]
    base: str | None
    gpus: int
    grid: list[str]
    fraction: float
    held_out: int | None
    write: Path | None


@dataclass(frozen=True, slots=True)
class Setup:
    """All that the tries share.

    Attributes:
        plan: of a try, with the rows to train on and those held out.
        exam: the held-out rows as problems; None where not every gold answer can be read.
        engine: its name.
        rows: of the whole data.
    """

    order: Sweep
    plan: Plan
    exam: Exam | None
    engine: str
    rows: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A try before it is scored: its whole weights and the folder of its training; or why there are none."""

    tried: Try
    folder: Path | None
    model: Model | None
    failure: str | None


def sweep(order: Sweep, screen: Screen) -> int:
    """Train every try, score them and the base on what none of them saw, choose one and write its recipe.

    Raises:
        BenchError: a grid, recipe, base, engine or data that cannot be used, told before anything is trained; or every
            try failed.
    """
    tried = grid.tries(order.recipe, order.sets, order.base, order.grid)
    setup = _prepared(order, tried[0], screen)
    name = setup.plan.model.name
    file = order.write or Path(f"{entries.slug(setup.plan.recipe.name)}-{entries.slug(name)}.toml")
    _require_ours(file)
    base, outcomes = _scored(setup, [_trained(setup, each, screen) for each in tried], screen)
    winner, rule = grid.choose(outcomes)
    lines = [(f"{name}, untrained", UNKNOWN, UNKNOWN, UNKNOWN, _score(base), ""), *_lines(outcomes, winner)]
    told = [
        f"held out: {len(setup.plan.held_out):,} of {setup.rows:,} train rows (seed {order.seed}), trained on "
        f"{len(setup.plan.rows.rows):,}; no test item was scored",
        f"chosen: {' '.join(winner.tried.sets)}, {rule}",
        *grid.edges(tried, winner.tried),
    ]
    if base and winner.correct <= sum(verdict.correct for verdict in base):
        told.append("the chosen one answers no more held-out problems than its base")
    about = [f"{MARK}: {order.words}", *told, *(" | ".join(line).rstrip(" |") for line in [HEADINGS, *lines])]
    with runs.writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"# {visible(line)}\n" for line in about) + recipes.text(
            _moved(winner.tried.recipe, file.parent)
        )
        records.replace_file(file, text.encode())
    screen.print(_table(lines), Text("\n".join([*told, f"recipe: {file} (bench train-and-score {file})"])))
    return 0


def _prepared(order: Sweep, first: Try, screen: Screen) -> Setup:
    """Split, exam and engine: all that could fail before the first training."""
    if not 0 < order.fraction <= 1:
        raise BenchError(f"--fraction {order.fraction} is out of range", "give a number above 0, at most 1")
    engine = order.engine or planning.default_engine()[0]
    options.parse(plugins.engine(engine).Options, order.options, f"engine {engine}")
    whole = training.prepare(_training(order, first), screen)
    from baseline_bench.training import data  # loads datasets

    samples = data.load(whole.recipe, order.mirror)
    plan = held_out.split(whole, samples, order.held_out, order.fraction)
    exam = held_out.exam(plan, samples)
    planning.require_able(exam.task, engine, plugins.engine(engine))
    if unread := [problem.id for problem in exam.problems if not problem.answer]:
        screen.warn(f"no scores: {len(unread)} held-out solutions have no answer to be read, {unread[0]} first")
    return Setup(order, plan, None if unread else exam, engine, len(whole.rows.rows))


def _training(order: Sweep, tried: Try) -> training.Order:
    return training.Order(
        recipe=order.recipe,
        sets=[*order.sets, *tried.sets],
        base=order.base,
        seed=order.seed,
        gpus=order.gpus,
        checkpoints=0,
        runs=order.runs,
        again=False,
        mirror=order.mirror,
        cache=order.cache,
    )


def _trained(setup: Setup, tried: Try, screen: Screen) -> Trained:
    """Train and merge one try; a failure is a line of the table, not the end of the sweep."""
    label = " ".join(tried.sets)
    screen.say(f"trying {label}")
    try:
        folder = training.train(replace(setup.plan, order=_training(setup.order, tried), recipe=tried.recipe), screen)
        model = merging.whole(folder, None, setup.order.cache, screen).model
    except BenchError as error:
        screen.warn(f"{label} failed: {error.what}")
        return Trained(tried, None, None, error.what)
    return Trained(tried, folder, replace(model, name=f"{model.name} {label}"), None)


def _scored(setup: Setup, tried: Sequence[Trained], screen: Screen) -> tuple[tuple[Verdict, ...] | None, list[Outcome]]:
    """Verdicts of the base, and every outcome; one engine answers for all."""
    done = [(each.model, each.folder) for each in tried if each.model is not None and each.folder is not None]
    verdicts: Iterator[tuple[Verdict, ...] | None] = iter([None] * (len(done) + 1))
    if setup.exam is not None and done:
        verdicts = iter(_answered(setup, setup.exam, [(setup.plan.model, None), *done], screen))
    base = next(verdicts)
    return base, [
        Outcome(each.tried, None, None, each.failure)
        if each.folder is None
        else Outcome(each.tried, candidate.read(each.folder), next(verdicts), None)
        for each in tried
    ]


def _answered(
    setup: Setup, exam: Exam, models: Sequence[tuple[Model, Path | None]], screen: Screen
) -> list[tuple[Verdict, ...]]:
    """Every model's verdicts on the exam; answers lie in the try's folder, the base's beside them."""
    seats = [_seat(setup, exam, model) for model, _ in models]
    places = [_place(seat, folder) for seat, (_, folder) in zip(seats, models, strict=True)]
    waiting = [seat for seat, at in zip(seats, places, strict=True) if not (at / "verdicts.jsonl").is_file()]
    engine = pipeline.Engine(waiting, screen)
    found = []
    try:
        for seat, place in zip(seats, places, strict=True):
            with runs.Run(place, seat.settings) as run:
                runs.write_problems(place, exam.problems)
                if len(run.finished) < len(exam.problems):
                    pipeline.generate(seat, run, engine, screen)
                found.append(tuple(evaluate.grade(exam.task, exam.problems, run.finished)))
                runs.write_verdicts(place, found[-1])
    finally:
        engine.close()
    return found


def _seat(setup: Setup, exam: Exam, model: Model) -> Sitting:
    """A model before the held-out exam; a candidate has its base's tokenizer, byte for byte."""
    from baseline_bench.models import identity  # loads transformers

    order, speech = setup.order, setup.plan.speech
    chosen = options.parse(plugins.engine(setup.engine).Options, order.options, f"engine {setup.engine}")
    described = identity.describe(model, speech)
    settings: dict[str, Value] = {
        "task": recipes.place(setup.plan.recipe, "task"),
        "held out": exam.protocol_sha256,
        "prompts": prompts_sha256(exam.requests),
        "stop ids": " ".join(map(str, speech.manner.stop_ids)),
        "weights": model.weights_sha256,
        **described.settings,
        "engine": setup.engine,
        **{f"option {key}": value for key, value in options.record(chosen).items()},
    }
    return Sitting(order, setup.engine, model, speech, exam, settings, None, identity=described.identity)


def _place(seat: Sitting, folder: Path | None) -> Path:
    """Named by its settings, so that other weights, items or engines never meet in one run."""
    stem = "held-out" if folder is not None else f"held-out-{entries.slug(seat.model.name)}"
    return (folder or seat.order.runs) / f"{stem}-{records.digest(seat.settings)[:8]}"


def _require_ours(file: Path) -> None:
    """Told before hours of training: a file of the user's is never written over."""
    if file.exists() and not (file.is_file() and file.read_text("utf-8", "replace").startswith(f"# {MARK}")):
        raise BenchError(f"{file} exists and was not written by a sweep", "name another file with --write FILE")


def _moved(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with its paths as they read from another folder; names and absolute paths stay."""
    base, trainer, task, data = (_from(folder, recipe, key) for key in ("base", "trainer", "task", "data"))
    return replace(recipe, base=base, trainer=trainer, task=task, data=data)


def _from(folder: Path, recipe: Recipe, key: str) -> str:
    value, place = str(getattr(recipe, key)), recipes.place(recipe, key)
    if place == value or value.startswith("~"):
        return value
    found = os.path.relpath(place, folder)
    return f"./{found}" if value.startswith(".") and not found.startswith(".") else found


def _lines(outcomes: Sequence[Outcome], winner: Outcome) -> Iterator[Line]:
    for outcome in outcomes:
        label, made = " ".join(outcome.tried.sets), outcome.made
        if made is None:
            yield (label, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, f"failed: {outcome.failure}")
            continue
        loss = UNKNOWN if math.isinf(outcome.loss) else f"{outcome.loss:.4f}"
        mark = "chosen" if outcome is winner else ""
        yield (label, f"{made.cost.steps:,}", f"{made.final_loss:.4f}", loss, _score(outcome.verdicts), mark)


def _score(verdicts: Sequence[Verdict] | None) -> str:
    if not verdicts:
        return UNKNOWN
    counts = evaluate.score(verdicts)
    from baseline_bench.analysis import statistics  # loads scipy

    low, high = statistics.wilson(counts.correct, counts.total)
    share = f"{100 * counts.correct / counts.total:.1f} % ({counts.correct} of {counts.total})"
    return f"{share}, {100 * low:.1f} to {100 * high:.1f} %"


def _table(lines: Sequence[Line]) -> Table:
    made = Table(box=None, pad_edge=False)
    for place, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="right" if 0 < place < 4 else "left", overflow="fold")
    for line in lines:
        made.add_row(*(Text(visible(cell)) for cell in line))
    return made
