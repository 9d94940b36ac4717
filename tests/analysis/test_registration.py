"""analysis.claims.registration: since when git holds a contrast unchanged, in real repositories."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from baseline_bench.analysis.claims.claims_file import read_claims
from baseline_bench.analysis.claims.registration import Registration, find_changed_claims, find_registration
from baseline_bench.core.errors import BenchError
from claimed import Filed
from samples import entry, result

TEXT = """
schema = 1
name = "mine"
board = "counting"
task = "counting-0shot@v1"
alpha = 0.05
least_items = 60
[families]
base = "against the base"
other = "of something else"
[[claims]]
id = "it-helps"
hypothesis = "the fine-tune scores higher"
published = "once"
[[claims.contrasts]]
test = "mcnemar"
family = "base"
better = { recipe = "one", base = "b", seed = 0 }
worse = { base = "b" }
[[claims.contrasts]]
test = "mcnemar"
family = "base"
better = { recipe = "two", base = "b", seed = 0 }
worse = { base = "b" }
"""
SECOND = TEXT[TEXT.rindex("[[claims.contrasts]]") :]
THIRD = SECOND.replace('"two"', '"three"')
ELSEWHERE = '[[claims]]\nid = "else"\nhypothesis = "it is fast"\npublished = ""\n' + THIRD.replace(
    '"base"', '"other"', 1
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of claims in which git is deaf to the repository and the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "work" / "leaderboards" / "claims"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def git(folder: Path) -> Callable[..., str]:
    """Git in a new repository around the folder."""

    def run(*arguments: str, date: str = "2026-01-01T00:00:00+02:00") -> str:
        command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *arguments]
        told = {**os.environ, "GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": "2001-01-01T00:00:00Z"}
        done = subprocess.run(command, cwd=folder, env=told, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder.parent.parent, check=True)
    return run


@pytest.fixture
def commit(folder: Path, git: Callable[..., str]) -> Callable[[str, int], None]:
    """Commit the claims with this text in that month."""

    def run(text: str, month: int) -> None:
        (folder / "mine.toml").write_text(text)
        git("add", ".")
        git("commit", "-q", "--allow-empty", "-m", "claims", date=f"2026-{month:02}-01T00:00:00+00:00")

    return run


def found(folder: Path, text: str | None = None) -> Registration:
    """What git knows of the claims as they lie there."""
    path = folder / "mine.toml"
    if text is not None:
        path.write_text(text)
    return find_registration(path, read_claims(path))


def months(folder: Path, text: str | None = None) -> list[int | None]:
    """In which month each contrast was registered."""
    return [None if one is None else int(one.time[5:7]) for one in found(folder, text).since]


def test_a_committed_contrast_has_its_commit_and_the_time_of_committing(folder: Path, git: Callable[..., str]):
    """In UTC, and not the time of authoring, which anybody may say."""
    (folder / "mine.toml").write_text(TEXT)
    git("add", ".")
    git("commit", "-q", "-m", "claims", date="2026-01-01T00:00:00+02:00")
    registration = found(folder)
    assert registration.known
    assert [(one.commit, one.time) for one in registration.since if one] == [
        (git("rev-parse", "HEAD"), "2025-12-31T22:00:00Z")
    ] * 2


def test_signed_commits_that_git_is_told_to_verify_are_read_alike(folder: Path, git: Callable[..., str]):
    """What `log.showSignature` prints between the commits is none of them."""
    (folder / "mine.toml").write_text(TEXT)
    git("add", ".")
    git("commit", "-q", "-m", "claims")
    head, _, message = git("cat-file", "commit", "HEAD").partition("\n\n")
    signed = folder.parent / "signed"
    signed.write_text(
        f"{head}\ngpgsig -----BEGIN SSH SIGNATURE-----\n AAAA\n -----END SSH SIGNATURE-----\n\n{message}\n"
    )
    commit = git("hash-object", "-t", "commit", "-w", str(signed))
    git("update-ref", "HEAD", commit)
    git("config", "log.showSignature", "true")
    assert git("log", "--format=%H") != commit
    assert [one.commit for one in found(folder).since if one] == [commit] * 2


def test_what_is_not_committed_and_what_no_repository_holds_are_two_things(folder: Path, request):
    """Outside a repository nothing is known; inside one, an uncommitted file is known not to be registered."""
    assert found(folder, TEXT) == Registration(False, (None, None))
    request.getfixturevalue("git")
    assert found(folder, TEXT) == Registration(True, (None, None))


def test_without_git_nothing_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A machine without git is no error, and no proof either."""
    monkeypatch.setenv("PATH", "")
    assert found(folder, TEXT) == Registration(False, (None, None))


def test_other_words_around_a_contrast_leave_it_registered(folder: Path, commit):
    """Comments, what was published before, another claim, and more contrasts in claim and family change nothing."""
    commit(TEXT, 1)
    commit("# a comment\n" + TEXT, 2)
    commit(TEXT.replace("once", "twice"), 3)
    commit(TEXT.replace("once", "twice") + THIRD, 4)
    commit(TEXT.replace("once", "twice") + THIRD + ELSEWHERE, 5)
    assert months(folder) == [1, 1, 4, 5]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('id = "it-helps"', 'id = "it-does"'),
        ("the fine-tune scores higher", "the fine-tune scores lower"),
        ("alpha = 0.05", "alpha = 0.1"),
        ("least_items = 60", "least_items = 20"),
        ("counting-0shot@v1", "counting-0shot@v2"),
        ("against the base", "against whatever"),
    ],
)
def test_a_changed_rule_begins_anew_for_all_it_decides(folder: Path, commit, old: str, new: str):
    """The hypothesis, the level, the least items, the task and the family's rule are part of what was registered."""
    commit(TEXT, 1)
    commit(TEXT.replace(old, new), 2)
    assert months(folder) == [2, 2]
    assert months(folder, TEXT) == [None, None]


