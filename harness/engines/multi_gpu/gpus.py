"""Assign a machine's GPUs to the engine processes of a scoring."""

import os
from typing import Any

from baseline_bench.core.contracts import Engine
from baseline_bench.core.errors import BenchError


def assign_gpus(engine: Engine, options: Any, wanted: int | None) -> tuple[str | None, ...]:
    """Return the CUDA_VISIBLE_DEVICES of each engine process; (None,) is one engine, on the GPUs that it finds itself.

    If `wanted` is None, an engine with a `gpus` function gets as many processes as the visible GPUs allow, and any
    other engine gets one process.

    Args:
        engine: the module; its `gpus` function, if any, returns how many GPUs one process takes.
        wanted: GPUs in all; None leaves it to the engine.

    Raises:
        BenchError: the machine has fewer GPUs, or they cannot be divided evenly.
    """
    count_gpus = getattr(engine, "gpus", None)
    per_engine = 1 if count_gpus is None else int(count_gpus(options))
    if wanted is not None and (wanted < 1 or wanted % per_engine):
        what = f"--gpus {wanted}, but one engine process takes {per_engine}"
        raise BenchError(what, f"give --gpus {per_engine} or a multiple")
    if wanted == per_engine or (wanted is None and count_gpus is None):
        return (None,)
    names = list_visible_gpus()
    if wanted is not None and wanted > len(names):
        raise BenchError(
            f"--gpus {wanted}, but this machine's torch sees {len(names) or 'no'} GPU{'s' if len(names) > 1 else ''}",
            f"give --gpus {len(names) // per_engine * per_engine}" if len(names) >= per_engine else "leave --gpus out",
        )
    count = (len(names) if wanted is None else wanted) // per_engine
    return tuple(",".join(names[i * per_engine : (i + 1) * per_engine]) for i in range(count)) if count > 1 else (None,)


def list_visible_gpus() -> tuple[str, ...]:
    """List the names of the GPUs that this process may use: from CUDA_VISIBLE_DEVICES if set, else their numbers."""
    import torch

    count = int(torch.cuda.device_count())
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = variable.split(",") if variable else map(str, range(count))
    return tuple(name.strip() for name in names)[:count]
