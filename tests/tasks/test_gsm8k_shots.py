"""GSM8K behind no, five and eight examples: the items of `gsm8k`, and examples that nobody trained on."""

import re

import pytest
from baseline_bench.core import plugins
from baseline_bench.core.types import Completion, Message, Problem, Split
from baseline_bench.evaluation import protocol
from baseline_bench.tasks import _gsm8k

SHOTS = {"gsm8k-0shot": 0, "gsm8k": 1, "gsm8k-5shot": 5, "gsm8k-8shot": 8}
PROBLEM = Problem("test-0", "How many eggs are left?", "18", "#### 18")


@pytest.mark.parametrize("name", SHOTS)
def test_a_prompt_is_so_many_turns_of_examples_and_then_the_question(name):
    """Examples stand as turns of the conversation, in one order for every question."""
    asked = plugins.load_task(name).messages(PROBLEM)
    assert [message.role for message in asked] == ["user", "assistant"] * SHOTS[name] + ["user"]
    assert asked[-1] == Message("user", PROBLEM.question)
    assert all("####" in message.content for message in asked if message.role == "assistant")


@pytest.mark.parametrize("name", SHOTS)
def test_every_manner_of_asking_is_drawn_and_read_alike_under_a_label_of_its_own(name):
    """Shots are all that differs; the label says how many there are."""
    task, one = plugins.load_task(name), plugins.load_task("gsm8k")
    assert (task.SAMPLING, task.READER, task.REPOSITORY) == (one.SAMPLING, one.READER, one.REPOSITORY)
    assert f"gsm8k-{SHOTS[name]}shot@v2" == task.LABEL


def test_every_manner_of_asking_has_the_same_items(gsm8k_mirror):
    """Rows of different shots are compared item by item: ids, questions and golds are one list."""
    split = Split(mirror=gsm8k_mirror)
    assert len({protocol.digest_items(plugins.load_task(name).problems(split)) for name in SHOTS}) == 1


def test_five_examples_are_the_beginning_of_eight():
    """What three more examples do is told by two rows that differ in nothing else."""
    five, eight = (plugins.load_task(f"gsm8k-{count}shot").messages(PROBLEM) for count in (5, 8))
    assert five[:-1] == eight[:10]


def test_one_example_is_the_beginning_of_five():
    """The shot of `gsm8k` stands first behind every number of them."""
    assert plugins.load_task("gsm8k-5shot").messages(PROBLEM)[:2] == plugins.load_task("gsm8k").messages(PROBLEM)[:2]


def test_the_examples_are_in_neither_split(gsm8k_mirror):
    """No row of the four files shares 13 words in a row with one of them (the overlap test of GPT-3)."""
    own = set.union(*(grams(f"{question} {solution}") for question, solution in _gsm8k.select_examples(8)))
    for name in ("test", "train"):
        for config in ("main", "socratic"):
            for problem in plugins.load_task("gsm8k").problems(Split(name, config, gsm8k_mirror)):
                assert not own & grams(f"{problem.question} {problem.solution}"), problem.id


def grams(text: str) -> set[tuple[str, ...]]:
    """Every 13 words in a row."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[start : start + 13]) for start in range(len(words) - 12)}


@pytest.mark.parametrize("number", range(8))
def test_the_examples_calculate_right_and_grade_as_right(number):
    """Each equation holds, and the example is in the format that `strict` counts."""
    question, solution = _gsm8k.select_examples(8)[number]
    equations = re.findall(r"(\d+)([-+*/])(\d+) = (\d+)", solution)
    assert len(equations) == solution.count("=") > 0
    results = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
    assert all(results[sign](int(one), int(two)) == int(result) for one, sign, two, result in equations)
    verdict = plugins.load_task("gsm8k-8shot").grade(
        Problem("example", question, equations[-1][3], solution), Completion(solution, None, "stop")
    )
    assert verdict.correct
    assert verdict.strict
