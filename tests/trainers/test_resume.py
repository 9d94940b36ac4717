"""A training that is killed and started again ends as one that was never broken, bit for bit."""

import os
import signal
from pathlib import Path

import pytest
import tiny_training
from baseline_bench import cli
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Step
from baseline_bench.models import weights
from baseline_bench.results import candidate
from baseline_bench.results.candidate import LossLog
from forked_children import CONTEXT

# PEFT asks transformers by an old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.usefixtures("forked_children"),
]

ROWS, STEPS = 17, 9
KINDS = {
    "full": ("full", tiny_training.full(batch=2, checkpoint_steps=2)),
    "full in 8 bits": ("full", tiny_training.full(batch=2, checkpoint_steps=2, optimizer="adamw_8bit")),
    "lora with dropout": ("lora", tiny_training.lora(batch=2, checkpoint_steps=2, dropout=0.2)),
}
KILLED = """\
import os
import signal
from dataclasses import replace
from pathlib import Path

from baseline_bench.trainers import full
from baseline_bench.trainers.full import Options

FUSE = Path(__file__).with_name("fuse")


def train(job):
    def report(step):
        job.report(step)
        if step.number == 5 and FUSE.exists():
            FUSE.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    return full.train(replace(job, report=report))
"""
RECIPE = """\
base = "{base}"
trainer = "killed.py"
task = "word-problems"
data = "word-problems"
lr = 1e-3
batch = 2
max_steps = 8
optimizer = "adamw"
precision = "fp32"
output_dtype = "float32"
checkpoint_steps = 2
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base"))


class Fuse:
    """Keeps the losses as a training does, and ends the process without a word after one step."""

    def __init__(self, folder: Path, number: int | None) -> None:
        self.losses = LossLog(folder)
        self.number = number

    def __call__(self, step: Step) -> None:
        self.losses.append(step)
        if step.number == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def train(base, folder, kind, number=None):
    """Train, to the end or until killed after a step."""
    name, options = KINDS[kind]
    folder.mkdir(exist_ok=True)
    return tiny_training.run(
        plugins.load_trainer(name).train,
        base,
        tiny_training.rows(base, ROWS),
        folder,
        options,
        report=Fuse(folder, number),
        checkpoints=2,
    ).trained


def kill(base, folder, kind, number) -> None:
    """Train in a process that is killed after this step."""
    process = CONTEXT.Process(target=train, args=(base, folder, kind, number))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def history(folder) -> list[tuple[int, float, float, float]]:
    """Everything that was kept of every step, but its seconds."""
    return [(step.number, step.loss, step.grad_norm, step.lr) for step in LossLog(folder).read()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_ends_as_an_unbroken_one(base, tmp_path, kind):
    """Killed twice: every step is kept once with the same loss, and all weights are the same bits."""
    whole = train(base, tmp_path / "whole", kind)
    broken = tmp_path / "broken"
    kill(base, broken, kind, 5)
    assert [step.number for step in LossLog(broken).read()] == [1, 2, 3, 4, 5]
    assert not (broken / "weights").exists()
    (broken / "state.draft").write_bytes(b"torn by another kill")
    kill(base, broken, kind, 7)
    made = train(base, broken, kind)
    assert history(broken) == history(tmp_path / "whole")
    assert [number for number, *_ in history(broken)] == list(range(1, STEPS + 1))
    assert made.checkpoints.keys() == whole.checkpoints.keys() == {3, 6}
    for mine, wanted in zip(
        (made.weights, *made.checkpoints.values()), (whole.weights, *whole.checkpoints.values()), strict=True
    ):
        assert digest(mine) == digest(wanted)
    assert not list(broken.glob("state*"))


def digest(folder: Path) -> bytes | str:
    """Over the tensors of weights or of an adapter."""
    file = folder / "adapter_model.safetensors"
    return file.read_bytes() if file.is_file() else weights.digest_weights(folder)


def test_a_training_killed_before_its_first_state_begins_anew(base, tmp_path):
    """Nothing is resumed, and no line of the first attempt stays."""
    train(base, tmp_path / "whole", "full")
    kill(base, tmp_path / "broken", "full", 1)
    train(base, tmp_path / "broken", "full")
    assert history(tmp_path / "broken") == history(tmp_path / "whole")


def test_a_killed_training_is_no_candidate_until_the_same_command_has_ended_it(base, tmp_path, monkeypatch, capfd):
    """`bench train` tells that it was killed, leaves no candidate.json, and goes on when it is given again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(RECIPE.format(base=base.folder), encoding="utf-8")
    (tmp_path / "fuse").touch()
    assert cli.main(["train", "mine.toml"]) == 1
    assert "killed by the system" in capfd.readouterr().err
    (folder,) = (tmp_path / "runs").iterdir()
    assert not (folder / candidate.CANDIDATE_FILE).exists()
    with pytest.raises(BenchError, match=r"is no candidate: .*finish its training with the same command"):
        candidate.read_candidate(folder)
    (folder / f".loss.jsonl.{'0' * 32}.tmp").touch()  # what a kill in the middle of a write leaves
    assert cli.main(["train", "mine.toml"]) == 0
    assert not list(folder.glob(".*.tmp"))
    assert list((tmp_path / "runs").iterdir()) == [folder]
    assert candidate.read_candidate(folder).cost.steps == 8
    assert [number for number, *_ in history(folder)] == list(range(1, 9))
