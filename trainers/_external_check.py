"""Check an external trainer's weights before they become a candidate: right base, trained, loadable."""

import json
import math
import shutil
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, TrainingResult
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import adapter, weight_checks, weights
from baseline_bench.trainers import _network

# Fine-tuning rotates a model's matrices by a few degrees; those of another model are nearly orthogonal to them.
_MIN_COSINE = 0.5
_DTYPE_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def take_weights(weights_folder: Path, job: Job) -> TrainingResult:
    """Check weights and move them to `job.folder / "weights"`, where nothing is left if a check fails.

    Raises:
        BenchError: an adapter that does not fit, was not trained or names another base; whole weights with other
            tensors or shapes, with values that are not finite, equal to the base's, or another model's.
    """
    take = _take_adapter if adapter.is_adapter(weights_folder) else _take_full_weights
    return take(weights_folder, job)


def _take_adapter(weights_folder: Path, job: Job) -> TrainingResult:
    loaded = adapter.read_adapter(weights_folder)
    if loaded.base is not None and not _is_base(loaded.base, job):
        what = f"its adapter says that it was trained on {loaded.base}, not on {job.base.name}"
        raise BenchError(what, "let it train what it is given")
    tensors = {tensor.name: tensor for tensor in weights.read_tensors(job.base.folder)}
    adapter.fit_to_base(loaded, job.base.folder, tensors)
    folder = job.folder / "weights"
    with _network.write_atomically(folder) as draft:
        draft.mkdir()
        config = read_object(weights_folder / weights.ADAPTER_CONFIG, "let it save the adapter with save_pretrained")
        config["base_model_name_or_path"] = job.base.name
        (draft / weights.ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        shutil.move(weights_folder / adapter.WEIGHTS, draft / adapter.WEIGHTS)
    trained = sum(math.prod(side.shape) for pair in loaded.pairs for side in (pair.a, pair.b))
    return TrainingResult("adapter", folder, {}, trained, _count_parameters(job.base.folder) + trained)


def _take_full_weights(weights_folder: Path, job: Job) -> TrainingResult:
    folder = job.folder / "weights"
    files = {tensor.file for tensor in weights.read_tensors(weights_folder)}
    with _network.write_atomically(folder) as draft:
        draft.mkdir()
        for file in [*files, *weights_folder.glob(weights.INDEX_FILE)]:
            shutil.move(file, draft / file.name)
        dtypes = {tensor.dtype for tensor in weights.read_tensors(draft)}
        _network.copy_companion_files(draft, job, _DTYPE_NAMES.get(dtypes.pop()) if len(dtypes) == 1 else None)
        weight_checks.check_full_weights(draft, job.base.folder)
        _require_similar(draft, job)
    count = _count_parameters(folder)
    return TrainingResult("full", folder, {}, count, count)


def _is_base(name: str, job: Job) -> bool:
    return (
        name in (job.base.name, job.base.source.removeprefix("hub:"))
        or Path(name).expanduser().resolve() == job.base.folder.resolve()
    )


def _count_parameters(folder: Path) -> int:
    """Count a model's parameters, a tied head once."""
    tied, tensors = weights.is_head_tied(folder), weights.read_tensors(folder)
    return sum(math.prod(tensor.shape) for tensor in tensors if not (tied and tensor.name.endswith(weights.HEAD)))


def _require_similar(folder: Path, job: Job) -> None:
    """Check that the matrices resemble the base's: their cosine over all of them is far from another model's."""
    dot_product = new_squares = base_squares = 0.0
    for pair in weight_checks.pair_tensors(folder, job.base.folder):
        if len(pair[0].shape) < 2:
            continue
        new_values, base_values = (weight_checks.read_values(tensor).double().flatten() for tensor in pair)
        dot_product += float(new_values @ base_values)
        new_squares += float(new_values @ new_values)
        base_squares += float(base_values @ base_values)
    cosine = dot_product / math.sqrt(new_squares * base_squares) if new_squares and base_squares else 1.0
    if cosine < _MIN_COSINE:
        what = f"it wrote another model's weights: their cosine to those of {job.base.name} is {cosine:.2f}"
        raise BenchError(what, "let it start from the base that it is given; or a far lower learning rate")
