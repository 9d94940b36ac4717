"""Spread independent work over the cores of this machine."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from baseline_bench.core.errors import BenchError

T = TypeVar("T")
R = TypeVar("R")


def map_in_processes(
    function: Callable[[T], R], items: Sequence[T], least: int, report: Callable[[int, int], object] | None = None
) -> list[R]:
    """Call a function with each item, in as many processes as there are cores, and return the results in order.

    The processes are forks, so that the function may hold what cannot be pickled, such as modules; what it changes in
    memory stays in its process. Few items, one core or a system without forks: everything runs in this process.

    Args:
        function: takes an item; its result and its exceptions can be pickled.
        items: can be pickled.
        least: with fewer items for each process, starting it would cost more than it saves.
        report: called in this process after every item, with (items done, all items).

    Raises:
        BenchError: a process died.
    """
    count = min(_count_cores(), len(items) // least)
    if count < 2 or "fork" not in multiprocessing.get_all_start_methods():
        return _collect(map(function, items), len(items), report)
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(count, context, _InheritedFunction.keep, (function, os.getpid())) as pool:
            results = pool.map(_InheritedFunction.call, items, chunksize=max(1, least // 4))
            return _collect(results, len(items), report)
    except BrokenProcessPool:
        what = f"one of {count} processes of this command died, perhaps for lack of memory"
        raise BenchError(what, "free some memory, then give the same command again") from None


def _collect(results: Iterable[R], total: int, report: Callable[[int, int], object] | None) -> list[R]:
    collected = []
    for result in results:
        collected.append(result)
        if report is not None:
            report(len(collected), total)
    return collected


class _InheritedFunction:
    """The function in a child process, which inherits it."""

    function: Callable[[Any], Any]

    @classmethod
    def keep(cls, function: Callable[[Any], Any], parent: int) -> None:
        cls.function = staticmethod(function)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this process too, without a traceback
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    @classmethod
    def call(cls, item: Any) -> Any:
        return cls.function(item)


def _end_with(parent: int) -> None:
    """End this process after its parent, which may have been killed; otherwise it would wait for work forever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
