"""commands.pr_report, in real repositories: what a branch adds is judged against what stood where it left."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from baseline_bench.commands.pr_report import Options
from baseline_bench.commands.pr_report import run as pr_report
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_canonical
from baseline_bench.core.types import Step
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.comment import COMMENT_MARKER, MAX_COMMENT_BYTES
from baseline_bench.results import entries, retractions
from baseline_bench.results.bits import Bits
from baseline_bench.results.candidate import BaseRecord, Candidate, DataRecord, TrainingCost, TrainingRecord
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.retractions import Retraction
from corpus.bases import digests
from corpus.boards import IDENTITY, OTHER
from paths import ROOT
from samples import answers, move, regrade, result, sha, timings

WORKFLOWS = ROOT / ".github" / "workflows"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
ITEMS = 40
LOSSES = b"".join(encode_canonical(Step(n, 2, 2.5 / n, 1e-4, None, 4, 400, 200, 1.5 * n)) + b"\n" for n in (1, 2))
Tell = Callable[..., str]


def trained(base: str, seed: int = 0) -> TrainingRecord:
    """What an entry says of a training from weights of that name."""
    origin = BaseRecord(base, "hub:org/model", None, "template", sha(base), sha("tokenizer"), None)
    data = DataRecord("sums", sha("data"), 8, 800, 400, ())
    made = Candidate(
        schema=1,
        created="2026-11-22T12:00:00Z",
        recipe="lora-main",
        recipe_sha256=sha("recipe"),
        values={"lr": 1e-4},
        seed=seed,
        base=origin,
        data=data,
        kind="full",
        weights="weights",
        weights_sha256=sha("weights"),
        checkpoints={},
        trainable=8,
        parameters=80,
        changed=None,
        quantised=None,
        final_loss=1.25,
        held_out_loss=None,
        losses_sha256=hashlib.sha256(LOSSES).hexdigest(),
        cost=TrainingCost(2, 8, 800, 400, 3.0, 2.67, 1000, "CPU", 1),
        libraries={},
    )
    return TrainingRecord(made, None, None)


def scored(name: str, right: int, **given: Any) -> tuple[Result, tuple[CommittedCompletion, ...]]:
    """A run of forty items of which the first `right` are right, by weights that are its training's if it has one."""
    lines = answers(ITEMS, right, 0, 0)
    of = replace(result(name, lines), **given)
    if of.training is not None and of.training.candidate is not None:
        made = replace(of.training.candidate, weights_sha256=of.model.weights_sha256)
        source = f"trained:lora-main@{made.recipe_sha256[:12]}"
        of = replace(of, model=replace(of.model, source=source), training=replace(of.training, candidate=made))
    return of, lines


def add(folder: Path, name: str, right: int, created: str = "2026-11-22T12:00:00Z", **given: Any) -> Path:
    """Write such a run."""
    of, lines = scored(name, right, **given)
    made = Entry.of(of, created, replace(timings(), generated_tokens=2 * ITEMS))
    return entries.write_entry(made, lines, folder / "counting", LOSSES if of.training is not None else None)


