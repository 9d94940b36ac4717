"""docs/plug-ins.md, word for word: its package is built, installed into a fresh environment, and run."""

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import tiny
from paths import ROOT

PAGE = (ROOT / "docs" / "plug-ins.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The first block of code after a file's name."""
    return re.search(rf"`{re.escape(name)}`.*?```(?:python|toml)\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """Where the wheel was installed: an environment of its own that sees the libraries of this one."""
    place = tmp_path_factory.mktemp("plug-in")
    source = place / "bench-sums"
    (source / "bench_sums").mkdir(parents=True)
    (source / "pyproject.toml").write_text(block("pyproject.toml"), encoding="utf-8")
    for name in ("__init__.py", "sums.py", "adder.py", "norms.py"):
        text = block("sums.py") if name == "sums.py" else block(f"bench_sums/{name}")
        (source / "bench_sums" / name).write_text(text, encoding="utf-8")
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    run([*build, "--wheel-dir", place, source], place)
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    packages = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place).strip())
    seen = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (packages / "libraries.pth").write_text(seen, encoding="utf-8")
    (wheel,) = place.glob("bench_sums-1.0-*.whl")
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel], place)
    return python


def run(command, folder) -> str:
    """What a command prints; it must end well."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def bench(environment, tmp_path):
    """`bench` of the fresh environment, in an empty folder beside a tiny model."""
    tiny.build(tmp_path / "model", "chatml")
    return lambda *words: run([environment, "-m", "baseline_bench.cli", *words], tmp_path)


def test_ten_lines_in_a_file_are_scored_without_a_package(bench, tmp_path):
    """The page's first block, under the name that the page gives it."""
    code = block("sums.py")
    assert len([line for line in code.splitlines() if line.strip()]) == 10
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sums.py").write_text(code, encoding="utf-8")
    row = json.loads(bench("score", "model", "--task", "./own/sums.py", "--engine", "scripted", "--json"))["result"]
    assert (row["task"]["label"], row["counts"]["total"]) == ("sums-0shot@v1", 100)


def test_the_three_plug_ins_are_names_like_any_other(bench):
    """The lists say which package they come from."""
    for kind, name in (("tasks", "sums"), ("engines", "adder"), ("trainers", "norms")):
        line = next(line for line in bench("list", kind).splitlines() if line.split()[:1] == [name])
        assert f"bench_sums.{name}" in line


def test_the_engine_answers_the_task_and_its_option_enters_the_row(bench):
    """A hundred of a hundred right; one too many, none."""
    words = ("score", "model", "--task", "sums", "--engine", "adder", "--json")
    right = json.loads(bench(*words))["result"]
    assert (right["counts"]["correct"], right["counts"]["total"]) == (100, 100)
    assert (right["engine"]["version"], right["engine"]["settings"]["wrong"]) == ("adder 1", 0)
    assert "adder 1 on " in bench(*words[:-1])
    wrong = json.loads(bench(*words, "-o", "wrong=1"))["result"]
    assert (wrong["counts"]["correct"], wrong["engine"]["settings"]["wrong"]) == (0, 1)
    bench("board", "--check")


def test_the_trainer_makes_a_candidate_that_is_scored_on_the_task(bench):
    """Trained on the task's train split; what it says of itself stands in the row."""
    sets = ("trainer=norms", "data=sums", "task=sums", "max_steps=2", "optimizer=adamw", "precision=fp32", "lr=0.1")
    keys = [word for key in sets for word in ("--set", key)]
    words = ["train-and-score", "full-main", "--base", "model", *keys, "--engine", "transformers", "--limit", "4"]
    rows = bench(*words, "--json").strip().replace("}\n{", "}\0{").split("\0")
    made = json.loads(rows[1])["result"]["training"]["candidate"]
    assert made["values"]["trainer"] == "norms"
    assert 0 < made["trainable"] < made["parameters"] / 100
    bench("board", "--check")
