"""analysis.recipe_rows: what identifies a recipe, and which rows of it a comparison uses."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest
from baseline_bench.analysis.recipe_key import KEYS_WITHOUT_EFFECT, digest_weight_keys
from baseline_bench.analysis.recipe_rows import RecipePair, count_training_seconds, select_recipes
from baseline_bench.core.errors import BenchError
from baseline_bench.results import lookup
from baseline_bench.results.candidate import DataRecord
from baseline_bench.results.entry import Result
from baseline_bench.results.lookup import FoundEntry
from baseline_bench.trainers import _options, trl
from baseline_bench.training import recipes
from board_samples import right, trained
from committed_rows import BASE, GSM8K
from corpus.bases import based, digests
from corpus.boards import IDENTITY, OTHER
from samples import entry, result, sha

MOVING = {
    *("lr", "schedule", "final_lr", "warmup", "epochs", "max_steps", "batch", "optimizer", "beta1", "beta2"),
    *("epsilon", "weight_decay", "clip", "precision", "weights", "output_dtype"),
    *("r", "alpha", "dropout", "targets", "double_quantization", "method", "attention"),
}
OWN = {"lr": 1e-4, "trainer": "lora", "base": "base", "data": "rows"}


def found(of: Result, folder: str = "board", created: str = "2026-11-22T12:00:00Z") -> FoundEntry:
    """A row in the file of a board."""
    return FoundEntry(Path(folder) / f"{of.candidate}-{created[:10]}.json", entry(of, created), None)


def seeds(recipe: str, numbers: Sequence[int], places: int = 5, values: object = None) -> list[FoundEntry]:
    """Rows of a recipe on one base, by seed."""
    rows = []
    for seed in numbers:
        made = right(trained("base", recipe, seed), range(places + seed), 40)
        rows.append(found(with_candidate(made, values=OWN if values is None else values)))
    return rows


def with_candidate(of: Result, **changes: object) -> Result:
    """The same run of another training."""
    assert of.training is not None
    assert of.training.candidate is not None
    return replace(of, training=replace(of.training, candidate=replace(of.training.candidate, **changes)))


def committed() -> list[FoundEntry]:
    """The rows of the GSM8K board made on an H100: three seeds a recipe, and several engines."""
    return [row for row in lookup.read_board_entries(GSM8K) if "H100" in str(row.entry.result.provenance.device)]


def refused(first: str, second: str, rows: Sequence[FoundEntry], base: str | None = None) -> BenchError:
    """The refusal of a selection."""
    with pytest.raises(BenchError) as caught:
        select_recipes(first, second, rows, base)
    return caught.value


def files(pair: RecipePair) -> list[str]:
    """The files of both sides."""
    return [row.path.name for row in (*pair.first.rows, *pair.second.rows)]


@pytest.mark.parametrize(
    "kind", [_options.Full, _options.Lora, _options.Qlora, trl.Options], ids=lambda it: it.__name__
)
def test_every_option_of_a_trainer_moves_weights_or_is_known_not_to(kind):
    """Whoever adds an option decides here which it is."""
    assert {field.name for field in fields(kind)} <= MOVING | KEYS_WITHOUT_EFFECT


def test_the_digest_is_of_what_moves_weights():
    """A default and an omitted key are equal, numbers by value, files by name; kernels and guards do not count."""
    plain = digest_weight_keys(OWN)
    for same in (
        {"r": 16, "warmup": 0.03, "targets": _options.PROJECTIONS},
        {"targets": ",".join(_options.PROJECTIONS), "epochs": 1},
        {"max_steps": None, "config": None},
        {"cuda_graph": False, "forward_tokens": 1, "max_length": 7, "derived_from": "gsm8k"},
    ):
        assert digest_weight_keys({**OWN, **same}) == plain
    for other in ({"r": 8}, {"lr": 2e-4}, {"trainer": "full"}, {"config": "main"}, {"base": "other"}, {"own_key": 1}):
        assert digest_weight_keys({**OWN, **other}) != plain
    data = [digest_weight_keys({**OWN, "data": place}) for place in ("a/rows.jsonl", "b/rows.jsonl", "a/more.jsonl")]
    assert data[0] == data[1] != data[2]


def test_the_committed_lora_rows_are_not_the_registered_file():
    """They ran another base and learning rate; with these two keys the file is their recipe."""
    pair = select_recipes("recipe:lora-main", "recipe:full-main", committed(), BASE)
    registered = recipes.read_recipe("lora-main", base=BASE)
    as_run = recipes.read_recipe("lora-main", ["lr=1e-3"], BASE)
    assert digest_weight_keys(recipes.collect_values(registered)) != pair.first.digest
    assert digest_weight_keys(recipes.collect_values(as_run)) == pair.first.digest


def test_committed_seeds_of_one_engine_are_compared():
    """Seed 3 was scored with other engine settings: it is left out, and the base of both is found."""
    pair = select_recipes("recipe:full-main", "recipe:lora-main", committed(), BASE)
    assert (pair.first.seeds, pair.second.seeds) == ((0, 1, 2), (0, 1, 2))
    assert [sum(row) for row in pair.first.right] == [69, 71, 71]
    assert pair.base is not None
    assert pair.base.entry.result.candidate == BASE
    assert pair.differs == ()
    assert pair.first.left_out == ()
    ((row, reason),) = pair.second.left_out
    assert "-lora-main-s3" in row.path.name
    assert reason.startswith("other engine settings (this row: cuda_graphs=yes, in_process=yes; rows used: ")
    assert count_training_seconds(pair.first.rows[0].entry) == 37.496
    assert count_training_seconds(pair.base.entry) == 0


def test_rows_of_other_engines_are_a_system_comparison():
    """No row of the two recipes shares engine settings: all seeds count, and the difference is listed."""
    pair = select_recipes("recipe:trl-lora-main", "recipe:full-main", committed(), BASE)
    assert (len(pair.first.rows), len(pair.second.rows)) == (3, 3)
    assert any("engine settings" in difference for difference in pair.differs)


def test_a_name_of_several_recipes_is_refused_with_their_digests():
    """The digest, or its first digits, selects; a digest of no row is refused with the same list."""
    error = refused("recipe:full-main", "recipe:lora-main", committed())
    named = re.findall(r"(recipe:full-main@[0-9a-f]{12}) \(([^,]+),", error.way_out)
    assert sorted(base for _, base in named) == ["gemma-3-270m-q4_k_m", BASE]
    lora = select_recipes("recipe:lora-main", "recipe:full-main", committed(), BASE).first.digest
    chosen = next(name for name, base in named if base == BASE)
    pair = select_recipes(chosen, f"recipe:lora-main@{lora[:6]}", committed())
    assert len(files(pair)) == 6
    nowhere = refused("recipe:full-main@0", "recipe:lora-main", committed()).way_out
    assert all(name in nowhere for name, _ in named)


def test_one_seed_and_unknown_names_are_refused():
    """The way out says how to add the seed, and suggests the name."""
    rows = [*seeds("tune", [0, 4]), *seeds("other", [2], values={**OWN, "lr": 1.0})]
    assert "--seed 3" in refused("recipe:tune", "recipe:other", rows).way_out
    assert "tune" in refused("recipe:tuna", "recipe:other", rows).way_out
    assert "base2" in refused("recipe:tune", "recipe:other", rows, "base2").what


def test_of_a_seed_scored_twice_the_newest_row_counts():
    """And steps on the way, partial rows and retracted ones do not."""
    rows = [*seeds("tune", [0, 1]), *seeds("other", [0, 1])]
    again = found(rows[0].entry.result, created="2026-11-25T12:00:00Z")
    step = rows[0].entry.result
    assert step.training is not None
    step = replace(step, training=replace(step.training, step=5))
    late = found(step, created="2026-11-26T12:00:00Z")
    pair = select_recipes("recipe:tune", "recipe:other", [*rows, again, late])
    assert pair.first.rows[0] == again
    assert len(files(pair)) == 4


def test_other_data_of_one_name_is_another_recipe():
    """A sweep trains on what it does not hold out: rows on other data are selected apart, also against the whole."""
    whole, other = seeds("tune", [0, 1]), seeds("other", [0, 1])
    data = DataRecord("rows", sha("a part"), 30, 700, 70, ())
    parts = [found(with_candidate(row.entry.result, data=data), created="2026-11-23T12:00:00Z") for row in whole]
    way_out = refused("recipe:tune", "recipe:other", [*whole, *parts, *other]).way_out
    names = re.findall(r"(recipe:tune@[0-9a-f]{12}) \([^)]*data ([0-9a-f]{12})", way_out)
    selected = {data: name for name, data in names}
    assert selected.keys() == {sha("rows")[:12], sha("a part")[:12]}
    pair = select_recipes(selected[sha("a part")[:12]], "recipe:other", [*whole, *parts, *other])
    assert pair.first.rows == tuple(parts)
    both = select_recipes(*(selected[sha(data)[:12]] for data in ("rows", "a part")), [*whole, *parts, *other])
    assert (both.first.rows, both.second.rows) == (tuple(whole), tuple(parts))
    assert both.first.digest != both.second.digest


def test_contents_count_and_paths_do_not():
    """A base by its weights wherever its folder is, a trainer's file by its digest, a named base by its name."""
    values = {**OWN, "trainer": "mine.py", "base": "./base"}
    one = digest_weight_keys(values, sha("base"), sha("code"))
    assert one == digest_weight_keys({**values, "trainer": "/a/own.py", "base": "/b/c"}, sha("base"), sha("code"))
    assert one != digest_weight_keys(values, sha("base"), sha("edited"))
    assert one != digest_weight_keys(values, sha("other"), sha("code"))
    assert digest_weight_keys(values) == digest_weight_keys({**values, "trainer": "elsewhere/mine.py"})


