"""Start, call and end child processes, so that their GPU memory is released for certain; they end with their parent.

A child answers its parent's requests over a connection, one after the other (`core.child_server`). It leads its own
process group, which is killed with it, because libraries and engines start processes too.
"""

import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any, Self, TypeVar

from baseline_bench.core import early_processes, trace
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError

# Seconds that a child has to end by itself before its process group is killed.
SHUTDOWN_SECONDS = 30.0
_WORK_NAMES = {"worker": "training", "reload_reference": "the engine's reference"}
_QUIET_ENVIRONMENT = {"PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false", "TORCH_CPP_LOG_LEVEL": "ERROR"}
_RANK_VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK")


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """A request to a child: call, or what an engine's generator does (load, complete, ..., close)."""

    what: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemAnswered:
    """The answer to one item of a request."""

    id: str
    value: Any


@dataclass(frozen=True, slots=True)
class RequestDone:
    """The end of a request; `value` is its result if it has a single one."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The BenchError that a child raised.

    Attributes:
        kind: its class, or BenchError for one that the parent may not know.
    """

    what: str
    way_out: str | None
    kind: type[BenchError] = BenchError


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The end of a child process."""


class Worker:
    """The parent's end of one child process.

    Args:
        factory: "module:name". The child calls it once with the arguments; the result is called with every request and
            yields the messages of its answer.
        name: of the child, in error messages.
        of: how many children work on the same requests.
    """

    memory_advice = (
        "close what else is running; a training takes less with --set forward_tokens=2048 or "
        "--set gradient_checkpointing=true"
    )
    run_again = "give the same command again: it resumes"

    def __init__(
        self, factory: str, arguments: Sequence[str], environment: Mapping[str, str], name: str, of: int = 1
    ) -> None:
        self.name = name
        self.of = of
        self.busy = False
        self.connection, child_connection = Pipe()
        with trace.span("start process"), child_connection:
            number = child_connection.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "baseline_bench.core.child_server", str(number), factory, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(number,),
                start_new_session=True,
            )

    def ask(self, what: str, *arguments: Any) -> None:
        """Send a request, one at a time. If the child has ended, `hear` reports it."""
        self.busy = True
        with suppress(OSError):
            self.connection.send(WorkerRequest(what, arguments))

    def hear(self) -> Any:
        """Wait for the child's next message and return it."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return WorkerEnded()
        self.busy = isinstance(message, ItemAnswered)
        return message

    def end(self, patience: float = 0.0) -> int:
        """End it and all its processes after `patience` seconds; return its exit status. May be called twice."""
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
        with trace.span("end process"):
            return self.process.wait()

    def close(self) -> None:
        """End it at once; may be called twice."""
        self.end()

    def explain_failure(self, message: RequestRefused | WorkerEnded) -> BenchError:
        """End a child that refused or has ended, and return the error that explains why."""
        if isinstance(message, RequestRefused):
            self.end()
            return message.kind(f"{self.name}: {message.what}" if self.of > 1 else message.what, message.way_out)
        code = self.end(SHUTDOWN_SECONDS)
        if code == -signal.SIGKILL:
            what = f"{self.name} was killed by the system, most likely for want of memory"
            return BenchError(what, self.memory_advice)
        if code < 0:
            return BenchError(f"{self.name} was ended by signal {-code}", self.run_again)
        what = f"{self.name} ended with status {code}, its traceback is above"
        return BenchError(what, "report it, or correct the plug-in that it names")


AnyWorker = TypeVar("AnyWorker", bound=Worker)


def receive_messages(workers: Sequence[AnyWorker]) -> Iterator[tuple[AnyWorker, Any]]:
    """Wait for a message, and yield (worker, message) for each worker that has one.

    Receives each message only when its turn comes: until then the worker counts as busy and gets no more work.
    """
    ready: list[Any] = wait([worker.connection for worker in workers])
    for worker in workers:
        if worker.connection in ready:
            yield worker, worker.hear()


