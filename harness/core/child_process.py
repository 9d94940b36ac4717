"""Call a function in child processes, so that its GPU memory is released for certain; they end with their parent.

A child imports a module. The parent writes the argument as JSON and sends a start byte; the child then calls the
function and writes its result. Several children get the rendezvous variables that torch and accelerate read.
"""

import errno
import importlib
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from baseline_bench.core import plugins, records
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError

_START_BYTE = b"!"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
_WORK_NAMES = {"worker": "training", "reload_reference": "the engine's reference"}
_QUIET_ENVIRONMENT = {"PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def call_in_child(function: str, argument: object, processes: int = 1) -> Any:
    """Call `module:function(argument, console, rank)` in child processes and return the first one's result.

    Args:
        function: such as "baseline_bench.training.worker:train_in_child"; in the first process it returns a JSON value.
        argument: a JSON value.
        processes: how many, one per GPU; each has RANK, LOCAL_RANK and WORLD_SIZE in its environment.

    Raises:
        BenchError: the one that the child raised; or the child ended without a result, because it was killed or by a
            bug, whose traceback it printed.
    """
    with ChildProcess(function, processes) as process:
        return process.ask(argument)


class ChildProcess:
    """Child processes that import the function's module at once and call the function on `ask`.

    A context manager; leaving it ends all of them, whether `ask` was called or not.

    Args:
        function: as for `call_in_child`.
        processes: as for `call_in_child`.
    """

    def __init__(self, function: str, processes: int = 1) -> None:
        self._function = function
        self._place = tempfile.TemporaryDirectory(prefix="bench-")
        self._children: list[subprocess.Popen[bytes]] = []
        port = _free_port() if processes > 1 else 0
        try:
            for rank in range(processes):
                command = [
                    sys.executable,
                    "-m",
                    "baseline_bench.core.child_process",
                    function,
                    self._place.name,
                    str(rank),
                ]
                # Their stdin is a pipe that closes when this process ends; the child then ends too.
                environment = _build_environment(rank, processes, port)
                self._children.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=2))
        except OSError:
            self.close()
            raise

    def ask(self, argument: object) -> Any:
        """Call the function, once; argument and errors are those of `call_in_child`."""
        folder = Path(self._place.name)
        (folder / "asked.json").write_bytes(records.encode_canonical(argument))
        for child in self._children:
            if child.stdin is not None:
                # The exit status shows a child that has ended already.
                with suppress(BrokenPipeError):
                    os.write(child.stdin.fileno(), _START_BYTE)
        code = _wait_for_children(self._children)
        answers = [_read_answer(folder / f"{rank}.json") for rank in range(len(self._children))]
        for answer in answers:
            if "error" in answer:
                raise BenchError(*answer["error"])
        if code or "value" not in answers[0]:
            raise _exit_error(self._function, code)
        return answers[0]["value"]

    def close(self) -> None:
        """End the processes; may be called twice."""
        for child in self._children:
            if child.poll() is None:
                child.terminate()
        for child in self._children:
            child.wait()
            if child.stdin is not None:
                child.stdin.close()
        self._place.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wait_for_children(children: Sequence["subprocess.Popen[bytes]"]) -> int:
    """Return the first failure's exit code, or 0; when one fails end the others, which would wait for it for ever."""
    waiting, failure = list(children), 0
    while waiting:
        for child in list(waiting):
            timeout = 0.2 if len(waiting) > 1 else None
            try:
                code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                continue
            waiting.remove(child)
            if code != 0 and failure == 0:
                failure = code
                for other in waiting:
                    other.terminate()
    return failure


def _build_environment(rank: int, processes: int, port: int) -> Mapping[str, str]:
    inherited = {**_QUIET_ENVIRONMENT, **os.environ}
    if processes == 1:
        return {name: value for name, value in inherited.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    network_variables = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    rank_variables = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
    return {"OMP_NUM_THREADS": threads, **inherited, **network_variables, **rank_variables}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _read_answer(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _exit_error(function: str, code: int) -> BenchError:
    module = function.partition(":")[0].rpartition(".")[2]
    work_name = _WORK_NAMES.get(module, module)
    if code == -9:
        return BenchError(
            f"{work_name} was killed by the system, most likely for want of memory",
            "close what else is running; a training takes less with --set forward_tokens=2048 or "
            "--set gradient_checkpointing=true",
        )
    if code < 0:
        return BenchError(
            f"{work_name} was ended by signal {-code}", "give the same command again: it goes on where it stood"
        )
    return BenchError(
        f"{work_name} ended with status {code}, its traceback is above",
        "report it, or correct the plug-in that it names",
    )


def _serve_call(function: str, folder: Path, rank: int) -> int:
    """Call the function in the child and write its result or error."""
    go = threading.Event()
    threading.Thread(target=_end_with_parent, args=(go,), daemon=True).start()
    logging.disable(logging.WARNING)  # of libraries that would print over the progress bar
    module, name = function.split(":")
    try:
        called = getattr(importlib.import_module(module), name)
        go.wait()
        argument = json.loads((folder / "asked.json").read_bytes())
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            console = Console(sys.stdout, sys.stderr if rank == 0 else nowhere)
            answer = {"value": called(argument, console, rank)}
    except BenchError as error:
        answer = {"error": [error.what, error.way_out]}
    except ModuleNotFoundError as error:
        missing_library = plugins.explain_missing_library(error)
        answer = {"error": [missing_library.what, missing_library.way_out]}
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        what = f"cannot write {error.filename or 'a file'}: {error.strerror}"
        answer = {"error": [what, "free some space or make it writable, then give the same command again"]}
    except KeyboardInterrupt:
        return 130
    records.write_atomically(folder / f"{rank}.json", records.encode_canonical(answer))
    return 1 if "error" in answer else 0


def _end_with_parent(go: threading.Event) -> None:
    while os.read(0, 1) == _START_BYTE:
        go.set()
    os._exit(1)


if __name__ == "__main__":
    status = _serve_call(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries leave threads and process groups that can hang a normal exit.
    os._exit(status)