@pytest.fixture
def folder(tmp_path: Path, git: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leaderboards with a base of 10 and two incumbents of 12 and 20 right of 40, committed on main; on a branch."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "leaderboards"
    add(folder, "base", 10)
    add(folder, "lesser", 12)
    add(folder, "best", 20)
    leaderboard.update_pages(folder)
    git("add", ".")
    git("commit", "-m", "base")
    git("checkout", "-q", "-b", "work")
    return folder


@pytest.fixture
def tell(folder: Path) -> Tell:
    """The comment for the branch, the pages rendered before."""

    def run(**given: Any) -> str:
        if given.pop("render", True):
            leaderboard.update_pages(folder)
        out = io.StringIO()
        values = {"base": "main", "out": None, "link": None, "tasks": [], "mirror": None, **given}
        assert pr_report(Options(leaderboards=Path("leaderboards"), **values), Console(out, io.StringIO())) == 0
        return out.getvalue()

    return run


def test_a_branch_without_new_rows_is_one_line(tell: Tell, git: Callable[..., str]) -> None:
    """What main has is not the branch's, and an empty pull request says so."""
    comment = tell(base="HEAD")
    assert f"**bench**: no new rows against `HEAD` (merge-base `{git('rev-parse', 'HEAD')[:12]}`)." in comment
    assert "### Board" not in comment


def test_a_candidate_meets_its_base_and_the_best_row_of_the_merge_base(folder: Path, tell: Tell) -> None:
    """Two comparisons, Holm over both, and the examples show what either row wrote."""
    add(folder, "new", 30, training=trained("base"))
    comment = tell()
    assert "## bench: " in comment
    assert "2 better" in comment.splitlines()[1]
    assert "- ▲ **better than its base**: `new` 75.00 % against `base` 25.00 %" in comment
    assert "20 problems won and 0 lost of 40, p = 3.81e-06 after Holm (1.91e-06 alone)" in comment
    assert "- ▲ **better than the incumbent**: `new` 75.00 % against `best` 50.00 %" in comment
    assert "p = 0.00195 after Holm (0.00195 alone)" in comment
    assert "Holm over the 2 comparisons" in comment
    assert (
        "**gained 1**: `test-10`, gold `10`; before, then after\n\n```text\n#### -1\n```\n\n```text\n#### 10\n```"
        in comment
    )
    assert "**gained 5**" in comment
    assert "**gained 6**" not in comment
    assert "Loss 2.5000 at step 1, 1.2500 at step 2 of 2; final loss (mean of the last tenth) 1.2500" in comment
    assert "bench score smollm2-135m-it" in comment


def test_a_worse_candidate_is_said_to_be_worse(folder: Path, tell: Tell) -> None:
    """First in the title, and with the items that it lost."""
    add(folder, "new", 2, training=trained("base"))
    comment = tell()
    assert "2 worse" in comment.splitlines()[1]
    assert "0 problems won and 8 lost of 40" in comment
    assert "**lost 1**: `test-2`" in comment


def test_the_base_may_come_with_the_pull_request_and_is_no_candidate(folder: Path, tell: Tell) -> None:
    """The newest of its rows counts, and the base itself is compared with nothing."""
    add(folder, "fresh", 9)
    add(folder, "fresh", 11, created="2026-11-23T12:00:00Z")
    add(folder, "new", 30, training=trained("fresh"))
    comment = tell()
    assert "against `fresh` 27.50 %" in comment
    assert "- `fresh`, `fresh`: no candidate" in comment
    assert "Holm over the 2 comparisons" in comment


def test_a_base_scored_again_is_not_what_a_candidate_is_held_to(folder: Path, tell: Tell) -> None:
    """A comparable row of the merge-base goes first, so that no branch picks the base's weakest repetition."""
    add(folder, "base", 6, created="2026-11-23T12:00:00Z")
    add(folder, "new", 30, training=trained("base"))
    comment = tell()
    assert "**better than its base**: `new` 75.00 % against `base` 25.00 %" in comment
    assert "- `base`: no candidate" in comment


def test_of_two_bases_of_equal_tensors_each_candidate_meets_its_own(folder: Path, tell: Tell) -> None:
    """The newer one has another config.json; on a board with the older one alone it would be a candidate itself."""
    of = result("fresh", answers(ITEMS, 10, 0, 0))
    for name, identity, rights, day in (("first", IDENTITY, 8, 23), ("second", OTHER, 6, 24)):
        model = replace(of.model, identity=identity, template_sha256=identity.template_sha256)
        add(folder, name, rights, created=f"2026-11-{day}T12:00:00Z", model=model)
    for name, identity in (("of-first", IDENTITY), ("of-second", OTHER)):
        training = trained("fresh")
        assert training.candidate is not None
        base = replace(training.candidate.base, identity=digests(identity))
        add(folder, name, 30, training=replace(training, candidate=replace(training.candidate, base=base)))
        if name == "of-first":
            assert "- `second`: no candidate" not in tell()
    comment = tell()
    assert "`of-first` 75.00 % against `first` 20.00 %" in comment
    assert "`of-second` 75.00 % against `second` 15.00 %" in comment
    assert "- `first`, `second`: no candidate" in comment


def test_an_adapter_served_beside_the_base_is_not_the_base(folder: Path, tell: Tell, git: Callable[..., str]) -> None:
    """Its weights' digest is the base's, and yet its row is a candidate's."""
    of = result("base")
    engine = replace(of.engine, settings={**of.engine.settings, "adapter": sha("adapter")})
    add(folder, "served", 25, created="2026-11-22T13:00:00Z", engine=engine, model=of.model)
    leaderboard.update_pages(folder)
    git("add", ".")
    git("commit", "-m", "an adapter, unmerged")
    git("branch", "-f", "main")
    add(folder, "new", 30, training=trained("base"))
    assert "**better than its base**: `new` 75.00 % against `base` 25.00 %" in tell()


def test_own_base_and_own_weights_are_no_incumbents(folder: Path, tell: Tell, git: Callable[..., str]) -> None:
    """A candidate of the best row meets the next best one; scored again, it does not meet itself."""
    add(folder, "new", 30, training=trained("best"))
    comment = tell()
    assert "**better than its base**: `new` 75.00 % against `best`" in comment
    assert "**better than the incumbent**: `new` 75.00 % against `lesser`" in comment
    git("add", ".")
    git("commit", "-m", "new")
    add(folder, "new", 31, created="2026-11-23T12:00:00Z", training=trained("best"))
    comment = tell(base="HEAD")
    assert "`new` 77.50 % against `lesser`" in comment


def test_what_is_not_comparable_is_no_incumbent_and_a_base_of_another_engine_is_a_system_comparison(
    folder: Path, tell: Tell
) -> None:
    """The reader is told what differs, not given a number without it."""
    other = scored("new", 30)[0]
    add(folder, "new", 30, training=trained("base"), engine=replace(other.engine, version="vllm 0.26.0"))
    comment = tell()
    assert "**better than its base, a system comparison (more than the weights differs)**" in comment
    assert "- `new`: no incumbent: of the other full rows of its task at the merge-base none is comparable" in comment


def test_a_base_without_a_row_is_told(folder: Path, tell: Tell) -> None:
    """A candidate that nobody can compare with its base says so, and how to mend it."""
    add(folder, "new", 30, training=trained("elsewhere"))
    assert "no row of its base on the board: score it with `bench score RUN --with-base`" in tell()


def retract(folder: Path, path: Path) -> None:
    """Withdraw an entry."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    said = Retraction(1, "2026-11-24T12:00:00Z", path.name, digest, "trained on the test", None)
    retractions.write_record(said, folder / "counting")


def test_a_row_retracted_before_is_no_incumbent_and_one_retracted_now_still_is(
    folder: Path, tell: Tell, git: Callable[..., str]
) -> None:
    """A pull request cannot take the row away that it is to beat; what it withdraws is listed."""
    best = next((folder / "counting").glob("*-best-*.json"))
    add(folder, "new", 30, training=trained("base"))
    retract(folder, best)
    comment = tell()
    assert "against `best` 50.00 %" in comment
    assert f"|`{best.name}`|`counting`|" in comment
    assert "|`trained on the test`|" in comment
    git("checkout", "-q", "main")
    git("add", "leaderboards/counting/retractions")
    git("commit", "-m", "retracted")
    git("checkout", "-q", "work")
    git("merge", "-q", "main")
    assert "against `lesser` 30.00 %" in tell()


def test_the_incumbent_is_read_from_the_merge_base(folder: Path, tell: Tell) -> None:
    """An entry of main that the branch has edited or removed still counts as main has it, and the fault comes first."""
    best = next((folder / "counting").glob("*-best-*.json"))
    add(folder, "new", 30, training=trained("base"))
    leaderboard.update_pages(folder)
    for path in (best, entries.completions_path(best)):
        path.unlink()
    comment = tell(render=False)
    assert "removed or renamed since" in comment
    assert comment.index("removed or renamed since") < comment.index("**better than the incumbent**: `new` 75.00 %")
    assert "**gained 1**: `test-20`" in comment


def test_a_forged_entry_is_a_fault_and_gets_no_outcome(folder: Path, tell: Tell) -> None:
    """Counts that do not follow from bits, or a name that does not follow from the content, are judged by nobody."""
    path = add(folder, "new", 30, training=trained("base"))
    move(path, path.with_name("2026-11-22-new-000000000000.json"))
    comment = tell(render=False)
    assert "its name does not follow from its content" in comment
    assert "and 1 new entry not judged, for faults." in comment
    assert "better" not in comment


def test_a_training_that_is_not_the_row_s_gets_no_outcome(folder: Path, tell: Tell) -> None:
    """An entry that names another training's weights or totals is a fault here as in `bench board --check`."""
    of, lines = scored("new", 30, training=trained("base"))
    other = replace(of, model=replace(of.model, source="hub:org/model"))
    made = Entry.of(other, "2026-11-22T12:00:00Z", replace(timings(), generated_tokens=2 * ITEMS))
    entries.write_entry(made, lines, folder / "counting", LOSSES)
    comment = tell()
    assert "the model's source does not name the candidate's recipe" in comment
    assert "and 1 new entry not judged, for faults." in comment
    assert "better" not in comment


def test_an_entry_without_its_completions_gets_no_outcome(folder: Path, tell: Tell) -> None:
    """Numbers that nobody can follow to the answers are not compared."""
    path = add(folder, "new", 30, training=trained("base"))
    leaderboard.update_pages(folder)
    entries.completions_path(path).unlink()
    comment = tell(render=False)
    assert "lacks its completions" in comment
    assert "and 1 new entry not judged, for faults." in comment
    assert "better" not in comment


def test_a_row_that_the_same_pull_request_retracts_is_not_judged(folder: Path, tell: Tell) -> None:
    """It stands in the table, its retraction in the list."""
    retract(folder, add(folder, "new", 30, training=trained("base")))
    assert "- `new`: retracted in this pull request, not judged" in tell()


def test_a_link_among_the_retractions_is_a_fault(folder: Path, tell: Tell) -> None:
    """One to nowhere keeps no reviewer from his comment, and nothing is withdrawn by it."""
    place = folder / "counting" / "retractions"
    place.mkdir()
    (place / "link.json").symlink_to("/nowhere")
    comment = tell(render=False)
    assert "**The board has faults:" in comment
    assert "link.json" in comment
    assert "### Retractions" not in comment


def test_a_partial_run_meets_no_incumbent(folder: Path, tell: Tell) -> None:
    """Nor does it become one."""
    of, _ = scored("new", 30)
    selection = replace(of.selection, total=1319, limit=ITEMS, seed=0)
    add(folder, "new", 30, training=trained("base"), selection=selection)
    comment = tell()
    assert "a partial run, so that it has no incumbent" in comment
    assert "|40 (partial)|" in comment


def test_the_comment_goes_to_a_file_and_a_link_must_be_one(folder: Path, tell: Tell, tmp_path: Path) -> None:
    """`--out` takes the whole comment; an address that could break a link is refused."""
    add(folder, "new", 30)
    assert tell(out=tmp_path / "body.md", link="https://example.org/o/n/blob/abc") == ""
    comment = (tmp_path / "body.md").read_text(encoding="utf-8")
    assert comment.startswith(COMMENT_MARKER)
    assert "](https://example.org/o/n/blob/abc/leaderboards/counting/2026-11-22-new-" in comment
    with pytest.raises(BenchError, match="is no address"):
        tell(link="https://example.org/a b)")


def test_an_unknown_base_is_one_clear_error(tell: Tell) -> None:
    """As in the check."""
    with pytest.raises(BenchError, match="git knows no commit"):
        tell(base="nowhere")


def test_real_rows_of_this_repository_are_told_as_its_board_tells_them(
    folder: Path, tell: Tell, git: Callable[..., str]
) -> None:
    """A full fine-tune of SmolLM2 with the study's settings against its base: 20 won, 20 lost, nothing resolved."""
    board = folder / "gsm8k"
    board.mkdir()
    for name in ("smollm2-135m-it-q4_1-e914a0405fa4", "smollm2-135m-it-q4_1-seeds-full-main-s0-300e6f827f1f"):
        for path in (ROOT / "leaderboards" / "gsm8k").glob(f"*-{name}.*"):
            shutil.copy(path, board)
        leaderboard.update_pages(folder)
        git("add", ".")
        git("commit", "-m", name)
    comment = tell(base="HEAD~1")
    assert "- ? **inconclusive against its base**: `smollm2-135m-it-q4_1+seeds-full-main-s0` 1.82 %" in comment
    assert "+0.00 points [-1.00, +1.00], 20 problems won and 20 lost of 1,319, p = 1 after Holm (1 alone)" in comment
    assert "no incumbent: of the other full rows of its task at the merge-base there is none" in comment
    assert "final loss (mean of the last tenth) 1.1271 nats a token; 7,473 rows in 370 s" in comment
    assert (comment.count("**gained "), comment.count("**lost ")) == (5, 5)
    assert len(comment.encode()) < MAX_COMMENT_BYTES


def test_the_bits_of_the_samples_are_those_of_their_answers() -> None:
    """What the tests above take for granted."""
    of, lines = scored("x", 30)
    assert Bits.of(regrade(None, lines)) == of.bits  # type: ignore[arg-type]


def read_flow(name: str) -> dict[str, Any]:
    """A workflow of this repository; YAML 1.1 reads its key `on` as true."""
    flow = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in flow.items()}


