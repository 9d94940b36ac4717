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


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained; see `bench train --help`.

    Attributes:
        commit: of this program where it runs without its repository, or None.
        log: trackers that are told every step; they change no number and no setting.
    """

    recipe: str
    sets: list[str]
    base: str | None
    seed: int
    gpus: int
    checkpoints: int
    runs: Path
    again: bool
    mirror: Path | None
    cache: Path
    commit: str | None = None
    log: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A training made ready: everything that could fail before weights are loaded has been done."""

    order: Order
    recipe: Recipe
    model: Model
    speech: ModelTokenizer
    rows: TrainingSet
    held_out: tuple[TrainingExample, ...]


def plan_training(order: Order, console: Console, tasks: Sequence[str] = ()) -> TrainingPlan:
    """Read the recipe, find the base, turn the data into checked rows. Nothing is written.

    Args:
        order: what is asked.
        console: where to talk.
        tasks: further tasks that the candidate will be scored on; the recipe's own is always looked at.

    Raises:
        BenchError: a recipe, base or data that cannot be used, or data that holds test items.
    """
    recipe = recipes.read_recipe(order.recipe, order.sets, order.base)
    if order.gpus < 1 or order.checkpoints < 0 or not 0 <= order.seed < 2**32:
        raise BenchError("--gpus is 1 or more, --checkpoints 0 or more, --seed 0 to 2^32 - 1", "mend the numbers")
    examined = dict.fromkeys([recipes.resolve_path(recipe, "task"), *tasks])
    for name in examined:
        contamination.require_separate_origins(recipe.derived_from, recipes.resolve_path(recipe, "data"), name)
    plugins.require_libraries(getattr(recipe.options, "LIBRARIES", ()), f"the trainer '{recipe.trainer}'")
    tracking.require_trackers(order.log)
    if order.gpus > 1 and 0 < (there := _count_gpus()) < order.gpus:
        raise BenchError(f"--gpus {order.gpus}, but {there} are here", f"--gpus {there}")
    console.say(f"base {recipe.base}: looking for it, fetching what is missing")
    with runs.explaining_write_errors(order.cache):
        model = registry.resolve_model(recipes.resolve_path(recipe, "base"), order.cache)
    from baseline_bench.models import tokenizer  # loads transformers

    speech = tokenizer.load_tokenizer(model)
    from baseline_bench.training import data  # loads datasets

    samples = data.load_samples(recipe, order.mirror)
    for name in examined:
        contamination.require_no_leaks(
            contamination.find_leaks(samples, plugins.load_task(name).problems(Split("test", mirror=order.mirror)))
        )
    rows = tokenise_samples(
        samples, speech.tokenizer, speech.manner, min(recipe.max_length, speech.context or sys.maxsize)
    )
    return TrainingPlan(order, recipe, model, speech, rows, ())


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
            "baseline_bench.training.worker:train_in_child", _build_worker_request(plan, place), plan.order.gpus
        )
    finally:
        os.close(lock)
    return place


def choose_training_folder(plan: TrainingPlan) -> Path:
    """Where this training lies: the one with the same settings, else the next free number."""
    order = plan.order
    stem = entries.slugify(f"{plan.recipe.name}-{plan.model.name}-s{order.seed}")
    number, place = 1, order.runs / stem
    while (place / REQUEST_FILE).is_file():
        same = runs.read_json(place / REQUEST_FILE).get("settings") == collect_settings(plan)
        if same and not (order.again and (place / candidate.CANDIDATE_FILE).is_file()):
            break
        number += 1
        place = order.runs / f"{stem}-{number}"
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
        "seed": plan.order.seed,
        "gpus": plan.order.gpus,
        "checkpoints": plan.order.checkpoints,
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
    model, speech, rows, order = plan.model, plan.speech, plan.rows, plan.order
    return {
        "folder": str(folder),
        "recipe": order.recipe,
        "recipe_sha256": recipes.digest_recipe(plan.recipe),
        "sets": order.sets,
        "base": order.base,
        "seed": order.seed,
        "gpus": order.gpus,
        "checkpoints": order.checkpoints,
        "commit": order.commit,
        "log": list(order.log),
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
