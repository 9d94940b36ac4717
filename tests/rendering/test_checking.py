"""rendering.checking: rows, claims and files that a forger adds or changes; each attack has a sound twin."""

import gzip
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core import parallel
from baseline_bench.core.records import digest, write_atomically
from baseline_bench.core.types import Completion, LogLikelihood, Problem
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking, leaderboard
from baseline_bench.results import duplicates, entries, retractions
from baseline_bench.results.candidate import MergeSummary, TrainingRecord
from baseline_bench.results.completions import CommittedCompletion, build_committed_completion
from baseline_bench.results.duplicates import StoredRow, find_copied_answers
from baseline_bench.results.entry import Entry, Result, Selection
from board_samples import trained
from claimed import CLAIM, HEAD, PAIRED
from samples import add, entry, result, sha, timings

ITEMS = 20
Lines = tuple[CommittedCompletion, ...]


def lines(seed: int = 0, own: int = ITEMS, length: int = 30, measured: bool = False, more: str = "") -> Lines:
    """Answers of a model: the first `own` have its own token ids, the others those of model 0; `more` ends each."""
    made = []
    for place in range(ITEMS):
        text, who = f"#### {place if place % 2 else -1}{more}", seed if place < own else 0
        ids = (*range(length), place, who)
        likelihoods = (LogLikelihood(-0.5 - who - place / 7, True, 1),) if measured else ()
        completion = Completion(text, ids, "stop", likelihoods=likelihoods)
        made.append(build_committed_completion(Problem(f"test-{place}", "", str(place), ""), completion))
    return tuple(made)


def model(name: str, answers: Lines, weights: str | None = None) -> Result:
    """The result of a model of that name."""
    made = result(name, answers)
    return replace(made, model=replace(made.model, weights_sha256=sha(weights or name)))


def scripted(of: Result) -> Result:
    """The same answers from a script."""
    return replace(of, engine=replace(of.engine, name="scripted"))


def served(of: Result) -> Result:
    """The same answers from a server, whose weights nobody sees."""
    engine = replace(of.engine, settings={**of.engine.settings, "device": "server"})
    return replace(of, engine=engine, model=replace(of.model, weights_sha256=None))


def merged(name: str, answers: Lines, base: str) -> Result:
    """The result of an adapter of unknown training, merged into a base."""
    of = model(name, answers)
    digests = {"base_sha256": sha(base), "adapter_sha256": sha("adapter"), "merged_sha256": sha(name)}
    zero = {"rel_err": 0.0, "mean_kl": 0.0, "greedy_agreement": 1.0, "positions": 1}
    merge = MergeSummary("float32", **digests, targets=1, others=1, quantised=None, **zero)  # type: ignore[arg-type]
    return replace(of, training=TrainingRecord(None, None, merge))


def tuned(on: Result, answers: Lines) -> Result:
    """The result of a training on a model, all weights trained."""
    of = trained("base", "full")
    assert of.training is not None
    assert of.training.candidate is not None
    base = replace(of.training.candidate.base, weights_sha256=on.model.weights_sha256)
    training = replace(of.training, candidate=replace(of.training.candidate, base=base))
    return replace(model(of.candidate, answers), training=training)


def whats(folder: Path, base: str | None = None) -> list[str]:
    """The faults, without files and ways out."""
    return [fault.what for fault in checking.find_faults(folder, base=base)]


def written(folder: Path, *rows: tuple[Result, Lines]) -> Path:
    """A folder with these rows, one a day, rendered."""
    for day, (of, answers) in enumerate(rows, 10):
        made = Entry.of(of, f"2026-11-{day}T12:00:00Z", replace(timings(), generated_tokens=None))
        entries.write_entry(made, answers, folder / "counting")
    leaderboard.update_pages(folder)
    return folder


OWN, OTHER = lines(1), lines(2)
LONG, FORGED, FEW_FORGED = (lines(seed, own, more=" because" * 12) for seed, own in ((0, ITEMS), (1, ITEMS), (1, 3)))
COPIED = {
    "under forged digests": lambda: ((model("a", LONG), LONG), (model("b", FORGED), FORGED)),
    "under some forged digests": lambda: ((model("a", LONG), LONG), (model("b", FEW_FORGED), FEW_FORGED)),
    "of another base": lambda: ((merged("a", OWN, "base"), OWN), (merged("b", OWN, "other"), OWN)),
    "all answers": lambda: ((model("a", OWN), OWN), (model("b", OWN), OWN)),
    "nearly all": lambda: ((model("a", lines(0)), lines(0)), (model("b", lines(3, own=1)), lines(3, own=1))),
    "measured": lambda: (
        (model("a", lines(1, length=1, measured=True)), lines(1, length=1, measured=True)),
        (model("b", lines(1, length=1, measured=True)), lines(1, length=1, measured=True)),
    ),
}


