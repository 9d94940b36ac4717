"""evaluation.regrading: an entry is read again by the reader that it names, or by none."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import LOCK_FILE
from baseline_bench.evaluation import evaluate, protocol, regrading
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking, leaderboard
from baseline_bench.results import entries, lookup, retractions
from baseline_bench.results.bits import Bits
from baseline_bench.results.entry import Entry, Result, TaskRecord
from baseline_bench.results.history import FolderHistory
from baseline_bench.tasks import _answers
from samples import add, answers, entry, result, sha

TASK = plugins.load_task("word-problems")


def named(label: str, reader: str) -> Result:
    """A run of word-problems under that version and reader: 5 of 12 right, 2 unread, 1 cut."""
    of = result()
    return replace(of, task=replace(of.task, name="word-problems", label=label, reader=reader))


@pytest.mark.parametrize(
    ("label", "reader", "here"),
    [
        (TASK.LABEL, TASK.READER, True),
        ("word-problems-1shot@v1", "final-number@v1", True),
        ("word-problems-1shot@v0", "final-number@v1", False),
        ("gsm8k-1shot@v1", "final-number@v1", False),
        ("word-problems-1shot@v0", TASK.READER, False),
        (TASK.LABEL, "first@v1", False),
    ],
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


OLD, NEW = "gsm8k-1shot@v1", "gsm8k-1shot@v2"


def scored(label: str, reader: str, **changed: Any) -> tuple[Entry, Any]:
    """A row of GSM8K, judged by its reader, with one answer that only version 1 reads, and its completions."""
    lines = list(answers())
    lines[4] = replace(lines[4], text="#### 4\\sqrt{2}")
    record = TaskRecord("gsm8k", label, protocol.read_pinned_digests()[label], sha("items"), reader)
    task = regrading.select_version(plugins.load_task("gsm8k"), record)
    assert task is not None
    judgements = regrading.grade_completions(task, lines)
    of = replace(result(completions=lines), task=record, bits=Bits.of(judgements), **changed)
    return entry(replace(of, counts=evaluate.count_judgements(judgements))), lines


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board with a base that was scored under version 1."""
    folder = tmp_path / "leaderboards" / "gsm8k"
    entries.write_entry(*scored(OLD, "final-number@v1"), folder)
    return folder


def regraded(board: Path) -> Path:
    """The one record that `bench regrade` writes."""
    assert main(["regrade", str(board)]) == 0
    (path,) = (board / retractions.REGRADES_FOLDER).glob("*.json")
    return path


def faults(board: Path) -> list[str]:
    """The faults of the board's records and entries, without those of pages."""
    found = checking.find_faults(board.parent, Regrader([], None))
    return [fault.what for fault in found if fault.file.endswith(".json")]


def test_a_row_of_version_1_keeps_its_bytes_and_gets_one_record(board: Path):
    """The record has version 2's judgements; giving the command again adds nothing, and the check finds no fault."""
    (path,) = board.glob("*.json")
    before = path.read_bytes()
    record = regraded(board)
    assert regraded(board) == record
    assert path.read_bytes() == before
    (read,) = retractions.read_records(board).regrades
    assert (read.task.label, read.task.reader) == (NEW, _answers.READER)
    assert (read.counts.correct, read.counts.unread) == (4, 3)
    assert read.moved == {"right by hash, now unread (malformed)": 1}
    assert faults(board) == []


