"""Another limit of tokens is another protocol: a label and a board of its own, checked like any other."""

from pathlib import Path

import pytest
import tiny
from baseline_bench.analysis.compare import classify_comparison
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.results import entries
from baseline_bench.training import contamination
from tiny_study import bench

SCORE = ("score", "model", "--limit", "4", "--engine", "scripted", "--name", "it")
OWN = '''
"""Sums."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums-0shot@v1", Sampling(max_tokens=64)
def problems(split):
    return [Problem(f"test-{n}", f"What is {n}+3?", str(n + 3), f"#### {n + 3}") for n in range(6)]
def messages(problem):
    return (Message("user", problem.question),)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A model, scored at the task's own limit and at another one, on a task of bench and on one of a user."""
    folder = tmp_path_factory.mktemp("limit")
    tiny.build(folder / "model")
    (folder / "sums.py").write_text(OWN)
    for task in ("word-problems", "./sums.py"):
        assert bench(folder, *SCORE, "--task", task) == 0
        assert bench(folder, *SCORE, "--task", task, "--max-tokens", 48) == 0
    return folder


def row(place: Path, board: str):
    """The row of a board, and its file."""
    (path,) = place.glob(f"leaderboards/{board}/*.json")
    return path, entries.read_entry(path).result


@pytest.mark.parametrize(
    ("board", "label"), [("word-problems", "word-problems-1shot{}@v2"), ("sums", "sums-0shot{}@v1")]
)
def test_another_limit_has_a_board_and_a_label_of_its_own(place, board, label):
    """Only the limit differs, and the rows are not compared."""
    (_, own), (path, other) = row(place, board), row(place, f"{board}-max-tokens-48")
    assert (own.task.label, other.task.label) == (label.format(""), label.format("+max-tokens=48"))
    assert (other.task.name, other.sampling.max_tokens) == (f"{board}-max-tokens-48", 48)
    assert own.task.protocol_sha256 != other.task.protocol_sha256
    assert own.task.items_sha256 == other.task.items_sha256
    pair = [entries.read_entry(row(place, name)[0]) for name in (board, f"{board}-max-tokens-48")]
    assert classify_comparison(*pair).name != "comparable"
    assert path.parent.name == plugins.build_board_name(f"{board}+max-tokens=48")


@pytest.mark.parametrize("board", ["word-problems-max-tokens-48", "sums-max-tokens-48"])
@pytest.mark.parametrize("level", [1, 2])
def test_a_row_of_another_limit_is_checked_like_any_other(place, board, level):
    """Its answers are graded again by its task's reader, and generated again under its limit."""
    path, _ = row(place, board)
    model = ("--model", "model") if level == 2 else ()
    assert bench(place, "verify", path, "--level", level, "--task", "./sums.py", *model) == 0
    assert bench(place, "board", "--check", "--task", "./sums.py") == 0


@pytest.mark.parametrize(("task", "limit"), [("word-problems", 192), ("word-problems", 0), ("word-problems", -3)])
def test_a_limit_that_is_no_other_one_is_refused(place, capfd, task, limit):
    """The task's own limit is what its own label means."""
    assert bench(place, *SCORE, "--task", task, "--max-tokens", limit) == 1
    assert f"--max-tokens {limit}" in capfd.readouterr().err


def test_a_task_that_generates_nothing_has_no_limit():
    """A choice is measured."""

    class Measures:
        LABEL, SAMPLING = "letters-0shot@v1", plugins.load_task("gsm8k").SAMPLING.__class__(max_tokens=0)

    with pytest.raises(BenchError, match="generates nothing"):
        plugins.limit_tokens(Measures, 9)


@pytest.mark.parametrize(
    ("name", "limited"),
    [
        ("gsm8k", "gsm8k+max-tokens=9"),
        ("gsm8k-1shot@v1", "gsm8k-1shot+max-tokens=9@v1"),
        ("./my.task.py", "./my.task.py+max-tokens=9"),
        ("lm-eval:gsm8k,exact_match,maj@8", "lm-eval:gsm8k,exact_match,maj+max-tokens=9@8"),
    ],
)
def test_a_name_with_a_limit_is_split_again(name, limited):
    """A name without one is left alone."""
    assert plugins.add_token_limit(name, 9) == limited
    assert plugins.split_token_limit(limited) == (name, 9)
    assert plugins.split_token_limit(name) == (name, None)


def test_the_task_of_an_entry_is_found_by_its_label():
    """Where the name of its board says the limit too, whosever task it is."""
    assert plugins.find_task_name("gsm8k-max-tokens-9", "gsm8k-1shot+max-tokens=9@v1") == "gsm8k+max-tokens=9"
    assert plugins.find_task_name("x", "lm-eval/gsm8k+max-tokens=9@3.0") == "lm-eval:gsm8k+max-tokens=9"
    assert plugins.find_task_name("nobody-max-tokens-9", "nobody+max-tokens=9@v1") is None


def test_a_limit_hides_no_origin():
    """Data made from a task's items is refused on it under every limit."""
    with pytest.raises(BenchError, match="derived_from"):
        contamination.require_separate_origins(["gsm8k"], "rows.jsonl", "gsm8k-platinum+max-tokens=9")
