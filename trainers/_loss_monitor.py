"""Report the loss of every step, and stop a training that has diverged."""

import math
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Step, TrainingExample

SMOOTHING_STEPS = 10
_LOWER_RATE = (
    "lower the learning rate (--set lr=...) or lengthen the warm-up; the same command starts from the beginning"
)


class DivergedTrainingError(BenchError):
    """Raised when a training diverged and must start again from the beginning."""


class LossMonitor:
    """Collects steps and reports them in order.

    Args:
        every: number of steps that stay on the device before they are read; reading each would make the GPU wait.
    """

    def __init__(self, report: Callable[[Step], None], total: int, every: int) -> None:
        self._report = report
        self._total = total
        self._every = every
        self._waiting: list[tuple[int, Any, Any, float, Sequence[TrainingExample]]] = []
        self._losses: list[float] = []
        self._began = perf_counter()
        self._told = 0.0

    def add(self, number: int, loss: Any, grad_norm: Any, lr: float, window: Sequence[TrainingExample]) -> None:
        """Add a step; loss and norm may be tensors on a device."""
        self._waiting.append((number, loss, grad_norm, lr, window))
        if len(self._waiting) >= self._every:
            self.flush()

    def flush(self) -> None:
        """Read and report the pending steps; the time since the last flush is spread evenly over them.

        Raises:
            DivergedTrainingError: a loss or gradient is not finite, or the loss has risen far above its start.
        """
        waiting, self._waiting = self._waiting, []
        steps = [(number, float(loss), float(norm), lr, window) for number, loss, norm, lr, window in waiting]
        previous_time, self._told = self._told, perf_counter() - self._began
        for index, (number, loss, norm, lr, window) in enumerate(steps, 1):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                message = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient's norm became {norm}"
                raise DivergedTrainingError(f"{message} at step {number} of {self._total}", _LOWER_RATE)
            self._losses.append(loss)
            tokens, prompt = sum(len(row.token_ids) for row in window), sum(row.start for row in window)
            self._report(
                Step(
                    number=number,
                    total=self._total,
                    loss=loss,
                    lr=lr,
                    grad_norm=norm,
                    rows=len(window),
                    tokens=tokens,
                    supervised=tokens - prompt,
                    seconds=previous_time + (self._told - previous_time) * index / len(steps),
                )
            )
            self._require_sane(number)

    def _require_sane(self, number: int) -> None:
        if len(self._losses) < 2 * SMOOTHING_STEPS:
            return
        parts = (self._losses[:SMOOTHING_STEPS], self._losses[-SMOOTHING_STEPS:])
        first, last = (sum(part) / SMOOTHING_STEPS for part in parts)
        if last > 2 * first + 1:
            raise DivergedTrainingError(
                f"training diverged: the loss rose from {first:.2f} to {last:.2f} by step {number} of {self._total}",
                _LOWER_RATE,
            )
