"""Run a training in a child process: call the trainer, check what it wrote, and write the candidate."""

import json
import resource
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from baseline_bench.core import machine, plugins, trace
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, Model, Step, TrainingExample, TrainingResult, Value
from baseline_bench.evaluation import provenance, runs
from baseline_bench.results import candidate
from baseline_bench.results.candidate import Candidate, LossLog
from baseline_bench.training import recipes, tracking
from baseline_bench.training.recipes import Recipe
from baseline_bench.training.train import TrainingOptions

LIBRARIES = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "tokenizers")
# The progress bar shows the rate over this many steps.
_RECENT_STEPS = 50


def begin(*trainers: str) -> None:
    """Import the trainers, with torch and all that they train with."""
    for trainer in trainers:
        plugins.load_trainer(trainer)


def train_in_child(request: Mapping[str, Any], console: Console, rank: int) -> None:
    """Train in the child process and check the result; rank 0 alone writes the candidate."""
    folder: Path = request["folder"]
    options: TrainingOptions = request["options"]
    recipe = recipes.restore_recipe(request["recipe"])
    rows, held_out = (_read_examples(folder / name) for name in ("rows.json", "held_out.json"))
    losses, recent = LossLog(folder), deque[Step](maxlen=_RECENT_STEPS)
    tracked = tracking.track_steps(options.log if rank == 0 else (), folder, _flatten_values(recipe))
    if rank == 0 and getattr(recipe.options, "precision", None) == "bf16":
        warn_of_slow_bf16(console)
    preparing = "loading the base, preparing the examples"
    with trace.span("train"), console.steps(recipe.name, preparing) as bar, tracked as track:

        def report(step: Step) -> None:
            if rank == 0:
                losses.append(step)
                track(step)
                recent.append(step)
                rate = candidate.compute_samples_per_second(list(recent))
                bar(step.number, step.total, f"loss {step.loss:.3f}" + (f", {rate:,.1f} samples/s" if rate else ""))

        job = Job(
            base=request["model"],
            rows=rows,
            held_out=held_out,
            options=recipe.options,
            seed=options.seed,
            folder=folder,
            checkpoints=options.checkpoints,
            processes=options.gpus,
            report=report,
        )
        trained = plugins.load_trainer(recipes.resolve_path(recipe, "trainer")).train(job)
    if rank == 0:
        record = _build_candidate(request, recipe, trained, losses.read())
        candidate.write_candidate(record, folder)


def warn_of_slow_bf16(console: Console) -> None:
    """Warn where training runs on a CPU without instructions for bf16."""
    import torch

    if not torch.cuda.is_available() and not machine.cpu_computes_bf16():
        console.warn("this CPU has no instructions for bf16: --set precision=fp32 trains many times faster")


def _build_candidate(
    request: Mapping[str, Any], recipe: Recipe, trained: TrainingResult, steps: Sequence[Step]
) -> Candidate:
    """Check the trainer's weights and build the record of its result."""
    if not steps:
        raise BenchError(f"the trainer '{recipe.trainer}' reported no step", "let it call job.report after every step")
    with trace.span("check weights"):
        folders = trained.weights, *trained.checkpoints.values()
        check, *_ = [_check_weights(trained, folder, request["model"]) for folder in folders]
    training_folder, options = request["folder"], request["options"]
    import torch

    names = (*LIBRARIES, *(["liger-kernel"] if trained.fused_kernels else []))
    device, _ = provenance.describe_hardware("cuda" if torch.cuda.is_available() else "cpu")
    return Candidate(
        schema=1,
        created=runs.current_time(),
        recipe=recipe.name,
        recipe_sha256=recipes.digest_recipe(recipe),
        values=_flatten_values(recipe),
        seed=options.seed,
        base=request["base_record"],
        data=request["data"],
        kind=trained.kind,
        weights=str(trained.weights.relative_to(training_folder)),
        weights_sha256=check.sha256,
        checkpoints={str(step): str(path.relative_to(training_folder)) for step, path in trained.checkpoints.items()},
        trainable=trained.trainable,
        parameters=trained.parameters,
        changed=check.changed,
        quantised=trained.quantised,
        final_loss=candidate.compute_final_loss(steps),
        held_out_loss=trained.held_out_loss,
        losses_sha256=sha256((training_folder / candidate.LOSS_FILE).read_bytes()).hexdigest(),
        cost=_sum_costs(steps, device, options.gpus, trained.peak_memory),
        libraries=dict(trained.libraries or provenance.list_library_versions(names)),
        git_commit=provenance.describe_program("", options.commit, device, None).git_commit,
        trainer_sha256=request["trainer_sha256"],
        begun=request["begun"],
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

    if trained.kind == "full":
        return weight_checks.check_full_weights(folder, model.folder)
    return weight_checks.check_adapter(folder)


def _measure_peak_memory() -> int:
    """Return peak bytes: of the first GPU, CUDA graphs included, or else of this process."""
    import torch

    cuda = torch.cuda
    gpu_bytes = int(cuda.max_memory_reserved()) if cuda.is_available() else 0
    scale = 1 if sys.platform == "darwin" else 1024
    return gpu_bytes or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _read_examples(path: Path) -> tuple[TrainingExample, ...]:
    return tuple(TrainingExample(name, tuple(ids), start) for name, start, ids in json.loads(path.read_bytes()))


def _flatten_values(recipe: Recipe) -> dict[str, Value]:
    """Return a recipe's values: scalars alone, and lists joined with commas."""
    values = recipes.collect_values(recipe)
    joined = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}
    return {key: value for key, value in joined.items() if value is None or isinstance(value, str | int | float | bool)}
