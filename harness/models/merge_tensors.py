"""Merge tensor by tensor: read from the base, add the update in fp32, round once, write, and read back to check."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models.adapter import LoraPair
from baseline_bench.models.weights import Tensor

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}

_BLOCK = 2**20  # numbers; four times as many exceed the CPU's cache and take twice as long


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """A plan for computing one tensor of the merged model.

    Attributes:
        tensor: the base's.
        dtype: of the output, as safetensors spells it.
        pair: the update to add; None for none.
        double: whether the constants of its 4-bit form were quantised too; None if training did not quantise it.
    """

    tensor: Tensor
    dtype: str
    pair: LoraPair | None = None
    double: bool | None = None

    @property
    def size(self) -> int:
        """Bytes as written."""
        if self.dtype == self.tensor.dtype:
            return self.tensor.size
        return math.prod(self.tensor.shape) * DTYPES[self.dtype].itemsize

    @property
    def step(self) -> int:
        """Numbers per block: whole rows of a target."""
        columns = self.tensor.shape[-1] if self.pair else 1
        return max(_BLOCK // max(columns, 1), 1) * max(columns, 1)


@dataclass(frozen=True, slots=True)
class WriteStatistics:
    """Measurements from writing one tensor.

    Attributes:
        lost: sum of squares of round(W + D) - (W + D).
        moved: sum of squares of D.
        alone: for a tensor that training held in 4 bits, its sha256 without the adapter's update; else None.
    """

    lost: float
    moved: float
    alone: str | None


@dataclass(frozen=True, slots=True)
class ReadBackCheck:
    """The result of reading one tensor back.

    Attributes:
        same: it equals the base without the adapter, bit for bit.
        finite: every number is finite.
        near: a target's distance from the base is the update's norm, up to what rounding lost (by the triangle
            inequality) and fp32's own rounding; True if the base was in 4 bits.
    """

    same: bool
    finite: bool
    near: bool


def write_tensors(plans: Sequence[TensorPlan], folder: Path) -> dict[str, WriteStatistics]:
    """Write every tensor, in shards of the base's names and order; return the statistics by tensor name."""
    shards: dict[Path, list[TensorPlan]] = {}
    for plan in sorted(plans, key=lambda plan: (plan.tensor.file, plan.tensor.begin)):
        shards.setdefault(plan.tensor.file, []).append(plan)
    statistics = {}
    for shard, shard_plans in shards.items():
        with shard.open("rb") as source, (folder / shard.name).open("wb") as sink:
            sink.write(_build_header(source, shard_plans))
            for plan in shard_plans:
                statistics[plan.tensor.name] = _write_tensor(plan, source, sink)
    return statistics


def check_tensor(plan: TensorPlan, statistics: WriteStatistics, written: Tensor) -> ReadBackCheck:
    """Read a tensor back from disk and compare it with the base's."""
    same = finite = True
    gap = size = 0.0
    digest = hashlib.sha256()
    with plan.tensor.file.open("rb") as before, written.file.open("rb") as after:
        bases = _read_stored(plan.tensor, before, plan.step) if statistics.alone is None else None
        for block in _read_stored(written, after, plan.step):
            finite = finite and _is_finite(block)
            if bases is None:
                digest.update(_as_bytes(block))
                continue
            base = next(bases)
            same = same and torch.equal(_as_integers(base.to(block.dtype)), _as_integers(block))
            if plan.pair:
                gap += _sum_squares(block.float() - base.float())
                size += _sum_squares(base.float())
    if bases is None:
        return ReadBackCheck(statistics.alone == digest.hexdigest(), finite, True)
    slack = math.sqrt(statistics.lost) + 1e-3 * math.sqrt(statistics.moved) + 1e-6 * math.sqrt(size)
    return ReadBackCheck(same, finite, not plan.pair or abs(math.sqrt(gap) - math.sqrt(statistics.moved)) <= slack)


def fold_delta(base: torch.Tensor, delta: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, float, float]:
    """Add W + D in fp32; return the sum, rounded once, and the sums of squares of rounding errors and D."""
    whole = base.float() + delta
    rounded = whole.to(dtype)
    return rounded, _sum_squares(whole - rounded), _sum_squares(delta)


