"""rendering.drawing: SVG that is well formed whatever it is told, and the same bytes every time."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
from baseline_bench.core.markup import make_visible
from baseline_bench.rendering.drawing import Canvas, choose_ticks, truncate_text
from hypothesis import given
from hypothesis import strategies as st
from nasty_text import NASTY

SVG = "{http://www.w3.org/2000/svg}"
# Linear RGB as a reader without one kind of cone sees it (Machado, Oliveira and Fernandes 2009, severity 1).
CONES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)
APART = 20  # in CIE76, about ten times the difference that a reader just notices
FINITE = st.floats(-1e6, 1e6)


def sheet(words: str = "words") -> Canvas:
    """One of everything."""
    canvas = Canvas(200, 100, words, words)
    canvas.line(0, 0, 1, 1.25, "grid thin")
    canvas.rect(1, 2, -3, 4, "band")
    canvas.circle(1, 2, 3, "better thick")
    canvas.polyline([(0, 0), (1.05, -0.04)], "muted")
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
    for name in ("ink", "muted", "grid", "paper", "better", "worse"):
        assert f".{name}{{color:" in light
        assert f".{name}{{color:" in dark


def linear(colour: str) -> np.ndarray:
    """The linear RGB of a colour such as #0969da."""
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(colour: str, cones: str) -> np.ndarray:
    """What a reader with these cones sees of a colour, in CIELAB."""
    share = np.array(XYZ) @ np.clip(np.array(CONES[cones]) @ linear(colour), 0, 1) / WHITE
    x, y, z = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def distance(one: str, other: str, cones: str) -> float:
    """How far apart two colours are for a reader, in CIE76."""
    return float(np.linalg.norm(lab(one, cones) - lab(other, cones)))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it, from 1 to 21."""
    low, high = sorted(float(linear(colour) @ XYZ[1]) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_everybody_can_read_the_text_and_tell_the_marks_apart(theme: int) -> None:
    """Text and marks have one palette: 4.5:1 on the page, and far apart for readers without one kind of cone."""
    sheets = sheet().render().split("@media (prefers-color-scheme:dark)")
    colours = dict(re.findall(r"\.([a-z]+)\{color:(#[0-9a-f]{6})\}", sheets[theme]))
    paper, marks = colours["paper"], [colours[name] for name in ("ink", "muted", "better", "worse")]
    assert set(colours) == {"ink", "muted", "better", "worse", "paper", "grid", "band"}
    assert min(contrast(mark, paper) for mark in marks) >= 4.5
    assert min(distance(*pair, cones) for pair in combinations(marks, 2) for cones in CONES) >= APART


def test_red_and_green_are_found_too_near() -> None:
    """The colours that figures had before: far apart for most readers, not for those with deuteranopia."""
    assert distance("#1a7f37", "#cf222e", "all cones") > 100
    assert distance("#1a7f37", "#cf222e", "deuteranopia") < APART


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