def collect_answers(workers: Sequence[Worker]) -> list[Any]:
    """Collect all workers' answers to a request, in their order; BenchError as soon as one refuses or ends."""
    answers: dict[Worker, Any] = {}
    with trace.wait([worker.process.pid for worker in workers]):
        while waiting := [worker for worker in workers if worker not in answers]:
            for worker, message in receive_messages(waiting):
                if not isinstance(message, RequestDone):
                    raise worker.explain_failure(message)
                answers[worker] = message.value
    return [answers[worker] for worker in workers]


def build_environment(defaults: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Build a child's environment: the parent's without its rank, over `defaults` and under `variables`."""
    inherited = {name: value for name, value in os.environ.items() if name not in _RANK_VARIABLES}
    return {**_QUIET_ENVIRONMENT, **defaults, **inherited, **variables}


def share_threads(processes: int) -> dict[str, str]:
    """Return the variable that gives each process an equal share of the cores."""
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))}


def call_in_child(function: str, argument: object, processes: int = 1) -> Any:
    """Call `module:function(argument, console, rank)` in child processes and return the first one's result.

    Args:
        function: such as "baseline_bench.training.worker:train_in_child".
        argument: is pickled, as the result is.
        processes: how many, one per GPU; each has RANK, LOCAL_RANK and WORLD_SIZE in its environment.

    Raises:
        BenchError: the one that the child raised; or the child ended without a result, because it was killed or by a
            bug, whose traceback it printed.
    """
    start = partial(ChildProcess, function, processes)
    with early_processes.take(function, start) if processes == 1 else start() as process:
        return process.ask(argument)


def begin_call(function: str, *arguments: str) -> None:
    """Start the process that the next `call_in_child` of this function uses, if `early_processes` is open.

    It imports the function's module and calls its `begin`, if it has one, with the arguments, to import what it needs.
    """
    early_processes.begin(function, partial(ChildProcess, function, 1, arguments))


class ChildProcess:
    """Child processes that import a function's module at once, and call it on `ask`; see `call_in_child`.

    A context manager; leaving it ends all of them, whether `ask` was called or not.
    """

    def __init__(self, function: str, processes: int = 1, arguments: Sequence[str] = ()) -> None:
        module = function.partition(":")[0].rpartition(".")[2]
        port = _free_port() if processes > 1 else 0
        self.workers: list[Worker] = []
        try:
            for rank in range(processes):
                environment = _build_rank_environment(rank, processes, port)
                factory, name = f"{__name__}:FunctionServer", _WORK_NAMES.get(module, module)
                self.workers.append(Worker(factory, (function, str(rank), *arguments), environment, name))
        except OSError:
            self.close()
            raise

    def ask(self, argument: object) -> Any:
        """Call the function, once; argument and errors are those of `call_in_child`."""
        for worker in self.workers:
            worker.ask("call", argument)
        return collect_answers(self.workers)[0]

    def close(self) -> None:
        """End the processes; may be called twice."""
        for worker in self.workers:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _build_rank_environment(rank: int, processes: int, port: int) -> Mapping[str, str]:
    """Build the environment of one process; of several, with the variables that torch and accelerate read."""
    if processes == 1:
        return build_environment({}, {})
    size_variables = dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
    rank_variables = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return build_environment(share_threads(processes), {**size_variables, **rank_variables, **address})


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class FunctionServer:
    """In the child: calls the function with the argument of each request; only rank 0 shows its progress."""

    def __init__(self, function: str, rank: str, *arguments: str) -> None:
        logging.disable(logging.WARNING)  # of libraries that would print over the progress bar
        self._function, self._rank = import_object(function), int(rank)
        with suppress(BenchError, ImportError):  # the call itself reports what is missing
            getattr(sys.modules[function.partition(":")[0]], "begin", lambda *_: None)(*arguments)

    def __call__(self, request: WorkerRequest) -> Iterator[RequestDone]:
        """Yield the function's result."""
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            console = Console(sys.stdout, sys.stderr if self._rank == 0 else nowhere)
            value = self._function(*request.arguments, console, self._rank)
        sys.stdout.flush()
        yield RequestDone(value)


def import_object(name: str) -> Any:
    """Import what "module:name" names."""
    module, attribute = name.split(":")
    return getattr(importlib.import_module(module), attribute)
