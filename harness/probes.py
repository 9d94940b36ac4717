"""A few fixed questions with their answers as token ids, to look at one model from two sides."""

from baseline_bench import plugins
from baseline_bench.tokens import Speech, completion_ids, prompt_ids
from baseline_bench.types import Split

TASK = "word-problems"
COUNT = 4


def sequences(speech: Speech) -> tuple[tuple[int, ...], ...]:
    """The first test problems of the embedded task with their solutions, as this model is prompted and answers."""
    task = plugins.task(TASK)
    return tuple(
        prompt_ids(speech.tokenizer, speech.manner, task.messages(problem))
        + completion_ids(speech.tokenizer, speech.manner, problem.solution)
        for problem in task.problems(Split("test"))[:COUNT]
    )
