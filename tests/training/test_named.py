"""`bench score` and `bench merge` take a candidate from anywhere, and tell by its files what it is."""

import io
import json
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import tiny
import tiny_lora
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.models import weights
from baseline_bench.training import resolve_candidate
from tiny_study import REAL, SCRIPTED, bench, rows

pytestmark = pytest.mark.usefixtures("forked_children")

TASK = ("--task", "word-problems", *SCRIPTED)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A base, an adapter of it that names it, and other whole weights."""
    folder = tmp_path_factory.mktemp("named") / "here"
    tiny.build(folder / "base", "gemma")
    tiny.build(folder / "other", "gemma", seed=1)
    with chdir(folder):
        tiny_lora.build(Path("base"), Path("adapter"), size=0.05)
    return folder


@pytest.fixture
def here(prepared, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "here")


def said(capfd) -> str:
    """What a command said on stderr, as one line."""
    return " ".join(capfd.readouterr().err.split())


def found(folder: Path) -> resolve_candidate.CandidateSource:
    """What a folder stands for."""
    return resolve_candidate.find_source(str(folder), folder.parent / "cache", Console(io.StringIO(), io.StringIO()))


def output(here: Path, *steps: int, of: str = "other") -> Path:
    """A trainer's output that holds weights in its checkpoints alone, with what a trainer writes beside them."""
    for step in steps:
        place = shutil.copytree(here / of, here / "out" / f"checkpoint-{step}")
        for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (place / name).write_bytes(b"\x80")
        (place / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (here / "out" / "README.md").write_text("#")
    return here / "out"


def test_the_last_checkpoint_of_a_trainer_s_output_is_scored(here, capfd):
    """By its number and not by its spelling; the row is called after the output, and the choice is told."""
    output(here, 9, 10)
    assert bench(here, "score", "out", *TASK) == 0
    (row,) = rows(here)
    digest = weights.digest_weights(here / "other")
    assert row.result.candidate == f"out-checkpoint-10@{digest[:8]}"
    assert row.result.model.weights_sha256 == digest
    assert "taking checkpoint-10, the last of 2" in said(capfd)
    assert bench(here, "board", "--check") == 0


def test_a_named_checkpoint_and_weights_at_the_top_win(here):
    """A checkpoint's own folder is that checkpoint; an output that holds weights itself is those weights."""
    out = output(here, 9, 10)
    assert found(out / "checkpoint-9").label == "out-checkpoint-9"
    shutil.copytree(here / "base", out, dirs_exist_ok=True)
    assert found(out) == resolve_candidate.CandidateSource("whole", str(out), out, "out")


def test_a_trainer_s_adapter_is_told_by_its_files(here):
    """PEFT's file at the top of an output, or in its last checkpoint."""
    out = output(here, 2, 4, of="adapter")
    told = found(out)
    assert (told.kind, told.label, told.folder) == ("adapter", "out-checkpoint-4", out / "checkpoint-4")
    shutil.copytree(here / "adapter", out, dirs_exist_ok=True)
    assert (found(out).kind, found(out).label) == ("adapter", "out")


def test_a_last_checkpoint_that_is_torn_is_not_passed_over(here):
    """An earlier one would be another model, silently."""
    out = output(here, 9)
    (out / "checkpoint-10").mkdir()
    (out / "checkpoint-10" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(BenchError, match=r"checkpoint-10 holds no candidate: looked for training\.json"):
        found(out)


def test_a_folder_that_is_none_of_them_is_told_what_was_looked_for(here, capfd):
    """In one line, with every kind."""
    (here / "notes").mkdir()
    (here / "notes" / "training_args.bin").write_bytes(b"")
    assert bench(here, "score", "notes", *TASK) == 1
    line = said(capfd)
    kinds = ("training.json (a training run)", "adapter_config.json (an adapter)", "model.safetensors or its index")
    assert "notes holds no candidate: looked for" in line
    assert [kind for kind in (*kinds, "checkpoint-N (a trainer's output): name a") if kind not in line] == []


def test_an_adapter_is_scored_beside_its_base(here, capfd):
    """`--with-base` asks that base through the same engine; the adapter is merged and held against it."""
    assert bench(here, "score", "adapter", "--base", "./base", "--with-base", *TASK) == 0
    assert "against base@" in capfd.readouterr().out
    base, made = rows(here)
    assert made.result.training.merge.base_sha256 == base.result.model.weights_sha256
    assert made.result.candidate == f"{base.result.candidate}+adapter@{made.result.training.merge.adapter_sha256[:8]}"


def test_another_base_than_the_adapter_names_is_told(here, capfd):
    """It is what the user asked for, and not in silence; the adapter's own base is nothing to tell, however named."""
    assert bench(here, "merge", "adapter", "--base", here / "base") == 0
    assert "says that it was trained on" not in said(capfd)
    assert bench(here, "merge", "adapter", "--base", "./other", "--out", "there") == 0
    assert "[other-base]" in said(capfd)


def test_a_merge_is_not_reused_for_a_base_of_another_configuration(here, capfd):
    """Equal tensors under another config.json are another model."""
    assert bench(here, "merge", "adapter", "--base", "./base") == 0
    twin = shutil.copytree(here / "base", here / "twin")
    config = json.loads((twin / "config.json").read_text())
    (twin / "config.json").write_text(json.dumps({**config, "torch_dtype": "float32"}, sort_keys=True))
    assert bench(here, "score", "adapter", "--base", "./twin", *TASK) == 0
    (twin / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    capfd.readouterr()
    assert bench(here, "score", "adapter", "--base", "./twin", *TASK) == 1
    assert "since then the base's config.json changed" in said(capfd)


@pytest.mark.parametrize("named", ["/home/somebody/base", "./base", "base", "{here}/base", "~/base"])
def test_a_folder_that_an_adapter_names_is_followed_only_when_the_user_names_it(here, capfd, named):
    """A folder of another machine is what most adapters name; on this one it may hold anything, or nothing."""
    config = here / "adapter" / "adapter_config.json"
    path = named.format(here=here)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": path}))
    for command in (("score", "adapter", *TASK), ("merge", "adapter"), ("doctor", "adapter", "--answers", "0")):
        assert bench(here, *command) == 1
        assert f"give --base {path}" in said(capfd)
    assert not (here / "adapter" / "merged").exists()
    assert bench(here, "merge", "adapter", "--base", "./base") == 0


def test_a_base_that_cannot_be_found_is_asked_for(here, capfd):
    """An adapter names a model that nobody knows."""
    config = here / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "no-such-base"}))
    assert bench(here, "score", "adapter", *TASK) == 1
    assert "give its place with --base MODEL" in said(capfd)


