"""rendering.noise_table and what it judges by: floors on a board's page, and what unlike settings move."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from baseline_bench.analysis.noise import bound_difference, find_settings_flips, select_newest_records
from baseline_bench.rendering.noise_table import render_noise_table
from baseline_bench.results.board import Board
from baseline_bench.results.noise import NoiseRecord, RunPair
from board_samples import ITEMS, repeated, row
from hypothesis import given, settings
from markdown_it import MarkdownIt
from nasty_text import NASTY
from samples import result

EMPTY = Board("counting", ())
EAGER = {"dtype": "bfloat16", "eager": True}


def record(right: range, setup: Mapping[str, object] = EAGER, created: str = "2026-11-22T12:00:00Z") -> NoiseRecord:
    """Two runs that have these items right and are equal in every token."""
    made = repeated([right])
    runs = made.runs * 2
    return replace(
        made,
        created=created,
        engine=replace(made.engine, settings=dict(setup)),
        runs=runs,
        pairs=(RunPair(0, 1, ITEMS),),
    )


def lines(*records: NoiseRecord, board: Board = EMPTY) -> list[list[str]]:
    """The cells of the table's lines, without its head."""
    table = [line for line in render_noise_table(records, board).split("\n") if line.startswith("|")]
    return [line.strip("|").split("|") for line in table[2:]]


def test_a_line_tells_runs_right_flips_and_the_floor() -> None:
    """Three runs with 24, 26 and 24 right: the range, the share that flips, and the floor in items and points."""
    (cells,) = lines(repeated([range(24), range(26), range(1, 25)]))
    assert cells[4:] == ["3", "24–26", "0.2", "4 of 1,319 problems (0.30 points)"]
    assert cells[0] == "`base`"


def test_runs_equal_in_every_token_have_no_floor() -> None:
    """No difference can be the engine's noise then, and the line says it in words."""
    (cells,) = lines(record(range(24)))
    assert cells[5:] == ["24", "0.0", "none: every answer was equal in every token"]


def test_settings_are_told_where_records_differ_or_no_row_shares_them() -> None:
    """A floor that was measured otherwise than the rows were made must not be read as theirs."""
    invariant = {**EAGER, "batch_invariant": True}
    records = record(range(24)), record(range(24), invariant, "2026-11-22T13:00:00Z")
    assert [cells[3] for cells in lines(*records)] == ["–", "`batch_invariant=true`"]
    of = result("base")
    board = Board("counting", (row(replace(of, engine=replace(of.engine, settings=EAGER))),))
    assert [cells[3] for cells in lines(*records, board=board)] == ["–", "`batch_invariant=true` (no row here)"]
    shared = Board("counting", (row(replace(of, engine=replace(of.engine, settings=invariant))),))
    assert [cells[3] for cells in lines(*records, board=shared)] == ["–", "`batch_invariant=true`"]


def test_of_records_under_the_same_settings_the_newest_counts() -> None:
    """The later one was asked for because it says more."""
    old, new = record(range(24)), record(range(25), created="2026-11-23T12:00:00Z")
    assert select_newest_records([new, old]) == [new]
    assert [cells[5] for cells in lines(new, old)] == ["25"]


def test_settings_that_move_answers_are_told_beside_a_command_that_repeats_itself() -> None:
    """No run flips an item, and yet 20 items hang on the prefix cache: rounding's part that repetition hides."""
    on, off = record(range(24), {**EAGER, "prefix": True}), record(range(11, 33), {**EAGER, "prefix": False})
    text = render_noise_table([on, off], EMPTY).split("\n")[-1]
    assert text.startswith(
        "- Between `prefix=true` (24 right) and `prefix=false` (22 right) 20 problems of `base` flip, 11 and 9: "
        "rounding may explain that"
    )
    assert f"ignore less than {1 + bound_difference(20)} problems (0.76 points)" in text


def test_settings_that_change_the_score_are_not_called_rounding() -> None:
    """60 items lost and none won is no toss of a coin."""
    on, off = record(range(90), {"bits": 16}), record(range(30), {"bits": 4})
    text = render_noise_table([on, off], EMPTY)
    assert "flip, 60 and 0: too uneven for rounding alone" in text
    assert "ignore less than" not in text


def test_only_the_pair_farthest_apart_is_told_and_only_of_one_model() -> None:
    """Three settings make three pairs; another model, and settings that moved nothing, make none."""
    records = [record(range(count), {"kind": count}) for count in (20, 22, 30)]
    other = replace(records[0], candidate="other", model=replace(records[0].model, weights_sha256="0" * 64))
    (found,) = find_settings_flips(select_newest_records([*records, other]))
    assert {found.first.runs[0].right, found.second.runs[0].right} == {20, 30}
    assert (
        find_settings_flips(
            select_newest_records([records[0], replace(records[0], engine=replace(records[0].engine, settings={}))])
        )
        == []
    )


def test_another_device_is_told_first() -> None:
    """The same settings on two devices: what differs is the device."""
    here = record(range(20))
    there = replace(record(range(5, 25)), provenance=replace(here.provenance, device="another GPU"))
    text = render_noise_table([here, there], EMPTY)
    assert "and `another GPU` (20 right) 10 problems of `base` flip, 5 and 5" in text


def test_settings_of_which_one_side_has_none_of_its_own() -> None:
    """An older record may lack a setting that a newer one has."""
    text = render_noise_table([record(range(20), {}), record(range(5, 25), {"graphs": True})], EMPTY)
    assert "Between the other's settings without them (20 right) and `graphs=true` (20 right)" in text


@settings(deadline=None, max_examples=50)
@given(NASTY)
def test_no_name_breaks_the_table(name: str) -> None:
    """Names and settings come from outside: each stays in its cell."""
    made = replace(record(range(20), {name: name}), candidate=name)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(render_noise_table([made], EMPTY))
    assert [token.type for token in tokens].count("td_open") == 8
    assert not [token for token in tokens if token.type == "html_block"]


@pytest.mark.parametrize("count", [1, 4])
def test_records_in_any_order_make_the_same_text(count: int) -> None:
    """The page is a function of the set of records."""
    records = [record(range(20 + place), {"kind": place}) for place in range(count)]
    assert render_noise_table(records, EMPTY) == render_noise_table(records[::-1], EMPTY)
