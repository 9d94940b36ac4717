"""Pages and sheets are functions of a set of entries, and no entry changes their shape."""

import csv
import random
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from samples import counted, entry, partial, result, sha

from harness.store.entries import stem
from harness.store.entry import Entry, Result
from harness.store.page import Board, Row, index, page, sheet

BASE = result()
GOLDEN = Path(__file__).parent / "data" / "golden_board.md"
HOSTILE = "a|b` @octocat #12 $x$ <b> [l](http://e.vil) \u202e"


def row(of: Result, created: str = "2026-11-22T12:00:00Z") -> Row:
    """A row as it is read from its file."""
    made = entry(of, created)
    return Row(f"{stem(made)}.json", made)


def labelled(of: Result, label: str) -> Result:
    """The same run of another protocol."""
    return replace(of, task=replace(of.task, label=label, protocol_sha256=sha(label)))


def golden_rows() -> tuple[Row, ...]:
    """Full and partial runs of two protocols, with a hostile name, an unknown dtype and uncommitted code."""
    base, tuned = counted(result("base"), 1319, 60), counted(result("tuned"), 1319, 309)
    server = replace(result(HOSTILE), engine=replace(BASE.engine, name="openai", version="openai 1", settings={}))
    dirty = replace(tuned, provenance=replace(tuned.provenance, git_dirty=True))
    return (
        row(base),
        row(dirty),
        row(tuned, "2026-11-23T08:00:00Z"),
        row(counted(server, 1319, 1319)),
        row(partial(result("tuned"))),
        row(labelled(result("tuned"), "counting-0shot@v2")),
    )


def test_the_page_is_the_golden_one() -> None:
    """The page of a board with everything on it, byte for byte."""
    assert page(Board("counting", golden_rows())).encode() == GOLDEN.read_bytes()


@settings(deadline=None)
@given(st.permutations(golden_rows()))
def test_pages_do_not_depend_on_the_order_of_entries(rows: list[Row]) -> None:
    """Page, sheet and index are functions of the set of entries."""
    ordered, shuffled = Board("counting", golden_rows()), Board("counting", tuple(rows))
    assert page(shuffled) == page(ordered)
    assert sheet(shuffled) == sheet(ordered)
    assert index([shuffled], "1 MiB") == index([ordered], "1 MiB")


@settings(deadline=None)
@given(st.text(min_size=1), st.text(), st.text(min_size=1))
def test_no_text_of_an_entry_changes_the_shape_of_page_and_sheet(name: str, version: str, label: str) -> None:
    """Whatever candidate, engine and label are called: one table, eleven columns, one row, one link."""
    of = replace(labelled(BASE, label), candidate=name, engine=replace(BASE.engine, version=version))
    board = Board("counting", (row(of),))
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page(board))
    kinds = [token.type for token in tokens]
    assert (kinds.count("table_open"), kinds.count("th_open"), kinds.count("td_open")) == (1, 11, 11)
    assert [token.content for token in tokens if token.type == "html_block"] == [page(board).split("\n")[0] + "\n"]
    inline = [child.type for token in tokens for child in token.children or ()]
    assert (inline.count("link_open"), inline.count("html_inline"), inline.count("image")) == (1, 0, 0)
    records = list(csv.reader(sheet(board).splitlines()))
    assert len(records) == 2
    assert len(records[0]) == len(records[1])


def test_full_runs_partial_runs_and_protocols_have_their_own_tables() -> None:
    """Three tables: full runs of the first version, partial ones of it, full runs of the second."""
    text = page(Board("counting", golden_rows()))
    lines = [line for line in text.split("\n") if line.startswith(("#", "|candidate"))]
    assert [line[:20] for line in lines] == [
        "# counting",
        "## `counting-0shot@v",
        "|candidate|exact mat",
        "### Partial runs (no",
        "|candidate|items|exa",
        "## `counting-0shot@v",
        "|candidate|exact mat",
        "## How to read a row",
    ]
    assert max(line.count("|") for line in text.replace("\\|", "").split("\n")) == 12


def test_many_rows_are_sorted_by_name_then_time() -> None:
    """A name's runs stand together, the oldest first."""
    rows = [row(result(name), f"2026-11-{day}T00:00:00Z") for name in "ba" for day in (12, 11)]
    random.Random(0).shuffle(rows)
    lines = [line for line in page(Board("counting", tuple(rows))).split("\n") if line.startswith("|`")]
    assert [(line[2], line.split("2026-11-")[1][:2]) for line in lines] == [
        ("a", "11"),
        ("a", "12"),
        ("b", "11"),
        ("b", "12"),
    ]


def test_the_sheet_has_exact_counts_and_the_page_their_rounding() -> None:
    """309 of 1,319: the sheet keeps the integers, both show 23.43 % with its interval."""
    made = row(counted(result("tuned"), 1319, 309))
    (values,) = csv.DictReader(sheet(Board("counting", (made,))).splitlines())
    assert (values["correct"], values["items"], values["exact_match_percent"]) == ("309", "1319", "23.43")
    assert (values["low_percent"], values["high_percent"]) == ("21.22", "25.79")
    assert "|`tuned`|23.43|21.2–25.8|23.4|0.1|0.0|template|" in page(Board("counting", (made,)))


def test_unknown_values_are_a_dash_on_the_page_and_empty_in_the_sheet() -> None:
    """A server tells neither weights nor speed: no zero stands in for them."""
    of = replace(BASE, model=replace(BASE.model, weights_sha256=None))
    made = entry(of)
    made = Entry.of(of, made.created, replace(made.timings, tokens_per_second=None))
    board = Board("counting", (Row(f"{stem(made)}.json", made),))
    (values,) = csv.DictReader(sheet(board).splitlines())
    assert (values["weights_sha256"], values["tokens_per_second"]) == ("", "")
    assert "|–|[entry]" in page(board)
