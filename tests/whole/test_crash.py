"""A run that is killed at any moment is the same run in the end."""

import json
import multiprocessing
import os
import random
from pathlib import Path
from time import perf_counter

import pytest
import tiny
from baseline_bench import cli

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "transformers",
        "baseline_bench.commands.baseline",
        "baseline_bench.models.tokenizer",
        "baseline_bench.rendering.leaderboard",
    ]
)
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


def broken(model: Path, folder: Path, chance: random.Random, seconds: float) -> int:
    """Give the command until it ends by itself, killing it at random moments; how often it was killed."""
    folder.mkdir()
    before, kills = {}, 0
    while True:
        process = start(command(model), folder)
        process.join(timeout=chance.uniform(0, 1.3 * seconds))
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        process.kill()
        process.join()
        kills += 1
        after = kept(folder)
        assert before.items() <= after.items()
        assert entries(folder) == [] or len(after) == ITEMS
        before = after
        assert kills < 100


def test_a_run_killed_at_many_moments_gives_the_entry_of_an_unbroken_one(model, tmp_path):
    """Kill -9 at random moments: nothing finished is lost, doubled or asked again, and the result digest is equal."""
    began = perf_counter()
    (tmp_path / "unbroken").mkdir()
    unbroken = start(command(model), tmp_path / "unbroken")
    unbroken.join()
    seconds = perf_counter() - began
    chance, kills, rounds = random.Random(7), 0, ["unbroken"]
    while kills < 12:
        rounds.append(f"killed-{len(rounds)}")
        kills += broken(model, tmp_path / rounds[-1], chance, seconds)
    digests = {json.loads((tmp_path / name / "out.json").read_text())["result_sha256"] for name in rounds}
    assert len(digests) == 1
    assert [len(entries(tmp_path / name)) for name in rounds] == [1] * len(rounds)


def test_two_runs_at_once_do_not_disturb_each_other(model, tmp_path):
    """The same command twice: one scores, the other is told so, and the entry is that of one run."""
    both = [start(command(model, pace="0.03"), tmp_path) for _ in range(2)]
    for process in both:
        process.join()
    codes = sorted(process.exitcode for process in both)
    assert codes in ([0, 0], [0, 1])
    assert len(kept(tmp_path)) == ITEMS
    assert len(entries(tmp_path)) == 1
