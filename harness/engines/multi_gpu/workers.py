"""The parent's end of a worker: one process that holds an engine, and what it says.

It leads a process group of its own, which is killed with it: an engine has processes of its own too.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Pipe, wait
from typing import Any

from baseline_bench.core.errors import BenchError
from baseline_bench.engines.multi_gpu.messages import (
    ItemAnswered,
    RequestDone,
    RequestRefused,
    WorkerEnded,
    WorkerRequest,
)

# Seconds that an engine may take to end by itself before its process group is killed.
SHUTDOWN_SECONDS = 30.0
RUN_AGAIN = "give the same command again: finished answers are kept"
_QUIET_ENVIRONMENT = {"PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
_CHILD_PROCESS_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


class EngineWorker:
    """The parent's end of one process that holds an engine; it leads a process group that ends with it.

    Args:
        engine: as `plugins.engine` knows it.
        place: (which worker, of how many), counted from 0.
        device: its CUDA_VISIBLE_DEVICES; None leaves this process's.
    """

    def __init__(self, engine: str, place: tuple[int, int], device: str | None) -> None:
        number, of = place
        self.of = of
        self.name = f"engine {number + 1} of {of}" if of > 1 else "the engine's process"
        self.name += "" if device is None else f" (GPU {device})"
        self.gpus = 1 if device is None else device.count(",") + 1
        self.busy = False
        self.connection, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "baseline_bench.engines.multi_gpu.child", engine, str(theirs.fileno())],
                env=_build_environment(device, of),
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def ask(self, what: str, *arguments: Any) -> None:
        """Begin; one thing at a time. That it has ended is heard, not found here."""
        self.busy = True
        with suppress(OSError):
            self.connection.send(WorkerRequest(what, arguments))

    def hear(self) -> Any:
        """The next thing it says; waits for it."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            return WorkerEnded()
        self.busy = isinstance(said, ItemAnswered)
        return said

    def end(self, patience: float = 0.0) -> int:
        """End it and all that it started; its exit status. May be called twice.

        Args:
            patience: seconds that it may take to end by itself.
        """
        try:
            if patience:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(patience)
        finally:
            # Afterwards the number of its group may be another's.
            if not self.connection.closed:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.busy = False
            self.connection.close()
        return self.process.wait()


def explain_failure(worker: EngineWorker, said: RequestRefused | WorkerEnded) -> BenchError:
    """End a worker that refused or has ended, and say why."""
    if isinstance(said, RequestRefused):
        worker.end()
        return BenchError(f"{worker.name}: {said.what}" if worker.of > 1 else said.what, said.way_out)
    code = worker.end(SHUTDOWN_SECONDS)
    if code == -signal.SIGKILL:
        return BenchError(f"{worker.name} was killed, most likely for want of memory", RUN_AGAIN)
    if code < 0:
        return BenchError(f"{worker.name} was ended by signal {-code}", RUN_AGAIN)
    return BenchError(
        f"{worker.name} ended with status {code}, its log is above", "report it, or mend the plug-in it names"
    )


def receive_messages(workers: Sequence[EngineWorker]) -> Iterator[tuple[EngineWorker, Any]]:
    """The next thing that each of those says that have something to say; waits for one of them.

    Each is heard when its turn comes: until then it is busy, and nobody gives it more to do.
    """
    ready: list[Any] = wait([worker.connection for worker in workers])
    for worker in workers:
        if worker.connection in ready:
            yield worker, worker.hear()


def collect_answers(workers: Sequence[EngineWorker]) -> list[Any]:
    """What each answers to a thing that all were asked, in their order.

    Raises:
        BenchError: the first that refuses or ends, at once.
    """
    told: dict[EngineWorker, Any] = {}
    while waiting := [worker for worker in workers if worker not in told]:
        for worker, said in receive_messages(waiting):
            if not isinstance(said, RequestDone):
                raise explain_failure(worker, said)
            told[worker] = said.value
    return [told[worker] for worker in workers]


def _build_environment(device: str | None, of: int) -> Mapping[str, str]:
    threads = str(max(1, (os.cpu_count() or 1) // of))
    kept = {name: value for name, value in os.environ.items() if name not in _CHILD_PROCESS_VARIABLES}
    own = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
    return {**_QUIET_ENVIRONMENT, "OMP_NUM_THREADS": threads, **kept, **own}
