"""TRL's SFTTrainer, for real: our rows in, a sound candidate out, and one step of it is one step of ours."""

import json
import shutil
from dataclasses import replace

import pytest
import tiny_study
import tiny_training
from baseline_bench.core import plugins
from baseline_bench.core.errors import suggest_extra
from baseline_bench.results import candidate
from baseline_bench.trainers import full, lora, trl
from baseline_bench.training import recipes
from tiny_study import bench, history, only

pytestmark = pytest.mark.usefixtures("forked_children")

EXACT = {"precision": "fp32", "lr": 1e-3, "warmup": 0.0, "output_dtype": "float32", "batch": 4, "forward_rows": 4}


@pytest.fixture
def installed():
    """TRL, which the development extra brings."""
    return pytest.importorskip("trl", reason="trl is not installed: pip install 'baseline-bench[trl]'")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base") / "model")


def settings(base, folder, **over) -> dict[str, object]:
    """What TRL is told for ten rows."""
    job = tiny_training.job(base, tiny_training.rows(base, 10), folder, trl.Options(**EXACT | over))
    return json.loads(trl.files(job)["settings.json"])


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_step_of_trl_is_a_step_of_our_own_loop(installed, base, tmp_path):
    """The same loss and gradient over all rows, in two padded passes, and the same held-out loss after; the adapter is
    as large.
    """
    rows, keys = tiny_training.rows(base, 6), {"batch": 6, "epochs": 2.0, "warmup": 0.0, "r": 4, "alpha": 8}
    own = tiny_training.lora(**keys)
    ours = tiny_training.run(lora.train, base, rows, tmp_path / "ours", own, held_out=rows)
    options = trl.Options(**EXACT | keys | {"forward_rows": 3})
    theirs = tiny_training.run(
        plugins.load_trainer("trl").train, base, rows, tmp_path / "theirs", options, held_out=rows, seed=1
    )
    assert theirs.losses[0] == pytest.approx(ours.losses[0], abs=1e-4)
    assert theirs.losses[1] == pytest.approx(ours.losses[1], abs=2e-2)
    assert theirs.norms == pytest.approx(ours.norms, rel=0.2)
    assert [(step.rows, step.tokens, step.supervised) for step in theirs.steps] == [
        (step.rows, step.tokens, step.supervised) for step in ours.steps
    ]
    assert theirs.trained.held_out_loss == pytest.approx(ours.trained.held_out_loss, abs=2e-2)
    assert (theirs.trained.trainable, theirs.trained.parameters) == (ours.trained.trainable, ours.trained.parameters)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_ten_steps_of_trl_are_ten_of_our_own_loop(installed, base, tmp_path):
    """Where nothing is drawn, neither an order nor an adapter's first numbers, clipping, normalisation and optimizer
    give the same losses and norms to the end. The schedules are a step apart: TRL's begins with a rate of 0.
    """
    keys = {"batch": 6, "epochs": 10.0, "warmup": 0.0, "lr": 1e-3, "clip": 0.5, "schedule": "constant"}
    rows = tiny_training.rows(base, 6)
    ours = tiny_training.run(full.train, base, rows, tmp_path / "ours", tiny_training.full(**keys))
    options = trl.Options(**EXACT | keys | {"method": "full", "forward_rows": 3})
    theirs = tiny_training.run(plugins.load_trainer("trl").train, base, rows, tmp_path / "theirs", options, seed=1)
    assert ours.losses[-1] < ours.losses[0] - 0.5
    assert theirs.losses == pytest.approx(ours.losses, abs=1e-4)
    assert theirs.norms == pytest.approx(ours.norms, rel=1e-3)
    assert [step.lr for step in theirs.steps] == pytest.approx([step.lr for step in ours.steps], rel=1e-6)


def test_a_recipe_trains_by_trl_and_is_proved_like_any_other(installed, tmp_path):
    """Full weights in the recipe's dtype, a loss history, and the versions of what trained; the same command again
    finds it trained.
    """
    folder = tiny_study.build(tmp_path / "here")
    keys = ("data=./rows.jsonl", "config=none", "task=word-problems", "method=full", "lr=1e-3", "epochs=2")
    sets = [word for key in (*keys, "batch=4", "forward_rows=2", "warmup=0") for word in ("--set", key)]
    words = ["train", "trl-lora-main", "--base", "./base", *sets]
    assert bench(folder, *words) == 0
    run = only(folder, "runs/*")
    made = candidate.read_candidate(run)
    assert (made.kind, made.cost.steps, made.cost.rows) == ("full", 6, 24)
    assert made.trainable == made.parameters
    assert 0 < made.changed < 1
    assert {"trl", "torch", "transformers"} <= made.libraries.keys()
    assert made.cost.peak_memory > 10_000_000
    steps = history(run)
    assert steps[0]["loss"] > steps[-1]["loss"]
    assert [step["seconds"] for step in steps] == sorted(step["seconds"] for step in steps)
    assert json.loads((run / "weights" / "config.json").read_text())["dtype"] == "bfloat16"
    assert bench(folder, *words) == 0
    assert only(folder, "runs/*") == run