def test_the_board_is_locked_and_its_page_shows_the_new_records(
    board: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """The new record and the changed pages are printed, the check finds no fault, and a second time nothing changes."""
    leaderboard.update_pages(board.parent)
    monkeypatch.chdir(board.parent.parent)
    monkeypatch.delenv("BENCH_DATASETS", raising=False)
    relative = board.relative_to(board.parent.parent)
    held: list[bool] = []
    regrade_entry = regrading.regrade_entry
    watched = lambda *of: held.append((board.parent / LOCK_FILE).is_file()) or regrade_entry(*of)  # noqa: E731
    monkeypatch.setattr(regrading, "regrade_entry", watched)
    record = regraded(relative)
    assert held == [True]
    printed = capfd.readouterr().out.splitlines()
    assert (printed[0], str(board.parent / "gsm8k.md") in printed[1:]) == (str(record), True)
    assert main(["board", "--check", "--leaderboards", str(board.parent)]) == 0
    capfd.readouterr()
    assert main(["regrade", str(relative)]) == 0
    assert capfd.readouterr().out == ""


def test_pages_that_a_killed_command_left_stale_are_rendered_and_named_by_the_next(
    board: Path, capfd: pytest.CaptureFixture[str]
):
    """The records are there, the pages not yet."""
    leaderboard.update_pages(board.parent)
    patch = pytest.MonkeyPatch()
    patch.setattr(leaderboard, "update_pages", lambda _: sys.exit(1))
    with pytest.raises(SystemExit):
        main(["regrade", str(board)])
    patch.undo()
    assert len(list((board / retractions.REGRADES_FOLDER).glob("*.json"))) == 1
    assert checking.find_faults(board.parent) != []
    capfd.readouterr()
    assert main(["regrade", str(board)]) == 0
    assert str(board.parent / "gsm8k.md") in capfd.readouterr().out.splitlines()
    assert checking.find_faults(board.parent) == []


def test_a_row_of_an_older_version_without_a_record_is_noted(board: Path):
    """Until `bench regrade` wrote it, and where the committed answers allow it."""
    (note,) = checking.check_leaderboards(board.parent).notes
    assert f"`bench regrade {board.as_posix()}`" in note
    regraded(board)
    assert checking.check_leaderboards(board.parent).notes == ()


@pytest.mark.parametrize("label", ["gsm8k-0shot@v99", "gsm8k-1shot@v2"])
def test_a_row_that_the_newest_version_cannot_judge_again_is_not_noted(label: str, tmp_path: Path):
    """A version whose reader is gone, and the newest version itself."""
    record = TaskRecord("gsm8k", label, sha("protocol"), sha("items"), _answers.READER)
    add(tmp_path / "gsm8k", replace(result(), task=record))
    assert checking.check_leaderboards(tmp_path).notes == ()


def test_records_that_the_base_holds_are_not_judged_again(board: Path, monkeypatch: pytest.MonkeyPatch):
    """As its entries are trusted; a record that the base lacks is judged."""
    record = regraded(board)
    held = {f"gsm8k/{path.relative_to(board)}" for path in board.rglob("*.*")}
    (entry_file,) = board.glob("*.json")
    judged: list[str] = []
    monkeypatch.setattr(regrading, "find_regrade_faults", lambda one, *_: judged.append(one.entry) or [])
    for name, count in (("", 0), (f"gsm8k/regrades/{record.name}", 1), (f"gsm8k/{entry_file.name}", 1)):
        judged.clear()
        known = FolderHistory("0" * 40, frozenset(held), (), frozenset(held - {name}))
        monkeypatch.setattr(checking.history, "read_folder_history", lambda *_, known=known: known)
        checking.check_leaderboards(board.parent, base="main")
        assert len(judged) == count


@pytest.mark.parametrize("advice", ["pass --task FILE", None])
def test_a_record_that_cannot_be_judged_is_a_fault_with_its_own_advice(board: Path, advice: str | None):
    """What the judge advises comes before the advice that every record gets."""

    def refuse(entry: Entry, _lines: Any) -> None:
        if entry.result.task.label.endswith("@v2"):
            raise BenchError("no such task here", advice)

    record = regraded(board)
    faults = checking.check_leaderboards(board.parent, refuse).faults
    (fault,) = [fault for fault in faults if Path(fault.file).name == record.name]
    assert fault.what == "no such task here"
    assert (fault.fix == advice) == (advice is not None)
    assert fault.fix


def test_a_row_of_the_newest_version_needs_no_record(tmp_path: Path):
    """`bench regrade` leaves it alone."""
    entries.write_entry(*scored(NEW, _answers.READER), tmp_path)
    assert main(["regrade", str(tmp_path)]) == 0
    assert not (tmp_path / retractions.REGRADES_FOLDER).exists()


def forge_record(board: Path, forge: Any) -> None:
    """Replace the board's one record by what `forge` makes of it and the old result, under its right name."""
    path = regraded(board)
    (record,) = retractions.read_records(board).regrades
    path.unlink()
    (file,) = board.glob("*.json")
    retractions.write_record(forge(record, entries.read_entry(file).result), board)


@pytest.mark.parametrize(
    ("forge", "kind"),
    [
        (lambda record, old: replace(record, bits=old.bits, counts=old.counts), "bits"),
        (lambda record, old: replace(record, moved={"right by hash, now unread (malformed)": 2}), "moved"),
        (lambda record, old: replace(record, counts=old.counts), "counts"),
        (lambda record, old: replace(record, task=replace(record.task, protocol_sha256=sha("other"))), "protocol"),
        (lambda record, old: replace(record, task=replace(record.task, items_sha256=sha("other"))), "other items"),
        (lambda record, old: replace(record, entry_sha256=sha("other")), "another content"),
    ],
    ids=["judgements", "moved", "counts", "protocol", "items", "entry"],
)
def test_a_record_that_does_not_follow_from_the_completions_is_a_fault(board: Path, forge: Any, kind: str):
    """Whatever was changed in it, its name worked out again."""
    forge_record(board, forge)
    found = faults(board)
    assert found
    assert [what for what in found if kind not in what] == []


def test_one_damaged_record_leaves_the_others_checked(board: Path):
    """A forged re-grade is found next to a record that nobody can read."""
    forge_record(board, lambda record, old: replace(record, bits=old.bits, counts=old.counts))
    forged = faults(board)
    (board / retractions.RETRACTIONS_FOLDER).mkdir()
    (board / retractions.RETRACTIONS_FOLDER / "damaged.json").write_text("{")
    found = faults(board)
    assert set(forged) < set(found)
    assert len(found) == len(forged) + 1


def test_a_new_row_is_paired_with_its_old_base_on_the_new_judgements(board: Path):
    """Old pairs keep the old judgements; without a record the versions are two tests."""
    named = {"candidate": "tuned", "training": None}
    base = next(board.glob("*.json"))
    new_path = entries.write_entry(*scored(NEW, _answers.READER, **named), board)

    def pair() -> tuple[lookup.FoundEntry, lookup.FoundEntry]:
        return lookup.find_pair(
            str(new_path), str(base), board.parent, None, lambda one, other: one.result.task == other.result.task
        )

    assert [row.entry.result.task.label for row in pair()] == [NEW, OLD]
    regraded(board)
    new, old = pair()
    assert (new.is_regraded, old.is_regraded) == (False, True)
    assert old.entry.result.bits == new.entry.result.bits
    assert old.entry.result.task.label == NEW
    same = lookup.find_pair(str(base), str(base), board.parent, None, lambda *_: True)
    assert {row.entry.result.task.label for row in same} == {OLD}


def test_the_page_shows_which_rows_moved_and_why(board: Path):
    """A short section with counts; a base that has a record is not listed for scoring again."""
    entries.write_entry(*scored(NEW, _answers.READER, candidate="tuned"), board)
    name = "smollm2-135m-it"
    before = leaderboard.render_board(board.parent, leaderboard.load_board(board.parent, "gsm8k"))["gsm8k.md"]
    regraded(board)
    after = leaderboard.render_board(board.parent, leaderboard.load_board(board.parent, "gsm8k"))["gsm8k.md"]
    assert f"Incumbents to score again under `{NEW}`: `{name}`" in before
    assert "Incumbents" not in after
    row = f"|`{name}`|`{OLD}` to `{NEW}`|5|4|1 `right by hash, now unread (malformed)`|"
    assert row not in before
    assert row in after
    assert compare_board(leaderboard.load_board(board.parent, "gsm8k")).tables[0].label == NEW
