"""Whatever text comes from outside, a page keeps its table and shows the text as code, and a sheet computes nothing."""

import csv
import io
from itertools import pairwise

import pytest
from baseline_bench.core.markup import code_span, csv_cell, make_visible, table_cell
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nasty_text import NASTY

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    "a|b",
    "\\|",
    "\\",
    "`",
    "``a`",
    " a ",
    "  ",
    "`a ",
    "@octocat #12",
    "[x](javascript:alert(1))",
    "<img src=x>",
]


def spoken(text: str) -> str:
    """What a cell is to show."""
    shown = make_visible(text)
    return shown if len(shown) <= 100 else shown[:99] + "…"


@given(NASTY, NASTY)
@example("|", "|")
@example("\\", "\\")
def test_a_table_keeps_its_rows_and_columns_whatever_its_cells(left: str, right: str) -> None:
    """Two columns and two rows stay so, and every cell is one code span that shows the text and nothing else."""
    row = f"|{table_cell(left)}|{table_cell(right)}|"
    tokens = MARKDOWN.parse(f"|a|b|\n|---|---|\n{row}\n{row}\n\nend")
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == kinds.count("table_close") == 1
    assert (kinds.count("tr_open"), kinds.count("td_open"), kinds.count("th_open")) == (3, 4, 2)
    assert kinds[-3:] == ["paragraph_open", "inline", "paragraph_close"]
    cells = [token for before, token in pairwise(tokens) if before.type == "td_open"]
    for token, text in zip(cells, (left, right, left, right), strict=True):
        (child,) = token.children or ()
        assert (child.type, child.content) == (("code_inline", spoken(text)) if text else ("text", "–"))


@given(NASTY)
def test_a_code_span_outside_a_table_shows_the_text(text: str) -> None:
    """In a heading the same text is one code span, nothing more."""
    tokens = MARKDOWN.parse(f"## {code_span(text)}\n\nend")
    assert [token.type for token in tokens[:3]] == ["heading_open", "inline", "heading_close"]
    (child,) = tokens[1].children or ()
    assert child.content == (spoken(text) or "–")
    assert child.type == ("code_inline" if text else "text")


@pytest.mark.parametrize("text", HOSTILE)
def test_the_worst_texts_are_shown_as_they_are(text: str) -> None:
    """Bars, backslashes, backticks, spaces at the ends, mentions, links and tags appear letter by letter."""
    html = MARKDOWN.render(f"|a|\n|---|\n|{table_cell(text)}|")
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    assert f"<td><code>{escaped}</code></td>" in html


def test_a_long_name_is_cut_for_the_page() -> None:
    """Three hundred characters do not stretch the table; the sheet has them all."""
    assert len(table_cell("x" * 300)) == 102
    assert table_cell("x" * 300).endswith("…`")
    assert csv_cell("x" * 300) == "x" * 300


def test_what_cannot_be_seen_is_spelled_out() -> None:
    """Text that would reverse its neighbours, hide or break the line is written as its code point."""
    assert (
        make_visible("a\u202eb\u200bc\nd\u2028e\x00\ud800") == "a\\u{202e}b\\u{200b}c\\u{a}d\\u{2028}e\\u{0}\\u{d800}"
    )
    assert make_visible("é 模型 − 🧮") == "é 模型 − 🧮"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\n=1", "＝1", "＋1", "－1", "＠1", "'=1"]
)
def test_no_cell_of_a_sheet_is_a_formula(text: str) -> None:
    """What a spreadsheet would compute begins with an apostrophe or with something spelled out."""
    assert csv_cell(text).startswith(("'", "\\u{"))


@given(st.lists(NASTY, min_size=1, max_size=4))
def test_a_sheet_keeps_its_rows_and_columns(texts: list[str]) -> None:
    """Commas, quotes and line ends in a text never make another cell or row."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([[csv_cell(text) for text in texts]] * 2)
    assert written.getvalue().count("\n") == 2
    assert list(csv.reader(io.StringIO(written.getvalue()))) == [[csv_cell(text) for text in texts]] * 2
