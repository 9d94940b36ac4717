"""evaluation.regrading: an entry is read again by the reader that it names, or by none."""

from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.evaluation import regrading
from baseline_bench.results.entry import Result
from samples import add, entry, result

TASK = plugins.load_task("word-problems")


def named(label: str, reader: str) -> Result:
    """A run of word-problems under that version and reader: 5 of 12 right, 2 unread, 1 cut."""
    of = result()
    return replace(of, task=replace(of.task, name="word-problems", label=label, reader=reader))


@pytest.mark.parametrize(
    ("label", "reader", "here"),
    [(TASK.LABEL, TASK.READER, True), ("word-problems-1shot@v0", TASK.READER, False), (TASK.LABEL, "first@v1", False)],
)
def test_only_the_very_version_and_reader_read_an_entry_again(label: str, reader: str, here: bool):
    """Another version asks otherwise, another reader reads otherwise; neither stands in for the entry's own."""
    assert (regrading.find_reader_task(entry(named(label, reader))) is not None) == here


def test_a_task_that_is_not_here_reads_nothing():
    """A task of the user's own is known by its file alone."""
    assert regrading.find_reader_task(entry(result())) is None


def test_data_is_at_hand_where_a_task_brings_it_or_a_mirror_may_hold_it(tmp_path: Path):
    """word-problems is generated here; GSM8K lies on the hub. Where others lie and not it, the check of a board with
    several tasks goes on by the committed golds.
    """
    assert regrading.are_items_available(TASK, None)
    assert not regrading.are_items_available(plugins.load_task("gsm8k"), None)
    assert regrading.are_items_available(plugins.load_task("gsm8k"), tmp_path)
    (tmp_path / "madrylab" / "gsm8k-platinum").mkdir(parents=True)
    assert not regrading.are_items_available(plugins.load_task("gsm8k"), tmp_path)
    assert regrading.are_items_available(plugins.load_task("gsm8k-platinum"), tmp_path)


def test_answers_of_an_older_version_are_shown_as_they_were_judged_then(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """`bench show ENTRY` takes right and unread from the entry's bits, not from the reader of today."""
    path = add(tmp_path, named("word-problems-1shot@v0", "first@v1"))
    assert main(["show", str(path), "--unread"]) == 0
    out = capfd.readouterr().out
    assert "2 unread" in out
    assert "read nothing by its own task" in out
