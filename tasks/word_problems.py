"""Word problems of two to four steps, generated from templates, so that a run needs no data set and no network.

Question: Kenji buys 5 jars with 4 figs in each jar. At home he has 5 more figs. How many figs does he have in all?

    Kenji buys 5 jars of 4 figs each, so the jars hold 5 * 4 = 20 figs.
    At home he has 5 more figs, so in all he has 20 + 5 = 25 figs.
    #### 25

The format is GSM8K's: one step a line, the answer after `####`; config `socratic` puts the question that a step answers
before it, with ` ** ` between. GSM8K's calculator marks are left out: SmolLM2-135M-Instruct was right half as often
with them. `word_problems.toml` holds the templates: those for scoring and those for training are different. Config
`varied` is for training alone: it adds the templates of `word_problems_varied.toml`, with solutions as in `main`.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Problem, Sampling, Split
from baseline_bench.tasks import _answers

LABEL = "word-problems-1shot@v2"
READER = _answers.READER
# The longest solution, a socratic one, takes 157 tokens with one token a digit; a fifth more allows for other words.
SAMPLING = Sampling(max_tokens=192, stop=("\nQuestion:",))

grade = _answers.grade

CONFIGS = ("main", "socratic", "varied")
EXAMPLE = (
    "Sam bakes 3 trays of rolls with 4 rolls on each tray. He also has 5 rolls from yesterday. "
    "How many rolls does he have in all?",
    "Sam bakes 3 trays of 4 rolls each, so he bakes 3 * 4 = 12 rolls.\n"
    "He also has 5 rolls from yesterday, so in all he has 12 + 5 = 17 rolls.\n"
    "#### 17",
)

_PER_TEMPLATE = {"test": 16, "train": 50}
_FEMALE_NAMES = ("Amara", "Clara", "Elif", "Freya", "Hana", "Ines", "Leila", "Mia", "Nadia", "Olga", "Priya", "Rosa")
_MALE_NAMES = (
    "Anton",
    "Bilal",
    "Carlos",
    "Dmitri",
    "Emeka",
    "Felix",
    "Hugo",
    "Jonas",
    "Kenji",
    "Mateo",
    "Omar",
    "Tariq",
)
_ATTEMPTS = 1000
_CALCULATION = re.compile(r"\{(\w+) = ([^{}]+)\}")

Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True)
class SolutionStep:
    """One line of a solution: sub-question, sentence with a slot `working`, and the calculation that fills it."""

    asked: str
    told: str
    result: str
    expression: str


@dataclass(frozen=True, slots=True)
class StoryTemplate:
    """One word problem with slots.

    Attributes:
        name: unique; it seeds every choice made for a problem.
        numbers: (slot, rule) in order; the rule is a range to draw from or an expression over the slots before it.
        steps: the solution; the last result is the answer.
    """

    name: str
    numbers: tuple[tuple[str, range | str], ...]
    words: tuple[tuple[str, tuple[str, ...]], ...]
    question: str
    steps: tuple[SolutionStep, ...]


def problems(split: Split) -> list[Problem]:
    """Return every problem of the split, cycling through the templates so that each stretch of it is mixed.

    Raises:
        BenchError: the task has no such config, or the config has no such split.
    """
    if split.config not in CONFIGS:
        raise BenchError(f"word-problems has no config {split.config!r}", f"it has: {', '.join(CONFIGS)}")
    if split.config == "varied" and split.name != "train":
        raise BenchError("config 'varied' of word-problems is for training alone", "score with main or socratic")
    problem_streams = [_generate_problems(template, split) for template in load_templates(split.name, split.config)]
    texts = [next(stream) for _ in range(_PER_TEMPLATE[split.name]) for stream in problem_streams]
    return [
        Problem(f"{split.name}-{number}", question, answer, solution)
        for number, (question, answer, solution) in enumerate(texts)
    ]


def messages(problem: Problem) -> tuple[Message, ...]:
    """Build the prompt: one worked example as a turn of its own, then the question; all prompts share this start."""
    question, solution = EXAMPLE
    return (Message("user", question), Message("assistant", solution), Message("user", problem.question))


def load_templates(split: Literal["train", "test"], config: str = "main") -> list[StoryTemplate]:
    """Load the templates of one split, in the order of the files."""
    tables = _read_tables("word_problems.toml")[split]
    if config == "varied":
        tables |= _read_tables("word_problems_varied.toml")
    return [_parse_template(name, entry) for name, entry in tables.items()]


def _read_tables(filename: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(filename).read_text(encoding="utf-8"))


def _parse_template(name: str, entry: Mapping[str, Any]) -> StoryTemplate:
    return StoryTemplate(
        name=name,
        numbers=tuple(
            (slot, rule if isinstance(rule, str) else range(rule[0], rule[1] + 1))
            for slot, rule in entry["numbers"].items()
        ),
        words=tuple((slot, tuple(choices)) for slot, choices in entry["words"].items()),
        question=entry["question"],
        steps=tuple(_parse_step(text) for text in entry["steps"]),
    )


def _parse_step(text: str) -> SolutionStep:
    sub_question, _, sentence = text.rpartition(" ** ")  # the varied templates ask no sub-questions
    ((result, expression),) = _CALCULATION.findall(sentence)
    return SolutionStep(sub_question, _CALCULATION.sub("{working}", sentence), result, expression)


def _generate_problems(template: StoryTemplate, split: Split) -> Iterator[tuple[str, str, str]]:
    """Yield (question, answer, solution), no two with the same numbers.

    Problems that differ only in names and words count as the same.
    """
    seen: set[tuple[int, ...]] = set()
    for attempt in range(_ATTEMPTS):
        key = f"{template.name}/{attempt}"
        numbers = _draw_numbers(template, key)
        if tuple(numbers.values()) in seen:
            continue
        seen.add(tuple(numbers.values()))
        words = _draw_words(template, key)
        lines, answer = _solve_problem(template, numbers, words, socratic=split.config == "socratic")
        yield template.question.format_map(words | numbers), str(answer), "\n".join([*lines, f"#### {answer}"])
    raise ValueError(f"the ranges of template {template.name} give too few problems: {len(seen)}")


def _solve_problem(
    template: StoryTemplate, numbers: Mapping[str, int], words: Mapping[str, object], *, socratic: bool
) -> tuple[list[str], int]:
    """Return the lines of the solution and its last result."""
    known = dict(numbers)
    lines = []
    answer = 0
    for step in template.steps:
        answer = _evaluate_expression(step.expression, known)
        calculation = re.sub(r"[a-z]\w*", lambda slot: str(known[slot[0]]), step.expression)
        slots = {**words, **known, "working": f"{calculation} = {answer}"}
        sentence = step.told.format_map(slots)
        lines.append(f"{step.asked.format_map(slots)} ** {sentence}" if socratic else sentence)
        known[step.result] = answer
    return lines, answer


def _draw_numbers(template: StoryTemplate, key: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for slot, rule in template.numbers:
        numbers[slot] = _evaluate_expression(rule, numbers) if isinstance(rule, str) else _pick(f"{key}/{slot}", rule)
    return numbers


def _draw_words(template: StoryTemplate, key: str) -> dict[str, object]:
    """Draw the words of one problem: the template's own, two different people, and the first one's pronouns."""
    words: dict[str, object] = {slot: _pick(f"{key}/{slot}", choices) for slot, choices in template.words}
    name = _pick(f"{key}/name", _FEMALE_NAMES + _MALE_NAMES)
    other = _pick(f"{key}/other", [person for person in _FEMALE_NAMES + _MALE_NAMES if person != name])
    she, her = ("she", "her") if name in _FEMALE_NAMES else ("he", "his")
    return words | {"name": name, "other": other, "she": she, "She": she.title(), "her": her, "Her": her.title()}


def _pick(key: str, choices: Sequence[Choice]) -> Choice:
    """Pick a choice by hashing the key; unlike a library's random generator, a hash never changes."""
    return choices[int.from_bytes(sha256(key.encode()).digest()[:8], "big") % len(choices)]


def _evaluate_expression(expression: str, numbers: Mapping[str, int]) -> int:
    return _evaluate_node(ast.parse(expression, mode="eval").body, numbers)


def _evaluate_node(node: ast.expr, numbers: Mapping[str, int]) -> int:
    """Evaluate + - * / over whole numbers; a division with a remainder is a mistake in a template and raises."""
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return numbers[name]
        case ast.BinOp(left=left_node, op=op, right=right_node):
            left, right = _evaluate_node(left_node, numbers), _evaluate_node(right_node, numbers)
            match op:
                case ast.Add():
                    return left + right
                case ast.Sub():
                    return left - right
                case ast.Mult():
                    return left * right
                case ast.Div() if left % right == 0:
                    return left // right
    raise ValueError(f"no whole number: {ast.unparse(node)} with {dict(numbers)}")
