"""analysis.differences: what differs between two rows beside the score."""

from dataclasses import replace
from itertools import permutations

import pytest
from baseline_bench.analysis.differences import Difference, list_differences, list_environment_differences
from committed_rows import BASE, real
from samples import entry, result

ROW = result()
PLACE = ROW.provenance


def found(first, second):
    """(what, first, second) of every difference."""
    return {(one.what, one.first, one.second) for one in list_differences(entry(first), entry(second))}


def test_equal_rows_differ_in_nothing():
    """Times, counts and commands are no differences of provenance."""
    other = replace(ROW, provenance=replace(PLACE, command="bench score again"))
    assert list_differences(entry(ROW), entry(other, "2026-11-23T12:00:00Z")) == ()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (replace(ROW, provenance=replace(PLACE, bench="0.2.0")), ("bench", "0.1.0", "0.2.0")),
        (replace(ROW, provenance=replace(PLACE, git_commit="f" * 40)), ("bench commit", "012345678901", "f" * 12)),
        (replace(ROW, provenance=replace(PLACE, git_commit=None)), ("bench commit", "012345678901", "unknown")),
        (replace(ROW, provenance=replace(PLACE, git_dirty=True)), ("uncommitted code", "no", "yes")),
        (replace(ROW, provenance=replace(PLACE, git_dirty=None)), ("uncommitted code", "no", "unknown")),
        (replace(ROW, provenance=replace(PLACE, python="3.12.3")), ("Python", "3.11.9", "3.12.3")),
        (replace(ROW, provenance=replace(PLACE, device="GPU")), ("device", "CPU", "GPU")),
        (replace(ROW, provenance=replace(PLACE, driver="580")), ("driver", "unknown", "580")),
        (replace(ROW, provenance=replace(PLACE, libraries={"torch": "2.12"})), ("library torch", "2.11.0", "2.12")),
        (replace(ROW, provenance=replace(PLACE, libraries={})), ("library torch", "2.11.0", "none")),
        (
            replace(ROW, engine=replace(ROW.engine, version="vllm 1")),
            ("engine", "transformers 5.17.0", "vllm 1"),
        ),
        (
            replace(ROW, engine=replace(ROW.engine, settings={**ROW.engine.settings, "dtype": "bfloat16"})),
            ("engine's dtype", "float32", "bfloat16"),
        ),
        (
            replace(ROW, engine=replace(ROW.engine, settings={**ROW.engine.settings, "context": 8})),
            ("engine's context", "not recorded", "8"),
        ),
        (
            replace(ROW, engine=replace(ROW.engine, settings={**ROW.engine.settings, "gpus": 4})),
            ("GPUs that shared the questions", "1", "4"),
        ),
        (replace(ROW, model=replace(ROW.model, stop_ids=())), ("stop tokens", "2 0", "none")),
        (replace(ROW, model=replace(ROW.model, prompt_style="text")), ("prompt style", "template", "text")),
        (replace(ROW, sampling=replace(ROW.sampling, max_tokens=256)), ("token limit", "512", "256")),
    ],
)
def test_each_difference_is_told_with_both_values(other, difference):
    """And alone, where nothing else differs; None is unknown, and never 0 or empty."""
    assert found(ROW, other) == {difference}


def test_uncommitted_code_is_told_even_where_both_rows_have_it():
    """Then the commit does not say what ran in either."""
    dirty = replace(ROW, provenance=replace(PLACE, git_dirty=True))
    assert found(dirty, dirty) == {("uncommitted code", "yes", "yes")}


def test_of_two_trainings_every_value_that_differs_is_told():
    """Real rows of full fine-tuning and LoRA: hyper-parameters, optimizer, merge; what is alike is left out."""
    told = list_differences(real(f"{BASE}+full-main-s0"), real(f"{BASE}+lora-main-s0"))
    named = {one.what: (one.first, one.second) for one in told}
    assert named["recipe's lr"] == ("0.0001", "0.001")
    assert named["recipe's optimizer"] == ("adamw_8bit", "adamw")
    assert named["recipe's r"] == ("unset", "16")
    assert named["merge"] == ("none", "210 tensors in bfloat16, rounding 5.1 % of the change")
    assert not {"training", "training seed", "training data", "recipe's epochs", "bench commit"} & set(named)


def test_other_data_and_seeds_are_told():
    """By the digest of the rows and by the seed."""
    main, socratic = real(f"{BASE}+lora-main-s1"), real(f"{BASE}+lora-socratic-s0")
    named = {one.what: (one.first, one.second) for one in list_differences(main, socratic)}
    assert named["training seed"] == ("1", "0")
    assert named["recipe's config"] == ("main", "socratic")
    assert "b39f3a3529f1" in named["training data"][0]


def test_a_training_against_none_is_one_difference():
    """Recipe, seed, base and data in one line, instead of every key against nothing."""
    told = list_differences(real(f"{BASE}+lora-main-s0"), real(BASE))
    assert told[0] == Difference(
        "training",
        "lora-main (a6aec690300e), seed 0, on smollm2-135m-it-q4_1, 7,473 rows of openai/gsm8k (b39f3a3529f1)",
        "none",
    )
    assert not any(one.what.startswith("recipe's") for one in told)


def train_otherwise(row, **changes):
    """The row with another record of its training."""
    return replace(row, result=replace(row.result, training=replace(row.result.training, **changes)))


def test_environments_of_two_trainings_are_compared_where_both_are_known():
    """Commit, machine and libraries of two of bench's own; none against a base or an adapter from elsewhere."""
    trained = real(f"{BASE}+lora-main-s0")
    candidate = trained.result.training.candidate
    cost = replace(candidate.cost, gpus=candidate.cost.gpus + 1)
    other = replace(candidate, git_commit="f" * 40, libraries={**candidate.libraries, "torch": "9"}, cost=cost)
    moved = train_otherwise(trained, candidate=other)
    named = [one.what for one in list_environment_differences(trained, moved)]
    assert named == ["training commit", "training device", "training library torch"]
    unlike = permutations((trained, real(BASE), train_otherwise(trained, candidate=None)), 2)
    told = [one.what for pair in unlike for one in list_environment_differences(*pair)]
    assert not [what for what in told if what.startswith("training")]


def test_a_step_and_an_adapter_from_elsewhere_are_told():
    """A checkpoint of the same training, and a training that nobody recorded against one that bench did."""
    trained = real(f"{BASE}+lora-main-s0")
    (step,) = list_differences(trained, train_otherwise(trained, step=30))
    assert step == Difference("step", "the last", "30")
    (origin,) = list_differences(train_otherwise(trained, candidate=None), trained)
    assert (origin.what, origin.first) == ("training", "an adapter from elsewhere")
