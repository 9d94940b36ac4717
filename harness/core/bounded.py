"""Run untrusted code, such as a chat template, in a child process with limited time and memory."""

import gc
import os
import pickle
import resource
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

from baseline_bench.core.errors import BenchError

# Processor time of one call, which does not depend on what else the machine does, and memory on top of the parent's.
SECONDS = 5.0
MEMORY = 2**30
_ANSWER_LIMIT = 64 * 2**20


class BoundedFunction:
    """A function whose calls run in a forked child, which the system ends when a call takes too long.

    The child answers one function's calls until another function is called. It sees the objects as they were when it
    was forked.

    Args:
        function: its arguments and results can be pickled.
        name: of the program that it runs, with which an error begins.
    """

    def __init__(self, function: Callable[..., Any], name: str, way_out: str) -> None:
        self._function, self._name, self._way_out = function, name, way_out

    def __call__(self, *values: Any, **keywords: Any) -> Any:
        """Call the function, and raise what it raises; BenchError for too much time, memory or result."""
        result, error = _Child.ask(self._function, (values, keywords))
        if isinstance(error, TimeoutError | MemoryError):
            limit = (
                f"{SECONDS:g} seconds" if isinstance(error, TimeoutError) else f"{MEMORY / 2**20:,.0f} MiB of memory"
            )
            raise BenchError(f"{self._name} takes more than {limit}", self._way_out)
        if error is not None:
            raise error
        return result


class _Child:
    """The one forked child that is alive, and the pipe to it."""

    _lock: ClassVar = threading.Lock()
    _alive: ClassVar["_Child | None"] = None

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.parent = function, os.getpid()
        self.pipe, other_end = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, whose locks the child does not need
            self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(function, other_end)
            finally:
                os._exit(1)
        other_end.close()

    @classmethod
    def ask(cls, function: Callable[..., Any], arguments: object) -> tuple[Any, Exception | None]:
        """Return the function's result and what it raised; a TimeoutError or a MemoryError beyond the limits."""
        with cls._lock:
            if cls._alive is not None and (cls._alive.function is not function or cls._alive.parent != os.getpid()):
                cls._alive.end()
                cls._alive = None
            child = cls._alive = cls._alive or cls(function)
            try:
                child.pipe.send(arguments)
                answer: tuple[Any, Exception | None] = child.pipe.recv()
            except (EOFError, OSError):
                cls._alive = None
                # Without memory a child may end in any way, so every other end counts as that.
                return None, TimeoutError() if child.end() == signal.SIGPROF else MemoryError()
            return answer

    def end(self) -> int:
        """Close the pipe, which ends the child; return the signal that ended it, or 0."""
        self.pipe.close()
        with suppress(ChildProcessError):  # another process's child
            return os.waitpid(self.pid, 0)[1] & 0x7F
        return 0


def _serve(function: Callable[..., Any], pipe: Connection) -> None:
    """Answer calls in the child until the parent closes the pipe or ends."""
    gc.freeze()  # nothing of the parent is finalised here
    _close_files(pipe.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGPROF, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    while True:
        try:
            values, keywords = pipe.recv()
        except EOFError:
            return
        _limit_memory()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            answer = pickle.dumps((function(*values, **keywords), None))
            if len(answer) > _ANSWER_LIMIT:
                raise MemoryError
        except BaseException as error:  # noqa: BLE001  # the parent raises it; a panic in Rust is no Exception
            answer = _pickle_error(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send_bytes(answer)


def _pickle_error(error: BaseException) -> bytes:
    """Pickle an exception for the parent; as a ValueError one that would end it or that cannot be unpickled."""
    with suppress(Exception):  # pickle raises what the exception's class raises, such as for arguments of its own
        if isinstance(error, Exception):
            data = pickle.dumps((None, error.with_traceback(None)))
            pickle.loads(data)
            return data
    return pickle.dumps((None, ValueError(f"{type(error).__name__}: {error}"[:1000])))


def _close_files(kept: int) -> None:
    """Close the parent's files; some are pipes that tell other processes when the parent ends."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.closerange(3, kept)
    os.closerange(kept + 1, max(kept + 1, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 2**20)))


def _limit_memory() -> None:
    """Let this process grow by `MEMORY` bytes; without /proc, as on macOS, do not limit it."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
