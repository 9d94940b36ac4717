"""train: `bench train` makes a candidate or none, never half of one, and goes on where it was killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import tiny_study
import torch
from baseline_bench.core import child_process, machine
from baseline_bench.core.display import Console
from baseline_bench.evaluation.provenance import describe_program
from baseline_bench.models import weights
from baseline_bench.results import candidate
from baseline_bench.training import train, worker
from corpus import candidates
from tiny_study import SCRIPTED, STEPS, bench, history, only

pytestmark = pytest.mark.usefixtures("forked_children")

OWN = """\
import shutil
from dataclasses import dataclass
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Step, TrainingResult
from safetensors.torch import load_file, save_file

@dataclass(frozen=True, slots=True)
class Options:
    manner: str = "sound"

def train(job):
    manner = job.options.manner
    if manner == "refuses":
        raise BenchError("no GPU here", "take another machine")
    if manner == "breaks":
        raise LookupError("a bug of its own")
    if manner == "leaves":
        raise SystemExit(3)
    folder = job.folder / "weights"
    shutil.copytree(job.base.folder, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    if manner != "idle":
        tensors["model.norm.weight"].add_(float("nan") if manner == "diverges" else 1)
    if manner == "forgets":
        tensors.pop("model.norm.weight")
    save_file(tensors, file, {"format": "pt"})
    if manner != "silent":
        job.report(Step(1, 1, 1.5, 0.1, None, len(job.rows), 100, 10, 0.25))
    return TrainingResult("full", folder, {}, 10, 100)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Recipes, rows and a base, a trainer of one's own, and a finished full training."""
    folder = tiny_study.build(tmp_path_factory.mktemp("study") / "here")
    (folder / "own.py").write_text(OWN)
    text = tiny_study.RECIPE.replace("{trainer}", "own.py").partition("lr =")[0]
    (folder / "own.toml").write_text(text)
    assert bench(folder, "train", "full.toml") == 0
    return folder


@pytest.fixture
def here(prepared, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "here")


def said(capfd) -> str:
    """The one line on stderr of a command that failed."""
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("bench: ")]
    assert (out, len(lines)) == ("", 1), err
    return lines[0]


def test_a_training_leaves_a_candidate(prepared):
    """Weights, every step's loss, the recipe and the rows, and the record of it all."""
    run = only(prepared, "runs/*")
    made = candidate.read_candidate(run)
    assert run.name.startswith("full-base-")
    assert run.name.endswith("-s0")
    assert {path.name for path in run.iterdir()} == {
        *("candidate.json", "held_out.json", "loss.jsonl", "recipe.toml", "rows.json", "training.json", "weights")
    }
    assert (made.kind, made.cost.steps, made.cost.rows, made.data.rows) == ("full", STEPS, 24, 12)
    assert made.weights_sha256 == weights.digest_weights(run / "weights") != made.base.weights_sha256
    assert made.base.weights_sha256 == weights.digest_weights(prepared / "base")
    assert made.changed > 0.9
    assert made.git_commit == describe_program("", os.environ.get("BENCH_COMMIT"), "", None).git_commit
    assert [step["number"] for step in history(run)] == [1, 2, 3, 4, 5, 6]
    assert made.final_loss < history(run)[0]["loss"]


def test_what_is_no_weight_comes_from_the_base(prepared):
    """Tokenizer, template and generation configuration are the base's, byte for byte."""
    base, made = prepared / "base", only(prepared, "runs/*/weights")
    beside = {path.name for path in base.iterdir() if path.suffix != ".safetensors"}
    assert {path.name for path in made.iterdir() if path.suffix != ".safetensors"} == beside
    assert not [name for name in beside - {"config.json"} if (base / name).read_bytes() != (made / name).read_bytes()]


