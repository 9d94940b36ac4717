"""Rows fold into lines only where they may: seeds of a recipe, checkpoints of a seed, runs of a base."""

import io
import re
from dataclasses import replace

import pytest
from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.rendering.board_lines import BoardLine, fold_rows, shorten_names
from baseline_bench.rendering.board_terminal import SortColumn, build_terminal_table
from baseline_bench.rendering.page import render_board_page
from baseline_bench.results.board import Board, Row
from baseline_bench.results.entry import Result
from board_samples import right, row, trained
from markdown_it import MarkdownIt
from paths import DATA, ROOT
from rich.console import Console
from samples import result

BOARDS = ROOT / "leaderboards"
BASE = right(result("base"), range(24))
FULL = [right(trained("base", "full", seed), range(2, 60 + 3 * seed)) for seed in range(3)]
STEP = replace(right(trained("base", "full", 0, 40), range(50)), candidate="base+full-s0-step40")


def elsewhere(of: Result) -> Result:
    """The same run on another device."""
    return replace(of, provenance=replace(of.provenance, device="another"))


def folded(*rows: Row) -> list[BoardLine]:
    """The lines of a board of one table."""
    compared = compare_board(Board("counting", rows))
    return fold_rows(compared, compared.tables[0])


def test_a_line_of_seeds_shows_their_mean_and_the_recipes_interval() -> None:
    """Checkpoints fold with them and do not count; the line compares the recipe, not a seed, with the base."""
    seeds = [row(of) for of in FULL]
    base, line = folded(row(BASE), *seeds, row(STEP))
    assert (base.contents, base.comparison, line.name, line.contents) == (
        "",
        None,
        "base+full",
        "3 seeds, 1 checkpoint",
    )
    assert line.recipe is not None
    assert line.comparison is line.recipe.contrast
    assert line.scored == tuple(seeds)
    assert line.score == pytest.approx(sum(seed.result.counts.correct for seed in seeds) / 3 / 1319)
    assert 0 <= line.interval.low < line.score < line.interval.high
    assert line.interval.high - line.interval.low > base.interval.high - base.interval.low
    assert shorten_names([base, line]) == ["base", "+full"]


def test_runs_of_a_base_fold_behind_the_newest_but_not_those_of_another_setup() -> None:
    """A base on another device, or whose weights nobody knows, has a line of its own."""
    older, newer = row(BASE), row(BASE, "2026-11-23T12:00:00Z")
    (line,) = folded(older, newer)
    assert (line.rows, line.contents) == ((newer, older), "1 older run")
    assert len(folded(older, newer, row(elsewhere(BASE)))) == 2
    unknown = replace(BASE, model=replace(BASE.model, weights_sha256=None))
    assert len(folded(row(unknown), row(unknown, "2026-11-23T12:00:00Z"))) == 2


def test_a_checkpoint_folds_behind_the_last_step_of_its_own_training_alone() -> None:
    """Though it is newer; another seed, another device and another recipe keep their lines."""
    last, step = row(FULL[0]), row(STEP, "2026-11-25T12:00:00Z")
    (line,) = folded(last, step)
    assert (line.name, line.rows, line.contents, line.recipe) == ("base+full-s0", (last, step), "1 checkpoint", None)
    for other in (FULL[1], elsewhere(FULL[0]), right(trained("base", "lora"), range(9))):
        assert [line.contents for line in folded(row(other), step)] == ["", ""]


@pytest.mark.parametrize(("others", "said"), [(0, "All rows"), (1, "Each row")])
def test_a_row_with_another_setup_says_so_in_its_last_cell(others: int, said: str) -> None:
    """Only what differs; what most rows share is above the table once."""
    rows = [row(BASE), row(FULL[0]), row(right(trained("base", "lora"), range(9)))]
    rows += [row(elsewhere(right(trained("base", "dora"), range(9))))] * others
    text = render_board_page(compare_board(Board("counting", tuple(rows))))
    assert text.count("`CPU`") == 1
    assert text.count(f"\n{said}") == 1
    assert [line.rpartition("), ")[2] for line in text.split("\n") if "another" in line] == ["`another`|"] * others


def test_every_folded_row_is_one_click_away() -> None:
    """The block opens as a table with each row's link, also where a summary line has none."""
    rows = [row(of) for of in (BASE, *FULL, STEP)]
    text = render_board_page(compare_board(Board("counting", tuple(rows))))
    shown, _, rest = text.partition("<details>")
    hidden = rest.partition("</details>")[0]
    assert all(f"(counting/{one.file})" in hidden for one in rows)
    assert sum(f"(counting/{one.file})" in shown for one in rows) == 1
    kinds = [token.type for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(hidden)]
    assert (kinds.count("table_open"), kinds.count("tr_open")) == (1, 1 + len(rows))


@pytest.mark.parametrize(
    ("sort", "names"), [("name", ["base", "+full", "+lora-s0"]), ("gain", ["+full", "+lora-s0", "base"])]
)
def test_a_terminal_shows_the_lines_of_the_page_sorted(sort: SortColumn, names: list[str]) -> None:
    """By name as on the page; by gain the highest first and the base, which has none, last."""
    rows = [row(of) for of in (BASE, *FULL, right(trained("base", "lora"), range(9)))]
    compared = compare_board(Board("counting", tuple(rows)))
    (candidates, _, against) = build_terminal_table(compared, compared.tables[0], sort).columns
    assert [str(cell).partition(",")[0] for cell in candidates.cells] == names
    assert [str(cell)[:1] for cell in against.cells] == [
        {"base": "", "+full": "▲", "+lora-s0": "▼"}[one] for one in names
    ]


def test_a_terminal_of_80_columns_breaks_no_name_within_a_word() -> None:
    """Of two bases the names are whole, and go on in a second line where their recipe begins."""
    names = ("smollm2-135m-it-q4_1", "gemma-3-270m-q4_k_m")
    trainings = [replace(trained(name, "lora-socratic"), candidate=f"{name}+lora-socratic-s0") for name in names]
    rows = [row(right(of, range(20))) for of in (*map(result, names), *trainings)]
    compared = compare_board(Board("counting", tuple(rows)))
    out = io.StringIO()
    Console(file=out, width=80).print(build_terminal_table(compared, compared.tables[0], "gain"))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert all(len(line) <= 80 for line in out.getvalue().splitlines())
    assert sum(line == ["+lora-socratic-s0"] for line in lines) == 2
    assert sum(line[:1] == [name] for line in lines for name in names) == 4


@pytest.mark.parametrize("page", ["golden_board.md", *(page.name for page in BOARDS.glob("*.md"))])
def test_a_board_has_at_most_eight_columns(page: str) -> None:
    """Every table of every page: a wider one does not fit GitHub."""
    file = DATA / page if page.startswith("golden") else BOARDS / page
    tables = re.findall(r"^(\|.*\|)\n\|[-:| ]+\|$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert tables
    assert max(len(re.findall(r"(?<!\\)\|", head)) - 1 for head in tables) <= 8
