"""`bench train`: turn a recipe, a base and token ids into a candidate, in a child process that ends before scoring.

training.json    the request, written once when the training begins
recipe.toml      the recipe as resolved
rows.json        the token ids to train on; held_out.json: those only to measure the held-out loss on
loss.jsonl       one step per line, written as it happens
state.pt         what a killed training resumes from
weights/         what was trained, or the adapter; checkpoint-*/ on the way; merged*/ made from them
candidate.json   written last: without it the folder holds no candidate
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from baseline_bench.core import child_process, plugins, records, trace
from baseline_bench.core.command_options import (
    argument,
    cache_option,
    checkpoints_option,
    datasets_option,
    option,
    recipe_base_option,
    recipe_keys_option,
    trace_option,
    trackers_option,
)
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.types import Model, Split, TrainingExample, Value
from baseline_bench.evaluation import runs
from baseline_bench.models import diagnose, registry
from baseline_bench.models.tokens import ModelTokenizer
from baseline_bench.results import candidate, entries
from baseline_bench.training import contamination, recipes, tracking
from baseline_bench.training.recipes import Recipe
from baseline_bench.training.rows import TrainingSet, tokenise_samples

REQUEST_FILE = "training.json"
_TRAIN_FUNCTION = "baseline_bench.training.worker:train_in_child"
_BASE_CONFIG = "base config"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The recipe to train, with seed, folder and devices.

    Attributes:
        commit: this program's commit if it runs outside its repository, or None.
        log: trackers that receive every step; they change no number and no setting.
    """

    recipe: str = argument("a name of `bench list recipes`, or a .toml file", "RECIPE")
    base: str | None = recipe_base_option()
    sets: list[str] = recipe_keys_option()
    seed: int = option("--seed", "of the training (default: %(default)s)", "S", 0)
    checkpoints: int = checkpoints_option()
    log: list[str] = trackers_option()
    gpus: int = option("--gpus", "processes that share the work (default: %(default)s)", "N", 1)
    runs: Path = option("--runs", "the folder of runs (default: %(default)s)", "DIR", Path("runs"))
    again: bool = option("--again", "train again from the start, in another folder", default=False)
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()
    trace: Path | None = trace_option()
    commit: str | None = None

    @classmethod
    def of(cls, options: Any, **changes: Any) -> "TrainingOptions":
        """Take what the options of another command share with these, and then the changes."""
        shared = {each.name: getattr(options, each.name) for each in fields(cls) if hasattr(options, each.name)}
        return cls(**{**shared, **changes})


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A prepared training: all that could fail before the weights are loaded is done."""

    options: TrainingOptions
    recipe: Recipe
    model: Model
    model_tokenizer: ModelTokenizer
    rows: TrainingSet
    held_out: tuple[TrainingExample, ...]


def read_recipe(options: TrainingOptions, tasks: Sequence[str] = ()) -> Recipe:
    """Read the recipe; refuse, before a heavy library is imported, a base or task that does not exist.

    Args:
        tasks: further tasks that the candidate will be scored on.
    """
    recipe = recipes.read_recipe(options.recipe, options.sets, options.base)
    recipes.require_known_names(recipe, tasks)
    return recipe


def begin_training(options: TrainingOptions) -> None:
    """Start the process that will train, which imports the trainer; errors as of `read_recipe`.

    Several processes start only after their number was checked.
    """
    recipe = read_recipe(options)
    if options.gpus == 1:
        child_process.begin_call(_TRAIN_FUNCTION, recipes.resolve_path(recipe, "trainer"))


def plan_training(options: TrainingOptions, console: Console, tasks: Sequence[str] = ()) -> TrainingPlan:
    """Read the recipe, find the base, turn the data into checked rows; write nothing.

    Args:
        tasks: further tasks that the candidate will be scored on; the recipe's own is always checked.

    Raises:
        BenchError: a recipe, base or data that cannot be used, or data that holds test items.
    """
    recipe = read_recipe(options, tasks)
    if options.gpus < 1 or options.checkpoints < 0 or not 0 <= options.seed < 2**32:
        raise BenchError("--gpus is 1 or more, --checkpoints 0 or more, --seed 0 to 2^32 - 1", "correct the numbers")
    task_names = dict.fromkeys([recipes.resolve_path(recipe, "task"), *tasks])
    for name in task_names:
        contamination.require_separate_origins(recipe.derived_from, recipes.resolve_path(recipe, "data"), name)
    plugins.require_libraries(getattr(recipe.options, "LIBRARIES", ()), f"the trainer '{recipe.trainer}'")
    tracking.require_trackers(options.log)
    if options.gpus > 1 and 0 < (available := _count_gpus()) < options.gpus:
        raise BenchError(f"--gpus {options.gpus}, but {available} are here", f"--gpus {available}")
    console.say(f"base {recipe.base}: looking for it, fetching what is missing")
    with trace.span("find model"), runs.explaining_write_errors(options.cache):
        model = registry.resolve_model(recipes.resolve_path(recipe, "base"), options.cache)
    from baseline_bench.models import tokenizer  # loads transformers

    model_tokenizer = tokenizer.load_tokenizer(model)
    from baseline_bench.training import data  # loads datasets

    with trace.span("read examples"):
        samples = data.load_samples(recipe, options.mirror)
    with trace.span("look for leaks"):
        for name in task_names:
            problems = plugins.load_task(name).problems(Split("test", mirror=options.mirror))
            contamination.require_no_leaks(contamination.find_leaks(samples, problems))
    max_length = min(recipe.max_length, model_tokenizer.context or sys.maxsize)
    with trace.span("tokenise"):
        rows = tokenise_samples(samples, model_tokenizer.tokenizer, model_tokenizer.prompt_format, max_length)
        diagnose.require_readable(model, rows.rows)
    return TrainingPlan(options, recipe, model, model_tokenizer, rows, ())


def _count_gpus() -> int:
    """Count the GPUs of this machine; 0 if it trains on the CPU."""
    import torch

    return int(torch.cuda.device_count())


def train_candidate(plan: TrainingPlan, console: Console) -> Path:
    """Train, resuming a killed training; report a finished one and do not repeat it.

    Returns:
        The candidate's folder.

    Raises:
        BenchError: the trainer's error; then there is no candidate.
    """
    training_folder = choose_training_folder(plan)
    with runs.explaining_write_errors(training_folder):
        training_folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(training_folder, wait=False)
    with lock:
        if (training_folder / candidate.CANDIDATE_FILE).is_file():
            console.say(f"{training_folder} was trained before; --again trains it again")
            return training_folder
        records.sweep_temporary_files(training_folder, ".*.tmp")
        _write_request(plan, training_folder)
        console.say(f"training {plan.recipe.name} on {plan.model.name}: {len(plan.rows.rows):,} rows")
        request = _build_worker_request(plan, training_folder)
        child_process.call_in_child(_TRAIN_FUNCTION, request, plan.options.gpus)
    return training_folder


def choose_training_folder(plan: TrainingPlan) -> Path:
    """Return the folder of the training with these settings, or the next free one."""
    options = plan.options
    stem = entries.slugify(f"{plan.recipe.name}-{plan.model.name}-s{options.seed}")
    number, folder, settings = 1, options.runs / stem, collect_settings(plan)
    while (folder / REQUEST_FILE).is_file():
        recorded = runs.read_json(folder / REQUEST_FILE).get("settings")
        finished = (folder / candidate.CANDIDATE_FILE).is_file()
        if finished and isinstance(recorded, dict):  # older versions recorded no digest of the base's config.json
            recorded = {_BASE_CONFIG: settings[_BASE_CONFIG], **recorded}
        if recorded == settings and not (options.again and finished):
            break
        number += 1
        folder = options.runs / f"{stem}-{number}"
    return folder


def require_unused_name(name: str, plan: TrainingPlan, leaderboards: Path) -> None:
    """Refuse, before hours of training, a row name that another training's weights already have."""
    folder = choose_training_folder(plan)
    own_weights = (
        candidate.read_candidate(folder).weights_sha256 if (folder / candidate.CANDIDATE_FILE).is_file() else None
    )
    for path in sorted(leaderboards.glob("*/*.json")):
        other = entries.read_entry(path).result
        same = other.candidate == name or other.candidate.startswith(f"{name}-step")
        other_candidate = other.training.candidate if same and other.training is not None else None
        if same and (own_weights is None or other_candidate is None or other_candidate.weights_sha256 != own_weights):
            raise BenchError(f"{path} is a row of '{name}' from another training", "give --name NAME to this one")


