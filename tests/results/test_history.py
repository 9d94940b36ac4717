"""Against the base of a branch, in real repositories: entries are only ever added."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.checking import find_faults
from baseline_bench.results.entries import completions_path
from paths import ROOT
from samples import add, regrade, result, sha

BASE = result()
STUDY = ROOT / "leaderboards" / "claims" / "study.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of leaderboards with one board of two entries, rendered."""
    folder = tmp_path / "leaderboards"
    add(folder / "counting", result("base"))
    add(folder / "counting", result("tuned"))
    leaderboard.update_pages(folder)
    return folder


@pytest.fixture
def branch(folder: Path, git: Callable[..., str]) -> str:
    """A branch that left main after the folder was committed there; main has gone on. The commit they share."""
    git("add", ".")
    git("commit", "-m", "base")
    shared = git("rev-parse", "HEAD")
    git("branch", "work")
    (folder / "note.txt").write_text("main goes on")
    git("add", ".")
    git("commit", "-m", "later")
    git("checkout", "-q", "work")
    return shared


def test_added_entries_pass_the_base(folder: Path, branch: str) -> None:
    """A branch may add entries, committed or not, and nothing more is asked of it than of main."""
    add(folder / "counting", result("new"))
    leaderboard.update_pages(folder)
    assert find_faults(folder, regrade, base="main") == []


@pytest.mark.parametrize("suffix", [".json", ".jsonl.gz"])
@pytest.mark.parametrize("committed", [False, True])
def test_a_changed_file_fails_against_the_base_and_is_mended_as_told(
    folder: Path, git: Callable[..., str], branch: str, suffix: str, committed: bool
) -> None:
    """One byte more in an entry or its completions; the printed command restores it."""
    path = next((folder / "counting").glob(f"*{suffix}"))
    path.write_bytes(path.read_bytes() + b"\n")
    if committed:
        git("commit", "-am", "change")
    faults = [fault for fault in find_faults(folder, base="main") if fault.what.startswith("changed since")]
    assert [(fault.file, fault.what) for fault in faults] == [(path.as_posix(), f"changed since {branch[:12]}")]
    assert faults[0].fix == f"`git checkout {branch[:12]} -- {path.as_posix()}`"
    git(*shlex.split(faults[0].fix.strip("`"))[1:])
    assert find_faults(folder, regrade, base="main") == []


@pytest.mark.parametrize("committed", [False, True])
def test_a_removed_or_renamed_entry_fails_against_the_base(
    folder: Path, git: Callable[..., str], branch: str, committed: bool
) -> None:
    """An entry and its completions that go, or go elsewhere, are missed under their old names."""
    path = sorted((folder / "counting").glob("*.json"))[0]
    (folder / "elsewhere").mkdir()
    git("mv", str(path), str(folder / "elsewhere"))
    git("rm", "-q", str(completions_path(path)))
    leaderboard.update_pages(folder)
    if committed:
        git("commit", "-am", "rename")
    gone = [fault for fault in find_faults(folder, base="main") if fault.what.startswith("removed or renamed since")]
    assert [fault.file for fault in gone] == [path.as_posix(), completions_path(path).as_posix()]


def test_a_replaced_entry_is_mended_from_the_base_and_a_new_bad_one_removed(folder: Path, branch: str) -> None:
    """What the base holds is restored; what came with the branch and was proved wrong is taken out and scored again.

    A file that cannot be read may be of a later version, and is not to be deleted.
    """
    path = add(folder / "counting", result("new"))
    path.write_bytes(path.read_bytes().replace(b'"correct": 5', b'"correct": 6'))
    fixes = {fault.what: fault.fix for fault in find_faults(folder, base="main") if fault.file == path.as_posix()}
    assert [fix.startswith("`git rm -f -- ") for fix in fixes.values()] == ["name" not in what for what in fixes]
    path.write_bytes(b"{}")
    (fault,) = [fault for fault in find_faults(folder, base="main") if fault.file == path.as_posix()]
    assert "git" not in fault.fix.partition("`")[2]
    old = next((folder / "counting").glob("*-base-*.json"))
    old.write_bytes(b"{}")
    fixes = {fault.fix for fault in find_faults(folder, base="main") if fault.file == old.as_posix()}
    assert fixes == {f"`git checkout {branch[:12]} -- {old.as_posix()}`"}


