"""A run that is killed at any moment is the same run in the end."""

import json
import multiprocessing.process
import os
from pathlib import Path

import kills
import pytest
import tiny
from baseline_bench import cli

CONTEXT = kills.CONTEXT
ITEMS = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny real model; only its tokenizer is used by the scripted engine."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny", "chatml")


def command(model: Path, pace: str = "0.01") -> list[str]:
    """One scripted run of 40 questions."""
    words = ["score", str(model), "--task", "word-problems", "--limit", str(ITEMS), "--json"]
    return [*words, "--engine", "scripted", "-o", f"pace={pace}"]


def start(words: list[str], folder: Path) -> multiprocessing.process.BaseProcess:
    """The command in a process of its own, its entry's JSON in out.json."""
    process = CONTEXT.Process(target=_run, args=(words, folder))
    process.start()
    return process


def _run(words: list[str], folder: Path) -> None:
    os.chdir(folder)
    os.dup2(os.open("out.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os._exit(cli.main(words))


def kept(folder: Path) -> dict[str, str]:
    """The finished lines of the one run in the folder, whole ones only, by problem id."""
    lines = [line for path in folder.glob("runs/*/completions.jsonl") for line in path.read_bytes().splitlines(True)]
    values = [json.loads(line) for line in lines if line.endswith(b"\n")]
    assert len({value["id"] for value in values}) == len(values)
    return {value["id"]: value["text"] for value in values}


def entries(folder: Path) -> list[Path]:
    """The entries there are."""
    return sorted(folder.glob("leaderboards/*/*.json"))


@pytest.mark.parametrize("work", kills.WORKS)
def test_work_killed_at_seeded_moments_ends_like_unbroken_work(work, tmp_path):
    """Ten kills -9, each before a change of a file or within a line: nothing is lost, doubled, asked again or left."""
    assert kills.try_kills(work, tmp_path, 10)


def test_two_runs_at_once_do_not_disturb_each_other(model, tmp_path):
    """The same command twice: one scores, the other is told so, and the entry is that of one run."""
    both = [start(command(model, pace="0.03"), tmp_path) for _ in range(2)]
    for process in both:
        process.join()
    codes = sorted(process.exitcode for process in both)
    assert codes in ([0, 0], [0, 1])
    assert len(kept(tmp_path)) == ITEMS
    assert len(entries(tmp_path)) == 1