def test_every_argument_is_one_of_trl_s(installed, base, tmp_path):
    """SFTConfig takes what a recipe becomes, in every schedule and optimizer."""
    known = installed.SFTConfig.__dataclass_fields__
    for over in ({}, {"schedule": "linear"}, {"optimizer": "adamw_8bit"}, {"schedule": "constant"}):
        asked = settings(base, tmp_path, **over)["arguments"]
        assert [name for name in asked if name not in known] == []


def test_nothing_is_left_for_trl_to_decide_about_the_rows(base, tmp_path):
    """No template, no truncation, no packing; ids and labels alone."""
    told = settings(base, tmp_path)["arguments"]
    assert (told["max_length"], told["packing"]) == (None, False)
    assert not {name for name in told if "template" in name or "text" in name}


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({"final_lr": 0.1}, ("cosine_with_min_lr", {"min_lr_rate": 0.1})),
        ({"final_lr": 0.0}, ("cosine", {})),
        ({"final_lr": 1.0}, ("constant_with_warmup", {})),
        ({"schedule": "constant"}, ("constant_with_warmup", {})),
        ({"schedule": "linear", "final_lr": 0.0}, ("linear", {})),
        ({"schedule": "linear", "final_lr": 0.5}, ("polynomial", {"lr_end": 0.0005, "power": 1.0})),
    ],
)
def test_a_schedule_ends_where_the_recipe_says(base, tmp_path, over, expected):
    """By transformers' own names."""
    told = settings(base, tmp_path, **over)["arguments"]
    assert (told["lr_scheduler_type"], told["lr_scheduler_kwargs"]) == expected


def test_hyper_parameters_are_mapped_by_name(base, tmp_path):
    """A batch in passes, the warm-up in steps, the dtype that the weights are held in, a LoRA or none."""
    told = settings(base, tmp_path, batch=8, forward_rows=2, epochs=2.0, warmup=0.5, precision="bf16")
    asked = told["arguments"]
    assert (asked["per_device_train_batch_size"], asked["gradient_accumulation_steps"]) == (2, 4)
    assert (asked["num_train_epochs"], asked["max_steps"], asked["warmup_steps"]) == (2.0, -1, 2)
    assert (told["dtype"], told["lora"]["r"], asked["bf16"]) == ("bfloat16", 16, True)
    told = settings(base, tmp_path, method="full", precision="bf16", max_steps=2, clip=0.0)
    assert (told["dtype"], told["lora"], told["arguments"]["max_steps"]) == ("float32", None, 2)
    assert settings(base, tmp_path, max_steps=7)["arguments"]["max_steps"] == 3
    assert told["attention"] == "sdpa"


@pytest.mark.parametrize(
    ("softcapping", "attention"), [({"attn_logit_softcapping": 50.0}, "eager"), ({"text_config": None}, "sdpa")]
)
def test_softcapping_needs_eager_attention(base, tmp_path, softcapping, attention):
    """A text_config of null is as none."""
    folder = shutil.copytree(base.folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | softcapping))
    assert settings(replace(base, folder=folder), tmp_path / "run")["attention"] == attention


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"method": "dora"}, "method must be lora or full, not 'dora'"),
        ({"batch": 8, "forward_rows": 3}, "batch must be a multiple of forward_rows"),
        ({"time_limit": 0.0}, "time_limit must be above 0"),
        ({"optimizer": "sgd"}, "optimizer must be adamw, adamw_8bit"),
        ({"r": 0}, "r must be 1 or more"),
    ],
)
def test_what_cannot_be_asked_of_it_is_told_before_anything_runs(over, told):
    """As with our own trainers."""
    with pytest.raises(ValueError, match=told):
        trl.Options(**over)


def test_its_recipe_mirrors_that_of_our_own_lora():
    """Every key that both have has one value: what differs between their rows is the loop."""
    ours, theirs = (recipes.collect_values(recipes.read_recipe(name)) for name in ("lora-main", "trl-lora-main"))
    both = (ours.keys() & theirs.keys()) - {"trainer"}
    assert {key: ours[key] for key in both} == {key: theirs[key] for key in both}
    assert {"lr", "batch", "r", "targets", "schedule", "data", "optimizer"} <= both


def test_trl_need_not_be_here_where_another_interpreter_has_it():
    """What must be installed is asked of the interpreter that trains; where that is this one, an extra brings it."""
    missing = ModuleNotFoundError(name="trl")
    assert plugins.explain_missing_library(missing, "x").way_out == suggest_extra("trl")
    assert trl.Options().LIBRARIES == ("trl", "peft")
    assert trl.Options(python="python3").LIBRARIES == ()
