"""What vLLM needs of the machine, asked before it starts or measures: what it lacks itself it tells late or never."""

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
# The sizes of adapter that vLLM has kernels for.
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# vLLM makes the logits of a whole row at once, in the model's dtype, then in float32, then compares them for a rank.
BYTES_PER_LOGIT = 8
LOWER_MEMORY = (
    "lower -o context=2048 or -o memory=0.8, use -o tensor_parallel=2, or a smaller model; vLLM's log is above"
)


def require_resources(model: Model, options: Any, gpu: bool) -> None:
    """Refuse what could not be loaded, or not as it was asked.

    Args:
        model: what is to be loaded.
        options: of the engine.
        gpu: whether one is used.

    Raises:
        BenchError: the weights, and on a CPU the cache, need more than is free, or kernels that no batch changes are
            asked of a device that lacks them, or CUDA graphs without a GPU.
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
        raise BenchError(
            f"{model.name} needs {needed / GIB:.1f} GiB a GPU, {free / GIB:.1f} of {total / GIB:.1f} GiB are free",
            LOWER_MEMORY,
        )


def require_logits_memory(longest: int, vocabulary: int) -> None:
    """Ask beforehand: an engine that runs out of memory ends, and with it the other models' turns.

    Args:
        longest: tokens of the longest row.
        vocabulary: how many tokens there are.

    Raises:
        BenchError: the GPU has less memory left.
    """
    if not torch.cuda.is_available():
        return
    needed, free = longest * vocabulary * BYTES_PER_LOGIT, torch.cuda.mem_get_info()[0]
    if needed > free:
        raise BenchError(
            f"logits of {longest} tokens need {needed / GIB:.1f} GiB beside vLLM's share, {free / GIB:.1f} are free",
            "start anew with a smaller share: -o memory=0.8 --again",
        )


def _require_invariance(gpu: bool) -> None:
    """Refuse where vLLM would take the switch and not honour it, which it does without a word."""
    out = "leave -o batch_invariant=true out here"
    if not gpu:
        raise BenchError("vLLM's batch invariance is for GPUs, a CPU build does not honour it", out)
    if torch.cuda.get_device_capability() < (8, 0):
        raise BenchError("vLLM's batch invariance needs a GPU of compute capability 8.0 or more", out)


def choose_kernel_rank(beside: adapter.Adapter) -> int:
    """The least of the sizes that vLLM has kernels for and that holds every rank of the adapter.

    Raises:
        BenchError: there is none.
    """
    most = max(pair.rank for pair in beside.pairs)
    room = next((size for size in LORA_RANKS if size >= most), None)
    if room is None:
        raise BenchError(
            f"vLLM serves adapters of rank {LORA_RANKS[-1]} at most, not {most}",
            "merge it: bench score ADAPTER --base MODEL",
        )
    return room


@contextmanager
def explain_dead_engine(doing: str, way_out: str) -> Iterator[None]:
    """Say what vLLM was doing when the process that it schedules and computes in ended.

    Raises:
        BenchError: it did, or the GPU lacked memory where vLLM schedules in this process.
    """
    try:
        yield
    except EngineDeadError as error:
        raise BenchError(f"vLLM's process ended while it {doing}", f"its log above says why; {way_out}") from error
    except torch.OutOfMemoryError as error:
        raise BenchError(
            f"the GPU ran out of memory while vLLM {doing}", f"{way_out}, with a smaller share: -o memory=0.8"
        ) from error


@contextmanager
def set_environment(options: Any) -> Iterator[None]:
    """Let vLLM, and the processes that it starts meanwhile, find what it takes from the environment alone."""
    wanted = {INVARIANT: "1"} if options.batch_invariant else {}
    wanted |= {OWN_PROCESS: "0"} if options.in_process else {}
    before = {name: os.environ[name] for name in wanted if name in os.environ}
    os.environ |= wanted
    try:
        yield
    finally:
        for name in wanted:
            os.environ.pop(name)
        os.environ |= before