@pytest.mark.parametrize(("fast", "warnings"), [(False, 1), (True, 0)])
def test_bf16_is_warned_of_on_a_cpu_without_instructions_for_it(monkeypatch, capfd, fast, warnings):
    """On AVX2 a product of matrices takes a hundred times as long as in fp32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "cpu_computes_bf16", lambda: fast)
    worker.warn_of_slow_bf16(Console(sys.stdout, sys.stderr))
    assert capfd.readouterr().err.count("precision=fp32") == warnings


def test_a_finished_training_is_told_and_not_repeated(here, capfd):
    """The same command changes no file, and prints what the training made."""
    before = tiny_study.contents(here)
    assert bench(here, "train", "full.toml") == 0
    out = capfd.readouterr().out
    assert tiny_study.contents(here) == before
    assert "trained" in out
    assert "6 steps" in out
    assert "nats a supervised token" in out
    assert f"bench score {only(here, 'runs/*').relative_to(here)}" in " ".join(out.split())


def test_a_training_finished_by_an_older_version_is_not_repeated(here, capfd):
    """Its request holds no digest of the base's config.json."""
    file = only(here, "runs/*") / "training.json"
    request = json.loads(file.read_text())
    del request["settings"]["base config"]
    file.write_text(json.dumps(request))
    before = tiny_study.contents(here)
    assert bench(here, "train", "full.toml") == 0
    assert tiny_study.contents(here) == before
    capfd.readouterr()


def test_other_settings_train_in_a_folder_of_their_own(here, capfd):
    """A key, a seed or `--again` each make another candidate beside the first, which stays as it was."""
    before = tiny_study.contents(here)
    first = only(here, "runs/*")
    for words, name in (
        (("--set", "lr=1e-4"), f"{first.name}-2"),
        (("--seed", "1"), first.name.replace("-s0", "-s1")),
        (("--again",), f"{first.name}-3"),
    ):
        assert bench(here, "train", "full.toml", *words) == 0
        assert (here / "runs" / name / candidate.CANDIDATE_FILE).is_file()
    assert before.items() <= tiny_study.contents(here).items()
    made = {run.name: candidate.read_candidate(run) for run in (here / "runs").iterdir()}
    first_made = made.pop(first.name)
    assert made[f"{first.name}-3"].weights_sha256 == first_made.weights_sha256
    assert made[f"{first.name}-2"].recipe_sha256 != first_made.recipe_sha256
    assert len({one.weights_sha256 for one in made.values()}) == 3
    capfd.readouterr()


def test_a_base_of_another_configuration_is_another_training(here, capfd):
    """Equal tensors under another config.json are another model: no training resumes over it."""
    first = only(here, "runs/*")
    config = here / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 0.5}))
    assert bench(here, "train", "full.toml") == 0
    assert (here / "runs" / f"{first.name}-2" / candidate.CANDIDATE_FILE).is_file()
    capfd.readouterr()


def test_a_recipe_says_where_its_files_lie(prepared, tmp_path):
    """Base and data start from the recipe's folder, wherever the command is given."""
    assert bench(tmp_path, "train", prepared / "full.toml") == 0
    made, first = candidate.read_candidate(only(tmp_path, "runs/*")), candidate.read_candidate(only(prepared, "runs/*"))
    assert made.weights_sha256 == first.weights_sha256
    assert made.recipe_sha256 == first.recipe_sha256


def test_a_base_of_the_command_line_replaces_the_recipe_s(here, capfd):
    """The candidate is called after the base it was trained from."""
    other = tiny.build(here / "other", "plain", seed=3)
    assert bench(here, "train", "own.toml", "--base", "./other") == 0
    made = candidate.read_candidate(only(here, "runs/own-other-*"))
    assert made.base.weights_sha256 == weights.digest_weights(other)
    assert made.base.template_sha256 is None


def test_a_trainer_of_one_s_own_makes_a_candidate(here):
    """A module with Options and train, beside the recipe; it is proved and counted like ours."""
    assert bench(here, "train", "own.toml") == 0
    made = candidate.read_candidate(only(here, "runs/own-*"))
    assert (made.final_loss, made.cost.seconds, made.cost.steps, made.trainable) == (1.5, 0.25, 1, 10)
    assert 0 < made.changed < 0.01


@pytest.mark.parametrize(
    ("manner", "told"),
    [
        ("refuses", "no GPU here: take another machine"),
        ("breaks", "ended with status 1, its traceback is above"),
        ("leaves", "ended with status 3"),
        ("idle", "training changed no weight"),
        ("diverges", "holds NaN or infinity: lower the learning rate"),
        ("forgets", "does not hold the tensors of its base: model.norm.weight"),
        ("silent", "reported no step: let it call job.report"),
    ],
)
def test_what_went_wrong_is_no_candidate(here, capfd, manner, told):
    """One line, exit 1, and no record; the folder is free for the same command again."""
    assert bench(here, "train", "own.toml", "--set", f"manner={manner}") == 1
    assert told in said(capfd)
    assert not list(here.glob("runs/own-*/candidate.json"))
    assert len(list(here.glob("runs/own-*"))) == 1


