"""Two processes that share a training train what one trains alone."""

from pathlib import Path

import pytest
import tiny_training
from baseline_bench.core import child_process
from baseline_bench.core.errors import BenchError
from baseline_bench.trainers import full, lora
from safetensors.torch import load_file

pytestmark = [
    pytest.mark.usefixtures("forked_children"),
    # PEFT asks transformers by an old name.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]

# Steps of 8, 8 and 1 rows, twice; cut into passes of about two rows.
ROWS = 17
OPTIONS = {"epochs": 2, "batch": 8, "forward_tokens": 150}
TRAINERS = {"full": (full, tiny_training.full), "lora": (lora, tiny_training.lora)}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory):
    """One process, by trainer."""
    rows, held_out = tiny_training.rows(base, ROWS), tiny_training.rows(base, 3)
    return {
        name: tiny_training.run(
            trainer.train, base, rows, tmp_path_factory.mktemp(name), options(**OPTIONS), held_out=held_out
        )
        for name, (trainer, options) in TRAINERS.items()
    }


def apart(one: Path, other: Path) -> float:
    """The largest difference between two folders' numbers; they hold the same tensors."""
    (first,), (second,) = (list(folder.glob("*.safetensors")) for folder in (one, other))
    mine, theirs = load_file(first), load_file(second)
    assert mine.keys() == theirs.keys()
    return max(float((mine[name] - theirs[name]).abs().max()) for name in mine)


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_processes_train_what_one_does(base, alone, tmp_path, sharding):
    """Every loss and norm, the last window's of one row too, the held-out loss and the weights; full and LoRA."""
    options = {"full": {}, "lora": {"r": 4, "alpha": 8}}
    trainings = [[name, str(tmp_path / name), OPTIONS | {"sharding": sharding} | options[name]] for name in TRAINERS]
    asked = {"base": str(base.folder), "rows": ROWS, "processes": 2, "trainings": trainings}
    told = child_process.call_in_child("tiny_training:work", asked, processes=2)
    for name, (losses, norms, held_out, trainable) in zip(TRAINERS, told, strict=True):
        wanted = alone[name]
        assert losses == pytest.approx(wanted.losses, abs=1e-5)
        assert norms == pytest.approx(wanted.norms, abs=1e-5)
        assert held_out == pytest.approx(wanted.trained.held_out_loss, abs=1e-5)
        assert trainable == wanted.trained.trainable
        assert apart(tmp_path / name / "weights", wanted.trained.weights) < 1e-6


def test_a_sharded_training_goes_on_too(base, tmp_path):
    """Two processes under FSDP, killed in the middle: the losses and weights of an unbroken one."""
    options = {"batch": 2, "checkpoint_steps": 2, "sharding": "fsdp"}
    asked = {"base": str(base.folder), "rows": ROWS, "processes": 2}
    one = asked | {"trainings": [["full", str(tmp_path / "broken"), options]], "killed": 5}
    with pytest.raises(BenchError, match="killed"):
        child_process.call_in_child("tiny_training:work", one, processes=2)
    both = [["full", str(tmp_path / name), options] for name in ("broken", "whole")]
    broken, whole = child_process.call_in_child("tiny_training:work", asked | {"trainings": both}, processes=2)
    assert broken[0] == whole[0][-len(broken[0]) :]
    assert len(broken[0]) == 9 - 4
    assert apart(tmp_path / "broken" / "weights", tmp_path / "whole" / "weights") == 0
