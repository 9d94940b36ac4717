"""evaluation.protocol: one label, one digest; a subset that is drawn and never sliced."""

from types import SimpleNamespace

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.evaluation import protocol
from hypothesis import given
from hypothesis import strategies as st

PROBLEMS = [Problem(f"test-{i}", f"What is {i}+1?", str(i + 1), "") for i in range(40)]


def task(**changed):
    """A task as a fake that satisfies the contract."""
    given = {
        "LABEL": "sums-0shot@v1",
        "READER": "final-number@v1",
        "SAMPLING": Sampling(16),
        "messages": lambda p: (Message("user", p.question),),
        **changed,
    }
    return SimpleNamespace(**given)


@pytest.mark.parametrize(
    "other",
    [
        {"READER": "final-number@v2"},
        {"SAMPLING": Sampling(17)},
        {"SAMPLING": Sampling(16, stop=("\n",))},
        {"SAMPLING": Sampling(16, temperature=0.5)},
        {"messages": lambda p: (Message("user", p.question + " "),)},
    ],
)
def test_whatever_moves_a_score_moves_the_digest(other):
    """Reader, sampling and prompts are all in the protocol's digest."""
    assert protocol.digest_protocol(task(), PROBLEMS) != protocol.digest_protocol(task(**other), PROBLEMS)


def test_items_and_their_order_are_in_the_digest():
    """A missing, changed or moved item is another protocol."""
    digests = {protocol.digest_protocol(task(), items) for items in (PROBLEMS, PROBLEMS[:-1], PROBLEMS[::-1])}
    assert len(digests) == 3


def test_a_pinned_label_with_another_digest_is_refused(monkeypatch, tmp_path):
    """Data or a prompt that changed under a published label is noticed before anything is generated."""
    pins = tmp_path / "protocols.toml"
    pins.write_text('"sums-0shot@v1" = "0000"\n')
    monkeypatch.setattr(protocol, "PINNED_FILE", pins)
    with pytest.raises(BenchError, match="has changed"):
        protocol.digest_protocol(task(), PROBLEMS)


@given(st.integers(1, 40), st.integers(0, 5))
def test_a_subset_keeps_item_order_and_lies_within_every_larger_one(limit, seed):
    """The drawn items stand in their own order, and a smaller limit is part of a larger one."""
    chosen = protocol.select_problems(PROBLEMS, limit, seed)
    assert len(chosen) == limit
    assert [p.id for p in PROBLEMS if p in chosen] == [p.id for p in chosen]
    assert set(chosen) <= set(protocol.select_problems(PROBLEMS, min(40, limit + 3), seed))


def test_a_subset_is_not_the_first_items_and_depends_on_its_seed():
    """A slice from the top moves real scores; seeds draw different items."""
    drawn = {tuple(p.id for p in protocol.select_problems(PROBLEMS, 8, seed)) for seed in range(5)}
    assert len(drawn) == 5
    assert tuple(p.id for p in PROBLEMS[:8]) not in drawn


@pytest.mark.parametrize("limit", [0, -1, 41])
def test_a_limit_out_of_range_is_refused_with_the_range(limit):
    """The way out names the largest limit there is."""
    with pytest.raises(BenchError, match="from 1 to 40"):
        protocol.select_problems(PROBLEMS, limit, 0)
