"""analysis.board_comparisons: each row against the right run of its own base, and never against any other."""

from dataclasses import replace

import pytest
from baseline_bench.analysis.board_comparisons import (
    ComparedBoard,
    compare_board,
    measure_discordance,
    summarise_recipes,
)
from baseline_bench.analysis.compare import compare_entries
from baseline_bench.analysis.multiple_testing import seeds_interval
from baseline_bench.rendering import leaderboard
from baseline_bench.results.board import Board, Row
from baseline_bench.results.candidate import MergeSummary, TrainingRecord
from baseline_bench.results.entry import Result
from baseline_bench.results.retractions import BoardRecords
from board_samples import retraction, right, row, trained
from corpus.bases import based, digests, scored
from corpus.boards import IDENTITY, OTHER
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from samples import partial, result, sha

LEADERBOARDS = ROOT / "leaderboards"
BASE = row(right(result("base"), range(24)))
TUNED = row(right(trained("base", "full"), range(2, 60)))


def judged(*rows: Row) -> ComparedBoard:
    """A board of these rows, judged."""
    return compare_board(Board("counting", rows))


def elsewhere(of: Result) -> Result:
    """The same run on another device."""
    return replace(of, provenance=replace(of.provenance, device="another"))


def test_real_rows_stand_as_compare_says() -> None:
    """Pairs, interval, p and outcome are those of the comparison of the two entries, for every row of a real board."""
    found = compare_board(leaderboard.load_board(LEADERBOARDS, "gsm8k"))
    by_file = {one.file: one for one in found.board.rows}
    assert len(found.against) >= 15
    for file, against in found.against.items():
        told = compare_entries(by_file[file].entry, against.base.entry)
        assert (against.pairs, against.interval, against.p) == (told.pairs, told.interval, told.p)
        assert against.outcome == told.outcome


def test_a_row_stands_against_the_newest_comparable_run_of_its_base() -> None:
    """A newer run elsewhere, another model and a subset are passed over; a newer run alike is taken."""
    newer = row(right(result("base"), range(30)), "2026-11-23T12:00:00Z")
    far = row(elsewhere(right(result("base"), range(900))), "2026-11-25T12:00:00Z")
    other, part = row(right(result("other"), range(99)), "2026-11-26T12:00:00Z"), row(partial(result("base")))
    assert judged(BASE, TUNED).against[TUNED.file].base == BASE
    found = judged(TUNED, part, other, far, newer, BASE)
    assert found.against[TUNED.file].base == newer
    assert set(found.against) == {TUNED.file}
    assert found.home[BASE.file] == newer


def test_a_row_without_a_comparable_run_of_its_base_stands_alone() -> None:
    """A base elsewhere, a withdrawn one and other weights of the same name are no base of it."""
    renamed = right(result("base"), range(24))
    others = replace(renamed, model=replace(renamed.model, weights_sha256=sha("other weights")))
    for rows in ((TUNED,), (TUNED, row(elsewhere(right(result("base"), range(9))))), (TUNED, row(others))):
        assert judged(*rows).against == {}
    gone = Board("counting", (TUNED, BASE), BoardRecords((retraction(BASE, "wrong"),), ()))
    assert compare_board(gone).against == {}


def test_an_unknown_identity_among_others_is_no_bridge() -> None:
    """The newest row of the base is taken: of its identity or of an unknown one, and of no other."""
    tuned = row(right(based(trained("base", "full"), digests(OTHER)), range(50)))
    known, unknown, other = (
        row(right(scored(identity), range(24)), f"2026-11-{day}T12:00:00Z")
        for day, identity in ((26, IDENTITY), (25, None), (24, OTHER))
    )
    assert judged(tuned, known, unknown, other).against[tuned.file].base == unknown
    assert judged(tuned, known, unknown).against[tuned.file].base == unknown
    assert judged(tuned, known, other).against[tuned.file].base == other
    assert judged(tuned, known).against == {}


