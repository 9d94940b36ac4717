"""Tasks whose worked examples hold the very question that is asked after them, and a sound one."""

from functools import partial
from pathlib import Path

import tiny

from corpus.asking import OWN_TASK, look
from corpus.cases import Case

__all__ = ("CASES", "look")

# Two worked examples before each of five questions: of these very questions, as a few-shot sampler draws them.
_TASK = '''"""Sums."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums@v1", Sampling(max_tokens=16)
def problems(split):
    return [Problem(f"test-{n}", f"What is {n}+3?", str(n + 3), "") for n in range(5)]
def messages(problem):
    turns = [turn for n in EXAMPLES for turn in (("user", f"What is {n}+3?"), ("assistant", str(n + 3)))]
    return (*(Message(*turn) for turn in turns), Message("user", problem.question))
'''


def _with_examples(numbers: tuple[int, ...], folder: Path) -> Path:
    model = tiny.build(folder / "model")
    (folder / OWN_TASK).write_text(_TASK.replace("EXAMPLES", str(numbers)))
    return model


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
