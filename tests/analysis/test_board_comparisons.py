"""analysis.board_comparisons: each row against the right run of its own base, and never against any other."""

from dataclasses import replace

import pytest
from baseline_bench.analysis.board_comparisons import (
    ComparedBoard,
    RecipeSummary,
    compare_board,
    measure_discordance,
    summarise_recipes,
)
from baseline_bench.analysis.compare import compare_entries
from baseline_bench.analysis.multiple_testing import holm_adjust
from baseline_bench.analysis.recipe_contrast import compare_recipes
from baseline_bench.analysis.recipe_key import digest_weight_keys
from baseline_bench.analysis.recipe_rows import read_right_answers
from baseline_bench.rendering import leaderboard
from baseline_bench.results.board import Board, Row
from baseline_bench.results.candidate import MergeSummary, TrainingRecord
from baseline_bench.results.entry import Result
from baseline_bench.results.retractions import BoardRecords
from board_samples import labelled, retraction, right, row, trained
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


def summaries(*rows: Row) -> list[RecipeSummary]:
    """The recipes of a board of one table."""
    compared = judged(*rows)
    return summarise_recipes(compared, compared.tables[0])


def with_candidate(of: Result, **changes: object) -> Result:
    """The same run of a training that differs like this."""
    assert of.training is not None
    assert of.training.candidate is not None
    return replace(of, training=replace(of.training, candidate=replace(of.training.candidate, **changes)))


def elsewhere(of: Result) -> Result:
    """The same run on another device."""
    return replace(of, provenance=replace(of.provenance, device="another"))


def test_real_rows_stand_as_compare_says() -> None:
    """Pairs, interval, p and outcome are those of the comparison of the two entries, for every row of a real board."""
    found = compare_board(leaderboard.load_board(LEADERBOARDS, "gsm8k"))
    by_file = {one.file: one for one in found.board.rows}
    assert len(found.against) >= 15
    for file, against in found.against.items():
        alone = compare_entries(by_file[file].entry, against.base.entry)
        assert (against.pairs, against.interval, against.p) == (alone.pairs, alone.interval, alone.p)
        assert against.outcome == alone.outcome


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
    assert [summary.seeds for summary in summaries(*rows)] == [(0, 1, 2)] * 2
    moved = [row(right(in_folder(seed, ("./base", "../base", "/models/base")[seed]), range(50))) for seed in range(3)]
    assert [summary.seeds for summary in summaries(*moved)] == [(0, 1, 2)]


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


def test_p_values_are_adjusted_over_all_comparisons_of_the_board() -> None:
    """Every seed and every table counts; rows without a base and withdrawn rows do not."""
    weak = [row(right(trained("base", "weak", seed), range(30))) for seed in range(2)]
    gone = row(right(trained("base", "gone"), range(100)))
    old = [row(labelled(one.result, "counting-0shot@v0")) for one in (BASE, weak[0])]
    alone = row(right(trained("elsewhere", "full"), range(90)))
    rows = (BASE, TUNED, *weak, gone, *old, alone)
    found = compare_board(Board("counting", rows, BoardRecords((retraction(gone, "wrong"),), ())))
    assert set(found.adjusted) == set(found.against) == {one.file for one in (TUNED, *weak, old[1])}
    assert list(found.adjusted.values()) == list(holm_adjust([one.p for one in found.against.values()]))
    assert found.against[weak[1].file].p < 0.05 < found.adjusted[weak[1].file]
    assert found.adjusted[TUNED.file] < 0.05


def test_a_recipe_is_two_seeds_scored_alike() -> None:
    """Its mean, and the crossed interval against its base; a step on the way or a run elsewhere is no seed."""
    seeds = [row(right(trained("base", "full", seed), range(50 + seed))) for seed in range(3)]
    on_the_way = row(right(trained("base", "full", 2, 40), range(50)))
    far = row(elsewhere(right(trained("base", "full", 2), range(50))))
    assert summaries(seeds[0], on_the_way, far, BASE) == []
    assert [one.seeds for one in summaries(*seeds[:2], BASE)] == [(0, 1)]
    (recipe,) = summaries(*seeds, on_the_way, far, BASE)
    assert (recipe.name, recipe.base, recipe.seeds) == ("full", "base", (0, 1, 2))
    assert recipe.mean == pytest.approx(sum((50 + seed) / 1319 for seed in range(3)) / 3)
    answers = [read_right_answers(one.entry) for one in seeds]
    assert recipe.contrast == compare_recipes(answers, [read_right_answers(BASE.entry)])
    assert recipe.contrast.outcome == "better"
    (alone,) = summaries(*seeds)
    assert (alone.mean, alone.contrast) == (recipe.mean, None)


def test_a_recipe_is_known_by_the_keys_that_move_weights() -> None:
    """Another file or guard is the same recipe, another learning rate of one name is not."""
    seeds = [right(trained("base", "full", seed), range(50)) for seed in range(3)]
    guarded = with_candidate(seeds[1], recipe_sha256=sha("edited"), values={"lr": 1e-4, "time_limit": 9})
    other = with_candidate(seeds[2], values={"lr": 2e-4})
    (recipe,) = summaries(*map(row, (seeds[0], guarded, other)), BASE)
    assert (recipe.seeds, recipe.digest) == ((0, 1), digest_weight_keys({"lr": 1e-4}))


def test_a_seed_that_was_scored_twice_counts_once() -> None:
    """The newest of its rows is taken."""
    seeds = [row(right(trained("base", "full", seed), range(50))) for seed in range(3)]
    again = row(right(trained("base", "full", 1), range(80)), "2026-11-23T12:00:00Z")
    (recipe,) = summaries(*seeds, again)
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