def part(name: str, answers: Lines, *places: int) -> tuple[Result, Lines]:
    """A row of a part of the problems, as `--limit` chooses it."""
    kept = tuple(answers[place] for place in places)
    of = model(name, kept)
    ids = digest([line.id for line in kept])
    selection = Selection(ITEMS, len(kept), len(kept), 0, ids)
    return replace(of, selection=selection, task=replace(of.task, items_sha256=sha("all problems"))), kept


WHOLE = range(ITEMS)
PARTS = {
    "a part of a whole": lambda: (part("a", OWN, *WHOLE), part("b", OWN, *range(3, 15))),
    "a whole with a part": lambda: (part("a", OWN, *range(3, 15)), part("b", OWN, *WHOLE)),
    "another order": lambda: (part("a", OWN, *WHOLE), part("b", OWN, *reversed(WHOLE))),
    "parts that overlap": lambda: (part("a", OWN, *range(13)), part("b", OWN, *range(4, 20))),
    "eight answers": lambda: (part("a", OWN, *range(8)), part("b", OWN, *range(8))),
}
OWN_PARTS = {
    "parts that overlap too little": lambda: (part("a", OWN, *range(12)), part("b", OWN, *range(8, 20))),
    "seven answers": lambda: (part("a", OWN, *range(7)), part("b", OWN, *range(7))),
    "own answers to a part": lambda: (part("a", OWN, *WHOLE), part("b", OTHER, *range(3, 15))),
    "half of a part": lambda: (part("a", lines(0), *WHOLE), part("b", lines(3, own=10), *range(2, 18))),
    "a part by the same model": lambda: (part("a", OWN, *WHOLE), part("a", OWN, *range(3, 15))),
}
COPIED |= PARTS
OTHER_LONG = lines(1, more=" hence" * 16)
REPEATED = {
    "one model twice": lambda: ((model("a", OWN), OWN), (replace(model("a", OWN), prompts_sha256=sha("again")), OWN)),
    "own answers": lambda: ((model("a", OWN), OWN), (model("b", OTHER), OTHER)),
    "half of them": lambda: ((model("a", lines(0)), lines(0)), (model("b", lines(3, own=10)), lines(3, own=10))),
    "own texts": lambda: ((model("a", LONG), LONG), (model("b", OTHER_LONG), OTHER_LONG)),
    "of one base": lambda: ((merged("a", OWN, "base"), OWN), (merged("b", OWN, "base"), OWN)),
    "of its base": lambda: ((model("base", OWN), OWN), (merged("a", OWN, "base"), OWN)),
    "of its training": lambda: ((merged("a", OWN, "base"), OWN), (model("base", OWN), OWN)),
    "short answers": lambda: (
        (model("a", lines(1, length=2)), lines(1, length=2)),
        (model("b", lines(1, length=2)), lines(1, length=2)),
    ),
    "from a script": lambda: ((scripted(model("a", OWN)), OWN), (scripted(model("b", OWN)), OWN)),
    "from a server": lambda: ((model("a", OWN), OWN), (served(model("b", OWN)), OWN)),
    **OWN_PARTS,
}


@pytest.mark.parametrize("name", COPIED)
def test_answers_of_other_weights_are_a_fault_of_the_later_row(name: str, tmp_path: Path) -> None:
    """Token for token, all or nearly all of them, or their likelihoods."""
    (fault,) = checking.find_faults(written(tmp_path, *COPIED[name]()))
    assert "answers are those of other weights" in fault.what
    assert Path(fault.file).name.startswith("2026-11-11-b-")


@pytest.mark.parametrize("name", REPEATED)
def test_answers_that_may_be_equal_are_no_fault(name: str, tmp_path: Path) -> None:
    """Determinism, chance, and answers that no known weights gave."""
    assert whats(written(tmp_path, *REPEATED[name]())) == []


def test_a_training_may_leave_every_answer_of_its_base(tmp_path: Path) -> None:
    """A base that repeats its training's answers is related to it."""
    base = model("base", OWN)
    path = entries.write_entry(entry(base), OWN, tmp_path)
    rows = [StoredRow(path, name, entry(of)) for name, of in (("base", base), ("tuned", tuned(base, OWN)))]
    assert find_copied_answers(rows).copies == ()
    assert [(found.file, found.related) for found in find_copied_answers(rows[::-1]).copies] == [("base", True)]


