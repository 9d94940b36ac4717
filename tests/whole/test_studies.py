"""`bench train-and-score`: base and candidates by one protocol on one board, and whether it helped."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tiny_study
from baseline_bench.results import candidate, entries
from own_task import TASK
from samples import printed_entries
from tiny_study import LIMIT, REAL, SCRIPTED, bench, names, only, rows

pytestmark = pytest.mark.usefixtures("forked_children")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> Path:
    """A LoRA of a ChatML model with two checkpoints on the way, scored beside its base by a real engine."""
    folder = tiny_study.build(tmp_path_factory.mktemp("adapters") / "here", "chatml")
    assert bench(folder, "train-and-score", "lora.toml", "--checkpoints", 2, *REAL) == 0
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Full fine-tuning of a Gemma, scored beside its base by a real engine."""
    folder = tiny_study.build(tmp_path_factory.mktemp("whole") / "here", "gemma")
    assert bench(folder, "train-and-score", "full.toml", *REAL) == 0
    return folder


@pytest.fixture(params=["adapters", "whole"])
def study(request) -> Path:
    """Each of them."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory) -> Path:
    """A full training that a scripted engine answered for."""
    folder = tiny_study.build(tmp_path_factory.mktemp("rehearsed") / "here")
    assert bench(folder, "train-and-score", "full.toml", *SCRIPTED) == 0
    return folder


@pytest.fixture
def here(rehearsed, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(rehearsed, tmp_path / "here")


def failed(capfd) -> str:
    """What a command that failed says in its one line."""
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("bench: ")]
    return line


def test_base_and_candidate_are_scored_by_one_protocol(study):
    """Rows of the same items, prompts, stop tokens and engine; only the weights are others."""
    scored = rows(study)
    assert len({row.result.model.weights_sha256 for row in scored}) == len(scored) >= 2
    for part in ("task", "selection", "prompts_sha256", "sampling"):
        assert len({str(getattr(row.result, part)) for row in scored}) == 1
    assert len({row.result.model.stop_ids for row in scored}) == 1
    assert len({row.result.model.template_sha256 for row in scored}) == 1
    base, *made = scored
    assert base.result.training is None
    assert all(row.result.training.candidate.base.weights_sha256 == base.result.model.weights_sha256 for row in made)


def test_the_board_passes_its_check(study, capfd):
    """Entries, completions and loss histories fit one another, and the answers give their verdicts again."""
    assert bench(study, "board", "--check") == 0
    assert capfd.readouterr().out == ""
    trained = [path for path in study.glob("leaderboards/*/*.json") if entries.read_entry(path).result.training]
    assert trained
    assert all(entries.losses_path(path).is_file() for path in trained)


def test_the_same_command_regenerates_nothing_and_tells_the_verdict(adapters, whole, capfd):
    """No file changes, no row is added; each candidate is held against its base."""
    for folder, words, count in (
        (adapters, ("lora.toml", "--checkpoints", 2), 3),
        (whole, ("full.toml",), 1),
    ):
        before = tiny_study.contents(folder)
        assert bench(folder, "train-and-score", *words, *REAL) == 0
        out = capfd.readouterr().out
        assert tiny_study.contents(folder) == before
        assert out.count("\noutcome") == out.count("exact McNemar = ") == count
        assert len(re.findall(r"\noutcome +\? inconclusive", out)) == count


def test_checkpoints_are_candidates_of_their_own(adapters):
    """Each with its step, its name, its weights, its merge; the last has the plain name."""
    made = [row for row in rows(adapters) if row.result.training]
    steps = {row.result.training.step: row for row in made}
    assert set(steps) == {2, 4, None}
    assert names(adapters) == ["base", "base+lora-s0", "base+lora-s0-step2", "base+lora-s0-step4"]
    assert len({row.result.training.merge.merged_sha256 for row in made}) == 3
    assert all(row.result.training.merge.merged_sha256 == row.result.model.weights_sha256 for row in made)
    assert len({row.result.training.candidate.losses_sha256 for row in made}) == 1
    sheet = only(adapters, "leaderboards/*.csv").read_text()
    assert all(row.result.candidate in sheet for row in made)


def test_training_is_a_phase_of_the_candidate_alone(study):
    """The base was not trained, and its preparation has no part of the training's time."""
    for entry in rows(study):
        assert ("train" in entry.timings.phases) == (entry.result.training is not None)


def test_runs_of_a_study_lie_in_the_training_s_folder(adapters):
    """What was trained, merged and answered stands together."""
    run = only(adapters, "runs/*")
    made = {path.name for path in run.iterdir() if path.is_dir()}
    assert {"weights", "merged", "merged-000002", "checkpoint-000002", "checkpoint-000004"} <= made
    assert len(list(run.glob("word-problems-*/completions.jsonl"))) == 4


