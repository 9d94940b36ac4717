"""harness.stories.boards: what `bench board --check` finds on a board of real runs, however well a forger counts."""

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from harness import cli
from harness.store import entries
from harness.store.bits import Bits, bits_to_hex
from harness.store.completions import from_lines, read_lines, to_lines
from harness.store.entry import Entry
from harness.store.records import digest

SCORE = ("--task", "word-problems", "--engine", "scripted", "--limit", "6", "--json")


@pytest.fixture
def board(tmp_path, monkeypatch) -> Path:
    """A board with one row of six scripted answers."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["score", str(tiny.build(tmp_path / "model", "chatml")), *SCORE]) == 0
    return Path("leaderboards")


def forged(board: Path, change) -> None:
    """Replace the board's entry by one with changed completions, every number and digest worked out again."""
    (path,) = board.glob("*/*.json")
    entry = entries.read(path)
    beside = entries.completions_path(path)
    lines = [change(line) for line in from_lines(read_lines(beside), beside.name)]
    selection = replace(entry.result.selection, ids_sha256=digest([line.id for line in lines]))
    right = [line.text == f"#### {line.gold}" for line in lines]
    none = bits_to_hex([False] * len(right))
    bits = Bits(correct=bits_to_hex(right), strict=bits_to_hex(right), unread=none, cut=none)
    counts = replace(entry.result.counts, correct=sum(right), strict=sum(right), unread=0, cut=0)
    result = replace(
        entry.result,
        selection=selection,
        bits=bits,
        counts=counts,
        completions_sha256=hashlib.sha256(to_lines(lines)).hexdigest(),
    )
    path.unlink()
    beside.unlink()
    entries.write(Entry.of(result, entry.created, entry.timings), lines, path.parent)
    assert cli.main(["board"]) == 0


def test_a_sound_board_passes(board):
    """What `bench score` wrote is what `bench board --check` expects."""
    assert cli.main(["board", "--check"]) == 0


def test_golds_that_were_changed_to_the_answers_are_found(board, capfd):
    """Every digest fits, but the task's own golds say otherwise."""
    forged(board, lambda line: replace(line, gold=line.text.removeprefix("#### ")))
    capfd.readouterr()
    assert cli.main(["board", "--check"]) == 1
    assert "correct bits do not follow" in capfd.readouterr().out


def test_items_that_were_picked_by_hand_are_found(board, capfd):
    """A subset is the one that its limit and seed draw, not the one that scores well."""
    ids = iter(f"test-{number}" for number in range(6))
    forged(board, lambda line: replace(line, id=next(ids)))
    capfd.readouterr()
    assert cli.main(["board", "--check"]) == 1
    assert "not those that its limit and seed draw" in capfd.readouterr().out


def test_a_page_that_cannot_be_written_is_one_clear_line(board, capfd):
    """A folder in a page's place is no traceback."""
    page = board / "word-problems.md"
    page.unlink()
    page.mkdir()
    capfd.readouterr()
    assert cli.main(["board"]) == 1
    assert capfd.readouterr().err.startswith("bench: cannot write leaderboards")


def test_regrading_with_the_same_verdicts_adds_no_row(board):
    """A second row of one run would count it twice."""
    (run,) = Path("runs").iterdir()
    assert cli.main(["regrade", str(run), "--leaderboards", "leaderboards"]) == 0
    assert len(list(board.glob("*/*.json"))) == 1


def git(*words: str) -> None:
    """One git command that must succeed."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "merge.bench-board.driver=true")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


def test_branches_that_each_add_a_row_merge_and_one_command_renders_both(board, tmp_path):
    """With the merge driver no page conflicts, and `bench board` brings them up to date."""
    attributes = Path(__file__).resolve().parent.parent / ".gitattributes"
    Path(".gitattributes").write_text(attributes.read_text())
    Path(".gitignore").write_text("runs/\nmodel/\nother*/\n")
    git("init", "-b", "main")
    git("add", "-A")
    git("commit", "-m", "base")
    for seed, branch in enumerate(("one", "two"), 1):
        git("checkout", "-b", branch, "main")
        model = tiny.build(tmp_path / f"other-{branch}", "chatml", seed)
        assert cli.main(["score", str(model), "--name", branch, *SCORE]) == 0
        git("add", "-A")
        git("commit", "-m", branch)
    git("merge", "one", "-m", "both")
    assert cli.main(["board"]) == 0
    assert cli.main(["board", "--check", "--base", "one"]) == 0
    page = (board / "word-problems.md").read_text()
    assert all(f"`{name}`" in page for name in ("one", "two"))
