"""Whether weights that a trainer wrote are weights: right names and shapes, finite, and not the base again."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import adapter, weights
from safetensors import safe_open

_MAX_SHOWN = 3
# What older files hold beside the parameters, though it follows from the configuration; as does a tied head.
_COMPUTED_TENSORS = ("rotary_emb.inv_freq",)
_WAY_OUT = "the trainer wrote something else: nothing was kept as a candidate"


class WeightsCheck(NamedTuple):
    """What was found.

    Attributes:
        sha256: over the tensors.
        changed: share of the base's numbers that are others now; None for an adapter.
    """

    sha256: str
    changed: float | None


def check_full_weights(folder: Path, base: Path) -> WeightsCheck:
    """Check whole weights against their base, tensor by tensor.

    Raises:
        BenchError: another set of tensors, another shape, a number that is not finite, or nothing changed at all.
    """
    weights.inspect_checkpoint(folder)
    made, began = ({tensor.name: tensor for tensor in weights.read_tensors(place)} for place in (folder, base))
    derived = (*_COMPUTED_TENSORS, "lm_head.weight") if _is_tied(folder) else _COMPUTED_TENSORS
    spare = {name for name in began.keys() - made.keys() if name.endswith(derived)}
    if odd := sorted((made.keys() ^ began.keys()) - spare):
        raise BenchError(f"{folder} has not the tensors of its base: {', '.join(odd[:_MAX_SHOWN])}", _WAY_OUT)
    changed = total = 0
    for name, tensor in made.items():
        if tensor.shape != began[name].shape:
            raise BenchError(f"{name} is {tensor.shape}, its base's {began[name].shape}", _WAY_OUT)
        now, then = _read_tensor(tensor), _read_tensor(began[name])
        if not bool(torch.isfinite(now).all()):
            raise BenchError(f"{name} of {folder} holds NaN or infinity", "lower the learning rate and train again")
        changed += int((now.float() != then.to(now.dtype).float()).sum())
        total += now.numel()
    if changed == 0:
        raise BenchError("training changed no weight", "raise the learning rate, or train with weights = fp32")
    return WeightsCheck(weights.digest_weights(folder), round(changed / total, 6))


def check_adapter(folder: Path) -> WeightsCheck:
    """Check an adapter: complete, finite, and not as it began; see `baseline_bench.models.adapter.read_adapter`."""
    return WeightsCheck(adapter.read_adapter(folder).sha256, None)


def _is_tied(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_bytes())
    return bool(config.get("tie_word_embeddings"))


def _read_tensor(tensor: weights.Tensor) -> torch.Tensor:
    with safe_open(tensor.file, framework="pt") as file:
        value: torch.Tensor = file.get_tensor(tensor.name)
    return value
