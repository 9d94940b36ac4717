"""analysis.compare: what two rows' difference may mean, how large it is with its doubt, and why items moved."""

from dataclasses import replace

import pytest
from baseline_bench.analysis.compare import (
    ItemChange,
    classify_comparison,
    compare_entries,
    explain_incomparability,
    find_margin,
    is_base,
    list_item_changes,
)
from baseline_bench.analysis.outcomes import ALPHA, PairedDifference
from baseline_bench.analysis.statistics import PairCounts, paired_interval
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import ModelIdentity
from baseline_bench.results.candidate import MergeSummary, TrainingRecord
from board_samples import trained
from corpus.bases import based, digests, scored
from corpus.boards import IDENTITY, OLDER, OTHER
from hypothesis import given
from hypothesis import strategies as st
from judged_rows import CUT, KINDS, LOOSE, RIGHT, UNREAD, WRONG, row
from samples import entry, result, sha

UNCHANGED = dict.fromkeys(("unread", "stopping", "answer", "format"), (0, 0))


def compared(*pairs: tuple[str, str]):
    """One row against another, item by item."""
    first, second = zip(*pairs, strict=True)
    return compare_entries(row(*first), row(*second))


def with_margin(entry, margin):
    """The entry of a training whose recipe declares a margin."""
    training = entry.result.training
    candidate = replace(training.candidate, values={**training.candidate.values, "margin": margin})
    return replace(entry, result=replace(entry.result, training=replace(training, candidate=candidate)))


def test_items_are_counted_by_who_got_them_right():
    """Both, the first alone, the second alone, neither."""
    found = compared((RIGHT, RIGHT), (RIGHT, WRONG), (RIGHT, WRONG), (WRONG, RIGHT), (WRONG, WRONG))
    assert found.pairs == (1, 2, 1, 1)
    assert found.pairs.difference == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("won", "lost", "outcome"),
    [
        (6, 0, "better"),
        (0, 6, "worse"),
        (5, 0, "inconclusive"),
        (14, 5, "better"),
        (5, 14, "worse"),
        (6, 13, "inconclusive"),
    ],
)
def test_the_interval_decides_between_better_and_worse(won, lost, outcome):
    """Outside 0 at 95 %. Five of 19 decide, although the exact test (p = 0.064) does not reject."""
    found = compared(*[(RIGHT, WRONG)] * won, *[(WRONG, RIGHT)] * lost, *[(RIGHT, RIGHT)] * 300)
    assert found.outcome == outcome
    assert found.interval == paired_interval(found.pairs)


def test_equal_rows_show_nothing():
    """No difference, p of 1, and an interval around 0."""
    found = compared(*[(RIGHT, RIGHT)] * 5, *[(WRONG, WRONG)] * 5)
    assert (found.outcome, found.p, found.p_mid, found.margin) == ("inconclusive", 1, 1, None)
    assert found.interval.low < 0 < found.interval.high
    assert found.flips == UNCHANGED


@pytest.mark.parametrize("kinds", [(RIGHT, WRONG), (WRONG, RIGHT)])
@pytest.mark.parametrize("items", [6, 40, 1319])
def test_a_perfect_separation_is_decided(kinds, items):
    """Every item won, or every item lost, has no variance at all and a tiny p; that is never read as no difference."""
    found = compared(*[kinds] * items)
    assert found.outcome == ("better" if kinds[0] == RIGHT else "worse")
    assert found.p == pytest.approx(2 * 0.5**items)
    assert abs(found.pairs.difference) == 1
    assert found.interval.low > 0 or found.interval.high < 0


RANKS = ["inconclusive", "non-inferior", "equivalent"]
tables = st.builds(PairCounts, *[st.integers(0, 60)] * 4).filter(lambda pairs: pairs.total > 0)


@given(tables, st.integers(6, 60), st.booleans(), st.sampled_from([None, 0.01, 0.2]))
def test_six_discordant_items_of_one_row_are_never_inconclusive(pairs, discordant, wins, margin):
    """Whatever the other items are, and whatever the margin."""
    one_sided = pairs._replace(first=discordant * wins, second=discordant * (not wins))
    assert PairedDifference(one_sided, margin).outcome == ("better" if wins else "worse")


