"""Reuse one engine for several models of the same architecture: reload the weights and verify that they took effect.

Starting an engine takes a minute, reloading its weights half a second. But a reload may silently leave old weights
behind, so it counts only if the answers to a probe match the new weights and clearly not the old ones.
"""

import filecmp
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import isnan
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from baseline_bench.core.contracts import Generator, ReloadableGenerator, ReloadableGeneratorGroup
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import weights

POSITIONS = 64
# Correct weights may be three times as far from their reference as the first load's weights were from theirs, and at
# least this far (nats) if that distance was almost zero.
SLACK = 3.0
MIN_BOUND = 1e-3
# The old weights must be this many times as far away as the new ones.
MIN_SEPARATION = 3.0
# A lean of this share towards the old weights means that old weights were left behind.
MAX_OLD_SHARE = 0.1

_NON_SHAPE_KEYS = ("_name_or_path", "transformers_version")
_VOCABULARY_FILES = tuple(sorted({name for names in weights.TOKENIZER_FILE_SETS for name in names}))
_TOKENIZER_FILES = (*_VOCABULARY_FILES, "added_tokens.json", "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True, slots=True)
class ReferenceLogprobs:
    """A model's log-probabilities of the probe's sequences, each position given the true tokens before it.

    Attributes:
        logprobs: for each sequence, the log-probability (nats) of each of its last tokens, at most `POSITIONS`.
        likeliest: for the same positions, the id of the likeliest token.
    """

    logprobs: tuple[tuple[float, ...], ...]
    likeliest: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, logprobs: Sequence[Sequence[float]], likeliest: Sequence[Sequence[int]]) -> "ReferenceLogprobs":
        """Keep the last positions of each sequence, the same for every engine."""
        return cls(
            tuple(tuple(row[-POSITIONS:]) for row in logprobs), tuple(tuple(row[-POSITIONS:]) for row in likeliest)
        )


@dataclass(frozen=True, slots=True)
class ReloadCheck:
    """How close a reloaded generator is to the new weights and to the old ones.

    Attributes:
        bound: the maximum of `to_new`; this and the distances are mean absolute differences of log-probabilities.
        to_new: distance from the new weights' reference.
        to_old: distance from the old weights' reference.
        apart: distance between the two references.
        lean: the generator's position on the way from the new weights to the old: 0 is new, 1 is old.
        agree_new: share of positions where the likeliest token is the new reference's.
        agree_old: share of positions where it is the old reference's.
        flaw: why the check failed; None if the generator holds the new weights.
    """

    bound: float
    to_new: float
    to_old: float
    apart: float
    lean: float
    agree_new: float
    agree_old: float
    flaw: str | None


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


