"""Score a language model on a task, and say how far the number may be believed.

The public names below are what tasks, engines and trainers of your own need; they are imported when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
]


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "errors" if name == "BenchError" else "types"
    return getattr(importlib.import_module(f"{__name__}.core.{module}"), name)
