"""The child process of a training: call the trainer, prove what it wrote, and write the candidate."""

import json
import resource
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, Model, Step, TrainingExample, TrainingResult, Value
from baseline_bench.evaluation import provenance, runs
from baseline_bench.results import candidate
from baseline_bench.results.candidate import Candidate, LossLog
from baseline_bench.training import recipes, tracking
from baseline_bench.training.recipes import Recipe

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "tokenizers")
# Steps that the rate on the bar is over.
_RECENT_STEPS = 50


def train_in_child(asked: Mapping[str, Any], console: Console, rank: int) -> None:
    """The child process: train, prove what was written, and write the candidate, rank 0 alone."""
    folder = Path(asked["folder"])
    recipe = recipes.read_recipe(asked["recipe"], asked["sets"], asked["base"])
    if recipes.digest_recipe(recipe) != asked["recipe_sha256"]:
        raise BenchError(f"{asked['recipe']} was changed since the command began", "give the command again")
    model = Model(**{**asked["model"], "folder": Path(asked["model"]["folder"])})
    rows, held_out = (_read_examples(folder / name) for name in ("rows.json", "held_out.json"))
    losses, recent = LossLog(folder), deque[Step](maxlen=_RECENT_STEPS)
    logged = tracking.track_steps(
        asked["log"] if rank == 0 else (), folder, _flatten_values(recipes.collect_values(recipe))
    )
    with console.steps(recipe.name) as bar, logged as track:

        def report(step: Step) -> None:
            if rank == 0:
                losses.append(step)
                track(step)
                recent.append(step)
                rate = candidate.compute_samples_per_second(list(recent))
                bar(step.number, step.total, f"loss {step.loss:.3f}" + (f", {rate:,.1f} samples/s" if rate else ""))

        job = Job(
            base=model,
            rows=rows,
            held_out=held_out,
            options=recipe.options,
            seed=asked["seed"],
            folder=folder,
            checkpoints=asked["checkpoints"],
            processes=asked["gpus"],
            report=report,
        )
        trained = plugins.load_trainer(recipes.resolve_path(recipe, "trainer")).train(job)
    if rank == 0:
        made = _build_candidate(asked, recipe, model, trained, losses.read())
        candidate.write_candidate(made, folder)


def _build_candidate(
    asked: Mapping[str, Any], recipe: Recipe, model: Model, trained: TrainingResult, steps: Sequence[Step]
) -> Candidate:
    """The record of what a trainer handed back, its weights checked first."""
    if not steps:
        raise BenchError(f"the trainer '{recipe.trainer}' reported no step", "let it call job.report after every step")
    sound = _check_weights(trained, trained.weights, model)
    for folder in trained.checkpoints.values():
        _check_weights(trained, folder, model)
    home = Path(asked["folder"])
    import torch

    device, _ = provenance.describe_hardware("cuda" if torch.cuda.is_available() else "cpu")
    return Candidate(
        schema=1,
        created=runs.current_time(),
        recipe=recipe.name,
        recipe_sha256=recipes.digest_recipe(recipe),
        values=_flatten_values(recipes.collect_values(recipe)),
        seed=asked["seed"],
        base=candidate.BaseRecord(**asked["base_record"]),
        data=candidate.DataRecord(**{**asked["data"], "derived_from": recipe.derived_from}),
        kind=trained.kind,
        weights=str(trained.weights.relative_to(home)),
        weights_sha256=sound.sha256,
        checkpoints={str(step): str(place.relative_to(home)) for step, place in trained.checkpoints.items()},
        trainable=trained.trainable,
        parameters=trained.parameters,
        changed=sound.changed,
        quantised=trained.quantised,
        final_loss=candidate.compute_final_loss(steps),
        held_out_loss=trained.held_out_loss,
        losses_sha256=sha256((home / candidate.LOSS_FILE).read_bytes()).hexdigest(),
        cost=_sum_costs(steps, device, asked["gpus"], trained.peak_memory),
        libraries=dict(trained.libraries or provenance.list_library_versions(LIBRARIES)),
        git_commit=provenance.describe_program("", asked["commit"], device, None).git_commit,
    )


def _sum_costs(steps: Sequence[Step], device: str, gpus: int, memory: int | None) -> candidate.TrainingCost:
    return candidate.TrainingCost(
        steps=len(steps),
        rows=sum(step.rows for step in steps),
        tokens=sum(step.tokens for step in steps),
        supervised=sum(step.supervised for step in steps),
        seconds=candidate.sum_seconds(steps),
        samples_per_second=candidate.compute_samples_per_second(steps),
        peak_memory=memory or _measure_peak_memory(),
        device=device,
        gpus=gpus,
    )


def _check_weights(trained: TrainingResult, folder: Path, model: Model) -> Any:
    from baseline_bench.models import weight_checks  # loads torch

    return (
        weight_checks.check_full_weights(folder, model.folder)
        if trained.kind == "full"
        else weight_checks.check_adapter(folder)
    )


def _measure_peak_memory() -> int:
    """Bytes: of the first GPU where one was used, recorded passes included, else of this process."""
    import torch

    cuda = torch.cuda
    used = int(cuda.max_memory_reserved()) if cuda.is_available() else 0
    scale = 1 if sys.platform == "darwin" else 1024
    return used or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _read_examples(path: Path) -> tuple[TrainingExample, ...]:
    return tuple(TrainingExample(name, tuple(ids), start) for name, start, ids in json.loads(path.read_bytes()))


def _flatten_values(values: Mapping[str, object]) -> dict[str, Value]:
    """Scalars alone, lists joined by commas."""
    joined = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}
    return {key: value for key, value in joined.items() if value is None or isinstance(value, str | int | float | bool)}
