"""Which of a machine's GPUs each engine process of a scoring gets."""

import os
from typing import Any

from baseline_bench.core.contracts import Engine
from baseline_bench.core.errors import BenchError


def assign_gpus(engine: Engine, options: Any, wanted: int | None) -> tuple[str | None, ...]:
    """The CUDA_VISIBLE_DEVICES of each engine process; (None,) is one engine in this process, on what it finds.

    Without a wish an engine that says how many GPUs one process of it takes is given all that are visible, as many
    processes as they are enough for, and any other engine is one process.

    Args:
        engine: the module; its `gpus`, where it has one, tells how many one process takes.
        options: the engine's own Options.
        wanted: GPUs in all; None leaves it to the engine.

    Raises:
        BenchError: fewer are here, or they cannot be divided evenly.
    """
    told = getattr(engine, "gpus", None)
    each = 1 if told is None else int(told(options))
    if wanted is not None and (wanted < 1 or wanted % each):
        raise BenchError(f"--gpus {wanted}, but one engine process takes {each}", f"give --gpus {each} or a multiple")
    if wanted == each or (wanted is None and told is None):
        return (None,)
    there = list_visible_gpus()
    if wanted is not None and wanted > len(there):
        raise BenchError(
            f"--gpus {wanted}, but this machine's torch sees {len(there) or 'no'} GPU{'s' if len(there) > 1 else ''}",
            f"give --gpus {len(there) // each * each}" if len(there) >= each else "leave --gpus out",
        )
    count = (len(there) if wanted is None else wanted) // each
    return tuple(",".join(there[i * each : (i + 1) * each]) for i in range(count)) if count > 1 else (None,)


def list_visible_gpus() -> tuple[str, ...]:
    """What CUDA calls the GPUs that this process may use; those that it names already, where it does."""
    import torch

    count = int(torch.cuda.device_count())
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else map(str, range(count))
    return tuple(name.strip() for name in names)[:count]
