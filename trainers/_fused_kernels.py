"""Norms, rotary embedding and MLP by liger-kernel: the numbers of plain PyTorch up to rounding, in far fewer kernels.

The library is optional (`pip install liger-kernel`). Without it, or for a model that it does not know, nothing changes.
"""

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from baseline_bench.core.errors import BenchError, first_line

# A loss may change by this share: rounding in bf16 changes it by a few thousandths.
_TOLERANCE = 0.02
_PLAIN = "--set fused_kernels=false"

if torch.cuda.is_available():
    with suppress(ImportError):  # two seconds, while the process that trains still waits for its rows; `fuse` reports
        import liger_kernel.transformers.monkey_patch  # noqa: F401


def fuse(network: Any, measure_loss: Callable[[], float]) -> bool:
    """Replace a network's modules in place where liger-kernel knows its architecture; return whether it does.

    Args:
        network: a transformers model, or PEFT's wrapper of one.
        measure_loss: computes the mean loss of a few tokens; called before and after.

    Raises:
        BenchError: this liger-kernel does not fit this transformers, or the loss changes by more than rounding.
    """
    if importlib.util.find_spec("liger_kernel") is None:
        return False
    plain = network.get_base_model() if hasattr(network, "get_base_model") else network
    try:
        from liger_kernel.transformers import monkey_patch as liger

        if plain.config.model_type not in liger.MODEL_TYPE_TO_APPLY_LIGER_FN:
            return False
        before = measure_loss()
        # The loss stays this project's own: it is computed for the supervised tokens alone.
        liger._apply_liger_kernel_to_instance(plain, cross_entropy=False, fused_linear_cross_entropy=False)
        after = measure_loss()
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, ImportError, TypeError, RuntimeError) as error:
        what = f"liger-kernel cannot run {plain.config.model_type} here: {first_line(error)}"
        raise BenchError(what, _PLAIN) from error
    if not abs(after - before) <= _TOLERANCE * max(1.0, abs(before)):
        what = f"with liger-kernel the loss of the same tokens is {after:.4f}, {before:.4f} without"
        raise BenchError(what, _PLAIN)
    return True
