"""trainers._loss_monitor: a loss that goes wrong stops the training, one that merely wobbles does not."""

from types import SimpleNamespace

import pytest
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Step
from baseline_bench.trainers._loss_monitor import LossMonitor


def watched(losses, norms=None) -> tuple[list[Step], BenchError | None]:
    """(what was reported, what stopped it)."""
    steps: list[Step] = []
    watch = LossMonitor(steps.append, len(losses), every=3)
    window = [SimpleNamespace(token_ids=(1, 2, 3), start=1)]
    try:
        for number, loss in enumerate(losses, 1):
            watch.add(number, torch.tensor(loss), (norms or [1.0] * len(losses))[number - 1], 0.1, window)
        watch.flush()
    except BenchError as error:
        return steps, error
    return steps, None


@pytest.mark.parametrize(
    "losses",
    [[2.0] * 30, [2.0] * 10 + [4.9] * 20, [0.1] * 10 + [1.1] * 20, [2.0] * 12 + [30.0] + [2.0] * 20, [2.0, 90.0]],
)
def test_losses_that_rise_a_little_or_for_a_moment_go_on(losses):
    """One hard batch is not divergence, and neither is a short run."""
    steps, error = watched(losses)
    assert error is None
    assert [step.loss for step in steps] == pytest.approx(losses)
    assert [step.number for step in steps] == list(range(1, len(losses) + 1))


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([2.0] * 10 + [2.0] * 3 + [6.0] * 20, "from 2.00 to 5.20 by step 21"),
        ([0.5] * 10 + [3.0] * 10, "from 0.50 to 3.00"),
    ],
)
def test_losses_that_stay_far_above_their_beginning_stop(losses, told):
    """More than twice and one nat above the first ten steps, over the last ten."""
    _, error = watched(losses)
    assert told in str(error)
    assert "lower the learning rate" in error.way_out


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_told_with_its_step(bad):
    """Steps before it are reported, even where they were read together."""
    steps, error = watched([2.0, 2.0, bad, 2.0])
    assert ([step.number for step in steps], error.what) == ([1, 2], f"the loss became {bad} at step 3 of 4")
    steps, error = watched([2.0] * 4, [1.0, bad, 1.0, 1.0])
    assert ([step.number for step in steps], error.what) == ([1], f"the gradient's norm became {bad} at step 2 of 4")
