"""What GSM8K's tasks share: the repository, the sampling, the worked examples of their prompts, and how they are made.

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

The boxes hold 4*6=<<4*6=24>>24 crayons.
With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
#### 29
"""

import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from baseline_bench.core.types import Completion, Judgement, Message, Problem, Sampling, Split
from baseline_bench.tasks import _answers, _hub

REPOSITORY = "openai/gsm8k"
# A limit of 256 would cut 770 of 7,473 socratic solutions but only 205 main ones, a silent bias.
SAMPLING = Sampling(max_tokens=512, stop=("\nQuestion:",))

Example = tuple[str, str]

# bench's own text, in neither split.
OWN_EXAMPLE: Example = (
    "A bakery bakes 9 trays of 14 rolls every morning. On Monday it sold 86 rolls before noon and half of what was "
    "left in the afternoon. How many rolls were not sold on Monday?",
    "The bakery bakes 9*14 = 126 rolls.\n"
    "Before noon it sold 86 of them, so 126-86 = 40 rolls were left.\n"
    "In the afternoon it sold 40/2 = 20 rolls, so 40-20 = 20 rolls were not sold.\n"
    "#### 20",
)

_MORE_EXAMPLES = Path(__file__).with_name("_gsm8k_examples.toml")


class TaskMembers(NamedTuple):
    """The members of a task module, in the order in which it unpacks them."""

    LABEL: str
    READER: str
    SAMPLING: Sampling
    REPOSITORY: str
    problems: Callable[[Split], list[Problem]]
    messages: Callable[[Problem], tuple[Message, ...]]
    grade: Callable[[Problem, Completion], Judgement]


def build_task(shots: int) -> TaskMembers:
    """Build the task that asks GSM8K's items after so many worked examples, each as two turns of the conversation."""
    return TaskMembers(
        LABEL=f"gsm8k-{shots}shot@v2",
        READER=_answers.READER,
        SAMPLING=SAMPLING,
        REPOSITORY=REPOSITORY,
        problems=partial(_hub.problems, REPOSITORY),
        messages=partial(build_conversation, select_examples(shots)),
        grade=_answers.grade,
    )


def select_examples(count: int) -> tuple[Example, ...]:
    """Return the first `count` of bench's eight worked examples, that of `gsm8k` first."""
    rows = tomllib.loads(_MORE_EXAMPLES.read_text(encoding="utf-8")).values()
    return (OWN_EXAMPLE, *((row["question"], row["answer"]) for row in rows))[:count]


def build_conversation(examples: Sequence[Example], problem: Problem) -> tuple[Message, ...]:
    """Build a prompt: each worked example as two turns, then the question; a task's prompts share their start."""
    example_turns = [(Message("user", question), Message("assistant", solution)) for question, solution in examples]
    return (*(turn for pair in example_turns for turn in pair), Message("user", problem.question))
