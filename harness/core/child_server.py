"""Answer the parent's requests in a child process, and end all its processes when the parent ends.

Started as `python -m baseline_bench.core.child_server CONNECTION FACTORY ARGUMENT...`, as `child_process.Worker` does.
"""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NoReturn

from baseline_bench.core import plugins, trace
from baseline_bench.core.child_process import RequestRefused, WorkerRequest, import_object
from baseline_bench.core.errors import BenchError, NotFiniteError

_ENGINE_PHASES = {"load": "start engine", "complete": "generate", "logprobs": "measure solutions"}
_ENGINE_PHASES |= {"reload": "reload weights", "prompt_logprobs": "probe engine"}
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def serve(connection: "Connection[Any, Any]", factory: str, arguments: Sequence[str]) -> None:
    """Answer the parent's requests one after the other, until it asks to close.

    Args:
        factory: as for `child_process.Worker`. If it raises a BenchError, that is the answer to the first request.
    """
    requests: SimpleQueue[WorkerRequest] = SimpleQueue()
    # A thread, so that the parent's end is noticed while this process works.
    threading.Thread(target=_receive_requests, args=(connection, requests), daemon=True).start()
    with _sending_refusals(connection):
        answer, last = import_object(factory)(*arguments), ""
        while last != "close":
            request = requests.get()
            last = request.what
            with trace.span(_ENGINE_PHASES.get(last, arguments[0].rpartition(":")[2])), _sending_refusals(connection):
                for message in answer(request):
                    _send_message(connection, message)


@contextmanager
def _sending_refusals(connection: "Connection[Any, Any]") -> Iterator[None]:
    """Send the parent what the user can act on; a bug passes on."""
    try:
        yield
        return
    except BenchError as error:
        refusal = error
    except ModuleNotFoundError as error:
        refusal = plugins.explain_missing_library(error)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        what = f"cannot write {error.filename or 'a file'}: {error.strerror}"
        refusal = BenchError(what, "free some space or make it writable, then give the same command again")
    kind = NotFiniteError if isinstance(refusal, NotFiniteError) else BenchError
    _send_message(connection, RequestRefused(refusal.what, refusal.way_out, kind))


def _send_message(connection: "Connection[Any, Any]", message: Any) -> None:
    try:
        connection.send(message)
    except ConnectionError:
        _end_with_parent()


def _receive_requests(connection: "Connection[Any, Any]", requests: "SimpleQueue[WorkerRequest]") -> None:
    try:
        while True:
            requests.put(connection.recv())
    except (EOFError, OSError):
        _end_with_parent()


def _end_with_parent() -> None:
    """End this process and all the processes that it started."""
    os.killpg(0, signal.SIGKILL)


def run(parent: "Connection[Any, Any]", factory: str, arguments: Sequence[str]) -> NoReturn:
    """Serve the parent's requests and end this process, with status 1 after an exception."""
    # A forked process that outlives this one must not keep the connection open.
    os.register_at_fork(after_in_child=parent.close)
    status = 1
    try:
        serve(parent, factory, arguments)
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) and leaving.code else 1
        raise
    finally:
        if status:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        # Libraries leave threads and process groups behind that can hang a normal exit.
        os._exit(status)


if __name__ == "__main__":
    run(Connection(int(sys.argv[1])), sys.argv[2], sys.argv[3:])
