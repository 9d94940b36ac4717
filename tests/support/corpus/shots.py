"""Tasks whose worked examples hold the very question that is asked after them, and a sound one."""

import json
from functools import partial
from pathlib import Path

import tiny

from corpus.asking import read_codes
from corpus.cases import Case, Found, Run

# Two worked examples before each of five questions: of these very questions, as a few-shot sampler draws them.
_TASK = '''"""Sums."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums@v1", Sampling(max_tokens=4)
def problems(split):
    return [Problem(f"test-{n}", f"What is {n}+3?", str(n + 3), "") for n in range(5)]
def messages(problem):
    turns = [turn for n in EXAMPLES for turn in (("user", f"What is {n}+3?"), ("assistant", str(n + 3)))]
    return (*(Message(*turn) for turn in turns), Message("user", problem.question))
'''


def look(folder: Path, run: Run) -> list[Found]:
    """What `baseline` finds before the run; the row carries the code."""
    words = ("--task", "./sums.py", "--engine", "scripted", "--json")
    status, out, _ = run(folder, "baseline", "model", *words)
    assert status == 0
    found = [one for one in read_codes(out) if not one[0].startswith("answers-")]  # those of a script
    row = json.loads(next(folder.glob("leaderboards/*/*.json")).read_text())["result"]["checks"]["findings"]
    assert {code for code, _ in found} <= set(row)
    return found


def _with_examples(numbers: tuple[int, ...], folder: Path) -> Path:
    tiny.build(folder / "model")
    (folder / "sums.py").write_text(_TASK.replace("EXAMPLES", str(numbers)))
    return folder


CASES = (
    Case(
        "of the scored split",
        "EleutherAI/lm-evaluation-harness#4145",
        partial(_with_examples, (1, 4)),
        (("shots-leak", "warn"),),
        "of another split",
    ),
    Case("of another split", "found by hand", partial(_with_examples, (7, 9)), (), "of the scored split"),
)
