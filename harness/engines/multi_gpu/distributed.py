"""Combine several engine processes, each on its own GPU, into one generator.

Item i goes to worker i mod N. This depends on the order of the items alone, gives all workers the same number of items
to within one, and spreads neighbours of similar length (as in a task sorted by difficulty) over all workers. When a
worker ends, its unanswered items go to the others by the same rule.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from baseline_bench.core import early_processes, trace
from baseline_bench.core.child_process import (
    SHUTDOWN_SECONDS,
    ItemAnswered,
    RequestDone,
    RequestRefused,
    Worker,
    WorkerEnded,
    build_environment,
    collect_answers,
    receive_messages,
    share_threads,
)
from baseline_bench.core.contracts import Logprobs
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.types import Completion, Model, Request, Sampling, TokenLogprobs, TrainingExample, Value
from baseline_bench.engines.multi_gpu.child import EngineReady


class EngineWorker(Worker):
    """The parent's end of one process that holds an engine.

    Args:
        engine: its name, for `plugins.load_engine`.
        position: (which worker, of how many), counted from 0.
        device: its CUDA_VISIBLE_DEVICES; None leaves this process's.
    """

    memory_advice = run_again = "give the same command again: finished answers are kept"

    def __init__(self, engine: str, position: tuple[int, int], device: str | None) -> None:
        number, of = position
        name = f"engine {number + 1} of {of}" if of > 1 else "the engine's process"
        name += "" if device is None else f" (GPU {device})"
        self.gpus = 1 if device is None else device.count(",") + 1
        gpu_variables = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        environment = build_environment(share_threads(of), gpu_variables)
        super().__init__("baseline_bench.engines.multi_gpu.child:EngineServer", [engine], environment, name, of)


class MultiGpuGenerator:
    """A Generator that distributes its work over workers that hold the same model.

    Args:
        workers: each with the model loaded.
        ready: what each reported after loading, the same for all.
        warn: takes one line for the user.
    """

    def __init__(self, workers: Sequence[EngineWorker], ready: EngineReady, warn: Callable[[str], None]) -> None:
        self._workers = list(workers)
        self._closing: list[EngineWorker] = []
        self._started = len(workers)
        self._warn = warn
        self.version = ready.version
        self.context = ready.context
        several = {"gpus": sum(worker.gpus for worker in workers)} if len(workers) > 1 else {}
        self.settings: Mapping[str, Value] = {**ready.settings, **several}

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Yield each answer as its worker finishes it; BenchError if the last worker ended too."""
        # An engine that fails while it generates cannot be used again; the others may still finish.
        yield from self._shared(
            _DistributedCall("complete", (sampling, tuple(stop_ids)), self._warn, retires=True), requests
        )

    def begin_closing(self) -> None:
        """Ask every idle worker to end, and do not wait for it."""
        idle = [worker for worker in self._workers if not worker.busy]
        for worker in idle:
            worker.ask("close")
        self._closing += idle

    def close(self) -> None:
        """End every worker; may be called twice."""
        self.begin_closing()
        for worker in self._workers:
            worker.end(SHUTDOWN_SECONDS if worker in self._closing else 0.0)
        self._workers = []

    def _shared(self, call: "_DistributedCall", items: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        if not self._workers:
            raise ValueError("the engine is closed")
        try:
            with trace.wait([worker.process.pid for worker in self._workers]):
                yield from call.run(items, self._workers)
        finally:
            # If the caller stopped early, a busy worker would answer the next call with this one's answers.
            for worker in [worker for worker in self._workers if worker.busy]:
                worker.end()
                self._workers.remove(worker)

    def _all(self, what: str, *arguments: Any) -> list[Any]:
        """Send one call to every worker and return their answers, or raise BenchError if one refuses or has ended."""
        if len(self._workers) < self._started:
            ended = self._started - len(self._workers)
            raise BenchError(f"{ended} of {self._started} engines have ended", EngineWorker.run_again)
        for worker in self._workers:
            worker.ask(what, *arguments)
        return collect_answers(self._workers)


class _ReloadableMultiGpuGenerator(MultiGpuGenerator):
    """A multi-GPU generator of engines that are ReloadableGenerators."""

    def reload(self, model: Model) -> None:
        """Make every worker load the model's weights; BenchError if one cannot, or has ended."""
        self._all("reload", model)

    def prompt_logprobs(self, sequences: Sequence[Sequence[int]]) -> Logprobs:
        """Return the first worker's log-probabilities."""
        return self.prompt_logprobs_of_each(sequences)[0]

    def prompt_logprobs_of_each(self, sequences: Sequence[Sequence[int]]) -> list[Logprobs]:
        """Return every worker's log-probabilities of all sequences, so that each reload can be checked."""
        return self._all("prompt_logprobs", sequences)


class _LogprobMultiGpuGenerator(MultiGpuGenerator):
    """A multi-GPU generator of engines that are LogprobGenerators."""

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """Distribute the rows as `complete` does; BenchError, after the others finish, if a worker cannot measure."""
        yield from self._shared(_DistributedCall("logprobs", (), self._warn, retires=False), rows)


class _FullMultiGpuGenerator(_ReloadableMultiGpuGenerator, _LogprobMultiGpuGenerator):
    """A multi-GPU generator of engines that are both."""


_GENERATOR_CLASSES: Mapping[tuple[bool, bool], type[MultiGpuGenerator]] = {
    (False, False): MultiGpuGenerator,
    (True, False): _ReloadableMultiGpuGenerator,
    (False, True): _LogprobMultiGpuGenerator,
    (True, True): _FullMultiGpuGenerator,
}


class MultiGpuStarter:
    """A starter of the worker processes.

    They may start before the model is known: an engine's imports take as long as resolving the model.

    Args:
        engine: its name, for `plugins.load_engine`.
        devices: the CUDA_VISIBLE_DEVICES of each worker; None leaves this process's.
        warn: takes one line for the user.
    """

    def __init__(self, engine: str, devices: Sequence[str | None], warn: Callable[[str], None]) -> None:
        self._engine = engine
        self._devices = devices
        self._warn = warn
        self._begun: list[EngineWorker] = []

    def begin(self) -> None:
        """Start the processes, which import their libraries."""
        for number in range(len(self._begun), len(self._devices)):
            position = number, len(self._devices)
            start = partial(EngineWorker, self._engine, position, self._devices[number])
            only = self._devices == (None,)
            self._begun.append(early_processes.take(f"engine {self._engine}", start) if only else start())

    def load(self, model: Model, options: Any) -> MultiGpuGenerator:
        """Load the model in all processes at once; BenchError if one cannot load it, or their settings differ."""
        # Not the Options object itself: each process imports an engine given as a file as a separate class.
        values = tuple((field.name, getattr(options, field.name)) for field in fields(options))
        try:
            self.begin()
            for worker in self._begun:
                worker.ask("load", model, values)
            first, *others = collect_answers(self._begun)
            for worker, ready in zip(self._begun[1:], others, strict=True):
                if ready != first:
                    what = f"{worker.name} came out as {ready.settings}, the first as {first.settings}"
                    raise BenchError(what, "name GPUs of one kind in CUDA_VISIBLE_DEVICES, or give --gpus 1")
        except BaseException:
            self.close()
            raise
        workers, self._begun = self._begun, []
        return _GENERATOR_CLASSES[first.reloads, first.measures](workers, first, self._warn)

    def close(self) -> None:
        """End the processes that hold no model yet; may be called twice."""
        for worker in self._begun:
            worker.end()
        self._begun = []


class _DistributedCall:
    """One call whose items are distributed over the workers.

    Args:
        what: the generator's method to call with the items and then `arguments`.
        warn: takes one line for the user.
        retires: end a worker that refuses and give its items to the others; else raise its refusal at the end.
    """

    def __init__(self, what: str, arguments: tuple[Any, ...], warn: Callable[[str], None], *, retires: bool) -> None:
        self._what = what
        self._arguments = arguments
        self._warn = warn
        self._retires = retires
        self._holds: dict[EngineWorker, dict[str, Any]] = {}
        self._next: dict[EngineWorker, list[Any]] = {}
        self._refusal: BenchError | None = None

    def run(self, items: Sequence[Any], workers: list[EngineWorker]) -> Iterator[tuple[str, Any]]:
        """Yield (id, answer) of every item; remove workers that end, and raise the BenchError of the last one."""
        self._deal(items, workers)
        while busy := [worker for worker in workers if worker.busy]:
            for worker, message in receive_messages(busy):
                if isinstance(message, ItemAnswered):
                    del self._holds[worker][message.id]
                    yield message.id, message.value
                elif isinstance(message, RequestDone):
                    self._begin(worker)
                elif isinstance(message, RequestRefused) and message.kind is NotFiniteError:
                    raise worker.explain_failure(message)  # the others have the same weights
                elif isinstance(message, RequestRefused) and not self._retires:
                    self._refusal = self._refusal or BenchError(message.what, message.way_out)
                    self._begin(worker)
                else:
                    self._retire(worker, message, workers)
        if self._refusal is not None:
            raise self._refusal

    def _deal(self, items: Sequence[Any], workers: Sequence[EngineWorker]) -> None:
        for index, worker in enumerate(workers):
            self._next.setdefault(worker, []).extend(items[index :: len(workers)])
            if not worker.busy:
                self._begin(worker)

    def _begin(self, worker: EngineWorker) -> None:
        items, self._next[worker] = self._next[worker], []
        self._holds[worker] = {item.id: item for item in items}
        if items:
            worker.ask(self._what, items, *self._arguments)

    def _retire(self, worker: EngineWorker, message: RequestRefused | WorkerEnded, workers: list[EngineWorker]) -> None:
        error = worker.explain_failure(message)
        workers.remove(worker)
        items = [*self._holds[worker].values(), *self._next[worker]]
        if not workers:
            raise BenchError(f"no engine is left: {error.what}", error.way_out) if worker.of > 1 else error
        self._warn(f"{error.what}; its {len(items):,} unfinished items go to the others")
        self._deal(items, workers)
