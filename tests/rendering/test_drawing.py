"""rendering.drawing: SVG that is well formed whatever it is told, and the same bytes every time."""

import xml.etree.ElementTree as ET

import pytest
from baseline_bench.core.markup import make_visible
from baseline_bench.rendering.drawing import Canvas, choose_ticks, truncate_text
from hypothesis import given
from hypothesis import strategies as st
from nasty_text import NASTY

SVG = "{http://www.w3.org/2000/svg}"
FINITE = st.floats(-1e6, 1e6)


def sheet(words: str = "words") -> Canvas:
    """One of everything."""
    canvas = Canvas(200, 100, words, words)
    canvas.line(0, 0, 1, 1.25, "grid dashed")
    canvas.rect(1, 2, -3, 4, "band")
    canvas.circle(1, 2, 3, "better hollow")
    canvas.polyline([(0, 0), (1.05, -0.04)], "series-0")
    canvas.text(5, 6, words, "ink strong", "end")
    return canvas


@given(NASTY)
def test_any_words_give_well_formed_xml_that_shows_them(words: str) -> None:
    """Title, description and text hold the words as text, with no element but ours."""
    root = ET.fromstring(sheet(words).render())
    kinds = [element.tag.removeprefix(SVG) for element in root]
    assert kinds == ["title", "desc", "style", "rect", "line", "rect", "circle", "polyline", "text"]
    # XML reads no line end here: they are spelled out.
    assert [root[0].text or "", root[1].text or "", root[-1].text or ""] == [make_visible(words)] * 3


@given(FINITE, FINITE)
def test_numbers_have_one_decimal_at_most_and_no_negative_zero(x: float, y: float) -> None:
    """What a platform makes of the last bit never reaches the file."""
    canvas = Canvas(10, 10, "t", "d")
    canvas.circle(x, y, 1, "ink")
    circle = ET.fromstring(canvas.render())[-1]
    for name, value in (("cx", x), ("cy", y)):
        told = circle.attrib[name]
        assert abs(float(told) - value) <= 0.051
        assert told not in ("-0", "-0.0")
        assert len(told.partition(".")[2]) <= 1


def test_the_same_calls_give_the_same_bytes() -> None:
    """No time, no random names."""
    assert sheet().render() == sheet().render()


def test_colours_follow_light_and_dark_pages() -> None:
    """Every colour has a second one for dark pages."""
    light, dark = sheet().render().split("@media (prefers-color-scheme:dark)")
    for name in ("ink", "muted", "grid", "paper", "better", "worse", "unresolved", "series-0", "series-7"):
        assert f".{name}{{color:" in light
        assert f".{name}{{color:" in dark


def test_an_unknown_class_is_refused() -> None:
    """A slip of the pen is not drawn in black."""
    with pytest.raises(ValueError, match="no class 'bettre'; there are band, better"):
        Canvas(1, 1, "t", "d").line(0, 0, 1, 1, "bettre")


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_ticks_are_round_few_and_within(low: float, width: float, most: int) -> None:
    """At most as many as asked for, evenly apart, none outside the range."""
    found = choose_ticks(low, low + width, most)
    assert len(found) <= most
    assert all(low - 1e-6 * width - 1e-8 <= tick <= low + width + 1e-6 * width + 1e-8 for tick in found)


def test_ticks_of_usual_ranges() -> None:
    """Steps of 1, 2 and 5."""
    assert choose_ticks(0, 7.1) == (0, 2, 4, 6)
    assert choose_ticks(0, 7.1, 8) == (0, 1, 2, 3, 4, 5, 6, 7)
    assert choose_ticks(0, 0.03) == (0, 0.01, 0.02, 0.03)
    with pytest.raises(ValueError, match="no 6 ticks"):
        choose_ticks(1, 1)


def test_long_names_are_cut_by_columns() -> None:
    """Wide characters take two columns; what cannot be seen is spelled out first."""
    assert truncate_text("short", 5) == "short"
    assert truncate_text("longer", 5) == "long…"
    assert truncate_text("模型模型", 6) == "模型…"
    assert truncate_text("a\u202eb", 20) == "a\\u{202e}b"
