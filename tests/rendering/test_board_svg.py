"""rendering.board_svg: the plot shows each row beside its base, and nothing in a record breaks it."""

import random
import xml.etree.ElementTree as ET
from dataclasses import replace

from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.rendering.board_svg import draw_forest_plot
from baseline_bench.results.board import Board, Row
from board_samples import ITEMS, golden, labelled, right, row, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_text import NASTY
from paths import DATA
from samples import counted, partial, result

GOLDEN = DATA / "golden_board.svg"
SVG = "{http://www.w3.org/2000/svg}"


def plot(*rows: Row) -> str:
    """The plot of a board of these rows."""
    return draw_forest_plot(compare_board(Board("counting", rows)))


def words(drawn: str) -> list[str]:
    """Every text of a plot, in the order in which it was drawn."""
    return [element.text or "" for element in ET.fromstring(drawn).iter(f"{SVG}text")]


def test_the_plot_is_the_golden_one() -> None:
    """A board with everything on it, byte for byte."""
    assert draw_forest_plot(compare_board(golden())).encode() == GOLDEN.read_bytes()


@settings(deadline=None, max_examples=20)
@given(st.permutations(golden().rows))
def test_a_plot_does_not_depend_on_the_order_of_entries(rows: list[Row]) -> None:
    """It is a function of the set of entries."""
    assert draw_forest_plot(compare_board(replace(golden(), rows=tuple(rows)))) == draw_forest_plot(
        compare_board(golden())
    )


@settings(deadline=None, max_examples=50)
@given(NASTY, NASTY)
def test_no_name_breaks_the_plot(name: str, label: str) -> None:
    """Well-formed XML with the same elements as for harmless names."""
    rows = row(labelled(right(replace(result("base"), candidate=name), range(9)), label or "x"))
    kinds = [element.tag for element in ET.fromstring(plot(rows)).iter()]
    usual = row(labelled(right(result("base"), range(9)), "x"))
    assert kinds == [element.tag for element in ET.fromstring(plot(usual)).iter()]


def test_candidates_stand_under_their_base_with_the_rest_of_their_name() -> None:
    """The base's runs first, then what was trained on it; a long name is cut."""
    base = row(right(result("base"), range(24)))
    tuned, long = row(right(trained("base", "full"), range(90))), row(right(trained("base", "x" * 99), range(24)))
    told = words(plot(tuned, base, long))
    assert told.index("base") < told.index("base, 2026-11-22 12:00") < told.index("+full-s0")
    assert "+5.00 better" in told
    assert "+0.00 inconclusive" in told
    assert any(text.startswith("+xxx") and text.endswith("…") and len(text) < 40 for text in told)


def test_only_full_rows_of_the_newest_version_are_drawn() -> None:
    """Subsets and older versions stay in their tables."""
    drawn = plot(
        row(right(result("new"), range(9))),
        row(labelled(counted(result("old"), ITEMS, 9), "counting-0shot@v0")),
        row(partial(result("part"))),
    )
    told = words(drawn)
    assert "new" in told
    assert not {"old", "part"} & set(told)


def test_a_board_without_full_rows_has_an_empty_plot() -> None:
    """Nothing but the legend, well formed."""
    assert "base" in words(plot(row(partial(result("part")))))


def test_very_many_rows_are_the_newest_hundred() -> None:
    """A plot that nobody could scroll through says how many it leaves out."""
    rows = [
        row(right(result(f"m{i:03}"), range(9)), f"2026-11-{1 + i % 28:02}T12:00:{i // 28:02}Z") for i in range(120)
    ]
    random.Random(0).shuffle(rows)
    told = words(plot(*rows))
    assert any("the newest 100 of 120 rows" in text for text in told)


def test_high_scores_are_not_squeezed_into_the_right_edge() -> None:
    """Where no interval comes near 0 the scale begins a little below the lowest one."""
    told = words(plot(row(right(result("a"), range(1200))), row(right(result("b"), range(1210)))))
    assert "0" not in told
    assert "90" in told
