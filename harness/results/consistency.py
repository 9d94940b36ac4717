"""Check that the facts an entry states twice agree: training, loss history, merge, and the weights that answered."""

from collections.abc import Iterator, Sequence

from baseline_bench.core.records import digest
from baseline_bench.core.types import Step, Value
from baseline_bench.results import candidate
from baseline_bench.results.candidate import Candidate, TrainingRecord
from baseline_bench.results.entry import Entry

# Recipe keys that hold lists; a candidate's record joins them by commas.
_LIST_FIELDS = ("derived_from", "targets")
_OWN_TRAINERS = ("full", "lora", "qlora")


def check_tokens(entry: Entry, counted: Sequence[int | None]) -> list[str]:
    """Check that generated tokens are the sum over the completions, where a server reports them."""
    generated_tokens = entry.timings.generated_tokens
    known = [count for count in counted if count is not None]
    if generated_tokens is None or len(known) < len(counted) or sum(known) == generated_tokens:
        return []
    return [f"generated_tokens do not follow from the completions, which give {sum(known)}"]


def check_training(entry: Entry) -> list[str]:
    """Check that the training record names the row's weights, base, recipe and name."""
    record = entry.result.training
    return [] if record is None else [*_check_merge(entry, record), *_check_trained_weights(entry, record)]


def check_cost(entry: Entry, history: Sequence[Step]) -> list[str]:
    """Check that rows, tokens and seconds of a training follow from its loss history."""
    record = entry.result.training
    if record is None or record.candidate is None:
        return []
    cost = record.candidate.cost
    computed = {
        "steps": len(history),
        "rows": sum(step.rows for step in history),
        "tokens": sum(step.tokens for step in history),
        "supervised": sum(step.supervised for step in history),
        "seconds": candidate.sum_seconds(history),
        "samples_per_second": candidate.compute_samples_per_second(history),
    }
    return [
        f"cost.{name} does not follow from the loss history, which gives {value}"
        for name, value in computed.items()
        if getattr(cost, name) != value
    ]


def _check_merge(entry: Entry, record: TrainingRecord) -> Iterator[str]:
    merge, trained = record.merge, record.candidate
    if merge is None:
        return
    if merge.merged_sha256 != entry.result.model.weights_sha256:
        yield "merge.merged_sha256 is not the digest of the weights that answered"
    if trained is None:
        return
    if merge.base_sha256 != trained.base.weights_sha256:
        yield "merge.base_sha256 is not the digest of the candidate's base"
    if merge.quantised != trained.quantised:
        yield "merge and candidate do not name the same quantised form"
    if record.step is None and merge.adapter_sha256 != trained.weights_sha256:
        yield "merge.adapter_sha256 is not the digest of the candidate's weights"


def _check_trained_weights(entry: Entry, record: TrainingRecord) -> Iterator[str]:
    trained, result = record.candidate, entry.result
    if trained is None:
        return
    if (trained.kind == "adapter") != (record.merge is not None):
        yield "an adapter is merged and whole weights are not"
    if trained.kind == "full" and record.step is None and trained.weights_sha256 != result.model.weights_sha256:
        yield "the candidate's weights_sha256 is not the digest of the weights that answered"
    if result.model.source != f"trained:{trained.recipe}@{trained.recipe_sha256[:12]}":
        yield "the model's source does not name the candidate's recipe"
    if (
        trained.values.get("trainer") in _OWN_TRAINERS
        and digest(_restore_list_values(trained)) != trained.recipe_sha256
    ):
        yield "recipe_sha256 is not the digest of the recipe's values"
    if record.step is not None and str(record.step) not in trained.checkpoints:
        yield "the candidate kept no weights of that step"
    if trained.created > entry.created:
        yield "it was scored before it was trained"


def _restore_list_values(trained: Candidate) -> dict[str, Value | list[str]]:
    """Return the recipe's values in the form over which its digest is computed."""
    values: dict[str, Value | list[str]] = dict(trained.values)
    for key in _LIST_FIELDS:
        value = trained.values.get(key)
        if isinstance(value, str):
            values[key] = value.split(",") if value else []
    return values