def test_a_row_on_another_config_of_the_base_is_left_out():
    """Its tensors are equal, and yet it is no seed of what the others train."""
    rows = [*seeds("tune", [0, 1, 2]), *seeds("other", [0, 1])]
    rows = [replace(row, entry=entry(based(row.entry.result, digests(IDENTITY)))) for row in rows]
    rows[2] = replace(rows[2], entry=entry(based(rows[2].entry.result, digests(OTHER))))
    pair = select_recipes("recipe:tune", "recipe:other", rows)
    assert (pair.first.seeds, pair.second.seeds) == ((0, 1), (0, 1))
    ((row, reason),) = pair.first.left_out
    assert (row, reason.split(" (")[0]) == (rows[2], "other base's config.json")
    assert pair.second.left_out == ()


def test_boards_and_bases_must_fit():
    """Both recipes on two boards, on no common board, other problems, and a base without a comparable row."""
    one, other = seeds("tune", [0, 1]), seeds("other", [0, 1])
    moved = [replace(row, path=Path("second") / row.path.name) for row in (*one, *other)]
    assert "--board" in refused("recipe:tune", "recipe:other", [*one, *other, *moved]).way_out
    assert "share no board" in refused("recipe:tune", "recipe:other", [*one, *moved[2:]]).what
    longer = [found(right(row.entry.result, range(5), 44)) for row in other]
    assert "no comparable rows" in refused("recipe:tune", "recipe:other", [*one, *longer]).what
    assert "bench baseline base" in refused("recipe:tune", "recipe:other", [*one, *other], "base").way_out
    base = found(right(result("base"), range(3), 40))
    assert select_recipes("recipe:tune", "recipe:other", [*one, *other, base], "base").base == base


