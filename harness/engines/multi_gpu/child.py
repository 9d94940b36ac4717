"""Hold an engine's generator in a worker process and answer the parent's requests with it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.child_process import ItemAnswered, RequestDone, WorkerRequest
from baseline_bench.core.contracts import LogprobGenerator, ReloadableGenerator
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Value


@dataclass(frozen=True, slots=True)
class EngineReady:
    """A loaded generator's description; `reloads` and `measures`: is it a ReloadableGenerator, a LogprobGenerator."""

    version: str
    settings: Mapping[str, Value]
    context: int
    reloads: bool
    measures: bool


class EngineServer:
    """A holder of an engine's generator, once it is loaded; the engine is named as for `plugins.load_engine`."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._generator: Any = None
        # Loading the model reports what is missing or broken.
        with suppress(BenchError):
            getattr(plugins.load_engine(engine), "begin", lambda: None)()

    def __call__(self, request: WorkerRequest) -> Iterator[ItemAnswered | RequestDone]:
        """Carry out a request: yield each item as it is answered, then that the request is done."""
        if request.what == "load":
            model, values = request.arguments
            engine = plugins.load_engine(self._engine)
            self._generator = generator = engine.load(model, engine.Options(**dict(values)))
            abilities = (isinstance(generator, kind) for kind in (ReloadableGenerator, LogprobGenerator))
            settings = dict(generator.settings)
            yield RequestDone(EngineReady(generator.version, settings, generator.context, *abilities))
        elif request.what in ("complete", "logprobs"):
            for name, value in getattr(self._generator, request.what)(*request.arguments):
                yield ItemAnswered(name, value)
            yield RequestDone()
        else:
            yield RequestDone(getattr(self._generator, request.what)(*request.arguments))
