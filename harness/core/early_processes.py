"""Start processes before their work is known: importing their libraries takes as long as preparing the work."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeVar


class Process(Protocol):
    """One or several processes."""

    def close(self) -> None:
        """End them; may be called twice."""


AnyProcess = TypeVar("AnyProcess", bound=Process)
_waiting: dict[str, Any] | None = None


@contextmanager
def early_processes() -> Iterator[None]:
    """Let `begin` start processes, and end those that nobody took."""
    global _waiting
    outer, _waiting = _waiting, {}
    try:
        yield
    finally:
        unused, _waiting = _waiting, outer
        with ExitStack() as each:
            for process in (unused or {}).values():
                each.callback(process.close)


def begin(name: str, start: Callable[[], Process]) -> None:
    """Start what `take` will probably ask for by this name; do nothing outside `early_processes`."""
    if _waiting is not None and name not in _waiting:
        _waiting[name] = start()


def take(name: str, start: Callable[[], AnyProcess]) -> AnyProcess:
    """Return what `begin` started by this name, else start it now; the caller ends it."""
    early: AnyProcess | None = (_waiting or {}).pop(name, None)
    return start() if early is None else early
