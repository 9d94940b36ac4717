"""Check what vLLM needs of the machine before it starts or measures: vLLM itself reports a lack late or never."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model
from baseline_bench.models import adapter, weights
from vllm.v1.engine.exceptions import EngineDeadError

GIB = 2**30
INVARIANT, OWN_PROCESS = "VLLM_BATCH_INVARIANT", "VLLM_ENABLE_V1_MULTIPROCESSING"
# The adapter ranks that vLLM has kernels for.
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# vLLM computes the logits of a whole row at once, in the model's dtype, then in float32, then compares them.
BYTES_PER_LOGIT = 8
LOWER_MEMORY = (
    "lower -o context=2048 or -o memory=0.8, use -o tensor_parallel=2, or a smaller model; vLLM's log is above"
)


def require_resources(model: Model, options: Any, gpu: bool) -> None:
    """Refuse a model that does not fit, and options that the device cannot fulfil.

    Raises:
        BenchError: the weights (on a CPU with the cache) need more memory than is free, the device has no
            batch-invariant kernels, or CUDA graphs without a GPU.
    """
    if options.batch_invariant:
        _require_invariance(gpu)
    if options.cuda_graphs and not gpu:
        raise BenchError("CUDA graphs need a GPU", "leave -o cuda_graphs=true out here")
    needed = weights.count_bytes(model.folder) // options.tensor_parallel
    if not gpu:
        machine.require_memory(needed + options.kv_gib * GIB, f"{model.name} and its cache")
        return
    free, total = torch.cuda.mem_get_info()
    if needed > options.memory * total or needed > free:
        what = f"{model.name} needs {needed / GIB:.1f} GiB a GPU, {free / GIB:.1f} of {total / GIB:.1f} GiB are free"
        raise BenchError(what, LOWER_MEMORY)


def require_logits_memory(longest: int, vocabulary: int) -> None:
    """Refuse logits that do not fit: an engine that runs out of memory ends, and the other models lose it too."""
    if not torch.cuda.is_available():
        return
    needed, free = longest * vocabulary * BYTES_PER_LOGIT, torch.cuda.mem_get_info()[0]
    if needed > free:
        what = f"logits of {longest} tokens need {needed / GIB:.1f} GiB next to vLLM's share, {free / GIB:.1f} are free"
        raise BenchError(what, "start again with a smaller share: -o memory=0.8 --again")


def _require_invariance(gpu: bool) -> None:
    """Refuse batch invariance where vLLM would accept the switch and silently ignore it."""
    out = "leave -o batch_invariant=true out here"
    if not gpu:
        raise BenchError("vLLM's batch invariance is for GPUs, a CPU build does not honour it", out)
    if torch.cuda.get_device_capability() < (8, 0):
        raise BenchError("vLLM's batch invariance needs a GPU of compute capability 8.0 or more", out)


def choose_kernel_rank(lora: adapter.Adapter) -> int:
    """Return the smallest rank with kernels in vLLM that fits the adapter; BenchError if none is large enough."""
    rank = max(pair.rank for pair in lora.pairs)
    kernel_rank = next((size for size in LORA_RANKS if size >= rank), None)
    if kernel_rank is None:
        what = f"vLLM serves adapters of rank {LORA_RANKS[-1]} at most, not {rank}"
        raise BenchError(what, "merge it: bench score ADAPTER --base MODEL")
    return kernel_rank


@contextmanager
def explain_dead_engine(doing: str, way_out: str) -> Iterator[None]:
    """Report what vLLM was doing when its scheduler process ended.

    Raises:
        BenchError: it ended, or (with the scheduler in this process) the GPU ran out of memory.
    """
    try:
        yield
    except EngineDeadError as error:
        raise BenchError(f"vLLM's process ended while it {doing}", f"its log above says why; {way_out}") from error
    except torch.OutOfMemoryError as error:
        what = f"the GPU ran out of memory while vLLM {doing}"
        raise BenchError(what, f"{way_out}, with a smaller share: -o memory=0.8") from error


@contextmanager
def set_environment(options: Any) -> Iterator[None]:
    """Set the environment variables that vLLM and the processes it starts read, and restore them at the end."""
    variables = {INVARIANT: "1"} if options.batch_invariant else {}
    variables |= {OWN_PROCESS: "0"} if options.in_process else {}
    previous = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ |= variables
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name)
        os.environ |= previous
