"""Score a language model on a task, and say how far the number may be believed.

The functions do what the commands do; tasks, engines and trainers of your own need the types. All of them are imported
when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baseline_bench.api import compare, draw_board, evaluate, load_board, train
    from baseline_bench.core.errors import BenchError
    from baseline_bench.core.types import (
        Completion,
        Job,
        Judgement,
        Message,
        Problem,
        Request,
        Sampling,
        Split,
        TrainingExample,
        TrainingResult,
    )

__version__ = "0.2.0"
__all__ = [
    "BenchError",
    "Completion",
    "Job",
    "Judgement",
    "Message",
    "Problem",
    "Request",
    "Sampling",
    "Split",
    "TrainingExample",
    "TrainingResult",
    "compare",
    "draw_board",
    "evaluate",
    "load_board",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "api" if name.islower() else "core.errors" if name == "BenchError" else "core.types"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
