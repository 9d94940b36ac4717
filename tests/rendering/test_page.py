"""Pages and sheets are functions of a set of entries, and no entry changes their shape."""

import csv
import random
from dataclasses import replace
from typing import Literal

import pytest
from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.core.types import ModelIdentity
from baseline_bench.rendering import board_csv as sheets
from baseline_bench.rendering import page as pages
from baseline_bench.rendering.page import render_index
from baseline_bench.rendering.row_tables import PARTLY_KNOWN_MARK
from baseline_bench.results.board import Board, Row
from baseline_bench.results.entries import build_file_stem
from baseline_bench.results.entry import CheckResults, Entry
from baseline_bench.results.retractions import BoardRecords
from board_samples import ITEMS, golden, labelled, repeated, retraction, right, row, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nasty_text import NASTY
from paths import DATA
from samples import counted, entry, partial, result

BASE = result()
NOISE = (repeated([range(24), range(26), range(1, 25)]),)
CLAIMS = "|claim|outcome|\n|---|---|\n|`one`|supported|"
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


def page(board: Board) -> str:
    """The page of a board without claims and noise."""
    return pages.render_board_page(compare_board(board))


def sheet(board: Board) -> str:
    """The CSV of a board."""
    return sheets.render_csv(compare_board(board))


def only(board: Board) -> dict[str, str]:
    """The one row of a board's sheet."""
    (values,) = csv.DictReader(sheet(board).splitlines())
    return values


def test_the_page_is_the_golden_one() -> None:
    """The page of a board with everything on it, byte for byte."""
    text = pages.render_board_page(compare_board(golden()), NOISE, CLAIMS)
    assert text.encode() == (DATA / "golden_board.md").read_bytes()


KNOWN = ModelIdentity.of({"config.json model_type": "llama", "tokenizer": "0"}, None)
PARTLY = replace(KNOWN, sha256=None, settings=None)


@pytest.mark.parametrize(
    ("identity", "logits", "marks", "explained"),
    [
        (KNOWN, "finite", 0, set()),
        (KNOWN, "unchecked", 0, {"logits unchecked"}),
        (PARTLY, "finite", 1, {"model known in part"}),
        (None, None, 1, {"model known in part", "logits unchecked"}),
    ],
)
def test_what_is_unknown_about_a_row_is_on_its_page(
    identity: ModelIdentity | None, logits: Literal["finite", "unchecked"] | None, marks: int, explained: set[str]
) -> None:
    """A mark that all rows share is above their table, and a line says what each mark means."""
    checks = None if logits is None else CheckResults((), (), logits)
    of = replace(BASE, checks=checks, model=replace(BASE.model, identity=identity))
    lines = page(Board("counting", (row(of),))).splitlines()
    assert sum(line.startswith("All rows: ") and PARTLY_KNOWN_MARK in line for line in lines) == marks
    assert not any(line.startswith("|") and PARTLY_KNOWN_MARK in line for line in lines)
    assert {line.split("**")[1] for line in lines if line.startswith("**")} == explained


def test_the_sheet_is_the_golden_one() -> None:
    """The CSV of the same board, byte for byte."""
    assert sheet(golden()).encode() == (DATA / "golden_board.csv").read_bytes()


@settings(deadline=None, max_examples=20)
@given(st.permutations(golden().rows))
def test_pages_do_not_depend_on_the_order_of_entries(rows: list[Row]) -> None:
    """Page, sheet and index are functions of the set of entries."""
    ordered = golden()
    shuffled = replace(ordered, rows=tuple(rows))
    assert page(shuffled) == page(ordered)
    assert sheet(shuffled) == sheet(ordered)
    assert render_index([shuffled], "1 MiB") == render_index([ordered], "1 MiB")


@settings(deadline=None, max_examples=50)
@given(NASTY, NASTY, NASTY, NASTY, NASTY)
def test_no_text_of_an_entry_or_a_record_changes_the_shape_of_page_and_sheet(
    name: str, version: str, label: str, device: str, why: str
) -> None:
    """Whatever candidate, engine, label, device and reason are: two tables of a row each, their links, one picture."""
    of = replace(labelled(BASE, label), candidate=name, engine=replace(BASE.engine, version=version))
    of = replace(of, provenance=replace(of.provenance, device=device))
    kept, gone = row(of), row(of, "2026-11-21T12:00:00Z")
    board = Board("counting", (kept, gone), BoardRecords((retraction(gone, why, kept),), ()))
    text = page(board)
    tokens = MARKDOWN.parse(text)
    kinds = [token.type for token in tokens]
    assert (kinds.count("table_open"), kinds.count("th_open"), kinds.count("td_open")) == (2, 8 + 8, 8 + 8)
    assert kinds.count("heading_open") == 4
    assert [token.content for token in tokens if token.type == "html_block"] == [text.split("\n")[0] + "\n"]
    inline = [child.type for token in tokens for child in token.children or ()]
    assert (inline.count("link_open"), inline.count("html_inline"), inline.count("image")) == (5, 0, 1)
    records = list(csv.reader(sheet(board).splitlines()))
    assert len(records) == 3
    assert len({len(record) for record in records}) == 1


