"""The child's side of a fleet: hold one engine, do what is asked, and end with all one started when the parent ends.

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
    """Answer what the parent asks, one thing after the other, until it asks to close.

    Args:
        engine: as `plugins.engine` knows it.
        connection: to the parent.
    """
    asks: SimpleQueue[WorkerRequest] = SimpleQueue()
    # The end of the parent is to be noticed while the engine loads or generates, too.
    threading.Thread(target=_receive_requests, args=(connection, asks), daemon=True).start()
    held, last = _EngineHolder(engine), ""
    # What is missing or broken is told where the model is to be loaded.
    with suppress(BenchError):
        getattr(plugins.load_engine(engine), "begin", lambda: None)()
    while last != "close":
        ask = asks.get()
        last = ask.what
        try:
            for said in held.answer(ask):
                _send_message(connection, said)
        except BenchError as error:
            _send_message(connection, RequestRefused(error.what, error.way_out))


class _EngineHolder:
    """The generator, once it is loaded."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._generator: Any = None

    def answer(self, ask: WorkerRequest) -> Iterator[ItemAnswered | RequestDone]:
        """Do it: every item as it comes, and that it is done."""
        if ask.what == "load":
            model, values = ask.arguments
            engine = plugins.load_engine(self._engine)
            self._generator = engine.load(model, engine.Options(**dict(values)))
            yield RequestDone(_describe_generator(self._generator))
        elif ask.what in ("complete", "logprobs"):
            for name, value in getattr(self._generator, ask.what)(*ask.arguments):
                yield ItemAnswered(name, value)
            yield RequestDone()
        else:
            yield RequestDone(getattr(self._generator, ask.what)(*ask.arguments))


def _describe_generator(generator: Generator) -> EngineReady:
    reloads, measures = isinstance(generator, ReloadableGenerator), isinstance(generator, LogprobGenerator)
    return EngineReady(generator.version, dict(generator.settings), generator.context, reloads, measures)


def _send_message(connection: "Connection[Any, Any]", said: ItemAnswered | RequestDone | RequestRefused) -> None:
    try:
        connection.send(said)
    except ConnectionError:
        _end_with_parent()


def _receive_requests(connection: "Connection[Any, Any]", asks: "SimpleQueue[WorkerRequest]") -> None:
    """Take in what is asked, as long as the parent lives."""
    try:
        while True:
            asks.put(connection.recv())
    except (EOFError, OSError):
        _end_with_parent()


def _end_with_parent() -> None:
    """End this process and all that it started."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    parent: "Connection[Any, Any]" = Connection(int(sys.argv[2]))
    # A fork that outlives this process must not look like it.
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
