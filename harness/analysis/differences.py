"""List what differs between two rows besides the score, and describe what each was made from."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from baseline_bench.core.options import format_settings
from baseline_bench.core.types import ModelIdentity
from baseline_bench.results.candidate import Candidate, MergeSummary, TrainingRecord
from baseline_bench.results.entry import Entry, ModelRecord, Result

UNKNOWN, NONE = "unknown", "none"
GPUS_SETTING = "gpus"
# Listed separately, or only other names for what is listed there.
_LISTED_SEPARATELY = ("base", "trainer")


@dataclass(frozen=True, slots=True)
class Difference:
    """One property in which two rows differ, with both values."""

    what: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"other {self.what} ({self.first}, {self.second})"


def list_differences(first: Entry, second: Entry) -> tuple[Difference, ...]:
    """List everything but the score in which two rows differ: training, weights, prompts, engine, code, machine.

    Two trained rows are compared by every recipe value; a trained and an untrained row by the training as a whole.
    Uncommitted code is listed even if both rows have it: then the commit does not identify what ran.
    """
    one, other = first.result, second.result
    setting_differences = compare_settings(one.engine.settings, other.engine.settings)
    return (
        *_compare_trainings(one.training, other.training),
        *compare_mappings(*_describe_models(one.model, other.model)),
        *compare_identities(one.model.identity, other.model.identity),
        *_compare_identity_records(one, other),
        *compare_mappings(_describe_protocol(one), _describe_protocol(other)),
        *compare_mappings(_describe_engine(one), _describe_engine(other)),
        *(
            Difference(f"engine's {difference.what}", difference.first, difference.second)
            for difference in setting_differences
        ),
        *_compare_programs(one, other),
        *_compare_versions("library", one.provenance.libraries, other.provenance.libraries),
    )


def list_environment_differences(first: Entry, second: Entry) -> Iterator[Difference]:
    """Yield the differences in code, libraries and machines, of scoring and of training; settings are left out."""
    one, other = first.result, second.result
    yield from compare_mappings(_describe_engine(one), _describe_engine(other))
    yield from _compare_programs(one, other)
    yield from _compare_versions("library", one.provenance.libraries, other.provenance.libraries)
    if (trained := one.trained) and (other_trained := other.trained):
        commits = [{"training commit": _shorten_digest(each.git_commit)} for each in (trained, other_trained)]
        yield from compare_mappings(*commits)
        yield from compare_mappings(_describe_training_machine(trained), _describe_training_machine(other_trained))
        yield from _compare_versions("training library", trained.libraries, other_trained.libraries)


def is_untrained(entry: Entry) -> bool:
    """Tell whether the row is a base's: no training by bench, and no adapter."""
    return entry.result.training is None and entry.result.engine.settings.get("adapter") is None


def compare_identities(one: ModelIdentity | None, other: ModelIdentity | None) -> Iterator[Difference]:
    """Yield the parts other than weights in which two models differ, with their settings; none if one is unknown."""
    for part, settings in {} if one is None else one.compare(other).items():
        # The names of settings come from strangers' files: only the values of a difference are quoted everywhere.
        first, second = (", ".join(f"{row[0]}={row[side]}".lstrip("=") for row in settings) for side in (1, 2))
        yield Difference(part, first, second)


def compare_mappings(one: Mapping[str, object], other: Mapping[str, object]) -> Iterator[Difference]:
    """Yield the keys in which two mappings with the same keys differ; None is shown as unknown."""
    for name, value in one.items():
        if value != other[name]:
            yield Difference(name, _format_value(value), _format_value(other[name]))


def compare_settings(
    one: Mapping[str, object], other: Mapping[str, object], apart: Iterable[str] = ()
) -> Iterator[Difference]:
    """Yield the settings in which two engines differ, except those in `apart`; absent ones are "not recorded".

    The number of GPUs is excluded: its effect is within the engine's own noise, which `bench noise` measures.
    """
    for name in sorted({*one, *other} - {GPUS_SETTING, *apart}):
        if one.get(name) != other.get(name) or (name in one) != (name in other):
            yield Difference(
                name, *(_format_value(side[name]) if name in side else "not recorded" for side in (one, other))
            )


