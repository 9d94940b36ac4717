"""Judge a problem by the likeliest of its choices, as measured: normalisation and tie rule are part of the reader.

A task with `choices(problem)` takes READER, SAMPLING and `grade` from here: docs/add-a-task.md.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from baseline_bench.core.types import Completion, Judgement, Problem, Sampling

Normalisation = Literal["text", "token", "character", "byte"]
# Nothing is generated.
SAMPLING = Sampling(max_tokens=0)


def build_reader_name(per: Normalisation = "text") -> str:
    """The READER of a task whose log-likelihoods are compared per text, token, character or byte.

    Of equally likely choices the first one counts, as in lm-eval, whose acc compares per text, acc_norm per character
    and acc_bytes per byte.
    """
    return f"likeliest-choice-per-{per}-first@v1"


def build_grade(
    choices: Callable[[Problem], Sequence[str]], per: Normalisation = "text"
) -> Callable[[Problem, Completion], Judgement]:
    """The `grade` of a task: the likeliest choice is right where it is the problem's answer.

    Args:
        choices: the task's own.
        per: what a choice's log-likelihood is divided by the number of; "text" divides by nothing.
    """

    def grade(problem: Problem, completion: Completion) -> Judgement:
        texts = choices(problem)
        found = completion.likelihoods
        if len(found) != len(texts):
            raise ValueError(f"{problem.id} has {len(texts)} choices, and {len(found)} were measured")
        sizes = {
            "text": [1] * len(texts),
            "token": [each.tokens for each in found],
            "character": [len(text) for text in texts],
            "byte": [len(text.encode()) for text in texts],
        }[per]
        scores = [each.single / size for each, size in zip(found, sizes, strict=True)]
        chosen = texts[scores.index(max(scores))]
        right = chosen == problem.answer
        return Judgement(
            problem.id, chosen, f"likeliest per {per}", correct=right, strict=right, finish=completion.finish
        )

    return grade
