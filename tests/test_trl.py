"""TRL's SFTTrainer, for real: our rows in, a sound candidate out, its loss the one our own trainer has."""

import pytest
import tiny_lora
import tiny_training

from harness import plugins
from trainers import lora, trl

EXACT = {"precision": "fp32", "lr": 1e-3, "warmup": 0.0, "output_dtype": "float32", "batch": 4, "forward_rows": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def job(base, tmp_path):
    """A job of ten rows for TRL."""

    def build(**over):
        return tiny_training.job(base, tiny_training.rows(base, 10), tmp_path / "run", trl.Options(**EXACT | over))

    return build


def test_trl_begins_where_our_own_lora_begins(base, tmp_path):
    """One step over all rows has our loss and our gradient; the adapter is as large, and moves as many tensors."""
    pytest.importorskip("trl", reason="trl is not installed: pip install 'baseline-bench[trl]'")
    rows, keys = tiny_training.rows(base, 6), {"batch": 6, "max_steps": 1, "warmup": 0.0, "r": 4, "alpha": 8}
    ours = tiny_lora.wrapped(tiny_training.run, lora.train, base, rows, tmp_path / "ours", tiny_training.lora(**keys))
    options = trl.Options(**EXACT | keys | {"forward_rows": 3})
    train = plugins.trainer("trl").train
    theirs = tiny_training.run(train, base, rows, tmp_path / "theirs", options, held_out=rows[:2])
    assert theirs.losses == pytest.approx(ours.losses, abs=2e-4)
    assert theirs.norms == pytest.approx(ours.norms, rel=0.2)
    assert (theirs.trained.trainable, theirs.trained.parameters) == (ours.trained.trainable, ours.trained.parameters)
    assert [step.rows for step in theirs.steps] == [6]
    assert theirs.trained.held_out_loss == pytest.approx(theirs.losses[0], abs=1.0)
    assert theirs.trained.libraries["trl"]
    assert theirs.trained.peak_memory > 10_000_000
