"""One tensor after another of a merged model: read from the base, folded in fp32, rounded once, written, read back."""

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

_BLOCK = 2**20  # numbers; four times as many fall out of a processor's cache and take twice as long


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One tensor of the merged model.

    Attributes:
        tensor: the base's.
        dtype: as it is written, in the format's own spelling.
        pair: what is added to it; None leaves it as it is.
        double: whether the constants of its 4-bit form were quantised too; None where training held it whole.
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
        """How many numbers are worked on together: whole rows of a target."""
        columns = self.tensor.shape[-1] if self.pair else 1
        return max(_BLOCK // max(columns, 1), 1) * max(columns, 1)


@dataclass(frozen=True, slots=True)
class WriteStatistics:
    """What is known of a tensor once it is written.

    Attributes:
        lost: sum of squares of round(W + D) - (W + D).
        moved: sum of squares of D.
        alone: for a tensor that training held in 4 bits, the sha256 of what it would be without the adapter, else None.
    """

    lost: float
    moved: float
    alone: str | None


@dataclass(frozen=True, slots=True)
class ReadBackCheck:
    """What reading a tensor back showed.

    Attributes:
        same: it is what the base alone would give, bit for bit.
        finite: every number is.
        near: a target is as far from the base as the adapter moves it, give or take what rounding lost (the triangle
            inequality) and fp32's own rounding; True where the base was in 4 bits.
    """

    same: bool
    finite: bool
    near: bool


def write_tensors(parts: Sequence[TensorPlan], folder: Path) -> dict[str, WriteStatistics]:
    """Write every part, in shards of the base's names and order; what is known of each by its name."""
    shards: dict[Path, list[TensorPlan]] = {}
    for part in sorted(parts, key=lambda part: (part.tensor.file, part.tensor.begin)):
        shards.setdefault(part.tensor.file, []).append(part)
    told = {}
    for shard, inside in shards.items():
        with shard.open("rb") as source, (folder / shard.name).open("wb") as sink:
            sink.write(_build_header(source, inside))
            for part in inside:
                told[part.tensor.name] = _write_tensor(part, source, sink)
    return told


def check_tensor(part: TensorPlan, told: WriteStatistics, written: Tensor) -> ReadBackCheck:
    """Read a tensor back from disk and hold it against the base's.

    Args:
        part: what was planned.
        told: what writing it told.
        written: the tensor of the merged model.
    """
    same = finite = True
    gap = size = 0.0
    digest = hashlib.sha256()
    with part.tensor.file.open("rb") as before, written.file.open("rb") as after:
        bases = _read_stored(part.tensor, before, part.step) if told.alone is None else None
        for block in _read_stored(written, after, part.step):
            finite = finite and _is_finite(block)
            if bases is None:
                digest.update(_as_bytes(block))
                continue
            base = next(bases)
            same = same and torch.equal(_as_integers(base.to(block.dtype)), _as_integers(block))
            if part.pair:
                gap += _sum_squares(block.float() - base.float())
                size += _sum_squares(base.float())
    if bases is None:
        return ReadBackCheck(told.alone == digest.hexdigest(), finite, True)
    slack = math.sqrt(told.lost) + 1e-3 * math.sqrt(told.moved) + 1e-6 * math.sqrt(size)
    return ReadBackCheck(same, finite, not part.pair or abs(math.sqrt(gap) - math.sqrt(told.moved)) <= slack)


def fold_delta(base: torch.Tensor, delta: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, float, float]:
    """W + D summed in fp32 and rounded once.

    Returns:
        The sum in `dtype`, the sum of squares of what rounding lost, and that of D.
    """
    whole = base.float() + delta
    rounded = whole.to(dtype)
    return rounded, _sum_squares(whole - rounded), _sum_squares(delta)


def _sum_squares(block: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(block)) ** 2


def _write_tensor(part: TensorPlan, source: BinaryIO, sink: BinaryIO) -> WriteStatistics:
    lost = moved = 0.0
    row = 0
    digest = hashlib.sha256()
    sides = _read_sides(part.pair) if part.pair else None
    for block in _read_base(part, source):
        out = block.to(DTYPES[part.dtype]) if part.dtype in DTYPES else block
        if part.double is not None:
            digest.update(_as_bytes(out))
        if part.pair and sides:
            a, b = sides
            rows = len(block) // part.pair.shape[1]
            delta = (b[row : row + rows] @ a).mul_(part.pair.scale)
            out, more_lost, more_moved = fold_delta(block.view_as(delta), delta, out.dtype)
            lost, moved, row = lost + more_lost, moved + more_moved, row + rows
        sink.write(_as_bytes(out.flatten()))
    return WriteStatistics(lost, moved, digest.hexdigest() if part.double is not None else None)


def _read_base(part: TensorPlan, source: BinaryIO) -> Iterator[torch.Tensor]:
    """The base's numbers as training had them, a block at a time; what is no floating point as bytes."""
    if part.double is None:
        yield from _read_stored(part.tensor, source, part.step)
        return
    (whole,) = _read_stored(part.tensor, source, math.prod(part.tensor.shape))
    from baseline_bench.models import nf4  # loads transformers

    weight: torch.Tensor = nf4.round_trip(whole.view(part.tensor.shape), double=part.double)
    yield from torch.split(weight.flatten(), part.step)


def _read_sides(pair: LoraPair) -> tuple[torch.Tensor, torch.Tensor]:
    """lora_A and lora_B in fp32."""
    sides = []
    for tensor in (pair.a, pair.b):
        with tensor.file.open("rb") as stream:
            (whole,) = _read_stored(tensor, stream, math.prod(tensor.shape))
        sides.append(whole.view(tensor.shape).float())
    return sides[0], sides[1]


def _read_stored(tensor: Tensor, stream: BinaryIO, step: int) -> Iterator[torch.Tensor]:
    """A tensor's numbers as they lie in its file, flat, `step` at a time; what is no floating point as bytes."""
    dtype = DTYPES.get(tensor.dtype, torch.uint8)
    left = tensor.size // dtype.itemsize
    stream.seek(tensor.begin)
    while left:
        block = torch.empty(min(step, left), dtype=dtype)
        place = _as_bytes(block)
        if stream.readinto(place) != len(place):  # type: ignore[attr-defined]  # every binary file has it
            raise BenchError(f"{tensor.file} ended while it was read", "download or save the checkpoint anew")
        yield block
        left -= len(block)


def _is_finite(block: torch.Tensor) -> bool:
    """Least and greatest tell: NaN shows in both, and finding them is much faster than asking every number."""
    return not block.is_floating_point() or all(bool(bound.isfinite()) for bound in torch.aminmax(block))


def _as_integers(block: torch.Tensor) -> torch.Tensor:
    """As integers, so that -0 differs from 0; eight bytes each where they come out even, which compares fastest."""
    return block.view(torch.uint8 if block.nbytes % 8 else torch.int64)


def _as_bytes(block: torch.Tensor) -> memoryview:
    return block.view(torch.uint8).numpy().data


def _build_header(source: BinaryIO, parts: Sequence[TensorPlan]) -> bytes:
    """A shard's header: the base's own, with dtypes and places as they are written."""
    source.seek(0)
    table: Mapping[str, object] = json.loads(source.read(int.from_bytes(source.read(8), "little")))
    header: dict[str, object] = {key: value for key, value in table.items() if key == "__metadata__"}
    end = 0
    for part in parts:
        begin, end = end, end + part.size
        header[part.tensor.name] = {
            "dtype": part.dtype,
            "shape": list(part.tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