@given(tables)
def test_a_wider_margin_never_takes_a_conclusion_back(pairs):
    """Inconclusive, then non-inferior, then equivalent; better and worse whatever the margin."""
    outcomes = [PairedDifference(pairs, margin).outcome for margin in (None, 0.001, 0.01, 0.05, 0.2, 0.5, 0.99)]
    if outcomes[0] == "inconclusive":
        ranks = [RANKS.index(outcome) for outcome in outcomes]
        assert ranks == sorted(ranks)
    else:
        assert set(outcomes) == {outcomes[0]}


@given(tables, st.sampled_from([0.01, 0.1, 0.5]))
def test_exchanging_two_rows_mirrors_every_number(pairs, margin):
    """Better and worse are exchanged, and equivalent rows stay equivalent."""
    mirrored_pairs = pairs._replace(first=pairs.second, second=pairs.first)
    found, mirrored = PairedDifference(pairs, margin), PairedDifference(mirrored_pairs, margin)
    for one, other in ((found.interval, mirrored.interval), (found.margin_interval, mirrored.margin_interval)):
        assert (one.low, one.high) == (-other.high, -other.low)
    assert (found.p, found.p_mid) == (mirrored.p, mirrored.p_mid)
    exchanged = {"better": "worse", "worse": "better", "equivalent": "equivalent"}
    assert exchanged.get(found.outcome, mirrored.outcome) == mirrored.outcome


@given(tables, st.sampled_from([None, 0.02, 0.3]), st.floats(0, 1))
def test_an_adjusted_p_value_only_takes_better_and_worse_back(pairs, margin, adjusted):
    """With an adjusted p value, at least the exact one, the outcome is the same or the margin's."""
    found = PairedDifference(pairs, margin)
    outcome = found.decide_adjusted(max(adjusted, found.p))
    assert outcome == found.outcome or (found.outcome in ("better", "worse") and outcome in RANKS)
    assert found.decide_adjusted(found.p) in (("better", "worse") if found.p < ALPHA else RANKS)


def test_a_margin_is_the_first_row_s_recipe_s_unless_one_is_given():
    """Equal rows of a thousand items: within one point."""
    rows = [row(*[RIGHT] * 500, *[WRONG] * 500, of=trained(recipe, "main")) for recipe in ("one", "other")]
    declared = with_margin(rows[0], 0.01)
    assert compare_entries(*rows).outcome == "inconclusive"
    assert (compare_entries(declared, rows[1]).margin, compare_entries(declared, rows[1]).outcome) == (
        0.01,
        "equivalent",
    )
    assert compare_entries(rows[1], declared).margin is None
    assert compare_entries(declared, rows[1], margin=0.001).outcome == "inconclusive"


@pytest.mark.parametrize("value", [0.0, 1.0, -0.01, "0.01", True, float("nan")])
def test_a_margin_that_is_no_share_is_none(value):
    """A stranger's record may hold anything; without a valid margin nothing is equivalent."""
    assert find_margin(with_margin(row(RIGHT, of=trained("base", "main")), value)) is None


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
    assert compared((now, then), (RIGHT, RIGHT), (WRONG, WRONG)).flips == UNCHANGED | {cause: counted}


@pytest.mark.parametrize("pair", [(WRONG, UNREAD), (UNREAD, CUT), (WRONG, CUT), (LOOSE, LOOSE)])
def test_what_was_wrong_and_stays_wrong_has_not_moved(pair):
    """Neither a gain nor a loss, whatever kept it from being right."""
    assert compared(pair, pair[::-1]).flips == UNCHANGED


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), min_size=1, max_size=40))
def test_causes_add_up_to_what_was_won_and_lost(pairs):
    """Every item that changed sides has one cause, and exchanging the rows exchanges gains and losses."""
    found, back = compared(*pairs), compared(*(pair[::-1] for pair in pairs))
    moved = [counts for cause, counts in found.flips.items() if cause != "format"]
    assert (sum(won for won, _ in moved), sum(lost for _, lost in moved)) == (found.pairs.first, found.pairs.second)
    assert back.flips == {cause: counts[::-1] for cause, counts in found.flips.items()}
    assert back.p == found.p


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), min_size=1, max_size=40))
def test_exchanging_the_rows_mirrors_the_difference(pairs):
    """The difference changes its sign, the interval is mirrored, and both p values stay."""
    found, back = compared(*pairs), compared(*(pair[::-1] for pair in pairs))
    assert back.pairs.difference == -found.pairs.difference
    assert back.interval == pytest.approx((-found.interval.high, -found.interval.low), abs=1e-12)
    assert (back.p, back.p_mid) == (found.p, found.p_mid)
    assert {found.outcome, back.outcome} in ({"better", "worse"}, {"inconclusive"})


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), min_size=1, max_size=40))
def test_the_interval_is_around_the_difference_and_within_1(pairs):
    """Whatever the items; the mid-p never exceeds the exact p, and both are probabilities."""
    found = compared(*pairs)
    assert -1 <= found.interval.low <= found.pairs.difference <= found.interval.high <= 1
    assert 0 < found.p_mid <= found.p <= 1


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), min_size=1, max_size=30), st.randoms())
def test_the_order_of_the_items_does_not_matter(pairs, random):
    """The same items in another order give the same comparison."""
    shuffled = random.sample(pairs, len(pairs))
    assert compared(*shuffled) == compared(*pairs)