def _sum_squares(block: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(block)) ** 2


def _write_tensor(plan: TensorPlan, source: BinaryIO, sink: BinaryIO) -> WriteStatistics:
    lost = moved = 0.0
    row = 0
    digest = hashlib.sha256()
    sides = _read_sides(plan.pair) if plan.pair else None
    for block in _read_base(plan, source):
        out = block.to(DTYPES[plan.dtype]) if plan.dtype in DTYPES else block
        if plan.double is not None:
            digest.update(_as_bytes(out))
        if plan.pair and sides:
            a, b = sides
            rows = len(block) // plan.pair.shape[1]
            delta = (b[row : row + rows] @ a).mul_(plan.pair.scale)
            out, more_lost, more_moved = fold_delta(block.view_as(delta), delta, out.dtype)
            lost, moved, row = lost + more_lost, moved + more_moved, row + rows
        sink.write(_as_bytes(out.flatten()))
    return WriteStatistics(lost, moved, digest.hexdigest() if plan.double is not None else None)


def _read_base(plan: TensorPlan, source: BinaryIO) -> Iterator[torch.Tensor]:
    """Yield the base's numbers as training used them, a block at a time; other dtypes than floating point as bytes."""
    if plan.double is None:
        yield from _read_stored(plan.tensor, source, plan.step)
        return
    (whole,) = _read_stored(plan.tensor, source, math.prod(plan.tensor.shape))
    from baseline_bench.models import nf4  # loads transformers

    weight: torch.Tensor = nf4.round_trip(whole.view(plan.tensor.shape), double=plan.double)
    yield from torch.split(weight.flatten(), plan.step)


def _read_sides(pair: LoraPair) -> tuple[torch.Tensor, torch.Tensor]:
    """Read lora_A and lora_B in fp32."""
    sides = []
    for tensor in (pair.a, pair.b):
        with tensor.file.open("rb") as stream:
            (whole,) = _read_stored(tensor, stream, math.prod(tensor.shape))
        sides.append(whole.view(tensor.shape).float())
    return sides[0], sides[1]


def _read_stored(tensor: Tensor, stream: BinaryIO, step: int) -> Iterator[torch.Tensor]:
    """Yield a tensor's stored numbers, flat, `step` at a time; other dtypes than floating point as bytes."""
    dtype = DTYPES.get(tensor.dtype, torch.uint8)
    remaining = tensor.size // dtype.itemsize
    stream.seek(tensor.begin)
    while remaining:
        block = torch.empty(min(step, remaining), dtype=dtype)
        buffer = _as_bytes(block)
        if stream.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]  # every binary file has it
            raise BenchError(f"{tensor.file} ended while it was read", "download or save the checkpoint again")
        yield block
        remaining -= len(block)


def _is_finite(block: torch.Tensor) -> bool:
    """Check minimum and maximum only: NaN shows in both, and it is much faster than checking every number."""
    return not block.is_floating_point() or all(bool(bound.isfinite()) for bound in torch.aminmax(block))


def _as_integers(block: torch.Tensor) -> torch.Tensor:
    """View as integers, so that -0 differs from 0; as 8-byte ones where the size allows, which compares fastest."""
    return block.view(torch.uint8 if block.nbytes % 8 else torch.int64)


def _as_bytes(block: torch.Tensor) -> memoryview:
    return block.view(torch.uint8).numpy().data


def _build_header(source: BinaryIO, plans: Sequence[TensorPlan]) -> bytes:
    """Build a shard's header: the base's, with the dtypes and offsets of the output."""
    source.seek(0)
    table: Mapping[str, object] = json.loads(source.read(int.from_bytes(source.read(8), "little")))
    header: dict[str, object] = {key: value for key, value in table.items() if key == "__metadata__"}
    end = 0
    for plan in plans:
        begin, end = end, end + plan.size
        header[plan.tensor.name] = {"dtype": plan.dtype, "shape": list(plan.tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
