"""Check the weights that a trainer wrote: right names and shapes, finite, and different from the base."""

from pathlib import Path
from typing import NamedTuple

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.models import adapter, tensor_check, weights
from safetensors import safe_open

_MAX_SHOWN = 3
# Bounds the time for large vocabularies: twice this many rows at most.
_SAMPLED_ROWS = 4096
# Low rank is a quarter of all directions: adapters use far fewer, training the whole matrix uses all.
_LOW_RANK_SHARE = 4
# Shares of squared norms. A change below five times the norm of rounding (25 = 5 squared) says nothing. In float64 an
# exact matrix of low rank leaves 1e-14 of its whole in the other directions, measured with 8,191 rows.
_LEAST_CHANGE, _EXACT = 25, 1e-10
_FLOATS = ("BF16", "F16", "F32", "F64")
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
    changed = total = 0
    for tensor, base_tensor in pair_tensors(folder, base):
        if tensor.shape != base_tensor.shape:
            raise BenchError(f"{tensor.name} is {tensor.shape}, its base's {base_tensor.shape}", _WAY_OUT)
        new_values, base_values = read_values(tensor), read_values(base_tensor)
        if not bool(torch.isfinite(new_values).all()):
            raise BenchError(
                f"{tensor.name} of {folder} holds NaN or infinity", "lower the learning rate and train again"
            )
        changed += int((new_values.float() != base_values.to(new_values.dtype).float()).sum())
        total += new_values.numel()
    if changed == 0:
        raise BenchError("training changed no weight", "raise the learning rate, or train with weights = fp32")
    return WeightsCheck(weights.digest_weights(folder), round(changed / total, 6))


def pair_tensors(folder: Path, base: Path) -> list[tuple[weights.Tensor, weights.Tensor]]:
    """Pair each tensor of trained weights with the base's: the head of an untied model with a tied base's embedding.

    Raises:
        BenchError: another set of tensors.
    """
    new_tensors, base_tensors = _read_both(folder, base)
    tied = weights.is_head_tied(folder)
    embedding = next((tensor for name, tensor in base_tensors.items() if name.endswith(weights.EMBEDDINGS)), None)
    if not tied and weights.is_head_tied(base) and embedding is not None:
        base_tensors.setdefault(weights.HEAD, embedding)
    derived = (*_COMPUTED_TENSORS, weights.HEAD) if tied else _COMPUTED_TENSORS
    spare = {name for name in base_tensors.keys() - new_tensors.keys() if name.endswith(derived)}
    if unmatched := sorted((new_tensors.keys() ^ base_tensors.keys()) - spare):
        shown = ", ".join(unmatched[:_MAX_SHOWN])
        raise BenchError(f"{folder} does not hold the tensors of its base: {shown}", _WAY_OUT)
    return [(tensor, base_tensors[name]) for name, tensor in new_tensors.items()]


def check_tied_embedding(folder: Path, base: Path) -> list[Finding]:
    """Report a tied embedding that changed by a matrix of low rank: an adapter of the head alone was merged into it.

    Args:
        folder: whole weights that `check_full_weights` accepts.
        base: their base.
    """
    if not (weights.is_head_tied(folder) and weights.is_head_tied(base)):
        return []
    message = (
        "{} differs from the base's by a matrix of low rank, and it is the head too: merging an adapter of lm_head or "
        "of the embedding alone changed both; untie the head of the base before training, then merge"
    )
    return [
        build_finding("embedding-merged", message.format(tensor.name))
        for tensor, base_tensor in pair_tensors(folder, base)
        if tensor.name.endswith(weights.EMBEDDINGS) and _has_low_rank(read_values(tensor), read_values(base_tensor))
    ]


def check_direction(folder: Path, base: Path) -> list[Finding]:
    """Report matrices that point elsewhere than the base's: rows in another order, or numbers initialised again.

    Args:
        folder: whole weights that `check_full_weights` accepts.
        base: their base.
    """
    pairs = [pair for pair in pair_tensors(folder, base) if len(pair[0].shape) > 1 and pair[0].dtype in _FLOATS]
    unlike = [tensor.name for tensor, other in pairs if _compute_cosine(read_values(tensor), read_values(other)) < 0.5]
    message = (
        f"{len(unlike)} of {len(pairs)} matrices are unlike the base's ({', '.join(unlike[:_MAX_SHOWN])}): a "
        "conversion changed the order of their rows, or they were initialised again; convert or save the model again"
    )
    return [build_finding("not-of-base", message)] if unlike else []


def _compute_cosine(values: torch.Tensor, base_values: torch.Tensor) -> float:
    """Return the cosine of the angle between two matrices, by an even sample of the rows."""
    step = max(1, len(values) // _SAMPLED_ROWS)
    one, other = (each[::step].flatten().double() for each in (values, base_values))
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0)) if bool(other.any()) else 1.0


def _has_low_rank(values: torch.Tensor, base_values: torch.Tensor) -> bool:
    """Return whether a matrix differs from its base by one of low rank, up to what rounding to the dtype adds.

    Takes an even sample of the rows. Ignores changes barely above rounding.
    """
    if not values.is_floating_point():
        return False
    step = max(1, len(values) // _SAMPLED_ROWS)
    rows = values[::step].double()
    change = rows - base_values[::step].double()
    rounding = (torch.finfo(values.dtype).eps / 2 * float(torch.linalg.vector_norm(rows))) ** 2
    squares = torch.linalg.eigvalsh(change.T @ change)  # ascending: of its singular values
    whole = float(squares.sum())
    rest = float(squares[: -max(1, min(rows.shape) // _LOW_RANK_SHARE)].sum())
    return whole > _LEAST_CHANGE * rounding and rest <= rounding + _EXACT * whole


def check_adapter(folder: Path) -> WeightsCheck:
    """Check that an adapter is complete, finite and trained; see `baseline_bench.models.adapter.read_adapter`."""
    return WeightsCheck(adapter.read_adapter(folder).sha256, None)


def _read_both(folder: Path, base: Path) -> tuple[dict[str, weights.Tensor], dict[str, weights.Tensor]]:
    """Return both sets of tensors by name; by transformers' names where the files spell them differently."""
    new, old = (weights.read_tensors(path) for path in (folder, base))
    names = {tensor.name: tensor.name for tensor in (*new, *old)}
    if {tensor.name for tensor in old} - {tensor.name for tensor in new}:
        names |= tensor_check.name_weights(base, names)
    return {names[tensor.name]: tensor for tensor in new}, {names[tensor.name]: tensor for tensor in old}


def read_values(tensor: weights.Tensor) -> torch.Tensor:
    """Read a tensor."""
    with safe_open(tensor.file, framework="pt") as file:
        value: torch.Tensor = file.get_tensor(tensor.name)
    return value
