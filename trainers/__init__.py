"""Trainers: examples in, weights out. Each module is one trainer and has the trainer's name.

Your own trainers import the parts below from here. They are loaded on first use, since most need torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baseline_bench.trainers._foreign import build_columns, format_jsonl
    from baseline_bench.trainers._network import DTYPES, load_base, save_weights
    from baseline_bench.trainers._options import ExternalOptions, Full
    from baseline_bench.trainers._sft import TrainingMethod, run_training

__all__ = [
    "DTYPES",
    "ExternalOptions",
    "Full",
    "TrainingMethod",
    "build_columns",
    "format_jsonl",
    "load_base",
    "run_training",
    "save_weights",
]
_MODULES = {
    "_foreign": ("build_columns", "format_jsonl"),
    "_network": ("DTYPES", "load_base", "save_weights"),
    "_options": ("ExternalOptions", "Full"),
    "_sft": ("TrainingMethod", "run_training"),
}


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
