"""harness.judging.compare: is one row better than another, with the doubt; why items moved; and when it means nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import entry, result, sha

from harness.judging.compare import Flips, comparable, compare
from harness.errors import BenchError
from harness.evaluate import score
from harness.store.bits import Bits
from harness.store.entry import Entry, Result
from harness.types import Verdict

RIGHT, LOOSE, WRONG, UNREAD, CUT = "right", "loose", "wrong", "unread", "cut"
KINDS = (RIGHT, LOOSE, WRONG, UNREAD, CUT)


def verdict(place: int, kind: str) -> Verdict:
    """A judgement of this kind; `loose` is right but not in the task's own format."""
    answer = None if kind == UNREAD else "1"
    right = kind in (RIGHT, LOOSE)
    return Verdict(f"test-{place}", answer, "hash", right, kind == RIGHT, "length" if kind == CUT else "stop")


def row(*kinds: str, of: Result | None = None) -> Entry:
    """A row with these judgements, in item order."""
    verdicts = [verdict(place, kind) for place, kind in enumerate(kinds)]
    return entry(replace(of or result(), bits=Bits.of(verdicts), counts=score(verdicts)))


def compared(*pairs: tuple[str, str]):
    """One row against another, item by item."""
    first, second = zip(*pairs, strict=True)
    return compare(row(*first), row(*second))


def test_items_are_counted_by_who_got_them_right():
    """Both, the first alone, the second alone, neither."""
    found = compared((RIGHT, RIGHT), (RIGHT, WRONG), (RIGHT, WRONG), (WRONG, RIGHT), (WRONG, WRONG))
    assert found.pairs == (1, 2, 1, 1)
    assert found.pairs.difference == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("won", "lost", "word"),
    [(6, 0, "better"), (0, 6, "worse"), (5, 0, "not resolved"), (12, 2, "better"), (6, 16, "not resolved")],
)
def test_the_exact_test_says_better_worse_or_not_resolved(won, lost, word):
    """At 5 %; a difference that chance could make is called neither better nor worse."""
    found = compared(*[(RIGHT, WRONG)] * won, *[(WRONG, RIGHT)] * lost, *[(RIGHT, RIGHT)] * 10)
    assert found.verdict == word
    assert (found.p < 0.05) == (word != "not resolved")


def test_equal_rows_show_nothing():
    """No difference, p of 1, an interval around 0, and no number of items that would show it."""
    found = compared(*[(RIGHT, RIGHT)] * 5, *[(WRONG, WRONG)] * 5)
    assert (found.verdict, found.p, found.p_mid, found.needed, found.at_odds) == ("not resolved", 1, 1, None, False)
    assert found.interval.low < 0 < found.interval.high
    assert found.flips == Flips((0, 0), (0, 0), (0, 0), (0, 0))


def test_a_difference_that_is_not_resolved_tells_how_many_items_it_takes():
    """More than there are, by Connor's formula; where that would be no more than there are, nothing is told."""
    pairs = [*[(RIGHT, WRONG)] * 6, *[(WRONG, RIGHT)] * 3, *[(WRONG, WRONG)] * 11]
    assert compared(*pairs).needed > len(pairs)
    assert compared(*[(RIGHT, WRONG)] * 5).needed is None


def test_interval_and_test_may_disagree_and_it_is_said():
    """Five of five won: the interval lies above 0, and the exact test cannot tell."""
    assert compared(*[(RIGHT, WRONG)] * 5).at_odds
    assert not compared(*[(RIGHT, WRONG)] * 8).at_odds


@pytest.mark.parametrize(
    ("now", "then", "cause", "counted"),
    [
        (RIGHT, UNREAD, "unread", (1, 0)),
        (UNREAD, RIGHT, "unread", (0, 1)),
        (RIGHT, CUT, "stopping", (1, 0)),
        (CUT, LOOSE, "stopping", (0, 1)),
        (RIGHT, WRONG, "answer", (1, 0)),
        (WRONG, LOOSE, "answer", (0, 1)),
        (RIGHT, LOOSE, "format", (1, 0)),
        (LOOSE, RIGHT, "format", (0, 1)),
    ],
)
def test_an_item_moves_for_one_cause(now, then, cause, counted):
    """Nothing read, cut short, another answer, or only another manner of stating it; gains and losses apart."""
    none = Flips((0, 0), (0, 0), (0, 0), (0, 0))
    assert compared((now, then), (RIGHT, RIGHT), (WRONG, WRONG)).flips == replace(none, **{cause: counted})


@pytest.mark.parametrize("pair", [(WRONG, UNREAD), (UNREAD, CUT), (WRONG, CUT), (LOOSE, LOOSE)])
def test_what_was_wrong_and_stays_wrong_has_not_moved(pair):
    """Neither a gain nor a loss, whatever kept it from being right."""
    assert compared(pair, pair[::-1]).flips == Flips((0, 0), (0, 0), (0, 0), (0, 0))


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), min_size=1, max_size=40))
def test_causes_add_up_to_what_was_won_and_lost(pairs):
    """Every item that changed sides has one cause, and exchanging the rows exchanges gains and losses."""
    found, back = compared(*pairs), compared(*(pair[::-1] for pair in pairs))
    flips = found.flips
    assert sum(won for won, _ in (flips.unread, flips.stopping, flips.answer)) == found.pairs.first
    assert sum(lost for _, lost in (flips.unread, flips.stopping, flips.answer)) == found.pairs.second
    assert back.flips == Flips(flips.unread[::-1], flips.stopping[::-1], flips.answer[::-1], flips.format[::-1])
    assert back.p == found.p


BASE = result()
OTHERS = [
    ("protocols", replace(BASE, task=replace(BASE.task, protocol_sha256=sha("other")))),
    ("items", replace(BASE, selection=replace(BASE.selection, ids_sha256=sha("other")))),
    ("prompts as token ids", replace(BASE, prompts_sha256=sha("other"))),
    ("stop tokens", replace(BASE, model=replace(BASE.model, stop_ids=(2,)))),
    ("engines", replace(BASE, engine=replace(BASE.engine, version="transformers 5.23.0"))),
    ("engine settings", replace(BASE, engine=replace(BASE.engine, settings={"dtype": "bfloat16"}))),
    ("devices", replace(BASE, provenance=replace(BASE.provenance, device="GPU"))),
]


@pytest.mark.parametrize(("what", "other"), OTHERS, ids=[what for what, _ in OTHERS])
def test_rows_that_differ_in_more_than_weights_are_not_comparable(what, other):
    """The part that differs is named with both values, and no difference is worked out."""
    assert comparable(entry(BASE), entry(other)).startswith(f"other {what} (")
    with pytest.raises(BenchError, match=f"not comparable: other {what}") as caught:
        compare(entry(other), entry(BASE))
    assert caught.value.way_out


def test_weights_names_and_training_do_not_hinder():
    """They are what is compared; nor does it matter whether weights were loaded or reloaded, and when."""
    settings = {**BASE.engine.settings, "weights": "reloaded"}
    other = replace(result("tuned"), engine=replace(BASE.engine, settings=settings), training=None)
    assert comparable(entry(BASE), entry(other, "2026-11-23T12:00:00Z")) is None
    assert compare(entry(BASE), entry(other)).pairs.difference == 0