@pytest.mark.parametrize("name", ["bench", "bench-comment"])
def test_a_workflow_may_do_what_it_must_and_no_more(name: str) -> None:
    """Permissions and a limit of time are stated; a step uses an action of GitHub's own by its commit, or ours."""
    flow = read_flow(name)
    (job,) = flow["jobs"].values()
    checkout, ours = job["steps"]
    assert re.fullmatch("actions/checkout@[0-9a-f]{40}", checkout["uses"])
    assert checkout["with"]["persist-credentials"] is False
    assert ours == {"uses": "./"}
    assert "timeout-minutes" in job
    if name == "bench":
        assert flow["on"] == "pull_request"
        assert flow["permissions"] == {"contents": "read"}
        assert checkout["with"]["fetch-depth"] == 0
    else:
        assert flow["on"] == {"workflow_run": {"workflows": ["bench"], "types": ["completed"]}}
        assert flow["permissions"] == {"actions": "read", "contents": "read", "pull-requests": "write"}
        assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
        assert job["if"] == "github.event.workflow_run.event == 'pull_request'"


def test_the_action_runs_nothing_of_a_stranger_s_where_it_may_write() -> None:
    """Each step is for one event alone; on workflow_run nothing is run but the script that posts."""
    steps = ACTION["runs"]["steps"]
    assert ACTION["runs"]["using"] == "composite"
    refusal, *rest = steps
    assert refusal["if"] == "github.event_name != 'pull_request' && github.event_name != 'workflow_run'"
    assert refusal["run"].rstrip().endswith("exit 1")
    by_event = {
        event: [step for step in rest if step["if"] == f"github.event_name == '{event}'"]
        for event in ("pull_request", "workflow_run")
    }
    assert sum(map(len, by_event.values())) == len(rest)
    used = [step["uses"] for step in rest if "uses" in step]
    assert all(re.fullmatch("actions/[a-z-]+@[0-9a-f]{40}", use) for use in used)
    posting = by_event["workflow_run"]
    assert [step["uses"].partition("@")[0] for step in posting] == [
        "actions/download-artifact",
        "actions/github-script",
    ]
    assert all(step["shell"] == "bash" for step in steps if "run" in step)