def test_a_backdated_entry_does_not_shift_the_blame(folder: Path, branch: str) -> None:
    """Between an entry of the base and a new one that contradicts it, the new one is at fault, whatever its date."""
    of = replace(BASE, task=replace(BASE.task, protocol_sha256=sha("x")))
    path = add(folder / "counting", of, created="2001-01-01T00:00:00Z")
    leaderboard.update_pages(folder)
    assert [fault.file for fault in find_faults(folder, base="main")] == [path.as_posix()]


@pytest.mark.parametrize("ref", ["nowhere", "--help", "-x", ""])
def test_an_unknown_base_is_one_clear_error(folder: Path, branch: str, ref: str) -> None:
    """A ref that git does not know, or that looks like an option, stops the check."""
    with pytest.raises(BenchError, match="git knows no commit"):
        find_faults(folder, base=ref)


def test_a_base_without_common_history_is_one_clear_error(folder: Path, git: Callable[..., str], branch: str) -> None:
    """A clone too shallow to see where the branch began is told how to deepen."""
    git("checkout", "-q", "--orphan", "lone")
    git("commit", "-m", "lone")
    with pytest.raises(BenchError, match="no common commit here: fetch the whole history"):
        find_faults(folder, base="main")


def test_outside_a_repository_there_is_no_base(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without git, or outside a repository, the check with a base says so; without a base it works."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(BenchError, match="git knows no commit"):
        find_faults(folder, base="main")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchError, match="git is not installed"):
        find_faults(folder, base="main")
    assert find_faults(folder) == []


@pytest.mark.parametrize("change", ["edit", "remove"])
@pytest.mark.parametrize("file", ["retractions/x.json", "verifications/x.json", "noise/x.json", "x.solutions.jsonl.gz"])
def test_records_beside_entries_are_frozen_too(
    folder: Path, git: Callable[..., str], branch: str, file: str, change: str
) -> None:
    """Whatever was said of an entry at the base, and what stands beside it, is still said in the same words."""
    path = folder / "counting" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"one")
    git("add", "-f", ".")
    git("commit", "-m", "record")
    git("branch", "-f", "main")
    git("checkout", "-q", "-b", "other")
    path.write_bytes(b"two") if change == "edit" else path.unlink()
    frozen = [fault for fault in find_faults(folder, base="main") if "since" in fault.what]
    what = "changed since" if change == "edit" else "removed or renamed since"
    assert [(fault.file, fault.what.startswith(what)) for fault in frozen] == [(path.as_posix(), True)]


@pytest.mark.parametrize(
    "file", ["counting/noise/x.txt", "counting/other/x.json", "counting/noise/sub/x.json", "x.json"]
)
def test_a_file_that_is_no_record_may_go(folder: Path, git: Callable[..., str], branch: str, file: str) -> None:
    """Somebody committed what bench does not write: to remove it is the advice of the check."""
    path = folder / file
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("{}")
    git("add", "-f", ".")
    git("commit", "-m", "stray")
    git("branch", "-f", "main")
    assert [fault.file for fault in find_faults(folder, base="main")] == [path.as_posix()]
    path.unlink()
    assert find_faults(folder, base="main") == []


def test_claims_may_grow_but_not_go(folder: Path, git: Callable[..., str]) -> None:
    """A changed file of hypotheses is no fault, its contrasts' age tells; one that came out badly cannot be dropped."""
    claims = folder / "claims" / "study.toml"
    claims.parent.mkdir()
    shutil.copy(STUDY, claims)
    leaderboard.update_pages(folder)
    git("add", ".")
    git("commit", "-m", "claims")
    claims.write_text("# A word more.\n" + claims.read_text())
    assert find_faults(folder, regrade, base="main") == []
    claims.unlink()
    assert f"{claims.as_posix()}: removed or renamed since" in "\n".join(map(str, find_faults(folder, base="main")))
