"""Judge a problem by its most likely choice: the normalisation and the tie rule are part of the reader.

A task with `choices(problem)` takes READER, SAMPLING and `grade` from here: docs/add-a-task.md.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from baseline_bench.core.types import Completion, Judgement, Problem, Sampling

Normalisation = Literal["text", "token", "character", "byte"]
# Choices are measured; nothing is generated.
SAMPLING = Sampling(max_tokens=0)


def build_reader_name(per: Normalisation = "text") -> str:
    """Build the READER of a task that compares log-likelihoods per text, token, character or byte.

    Of equally likely choices the first one counts, as in lm-eval, whose acc compares per text, acc_norm per character
    and acc_bytes per byte.
    """
    return f"likeliest-choice-per-{per}-first@v1"


def build_grade(
    choices: Callable[[Problem], Sequence[str]], per: Normalisation = "text"
) -> Callable[[Problem, Completion], Judgement]:
    """Build a task's `grade`: the most likely choice is right if it is the problem's answer.

    Args:
        per: the unit whose count divides a choice's log-likelihood; "text" does not divide.
    """

    def grade(problem: Problem, completion: Completion) -> Judgement:
        texts = choices(problem)
        likelihoods = completion.likelihoods
        if len(likelihoods) != len(texts):
            raise ValueError(f"{problem.id} has {len(texts)} choices, and {len(likelihoods)} were measured")
        sizes = {
            "text": [1] * len(texts),
            "token": [likelihood.tokens for likelihood in likelihoods],
            "character": [len(text) for text in texts],
            "byte": [len(text.encode()) for text in texts],
        }[per]
        scores = [likelihood.single / size for likelihood, size in zip(likelihoods, sizes, strict=True)]
        chosen = texts[scores.index(max(scores))]
        right = chosen == problem.answer
        return Judgement(
            problem.id, chosen, f"likeliest per {per}", correct=right, strict=right, finish=completion.finish
        )

    return grade
