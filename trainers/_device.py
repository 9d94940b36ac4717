"""The GPUs or the CPU of a training: which there are, how they share the work, what a full one says."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from baseline_bench.core.errors import BenchError
from baseline_bench.trainers._options import Full


def build_accelerator(options: Full) -> Accelerator:
    """DDP over the processes there are, or FSDP2 where the recipe shards."""
    # accelerate looks for several processes on a CPU only when it is told to stay there.
    cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if options.sharding == "none":
        return Accelerator(cpu=cpu)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    made = Accelerator(cpu=cpu, fsdp_plugin=plugin)
    if made.num_processes == 1:
        raise BenchError("sharding = fsdp needs several GPUs", "--gpus 2 or more, or --set sharding=none")
    return made


@contextmanager
def explain_out_of_memory(options: Full, processes: int) -> Iterator[None]:
    """Turn what a full device says into one line with the way out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError; a CPU raises the plain one
        if not _is_out_of_memory(error):
            raise
        ways = []
        if options.forward_tokens > 1024:
            ways.append(f"--set forward_tokens={options.forward_tokens // 2}")
        if not options.gradient_checkpointing:
            ways.append("--set gradient_checkpointing=true")
        if options.optimizer == "adamw" and type(options) is Full:
            ways.append("--set optimizer=adamw_8bit")
        ways.append("--set sharding=fsdp with --gpus" if processes == 1 else "a smaller model")
        raise BenchError("training ran out of memory", ", or ".join(ways)) from error


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    known = any(words in text for words in ("can't allocate memory", "out of memory", "alloc_failed"))
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or known