def collect_settings(plan: TrainingPlan) -> dict[str, Value]:
    """Return everything that could change the weights; a training resumes only under equal settings."""
    from baseline_bench.models import identity  # loads transformers

    return {
        "recipe": recipes.digest_recipe(plan.recipe),
        "data": plan.rows.sha256,
        "held out": TrainingSet.of(plan.held_out).sha256,
        "base": plan.model.weights_sha256,
        _BASE_CONFIG: identity.digest_config(plan.model.folder),
        "seed": plan.options.seed,
        "gpus": plan.options.gpus,
        "checkpoints": plan.options.checkpoints,
        "trainer": recipes.digest_trainer(plan.recipe),
    }


def _write_request(plan: TrainingPlan, folder: Path) -> None:
    """Write the request once; a resumed training reads it unchanged."""
    if (folder / REQUEST_FILE).is_file():
        return
    with runs.explaining_write_errors(folder):
        for name, rows in (("rows.json", plan.rows.rows), ("held_out.json", plan.held_out)):
            data = json.dumps([[row.id, row.start, row.token_ids] for row in rows], separators=(",", ":"))
            records.write_atomically(folder / name, data.encode())
        records.write_atomically(folder / "recipe.toml", recipes.format_recipe(plan.recipe).encode())
    base, settings = recipes.resolve_path(plan.recipe, "base"), collect_settings(plan)
    runs.write_json(folder / REQUEST_FILE, {"started": runs.current_time(), "base": base, "settings": settings})


def _build_worker_request(plan: TrainingPlan, folder: Path) -> dict[str, Any]:
    from baseline_bench.models import identity  # loads transformers

    model, model_tokenizer, rows = plan.model, plan.model_tokenizer, plan.rows
    return {
        "folder": folder,
        "options": plan.options,
        "recipe": recipes.serialise_recipe(plan.recipe),
        "model": model,
        "trainer_sha256": recipes.digest_trainer(plan.recipe),
        "begun": runs.read_json(folder / REQUEST_FILE).get("started"),
        "base_record": candidate.BaseRecord(
            name=model.name,
            source=model.source,
            revision=model.revision,
            bos=model.bos,
            weights_sha256=str(model.weights_sha256),
            tokenizer_sha256=model_tokenizer.tokenizer_sha256,
            template_sha256=model_tokenizer.prompt_format.template_sha256,
            identity=identity.describe_base(model, model_tokenizer),
        ),
        "data": candidate.DataRecord(
            name=plan.recipe.data,
            sha256=rows.sha256,
            rows=len(rows.rows),
            tokens=rows.tokens,
            supervised=rows.supervised,
            derived_from=plan.recipe.derived_from,
        ),
    }
