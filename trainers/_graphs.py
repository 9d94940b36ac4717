"""Run forward and backward passes as CUDA graphs: a small model's step is bound by thousands of kernel launches.

A pass is padded to one of a few sizes, each recorded once and replayed. The padding is a row of its own that no other
row sees and that predicts nothing, so loss and gradients are those of the unpadded pass.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from baseline_bench.core import trace
from baseline_bench.core.errors import BenchError, first_line
from baseline_bench.core.types import TrainingExample
from baseline_bench.trainers import _masks
from baseline_bench.trainers._packing import PackedPass, count_tokens, pack_examples
from torch.nn.functional import cross_entropy

TOKEN_STEP = 512
IGNORED_LABEL = -100
# Replayed and plain loss may differ only by rounding.
_REPLAY_TOLERANCE = 0.02

Masks = torch.Tensor | dict[str, torch.Tensor] | None
PassSize = tuple[int, int]


def choose_size(tokens: int, predictions: int) -> PassSize:
    """Choose the (tokens, predictions) to which a pass is padded: few sizes, little waste."""
    padded = -(-tokens // TOKEN_STEP) * TOKEN_STEP
    quarter = padded // 4
    return padded, -(-predictions // quarter) * quarter or quarter


def pad_pass(packed: PackedPass, to: PassSize) -> PackedPass:
    """Pad a pass to a size: a last row of zeros, and predictions that do not count."""
    tokens, predictions = to
    missing_tokens, missing_predictions = tokens - packed.ids.shape[1], predictions - len(packed.predict)
    return PackedPass(
        ids=torch.cat([packed.ids, packed.ids.new_zeros(1, missing_tokens)], 1),
        positions=torch.cat([packed.positions, torch.arange(missing_tokens)[None]], 1),
        predict=torch.cat([packed.predict, packed.predict.new_zeros(missing_predictions)]),
        labels=torch.cat([packed.labels, packed.labels.new_full((missing_predictions,), IGNORED_LABEL)]),
    )


def _sum_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED_LABEL)


@dataclass(frozen=True, slots=True)
class _RecordedPass:
    graph: Any
    given: PackedPass
    mask: Masks
    share: torch.Tensor
    loss: torch.Tensor


class CudaGraphs:
    """Recorded passes by size; gradients are added to the parameters' own `.grad`, as a plain backward pass does.

    Args:
        logits: (pass, mask) to the logits of its predictions in fp32.
    """

    def __init__(self, logits: Callable[[PackedPass, Masks], torch.Tensor], network: Any, dtype: torch.dtype) -> None:
        self._logits = logits
        self._network = network
        self._dtype = dtype
        self._recorded: dict[PassSize, _RecordedPass] = {}
        self._pool: Any = None

    def record(self, groups: Iterable[Sequence[TrainingExample]]) -> None:
        """Record every size of the groups' passes, the largest first, so that the others fit into its memory.

        Args:
            groups: the rows of every pass to come.

        Raises:
            BenchError: a pass cannot be recorded, or its replay does not reproduce the loss of the plain pass.
        """
        rows_by_size = {choose_size(*count_tokens(rows)): rows for rows in groups}
        pass_by_size = {size: pack_examples(rows) for size, rows in rows_by_size.items()}
        for size in sorted(pass_by_size, reverse=True):
            try:
                self._recorded[size] = self._record(pad_pass(pass_by_size[size], size))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                what = f"a pass of {size[0]} tokens cannot be recorded as a CUDA graph: {first_line(error)}"
                raise BenchError(what, "--set cuda_graph=false") from error
        with trace.span("check recorded passes"):
            for size, packed in pass_by_size.items():
                # A plain pass of another shape loads other kernels: one unpadded pass is enough.
                self._require_equal(packed, size, padded=size != min(pass_by_size))

    def backward(self, packed: PackedPass, share: float) -> torch.Tensor:
        """Add the gradients of `share` times the summed loss of a pass; return that product."""
        size = choose_size(packed.ids.shape[1], len(packed.predict))
        recorded = self._recorded[size]
        self._give(recorded, pad_pass(packed, size), share)
        recorded.graph.replay()
        return recorded.loss.clone()

    def _give(self, recorded: _RecordedPass, packed: PackedPass, share: float) -> None:
        for name in ("ids", "positions", "predict", "labels"):
            getattr(recorded.given, name).copy_(getattr(packed, name), non_blocking=True)
        new_masks = _masks.build_masks(self._network.config, recorded.given.positions, self._dtype)
        if isinstance(recorded.mask, dict) and isinstance(new_masks, dict):
            for kind, mask in new_masks.items():
                recorded.mask[kind].copy_(mask)
        elif isinstance(recorded.mask, torch.Tensor) and isinstance(new_masks, torch.Tensor):
            recorded.mask.copy_(new_masks)
        recorded.share.fill_(share)

    def _record(self, packed: PackedPass) -> _RecordedPass:
        device = next(self._network.parameters()).device
        static_inputs = packed.to(device)
        mask = _masks.build_masks(self._network.config, static_inputs.positions, self._dtype)
        share = torch.zeros((), device=device)
        if self._pool is None:
            with trace.span("warm up"):
                self._warm_up(static_inputs, mask, share)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            loss = self._pass(static_inputs, mask, share)
        self._pool = graph.pool()
        return _RecordedPass(graph, static_inputs, mask, share, loss)

    def _warm_up(self, static_inputs: PackedPass, mask: Masks, share: torch.Tensor) -> None:
        """Run two plain passes on a separate stream, so that libraries initialise and every `.grad` exists."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._pass(static_inputs, mask, share)
        torch.cuda.current_stream().wait_stream(stream)

    def _pass(self, static_inputs: PackedPass, mask: Masks, share: torch.Tensor) -> torch.Tensor:
        logits = self._logits(static_inputs, mask)
        loss = _sum_losses(logits, static_inputs.labels) * share
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _require_equal(self, packed: PackedPass, size: PassSize, *, padded: bool) -> None:
        """Check that a replay gives the loss of the plain pass."""
        share = 1 / max(1, len(packed.predict))
        replayed = float(self.backward(packed, share))
        with torch.no_grad():
            device_pass = (pad_pass(packed, size) if padded else packed).to(next(self._network.parameters()).device)
            mask = _masks.build_masks(self._network.config, device_pass.positions, self._dtype)
            plain = float(_sum_losses(self._logits(device_pass, mask), device_pass.labels)) * share
        if not abs(replayed - plain) <= _REPLAY_TOLERANCE * max(1.0, abs(plain)):
            what = f"a replayed pass of {size[0]} tokens has loss {replayed:.4f}, the plain one {plain:.4f}"
            raise BenchError(what, "--set cuda_graph=false")
