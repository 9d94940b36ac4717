"""What a foreign trainer left, looked at before it is called trained: is it the base's, did it learn, does it fit."""

import json
import math
import shutil
from pathlib import Path

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, Trained
from baseline_bench.models import adapter, weight_checks, weights
from baseline_bench.trainers import _network
from safetensors import safe_open

# Fine-tuning turns a model's matrices by a few degrees; those of another model stand at a right angle to them.
_ALIKE = 0.5
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def take(found: Path, job: Job) -> Trained:
    """Check weights and keep them under `job.folder / "weights"`, where nothing stays if a check fails.

    Raises:
        BenchError: an adapter that does not fit, was not trained or names another base; whole weights with other
            tensors or shapes, numbers that are not finite, the base again, or another model's.
    """
    return _adapter(found, job) if adapter.is_adapter(found) else _full(found, job)


def _adapter(found: Path, job: Job) -> Trained:
    made = adapter.read(found)
    if made.base is not None and not _is_base(made.base, job):
        raise BenchError(
            f"its adapter says that it was trained on {made.base}, not on {job.base.name}",
            "let it train what it is given",
        )
    tensors = {tensor.name: tensor for tensor in weights.read(job.base.folder)}
    adapter.require_fit(made, job.base.folder, tensors, tied=_is_tied(job.base.folder))
    folder = job.folder / "weights"
    with _network.drafted(folder) as draft:
        draft.mkdir()
        config = json.loads((found / weights.ADAPTER).read_bytes())
        config["base_model_name_or_path"] = job.base.name
        (draft / weights.ADAPTER).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.move(found / adapter.WEIGHTS, draft / adapter.WEIGHTS)
    trained = sum(math.prod(side.shape) for pair in made.pairs for side in (pair.a, pair.b))
    return Trained("adapter", folder, {}, trained, _numbers(job.base.folder) + trained)


def _full(found: Path, job: Job) -> Trained:
    folder = job.folder / "weights"
    files = {tensor.file for tensor in weights.read(found)}
    with _network.drafted(folder) as draft:
        draft.mkdir()
        for file in [*files, *found.glob(weights.INDEX)]:
            shutil.move(file, draft / file.name)
        held = {tensor.dtype for tensor in weights.read(draft)}
        _network.companions(draft, job, _DTYPES.get(held.pop()) if len(held) == 1 else None)
        weight_checks.full(draft, job.base.folder)
        _require_alike(draft, job)
    count = _numbers(folder)
    return Trained("full", folder, {}, count, count)


def _is_base(named: str, job: Job) -> bool:
    return (
        named in (job.base.name, job.base.source.removeprefix("hub:"))
        or Path(named).expanduser().resolve() == job.base.folder.resolve()
    )


def _is_tied(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_bytes()).get("tie_word_embeddings"))


def _numbers(folder: Path) -> int:
    """Numbers of a model, a tied head counted once."""
    tied = _is_tied(folder)
    kept = [tensor for tensor in weights.read(folder) if not (tied and tensor.name == "lm_head.weight")]
    return sum(math.prod(tensor.shape) for tensor in kept)


def _require_alike(folder: Path, job: Job) -> None:
    """The matrices point where the base's do: their cosine, over all of them together, is far from another model's."""
    base = {tensor.name: tensor for tensor in weights.read(job.base.folder)}
    both = made = began = 0.0
    for tensor in weights.read(folder):
        if len(tensor.shape) < 2:
            continue
        now, then = (_value(each).double().flatten() for each in (tensor, base[tensor.name]))
        both, made, began = both + float(now @ then), made + float(now @ now), began + float(then @ then)
    alike = both / math.sqrt(made * began) if made and began else 1.0
    if alike < _ALIKE:
        raise BenchError(
            f"it wrote another model's weights: their cosine to those of {job.base.name} is {alike:.2f}",
            "let it start from the base that it is given; or a far lower learning rate",
        )


def _value(tensor: weights.Tensor) -> torch.Tensor:
    with safe_open(tensor.file, framework="pt") as file:
        value: torch.Tensor = file.get_tensor(tensor.name)
    return value