def test_every_recipe_is_scored_beside_one_base(here):
    """Two recipes of one base: the base is asked once, and both candidates are on its board."""
    (here / "gentle.toml").write_text((here / "full.toml").read_text().replace("1e-2", "1e-3"))
    words = ("train-and-score", "full.toml", "gentle.toml", "--runs", "fresh", "--leaderboards", "new", *SCRIPTED)
    assert bench(here, *words) == 0
    made = [entries.read_entry(path).result.candidate.partition("+")[2] for path in here.glob("new/*/*.json")]
    assert sorted(made) == ["", "full-s0", "gentle-s0"]
    assert len(list(here.glob("fresh/*/word-problems-base-*/entry.json"))) == 3


def test_another_seed_is_another_candidate_beside_a_reused_base(here, capfd):
    """`--seed` changes weights and name; `--reuse-base` takes the base's row that is there and adds none."""
    assert bench(here, "train-and-score", "full.toml", "--seed", 1, "--reuse-base", *SCRIPTED) == 0
    assert names(here) == ["base", "base+full-s0", "base+full-s1"]
    assert "full-s1 against base@" in capfd.readouterr().out
    first, second = (row for row in rows(here) if row.result.training)
    assert (first.result.training.candidate.seed, second.result.training.candidate.seed) == (0, 1)
    assert first.result.model.weights_sha256 != second.result.model.weights_sha256


def test_without_a_row_of_the_base_there_is_nothing_to_compare_with(here, capfd):
    """The candidate's row stands, and the way to a verdict is told."""
    words = ("train-and-score", "full.toml", "--reuse-base", "--leaderboards", "empty", *SCRIPTED)
    assert bench(here, *words) == 0
    out, err = capfd.readouterr()
    assert "\nverdict" not in out
    assert "to compare with: leave --reuse-base out" in err
    assert len(list(here.glob("empty/*/*.json"))) == 1


def test_another_training_of_the_same_name_is_refused_before_it_begins(here, capfd):
    """`--set` makes another candidate of the same name: it is told at once, and `--name` is the way out."""
    before = tiny_study.contents(here)
    words = ("train-and-score", "full.toml", "--set", "lr=1e-3", *SCRIPTED)
    assert bench(here, *words) == 1
    assert "from another training: give --name NAME" in failed(capfd)
    assert tiny_study.contents(here) == before
    assert bench(here, *words, "--name", "gentle") == 0
    made = {row.result.candidate: row.result for row in rows(here)}
    (first,) = (result for name, result in made.items() if name.endswith("+full-s0"))
    assert made["gentle"].training.candidate.recipe == first.training.candidate.recipe
    assert made["gentle"].training.candidate.recipe_sha256 != first.training.candidate.recipe_sha256
    assert made["gentle"].training.candidate.values["lr"] == 1e-3


def test_a_name_of_one_s_own_is_given_to_each_set_of_weights_apart(here, capfd):
    """Checkpoints get their step behind it; the base keeps its own name."""
    words = ("train-and-score", "full.toml", "--checkpoints", 1, "--name", "mine", "--leaderboards", "new", *SCRIPTED)
    assert bench(here, *words) == 0
    made = sorted(entries.read_entry(path).result.candidate for path in here.glob("new/*/*.json"))
    assert made[1:] == ["mine", "mine-step3"]
    assert made[0].startswith("base@")
    assert bench(here, "board", "--check", "--leaderboards", "new") == 0
    capfd.readouterr()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("full.toml", "lora.toml", "--name", "mine"), "two candidates would be called 'mine'"),
        (("full.toml", "./more/full.toml"), "two candidates would be called 'base@"),
        (("full.toml", "--seed", "7", "--limit", "0"), "--limit 0 is out of range"),
        (("full.toml", "--seed", "7", "--engine", "script"), "did you mean 'scripted'?"),
        (("full.toml", "--seed", "7", "-o", "pase=1"), "did you mean 'pace'?"),
        (("full.toml", "--seed", "7", "--task", "word-prolems"), "did you mean 'word-problems'?"),
        (("derived.toml",), "was made from items of word-problems (derived_from)"),
        (("leaky.toml",), "hold test questions word for word: test-0 in leaky-1"),
    ],
)
def test_what_would_fail_in_the_end_is_told_before_training(here, capfd, words, told):
    """Hours of training are not spent on a name, an option, or data that make them worthless."""
    recipe = (here / "full.toml").read_text()
    (here / "more").mkdir()
    (here / "more" / "full.toml").write_text(recipe.replace('"./base"', '"../base"').replace("rows.", "../rows."))
    (here / "derived.toml").write_text(recipe + 'derived_from = ["word-problems"]\n')
    (here / "leaky.toml").write_text(recipe.replace("rows.jsonl", "leaky.jsonl"))
    shutil.copy(leaky(here), here / "leaky.jsonl")
    before = tiny_study.contents(here)
    assert bench(here, "train-and-score", *SCRIPTED, *words) == 1
    assert told in failed(capfd)
    assert tiny_study.contents(here) == before


