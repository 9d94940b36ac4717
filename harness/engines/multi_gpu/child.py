"""Run one engine as a worker process: answer the parent's requests, and end all its processes when the parent ends.

Started as `python -m baseline_bench.engines.multi_gpu.child ENGINE DESCRIPTOR`, the leader of its own process group.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Generator, LogprobGenerator, ReloadableGenerator
from baseline_bench.core.errors import BenchError
from baseline_bench.engines.multi_gpu.messages import (
    EngineReady,
    ItemAnswered,
    RequestDone,
    RequestRefused,
    WorkerRequest,
)


def serve_engine(engine: str, connection: "Connection[Any, Any]") -> None:
    """Answer the parent's requests one after the other, until it asks to close.

    Args:
        engine: its name, for `plugins.load_engine`.
        connection: to the parent.
    """
    requests: SimpleQueue[WorkerRequest] = SimpleQueue()
    # A thread, so that the parent's end is noticed while the engine loads or generates.
    threading.Thread(target=_receive_requests, args=(connection, requests), daemon=True).start()
    holder, last = _EngineHolder(engine), ""
    # Loading the model reports what is missing or broken.
    with suppress(BenchError):
        getattr(plugins.load_engine(engine), "begin", lambda: None)()
    while last != "close":
        request = requests.get()
        last = request.what
        try:
            for message in holder.answer(request):
                _send_message(connection, message)
        except BenchError as error:
            _send_message(connection, RequestRefused(error.what, error.way_out))


class _EngineHolder:
    """A holder of the engine's generator, once it is loaded."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._generator: Any = None

    def answer(self, request: WorkerRequest) -> Iterator[ItemAnswered | RequestDone]:
        """Carry out a request: yield each item as it is answered, then that the request is done."""
        if request.what == "load":
            model, values = request.arguments
            engine = plugins.load_engine(self._engine)
            self._generator = engine.load(model, engine.Options(**dict(values)))
            yield RequestDone(_describe_generator(self._generator))
        elif request.what in ("complete", "logprobs"):
            for name, value in getattr(self._generator, request.what)(*request.arguments):
                yield ItemAnswered(name, value)
            yield RequestDone()
        else:
            yield RequestDone(getattr(self._generator, request.what)(*request.arguments))


def _describe_generator(generator: Generator) -> EngineReady:
    reloads, measures = isinstance(generator, ReloadableGenerator), isinstance(generator, LogprobGenerator)
    return EngineReady(generator.version, dict(generator.settings), generator.context, reloads, measures)


def _send_message(connection: "Connection[Any, Any]", message: ItemAnswered | RequestDone | RequestRefused) -> None:
    try:
        connection.send(message)
    except ConnectionError:
        _end_with_parent()


def _receive_requests(connection: "Connection[Any, Any]", requests: "SimpleQueue[WorkerRequest]") -> None:
    """Queue the parent's requests until the parent ends; then end this process."""
    try:
        while True:
            requests.put(connection.recv())
    except (EOFError, OSError):
        _end_with_parent()


def _end_with_parent() -> None:
    """End this process and all the processes that it started."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    parent: "Connection[Any, Any]" = Connection(int(sys.argv[2]))
    # A forked process that outlives this one must not keep the connection open.
    os.register_at_fork(after_in_child=parent.close)
    status = 1
    try:
        serve_engine(sys.argv[1], parent)
        status = 0
    finally:
        if status:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        # Libraries leave threads and process groups behind that can hang a normal exit.
        os._exit(status)