def test_no_script_of_the_action_holds_an_expression() -> None:
    """A branch's name or a title that GitHub writes into a script would run there; values come by environment."""
    scripts = [step.get("run", "") + step.get("with", {}).get("script", "") for step in ACTION["runs"]["steps"]]
    assert any(scripts)
    assert not [script for script in scripts if "${{" in script]
    for path in (ROOT / "action.yml", *WORKFLOWS.glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        assert "secrets." not in text
        assert "pull_request_target" not in text


@pytest.mark.parametrize("sound", [True, False])
def test_the_action_s_scripts_render_a_comment_and_check_the_boards(folder: Path, tmp_path: Path, sound: bool) -> None:
    """As GitHub's shell runs them: a fault fails the check alone; a number that is a command is written, not run."""
    if not sound:
        (folder / "counting.md").write_text("edited")
    program = tmp_path / "bin" / "bench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m baseline_bench.cli "$@"\n')
    program.chmod(0o755)
    comment = tmp_path / "comment"
    values = {"BASE": "main", "LINK": "https://e.org/o/n/blob/abc", "NUMBER": "7; exit 1", "FOLDER": str(comment)}
    given = os.environ | values | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    steps = {step.get("name"): step for step in ACTION["runs"]["steps"]}
    status = {}
    for name in ("Render the comment", "Check the boards"):
        assert steps[name]["env"].keys() <= values.keys()
        words = ["bash", "-eo", "pipefail", "-c", steps[name]["run"]]
        status[name] = subprocess.run(words, cwd=tmp_path, env=given, capture_output=True, check=False).returncode
    assert status == {"Render the comment": 0, "Check the boards": 0 if sound else 1}
    assert (comment / "body.md").read_text(encoding="utf-8").startswith(COMMENT_MARKER)
    assert (comment / "number").read_text() == "7; exit 1\n"


def test_the_comment_s_script_trusts_neither_number_nor_text() -> None:
    """Digits, the head's commit asked of the API, the marker and the limit stand in it."""
    script = ACTION["runs"]["steps"][-1]["with"]["script"]
    assert "/^[1-9][0-9]{0,9}$/" in script
    assert "pull.head.sha !== context.payload.workflow_run.head_sha" in script
    assert f"const MARK = '{COMMENT_MARKER}'" in script
    assert "const MOST = 65536" in script
