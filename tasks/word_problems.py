"""Word problems of two to four steps, generated here, so that a whole run needs no download and no network.

Question: Mia packs 6 boxes with 7 pears each. Then she finds that 5 of the pears are bruised and takes them out. How
many good pears are left?

    Mia packs 6*7=<<6*7=42>>42 pears in all.
    There are 42-5=<<42-5=37>>37 good pears left.
    #### 37

The manner is GSM8K's: one step a line, the calculator's marks, the answer after `####`. In the `socratic` config the
question that a step answers stands before it, with ` ** ` between. The stories are in `word_problems.toml`; what is
scored and what is trained on come from different ones.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.types import Completion, Message, Problem, Sampling, Split, Verdict
from tasks import _answers

LABEL = "word-problems-1shot@v1"
READER = _answers.READER
SAMPLING = Sampling(max_tokens=160, stop=("\nQuestion:",))

_PER_TEMPLATE = {"test": 16, "train": 50}

_SHE = ("Amara", "Clara", "Elif", "Freya", "Hana", "Ines", "Leila", "Mia", "Nadia", "Olga", "Priya", "Rosa")
_HE = ("Anton", "Bilal", "Carlos", "Dmitri", "Emeka", "Felix", "Hugo", "Jonas", "Kenji", "Mateo", "Omar", "Tariq")

# A slot of a template: `{slot}` is filled in, `{name = a * b}` is worked out before the reader's eyes.
_SLOT = re.compile(r"\{(?:(\w+) = )?([^{}]+)\}")

_EXAMPLE = (
    "Sam has 8 rolls. He bakes 9 more rolls and then sells 6 of them. How many rolls does he have now?",
    "Sam has 8 rolls and bakes 9 more, so he has 8+9=<<8+9=17>>17 rolls.\n"
    "He sells 6 of them, so now he has 17-6=<<17-6=11>>11 rolls.\n"
    "#### 11",
)


@dataclass(frozen=True, slots=True)
class Template:
    """One story with slots.

    Attributes:
        name: unique; the choices of every problem hang on it.
        numbers: (slot, how) in order; how is a range (both ends included) or an expression over earlier slots.
        words: (slot, the words it may hold).
        question: the text with slots.
        steps: sub-question and sentence of each step with ` ** ` between; each sentence works out one number.
    """

    name: str
    numbers: tuple[tuple[str, tuple[int, int] | str], ...]
    words: tuple[tuple[str, tuple[str, ...]], ...]
    question: str
    steps: tuple[str, ...]


def problems(split: Split) -> Sequence[Problem]:
    """Every problem of the split, the templates taking turns so that each stretch of it is mixed."""
    makers = [_problems_of(template, split.config) for template in templates(split.name)]
    made = [next(maker) for _ in range(_PER_TEMPLATE[split.name]) for maker in makers]
    return [
        Problem(f"{split.name}-{number}", question, answer, solution)
        for number, (question, answer, solution) in enumerate(made)
    ]


def messages(problem: Problem) -> tuple[Message, ...]:
    """One worked example as a turn of its own, then the question; every prompt shares this beginning."""
    question, solution = _EXAMPLE
    return (Message("user", question), Message("assistant", solution), Message("user", problem.question))


def grade(problem: Problem, completion: Completion) -> Verdict:
    """Judge by the last number that the answer reader accepts as an answer."""
    return _answers.grade(problem, completion)


def templates(split: str) -> list[Template]:
    """The stories of one split, in the order of the file."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return [_template(name, entry) for name, entry in tomllib.loads(text)[split].items()]


def _template(name: str, entry: Mapping[str, Any]) -> Template:
    return Template(
        name=name,
        numbers=tuple((slot, how if isinstance(how, str) else (how[0], how[1])) for slot, how in entry["numbers"].items()),
        words=tuple((slot, tuple(choices)) for slot, choices in entry.get("words", {}).items()),
        question=entry["question"],
        steps=tuple(entry["steps"]),
    )


def _problems_of(template: Template, config: str) -> Iterator[tuple[str, str, str]]:
    """Yield (question, answer, solution) without end, no two with the same numbers.

    Names and words do not count as a difference: a problem that changes only those is the same problem.
    """
    seen = set()
    attempt = 0
    while True:
        numbers = _numbers(template, attempt)
        key = tuple(numbers.values())
        if key not in seen:
            seen.add(key)
            yield _written(template, numbers, _words(template, attempt), config)
        attempt += 1


def _written(
    template: Template, numbers: dict[str, int], words: Mapping[str, str], config: str
) -> tuple[str, str, str]:
    """Fill one template: (question, answer, solution)."""
    answer = 0

    def fill(match: re.Match[str]) -> str:
        nonlocal answer
        result, expression = match.groups()
        if result is None:
            return words[expression] if expression in words else str(numbers[expression])
        answer = numbers[result] = _value(ast.parse(expression, mode="eval").body, numbers)
        shown = re.sub(r"[a-z]\w*", lambda name: str(numbers[name[0]]), expression).replace(" ", "")
        return f"{shown}=<<{shown}={answer}>>{answer}"

    question = _SLOT.sub(fill, template.question)
    lines = [_SLOT.sub(fill, step) for step in template.steps]
    if config == "main":
        lines = [line.split(" ** ")[1] for line in lines]
    return question, str(answer), "\n".join([*lines, f"#### {answer}"])


def _numbers(template: Template, attempt: int) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for slot, how in template.numbers:
        if isinstance(how, str):
            numbers[slot] = _value(ast.parse(how, mode="eval").body, numbers)
        else:
            low, high = how
            numbers[slot] = low + _draw(f"{template.name}/{attempt}/{slot}", high - low + 1)
    return numbers


def _words(template: Template, attempt: int) -> dict[str, str]:
    """The words of one problem: the template's own, two different people, and the first one's pronouns."""
    key = f"{template.name}/{attempt}"
    words = {slot: choices[_draw(f"{key}/{slot}", len(choices))] for slot, choices in template.words}
    people = [*_SHE, *_HE]
    first = people.pop(_draw(f"{key}/name", len(people)))
    she, her = ("she", "her") if first in _SHE else ("he", "his")
    words |= {"name": first, "other": people[_draw(f"{key}/other", len(people))]}
    return words | {"she": she, "her": her, "She": she.capitalize(), "Her": her.capitalize()}


def _draw(key: str, size: int) -> int:
    """A number below size that depends on the key alone: a hash, because a library's generator may change."""
    return int.from_bytes(sha256(key.encode()).digest()[:8]) % size


def _value(node: ast.expr, numbers: Mapping[str, int]) -> int:
    """Work out + - * / over whole numbers; a template whose division leaves a rest is a mistake and raises."""
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return numbers[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _apply(op, _value(left, numbers), _value(right, numbers))
    raise ValueError(f"not arithmetic: {ast.unparse(node)}")


def _apply(op: ast.operator, left: int, right: int) -> int:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div() if left % right == 0:
            return left // right
    raise ValueError(f"not whole: {left} {type(op).__name__} {right}")