def test_an_unrelated_copy_is_reported_before_a_related_one(tmp_path: Path) -> None:
    """A related row with the same answers does not hide the row that they come from."""
    path = entries.write_entry(entry(model("base", OWN)), OWN, tmp_path)
    of = {"a": model("a", OWN), "b": merged("b", OWN, "base"), "c": merged("c", OWN, "base")}
    rows = [StoredRow(path, name, entry(one), trusted=name != "c") for name, one in of.items()]
    assert [(found.first_file, found.related) for found in find_copied_answers(rows).copies] == [("a", False)]
    assert [(found.first_file, found.related) for found in find_copied_answers(rows[1:]).copies] == [("b", True)]


def test_trainings_of_one_base_that_answer_alike_are_noted(tmp_path: Path) -> None:
    """One line, which names both rows; none where their answers differ."""
    alike = written(tmp_path / "alike", (merged("a", OWN, "base"), OWN), (merged("b", OWN, "base"), OWN))
    (note,) = checking.check_leaderboards(alike).notes
    assert "2026-11-11-b-" in note
    assert "2026-11-10-a-" in note
    unlike = written(tmp_path / "unlike", (merged("a", OWN, "base"), OWN), (merged("b", OTHER, "base"), OTHER))
    assert checking.check_leaderboards(unlike).notes == ()


def test_a_model_is_renamed_by_withdrawing_its_rows(tmp_path: Path) -> None:
    """The same weights under a new name are a fault while rows of the old name count."""
    folder = written(tmp_path, (model("old", OWN, "w"), OWN), (model("new", OWN, "w"), OWN))
    (fault,) = checking.find_faults(folder)
    assert "another name" in fault.what
    assert Path(fault.file).name.startswith("2026-11-11-new-")
    old, new = sorted(path.name for path in (folder / "counting").glob("*.json"))
    content = (folder / "counting" / old).read_bytes()
    record = retractions.Retraction(1, "2026-11-28T12:00:00Z", old, sha(content.decode()), "renamed", new)
    retractions.write_record(record, folder / "counting")
    leaderboard.update_pages(folder)
    assert whats(folder) == []


def test_weights_under_another_name_are_found_in_new_rows_of_known_weights(tmp_path: Path) -> None:
    """Once for a name; unknown weights are not one model, and another configuration is another model."""
    old, new = model("old", OWN, "w"), model("new", OWN, "w")

    def find(*results: Result, trusted: bool = False) -> list[str]:
        rows = [StoredRow(tmp_path, str(place), entry(of), trusted=trusted) for place, of in enumerate(results)]
        return [found.file for found in duplicates.find_renamed_weights(rows)]

    assert find(old, new, new) == ["1"]
    assert find(old, new, trusted=True) == []
    assert find(served(old), served(new)) == []
    assert find(scripted(old), scripted(new)) == []
    adapted = [replace(of, engine=replace(of.engine, settings={"adapter": "0" * 64})) for of in (old, new)]
    assert find(*adapted) == []


