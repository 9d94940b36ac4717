"""Forward and backward passes as CUDA graphs: a small model is bound by the thousands of launches of a step.

A pass is padded to one of a few sizes, each recorded once and replayed. What is padded stands in a row of its own that
nobody sees and that predicts nothing, so that loss and gradients are those of the unpadded pass.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.trainers import _masks
from baseline_bench.trainers._packing import PackedPass
from torch.nn.functional import cross_entropy

TOKEN_STEP = 512
IGNORED_LABEL = -100
# Rounding alone parts the replayed loss from the plain one.
_REPLAY_TOLERANCE = 0.02

Masks = torch.Tensor | dict[str, torch.Tensor] | None
PassSize = tuple[int, int]


def choose_size(packed: PackedPass) -> PassSize:
    """(tokens, predictions) to which a pass is padded: few sizes, little waste."""
    tokens = -(-packed.ids.shape[1] // TOKEN_STEP) * TOKEN_STEP
    quarter = tokens // 4
    return tokens, -(-len(packed.predict) // quarter) * quarter or quarter


def pad_pass(packed: PackedPass, to: PassSize) -> PackedPass:
    """The same pass at a size: a last row of zeros, and predictions that do not count."""
    tokens, predictions = to
    more, fewer = tokens - packed.ids.shape[1], predictions - len(packed.predict)
    return PackedPass(
        ids=torch.cat([packed.ids, packed.ids.new_zeros(1, more)], 1),
        positions=torch.cat([packed.positions, torch.arange(more)[None]], 1),
        predict=torch.cat([packed.predict, packed.predict.new_zeros(fewer)]),
        labels=torch.cat([packed.labels, packed.labels.new_full((fewer,), IGNORED_LABEL)]),
    )


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
        network: whose parameters get the gradients.
        dtype: of the masks.
    """

    def __init__(self, logits: Callable[[PackedPass, Masks], torch.Tensor], network: Any, dtype: torch.dtype) -> None:
        self._logits = logits
        self._network = network
        self._dtype = dtype
        self._recorded: dict[PassSize, _RecordedPass] = {}
        self._pool: Any = None

    def record(self, passes: Iterable[PackedPass]) -> None:
        """Record every size that the passes take, the largest first, so that the others fit into its memory.

        Raises:
            BenchError: a pass cannot be recorded, or a replay does not give the loss of the plain pass.
        """
        first = {choose_size(packed): packed for packed in passes}
        for wanted in sorted(first, reverse=True):
            try:
                self._recorded[wanted] = self._record(pad_pass(first[wanted], wanted))
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise BenchError(
                    f"a pass of {wanted[0]} tokens cannot be recorded as a CUDA graph: {str(error).splitlines()[0]}",
                    "--set cuda_graph=false",
                ) from error
        for wanted, packed in first.items():
            self._require_equal(packed, wanted)

    def backward(self, packed: PackedPass, share: float) -> torch.Tensor:
        """Add the gradients of `share` times the summed loss of a pass; that product."""
        recorded = self._recorded[choose_size(packed)]
        self._give(recorded, pad_pass(packed, choose_size(packed)), share)
        recorded.graph.replay()
        return recorded.loss.clone()

    def _give(self, recorded: _RecordedPass, packed: PackedPass, share: float) -> None:
        for name in ("ids", "positions", "predict", "labels"):
            getattr(recorded.given, name).copy_(getattr(packed, name), non_blocking=True)
        made = _masks.build_masks(self._network.config, recorded.given.positions, self._dtype)
        if isinstance(recorded.mask, dict) and isinstance(made, dict):
            for kind, mask in made.items():
                recorded.mask[kind].copy_(mask)
        elif isinstance(recorded.mask, torch.Tensor) and isinstance(made, torch.Tensor):
            recorded.mask.copy_(made)
        recorded.share.fill_(share)

    def _record(self, packed: PackedPass) -> _RecordedPass:
        device = next(self._network.parameters()).device
        given = packed.to(device)
        mask = _masks.build_masks(self._network.config, given.positions, self._dtype)
        share = torch.zeros((), device=device)
        if self._pool is None:
            self._warm_up(given, mask, share)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            loss = self._pass(given, mask, share)
        self._pool = graph.pool()
        return _RecordedPass(graph, given, mask, share, loss)

    def _warm_up(self, given: PackedPass, mask: Masks, share: torch.Tensor) -> None:
        """Two plain passes on a stream of their own: libraries set themselves up, and every `.grad` comes to be."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._pass(given, mask, share)
        torch.cuda.current_stream().wait_stream(stream)

    def _pass(self, given: PackedPass, mask: Masks, share: torch.Tensor) -> torch.Tensor:
        logits = self._logits(given, mask)
        loss = cross_entropy(logits, given.labels, reduction="sum", ignore_index=IGNORED_LABEL) * share
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _require_equal(self, packed: PackedPass, wanted: PassSize) -> None:
        """A replay gives the loss of the plain, unpadded pass."""
        share = 1 / max(1, len(packed.predict))
        replayed = float(self.backward(packed, share))
        with torch.no_grad():
            here = packed.to(next(self._network.parameters()).device)
            mask = _masks.build_masks(self._network.config, here.positions, self._dtype)
            plain = float(cross_entropy(self._logits(here, mask), here.labels, reduction="sum")) * share
        if not abs(replayed - plain) <= _REPLAY_TOLERANCE * max(1.0, abs(plain)):
            raise BenchError(
                f"a replayed pass of {wanted[0]} tokens has loss {replayed:.4f}, the plain one {plain:.4f}",
                "--set cuda_graph=false",
            )