def test_an_unfinished_training_is_neither_merged_nor_scored(here, capfd):
    """Without the record there is no candidate, whatever lies there."""
    run = only(here, "runs/*")
    (run / candidate.CANDIDATE_FILE).unlink()
    for words in (("merge", run), ("score", run, "--task", "word-problems", *SCRIPTED)):
        assert bench(here, *words) == 1
        assert "finish its training with the same command" in said(capfd)
    assert not (here / "leaderboards").exists()


def test_a_held_training_is_not_trained_twice_at_once(here, capfd):
    """Another process that holds the folder is told of."""
    run = only(here, "runs/*")
    code = "from pathlib import Path; from baseline_bench.core.locks import FolderLock; "
    code += f"held = FolderLock(Path({str(run)!r}), wait=False)"
    command = [tiny_study.sys.executable, "-c", f"{code}; print('held', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert bench(here, "train", "full.toml") == 1
        assert f"process {holder.pid} on this host" in said(capfd)
        holder.communicate(b"\n")


def test_examples_that_the_base_cannot_read_end_in_one_line(here, capfd):
    """Their ids lie beyond its embedding; in `check`, it is a finding. Unused ids there are trained over."""
    shutil.rmtree(here / "base")
    candidates.changed(candidates.shorten, vocab_size=400)(here / "base")
    assert bench(here, "train", "full.toml") == 1
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "[unusable] 12 of 12 texts hold tokens" in err.splitlines()[-1]
    assert not list(here.glob("runs/full-*-2"))
    assert bench(here, "check", "full.toml") == 1
    assert "12 of 12 texts hold tokens" in " ".join(capfd.readouterr().out.split())
    shutil.rmtree(here / "base")
    candidates.reserve_ids(here / "base")
    assert bench(here, "train", "full.toml") == 0


def test_a_killed_training_goes_on_where_it_stood(here, capfd):
    """Kill -9 at a moment after a kept state: no step before it is done again, and the weights are those unbroken."""
    words = ("train", "long.toml")
    (here / "long.toml").write_text((here / "full.toml").read_text().replace("epochs = 2.0", "epochs = 20.0"))
    unbroken = shutil.copytree(here, here.with_name("unbroken"))
    assert bench(unbroken, *words) == 0
    with tiny_study.start(here, *words) as process:
        while not list(here.glob("runs/long-*/state.pt")) and process.poll() is None:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.02)
        process.kill()
    assert process.returncode == -9
    run = only(here, "runs/long-*")
    before = history(run)
    assert not (run / candidate.CANDIDATE_FILE).exists()
    request = json.loads((run / "training.json").read_text())
    (run / "training.json").write_text(json.dumps({**request, "started": "2026-11-22T12:00:00Z"}))
    assert bench(here, *words) == 0
    after = history(run)
    assert [step["number"] for step in after] == list(range(1, 61))
    assert after[:2] == before[:2]
    whole = candidate.read_candidate(only(unbroken, "runs/long-*"))
    assert candidate.read_candidate(run).weights_sha256 == whole.weights_sha256
    assert candidate.read_candidate(run).begun == "2026-11-22T12:00:00Z"
    assert not (run / "state.pt").exists()


def test_what_was_asked_is_kept_as_a_recipe(prepared):
    """The file in the folder trains the same, and names the rows that were trained on."""
    run = only(prepared, "runs/*")
    rows = json.loads((run / "rows.json").read_bytes())
    assert [row[0] for row in rows[:2]] == ["rows-1", "rows-2"]
    assert all(0 < start < len(ids) for _, start, ids in rows)
    assert 'trainer = "full"' in (run / "recipe.toml").read_text()


@pytest.mark.parametrize(("gpus", "begun"), [(1, 1), (2, 0), (400, 0), (-1, 0)])
def test_only_one_process_begins_before_its_number_is_checked(monkeypatch, gpus, begun):
    """A mistyped number starts no four hundred imports of torch."""
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(child_process, "begin_call", lambda *given: started.append(given))
    train.begin_training(train.TrainingOptions(recipe="lora-main", gpus=gpus))
    assert [trainer for _, trainer in started] == ["lora"] * begun
