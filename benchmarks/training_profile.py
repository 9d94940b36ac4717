"""Where a step of training gemma-2b's shape spends the GPU's time: its kernels, by what they are for."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmarks import _models, training
from benchmarks._models import GEMMA_2B, TINY
from benchmarks.measuring import Arm, asked, interleave, keep
from benchmarks.training import Way

WAYS = (
    Way("bench, full", training.OUR_WORK[1], "full-main"),
    replace(training.EIGHT_BIT, work=training.OUR_WORK[1]),
    Way("bench, LoRA", training.OUR_WORK[1], "lora-main"),
)
HOW = (
    "Our own training, its last 30 steps under torch.profiler: milliseconds a step of the "
    "kernels that ran on the GPU, summed by the group that a kernel's name puts it in (benchmarks/_profiles.py has the "
    "names). `step_ms` is the clock's, which the profiler itself makes a little longer; what `busy_ms` lacks of it, "
    "the GPU waited."
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked("A profile of training on gemma-2b's shape.", 1, words)
    where = _models.places()
    model = _models.shaped(TINY if how.quick else GEMMA_2B, where)
    rows = training.taken(model, where, training.STEPS * training.BATCH)
    arms = [Arm(way.name, partial(training.once, way, model, rows, quick=False)) for way in WAYS]
    if how.quick:
        arms = [Arm(WAYS[0].name, partial(training.once, WAYS[0], model, rows, quick=True))]
    samples = interleave(arms, how.repeats)
    title = "A step of training on gemma-2b's shape, by kernels"
    keep("training_profile", samples, [], title=title, how=HOW, results=how.results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
