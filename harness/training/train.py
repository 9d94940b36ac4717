"""`bench train`: a recipe, a base and token ids become a candidate, in a child process that ends before scoring begins.

training.json    what was asked, fixed when the training begins
recipe.toml      the recipe as resolved
rows.json        the token ids that are trained on; held_out.json: those that are only looked at
loss.jsonl       one step a line, as it comes
state.pt         what a killed training goes on from
weights/         what was trained, or the adapter; checkpoint-*/ on the way; merged*/ made of them
candidate.json   written last: without it nothing here is a candidate
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from baseline_bench.core import child_process, plugins, records
from baseline_bench.core.command_options import (
    argument,
    cache_option,
    checkpoints_option,
    datasets_option,
    option,
    recipe_base_option,
    recipe_keys_option,
    trackers_option,
)
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Split, TrainingExample, Value
from baseline_bench.evaluation import runs
from baseline_bench.models import registry
from baseline_bench.models.tokens import ModelTokenizer
from baseline_bench.results import candidate, entries
from baseline_bench.training import contamination, recipes, tracking
from baseline_bench.training.recipes import Recipe
from baseline_bench.training.rows import TrainingSet, tokenise_samples

REQUEST_FILE = "training.json"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What to train.

    Attributes:
        commit: of this program where it runs without its repository, or None.
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
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A training made ready: everything that could fail before weights are loaded has been done."""

    options: TrainingOptions
    recipe: Recipe
    model: Model
    speech: ModelTokenizer
    rows: TrainingSet
    held_out: tuple[TrainingExample, ...]


def plan_training(options: TrainingOptions, console: Console, tasks: Sequence[str] = ()) -> TrainingPlan:
    """Read the recipe, find the base, turn the data into checked rows. Nothing is written.

    Args:
        options: what is asked.
        console: where to talk.
        tasks: further tasks that the candidate will be scored on; the recipe's own is always looked at.

    Raises:
        BenchError: a recipe, base or data that cannot be used, or data that holds test items.
    """
    recipe = recipes.read_recipe(options.recipe, options.sets, options.base)
    if options.gpus < 1 or options.checkpoints < 0 or not 0 <= options.seed < 2**32:
        raise BenchError("--gpus is 1 or more, --checkpoints 0 or more, --seed 0 to 2^32 - 1", "mend the numbers")
    examined = dict.fromkeys([recipes.resolve_path(recipe, "task"), *tasks])
    for name in examined:
        contamination.require_separate_origins(recipe.derived_from, recipes.resolve_path(recipe, "data"), name)
    plugins.require_libraries(getattr(recipe.options, "LIBRARIES", ()), f"the trainer '{recipe.trainer}'")
    tracking.require_trackers(options.log)
    if options.gpus > 1 and 0 < (there := _count_gpus()) < options.gpus:
        raise BenchError(f"--gpus {options.gpus}, but {there} are here", f"--gpus {there}")
    console.say(f"base {recipe.base}: looking for it, fetching what is missing")
    with runs.explaining_write_errors(options.cache):
        model = registry.resolve_model(recipes.resolve_path(recipe, "base"), options.cache)
    from baseline_bench.models import tokenizer  # loads transformers

    speech = tokenizer.load_tokenizer(model)
    from baseline_bench.training import data  # loads datasets

    samples = data.load_samples(recipe, options.mirror)
    for name in examined:
        contamination.require_no_leaks(
            contamination.find_leaks(samples, plugins.load_task(name).problems(Split("test", mirror=options.mirror)))
        )
    rows = tokenise_samples(
        samples, speech.tokenizer, speech.manner, min(recipe.max_length, speech.context or sys.maxsize)
    )
    return TrainingPlan(options, recipe, model, speech, rows, ())


def _count_gpus() -> int:
    """GPUs of this machine; 0 where a CPU does the work."""
    import torch

    return int(torch.cuda.device_count())


def train_candidate(plan: TrainingPlan, console: Console) -> Path:
    """Train, resuming what was killed; a finished training is reported and not repeated.

    Returns:
        The candidate's folder.

    Raises:
        BenchError: whatever the trainer told, and no candidate.
    """
    place = choose_training_folder(plan)
    with runs.explaining_write_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        lock = runs.lock_folder(place, wait=False)
    try:
        if (place / candidate.CANDIDATE_FILE).is_file():
            console.say(f"{place} was trained before; --again trains anew")
            return place
        _write_request(plan, place)
        console.say(f"training {plan.recipe.name} on {plan.model.name}: {len(plan.rows.rows):,} rows")
        child_process.call_in_child(
            "baseline_bench.training.worker:train_in_child", _build_worker_request(plan, place), plan.options.gpus
        )
    finally:
        os.close(lock)
    return place


