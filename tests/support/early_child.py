"""What a child process of `test_early_processes` runs."""

import os
from typing import Any

begun: list[str] = []


def begin(*arguments: str) -> None:
    """Keep what it was begun with."""
    begun.extend(arguments)


def tell(_asked: None, _console: Any, _rank: int) -> dict[str, Any]:
    """Tell who answers, and what it was begun with."""
    return {"begun": begun, "pid": os.getpid()}