def measure_distance(first: ReferenceLogprobs, second: ReferenceLogprobs) -> float:
    """Return the mean absolute difference of the log-probabilities, in nats."""
    pairs = list(zip(chain.from_iterable(first.logprobs), chain.from_iterable(second.logprobs), strict=True))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def measure_agreement(first: ReferenceLogprobs, second: ReferenceLogprobs) -> float:
    """Return the share of positions with the same likeliest token."""
    pairs = list(zip(chain.from_iterable(first.likeliest), chain.from_iterable(second.likeliest), strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def compute_bound(noise: float) -> float:
    """Return how far from its reference a generator with the correct weights may be, in nats.

    Args:
        noise: distance from its own reference right after a load.
    """
    return max(SLACK * noise, MIN_BOUND)


def check_reload(
    observed: ReferenceLogprobs, new: ReferenceLogprobs, old: ReferenceLogprobs, noise: float
) -> ReloadCheck:
    """Check whether the weights that gave `observed` are the new ones.

    Old weights whose effect is smaller than the engine's noise stay undetected: bfloat16 (noise 0.01 nats) hides more
    than float32 (1e-6).

    Args:
        observed: measured with the generator after its reload.
        new: the reference of the new weights.
        old: the reference of the weights before the reload.
        noise: distance of this engine from its own reference right after a load, in nats.
    """
    bound, to_new, to_old, separation = (
        compute_bound(noise),
        measure_distance(observed, new),
        measure_distance(observed, old),
        measure_distance(new, old),
    )
    agree_new, agree_old, old_share = (
        measure_agreement(observed, new),
        measure_agreement(observed, old),
        _compute_old_share(observed, new, old),
    )
    flaw = None
    # Written so that a NaN is a flaw.
    if not separation > bound:
        flaw = _describe_too_similar(separation, bound)
    elif not to_new <= bound:
        flaw = f"the reloaded weights are {to_new:.4f} nats from the new model, {bound:.4f} at most allowed"
    elif not to_old >= MIN_SEPARATION * to_new:
        flaw = f"the reloaded weights are {to_new:.4f} nats from the new model and {to_old:.4f} from the old one"
    elif not abs(old_share) <= MAX_OLD_SHARE:
        flaw = f"the reloaded weights lean by {old_share:.0%} to the old model"
    elif agree_new < agree_old:
        flaw = f"the reloaded weights agree with the new model at {agree_new:.0%}, with the old one at {agree_old:.0%}"
    return ReloadCheck(bound, to_new, to_old, separation, old_share, agree_new, agree_old, flaw)


class ReusableEngine:
    """One engine that serves several models, one after the other.

    Args:
        load: the `load` of an engine, or of several as if they were one.
        options: the engine's own Options.
        references: of the models to come, by weights_sha256; a model without one restarts the engine.
        sequences: the probe's token ids, those that the references were measured with.
        say: prints one line for the user.
    """

    def __init__(
        self,
        load: Callable[[Model, Any], Generator],
        options: Any,
        references: Mapping[str, ReferenceLogprobs],
        sequences: Sequence[Sequence[int]],
        say: Callable[[str], None],
    ) -> None:
        self._load = load
        self._options = options
        self._references = references
        self._sequences = sequences
        self._say = say
        self._generator: Generator | None = None
        self._model: Model | None = None
        self._noise: float | None = None

    def generator(self, model: Model) -> tuple[Generator, LoadInfo]:
        """Return a generator that holds this model's weights; the one returned before must not be used any more.

        Raises:
            BenchError: the engine cannot load the model.
        """
        loaded_model, self._model = self._model, None
        load_info = LoadInfo("loaded")
        if (
            self._generator is not None
            and isinstance(self._generator, ReloadableGenerator)
            and loaded_model is not None
        ):
            load_info = self._reloaded(self._generator, loaded_model, model)
            if load_info.why is None:
                self._model = model
                return self._generator, load_info
            self._say(f"the engine restarts for {model.name}: {load_info.why}")
            load_info = replace(load_info, path="restarted")
        return self._loaded(model, load_info)

    def close(self) -> None:
        """Close the engine; may be called twice."""
        if self._generator is not None:
            self._generator.close()
        self._generator = self._model = self._noise = None

    def _reloaded(self, generator: ReloadableGenerator, loaded_model: Model, model: Model) -> LoadInfo:
        """Try to reload; in the result `why` is None if the generator holds the model's weights."""
        load_info = LoadInfo("reloaded", noise=self._noise)
        reason = _describe_incompatibility(loaded_model.folder, model.folder)
        if reason is not None:
            return replace(load_info, why=reason)
        if loaded_model.weights_sha256 is not None and loaded_model.weights_sha256 == model.weights_sha256:
            return load_info
        old, new = self._reference(loaded_model), self._reference(model)
        if old is None or new is None or self._noise is None:
            return replace(load_info, why=f"there is no reference for {(model if new is None else loaded_model).name}")
        if not measure_distance(old, new) > compute_bound(self._noise):
            return replace(load_info, why=_describe_too_similar(measure_distance(old, new), compute_bound(self._noise)))
        start_time = perf_counter()
        try:
            generator.reload(model)
        except BenchError as error:
            return replace(load_info, reload=perf_counter() - start_time, why=error.what)
        load_info = replace(load_info, reload=perf_counter() - start_time)
        start_time = perf_counter()
        checks = [check_reload(observed, new, old, self._noise) for observed in self._probed(generator)]
        # One failed engine is enough; a NaN fails.
        worst = max(checks, key=lambda check: (check.flaw is not None, check.to_new))
        return replace(load_info, proof=perf_counter() - start_time, found=worst, why=worst.flaw)

    def _loaded(self, model: Model, load_info: LoadInfo) -> tuple[Generator, LoadInfo]:
        """Start the engine on the model, and measure its noise if later reloads need it."""
        self.close()
        start_time = perf_counter()
        generator = self._generator = self._load(model, self._options)
        load_info = replace(load_info, load=perf_counter() - start_time, noise=None)
        reference = self._reference(model)
        if reference is not None and isinstance(generator, ReloadableGenerator):
            start_time = perf_counter()
            self._noise = _find_largest([measure_distance(observed, reference) for observed in self._probed(generator)])
            load_info = replace(
                load_info, proof=(load_info.proof or 0.0) + perf_counter() - start_time, noise=self._noise
            )
        self._model = model
        return generator, load_info

    def _probed(self, generator: ReloadableGenerator) -> list[ReferenceLogprobs]:
        """Measure the probe with every engine behind the generator."""
        if isinstance(generator, ReloadableGeneratorGroup):
            return [ReferenceLogprobs.of(*logprobs) for logprobs in generator.prompt_logprobs_of_each(self._sequences)]
        return [ReferenceLogprobs.of(*generator.prompt_logprobs(self._sequences))]

    def _reference(self, model: Model) -> ReferenceLogprobs | None:
        return None if model.weights_sha256 is None else self._references.get(model.weights_sha256)


def _find_largest(distances: Sequence[float]) -> float:
    """Return the largest; a NaN, which compares with nothing, counts as larger than any."""
    return max(distances, key=lambda distance: (isnan(distance), distance))


def _compute_old_share(observed: ReferenceLogprobs, new: ReferenceLogprobs, old: ReferenceLogprobs) -> float:
    """Return the least-squares share of the way from new to old: noise cancels over positions, old weights do not."""
    observed_values, new_values, old_values = (
        list(chain.from_iterable(reference.logprobs)) for reference in (observed, new, old)
    )
    squared_distance = sum((b - a) ** 2 for a, b in zip(new_values, old_values, strict=True))
    projection = sum((x - a) * (b - a) for x, a, b in zip(observed_values, new_values, old_values, strict=True))
    return projection / squared_distance if squared_distance else float("nan")


def _describe_too_similar(separation: float, bound: float) -> str:
    return f"the two models are {separation:.4f} nats apart, too near to tell which one is loaded ({bound:.4f} needed)"


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
