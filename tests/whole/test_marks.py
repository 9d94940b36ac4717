"""What the checks of a row found is shown wherever the row is, and a row without findings looks as it always did."""

import csv
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import report_samples
from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.analysis.compare import compare_entries
from baseline_bench.commands import show
from baseline_bench.commands.report import render_report
from baseline_bench.commands.summary import show_entry
from baseline_bench.core.display import Console
from baseline_bench.core.findings import CODES
from baseline_bench.evaluation.pipeline import EvaluationResult
from baseline_bench.rendering import board_svg, comment
from baseline_bench.rendering.board_csv import render_csv
from baseline_bench.rendering.page import render_board_page
from baseline_bench.rendering.pr_model import ProposedComparison, ProposedRow, PullRequestReport
from baseline_bench.results import entries
from baseline_bench.results.board import Board, Row
from baseline_bench.results.entry import CheckResults, Result
from baseline_bench.results.retractions import BoardRecords
from board_samples import HOSTILE, right, row, trained
from markdown_it import MarkdownIt
from samples import add, partial, result

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
FOUND = CheckResults(findings=("template-drops-turn", "bos-missing"), accepted=("template-unread",), logits="finite")
NOTHING = CheckResults(findings=(), accepted=(), logits="unchecked")
CODES_OF_FOUND = ("template-drops-turn", "bos-missing", "template-unread")


def rows(checks: CheckResults | None) -> tuple[Row, Row, Row]:
    """A base, a training on it and a subset; the checks are of the last two."""
    tuned = replace(right(trained("base", "full"), range(2, 60)), checks=checks)
    part = replace(partial(result("base")), checks=checks)
    return row(right(result("base"), range(24))), row(tuned), row(part)


def board(*made: Row) -> Board:
    """A board of them."""
    return Board("counting", made, BoardRecords((), ()))


def lines(text: str, *words: str) -> list[str]:
    """The lines that hold all of these words."""
    return [line for line in text.splitlines() if all(word in line for word in words)]


def told(*made: Row) -> str:
    """A pull request's comment about the second row against the first, and about the third."""
    found = compare_entries(made[1].entry, made[0].entry)
    contest = ProposedComparison("base", made[0], found, found.p, ())
    new = (ProposedRow("counting", made[1], (contest,), (), (), ()), ProposedRow("counting", made[2], (), (), (), ()))
    return comment.render_comment(PullRequestReport("main", "0" * 40, None, "", (), new, (), 0))


def test_a_page_shows_the_findings_in_the_row_and_says_what_they_mean() -> None:
    """In the cell of the entry of full and partial runs; one line explains each code that the page has."""
    text = render_board_page(compare_board(board(*rows(FOUND))))
    marked = ", warned: `template-drops-turn`, `bos-missing`, `template-unread (accepted)`|"
    assert [line.startswith("|") and line.endswith(marked) for line in lines(text, ", warned: ")] == [True, True]
    (legend,) = lines(text, "**warned**")
    assert all(f"`{code}`: {CODES[code][1]}" in legend for code in CODES_OF_FOUND)


def test_sheet_and_plot_show_the_findings() -> None:
    """The sheet the codes of every row, empty where there are none; the plot which rows have some."""
    judged = compare_board(board(*rows(FOUND)))
    found = [record["findings"] for record in csv.DictReader(render_csv(judged).splitlines())]
    assert sorted(found) == ["", *["template-drops-turn; bos-missing; template-unread (accepted)"] * 2]
    assert board_svg.draw_forest_plot(judged).count(", warned<") == 1