@settings(deadline=None, max_examples=50)
@given(NASTY, NASTY, NASTY)
def test_no_name_changes_the_sentences_about_recipes_versions_and_noise(name: str, label: str, device: str) -> None:
    """Recipes, bases, candidates to score again and noisy devices stand in code spans of one paragraph or list each."""
    seeds = [row(right(trained("base", name, seed), range(seed, 50))) for seed in range(3)]
    older = row(labelled(counted(replace(BASE, candidate=name), ITEMS, 9), "counting-0shot@v0"))
    noisy = replace(NOISE[0], candidate=label, provenance=replace(NOISE[0].provenance, device=device))
    board = Board("counting", (row(right(result("base"), range(24))), *seeds, older))
    tokens = MARKDOWN.parse(pages.render_board_page(compare_board(board), (noisy,)))
    kinds = [token.type for token in tokens]
    assert (kinds.count("table_open"), kinds.count("bullet_list_open"), kinds.count("list_item_open")) == (4, 1, 6)
    assert kinds.count("html_block") == 3
    inline = [child.type for token in tokens for child in token.children or ()]
    assert (inline.count("html_inline"), inline.count("image"), inline.count("link_open")) == (0, 1, 7)


def test_full_runs_partial_runs_and_versions_have_their_own_tables() -> None:
    """The newest version first, its partial runs apart, then older versions, then what was withdrawn."""
    text = page(golden())
    lines = [line for line in text.split("\n") if line.startswith(("#", "|candidate", "!["))]
    assert [line[:22] for line in lines] == [
        "# counting",
        "## `counting-0shot@v1`",
        "![Exact match of each ",
        "|candidate|exact match",
        "|candidate|exact match",
        "### Partial runs (not ",
        "|candidate|problems|ex",
        "## `counting-0shot@v0`",
        "|candidate|exact match",
        "## Superseded and retr",
        "|candidate|task|exact ",
        "## How to read a row",
    ]
    assert max(line.count("|") for line in text.replace("\\|", "").split("\n")) == 9


def test_candidates_of_an_older_version_wait_for_the_newest() -> None:
    """The older table names who has no row under the newest version, and nobody who has."""
    text = page(golden())
    assert "Incumbents to score again under `counting-0shot@v1`: `old|one`." in text
    rows = tuple(row(labelled(counted(result(f"m{i:02}"), ITEMS, 9), "counting-0shot@v0")) for i in range(23))
    newest = row(right(result("m00"), range(9)))
    text = page(Board("counting", (*rows, newest)))
    assert "`m01`, " in text
    assert "`m20` and 2 more." in text
    assert "`m00`, " not in text
    done = page(Board("counting", (rows[0], newest)))
    assert "every candidate here is scored under `counting-0shot@v1`" in done


def test_version_ten_is_newer_than_version_nine() -> None:
    """Versions are numbers, not texts; a label of another form stands for itself."""
    labels = ("counting@v9", "counting@v10", "other")
    text = page(Board("counting", tuple(row(labelled(BASE, label)) for label in labels)))
    assert [line for line in text.split("\n") if line.startswith("## `")] == [
        "## `counting@v10`",
        "## `counting@v9`",
        "## `other`",
    ]


def test_many_rows_are_sorted_by_name_then_time() -> None:
    """A name's runs are next to one another in the list of all rows, the oldest first."""
    rows = [row(result(name), f"2026-11-{day}T00:00:00Z") for name in "ba" for day in (12, 11)]
    random.Random(0).shuffle(rows)
    every = page(Board("counting", tuple(rows))).partition("<details>")[2]
    lines = [line for line in every.split("\n") if line.startswith("|`")]
    assert [(line[2], line.split("2026-11-")[1][:2]) for line in lines] == [
        ("a", "11"),
        ("a", "12"),
        ("b", "11"),
        ("b", "12"),
    ]