def test_a_seed_of_a_newer_task_version_joins_those_before():
    """By the re-grades of the older rows, on both sides and for the base; without such a row each counts as scored."""
    rows = committed()
    newer = [
        replace(row, entry=row.regrade.apply(row.entry), regrade=None)
        if row.regrade is not None and "-main-s2" in row.path.name
        else row
        for row in rows
    ]
    pair = select_recipes("recipe:full-main", "recipe:lora-main", newer, BASE)
    assert (pair.first.seeds, pair.second.seeds) == ((0, 1, 2), (0, 1, 2))
    assert pair.base is not None
    used = [pair.base, *pair.first.rows, *pair.second.rows]
    assert {row.entry.result.task.label for row in used} == {"gsm8k-1shot@v2"}
    assert [reason.split()[1] for _, reason in (*pair.first.left_out, *pair.second.left_out)] == ["engine"]
    pair = select_recipes("recipe:full-main", "recipe:lora-main", rows, BASE)
    assert {row.entry.result.task.label for row in pair.first.rows} == {"gsm8k-1shot@v1"}


def test_a_recipe_is_not_compared_with_itself():
    """Equal rows on both sides would show a difference of 0, whatever the seeds do."""
    assert "full-main" in refused("recipe:full-main", "recipe:full-main", committed(), BASE).what