def test_a_comment_warns_before_its_verdicts() -> None:
    """A line for each marked row that is not folded away, and the codes in its cell of the table."""
    text = told(*rows(FOUND))
    assert len(lines(text, "- **warned**", *CODES_OF_FOUND)) == 2
    assert text.rindex("- **warned**") < min(text.index("- ▲ **better"), text.index("<details>"))
    assert len(lines(text, "|", ", warned: `template-drops-turn`")) == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda made: render_board_page(compare_board(board(*made))),
        lambda made: render_csv(compare_board(board(*made))),
        lambda made: board_svg.draw_forest_plot(compare_board(board(*made))),
        lambda made: told(*made),
    ],
)
def test_rows_without_findings_look_as_before(write: Callable[[tuple[Row, ...]], str]) -> None:
    """The twin: checks that found nothing, also where nobody saw the logits, change no page; names of files do."""
    old, new = rows(None), rows(NOTHING)
    text = write(new)
    for one, other in zip(old, new, strict=True):
        text = text.replace(other.file, one.file).replace(other.entry.result_sha256, one.entry.result_sha256)
    # Rows of one name are in the order of their files, which have the digest in their name.
    assert sorted(text.splitlines()) == sorted(write(old).splitlines())
    assert "warned" not in text


def test_a_code_of_another_version_is_shown_and_decorates_nothing() -> None:
    """An entry may hold any text as a code: it stays inside its cell, its line and its column."""
    made = rows(replace(FOUND, findings=(HOSTILE,), accepted=()))
    text = render_board_page(compare_board(board(*made)))
    assert lines(text, "**warned**", "of another version")
    for shown in (text, told(*made)):
        tokens = [token for block in MARKDOWN.parse(shown) for token in (block.children or [])]
        assert not [token for token in tokens if token.type == "link_open" and "e.vil" in str(token.attrs)]
        assert not [token for token in tokens if token.type == "html_inline" and token.content == "<b>"]
        assert len({line.count("|") - line.count("\\|") for line in lines(shown, "e.vil") if line[0] == "|"}) <= 2
    assert len(list(csv.DictReader(render_csv(compare_board(board(*made))).splitlines()))) == 3


@pytest.mark.parametrize("checks", [FOUND, NOTHING])
def test_a_report_shows_the_findings_of_its_rows(tmp_path: Path, checks: CheckResults) -> None:
    """In the table of the deck and in that of the page of HTML; nothing where there are none."""
    folder = tmp_path / "leaderboards" / "counting"
    report_samples.base(folder, 5)
    report_samples.tuned(folder, 20, "full", checks=checks)
    texts = render_report(report_samples.order(folder.parent), tmp_path / "out")
    for file in ("README.md", "index.html"):
        assert len(lines(texts[file], "warned: ", "template-drops-turn")) == len(checks.marks[:1])


def starting(text: str, word: str) -> list[str]:
    """The lines that begin with the word."""
    return [line for line in text.splitlines() if line.startswith(word)]


def printed(checks: CheckResults | None, tmp_path: Path) -> tuple[str, str]:
    """What a terminal shows when a row is scored, and when its answers are read."""
    scored: Result = replace(result(), checks=checks)
    path = add(tmp_path, scored)
    out, read = StringIO(), StringIO()
    show_entry(
        EvaluationResult(entries.read_entry(path), path, tmp_path), as_json=False, console=Console(out, StringIO())
    )
    assert show.run(show.Options(what=[str(path)], most=0), Console(read, StringIO())) == 0
    return out.getvalue(), read.getvalue()


def test_a_terminal_shows_findings_and_logits_that_nobody_checked(tmp_path: Path) -> None:
    """When the row is made and when it is shown; an entry without checks or findings has none."""
    for text in printed(FOUND, tmp_path):
        (line,) = starting(text, "findings")
        assert all(code in line for code in CODES_OF_FOUND)
        assert not starting(text, "logits")
    for text in printed(NOTHING, tmp_path):
        assert ["unchecked" in line for line in starting(text, "logits")] == [True]
        assert not starting(text, "findings")
    for text in (*printed(None, tmp_path), *printed(replace(NOTHING, logits="finite"), tmp_path)):
        assert not starting(text, "logits")
        assert not starting(text, "findings")
