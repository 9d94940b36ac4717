"""Where rows come from: what each was made of, and what differs between two beside the score."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from baseline_bench.results.candidate import Candidate, MergeSummary, TrainingRecord
from baseline_bench.results.entry import Entry, ModelRecord, Result

UNKNOWN, NONE = "unknown", "none"
GPUS_SETTING = "gpus"
# Said at their own place, or nothing but other names for what is said there.
_LISTED_SEPARATELY = ("base", "trainer")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two rows differ, and its value in either."""

    what: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"other {self.what} ({self.first}, {self.second})"


def list_differences(first: Entry, second: Entry) -> tuple[Difference, ...]:
    """Everything but the score in which two rows differ: training, weights, prompts, engine, program, machine.

    Of two trained rows every value of the recipe that differs; of one trained and one untrained row the training as a
    whole. Uncommitted code is said even where both rows have it: then the commit does not tell what ran.
    """
    one, other = first.result, second.result
    set_here = compare_settings(one.engine.settings, other.engine.settings)
    return (
        *_compare_trainings(one.training, other.training),
        *compare_mappings(*_describe_models(one.model, other.model)),
        *_compare_identity_records(one.model, other.model),
        *compare_mappings(_describe_protocol(one), _describe_protocol(other)),
        *compare_mappings(_describe_engine(one), _describe_engine(other)),
        *(Difference(f"engine's {found.what}", found.first, found.second) for found in set_here),
        *_compare_programs(one, other),
        *_compare_versions("library", one.provenance.libraries, other.provenance.libraries),
    )


def find_base_weights(entry: Entry) -> str | None:
    """The digest of the weights that the row's candidate was made of; of a base its own; None where nobody knows."""
    result = entry.result
    return result.model.weights_sha256 if result.training is None else result.base_sha256


def build_recipe_key(entry: Entry) -> tuple[str, str, str] | None:
    """What seeds of one recipe share: the digests of the recipe, of the base's weights and of the training data.

    None unless the row scores the last step of a training that was made here.
    """
    training = entry.result.training
    if training is None or training.step is not None or (made := training.candidate) is None:
        return None
    return made.recipe_sha256, made.base.weights_sha256, made.data.sha256


def is_untrained(entry: Entry) -> bool:
    """The row is a base's: nothing was trained here, and no adapter stood beside the weights."""
    return entry.result.training is None and entry.result.engine.settings.get("adapter") is None


def compare_identities(one: ModelRecord, other: ModelRecord) -> Iterator[Difference]:
    """The parts apart from the weights in which two models differ; none where one of them is not known."""
    if one.unlike(other):
        yield from compare_mappings(_describe_identity(one), _describe_identity(other))