STRAY = ("evil.html", "x.json", "counting/.x.json", "counting/sub/x.json", "claims/evil.svg", "RESULTS.CSV", "old.svg")
STRAY += ("counting/README.md", "a.markdown", "a.rst", "a.ipynb", "a.gif", "a.xml", "a.js", "notes.txt", "RESULTS")
STRAY += ("NOTES.md", "counting/notes.md", "claims/notes.md", ".evil.tmp", "counting/.evil.html.tmp", ".x.json.abc.tmp")
STRAY += ("counting/advisories.toml", "claims/sub/x.toml", "retractions/x.txt", "counting/retractions/sub/x.json")
EXPECTED = (
    ".gitignore",
    "counting/.gitkeep",
    ".counting.md.4711.tmp",
    "counting/.x.json.0123456789abcdef0123456789abcdef.tmp",
    ".bench.lock",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of one board of one row, rendered."""
    add(tmp_path / "leaderboards" / "counting", result("base"))
    leaderboard.update_pages(tmp_path / "leaderboards")
    return tmp_path / "leaderboards"


@pytest.mark.parametrize("name", STRAY)
def test_a_file_that_bench_does_not_write_is_a_fault(name: str, folder: Path) -> None:
    """Whatever a reader may take for results, hidden or in folders that nobody looks into."""
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text("{}")  # prose and tables alike: nobody can tell whose numbers they are
    assert [fault.file for fault in checking.find_faults(folder)] == [(folder / name).as_posix()]


def test_a_pipe_that_is_called_a_page_is_a_fault(folder: Path) -> None:
    """Nobody waits for somebody to write into it."""
    os.mkfifo(folder / "x.md")
    assert [fault.file for fault in checking.find_faults(folder)] == [(folder / "x.md").as_posix()]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_that_shows_no_results_is_no_fault(name: str, folder: Path) -> None:
    """What git, a killed command or a person leaves."""
    (folder / name).write_text("x")
    assert whats(folder) == []


def test_a_link_to_a_folder_is_a_fault(folder: Path) -> None:
    """Its files are not those of the repository."""
    (folder / "elsewhere").symlink_to(folder / "counting")
    assert [fault.file for fault in checking.find_faults(folder)] == [(folder / "elsewhere").as_posix()]


def test_a_page_that_is_a_link_is_a_fault_and_rendered_again(folder: Path) -> None:
    """Its content may be right today and another tomorrow."""
    page = folder / "counting.md"
    elsewhere = page.rename(folder.parent / "elsewhere.md")
    page.symlink_to(elsewhere)
    assert {fault.file for fault in checking.find_faults(folder)} == {page.as_posix()}
    assert leaderboard.update_pages(folder) == [page]
    assert not page.is_symlink()
    assert whats(folder) == []


def test_what_a_killed_command_left_is_deleted_by_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of today and of older versions; nothing that only looks alike."""
    kept = folder / "counting" / ".mine.tmp"
    left = [folder / ".counting.md.4711.tmp", folder / "counting" / f".x.json.{'0a' * 16}.tmp"]
    for path in (kept, *left):
        path.write_text("x")
    leaderboard.update_pages(folder)
    assert [path.exists() for path in (kept, *left)] == [True, False, False]
    monkeypatch.setattr(Path, "replace", lambda self, target: names.append(self.name))
    names: list[str] = []
    for _ in range(2):
        write_atomically(folder / "x.md", b"")
    assert len(set(names)) == 2


def test_a_file_that_git_ignores_is_no_fault_until_git_holds_it(folder: Path, git: Callable[..., str]) -> None:
    """Nobody else gets an ignored file; a committed one counts, whatever is ignored."""
    (folder / ".gitignore").write_text("*.html\n")
    (folder / "mine.html").write_text("x")
    assert whats(folder) == []
    git("add", "-f", "leaderboards/mine.html")
    assert [fault.file for fault in checking.find_faults(folder)] == [(folder / "mine.html").as_posix()]


TEXT = (HEAD + CLAIM + PAIRED).replace('recipe = "tune", base = "b", seed = 0', 'base = "base"')
TEXT = TEXT.replace('{ base = "b" }', '{ base = "other" }').replace("least_items = 60", "least_items = 6")
SECOND = CLAIM.replace("it-helps", "again") + PAIRED
SIDES = TEXT[TEXT.index("better = {") :]
CHANGED = {
    "alpha": ("alpha = 0.05", "alpha = 0.1"),
    "least_items": ("least_items = 6", "least_items = 1"),
    "the hypothesis": ("scores higher", "scores lower"),
    "what was published": ('published = ""', 'published = "9 %"'),
    "a contrast": (SIDES, SIDES.replace("better", "?").replace("worse", "better").replace("?", "worse")),
    "the family": ("against the base", "of anything"),
    "the claim itself": ("it-helps", "it-hurts"),
}  # fmt: skip


@pytest.fixture
def claims(folder: Path, git: Callable[..., str]) -> Path:
    """A claims file that the base holds together with both of its rows."""
    add(folder / "counting", result("other"))
    path = folder / "claims" / "mine.toml"
    path.parent.mkdir()
    path.write_text(TEXT)
    leaderboard.update_pages(folder)
    git("add", "-A")
    git("commit", "-q", "-m", "claims and rows")
    return path


@pytest.mark.parametrize("part", CHANGED)
def test_a_claim_that_changed_after_its_runs_is_a_fault(part: str, claims: Path) -> None:
    """Level, wording, direction and what it was compared with: the outcome would be of another claim."""
    old, new = CHANGED[part]
    assert old in TEXT
    claims.write_text(TEXT.replace(old, new))
    leaderboard.update_pages(claims.parent.parent)
    assert [part in what for what in whats(claims.parent.parent, base="main")] == [True]


@pytest.mark.parametrize("text", ["# a word\n" + TEXT, TEXT + SECOND, TEXT + PAIRED.replace('"tune"', '"new"')])
def test_a_claims_file_may_grow_after_the_runs(text: str, claims: Path) -> None:
    """Comments, claims and contrasts more."""
    claims.write_text(text)
    leaderboard.update_pages(claims.parent.parent)
    assert whats(claims.parent.parent, base="main") == []


def test_a_claim_may_change_before_its_runs(claims: Path, git: Callable[..., str]) -> None:
    """Nothing was seen yet."""
    claims.write_text(TEXT.replace('base = "other"', 'base = "later"'))
    leaderboard.update_pages(claims.parent.parent)
    git("commit", "-qam", "no rows")
    claims.write_text(TEXT.replace('base = "other"', 'base = "later"').replace("scores higher", "scores lower"))
    leaderboard.update_pages(claims.parent.parent)
    assert whats(claims.parent.parent, base="main") == []


def test_entries_of_the_base_are_trusted_and_others_are_not(claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the merge-base holds is read but not audited again; the rest is, and the line says how many."""
    folder = claims.parent.parent
    add(folder / "counting", replace(result("new"), provenance=replace(result().provenance, git_dirty=True)))
    leaderboard.update_pages(folder)
    audited: list[str] = []
    audit = entries.audit_entry
    monkeypatch.setattr(entries, "audit_entry", lambda path, _: audited.append(path.name) or audit(path))
    report = checking.check_leaderboards(folder, base="main")
    assert report.faults == ()
    assert re.findall(r"[0-9]+(?= (?:more )?entries)", report.checked) == ["1", "2"]
    assert [name.startswith("2026-11-22-new-") for name in audited] == [True]
    old = next((folder / "counting").glob("*-base-*.jsonl.gz"))
    shutil.copy(next((folder / "counting").glob("*-new-*.jsonl.gz")), old)
    old.write_bytes(old.read_bytes() + b"\n")
    audited.clear()
    checking.check_leaderboards(folder, base="main")
    assert len(audited) == 2


def test_an_entry_of_the_base_that_cannot_be_read_counts_as_checked(claims: Path, git: Callable[..., str]) -> None:
    """It is a fault, and not among those that are taken as the base holds them."""
    folder = claims.parent.parent
    sound = checking.check_leaderboards(folder, base="main")
    next((folder / "counting").glob("*-base-*.json")).write_text("{}\n")
    git("add", "-A")
    git("commit", "-qm", "damage")
    damaged = checking.check_leaderboards(folder, base="HEAD")
    assert [part.checked.split(" entries")[0] for part in (sound, damaged)] == ["checked 0", "checked 1"]
    assert any("-base-" in fault.file for fault in damaged.faults)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:60],
        lambda data: gzip.compress(b"{}\n"),
        lambda data: gzip.compress(b"torn"),
        lambda data: gzip.compress(gzip.decompress(data).partition(b"\n")[2]),
    ],
    ids=["truncated", "no completion", "no JSON", "one line less"],
)
def test_damaged_completions_of_the_base_are_one_fault(
    damage: Callable[[bytes], bytes], folder: Path, git: Callable[..., str]
) -> None:
    """The row with them is named, and the copy of another row is still found."""
    shutil.rmtree(folder)
    written(folder, (model("a", OWN), OWN), (model("b", OTHER), OTHER))
    (damaged,) = (folder / "counting").glob("*-b-*.jsonl.gz")
    damaged.write_bytes(damage(damaged.read_bytes()))
    git("add", "-A")
    git("commit", "-q", "-m", "rows")
    copy = Entry.of(model("c", OWN), "2026-11-13T12:00:00Z", replace(timings(), generated_tokens=None))
    path = entries.write_entry(copy, OWN, folder / "counting")
    leaderboard.update_pages(folder)
    found = [fault.file for fault in checking.find_faults(folder, base="main")]
    assert found == [(folder / "counting" / damaged.name).with_suffix("").with_suffix(".json").as_posix(), str(path)]


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same faults and notes, and the same reasons why answers were not judged again."""
    rows = [(model(f"model-{number}", lines(number)), lines(number)) for number in range(4)]
    task = replace(rows[0][0].task, name="lm-eval:absent", label="lm-eval/absent@1.0")
    foreign, copied = (replace(rows[3][0], task=task), rows[3][1]), (model("copy", lines(1)), lines(1))
    folder = written(tmp_path, *rows[:3], foreign, copied)
    alone, spread = Regrader([], None), Regrader([], None)
    expected = checking.check_leaderboards(folder, alone)
    monkeypatch.setattr(parallel, "_count_cores", lambda: 2)
    monkeypatch.setattr(checking, "_ENTRIES_PER_PROCESS", 1)
    assert checking.check_leaderboards(folder, spread) == expected
    assert expected.faults
    assert spread.unchecked == alone.unchecked != {}