def test_a_path_that_is_mistyped_is_not_looked_for_on_the_hub(here, capfd):
    """What begins with a folder that is there is a path."""
    (here / "runs").mkdir()
    assert bench(here, "score", "runs/lost", *TASK) == 1
    assert "no folder runs/lost" in said(capfd)


def test_an_adapter_that_brings_another_template_is_merged_with_its_base_s_and_it_is_told(here, capfd):
    """What it was trained with is not what it is asked with."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(here / "base" / name, here / "adapter" / name)
    template = here / "adapter" / "chat_template.jinja"
    template.write_text(template.read_text().replace("<end_of_turn>", "<end_of_turn> "))
    assert bench(here, "merge", "adapter", "--base", "./base") == 0
    assert "[template-not-base]" in said(capfd)


def test_a_row_of_an_adapter_is_generated_again_from_the_adapter(here, capfd):
    """`bench verify --model ADAPTER` merges it as scoring did, and proves by digest that these are the weights."""
    assert bench(here, "score", "adapter", "--base", "./base", "--task", "word-problems", *REAL) == 0
    (path,) = here.glob("leaderboards/*/*.json")
    shutil.rmtree(here / "adapter" / "merged")
    assert bench(here, "verify", path, "--level", "2", "--model", "adapter") == 0
    (record,) = here.glob("leaderboards/*/verifications/*.json")
    assert json.loads(record.read_text())["level"] == 2
    capfd.readouterr()
