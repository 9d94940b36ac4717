"""commands.board: what `bench board --check` finds on a board of real runs, however well a forger counts."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from announced import unannounced
from baseline_bench import cli
from baseline_bench.core.records import digest, encode_indented
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking
from baseline_bench.results import entries
from baseline_bench.results.bits import Bits, bits_to_hex
from baseline_bench.results.completions import decompress_file, parse_completions, serialise_completions
from baseline_bench.results.entry import Entry
from paths import ROOT

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
    entry = entries.read_entry(path)
    beside = entries.completions_path(path)
    lines = [change(line) for line in parse_completions(decompress_file(beside), beside.name)]
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
        completions_sha256=hashlib.sha256(serialise_completions(lines)).hexdigest(),
    )
    path.unlink()
    beside.unlink()
    entries.write_entry(Entry.of(result, entry.created, entry.timings), lines, path.parent)
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


def git(*words: str) -> None:
    """One git command that must succeed."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "merge.bench-board.driver=true")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


TASK = """
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade

LABEL, SAMPLING = "sums-0shot@v1", Sampling(max_tokens=64)


def problems(split):
    return [Problem(f"test-{n}", f"What is {n}+3?", str(n + 3), f"#### {n + 3}") for n in range(9)]


def messages(problem):
    return (Message("user", problem.question),)
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A board with two rows of a task of the user's own, in a repository whose main branch has the first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.py").write_text(TASK)
    (tmp_path / ".gitignore").write_text("runs/\nmodel*/\n")
    git("init", "-b", "main")
    for seed, name in enumerate(("one", "two")):
        model = tiny.build(tmp_path / f"model-{name}", "chatml", seed)
        words = ["score", str(model), "--task", "./sums.py", "--engine", "scripted", "--name", name, "--json"]
        assert cli.main(words) == 0
        Path("bench.toml").unlink()  # which would name the file
        git("add", "-A")
        git("commit", "-m", name)
        if name == "one":
            git("branch", "before")
    return tmp_path / "leaderboards" / "sums"


def faults(*words: str) -> list[checking.Fault]:
    """What the check finds, as records; with the task's file where `words` name it."""
    base = "before" if "--base" in words else None
    return checking.find_faults(
        Path("leaderboards"), Regrader([word for word in words if word != "--base"], None), base
    )


@pytest.mark.parametrize("words", [(), ("--base",)])
def test_sound_rows_of_a_task_whose_file_was_not_passed_are_never_deleted(own, words, capfd):
    """Each row is a fault, for its answers cannot be graded; the way out is the task's file, and it is enough.

    Rows that the base holds unchanged were checked before they were merged.
    """
    found = faults(*words)
    new = [path for path in own.glob("*.json") if not words or "-two-" in path.name]
    assert sorted(fault.file for fault in found) == sorted(f"leaderboards/sums/{path.name}" for path in new)
    assert {fault.fix for fault in found} == {"pass --task FILE, or score with it on this machine"}
    assert faults("./sums.py", *words) == []
    capfd.readouterr()
    assert cli.main(["pr-report", "--base", "before"]) == 0
    told = capfd.readouterr().out
    assert told.count("pass --task FILE, or score with it on this machine") == 1
    assert "git rm" not in told
    assert cli.main(["pr-report", "--base", "before", "--task", "./sums.py"]) == 0
    assert "--task" not in capfd.readouterr().out.partition("how to re-run")[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("@v1", "@v0"),
        lambda text: text.replace("import READER, grade", "import grade") + '\nREADER = "mine@v1"\n',
        lambda text: text + '\nREPOSITORY = "mine/sums"\n',
        lambda text: text.replace("n + 3", "n + 4").replace("+3", "+4"),
    ],
    ids=["an older version", "another reader", "no data", "other items"],
)
def test_what_the_checker_lacks_is_not_held_against_the_rows(own, change, capfd):
    """Another version of the task, another reader or other data: the rows are faults, and none is to be deleted."""
    Path("sums.py").write_text(change(TASK))
    (Path("data") / "others" / "sums").mkdir(parents=True)
    found = checking.find_faults(Path("leaderboards"), Regrader(["./sums.py"], Path("data")), "before")
    assert all(fault.fix and "git" not in fault.fix for fault in found)


def harmed(own: Path, name: str) -> Path:
    """The entry of that name."""
    return next(own.glob(f"*-{name}-*.json"))


