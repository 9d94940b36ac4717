"""Set up a training's GPUs or CPU, and explain out-of-memory errors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError
from baseline_bench.trainers._options import Full


def build_accelerator(options: Full) -> Accelerator:
    """Build DDP over the started processes, or FSDP2 if the recipe shards."""
    # accelerate supports several processes on a CPU only with cpu=True.
    cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if options.sharding == "none":
        return Accelerator(cpu=cpu)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    accelerator = Accelerator(cpu=cpu, fsdp_plugin=plugin)
    if accelerator.num_processes == 1:
        raise BenchError("sharding = fsdp needs several GPUs", "--gpus 2 or more, or --set sharding=none")
    return accelerator


@contextmanager
def explain_out_of_memory(options: Full, processes: int) -> Iterator[None]:
    """Turn an out-of-memory error into a BenchError with a way out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError; a CPU raises the plain one
        if not machine.is_out_of_memory(error):
            raise
        remedies = []
        if options.forward_tokens > 1024:
            remedies.append(f"--set forward_tokens={options.forward_tokens // 2}")
        if not options.gradient_checkpointing:
            remedies.append("--set gradient_checkpointing=true")
        if options.optimizer == "adamw" and type(options) is Full:
            remedies.append("--set optimizer=adamw_8bit")
        remedies.append("--set sharding=fsdp with --gpus" if processes == 1 else "a smaller model")
        raise BenchError("training ran out of memory", ", or ".join(remedies)) from error
