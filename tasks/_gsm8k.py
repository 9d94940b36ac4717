"""What GSM8K's tasks share: the repository, the sampling, and the worked examples of their prompts."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

from baseline_bench.core.types import Message, Problem, Sampling

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


def select_examples(count: int) -> tuple[Example, ...]:
    """Return the first `count` of bench's eight worked examples, that of `gsm8k` first."""
    rows = tomllib.loads(_MORE_EXAMPLES.read_text(encoding="utf-8")).values()
    return (OWN_EXAMPLE, *((row["question"], row["answer"]) for row in rows))[:count]


def build_conversation(examples: Sequence[Example], problem: Problem) -> tuple[Message, ...]:
    """Build a prompt: each worked example as two turns, then the question; a task's prompts share their start."""
    example_turns = [(Message("user", question), Message("assistant", solution)) for question, solution in examples]
    return (*(turn for pair in example_turns for turn in pair), Message("user", problem.question))