def choose_training_folder(plan: TrainingPlan) -> Path:
    """Where this training lies: the one with the same settings, else the next free number."""
    options = plan.options
    stem = entries.slugify(f"{plan.recipe.name}-{plan.model.name}-s{options.seed}")
    number, place = 1, options.runs / stem
    while (place / REQUEST_FILE).is_file():
        same = runs.read_json(place / REQUEST_FILE).get("settings") == collect_settings(plan)
        if same and not (options.again and (place / candidate.CANDIDATE_FILE).is_file()):
            break
        number += 1
        place = options.runs / f"{stem}-{number}"
    return place


def require_unused_name(name: str, plan: TrainingPlan, leaderboards: Path) -> None:
    """Two sets of weights never share a name, noticed before hours of training: what such a row holds was made here.

    Raises:
        BenchError: an entry of that name holds what this training has not made already.
    """
    here = choose_training_folder(plan)
    made = candidate.read_candidate(here).weights_sha256 if (here / candidate.CANDIDATE_FILE).is_file() else None
    for path in sorted(leaderboards.glob("*/*.json")):
        other = entries.read_entry(path).result
        same = other.candidate == name or other.candidate.startswith(f"{name}-step")
        theirs = other.training.candidate if same and other.training is not None else None
        if same and (made is None or theirs is None or theirs.weights_sha256 != made):
            raise BenchError(f"{path} is a row of '{name}' from another training", "give --name NAME to this one")


def collect_settings(plan: TrainingPlan) -> dict[str, Value]:
    """Everything that could change the weights; a training is resumed only under the same."""
    return {
        "recipe": recipes.digest_recipe(plan.recipe),
        "data": plan.rows.sha256,
        "held out": TrainingSet.of(plan.held_out).sha256,
        "base": plan.model.weights_sha256,
        "seed": plan.options.seed,
        "gpus": plan.options.gpus,
        "checkpoints": plan.options.checkpoints,
        "trainer": _digest_trainer_file(plan.recipe),
    }


def _digest_trainer_file(recipe: Recipe) -> str | None:
    """Of a trainer that is a file, the sha256; None for those that have a name."""
    place = Path(recipes.resolve_path(recipe, "trainer"))
    return sha256(place.read_bytes()).hexdigest() if place.suffix == ".py" else None


def _write_request(plan: TrainingPlan, folder: Path) -> None:
    """Keep what was asked, once; a resumed training finds it as it was."""
    if (folder / REQUEST_FILE).is_file():
        return
    with runs.explaining_write_errors(folder):
        for name, rows in (("rows.json", plan.rows.rows), ("held_out.json", plan.held_out)):
            data = json.dumps([[row.id, row.start, row.token_ids] for row in rows], separators=(",", ":"))
            records.write_atomically(folder / name, data.encode())
        records.write_atomically(folder / "recipe.toml", recipes.format_recipe(plan.recipe).encode())
    runs.write_json(
        folder / REQUEST_FILE,
        {
            "started": runs.current_time(),
            "base": recipes.resolve_path(plan.recipe, "base"),
            "settings": collect_settings(plan),
        },
    )


def _build_worker_request(plan: TrainingPlan, folder: Path) -> dict[str, Any]:
    model, speech, rows, options = plan.model, plan.speech, plan.rows, plan.options
    return {
        "folder": str(folder),
        "recipe": options.recipe,
        "recipe_sha256": recipes.digest_recipe(plan.recipe),
        "sets": options.sets,
        "base": options.base,
        "seed": options.seed,
        "gpus": options.gpus,
        "checkpoints": options.checkpoints,
        "commit": options.commit,
        "log": list(options.log),
        "model": {
            "name": model.name,
            "source": model.source,
            "revision": model.revision,
            "folder": str(model.folder),
            "bos": model.bos,
            "weights_sha256": model.weights_sha256,
        },
        "base_record": {
            "name": model.name,
            "source": model.source,
            "revision": model.revision,
            "bos": model.bos,
            "weights_sha256": model.weights_sha256,
            "tokenizer_sha256": speech.tokenizer_sha256,
            "template_sha256": speech.manner.template_sha256,
        },
        "data": {
            "name": plan.recipe.data,
            "sha256": rows.sha256,
            "rows": len(rows.rows),
            "tokens": rows.tokens,
            "supervised": rows.supervised,
        },
    }