def test_a_changed_contrast_begins_anew_alone_where_none_is_lost(folder: Path, commit):
    """One that is new since March is of March; what stood there before still is."""
    commit(TEXT + ELSEWHERE, 1)
    commit(TEXT + ELSEWHERE.replace('"three"', '"four"'), 3)
    assert months(folder) == [1, 1, 3]


def test_a_contrast_that_was_taken_out_makes_its_family_begin_anew(folder: Path, commit):
    """Whoever drops an unwelcome contrast changes what Holm asks of the others."""
    commit(TEXT + THIRD + ELSEWHERE, 1)
    commit(TEXT + ELSEWHERE, 2)
    assert months(folder) == [2, 2, 1]


def test_a_chain_that_was_broken_counts_from_its_mending(folder: Path, commit):
    """Changed in February and back in March, or unreadable in between: registered in March."""
    commit(TEXT, 1)
    commit(TEXT.replace("0.05", "0.1"), 2)
    commit(TEXT, 3)
    assert months(folder) == [3, 3]
    commit("not TOML at all", 4)
    commit(TEXT, 5)
    assert months(folder) == [5, 5]


def test_a_file_that_was_removed_or_renamed_begins_anew(folder: Path, commit, git: Callable[..., str]):
    """Git follows no renames here, so that a registration is one file's."""
    commit(TEXT, 1)
    git("rm", "-q", "mine.toml")
    git("commit", "-q", "-m", "gone", date="2026-02-01T00:00:00Z")
    folder.mkdir(exist_ok=True)
    commit(TEXT, 3)
    assert months(folder) == [3, 3]


def test_an_uncommitted_change_counts_for_what_it_changes(folder: Path, commit):
    """The working tree is what is judged."""
    commit(TEXT, 1)
    assert months(folder, TEXT + THIRD) == [1, 1, None]


def test_a_contrast_of_a_merged_branch_keeps_its_commit(folder: Path, commit, git: Callable[..., str]):
    """Merging is no new registration."""
    commit(TEXT, 1)
    git("checkout", "-q", "-b", "work")
    commit(TEXT + THIRD, 2)
    git("checkout", "-q", "main")
    git("commit", "-q", "--allow-empty", "-m", "main goes on")
    git("merge", "-q", "--no-ff", "work", "-m", "merge", date="2026-06-01T00:00:00Z")
    assert months(folder) == [1, 1, 2]


def test_a_clone_too_shallow_to_tell_says_how_to_deepen_it(
    folder: Path, commit, git: Callable[..., str], tmp_path: Path
):
    """What its oldest commit holds may be older; a claim that is younger than that commit is known."""
    commit(TEXT, 1)
    commit(TEXT + "# a comment", 2)
    commit(TEXT.replace("0.05", "0.01"), 3)

    def cloned(depth: int) -> Path:
        git("clone", "-q", f"--depth={depth}", folder.parent.parent.as_uri(), str(tmp_path / f"{depth}"))
        return tmp_path / f"{depth}" / "leaderboards" / "claims"

    with pytest.raises(BenchError, match=r"too shallow.*git fetch --unshallow"):
        found(cloned(1))
    assert months(cloned(2)) == [3, 3]
    assert months(tmp_path / "2" / "leaderboards" / "claims", TEXT) == [None, None]


PREDICTION = """
schema = 2
name = "mine"
board = "counting"
task = "counting-0shot@v1"
alpha = 0.05
least_items = 1
families = { bases = "holm" }
[[claims]]
id = "as-good"
hypothesis = "one recipe is as good as a base"
published = ""
[[claims.contrasts]]
test = "recipes"
family = "bases"
first = { recipe = "tune", digest = "0123456789ab", base = "one", seeds = [10, 11] }
second = { base = "other" }
predicted = "non-inferior"
margin = 0.05
gain = 0.01
power = 0.9
"""
CHANGES = (
    ("0.05\ngain", "0.06\ngain"),
    ("ab", "ac"),
    ("11]", "12]"),
    ("0.9", "0.8"),
    ("non-inf", "equ"),
    ("0.01", "0.02"),
)


def test_what_a_prediction_declares_resets_its_registration(folder: Path, commit: Callable[[str, int], None]):
    """Margin, digest, seeds, power and gain are part of the contrast; a comment is not."""
    commit(PREDICTION, 1)
    assert months(folder, PREDICTION + "# a word") == [1]
    for old, new in CHANGES:
        changed = PREDICTION.replace(old, new, 1).replace("equerior", "equivalent")
        assert changed != PREDICTION
        assert months(folder, changed) == [None]


@pytest.mark.parametrize(("time", "changes"), [("2026-03-01", [("as-good", "a contrast")]), ("2025-12-01", [])])
def test_a_prediction_must_not_change_after_its_first_run(
    folder: Path, commit: Callable[[str, int], None], time: str, changes: list[tuple[str, str]]
):
    """One run of one side suffices, if it is younger than the registration; it may change before."""
    commit(PREDICTION, 1)
    rows = [Filed("other.json", entry(result("other"), f"{time}T12:00:00Z"))]
    path = folder / "mine.toml"
    assert find_changed_claims(path, "HEAD", rows) == []
    path.write_text(PREDICTION.replace("0.9", "0.8"))
    assert find_changed_claims(path, "HEAD", rows) == changes
