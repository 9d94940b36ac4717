"""A generator made of several engines, each a process on a GPU of its own.

Item i of what is asked goes to worker i mod N: it follows from the order of the questions alone, every worker gets as
many as the others to within one, and neighbours of like length, as in a task sorted by difficulty, are spread over all.
What a worker that ends has left unanswered is dealt to the others by the same rule.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Logprobs
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Model, Request, Sampling, TokenLogprobs, TrainingExample, Value
from baseline_bench.engines.multi_gpu import gpus
from baseline_bench.engines.multi_gpu.messages import (
    EngineReady,
    ItemAnswered,
    RequestDone,
    RequestRefused,
    WorkerEnded,
)
from baseline_bench.engines.multi_gpu.workers import (
    RUN_AGAIN,
    SHUTDOWN_SECONDS,
    EngineWorker,
    collect_answers,
    explain_failure,
    receive_messages,
)


class MultiGpuGenerator:
    """A Generator made of workers that hold the same model.

    Args:
        workers: loaded.
        ready: what they told of themselves, all the same.
        warn: takes one line for the user.
    """

    def __init__(self, workers: Sequence[EngineWorker], ready: EngineReady, warn: Callable[[str], None]) -> None:
        self._workers = list(workers)
        self._started = len(workers)
        self._warn = warn
        self.version = ready.version
        self.context = ready.context
        several = {"gpus": sum(worker.gpus for worker in workers)} if len(workers) > 1 else {}
        self.settings: Mapping[str, Value] = {**ready.settings, **several}

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Yield each answer as its worker finishes it.

        Raises:
            BenchError: the last worker ended too.
        """
        # An engine that fails while it generates is of no more use; the others may still finish.
        yield from self._shared(
            _DistributedCall("complete", (sampling, tuple(stop_ids)), self._warn, retires=True), requests
        )

    def close(self) -> None:
        """End every worker; may be called twice."""
        idle = [worker for worker in self._workers if not worker.busy]
        for worker in idle:
            worker.ask("close")
        for worker in self._workers:
            worker.end(SHUTDOWN_SECONDS if worker in idle else 0.0)
        self._workers = []

    def _shared(self, dealt: "_DistributedCall", items: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        if not self._workers:
            raise ValueError("the engine is closed")
        try:
            yield from dealt.run(items, self._workers)
        finally:
            # Whoever is busy still, since the caller went away, would answer the next question with this one's answers.
            for worker in [worker for worker in self._workers if worker.busy]:
                worker.end()
                self._workers.remove(worker)

    def _all(self, what: str, *arguments: Any) -> list[Any]:
        """What every worker answers.

        Raises:
            BenchError: one refused or has ended, now or before.
        """
        if len(self._workers) < self._started:
            raise BenchError(f"{self._started - len(self._workers)} of {self._started} engines have ended", RUN_AGAIN)
        for worker in self._workers:
            worker.ask(what, *arguments)
        return collect_answers(self._workers)


class _ReloadableMultiGpuGenerator(MultiGpuGenerator):
    """A fleet of engines that are Reloading."""

    def reload(self, model: Model) -> None:
        """Let every worker read the model's weights.

        Raises:
            BenchError: one could not, or has ended.
        """
        self._all("reload", model)

    def prompt_logprobs(self, sequences: Sequence[Sequence[int]]) -> Logprobs:
        """What the first worker makes of them."""
        return self.prompt_logprobs_of_each(sequences)[0]

    def prompt_logprobs_of_each(self, sequences: Sequence[Sequence[int]]) -> list[Logprobs]:
        """What every worker makes of all of them: each is proved by itself."""
        return self._all("prompt_logprobs", sequences)


class _LogprobMultiGpuGenerator(MultiGpuGenerator):
    """A fleet of engines that are Measuring."""

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """Share the rows out as requests are.

        Raises:
            BenchError: a worker cannot measure its rows, told when the others are done, or the last worker ended.
        """
        yield from self._shared(_DistributedCall("logprobs", (), self._warn, retires=False), rows)


class _FullMultiGpuGenerator(_ReloadableMultiGpuGenerator, _LogprobMultiGpuGenerator):
    """A fleet of engines that are both."""


_GENERATOR_CLASSES: Mapping[tuple[bool, bool], type[MultiGpuGenerator]] = {
    (False, False): MultiGpuGenerator,
    (True, False): _ReloadableMultiGpuGenerator,
    (False, True): _LogprobMultiGpuGenerator,
    (True, True): _FullMultiGpuGenerator,
}


class MultiGpuStarter:
    """How a fleet is started.

    Its processes may begin before there is a model for them: what an engine imports takes as long as finding the model.

    Args:
        engine: as `plugins.engine` knows it.
        devices: the CUDA_VISIBLE_DEVICES of each worker; None leaves this process's.
        warn: takes one line for the user.
    """

    def __init__(self, engine: str, devices: Sequence[str | None], warn: Callable[[str], None]) -> None:
        self._engine = engine
        self._devices = devices
        self._warn = warn
        self._begun: list[EngineWorker] = []

    def begin(self) -> None:
        """Start the processes, which load their libraries."""
        for number in range(len(self._begun), len(self._devices)):
            self._begun.append(EngineWorker(self._engine, (number, len(self._devices)), self._devices[number]))

    def load(self, model: Model, options: Any) -> MultiGpuGenerator:
        """Start an engine in every one of the processes, all at the same time.

        Args:
            model: what all of them load.
            options: the engine's own Options.

        Raises:
            BenchError: one could not load it, or their settings came out unlike.
        """
        # Not the Options themselves: of an engine that is a file each process has a class of its own.
        values = tuple((field.name, getattr(options, field.name)) for field in fields(options))
        try:
            self.begin()
            for worker in self._begun:
                worker.ask("load", model, values)
            first, *others = collect_answers(self._begun)
            for worker, ready in zip(self._begun[1:], others, strict=True):
                if ready != first:
                    raise BenchError(
                        f"{worker.name} came out as {ready.settings}, the first as {first.settings}",
                        "name GPUs of one kind in CUDA_VISIBLE_DEVICES, or give --gpus 1",
                    )
        except BaseException:
            self.close()
            raise
        workers, self._begun = self._begun, []
        return _GENERATOR_CLASSES[first.reloads, first.measures](workers, first, self._warn)

    def close(self) -> None:
        """End what has begun and holds no model yet; may be called twice."""
        for worker in self._begun:
            worker.end()
        self._begun = []


def build_starter(
    engine: str, options: Any, wanted: int | None, most: int, warn: Callable[[str], None]
) -> MultiGpuStarter | None:
    """How this engine is started on this machine's GPUs; None where one engine in this very process will do.

    Args:
        engine: as `plugins.engine` knows it.
        options: the engine's own Options.
        wanted: GPUs in all; None leaves it to the engine.
        most: so many processes at most.
        warn: takes one line for the user.

    Raises:
        BenchError: fewer GPUs are here than wanted.
    """
    module = plugins.load_engine(engine)
    devices = gpus.assign_gpus(module, options, wanted)[:most]
    if len(devices) == 1 and not getattr(module, "APART", False):
        return None
    return MultiGpuStarter(engine, devices, warn)


class _DistributedCall:
    """One sharing out of items over workers.

    Args:
        what: is asked of them, after the items with `arguments`.
        warn: takes one line for the user.
        retires: a worker that refuses is ended and its items go to the others; else its refusal is raised at the end.
    """

    def __init__(self, what: str, arguments: tuple[Any, ...], warn: Callable[[str], None], *, retires: bool) -> None:
        self._what = what
        self._arguments = arguments
        self._warn = warn
        self._retires = retires
        self._holds: dict[EngineWorker, dict[str, Any]] = {}
        self._next: dict[EngineWorker, list[Any]] = {}
        self._refusal: BenchError | None = None

    def run(self, items: Sequence[Any], crew: list[EngineWorker]) -> Iterator[tuple[str, Any]]:
        """Yield (id, what came of it) of every item; those that end leave the crew.

        Raises:
            BenchError: the last of them ended, or one refused for good.
        """
        self._deal(items, crew)
        while busy := [worker for worker in crew if worker.busy]:
            for worker, said in receive_messages(busy):
                if isinstance(said, ItemAnswered):
                    del self._holds[worker][said.id]
                    yield said.id, said.value
                elif isinstance(said, RequestDone):
                    self._begin(worker)
                elif isinstance(said, RequestRefused) and not self._retires:
                    self._refusal = self._refusal or BenchError(said.what, said.way_out)
                    self._begin(worker)
                else:
                    self._retire(worker, said, crew)
        if self._refusal is not None:
            raise self._refusal

    def _deal(self, items: Sequence[Any], crew: Sequence[EngineWorker]) -> None:
        for place, worker in enumerate(crew):
            self._next.setdefault(worker, []).extend(items[place :: len(crew)])
            if not worker.busy:
                self._begin(worker)

    def _begin(self, worker: EngineWorker) -> None:
        items, self._next[worker] = self._next[worker], []
        self._holds[worker] = {item.id: item for item in items}
        if items:
            worker.ask(self._what, items, *self._arguments)

    def _retire(self, worker: EngineWorker, said: RequestRefused | WorkerEnded, crew: list[EngineWorker]) -> None:
        told = explain_failure(worker, said)
        crew.remove(worker)
        items = [*self._holds[worker].values(), *self._next[worker]]
        if not crew:
            raise BenchError(f"no engine is left: {told.what}", told.way_out) if worker.of > 1 else told
        self._warn(f"{told.what}; its {len(items):,} unfinished items go to the others")
        self._deal(items, crew)
