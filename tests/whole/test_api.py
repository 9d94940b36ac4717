"""The functions of `import baseline_bench` give what the commands print."""

import csv
import io
import json
import re

import baseline_bench as bench
import pandas
import pytest
from baseline_bench.cli import main
from paths import ROOT

BOARDS = ROOT / "leaderboards"
ROWS = ("smollm2-135m-it-q4_1+varied-lora-1250-s0", "smollm2-135m-it-q4_1")


def test_every_public_name_is_there():
    """The lazy table names no module wrongly, and an unknown name is an AttributeError."""
    assert [name for name in bench.__all__ if not hasattr(bench, name)] == []
    assert not hasattr(bench, "evalute")


def test_a_comparison_is_that_of_the_command(capfd):
    """The same report, also under a margin."""
    assert main(["compare", *ROWS, "--leaderboards", str(BOARDS), "--margin", "0.02", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    report = bench.compare(*ROWS, leaderboards=str(BOARDS), margin=0.02)
    assert (report.outcome, report.sentence) == (printed["outcome"], printed["sentence"])
    assert (report.numbers.won, report.numbers.low) == (printed["numbers"]["won"], printed["numbers"]["low"])


def test_a_board_is_its_csv_with_types():
    """Every row and column of the committed file; numbers, times and yes or no are of their types."""
    table = bench.load_board("word-problems", BOARDS)
    rows = list(csv.DictReader(io.StringIO((BOARDS / "word-problems.csv").read_text(encoding="utf-8"))))
    assert list(table.columns) == list(rows[0])
    assert table["correct"].tolist() == [int(row["correct"]) for row in rows]
    assert table["retracted"].tolist() == [row["retracted"] == "yes" for row in rows]
    assert table["difference"].isna().tolist() == [row["difference"] == "" for row in rows]
    assert isinstance(table["created"].dtype, pandas.DatetimeTZDtype)


def test_a_drawn_board_is_its_committed_picture():
    """As text, and as what a notebook asks for."""
    picture = bench.draw_board("word-problems", BOARDS)
    assert picture == picture._repr_svg_() == (BOARDS / "word-problems.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: bench.compare(*ROWS, leaderboards=BOARDS, margin=2), "--margin 2 is no share"),
        (lambda: bench.compare(*ROWS, leaderboards=BOARDS, margins=0.1), "no option 'margins'"),
        (lambda: bench.load_board("no-board", BOARDS), "no board 'no-board'"),
        (lambda: bench.evaluate("no-model", leaderboards=BOARDS), "no folder no-model"),
        (lambda: bench.train("no-recipe"), "no-recipe"),
    ],
)
def test_a_fault_of_the_user_is_one_error(call, what):
    """Of the class that the package exports."""
    with pytest.raises(bench.BenchError, match=re.escape(what)):
        call()
