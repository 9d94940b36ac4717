"""What goes wrong in a training stops it in one clear line, and leaves nothing that could be taken for weights."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import tiny_training
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import weight_checks
from baseline_bench.trainers import full
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model."""
    return tiny_training.model(tmp_path_factory.mktemp("base"))


@contextmanager
def disk(size: int) -> Iterator[None]:
    """No file may grow beyond this many bytes."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def test_a_rate_that_is_far_too_high_ends_in_one_line(base, tmp_path):
    """A loss or norm that is no number stops the run at that step, and nothing is written."""
    rows, options = tiny_training.rows(base, 16), tiny_training.full(lr=1e30, warmup=0, batch=2)
    with pytest.raises(BenchError, match=r"(loss|norm) became (nan|inf) at step \d of 8: lower the learning rate"):
        tiny_training.run(full.train, base, rows, tmp_path / "run", options)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_training_that_diverges_ends_in_one_line(base, tmp_path):
    """The loss is finite and climbs: a rate of 1 throws the weights about; nothing stays that could be resumed."""
    rows = tiny_training.rows(base, 40)
    options = tiny_training.full(lr=1.0, warmup=0.5, batch=1, checkpoint_steps=2)
    with pytest.raises(BenchError, match=r"training diverged: the loss rose from \d+\.\d+ to \d+\.\d+ by step \d+"):
        tiny_training.run(full.train, base, rows, tmp_path, options)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_no_numbers_end_in_one_line(base, tmp_path):
    """A base with a NaN is told at the first step."""
    folder = tmp_path / "base"
    shutil.copytree(base.folder, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BenchError, match="the loss became nan at step 1 of 1"):
        tiny_training.run(
            full.train, tiny_training.at(folder), tiny_training.rows(base, 3), tmp_path / "run", tiny_training.full()
        )


def test_a_last_step_into_the_void_is_no_candidate(base, tmp_path):
    """The step after which no loss is computed is looked at in the weights."""
    options = tiny_training.full(lr=1e38, warmup=0, max_steps=1, weight_decay=1e5)
    made = tiny_training.run(full.train, base, tiny_training.rows(base, 2), tmp_path, options)
    with pytest.raises(BenchError, match="holds NaN or infinity: lower the learning rate"):
        weight_checks.check_full_weights(made.trained.weights, base.folder)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory"), MemoryError()]
)
def test_memory_that_ends_is_told_with_every_way_out(base, tmp_path, error):
    """Whatever a GPU, torch's CPU allocator or Python raises."""

    def exhausted(network):
        def forward(**given):
            raise error

        network.forward = forward
        return network

    rows = tiny_training.rows(base, 2)
    with pytest.raises(BenchError) as caught:
        tiny_training.run(
            tiny_training.changed(exhausted), base, rows, tmp_path, tiny_training.full(forward_tokens=4096)
        )
    assert caught.value.what == "training ran out of memory"
    ways = caught.value.way_out.split(", or ")
    assert ways[:2] == ["--set forward_tokens=2048", "--set gradient_checkpointing=true"]
    assert ways[2] == "--set optimizer=adamw_8bit"


def test_a_bug_keeps_its_traceback(base, tmp_path):
    """A RuntimeError that is not about memory is no lack of memory."""

    def buggy(network):
        def forward(**given):
            raise RuntimeError("shapes do not match")

        network.forward = forward
        return network

    with pytest.raises(RuntimeError, match="shapes do not match"):
        tiny_training.run(
            tiny_training.changed(buggy), base, tiny_training.rows(base, 2), tmp_path, tiny_training.full()
        )


@pytest.mark.parametrize("every", [0, 1], ids=["weights", "state"])
def test_a_disk_that_is_full_leaves_no_weights(base, tmp_path, every):
    """One line whether weights or a state to resume from were being written; a draft is never taken for either."""
    rows, options = tiny_training.rows(base, 4), tiny_training.full(batch=2, checkpoint_steps=every)
    with disk(100_000), pytest.raises(BenchError, match=r"cannot write .*free some space"):
        tiny_training.run(full.train, base, rows, tmp_path, options)
    assert list(tmp_path.iterdir()) == []
    made = tiny_training.run(full.train, base, rows, tmp_path, options)
    assert len(made.steps) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
