"""docs/interop.md, word for word: every door is gone through by the command that the page shows."""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import tiny
import tiny_lora
from baseline_bench import cli
from paths import DATA, ROOT

pytestmark = pytest.mark.usefixtures("forked_children")

PAGE = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^## (.*?)$.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
NEEDS = {"Trained by somebody else": ("trl", "tensorboardX"), "lm-eval, both ways": ("lm_eval",)}
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")


def commands(door: str) -> list[list[str]]:
    """The command lines of one section."""
    section = re.search(rf"^## {re.escape(door)}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]
    return [
        shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()
    ]


DOORS = [door for door in BLOCKS if commands(door)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """What the page's commands find: a model, an adapter of it, a trainer's output, and this repository's rows."""
    folder = tmp_path_factory.mktemp("interop")
    with chdir(folder):
        tiny.build(Path("my-model"), "chatml")
        tiny_lora.build(Path("my-model"), Path("my-adapter"), size=0.05)
        shutil.copytree("my-model", "trainer-output/checkpoint-2")
        Path("trainer-output/checkpoint-2/optimizer.pt").write_bytes(b"\x80")
        Path("my-clone").mkdir()
        samples_file = next((DATA / "lm_eval").glob("samples_*"))
        for name in ("before", "after"):
            shutil.copy(samples_file, f"samples_gsm8k_{name}.jsonl")
            shutil.copy(DATA / "inspect" / f"{name}.eval", ".")
            Path(f"{name}.csv").write_text(f"id,correct\na,1\nb,{int(name == 'after')}\n")
    (folder / "leaderboards" / "gsm8k").mkdir(parents=True)
    for file in (ROOT / "leaderboards" / "gsm8k").glob("2026-11-23-*trl-lora-main-s0-*"):
        shutil.copy(file, folder / "leaderboards" / "gsm8k")
    return folder


def run(words: list[str]) -> None:
    """One command as the shell would run it; another program's in a process of its own."""
    words = [found for word in words for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]
    if words[0] == "bench":
        assert cli.main(words[1:]) == 0
        return
    done = subprocess.run([sys.executable, "-m", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("door", DOORS)
def test_the_commands_of_the_page_run_as_they_stand(door, prepared, gsm8k_mirror, tmp_path, monkeypatch):
    """In the order of the page, each section in a copy of the same folder."""
    if lacking := [name for name in NEEDS.get(door, ()) if importlib.util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(lacking)}, which is not installed")
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path / "here"))
    monkeypatch.setenv("BENCH_DATASETS", str(gsm8k_mirror))
    for name in OFFLINE:
        monkeypatch.setenv(name, "1")
    for words in commands(door):
        run(words)


def test_the_page_shows_every_door():
    """Six sections with commands; every kind of export, and both directions of lm-eval, are among them."""
    shown = {" ".join(words[:3]) for door in DOORS for words in commands(door)}
    assert len(DOORS) == 6
    assert {"bench export csv", "bench export hf", "bench export lm-eval"} <= shown
    assert {"bench import lm-eval", "bench verify --against", "bench doctor my-adapter"} <= shown


LIBRARIES = ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "vllm", "gguf", "jinja2")
NEIGHBOURS = ("trl", "lm_eval", "tensorboardX", "reasoning_gym", "axolotl", "llamafactory")
ALONE = """
import sys
names = sys.argv.pop(1).split(",")

class Lacking:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *more):
        return None if name.partition(".")[0] in names else self.finder.find_spec(name, *more)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Lacking, sys.meta_path)
from baseline_bench import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def without(names: tuple[str, ...], folder: Path, *words: str) -> str:
    """What a command prints where these packages cannot be imported."""
    command = [sys.executable, "-c", ALONE, ",".join(names), *words]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_rows_are_read_held_and_handed_on_by_the_core_alone(tmp_path):
    """No library that computes is needed for what is on a board; here on one of two rows of this repository."""
    board = tmp_path / "leaderboards" / "gsm8k"
    board.mkdir(parents=True)
    rows = sorted((ROOT / "leaderboards" / "gsm8k").glob("2026-11-23-*.json"))[:2]
    for file in (file for row in rows for file in row.parent.glob(f"{row.stem}*")):
        shutil.copy(file, board)
    names = [f"leaderboards/gsm8k/{row.name}" for row in rows]
    lacking = (*LIBRARIES, *NEIGHBOURS)
    assert "difference" in without(lacking, tmp_path, "compare", *names)
    logs = [str(DATA / "inspect" / f"{name}.eval") for name in ("before", "after")]
    assert "difference" in without((*lacking, "inspect_ai"), tmp_path, "compare", *logs, "--metric", "match")
    assert rows[0].name in without(lacking, tmp_path, "export", "csv", names[0])
    assert "lora-main" in without(lacking, tmp_path, "list", "recipes")
    without(lacking, tmp_path, "board")
    without(lacking, tmp_path, "board", "--check")
    assert "problems" in without(lacking, tmp_path, "plan", "--baseline", "0.02", "--gain", "0.02")


def test_a_study_needs_no_neighbour(prepared, tmp_path):
    """Training, merging and scoring run where TRL, lm-eval and the trackers are not installed."""
    here = shutil.copytree(prepared, tmp_path / "here")
    sets = [word for key in ("data=word-problems", "max_steps=2", "batch=2") for word in ("--set", key)]
    words = ("lora-main", "--base", "./my-model", *sets, "--task", "word-problems", "--limit", "2")
    assert "outcome" in without(NEIGHBOURS, here, "train-and-score", *words)
