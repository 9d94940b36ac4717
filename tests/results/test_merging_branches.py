"""Ten branches that each add a row, in real git: they merge in any order, and one command renders the pages."""

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from baseline_bench import cli
from baseline_bench.results import entries
from paths import ROOT

BRANCHES = tuple(f"row-{number}" for number in range(10))
TASK = '''"""Small sums. What is 2+3? #### 5"""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums-0shot@v1", Sampling(max_tokens=64)
def problems(split): return [Problem(f"test-{n}", f"What is {n}+3?", str(n + 3), f"#### {n + 3}") for n in range(12)]
def messages(problem): return (Message("user", problem.question),)
'''
Git = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def branches(tmp_path_factory) -> Path:
    """A repository in which each branch left main, ran `bench baseline` and committed what that wrote."""
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        git = settle(folder, patch)
        model = tiny.build(folder / "model")
        (folder / "sums.py").write_text(TASK)
        (folder / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
        (folder / ".gitignore").write_text("/runs/\n/model/\n/script.jsonl\n")
        git("init", "-b", "main")
        for number, branch in enumerate(("main", *BRANCHES)):
            if branch != "main":
                git("checkout", "-q", "-b", branch, "main")
            answered = [{"id": f"test-{n}", "text": f"#### {n + 3 if n <= number else -1}"} for n in range(12)]
            (folder / "script.jsonl").write_text("\n".join(map(json.dumps, answered)))
            asked = ["--task", "./sums.py", "--engine", "scripted", "-o", "script=script.jsonl", "--name", branch]
            assert cli.main(["baseline", str(model), *asked, "--json"]) == 0
            git("add", "-A")
            git("commit", "-q", "-m", branch)
        git("checkout", "-q", "main")
    return folder


def settle(folder: Path, patch: pytest.MonkeyPatch) -> Git:
    """Make the folder the current one, and git deaf to the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        patch.delenv(name)
    patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    patch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    patch.chdir(folder)

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        who = ("-c", "user.name=T", "-c", "user.email=t@example.org")
        return subprocess.run(["git", *who, *words], cwd=folder, check=check, capture_output=True, text=True)

    return run


@pytest.fixture
def git(branches, tmp_path, monkeypatch) -> Git:
    """A clone with every branch, on a branch `all` that left main."""
    git = settle(tmp_path, monkeypatch)
    git("clone", "-q", str(branches), "clone")
    git = settle(tmp_path / "clone", monkeypatch)
    for branch in BRANCHES:
        git("branch", branch, f"origin/{branch}")
    git("checkout", "-q", "-b", "all")
    return git


def is_page(file: str) -> bool:
    """A rendered file: directly in the leaderboards' folder."""
    return file.startswith("leaderboards/") and file.count("/") == 1


def sound(folder: Path, capfd) -> None:
    """One command renders every page; then nothing is wrong, and every branch's row is on the page and in the table."""
    assert cli.main(["board"]) == 0
    capfd.readouterr()
    assert cli.main(["board", "--check", "--base", "main", "--task", "./sums.py"]) == 0
    assert capfd.readouterr().out == ""
    assert len(list(folder.glob("leaderboards/sums/*.json"))) == len(BRANCHES) + 1
    for file in ("leaderboards/sums.md", "leaderboards/sums.csv"):
        text = (folder / file).read_text(encoding="utf-8")
        assert [name for name in ("main", *BRANCHES) if name not in text] == []


@pytest.mark.parametrize("seed", [0, 1])
def test_with_the_driver_no_branch_conflicts(git, tmp_path, capfd, seed):
    """In any order, and `bench board` at the end, once, renders what all of them added."""
    git("config", "merge.bench-board.driver", "true")
    for branch in random.Random(seed).sample(BRANCHES, len(BRANCHES)):
        git("merge", "-q", "-m", branch, branch)
    sound(tmp_path / "clone", capfd)


def test_without_the_driver_pages_alone_conflict_and_either_side_will_do(git, tmp_path, capfd):
    """Entries and completions never do; whoever takes any side of a page and renders again is done."""
    conflicts = set()
    for branch in random.Random(2).sample(BRANCHES, len(BRANCHES)):
        if git("merge", "-q", "-m", branch, branch, check=False).returncode != 0:
            torn = git("diff", "--name-only", "--diff-filter=U").stdout.split()
            conflicts.update(torn)
            git("checkout", "--theirs", "--", *torn)
            git("add", "-A")
            git("commit", "-q", "-m", branch)
    assert conflicts
    assert all(is_page(file) for file in conflicts)
    sound(tmp_path / "clone", capfd)


def test_a_torn_page_is_mended_by_the_same_command(git, tmp_path, capfd):
    """Conflict marks that were committed by mistake are a fault of the check and gone after `bench board`."""
    git("config", "merge.bench-board.driver", "true")
    for branch in BRANCHES:
        git("merge", "-q", "-m", branch, branch)
    page = tmp_path / "clone" / "leaderboards" / "sums.md"
    page.write_text(f"<<<<<<< HEAD\n{page.read_text()}=======\n>>>>>>> row-1\n")
    assert cli.main(["board", "--check", "--task", "./sums.py"]) == 1
    sound(tmp_path / "clone", capfd)


def test_rebased_onto_one_another_they_stay_what_they_are(git, tmp_path, capfd):
    """Ten rebases later every entry has the bytes and the name that its branch gave it."""
    git("config", "merge.bench-board.driver", "true")
    for before, branch in zip(("main", *BRANCHES), BRANCHES, strict=False):
        git("rebase", "-q", before, branch)
    sound(tmp_path / "clone", capfd)
    assert all(entries.verify_entry(path) == [] for path in (tmp_path / "clone").glob("leaderboards/sums/*.json"))
