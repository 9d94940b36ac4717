"""A difference and its bounds are the same text wherever they are printed."""

import re
from pathlib import Path

import pytest
from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.analysis.compare import compare_entries
from baseline_bench.analysis.statistics import format_points, paired_interval
from baseline_bench.rendering import comment, comparison_text
from baseline_bench.rendering.board_csv import render_csv
from baseline_bench.rendering.page import render_board_page
from baseline_bench.rendering.pr_model import ProposedComparison, ProposedRow, PullRequestReport
from baseline_bench.rendering.report import deck
from baseline_bench.rendering.report.data import ReportRow
from baseline_bench.results.board import Board
from baseline_bench.results.retractions import BoardRecords
from board_samples import right, row, trained
from paths import ROOT
from samples import result

HARNESS = ROOT / "harness"


@pytest.mark.parametrize(
    ("proportion", "text"),
    [
        (-0.0005, "-0.05"),
        (-0.0004, "-0.04"),
        (-0.00001, "-0.00"),
        (0.00001, "+0.00"),
        (0.0, "+0.00"),
        (-0.0, "+0.00"),
        (45 / 1319, "+3.41"),
        (-1.0, "-100.00"),
    ],
)
def test_a_difference_keeps_its_sign(proportion: float, text: str) -> None:
    """Two decimals; a loss that they cannot show is no gain, and only a true zero is none."""
    assert format_points(proportion) == text


def test_a_bound_is_the_same_text_everywhere() -> None:
    """36 problems won and 21 lost of 1,319: the lower bound is under zero by less than a hundredth of a point."""
    base, tuned = row(right(result("base"), range(31))), row(right(trained("base", "full"), range(21, 67)))
    found = compare_entries(tuned.entry, base.entry)
    assert -0.00005 < paired_interval(found.pairs).low < 0
    gap, low, high = (format_points(value) for value in (found.pairs.difference, *found.interval))
    assert (gap, low) == ("+1.14", "-0.00")
    judged = compare_board(Board("counting", (base, tuned), BoardRecords((), ())))
    page = render_board_page(judged).replace("\N{NO-BREAK SPACE}", " ")
    assert f"|? inconclusive {gap} ({low} to {high})|" in page
    assert f",{gap[1:]},{low},{high[1:]}," in render_csv(judged)
    assert f"{gap} points, 95 % interval {low} to {high}|" in comparison_text.render_markdown(tuned.entry, base.entry)
    contest = ProposedComparison("base", base, found, found.p)
    told = PullRequestReport(
        "main", "0" * 40, None, "", (), (ProposedRow("counting", tuned, (contest,), (), (), ()),), (), 0
    )
    assert f"{gap} points [{low}, {high}]" in comment.render_comment(told)
    line = ReportRow(Path(tuned.file), tuned, "base", (), gain=found, p=found.p)
    assert deck.format_base_comparison(line)[0] == f"{gap} [{low}, {high}] inconclusive"


def test_no_other_place_formats_a_difference() -> None:
    """A signed number with decimals is written by `points` alone, but for nats a token, which are none."""
    signed = {
        path.relative_to(HARNESS).as_posix(): re.findall(r":\+,?\.[0-9]f", path.read_text(encoding="utf-8"))
        for path in HARNESS.rglob("*.py")
    }
    assert {file: len(found) for file, found in signed.items() if found} == {
        "analysis/statistics.py": 1,
        "rendering/comparison_text.py": 1,
    }