def leaky(folder: Path) -> Path:
    """Rows of which the first asks a test question."""
    problem = tiny_study.first_test_problem()
    path = folder / "made.jsonl"
    path.write_text(tiny_study.json.dumps({"question": problem.question, "answer": problem.solution}))
    return path


def test_recipes_of_several_tasks_need_the_name_of_one(here, capfd):
    """Which of their tasks would be asked is not for chance to say."""
    (here / "mine.py").write_text(TASK)
    text = (here / "lora.toml").read_text().replace('task = "word-problems"', 'task = "mine.py"')
    (here / "lora.toml").write_text(text)
    before = tiny_study.contents(here)
    assert bench(here, "train-and-score", "full.toml", "lora.toml", *SCRIPTED) == 1
    assert "--task" in failed(capfd)
    assert tiny_study.contents(here) == before


def killed(process: "subprocess.Popen[bytes]", there) -> None:
    """Kill -9 as soon as something is there."""
    while not there() and process.poll() is None:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)
    process.kill()
    process.wait()
    assert process.returncode == -9


def test_a_study_killed_while_scoring_goes_on(here):
    """Kill -9 among the candidate's answers: nothing is trained or asked again, and each row is there once."""
    words = ("train-and-score", "full.toml", "--leaderboards", "new", "--limit", 40, "--engine", "scripted")
    run = only(here, "runs/*")
    record = (run / candidate.CANDIDATE_FILE).read_bytes()
    with tiny_study.start(here, *words, "-o", "pace=0.02") as process:
        killed(process, lambda: [f for f in run.glob("*-full-s0-scripted-40-*/completions.jsonl") if f.stat().st_size])
    answered = {path: path.read_bytes() for path in run.glob("*-scripted-40-*/completions.jsonl")}
    assert len(answered) == 2
    assert len(list(here.glob("new/*/*.json"))) == 1
    assert bench(here, *words) == 0
    assert all(path.read_bytes().startswith(lines.rpartition(b"\n")[0]) for path, lines in answered.items())
    assert [len(path.read_bytes().splitlines()) for path in answered] == [40, 40]
    assert (run / candidate.CANDIDATE_FILE).read_bytes() == record
    assert len(list(here.glob("new/*/*.json"))) == 2
    assert bench(here, "board", "--check", "--leaderboards", "new") == 0


def test_a_study_killed_while_training_goes_on(here):
    """Kill -9 after a kept state: the same command finishes the training and scores it; one row each."""
    (here / "long.toml").write_text((here / "full.toml").read_text().replace("epochs = 2.0", "epochs = 20.0"))
    words = ("train-and-score", "long.toml", "--leaderboards", "new", *SCRIPTED)
    with tiny_study.start(here, *words) as process:
        killed(process, lambda: list(here.glob("runs/long-*/state.pt")))
    assert not (here / "new").exists()
    assert bench(here, *words) == 0
    steps = [step["number"] for step in tiny_study.history(only(here, "runs/long-*"))]
    assert steps == list(range(1, 61))
    assert len(list(here.glob("new/*/*.json"))) == 2
    assert bench(here, "board", "--check", "--leaderboards", "new") == 0


def test_the_entry_alone_is_printed_as_json(here, capfd):
    """Base first, then the candidate; no verdict between."""
    assert bench(here, "train-and-score", "full.toml", "--json", *SCRIPTED) == 0
    printed = printed_entries(capfd.readouterr().out)
    files = [path.read_text() for path in here.glob("leaderboards/*/*.json")]
    assert len(files) == 2
    assert sorted(printed) == sorted(files)
    assert '"training": null' in printed[0]
    assert rows(here)[0].result.counts.total == LIMIT


def test_a_withdrawn_row_of_the_base_is_not_compared_with(here, capfd):
    """`--reuse-base` passes over a base's row that was retracted."""
    (name,) = (
        path.name for path in here.glob("leaderboards/*/*.json") if entries.read_entry(path).result.training is None
    )
    assert bench(here, "retract", name, "--why", "scored with another template") == 0
    assert bench(here, "train-and-score", "full.toml", "--seed", 2, "--reuse-base", *SCRIPTED) == 0
    assert "to compare with: leave --reuse-base out" in capfd.readouterr().err