def compare_mappings(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[Difference]:
    """What two mappings with the same keys differ in; None is told as unknown."""
    for what, value in one.items():
        if value != other[what]:
            yield Difference(what, _format_value(value), _format_value(other[what]))


def compare_settings(
    one: Mapping[str, object], other: Mapping[str, object], apart: Iterable[str] = ()
) -> Iterator[Difference]:
    """The settings of two engines that differ, but for those in `apart`; one that is not there is told as such.

    How many GPUs shared the questions is none of them: it moves no more than the engine's own noise, which is measured
    (`bench noise`).
    """
    for name in sorted({*one, *other} - {GPUS_SETTING, *apart}):
        if one.get(name) != other.get(name) or (name in one) != (name in other):
            yield Difference(
                name, *(_format_value(side[name]) if name in side else "not recorded" for side in (one, other))
            )


def _compare_trainings(one: TrainingRecord | None, other: TrainingRecord | None) -> Iterator[Difference]:
    first, second = (None if made is None else made.candidate for made in (one, other))
    if first is None or second is None:
        told = [_describe_training(made) for made in (one, other)]
        if told[0] != told[1]:
            yield Difference("training", *told)
    else:
        yield from compare_mappings(_describe_candidate(first), _describe_candidate(second))
        names = [name for name in {**first.values, **second.values} if name not in _LISTED_SEPARATELY]
        for name in names:
            if (value := first.values.get(name)) != (against := second.values.get(name)):
                yield Difference(
                    f"recipe's {name}", *("unset" if x is None else _format_value(x) for x in (value, against))
                )
        yield from _compare_versions("training library", first.libraries, second.libraries)
    steps = [None if made is None else made.step for made in (one, other)]
    if steps[0] != steps[1]:
        yield Difference("step", *("the last" if step is None else str(step) for step in steps))
    merges = [_describe_merge(None if made is None else made.merge) for made in (one, other)]
    if merges[0] != merges[1]:
        yield Difference("merge", *merges)


def _describe_training(made: TrainingRecord | None) -> str:
    if made is None:
        return NONE
    if made.candidate is None:
        return "an adapter from elsewhere"
    recipe, data = made.candidate, made.candidate.data
    return (
        f"{recipe.recipe} ({recipe.recipe_sha256[:12]}), seed {recipe.seed}, on {recipe.base.name}, "
        f"{data.rows:,} rows of {data.name} ({data.sha256[:12]})"
    )


def _describe_candidate(made: Candidate) -> Mapping[str, object]:
    return {
        "recipe": f"{made.recipe} ({made.recipe_sha256[:12]})",
        "training seed": made.seed,
        "trainer": made.values.get("trainer"),
        "base": f"{made.base.name} ({made.base.weights_sha256[:12]})",
        "training data": f"{made.data.name}, {made.data.rows:,} rows ({made.data.sha256[:12]})",
        "kind of weights": made.kind,
        "form of the base in training": made.quantised or "as it is",
        "training device": f"{made.cost.device}, {made.cost.gpus} in all",
    }


def _describe_merge(merge: MergeSummary | None) -> str:
    if merge is None:
        return NONE
    through = "" if merge.quantised is None else f" through {merge.quantised}"
    return f"{merge.targets} tensors{through} in {merge.dtype}, rounding {100 * merge.rel_err:.1f} % of the change"


def _describe_models(*models: ModelRecord) -> Iterator[Mapping[str, object]]:
    """What each model is: the parts of its identity where both are known, else the digests that older entries have."""
    known = all(model.identity is not None for model in models)
    for model in models:
        older = {
            "tokenizer": _shorten_digest(model.tokenizer_sha256),
            "chat template": _shorten_digest(model.template_sha256),
        }
        yield {
            "weights": _shorten_digest(model.weights_sha256),
            "source": model.source,
            "revision": _shorten_digest(model.revision),
            **(_describe_identity(model) if known else older),
            "prompt style": model.prompt_style,
            "begin-of-sequence rule": model.bos,
            "stop tokens": model.stop_ids,
        }


def _describe_identity(model: ModelRecord) -> Mapping[str, object]:
    parts = () if model.identity is None else model.identity.parts
    return {part: _shorten_digest(value) or NONE for part, value in parts}


def _compare_identity_records(*models: ModelRecord) -> Iterator[Difference]:
    """An entry of an older version, or of a server, does not tell config.json and generation_config.json."""
    told = ["known in part" if model.identity is None else "known" for model in models]
    if told[0] != told[1]:
        yield Difference("identity", *told)


def _describe_protocol(result: Result) -> Mapping[str, object]:
    task, sampling = result.task, result.sampling
    return {
        "task": f"{task.label} ({task.protocol_sha256[:12]})",
        "prompts as token ids": _shorten_digest(result.prompts_sha256),
        "token limit": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": NONE if sampling.top_p is None else sampling.top_p,
        "draws": sampling.draws or 1,
        "sampling seed": NONE if sampling.seed is None else sampling.seed,
    }


def _describe_engine(result: Result) -> Mapping[str, object]:
    return {
        "engine": result.engine.version,
        "GPUs that shared the questions": result.engine.settings.get(GPUS_SETTING, 1),
        "device": result.provenance.device,
        "driver": result.provenance.driver,
    }


def _compare_programs(one: Result, other: Result) -> Iterator[Difference]:
    programs = [result.provenance for result in (one, other)]
    told = [
        {"bench": made.bench, "bench commit": _shorten_digest(made.git_commit), "Python": made.python}
        for made in programs
    ]
    yield from compare_mappings(*told)
    dirty = [made.git_dirty for made in programs]
    if any(dirty) or dirty[0] != dirty[1]:
        yield Difference("uncommitted code", *(_format_value(value) for value in dirty))


def _compare_versions(what: str, one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield Difference(f"{what} {name}", one.get(name, NONE), other.get(name, NONE))


def _shorten_digest(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]


def _format_value(value: object) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or NONE
    return str(value)
