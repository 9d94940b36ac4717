"""What a foreign trainer left, looked at before it is called trained: is it the base's, did it learn, does it fit."""

import json
import math
import shutil
from pathlib import Path

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, TrainingResult
from baseline_bench.models import adapter, weight_checks, weights
from baseline_bench.trainers import _network
from safetensors import safe_open

# Fine-tuning turns a model's matrices by a few degrees; those of another model stand at a right angle to them.
_MIN_COSINE = 0.5
_DTYPE_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def take_weights(found: Path, job: Job) -> TrainingResult:
    """Check weights and keep them under `job.folder / "weights"`, where nothing stays if a check fails.

    Raises:
        BenchError: an adapter that does not fit, was not trained or names another base; whole weights with other
            tensors or shapes, numbers that are not finite, the base again, or another model's.
    """
    return _take_adapter(found, job) if adapter.is_adapter(found) else _take_full_weights(found, job)


def _take_adapter(found: Path, job: Job) -> TrainingResult:
    made = adapter.read_adapter(found)
    if made.base is not None and not _is_base(made.base, job):
        raise BenchError(
            f"its adapter says that it was trained on {made.base}, not on {job.base.name}",
            "let it train what it is given",
        )
    tensors = {tensor.name: tensor for tensor in weights.read_tensors(job.base.folder)}
    adapter.require_fits_base(made, job.base.folder, tensors, tied=_is_tied(job.base.folder))
    folder = job.folder / "weights"
    with _network.write_atomically(folder) as draft:
        draft.mkdir()
        config = json.loads((found / weights.ADAPTER_CONFIG).read_bytes())
        config["base_model_name_or_path"] = job.base.name
        (draft / weights.ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.move(found / adapter.WEIGHTS, draft / adapter.WEIGHTS)
    trained = sum(math.prod(side.shape) for pair in made.pairs for side in (pair.a, pair.b))
    return TrainingResult("adapter", folder, {}, trained, _count_parameters(job.base.folder) + trained)


def _take_full_weights(found: Path, job: Job) -> TrainingResult:
    folder = job.folder / "weights"
    files = {tensor.file for tensor in weights.read_tensors(found)}
    with _network.write_atomically(folder) as draft:
        draft.mkdir()
        for file in [*files, *found.glob(weights.INDEX_FILE)]:
            shutil.move(file, draft / file.name)
        held = {tensor.dtype for tensor in weights.read_tensors(draft)}
        _network.copy_companion_files(draft, job, _DTYPE_NAMES.get(held.pop()) if len(held) == 1 else None)
        weight_checks.check_full_weights(draft, job.base.folder)
        _require_similar(draft, job)
    count = _count_parameters(folder)
    return TrainingResult("full", folder, {}, count, count)


def _is_base(named: str, job: Job) -> bool:
    return (
        named in (job.base.name, job.base.source.removeprefix("hub:"))
        or Path(named).expanduser().resolve() == job.base.folder.resolve()
    )


def _is_tied(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_bytes()).get("tie_word_embeddings"))


def _count_parameters(folder: Path) -> int:
    """Numbers of a model, a tied head counted once."""
    tied = _is_tied(folder)
    kept = [tensor for tensor in weights.read_tensors(folder) if not (tied and tensor.name == "lm_head.weight")]
    return sum(math.prod(tensor.shape) for tensor in kept)


def _require_similar(folder: Path, job: Job) -> None:
    """The matrices point where the base's do: their cosine, over all of them together, is far from another model's."""
    base = {tensor.name: tensor for tensor in weights.read_tensors(job.base.folder)}
    both = made = began = 0.0
    for tensor in weights.read_tensors(folder):
        if len(tensor.shape) < 2:
            continue
        now, then = (_read_tensor(each).double().flatten() for each in (tensor, base[tensor.name]))
        both, made, began = both + float(now @ then), made + float(now @ now), began + float(then @ then)
    alike = both / math.sqrt(made * began) if made and began else 1.0
    if alike < _MIN_COSINE:
        raise BenchError(
            f"it wrote another model's weights: their cosine to those of {job.base.name} is {alike:.2f}",
            "let it start from the base that it is given; or a far lower learning rate",
        )


def _read_tensor(tensor: weights.Tensor) -> torch.Tensor:
    with safe_open(tensor.file, framework="pt") as file:
        value: torch.Tensor = file.get_tensor(tensor.name)
    return value