def test_seeds_of_one_recipe_on_two_configs_of_one_base_are_two_recipes() -> None:
    """Three seeds on either make two means; the path of a base that is a folder does not count."""
    rows = [
        row(right(based(trained("base", "full", seed), digests(identity)), range(50 + seed)))
        for identity in (IDENTITY, OTHER)
        for seed in range(3)
    ]
    (table,) = judged(*rows).tables
    assert [summary.seeds for summary in summarise_recipes(table)] == [(0, 1, 2)] * 2
    moved = [row(right(in_folder(seed, ("./base", "../base", "/models/base")[seed]), range(50))) for seed in range(3)]
    (table,) = judged(*moved).tables
    assert [summary.seeds for summary in summarise_recipes(table)] == [(0, 1, 2)]


def in_folder(seed: int, path: str) -> Result:
    """A training of a base that was given as a path."""
    of = trained("base", "full", seed)
    assert of.training is not None
    assert of.training.candidate is not None
    made = of.training.candidate
    made = replace(
        made, values={**made.values, "base": path}, base=replace(made.base, source="folder", name=f"{path}@1")
    )
    return replace(of, training=replace(of.training, candidate=replace(made, recipe_sha256=sha(path))))


def test_a_base_with_an_adapter_beside_it_is_a_candidate() -> None:
    """The same weights answer, and yet it is compared with the base and never taken for it."""
    settings = {**result("base").engine.settings, "adapter": sha("adapter")}
    of = right(replace(result("base"), candidate="base+adapter"), range(50))
    served = row(replace(of, engine=replace(of.engine, settings=settings)), "2026-11-24T12:00:00Z")
    found = judged(BASE, served, TUNED)
    assert {file: against.base for file, against in found.against.items()} == {served.file: BASE, TUNED.file: BASE}


def test_an_adapter_from_elsewhere_is_compared_with_the_base_it_was_merged_into() -> None:
    """Its merge record holds the digest of the base's weights."""
    merge = MergeSummary("bfloat16", sha("base"), sha("a"), sha("m"), 1, 1, 0.01, None, 0.0, 1.0, 64)
    foreign = row(replace(right(result("foreign"), range(50)), training=TrainingRecord(None, None, merge)))
    assert judged(BASE, foreign).against[foreign.file].base == BASE


def test_a_recipe_is_three_seeds_scored_alike() -> None:
    """Mean and t interval over the seeds; two seeds, a step on the way or a run elsewhere make no third."""
    seeds = [row(right(trained("base", "full", seed), range(50 + seed))) for seed in range(3)]
    on_the_way = row(right(trained("base", "full", 2, 40), range(50)))
    far = row(elsewhere(right(trained("base", "full", 2), range(50))))
    (table,) = judged(*seeds[:2], on_the_way, far).tables
    assert summarise_recipes(table) == []
    (table,) = judged(*seeds, on_the_way, far, BASE).tables
    (recipe,) = summarise_recipes(table)
    rates = [(50 + seed) / 1319 for seed in range(3)]
    assert (recipe.name, recipe.base, recipe.seeds) == ("full", "base", (0, 1, 2))
    assert recipe.mean == pytest.approx(sum(rates) / 3)
    assert recipe.interval == seeds_interval(rates)


def test_a_seed_that_was_scored_twice_counts_once() -> None:
    """The newest of its rows is taken."""
    seeds = [row(right(trained("base", "full", seed), range(50))) for seed in range(3)]
    again = row(right(trained("base", "full", 1), range(80)), "2026-11-23T12:00:00Z")
    (table,) = judged(*seeds, again).tables
    (recipe,) = summarise_recipes(table)
    assert recipe.seeds == (0, 1, 2)
    assert recipe.mean == pytest.approx((50 + 80 + 50) / 3 / 1319)


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 1318)), st.sets(st.integers(0, 1318)))
def test_pairs_count_every_item_once(ours: set[int], theirs: set[int]) -> None:
    """Won, lost, right in both and in neither are those of the two sets of right items."""
    tuned, base = row(right(trained("base", "full"), ours)), row(right(result("base"), theirs))
    found = judged(tuned, base)
    pairs = found.against[tuned.file].pairs
    assert pairs == (len(ours & theirs), len(ours - theirs), len(theirs - ours), 1319 - len(ours | theirs))
    seen = measure_discordance(found, found.tables[0])
    assert seen == (len(ours ^ theirs) / 1319, 1)