def test_moves_name_items_in_their_order():
    """The place of each, its cause, and who won it; items on which the rows agree are left out."""
    first = row(RIGHT, RIGHT, WRONG, LOOSE, UNREAD)
    second = row(RIGHT, WRONG, CUT, RIGHT, RIGHT)
    assert list_item_changes(first, second) == (
        ItemChange(1, "answer", True),
        ItemChange(3, "format", False),
        ItemChange(4, "unread", False),
    )


@pytest.mark.parametrize("lacking", [0, 1])
def test_a_missing_item_is_an_error_and_never_wrong(lacking):
    """The row that answered fewer items is named, whichever it is, and nothing is compared on the rest."""
    rows = [row(*[RIGHT] * 12), row(*[RIGHT] * 12)]
    rows[lacking] = row(*[RIGHT] * 11)
    with pytest.raises(BenchError, match="lacks some of 12 items") as caught:
        compare_entries(*rows)
    assert "never counted as wrong" in caught.value.way_out


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


def test_another_number_of_gpus_leaves_rows_comparable():
    """It is named among the differences, and moves no more than the engine's own noise."""
    shared = replace(BASE.engine, settings={**BASE.engine.settings, "gpus": 4})
    assert explain_incomparability(entry(BASE), entry(replace(BASE, engine=shared), "2026-11-23T12:00:00Z")) is None


@pytest.mark.parametrize(("what", "other"), OTHERS, ids=[what for what, _ in OTHERS])
def test_rows_that_differ_in_more_than_weights_are_not_comparable(what, other):
    """The part that differs is named with both values, and no difference is worked out."""
    assert explain_incomparability(entry(BASE), entry(other)).startswith(f"other {what} (")
    with pytest.raises(BenchError, match=f"not comparable: other {what}") as caught:
        compare_entries(entry(other), entry(BASE))
    assert caught.value.way_out


def test_weights_names_and_training_do_not_hinder():
    """They are what is compared; nor does it matter whether weights were loaded or reloaded, and when."""
    settings = {**BASE.engine.settings, "weights": "reloaded"}
    other = replace(result("tuned"), engine=replace(BASE.engine, settings=settings), training=None)
    assert explain_incomparability(entry(BASE), entry(other, "2026-11-23T12:00:00Z")) is None
    assert compare_entries(entry(BASE), entry(other)).pairs.difference == 0


SYSTEMS = [(what, other) for what, other in OTHERS if what not in ("protocols", "items")]
MANNER = replace(BASE, task=replace(BASE.task, label="counting-8shot@v1", protocol_sha256=sha("8 shots")))


