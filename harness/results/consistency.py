"""Whether what an entry says twice agrees: its training, its loss history, its merge, the weights that answered."""

from collections.abc import Iterator, Sequence

from baseline_bench.core.records import digest
from baseline_bench.core.types import Step, Value
from baseline_bench.results import candidate
from baseline_bench.results.candidate import Candidate, TrainingRecord
from baseline_bench.results.entry import Entry

# Keys of recipes that hold lists, which a candidate's record has joined by commas.
_LIST_FIELDS = ("derived_from", "targets")
_OWN_TRAINERS = ("full", "lora", "qlora")


def check_tokens(entry: Entry, counted: Sequence[int | None]) -> list[str]:
    """Generated tokens are those of the completions, where a server tells them."""
    told = entry.timings.generated_tokens
    known = [count for count in counted if count is not None]
    if told is None or len(known) < len(counted) or sum(known) == told:
        return []
    return [f"generated_tokens do not follow from the completions, which give {sum(known)}"]


def check_training(entry: Entry) -> list[str]:
    """The record of a training names the weights, the base, the recipe and the name that the row has."""
    record = entry.result.training
    return [] if record is None else [*_check_merge(entry, record), *_check_trained_weights(entry, record)]


def check_cost(entry: Entry, history: Sequence[Step]) -> list[str]:
    """Rows, tokens and seconds of a training follow from its loss history."""
    record = entry.result.training
    if record is None or record.candidate is None:
        return []
    told = record.candidate.cost
    follows = {
        "steps": len(history),
        "rows": sum(step.rows for step in history),
        "tokens": sum(step.tokens for step in history),
        "supervised": sum(step.supervised for step in history),
        "seconds": candidate.sum_seconds(history),
        "samples_per_second": candidate.compute_samples_per_second(history),
    }
    return [
        f"cost.{name} does not follow from the loss history, which gives {value}"
        for name, value in follows.items()
        if getattr(told, name) != value
    ]


def _check_merge(entry: Entry, record: TrainingRecord) -> Iterator[str]:
    merge, made = record.merge, record.candidate
    if merge is None:
        return
    if merge.merged_sha256 != entry.result.model.weights_sha256:
        yield "merge.merged_sha256 is not the digest of the weights that answered"
    if made is None:
        return
    if merge.base_sha256 != made.base.weights_sha256:
        yield "merge.base_sha256 is not the digest of the candidate's base"
    if merge.quantised != made.quantised:
        yield "merge and candidate do not name the same quantised form"
    if record.step is None and merge.adapter_sha256 != made.weights_sha256:
        yield "merge.adapter_sha256 is not the digest of the candidate's weights"


def _check_trained_weights(entry: Entry, record: TrainingRecord) -> Iterator[str]:
    made, result = record.candidate, entry.result
    if made is None:
        return
    if (made.kind == "adapter") != (record.merge is not None):
        yield "an adapter is merged and whole weights are not"
    if made.kind == "full" and record.step is None and made.weights_sha256 != result.model.weights_sha256:
        yield "the candidate's weights_sha256 is not the digest of the weights that answered"
    if result.model.source != f"trained:{made.recipe}@{made.recipe_sha256[:12]}":
        yield "the model's source does not name the candidate's recipe"
    if made.values.get("trainer") in _OWN_TRAINERS and digest(_restore_list_values(made)) != made.recipe_sha256:
        yield "recipe_sha256 is not the digest of the recipe's values"
    if record.step is not None and str(record.step) not in made.checkpoints:
        yield "the candidate kept no weights of that step"
    if made.created > entry.created:
        yield "it was scored before it was trained"


def _restore_list_values(made: Candidate) -> dict[str, Value | list[str]]:
    """The recipe's values as its digest is taken of them."""
    found: dict[str, Value | list[str]] = dict(made.values)
    for key in _LIST_FIELDS:
        value = made.values.get(key)
        if isinstance(value, str):
            found[key] = value.split(",") if value else []
    return found