def lose_completions(path: Path) -> None:
    """As `git add ENTRY` alone does."""
    entries.completions_path(path).unlink()


def spoil_completions(path: Path) -> None:
    """As a file that was fetched in part."""
    entries.completions_path(path).write_bytes(entries.completions_path(path).read_bytes()[:50])


def add_losses(path: Path) -> None:
    """A file that is not the row's."""
    shutil.copy(entries.completions_path(path), entries.losses_path(path))


def rename(path: Path) -> None:
    """An entry under a name of the user's, with its completions."""
    entries.completions_path(path).rename(entries.completions_path(path.with_name("mine.json")))
    path.rename(path.with_name("mine.json"))


def write_key(path: Path) -> None:
    """As a later version of bench may write it."""
    path.write_bytes(encode_indented({**json.loads(path.read_bytes()), "later": 1}))


def lose_entry(path: Path) -> None:
    """Its completions stay."""
    path.unlink()


def add_note(path: Path) -> None:
    """A person's file among the records."""
    (path.parent / "retractions").mkdir()
    (path.parent / "retractions" / "notes.txt").write_text("why we did it")


def add_record(path: Path) -> None:
    """A record of a later version, about an entry that is not here."""
    (path.parent / "retractions").mkdir()
    (path.parent / "retractions" / f"{path.stem}-0123456789ab.json").write_bytes(encode_indented({"schema": 2}))


def name_again(path: Path) -> None:
    """A second row of one name and other weights: which of them has the wrong name, only a person knows."""
    entry = entries.read_entry(harmed(path.parent, "one"))
    weights = replace(entry.result.model, weights_sha256="f" * 64)
    made = Entry.of(replace(entry.result, model=weights), "2030-01-01T00:00:00Z", entry.timings)
    beside = entries.completions_path(harmed(path.parent, "one"))
    entries.write_entry(made, parse_completions(decompress_file(beside), beside.name), path.parent)


def link(path: Path) -> None:
    """An entry that lies elsewhere."""
    path.rename(path.parents[2] / "kept.json")
    path.symlink_to(path.parents[2] / "kept.json")


@pytest.mark.parametrize("base", [(), ("--base",)])
@pytest.mark.parametrize(
    "harm",
    [
        lose_completions,
        spoil_completions,
        add_losses,
        rename,
        write_key,
        lose_entry,
        add_note,
        add_record,
        name_again,
        link,
    ],
)
def test_no_advice_deletes_what_may_be_sound(own, harm, base):
    """A fault is found and the way out is given, yet no file goes: none of them was proved to be wrong."""
    harm(harmed(own, "two"))
    assert cli.main(["board"]) in (0, 1)
    found = faults("./sums.py", *base)
    assert found
    assert all(fault.fix for fault in found)
    assert not [fault.fix for fault in found if "git rm" in fault.fix or "remove" in fault.fix]


def test_an_entry_that_was_proved_unsound_is_deleted_or_restored(own):
    """The twin: a score that the bits do not give goes if it is new, and is restored if the base has it."""
    for name in ("one", "two"):
        path = harmed(own, name)
        path.write_bytes(path.read_bytes().replace(b'"correct": 0', b'"correct": 9'))
    fixes = {fault.file: fault.fix for fault in faults("./sums.py", "--base") if fault.file.endswith(".json")}
    assert len(fixes) == 2
    assert fixes[f"leaderboards/sums/{harmed(own, 'two').name}"].startswith("`git rm -f -- ")
    assert fixes[f"leaderboards/sums/{harmed(own, 'one').name}"].startswith("`git checkout ")


def test_a_page_that_cannot_be_written_is_one_clear_line(board, capfd):
    """A folder in a page's place is no traceback."""
    page = board / "word-problems.md"
    page.unlink()
    page.mkdir()
    capfd.readouterr()
    assert cli.main(["board"]) == 1
    (line,) = unannounced(capfd.readouterr().err)
    assert line.startswith("bench: cannot write leaderboards")


def test_regrading_with_the_same_verdicts_adds_no_row(board):
    """A second row of one run would count it twice."""
    (run,) = Path("runs").iterdir()
    assert cli.main(["regrade", str(run), "--leaderboards", "leaderboards"]) == 0
    assert len(list(board.glob("*/*.json"))) == 1


def test_branches_that_each_add_a_row_merge_and_one_command_renders_both(board, tmp_path):
    """With the merge driver no page conflicts, and `bench board` brings them up to date."""
    attributes = ROOT / ".gitattributes"
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