@pytest.mark.parametrize(
    ("what", "other"), [*SYSTEMS, ("protocols", MANNER)], ids=[*(what for what, _ in SYSTEMS), "manner"]
)
def test_the_same_items_asked_otherwise_are_a_system_comparison(what, other):
    """Allowed where it is asked for, with what differs named; refused where weights are to be compared."""
    found = classify_comparison(entry(BASE), entry(other))
    assert found.name == "system comparison"
    assert [difference.what for difference in found.differs] == [what]
    compared = compare_entries(entry(BASE), entry(other), system=True)
    assert compared.system
    assert compared.differs == found.differs
    with pytest.raises(BenchError, match="not comparable"):
        compare_entries(entry(BASE), entry(other))


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("items", replace(BASE, task=replace(BASE.task, items_sha256=sha("other")))),
        ("selections", replace(BASE, selection=replace(BASE.selection, ids_sha256=sha("other")))),
        ("selections", replace(BASE, selection=replace(BASE.selection, total=99, limit=12, seed=0))),
        ("readers", replace(BASE, task=replace(BASE.task, reader="hash@v2"))),
        (
            "versions of the task",
            replace(BASE, task=replace(BASE.task, label="counting-0shot@v2", protocol_sha256=sha("2"))),
        ),
        ("versions of the task", replace(BASE, task=replace(BASE.task, protocol_sha256=sha("other")))),
    ],
)
def test_another_exam_is_not_comparable_in_any_way(what, other):
    """Other items, another selection, another reader, another version: no difference, no items in common."""
    found = classify_comparison(entry(BASE), entry(other))
    assert found.name == "not comparable"
    assert [difference.what for difference in found.differs] == [what]
    with pytest.raises(BenchError, match=f"not comparable: other {what}"):
        compare_entries(entry(BASE), entry(other), system=True)
    with pytest.raises(BenchError, match=f"not comparable: other {what}"):
        list_item_changes(entry(BASE), entry(other))


@pytest.mark.parametrize("names", [("whole", "b"), ("b", "whole")])
def test_a_row_of_whole_texts_is_not_comparable_whichever_comes_first(names):
    """It has no items that are right or wrong."""
    rows = {"whole": entry(replace(BASE, aggregates={"word_perplexity": 12.5})), "b": entry(BASE)}
    found = classify_comparison(*(rows[name] for name in names))
    assert found.name == "not comparable"
    assert found.differs[0].what == "items that are right or wrong"


def test_rows_of_one_exam_and_engine_are_comparable():
    """Nothing but the weights differs, and the kind says so."""
    assert classify_comparison(entry(BASE), entry(result("tuned"))) == classify_comparison(
        entry(result("tuned")), entry(BASE)
    )
    assert classify_comparison(entry(BASE), entry(result("tuned"))).name == "comparable"
    assert not compare_entries(entry(BASE), entry(result("tuned")), system=True).system


def test_a_base_is_known_by_the_weights_that_were_trained_from():
    """Not by its name; a row without known weights is nobody's base."""
    base = entry(BASE)
    merge = MergeSummary("bfloat16", BASE.model.weights_sha256, "a", "b", 1, 1, 0.01, None, 0.0, 1.0, 1)
    tuned = entry(replace(result("tuned"), training=TrainingRecord(None, None, merge)))
    served = entry(replace(BASE, model=replace(BASE.model, weights_sha256=None)))
    assert is_base(base, tuned)
    assert not is_base(tuned, base)
    assert not is_base(entry(result("other")), tuned)
    assert not is_base(served, tuned)
    assert not is_base(served, served)
    unmerged = replace(BASE, engine=replace(BASE.engine, settings={**BASE.engine.settings, "adapter": "0" * 64}))
    assert not is_base(entry(unmerged), tuned)


def test_a_base_has_the_identity_that_was_trained_from():
    """Of equal tensors another config is no base; an unknown identity is as before, and a chosen template is free."""
    tuned = based(trained("base", "full"), digests(IDENTITY))
    other = replace(IDENTITY, template_sha256=sha("chosen"), settings=None, sha256=None)
    for base, expected in ((IDENTITY, True), (OLDER, True), (None, True), (other, True), (OTHER, False)):
        assert is_base(entry(scored(base)), entry(tuned)) == expected
        assert is_base(entry(scored(base)), entry(trained("base", "full")))
        kind = classify_comparison(entry(tuned), entry(replace(scored(base), prompts_sha256=tuned.prompts_sha256)))
        assert kind.name == ("comparable" if expected else "system comparison")
        assert [difference.what for difference in kind.differs] == ([] if expected else ["base's config.json"])
    seed = based(trained("base", "full", 1), digests(OTHER))
    assert explain_incomparability(entry(tuned), entry(seed)).startswith("other base's config.json")


def test_an_unmerged_adapter_is_compared_as_weights():
    """Its row and its base's have equal tensors, and the adapter in its identity is what is to be judged."""
    settings = {**(IDENTITY.settings or {}), "unmerged adapter r": 16}
    adapted = scored(ModelIdentity.of(settings, IDENTITY.defaults))
    assert classify_comparison(entry(adapted), entry(scored(IDENTITY))).name == "comparable"
    assert classify_comparison(entry(adapted), entry(scored(OTHER))).name == "system comparison"
