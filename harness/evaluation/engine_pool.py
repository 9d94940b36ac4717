"""Own the engine of a command: start it once, reuse it for every model, and end it with all its processes.

Starting an engine takes a minute, reloading its weights half a second. A reload counts only if it can be verified, see
`reload_reference`; else the engine starts again.
"""

import filecmp
import importlib.util
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Self

from baseline_bench.core import child_process, early_processes, machine, trace
from baseline_bench.core.contracts import Generator, ReloadableGenerator, ReloadableGeneratorGroup
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model
from baseline_bench.core.untrusted import read_object
from baseline_bench.engines.multi_gpu.distributed import EngineWorker, MultiGpuGenerator, MultiGpuStarter
from baseline_bench.evaluation.plan import EvaluationPlan, ResolvedEngine
from baseline_bench.evaluation.reload_reference import (
    REFERENCE_FUNCTION,
    ReferenceLogprobs,
    ReloadCheck,
    build_probe_sequences,
    check_reload,
    compute_bound,
    describe_too_similar,
    measure_distance,
)
from baseline_bench.models import weights

_NON_SHAPE_KEYS = ("_name_or_path", "transformers_version")
_VOCABULARY_FILES = tuple(sorted({name for names in weights.TOKENIZER_FILE_SETS for name in names}))
_TOKENIZER_FILES = (*_VOCABULARY_FILES, "added_tokens.json", "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True, slots=True)
class LoadInfo:
    """How a generator loaded a model's weights; the seconds include failed attempts.

    Attributes:
        path: "loaded" (an engine's first model, or every model if it cannot reload), "reloaded" (into the running
            engine, verified) or "restarted" (the reload failed and the engine was started again).
        load: seconds to start the engine; None if none was started.
        reload: seconds to reload; None if nothing was reloaded.
        proof: seconds to probe, after a load (for `noise`) and after a reload; None if nothing was probed.
        noise: distance of the engine from its own weights' reference at the last load; None without a reference. Of
            several engines the largest.
        found: the check after a reload; None if nothing was reloaded. Of several engines the worst.
        why: the reason for a restart; None otherwise.
    """

    path: Literal["loaded", "reloaded", "restarted"]
    load: float | None = None
    reload: float | None = None
    proof: float | None = None
    noise: float | None = None
    found: ReloadCheck | None = None
    why: str | None = None


class EnginePool:
    """The engine of a command, a context: it starts when it is first needed and ends with the context.

    An engine that runs in processes of its own may start them earlier, while the models are still being prepared: they
    import their libraries meanwhile. On several GPUs it is one process on each, behind one generator.

    Args:
        early: how many models are being prepared; their processes start with the context. 0 starts none.
        most: the maximum number of processes that share the questions; None allows one for each request.

    Attributes:
        references: of the models to come, by weights_sha256; a model without one restarts the engine.
        sequences: the token ids that the references were measured with.
    """

    def __init__(self, engine: ResolvedEngine, console: Console, *, early: int = 0, most: int | None = None) -> None:
        self.references: Mapping[str, ReferenceLogprobs] = {}
        self.sequences: Sequence[Sequence[int]] = ()
        self._engine = engine
        self._console = console
        self._early = early
        self._most = most
        self._starter: MultiGpuStarter | None = None
        self._plans: Sequence[EvaluationPlan] = ()
        self._generator: Generator | None = None
        self._model: Model | None = None
        self._noise: float | None = None

    def __enter__(self) -> Self:
        try:
            if self._early:
                self._start_processes()
            if self._early > 1 and self._starter is not None and self._engine.reloads:
                child_process.begin_call(REFERENCE_FUNCTION)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with trace.span("end engine"), ExitStack() as each:  # one that fails to end keeps no other from ending
            if self._starter is not None:
                each.callback(self._starter.close)
            each.callback(self.close)

    def expect(self, plans: Sequence[EvaluationPlan]) -> None:
        """Say which plans need the engine, the base first, so that references can be measured before it starts."""
        self._plans = plans

    def generator(self, plan: EvaluationPlan) -> tuple[Generator, LoadInfo]:
        """Return a generator that holds the plan's weights; the one returned before must not be used any more."""
        self._plans = self._plans or (plan,)
        self._most = self._most or max(len(each.prepared_task.requests) for each in self._plans)
        self._start_processes()
        if not self.sequences:
            self._measure_references()
        self._console.say(f"engine {self._engine.name}: loading {plan.model.name}")
        return self.load(plan.model)

    def release(self, plan: EvaluationPlan) -> None:
        """Say that a plan needs the engine no more: after the last one it begins to end, while answers are graded."""
        self._plans = [other for other in self._plans if other is not plan]
        if not self._plans and isinstance(self._generator, MultiGpuGenerator):
            self._generator.begin_closing()

    def load(self, model: Model) -> tuple[Generator, LoadInfo]:
        """Load a model's weights: into the running engine if that can be verified, else by starting the engine."""
        self._start_processes()
        loaded_model, self._model = self._model, None
        load_info = LoadInfo("loaded")
        if isinstance(self._generator, ReloadableGenerator) and loaded_model is not None:
            load_info = self._reload(self._generator, loaded_model, model)
            if load_info.why is None:
                self._model = model
                return self._generator, load_info
            self._console.say(f"the engine restarts for {model.name}: {load_info.why}")
            load_info = replace(load_info, path="restarted")
        return self._start(model, load_info)

    def close(self) -> None:
        """End the engine and release its memory; may be called twice."""
        if self._generator is not None:
            self._generator.close()
        self._generator = self._model = self._noise = None

    def _start_processes(self) -> None:
        """Start the engine's own processes if it has any, once; they load their libraries meanwhile."""
        devices = self._engine.devices[: self._most]
        if self._starter is None and (len(devices) > 1 or self._engine.apart):
            self._starter = MultiGpuStarter(self._engine.name, devices, self._console.warn)
            self._starter.begin()

    def _measure_references(self) -> None:
        """Measure each model's log-probabilities of the probe sequences before the engine takes the memory."""
        # The probe's ids belong to one tokenizer; models with another tokenizer restart the engine.
        model_tokenizer = self._plans[0].model_tokenizer
        folders = {
            plan.model.weights_sha256: plan.model.folder
            for plan in self._plans
            if plan.model.weights_sha256 and plan.model_tokenizer.tokenizer_sha256 == model_tokenizer.tokenizer_sha256
        }
        if len(folders) < 2 or not self._engine.reloads:
            return
        self._console.say(f"measuring reference log-probabilities of {len(folders)} models, to verify reloads")
        self.sequences = build_probe_sequences(self._plans[0].model, model_tokenizer)
        request = list(folders.values()), self.sequences, "bfloat16"
        self.references = dict(zip(folders, child_process.call_in_child(REFERENCE_FUNCTION, request), strict=True))

    def _reload(self, generator: ReloadableGenerator, loaded_model: Model, model: Model) -> LoadInfo:
        """Try to reload; in the result `why` is None if the generator holds the model's weights."""
        load_info = LoadInfo("reloaded", noise=self._noise)
        reason = _describe_incompatibility(loaded_model.folder, model.folder)
        if reason is not None:
            return replace(load_info, why=reason)
        if loaded_model.weights_sha256 is not None and loaded_model.weights_sha256 == model.weights_sha256:
            return load_info
        old, new = self._find_reference(loaded_model), self._find_reference(model)
        if old is None or new is None or self._noise is None:
            return replace(load_info, why=f"there is no reference for {(model if new is None else loaded_model).name}")
        if not measure_distance(old, new) > compute_bound(self._noise):
            return replace(load_info, why=describe_too_similar(measure_distance(old, new), compute_bound(self._noise)))
        start_time = perf_counter()
        try:
            generator.reload(model)
        except BenchError as error:
            return replace(load_info, reload=perf_counter() - start_time, why=error.what)
        load_info = replace(load_info, reload=perf_counter() - start_time)
        start_time = perf_counter()
        checks = [check_reload(observed, new, old, self._noise) for observed in self._probe(generator)]
        # One failed engine is enough; a NaN fails.
        worst = max(checks, key=lambda check: (check.flaw is not None, check.to_new))
        return replace(load_info, proof=perf_counter() - start_time, found=worst, why=worst.flaw)

    def _start(self, model: Model, load_info: LoadInfo) -> tuple[Generator, LoadInfo]:
        """Start the engine on the model, and measure its noise if later reloads need it."""
        self.close()
        start_time = perf_counter()
        with trace.span("start engine"):
            generator = self._generator = (self._starter or self._engine.module).load(model, self._engine.options)
        load_info = replace(load_info, load=perf_counter() - start_time, noise=None)
        reference = self._find_reference(model)
        if reference is not None and isinstance(generator, ReloadableGenerator):
            start_time = perf_counter()
            self._noise = _find_largest([measure_distance(observed, reference) for observed in self._probe(generator)])
            load_info = replace(
                load_info, proof=(load_info.proof or 0.0) + perf_counter() - start_time, noise=self._noise
            )
        self._model = model
        return generator, load_info

    def _probe(self, generator: ReloadableGenerator) -> list[ReferenceLogprobs]:
        """Measure the probe with every engine behind the generator."""
        if isinstance(generator, ReloadableGeneratorGroup):
            return [ReferenceLogprobs.of(*logprobs) for logprobs in generator.prompt_logprobs_of_each(self.sequences)]
        return [ReferenceLogprobs.of(*generator.prompt_logprobs(self.sequences))]

    def _find_reference(self, model: Model) -> ReferenceLogprobs | None:
        return None if model.weights_sha256 is None else self.references.get(model.weights_sha256)


def begin_likely_engine(name: str | None, wanted_gpus: int | None) -> None:
    """Start vLLM's process where it is likely to be the engine of the only GPU; `MultiGpuStarter` takes it then.

    Finding out which engine and which GPUs it will be imports torch, seconds in which vLLM imports it too.

    Args:
        name: the engine that the user names, or None.
        wanted_gpus: GPUs in all; None takes all.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = wanted_gpus or (visible.count(",") + 1 if visible else machine.count_gpu_files())
    likely = name in (None, "vllm") and gpus <= 1 and machine.has_accelerator()
    if likely and importlib.util.find_spec("vllm") is not None:
        early_processes.begin("engine vllm", partial(EngineWorker, "vllm", (0, 1), None))


def _find_largest(distances: Sequence[float]) -> float:
    """Return the largest; a NaN, which compares with nothing, counts as larger than any."""
    return max(distances, key=lambda distance: (isnan(distance), distance))


def _describe_incompatibility(old: Path, new: Path) -> str | None:
    """Describe why one engine cannot load both folders' weights in turn; None if it can."""
    if _read_shape_config(old) != _read_shape_config(new):
        return f"config.json of {old.name} and {new.name} differ"
    left, right = ({(tensor.name, tensor.shape) for tensor in weights.read_tensors(folder)} for folder in (old, new))
    if left != right:
        return f"{len(left ^ right)} tensors of {old.name} and {new.name} differ in name or shape"
    for name in _TOKENIZER_FILES:
        present = [(folder / name).is_file() for folder in (old, new)]
        if any(present) and not (all(present) and filecmp.cmp(old / name, new / name, shallow=False)):
            return f"{name} of {old.name} and {new.name} differ"
    return None


def _read_shape_config(folder: Path) -> dict[str, Any]:
    config = read_object(folder / "config.json", "restore the file")
    return {key: value for key, value in config.items() if key not in _NON_SHAPE_KEYS}
