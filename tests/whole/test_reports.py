"""Public reports that were tried: each is shown by a case or a test, and the answers in them are read rightly."""

import re
import sys
from collections import Counter

import pytest
from baseline_bench.core.types import Completion, Problem
from baseline_bench.tasks._answers import grade
from corpus.classes import CLASSES
from corpus.reports import REPORTS, Report
from paths import ROOT


def _is_shown(report: Report) -> bool:
    if "::" in report.shown:
        file, _, name = report.shown.partition("::")
        return (
            re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE) is not None
        )
    module, _, name = report.shown.partition("/")
    return any(case.name == name for case in CLASSES[module].CASES)


def test_every_report_is_shown_once():
    """By a case of the corpus or by a test. With -s, prints how many there are of each result."""
    assert [report.source for report in REPORTS if not _is_shown(report)] == []
    assert len({report.source for report in REPORTS}) == len(REPORTS)
    sys.stdout.write(f"\n{dict(Counter(report.result for report in REPORTS))}\n")


@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize("report", [report for report in REPORTS if report.text], ids=lambda report: report.source)
def test_answers_of_public_reports_are_read(report: Report, finish: str):
    """The right number and no other; none out of a thought that did not end."""
    judgement = grade(Problem("one", "", report.gold or "7", ""), Completion(report.text, None, finish))
    assert judgement.correct is bool(report.gold)
