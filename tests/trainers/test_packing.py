"""trainers._packing: rows in one sequence are as rows alone, and every process has its part of a step."""

import pytest
import tiny_training
import torch
from baseline_bench.core.types import TrainingExample
from baseline_bench.trainers._packing import pack_examples, pack_process_share, split_into_steps
from hypothesis import given
from hypothesis import strategies as st

# Gemma 2 soft-caps its attention, which sdpa cannot.
KINDS = [("chatml", "sdpa"), ("chatml", "eager"), ("plain", "sdpa"), ("plain", "eager"), ("gemma", "eager")]


def plain_rows(*lengths: int) -> list[TrainingExample]:
    """Rows of these lengths, the last third supervised, no id twice."""
    ends = [sum(lengths[: place + 1]) for place in range(len(lengths))]
    return [
        TrainingExample(f"row-{place}", tuple(range(end - length, end)), max(1, length - max(1, length // 3)))
        for place, (length, end) in enumerate(zip(lengths, ends, strict=True))
    ]


def names(made: list[list[TrainingExample]]) -> list[list[str]]:
    """The rows of every window by name."""
    return [[row.id for row in window] for window in made]


@pytest.mark.parametrize(("manner", "attention"), KINDS)
def test_the_loss_of_packed_rows_is_that_of_the_rows_alone(manner, attention, tmp_path):
    """Weighted by supervised tokens, in whatever order the rows lie: no row sees another."""
    base = tiny_training.model(tmp_path, manner)
    network = tiny_training.plain(base.folder, attention)
    rows = tiny_training.rows(base, 6)
    with torch.no_grad():
        alone = sum(float(tiny_training.summed_loss(network, row)) for row in rows)
        for order in (rows, rows[::-1], (rows[3], *rows[:3], *rows[4:])):
            assert float(tiny_training.packed_loss(network, order)) == pytest.approx(alone, rel=1e-5)


def test_rows_longer_than_a_sliding_window_stay_blind_too(tmp_path):
    """Gemma 2 looks back 256 tokens in every other layer; a packed row's window ends at its own beginning."""
    base = tiny_training.model(tmp_path, "gemma")
    network = tiny_training.plain(base.folder)
    rows = [TrainingExample("long", tuple(7 + place % 400 for place in range(300)), 20), *tiny_training.rows(base, 2)]
    with torch.no_grad():
        alone = sum(float(tiny_training.summed_loss(network, row)) for row in rows)
        assert float(tiny_training.packed_loss(network, rows)) == pytest.approx(alone, rel=1e-5)


def test_a_pass_says_where_rows_begin_and_what_is_predicted():
    """Golden: positions restart at 0; a place predicts the next id of its own row, supervised ones alone."""
    packed = pack_examples([TrainingExample("a", (10, 11, 12, 13), 2), TrainingExample("b", (20, 21, 22), 1)])
    assert packed.ids.tolist() == [[10, 11, 12, 13, 20, 21, 22]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert packed.predict.tolist() == [1, 2, 4, 5]
    assert packed.labels.tolist() == [12, 13, 21, 22]


def test_windows_hold_every_row_once_an_epoch_and_the_last_is_as_small_as_it_comes():
    """17 rows at batch 8 are three steps, the last of one row; the next epoch begins a window of its own."""
    rows = plain_rows(*[3] * 17)
    made = split_into_steps(rows, batch=8, epochs=2, seed=0)
    assert [len(window) for window in made] == [8, 8, 1, 8, 8, 1]
    for epoch in (made[:3], made[3:]):
        assert sorted(name for window in names(epoch) for name in window) == sorted(row.id for row in rows)
    assert names(made[:3]) != names(made[3:])


@pytest.mark.parametrize(
    ("epochs", "sizes"),
    [(1, [8, 2]), (0.5, [5]), (0.01, [1]), (1.3, [8, 2, 3]), (2, [8, 2, 8, 2])],
)
def test_a_fraction_of_an_epoch_takes_that_share_of_the_rows(epochs, sizes):
    """Rounded to whole rows, one at least."""
    assert [len(window) for window in split_into_steps(plain_rows(*[3] * 10), 8, epochs, 0)] == sizes


def test_a_fraction_of_an_epoch_is_the_beginning_of_the_whole_one():
    """Half an epoch sees the rows that a whole one sees first."""
    rows = plain_rows(*[3] * 16)
    assert names(split_into_steps(rows, 4, 0.5, 3)) == names(split_into_steps(rows, 4, 1, 3))[:2]


def test_the_order_hangs_on_the_seed_alone():
    """The same seed, the same order, whatever else was drawn; another seed, another order."""
    rows = plain_rows(*[3] * 20)
    torch.manual_seed(5)
    first = names(split_into_steps(rows, 8, 1, 1))
    torch.manual_seed(6)
    assert names(split_into_steps(rows, 8, 1, 1)) == first
    assert names(split_into_steps(rows, 8, 1, 2)) != first


lengths = st.lists(st.integers(2, 40), min_size=1, max_size=12)


@given(lengths=lengths, processes=st.integers(1, 5), forward_tokens=st.integers(1, 100))
def test_processes_share_a_step_without_loss_and_in_step(lengths, processes, forward_tokens):
    """Every process has as many passes, every row lies in one pass of one process, no pass is above its tokens."""
    window = plain_rows(*lengths)
    shares = [pack_process_share(window, rank, processes, forward_tokens) for rank in range(processes)]
    assert len({len(passes) for passes in shares}) == 1
    real = [packed for passes in shares for packed in passes if len(packed.labels)]
    assert sorted(i for packed in real for i in packed.ids[0].tolist()) == list(range(sum(lengths)))
    assert sum(len(packed.labels) for packed in real) == tiny_training.supervised(window)
    for packed in real:
        rows = int((packed.positions == 0).sum())
        assert packed.ids.numel() <= forward_tokens or rows == 1


@given(lengths=lengths, processes=st.integers(1, 5))
def test_processes_have_about_as_many_rows(lengths, processes):
    """None has two rows more than another."""
    window = plain_rows(*lengths)
    counts = []
    for rank in range(processes):
        passes = [packed for packed in pack_process_share(window, rank, processes, 1) if len(packed.labels)]
        counts.append(len(passes))
    assert max(counts) - min(counts) <= 1


def test_one_token_a_pass_is_one_row_a_pass():
    """forward_tokens = 1 is how to train without packing."""
    passes = pack_process_share(plain_rows(5, 4, 3), 0, 1, forward_tokens=1)
    assert [packed.ids.numel() for packed in passes] == [5, 4, 3]


def test_an_empty_pass_has_a_gradient_of_zeros(tmp_path):
    """A process without rows takes part in every pass and adds nothing: zeros, and not None."""
    network = tiny_training.plain(tiny_training.model(tmp_path).folder)
    (packed,) = pack_process_share(plain_rows(6), 1, 2, 100)
    assert packed.labels.numel() == 0
    tiny_training.pass_loss(network, packed).backward()
    assert all(p.grad is not None and not bool(torch.count_nonzero(p.grad)) for p in network.parameters())