def _compare_trainings(one: TrainingRecord | None, other: TrainingRecord | None) -> Iterator[Difference]:
    first, second = (None if training is None else training.candidate for training in (one, other))
    if first is None or second is None:
        descriptions = [_describe_training(training) for training in (one, other)]
        if descriptions[0] != descriptions[1]:
            yield Difference("training", *descriptions)
    else:
        yield from compare_mappings(_describe_candidate(first), _describe_candidate(second))
        names = [name for name in {**first.values, **second.values} if name not in _LISTED_SEPARATELY]
        for name in names:
            if (value := first.values.get(name)) != (other_value := second.values.get(name)):
                yield Difference(
                    f"recipe's {name}", *("unset" if x is None else _format_value(x) for x in (value, other_value))
                )
        yield from _compare_versions("training library", first.libraries, second.libraries)
    steps = [None if training is None else training.step for training in (one, other)]
    if steps[0] != steps[1]:
        yield Difference("step", *("the last" if step is None else str(step) for step in steps))
    merges = [_describe_merge(None if training is None else training.merge) for training in (one, other)]
    if merges[0] != merges[1]:
        yield Difference("merge", *merges)


def _describe_training(training: TrainingRecord | None) -> str:
    if training is None:
        return NONE
    if training.candidate is None:
        return "an adapter from elsewhere"
    candidate, data = training.candidate, training.candidate.data
    return (
        f"{candidate.recipe} ({candidate.recipe_sha256[:12]}), seed {candidate.seed}, on {candidate.base.name}, "
        f"{data.rows:,} rows of {data.name} ({data.sha256[:12]})"
    )


def _describe_candidate(candidate: Candidate) -> Mapping[str, object]:
    return {
        "recipe": f"{candidate.recipe} ({candidate.recipe_sha256[:12]})",
        "training seed": candidate.seed,
        "trainer": candidate.values.get("trainer"),
        "base": f"{candidate.base.name} ({candidate.base.weights_sha256[:12]})",
        "training data": f"{candidate.data.name}, {candidate.data.rows:,} rows ({candidate.data.sha256[:12]})",
        "kind of weights": candidate.kind,
        "form of the base in training": candidate.quantised or "as it is",
        **_describe_training_machine(candidate),
    }


def _describe_training_machine(candidate: Candidate) -> Mapping[str, object]:
    return {"training device": f"{candidate.cost.device}, {candidate.cost.gpus} in all"}


def _describe_merge(merge: MergeSummary | None) -> str:
    if merge is None:
        return NONE
    through = "" if merge.quantised is None else f" through {merge.quantised}"
    return f"{merge.targets} tensors{through} in {merge.dtype}, rounding {100 * merge.rel_err:.1f} % of the change"


def _describe_models(*models: ModelRecord) -> Iterator[Mapping[str, object]]:
    """Describe each model; by the digests that older entries have, if an identity is unknown."""
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
            **({} if known else older),
            "chat template's name": model.template_name or NONE,
            "chat template's arguments": " ".join(format_settings(model.template_arguments)) or NONE,
            "prompt style": model.prompt_style,
            "begin-of-sequence rule": model.bos,
            "stop tokens": model.stop_ids,
        }


def _compare_identity_records(*results: Result) -> Iterator[Difference]:
    """Note if only one identity is fully known: older entries and servers have no settings of it, their bases none."""
    models, bases = [result.model.key for result in results], [result.base for result in results]
    partly = [result.model.is_partly_known for result in results]
    if partly[0] != partly[1]:
        yield Difference("identity", *("known in part" if each else "known" for each in partly))
    for one, other in ((bases[0], models[1]), (models[0], bases[1])):
        if one is not None and other is not None and one.weights_sha256 == other.weights_sha256 is not None:
            yield from compare_mappings(*({"base's identity": key.identity and "known"} for key in (one, other)))


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
    provenances = [result.provenance for result in (one, other)]
    descriptions = [
        {"bench": provenance.bench, "bench commit": _shorten_digest(provenance.git_commit), "Python": provenance.python}
        for provenance in provenances
    ]
    yield from compare_mappings(*descriptions)
    dirty = [provenance.git_dirty for provenance in provenances]
    if any(dirty) or dirty[0] != dirty[1]:
        yield Difference("uncommitted code", *(_format_value(value) for value in dirty))


def _compare_versions(kind: str, one: Mapping[str, str], other: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield Difference(f"{kind} {name}", one.get(name, NONE), other.get(name, NONE))


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
