"""A difference and its bounds are the same text wherever they are printed."""

import re
from pathlib import Path

import pytest
from baseline_bench.analysis.board_comparisons import judge
from baseline_bench.analysis.compare import compare
from baseline_bench.analysis.statistics import newcombe, points
from baseline_bench.rendering import comment, comparison_text
from baseline_bench.rendering.board_csv import sheet
from baseline_bench.rendering.page import page
from baseline_bench.rendering.pr_model import Contest, Proposed, Report
from baseline_bench.rendering.report import deck
from baseline_bench.rendering.report.data import Line
from baseline_bench.results.board import Board
from baseline_bench.results.retractions import Said
from board_samples import right, row, trained
from samples import result

HARNESS = Path(__file__).resolve().parent.parent / "harness"


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
    assert points(proportion) == text


def test_a_bound_is_the_same_text_everywhere() -> None:
    """Nine items won and two lost of 1,319: the lower bound is under zero by less than a hundredth of a point."""
    base, tuned = row(right(result("base"), range(12))), row(right(trained("base", "full"), range(2, 21)))
    found = compare(tuned.entry, base.entry)
    assert -0.00005 < newcombe(found.pairs).low < 0
    gap, low, high = (points(value) for value in (found.pairs.difference, *found.interval))
    assert (gap, low) == ("+0.53", "-0.00")
    judged = judge(Board("counting", (base, tuned), Said((), ())))
    assert f"|{gap} ({low} to {high}) not resolved|" in page(judged)
    assert f",{gap[1:]},{low},{high[1:]}," in sheet(judged)
    assert f"{gap} points, 95 % interval {low} to {high}," in comparison_text.markdown(tuned.entry, base.entry)
    contest = Contest("base", base, found, found.p, (), ())
    told = Report("main", "0" * 40, None, "", (), (Proposed("counting", tuned, (contest,), (), (), ()),), (), 0)
    assert f"{gap} points [{low}, {high}]" in comment.render(told)
    line = Line(Path(tuned.file), tuned.entry, "base", (), gain=found, p=found.p)
    assert deck.against_base(line)[0] == f"{gap} [{low}, {high}]"


def test_no_other_place_formats_a_difference() -> None:
    """A signed number with decimals is written by `points` alone, but for nats a token, which are none."""
    signed = {
        path.relative_to(HARNESS).as_posix(): re.findall(r":\+,?\.[0-9]f", path.read_text(encoding="utf-8"))
        for path in HARNESS.rglob("*.py")
    }
    assert {file: len(found) for file, found in signed.items() if found} == {
        "judging/statistics.py": 1,
        "judging/telling.py": 1,
    }
