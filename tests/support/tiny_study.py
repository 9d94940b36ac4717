"""Writes recipes, rows and bases for trainings of a second, and gives commands as a user would."""

import json
import os
import subprocess
import sys
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path

import tiny
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.core.types import Problem, Split
from baseline_bench.results import candidate, entries
from baseline_bench.results.entry import Entry

RECIPE = """\
base = "./base"
trainer = "{trainer}"
task = "word-problems"
data = "rows.jsonl"
lr = 1e-2
epochs = 2.0
batch = 4
optimizer = "adamw"
precision = "fp32"
output_dtype = "float32"
checkpoint_steps = 2
"""
STEPS = 6
LIMIT = 4
SCRIPTED = ("--limit", str(LIMIT), "--engine", "scripted")
REAL = ("--limit", str(LIMIT), "--engine", "transformers", "-o", "dtype=float32")


def build(folder: Path, manner: tiny.Manner = "chatml") -> Path:
    """A folder with `base`, `rows.jsonl`, `full.toml` and `lora.toml`."""
    tiny.build(folder / "base", manner)
    told = [(f"How many are {i} and {i + 1} red apples?", f"It is {2 * i + 1}.\n#### {2 * i + 1}") for i in range(12)]
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in told]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    for trainer in ("full", "lora"):
        (folder / f"{trainer}.toml").write_text(RECIPE.format(trainer=trainer))
    return folder


def bench(folder: Path, *words: object) -> int:
    """The exit status of a command given in this folder."""
    with chdir(folder):
        return main([*map(str, words), *([] if words[0] in ("board", "retract") else ["--cache", "cache"])])


def start(folder: Path, *words: object) -> "subprocess.Popen[bytes]":
    """The same in a process of its own, which may be killed."""
    command = [sys.executable, "-m", "baseline_bench.cli", *map(str, words), "--cache", "cache"]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"})


def only(folder: Path, pattern: str) -> Path:
    """The one path of this pattern."""
    (found,) = folder.glob(pattern)
    return found


def rows(folder: Path) -> list[Entry]:
    """The rows of the folder's boards, by name."""
    read = [entries.read_entry(path) for path in folder.glob("leaderboards/*/*.json")]
    return sorted(read, key=lambda row: row.result.candidate)


def names(folder: Path) -> list[str]:
    """What the rows are called, the base's digest left out."""
    return [row.result.candidate.replace(base_of(row), "base") for row in rows(folder)]


def base_of(row: Entry) -> str:
    """The name of a row's base."""
    return row.result.candidate.partition("+")[0]


def history(run: Path) -> list[dict[str, object]]:
    """The steps of a training."""
    return [asdict(step) for step in candidate.parse_steps((run / candidate.LOSS_FILE).read_bytes())]


def first_test_problem() -> Problem:
    """The first item that candidates are scored on."""
    return plugins.load_task("word-problems").problems(Split("test"))[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that commands write, but for the cache."""
    places = (path for name in ("runs", "leaderboards") for path in (folder / name).rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in places if path.is_file()}
