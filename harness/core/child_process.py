"""One stage in child processes, so that a GPU's memory really comes back; it ends when its parent does.

The child loads a module, the parent writes what is asked as JSON and lets it go, the child calls the function and
writes what came of it. Several are given the rendezvous that torch and accelerate read from the environment.
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


def call_in_child(function: str, asked: object, processes: int = 1) -> Any:
    """Call `module:function(asked, screen, rank)` in child processes; what the first of them returns.

    Args:
        function: such as "baseline_bench.training.worker:train_in_child"; in the first process it returns a JSON value.
        asked: a JSON value.
        processes: how many, one a GPU; each finds RANK, LOCAL_RANK and WORLD_SIZE in its environment.

    Raises:
        BenchError: the one that the child raised, or that it ended without a word: killed, or by a bug whose traceback
            it printed.
    """
    with ChildProcess(function, processes) as begun:
        return begun.ask(asked)


class ChildProcess:
    """Child processes that load the function's module at once, and call it when they are asked.

    A context manager, after which none of them is left, asked or not.

    Args:
        function: as for `run`.
        processes: as for `run`.
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
                # Their stdin is a pipe that ends when this process does, and with it the child.
                environment = _build_environment(rank, processes, port)
                self._children.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=2))
        except OSError:
            self.close()
            raise

    def ask(self, asked: object) -> Any:
        """Call the function, once; arguments and errors are those of `run`."""
        folder = Path(self._place.name)
        (folder / "asked.json").write_bytes(records.encode_canonical(asked))
        for child in self._children:
            if child.stdin is not None:
                # One that has ended already is seen by its status.
                with suppress(BrokenPipeError):
                    os.write(child.stdin.fileno(), _START_BYTE)
        code = _wait_for_children(self._children)
        told = [_read_answer(folder / f"{rank}.json") for rank in range(len(self._children))]
        for value in told:
            if "error" in value:
                raise BenchError(*value["error"])
        if code or "value" not in told[0]:
            raise _exit_error(self._function, code)
        return told[0]["value"]

    def close(self) -> None:
        """End what runs; may be called twice."""
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
    """The first failure's exit code, or 0; when one fails the others are ended: they would wait for it for ever."""
    waiting, failure = list(children), 0
    while waiting:
        for child in list(waiting):
            with_patience = 0.2 if len(waiting) > 1 else None
            try:
                code = child.wait(with_patience)
            except subprocess.TimeoutExpired:
                continue
            waiting.remove(child)
            if code != 0 and failure == 0:
                failure = code
                for other in waiting:
                    other.terminate()
    return failure


def _build_environment(rank: int, processes: int, port: int) -> Mapping[str, str]:
    alone = {**_QUIET_ENVIRONMENT, **os.environ}
    if processes == 1:
        return {name: value for name, value in alone.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
    return {"OMP_NUM_THREADS": threads, **alone, **shared, **own}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _read_answer(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def _exit_error(function: str, code: int) -> BenchError:
    module = function.partition(":")[0].rpartition(".")[2]
    what = _WORK_NAMES.get(module, module)
    if code == -9:
        return BenchError(
            f"{what} was killed by the system, most likely for want of memory",
            "close what else is running; a training takes less with --set forward_tokens=2048 or "
            "--set gradient_checkpointing=true",
        )
    if code < 0:
        return BenchError(
            f"{what} was ended by signal {-code}", "give the same command again: it goes on where it stood"
        )
    return BenchError(
        f"{what} ended with status {code}, its traceback is above", "report it, or mend the plug-in it names"
    )


def _serve_call(function: str, folder: Path, rank: int) -> int:
    """The child: do the work, write what came of it."""
    go = threading.Event()
    threading.Thread(target=_end_with_parent, args=(go,), daemon=True).start()
    logging.disable(logging.WARNING)  # libraries that would talk over the progress bar
    module, name = function.split(":")
    try:
        work = getattr(importlib.import_module(module), name)
        go.wait()
        asked = json.loads((folder / "asked.json").read_bytes())
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            console = Console(sys.stdout, sys.stderr if rank == 0 else nowhere)
            told = {"value": work(asked, console, rank)}
    except BenchError as error:
        told = {"error": [error.what, error.way_out]}
    except ModuleNotFoundError as error:
        absent = plugins.missing(error)
        told = {"error": [absent.what, absent.way_out]}
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        what = f"cannot write {error.filename or 'a file'}: {error.strerror}"
        told = {"error": [what, "free some space or make it writable, then give the same command again"]}
    except KeyboardInterrupt:
        return 130
    records.write_atomically(folder / f"{rank}.json", records.encode_canonical(told))
    return 1 if "error" in told else 0


def _end_with_parent(go: threading.Event) -> None:
    while os.read(0, 1) == _START_BYTE:
        go.set()
    os._exit(1)


if __name__ == "__main__":
    status = _serve_call(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries leave threads and process groups behind that can hang a normal exit.
    os._exit(status)
