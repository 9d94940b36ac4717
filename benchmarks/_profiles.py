"""A training under torch.profiler, in a child process: what its kernels are, and what the GPU spends on each kind."""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from baseline_bench.core.display import Console
from baseline_bench.core.types import Step
from torch.profiler import ProfilerActivity, profile

from benchmarks import _trainings

# The first that fits a kernel's name, in this order.
KINDS: Mapping[str, str] = {
    "attention": r"flash|fmha|attention|sdpa|softmax.*mem_eff",
    "matrix_products": r"gemm|nvjet|cutlass|cublas|xmma|splitk|mm\b|matmul",
    "optimizer": r"optimizer|adam",
    "gradient_norm": r"norm_|lpnorm|foreach_norm|multi_tensor_apply",
    "copies_and_casts": r"copy|memcpy|_to_copy|cat_array|catarray",
    "fills": r"memset|fill|zero_",
    "losses": r"log_softmax|softmax|nll_loss|cross_entropy",
    "reductions": r"reduce|sum|mean",
    "elementwise": r"elementwise|vectorized|unrolled|triton|mul|add|gelu|silu|pow|rsqrt|index",
}
_SHOWN = 40


def work(asked: Mapping[str, Any], console: Console, rank: int) -> dict[str, float]:
    """Train as `_trainings.work` does, its last steps but the first of them under the profiler.

    Returns:
        Milliseconds a step: of the clock ("step_ms"), of all kernels ("busy_ms"), and of each kind of them.
    """
    activity = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU
    profiler = profile(activities=[activity])
    marks: list[Step] = []

    def follow(step: Step) -> None:
        # Steps are reported several at a time, the last of them when the GPU has done all.
        if step.number in (asked["skip"], asked["steps"]):
            marks.append(step)
            (profiler.start if step.number == asked["skip"] else profiler.stop)()

    _trainings.work(asked, console, rank, follow)
    if rank > 0:
        return {}
    began, ended = marks
    steps = ended.number - began.number
    spent = [(event.key, _milliseconds(event, activity) / steps) for event in profiler.key_averages()]
    for name, milliseconds in sorted(spent, key=lambda pair: -pair[1])[:_SHOWN]:
        sys.stderr.write(f"{milliseconds:8.3f} ms  {kind(name):16}  {name[:150]}\n")
    step = 1000 * (ended.seconds - began.seconds) / steps
    return {"step_ms": step, "busy_ms": sum(milliseconds for _, milliseconds in spent), **grouped(spent)}


def _milliseconds(event: Any, activity: ProfilerActivity) -> float:
    """What an event's own kernels took, or on a CPU the operation itself."""
    own = event.self_device_time_total if activity is ProfilerActivity.CUDA else event.self_cpu_time_total
    return float(own) / 1000


def kind(name: str) -> str:
    """What a kernel is for, by its name."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name.lower())), "other")


def grouped(spent: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The sum of each kind, all kinds in their order."""
    sums = dict.fromkeys([f"{name}_ms" for name in (*KINDS, "other")], 0.0)
    for name, milliseconds in spent:
        sums[f"{kind(name)}_ms"] += milliseconds
    return sums
