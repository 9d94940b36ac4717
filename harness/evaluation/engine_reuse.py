"""Keep one engine warm over several models of one shape: weights are reloaded, and a proof tells whether they were.

Starting an engine takes a minute, reloading its weights half a second; but a reload may leave old weights behind and
say nothing, so it counts only where the answers to a probe are the new weights' own and clearly not the old ones'.
"""

import filecmp
import json
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
from baseline_bench.models import weights

POSITIONS = 64
# Right weights may lie three times as far from their reference as the weights of the first load did from theirs, and
# this far (nats) where that was next to nothing.
SLACK = 3.0
MIN_BOUND = 1e-3
# The old weights must lie this many times as far away as the new ones.
MIN_SEPARATION = 3.0
# This much of the way back to the old weights is taken for weights left behind.
MAX_OLD_SHARE = 0.1

_NON_SHAPE_KEYS = ("_name_or_path", "transformers_version")
_VOCABULARY_FILES = tuple(sorted({name for names in weights.TOKENIZER_FILE_SETS for name in names}))
_TOKENIZER_FILES = (*_VOCABULARY_FILES, "added_tokens.json", "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True, slots=True)
class ReferenceLogprobs:
    """What a model makes of the probe's sequences, each position given the true tokens before it.

    Attributes:
        logprobs: for each sequence the log-probability (nats) of each of its last tokens, `POSITIONS` at most.
        likeliest: for the same positions the id of the likeliest token.
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
    """How near a generator is to the weights it should hold, and to those it held before.

    Attributes:
        bound: the most that `to_new` may be; this and the distances are mean absolute differences of log-probabilities.
        to_new: distance from the new weights' reference.
        to_old: distance from the old weights' reference.
        apart: distance between the two references.
        lean: how far towards the old weights the differences from the new ones point: 0 is new, 1 is old.
        agree_new: share of positions where the likeliest token is the new reference's.
        agree_old: share of positions where it is the old reference's.
        flaw: why this proves nothing; None where the generator holds the new weights.
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
    """How a generator came to hold a model's weights; every second is counted, those spent in vain too.

    Attributes:
        path: "loaded" (an engine's first model, or every model where it cannot reload), "reloaded" (into the running
            engine, proved) or "restarted" (an engine that could reload was started anew).
        load: seconds to start the engine; None where none was started.
        reload: seconds to reload; None where nothing was reloaded.
        proof: seconds to probe, after a load (for `noise`) and after a reload; None where nothing was probed.
        noise: distance of the engine from its own weights' reference at the last load; None where there is none. Of
            several engines the farthest.
        found: what the probe found after a reload; None where nothing was reloaded. Of several engines the worst.
        why: of a restart; None otherwise.
    """

    path: Literal["loaded", "reloaded", "restarted"]
    load: float | None = None
    reload: float | None = None
    proof: float | None = None
    noise: float | None = None
    found: ReloadCheck | None = None
    why: str | None = None


def measure_distance(left: ReferenceLogprobs, right: ReferenceLogprobs) -> float:
    """Mean absolute difference of the log-probabilities, in nats."""
    pairs = list(zip(chain.from_iterable(left.logprobs), chain.from_iterable(right.logprobs), strict=True))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def measure_agreement(left: ReferenceLogprobs, right: ReferenceLogprobs) -> float:
    """Share of the positions with the same likeliest token."""
    pairs = list(zip(chain.from_iterable(left.likeliest), chain.from_iterable(right.likeliest), strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def compute_bound(noise: float) -> float:
    """How far from its reference a generator with the right weights may lie, in nats.

    Args:
        noise: distance from its own reference right after a load.
    """
    return max(SLACK * noise, MIN_BOUND)


def check_reload(found: ReferenceLogprobs, new: ReferenceLogprobs, old: ReferenceLogprobs, noise: float) -> ReloadCheck:
    """Judge whether the weights that gave `found` are the new ones.

    Old weights whose effect is smaller than the engine's noise are not seen: in bfloat16 (0.01 nats) less than in
    float32 (1e-6).

    Args:
        found: by the generator after its reload.
        new: what the new weights should give.
        old: what the weights before the reload should give.
        noise: distance of this engine from its own reference right after a load, in nats.
    """
    most, to_new, to_old, apart = (
        compute_bound(noise),
        measure_distance(found, new),
        measure_distance(found, old),
        measure_distance(new, old),
    )
    agree_new, agree_old, lean = (
        measure_agreement(found, new),
        measure_agreement(found, old),
        _compute_old_share(found, new, old),
    )
    flaw = None
    # Written so that a NaN is a flaw.
    if not apart > most:
        flaw = _describe_too_similar(apart, most)
    elif not to_new <= most:
        flaw = f"the reloaded weights are {to_new:.4f} nats from the new model, {most:.4f} at most allowed"
    elif not to_old >= MIN_SEPARATION * to_new:
        flaw = f"the reloaded weights are {to_new:.4f} nats from the new model and {to_old:.4f} from the old one"
    elif not abs(lean) <= MAX_OLD_SHARE:
        flaw = f"the reloaded weights lean by {lean:.0%} to the old model"
    elif agree_new < agree_old:
        flaw = f"the reloaded weights agree with the new model at {agree_new:.0%}, with the old one at {agree_old:.0%}"
    return ReloadCheck(most, to_new, to_old, apart, lean, agree_new, agree_old, flaw)


class ReusableEngine:
    """One engine over several models, one after the other.

    Args:
        load: of an engine, or of several as if they were one.
        options: the engine's own Options.
        references: of the models to come, by their weights_sha256; a model without one is loaded anew.
        sequences: the probe's token ids, the same that the references were made with.
        say: takes one line for the user.
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
        """A generator that holds this model's weights; the one handed out before must not be used any more.

        Raises:
            BenchError: the engine cannot load the model.
        """
        held, self._model = self._model, None
        how = LoadInfo("loaded")
        if self._generator is not None and isinstance(self._generator, ReloadableGenerator) and held is not None:
            how = self._reloaded(self._generator, held, model)
            if how.why is None:
                self._model = model
                return self._generator, how
            self._say(f"engine starts anew for {model.name}: {how.why}")
            how = replace(how, path="restarted")
        return self._loaded(model, how)

    def close(self) -> None:
        """Close the engine; may be called twice."""
        if self._generator is not None:
            self._generator.close()
        self._generator = self._model = self._noise = None

    def _reloaded(self, generator: ReloadableGenerator, held: Model, model: Model) -> LoadInfo:
        """Try; `why` of what comes back is None where the generator holds the model's weights."""
        how = LoadInfo("reloaded", noise=self._noise)
        why = _describe_incompatibility(held.folder, model.folder)
        if why is not None:
            return replace(how, why=why)
        if held.weights_sha256 is not None and held.weights_sha256 == model.weights_sha256:
            return how
        old, new = self._reference(held), self._reference(model)
        if old is None or new is None or self._noise is None:
            return replace(how, why=f"there is no reference for {(model if new is None else held).name}")
        if not measure_distance(old, new) > compute_bound(self._noise):
            return replace(how, why=_describe_too_similar(measure_distance(old, new), compute_bound(self._noise)))
        began = perf_counter()
        try:
            generator.reload(model)
        except BenchError as error:
            return replace(how, reload=perf_counter() - began, why=error.what)
        how = replace(how, reload=perf_counter() - began)
        began = perf_counter()
        proofs = [check_reload(found, new, old, self._noise) for found in self._probed(generator)]
        # One flaw is enough; a NaN is one.
        found = max(proofs, key=lambda proof: (proof.flaw is not None, proof.to_new))
        return replace(how, proof=perf_counter() - began, found=found, why=found.flaw)

    def _loaded(self, model: Model, how: LoadInfo) -> tuple[Generator, LoadInfo]:
        """Start the engine on the model, and measure its noise where that can be of use."""
        self.close()
        began = perf_counter()
        generator = self._generator = self._load(model, self._options)
        how = replace(how, load=perf_counter() - began, noise=None)
        reference = self._reference(model)
        if reference is not None and isinstance(generator, ReloadableGenerator):
            began = perf_counter()
            self._noise = _find_largest([measure_distance(found, reference) for found in self._probed(generator)])
            how = replace(how, proof=(how.proof or 0.0) + perf_counter() - began, noise=self._noise)
        self._model = model
        return generator, how

    def _probed(self, generator: ReloadableGenerator) -> list[ReferenceLogprobs]:
        """What every engine behind the generator makes of the probe."""
        if isinstance(generator, ReloadableGeneratorGroup):
            return [ReferenceLogprobs.of(*told) for told in generator.prompt_logprobs_of_each(self._sequences)]
        return [ReferenceLogprobs.of(*generator.prompt_logprobs(self._sequences))]

    def _reference(self, model: Model) -> ReferenceLogprobs | None:
        return None if model.weights_sha256 is None else self._references.get(model.weights_sha256)


def _find_largest(distances: Sequence[float]) -> float:
    """The largest; a NaN, beside which no comparison holds, counts as larger than any."""
    return max(distances, key=lambda one: (isnan(one), one))


def _compute_old_share(found: ReferenceLogprobs, new: ReferenceLogprobs, old: ReferenceLogprobs) -> float:
    """Least-squares share of the way from new to old: noise cancels over the positions, old weights do not."""
    here, zero, one = (list(chain.from_iterable(reference.logprobs)) for reference in (found, new, old))
    length = sum((b - a) ** 2 for a, b in zip(zero, one, strict=True))
    along = sum((x - a) * (b - a) for x, a, b in zip(here, zero, one, strict=True))
    return along / length if length else float("nan")


def _describe_too_similar(apart: float, most: float) -> str:
    return f"the two models are {apart:.4f} nats apart, too near to tell which one is loaded ({most:.4f} needed)"


def _describe_incompatibility(old: Path, new: Path) -> str | None:
    """Why one engine cannot hold both folders' weights in turn; None where it can."""
    if _read_shape_config(old) != _read_shape_config(new):
        return f"config.json of {old.name} and {new.name} differ"
    left, right = ({(tensor.name, tensor.shape) for tensor in weights.read_tensors(folder)} for folder in (old, new))
    if left != right:
        return f"{len(left ^ right)} tensors of {old.name} and {new.name} differ in name or shape"
    for name in _TOKENIZER_FILES:
        there = [(folder / name).is_file() for folder in (old, new)]
        if any(there) and not (all(there) and filecmp.cmp(old / name, new / name, shallow=False)):
            return f"{name} of {old.name} and {new.name} differ"
    return None


def _read_shape_config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_bytes())
    return {key: value for key, value in config.items() if key not in _NON_SHAPE_KEYS}
