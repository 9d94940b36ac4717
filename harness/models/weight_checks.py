"""Check the weights that a trainer wrote: right names and shapes, finite, and different from the base."""

from pathlib import Path
from typing import NamedTuple

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import adapter, weights
from safetensors import safe_open

_MAX_SHOWN = 3
# Older files hold these besides the parameters, though the configuration determines them, as it does a tied head.
_COMPUTED_TENSORS = ("rotary_emb.inv_freq",)
_WAY_OUT = "the trainer wrote something else: nothing was kept as a candidate"


class WeightsCheck(NamedTuple):
    """The result of checking trained weights.

    Attributes:
        sha256: of the tensors.
        changed: share of the base's numbers that changed; None for an adapter.
    """

    sha256: str
    changed: float | None


def check_full_weights(folder: Path, base: Path) -> WeightsCheck:
    """Check whole weights against their base, tensor by tensor.

    Raises:
        BenchError: another set of tensors, another shape, a number that is not finite, or no change at all.
    """
    weights.inspect_checkpoint(folder)
    new_tensors, base_tensors = (
        {tensor.name: tensor for tensor in weights.read_tensors(path)} for path in (folder, base)
    )
    derived = (*_COMPUTED_TENSORS, "lm_head.weight") if _is_tied(folder) else _COMPUTED_TENSORS
    spare = {name for name in base_tensors.keys() - new_tensors.keys() if name.endswith(derived)}
    if unmatched := sorted((new_tensors.keys() ^ base_tensors.keys()) - spare):
        raise BenchError(f"{folder} has not the tensors of its base: {', '.join(unmatched[:_MAX_SHOWN])}", _WAY_OUT)
    changed = total = 0
    for name, tensor in new_tensors.items():
        if tensor.shape != base_tensors[name].shape:
            raise BenchError(f"{name} is {tensor.shape}, its base's {base_tensors[name].shape}", _WAY_OUT)
        new_values, base_values = _read_tensor(tensor), _read_tensor(base_tensors[name])
        if not bool(torch.isfinite(new_values).all()):
            raise BenchError(f"{name} of {folder} holds NaN or infinity", "lower the learning rate and train again")
        changed += int((new_values.float() != base_values.to(new_values.dtype).float()).sum())
        total += new_values.numel()
    if changed == 0:
        raise BenchError("training changed no weight", "raise the learning rate, or train with weights = fp32")
    return WeightsCheck(weights.digest_weights(folder), round(changed / total, 6))


def check_adapter(folder: Path) -> WeightsCheck:
    """Check that an adapter is complete, finite and trained; see `baseline_bench.models.adapter.read_adapter`."""
    return WeightsCheck(adapter.read_adapter(folder).sha256, None)


def _is_tied(folder: Path) -> bool:
    config = read_object(folder / "config.json", "restore the file")
    return bool(config.get("tie_word_embeddings"))


def _read_tensor(tensor: weights.Tensor) -> torch.Tensor:
    with safe_open(tensor.file, framework="pt") as file:
        value: torch.Tensor = file.get_tensor(tensor.name)
    return value