def test_the_sheet_has_exact_counts_and_the_page_their_rounding() -> None:
    """309 of 1,319: the sheet keeps the integers, both show 23.43 % with its interval."""
    board = Board("counting", (row(counted(result("tuned"), 1319, 309)),))
    values = only(board)
    assert (values["correct"], values["items"], values["exact_match_percent"]) == ("309", "1319", "23.43")
    assert (values["low_percent"], values["high_percent"]) == ("21.22", "25.79")
    assert "|`tuned`|23.43|21.2–25.8||23.4|0.1|0.0|[entry]" in page(board)


def test_unknown_values_are_empty_in_the_sheet() -> None:
    """A server tells neither weights nor speed: no zero stands in for them."""
    of = replace(BASE, model=replace(BASE.model, weights_sha256=None))
    made = entry(of)
    made = Entry.of(of, made.created, replace(made.timings, tokens_per_second=None))
    board = Board("counting", (Row(f"{build_file_stem(made)}.json", made),))
    values = only(board)
    unknown = ("weights_sha256", "tokens_per_second", "base", "difference", "p_exact", "verified_level", "recipe")
    assert {values[name] for name in (*unknown, "solutions_mean_logprob", "superseded_by")} == {""}


def test_the_header_tells_the_difference_from_the_discordance_seen_here() -> None:
    """Rows that disagree on 5 % of the problems resolve 1.8 points; without a base 25 % are assumed, and said."""
    base, tuned = row(right(result("base"), range(30))), row(right(trained("base", "full"), range(96)))
    assert "a difference of 3.9 points" in page(Board("counting", (base,)))
    assert "25 % of the problems; no row here has a base" in page(Board("counting", (base,)))
    text = page(Board("counting", (base, tuned)))
    assert "a difference of 1.8 points" in text
    assert "disagree on 5.0 % of the problems, as the one candidate here and its base do" in text


def test_rows_that_never_differ_from_their_base_do_not_seem_to_lack_one() -> None:
    """A median of no discordant item says nothing of other rows, and the header says why 25 % are assumed."""
    base, tuned = row(right(result("base"), range(30))), row(right(trained("base", "full"), range(30)))
    text = page(Board("counting", (base, tuned)))
    assert "disagree on 25 % of the problems; most rows here differ on none from their base)" in text


def test_a_served_adapter_without_a_base_here_has_a_dash() -> None:
    """Only a base has nothing to be compared with; the adapter's row lacks its comparison."""
    of = right(result("served"), range(30))
    served = replace(of, engine=replace(of.engine, settings={**of.engine.settings, "adapter": "0" * 64}))
    assert "|1.6–3.2|–|" in page(Board("counting", (row(served),)))
    assert "|1.6–3.2||" in page(Board("counting", (row(of),)))


def test_a_board_of_withdrawn_runs_is_still_listed() -> None:
    """Its page tells why they are gone, and the list leads there."""
    gone = row(result("gone"))
    text = render_index([Board("counting", (gone,), BoardRecords((retraction(gone, "wrong"),), ()))], "1 MiB")
    assert "|[counting](counting.md)|every run is withdrawn||0|0|" in text


def test_a_sheet_keeps_negative_numbers_and_disarms_formulas() -> None:
    """A difference of -1.5 points stays a number; a name that begins like a formula does not."""
    base, worse = row(right(result("=base"), range(30))), row(right(trained("=base", "full"), range(10)))
    values = list(csv.DictReader(sheet(Board("counting", (base, worse))).splitlines()))
    assert [line["candidate"] for line in values] == ["'=base", "'=base+full-s0"]
    assert [line["difference"] for line in values] == ["", "-1.52"]
    assert values[1]["outcome"] == "worse"


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_of_boards_counts_what_counts(count: int) -> None:
    """Full and partial runs, withdrawn ones left out."""
    rows = tuple(row(result(f"m{i}")) for i in range(count))
    gone, part = row(result("gone")), row(partial(result("part"), total=24))
    board = Board("counting", (*rows, gone, part), BoardRecords((retraction(gone, "wrong"),), ()))
    assert f"|[counting](counting.md)|`counting-0shot@v1`|12|{count}|1|" in render_index([board], "1 MiB")


def test_of_several_noise_records_of_one_kind_the_last_counts() -> None:
    """Five runs asked for after three say more, and a page shows one floor for a model, an engine and its settings."""
    later = replace(NOISE[0], created="2026-12-01T00:00:00Z", runs=(*NOISE[0].runs, NOISE[0].runs[0]))
    other = replace(NOISE[0], engine=replace(NOISE[0].engine, settings={"batch_invariant": True}))
    text = pages.render_board_page(compare_board(golden()), (later, NOISE[0], other))
    told = [line.split("|")[5] for line in text.splitlines() if line.startswith("|`base`|`counting-0shot@v1`|")]
    assert sorted(told) == ["3", f"{len(later.runs)}"]
