"""Start, call and end a worker from the parent: one process that holds an engine.

Each worker leads its own process group, which is killed with it, because engines start processes too.
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

# Seconds that an engine has to end by itself before its process group is killed.
SHUTDOWN_SECONDS = 30.0
RUN_AGAIN = "give the same command again: finished answers are kept"
_QUIET_ENVIRONMENT = {"PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
_CHILD_PROCESS_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


class EngineWorker:
    """The parent's end of one process that holds an engine; it leads a process group that ends with it.

    Args:
        engine: its name, for `plugins.load_engine`.
        position: (which worker, of how many), counted from 0.
        device: its CUDA_VISIBLE_DEVICES; None leaves this process's.
    """

    def __init__(self, engine: str, position: tuple[int, int], device: str | None) -> None:
        number, of = position
        self.of = of
        self.name = f"engine {number + 1} of {of}" if of > 1 else "the engine's process"
        self.name += "" if device is None else f" (GPU {device})"
        self.gpus = 1 if device is None else device.count(",") + 1
        self.busy = False
        self.connection, child_connection = Pipe()
        with child_connection:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "baseline_bench.engines.multi_gpu.child",
                    engine,
                    str(child_connection.fileno()),
                ],
                env=_build_environment(device, of),
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(child_connection.fileno(),),
                start_new_session=True,
            )

    def ask(self, what: str, *arguments: Any) -> None:
        """Send a request, one at a time. If the worker has ended, `hear` reports it."""
        self.busy = True
        with suppress(OSError):
            self.connection.send(WorkerRequest(what, arguments))

    def hear(self) -> Any:
        """Wait for the worker's next message and return it."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return WorkerEnded()
        self.busy = isinstance(message, ItemAnswered)
        return message

    def end(self, patience: float = 0.0) -> int:
        """End it and all its processes, and return its exit status; may be called twice.

        Args:
            patience: seconds that it has to end by itself.
        """
        try:
            if patience:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(patience)
        finally:
            # After that the process group id may belong to another process.
            if not self.connection.closed:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.busy = False
            self.connection.close()
        return self.process.wait()


def explain_failure(worker: EngineWorker, message: RequestRefused | WorkerEnded) -> BenchError:
    """End a worker that refused or has ended, and return the error that explains why."""
    if isinstance(message, RequestRefused):
        worker.end()
        return BenchError(f"{worker.name}: {message.what}" if worker.of > 1 else message.what, message.way_out)
    code = worker.end(SHUTDOWN_SECONDS)
    if code == -signal.SIGKILL:
        return BenchError(f"{worker.name} was killed, most likely for want of memory", RUN_AGAIN)
    if code < 0:
        return BenchError(f"{worker.name} was ended by signal {-code}", RUN_AGAIN)
    return BenchError(
        f"{worker.name} ended with status {code}, its log is above", "report it, or correct the plug-in that it names"
    )


def receive_messages(workers: Sequence[EngineWorker]) -> Iterator[tuple[EngineWorker, Any]]:
    """Wait for a message, and yield (worker, message) for each worker that has one.

    Receives each message only when its turn comes: until then the worker counts as busy and gets no more work.
    """
    ready: list[Any] = wait([worker.connection for worker in workers])
    for worker in workers:
        if worker.connection in ready:
            yield worker, worker.hear()


def collect_answers(workers: Sequence[EngineWorker]) -> list[Any]:
    """Collect the answers to a request that all workers were sent, in their order.

    Raises:
        BenchError: as soon as one refuses or ends.
    """
    answers: dict[EngineWorker, Any] = {}
    while waiting := [worker for worker in workers if worker not in answers]:
        for worker, message in receive_messages(waiting):
            if not isinstance(message, RequestDone):
                raise explain_failure(worker, message)
            answers[worker] = message.value
    return [answers[worker] for worker in workers]


def _build_environment(device: str | None, of: int) -> Mapping[str, str]:
    threads = str(max(1, (os.cpu_count() or 1) // of))
    inherited = {name: value for name, value in os.environ.items() if name not in _CHILD_PROCESS_VARIABLES}
    gpu_variables = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
    return {**_QUIET_ENVIRONMENT, "OMP_NUM_THREADS": threads, **inherited, **gpu_variables}
