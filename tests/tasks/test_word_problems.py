"""tasks.word_problems: problems that never drift, written in good English, whose solutions are right."""

import ast
import json
import operator
import re
from fractions import Fraction
from hashlib import sha256
from itertools import chain, product

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Split
from baseline_bench.tasks import word_problems

GOLDEN = "dc3327c151943ead1328728473db87e1f1f667c723dce092978317f221a0f013"
VARIED_GOLDEN = "a7e96b4d5416be1c4ce682fcfab4d5b9b6bbce913103ef9260a5f875f5b4ce80"
SPLITS = [Split(name, config) for name, config in product(("test", "train"), ("main", "socratic"))]
VARIED = Split("train", "varied")
EVERY_SPLIT = [*SPLITS, VARIED]
SUM = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
WORK_OUT = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": Fraction}
every_split = pytest.mark.parametrize("split", EVERY_SPLIT, ids=lambda split: f"{split.name}-{split.config}")


@pytest.fixture(scope="module")
def made():
    """The problems of each split and config."""
    return {split: word_problems.problems(split) for split in EVERY_SPLIT}


def steps(problem):
    """The lines of a solution without the final one."""
    *lines, last = problem.solution.splitlines()
    assert last == f"#### {problem.answer}"
    return lines


def worked_out(line):
    """(what goes into the one sum of a line, what it comes to, what the line says)."""
    ((left, sign, right, said),) = SUM.findall(line)
    return {int(left), int(right)}, WORK_OUT[sign](int(left), int(right)), int(said)


def normalised(text):
    """A text without case, punctuation and spacing."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@every_split
def test_every_solution_grades_as_right(made, split):
    """A model that wrote the worked solution would get the point, in the task's own format too."""
    for problem in made[split][:2000]:
        verdict = word_problems.grade(problem, Completion(problem.solution, None, "stop"))
        assert verdict.correct, problem
        assert verdict.strict, problem
        assert verdict.answer == problem.answer


def test_another_number_grades_as_wrong(made):
    """An answer beside the right one gets nothing."""
    for problem in made[SPLITS[0]]:
        other = Completion(f"#### {int(problem.answer) + 1}", None, "stop")
        assert not word_problems.grade(problem, other).correct


@every_split
def test_every_sum_is_right_and_stays_in_whole_numbers(made, split):
    """Each step works out one sum over what is known by then; nothing is negative or broken."""
    for problem in made[split]:
        known = set(map(int, re.findall(r"\d+", problem.question))) | {2, 3}
        for line in steps(problem):
            used, right, said = worked_out(line)
            assert right == said >= 0, line
            assert used <= known, line
            known.add(said)
        assert str(said) == problem.answer


@every_split
def test_a_solution_has_two_to_four_steps(made, split):
    """The problems are neither one sum nor a chain too long for a small model."""
    assert {len(steps(problem)) for problem in made[split]} == {2, 3, 4}


def test_there_are_256_problems_to_score_and_2000_or_12000_to_train_on(made):
    """The sizes are part of the protocol, and ids number the problems."""
    for split in EVERY_SPLIT:
        number = 12_000 if split == VARIED else {"test": 256, "train": 2000}[split.name]
        assert [problem.id for problem in made[split]] == [f"{split.name}-{i}" for i in range(number)]


def test_the_configs_differ_in_the_solutions_alone(made):
    """Socratic puts a question before each line of main, and changes nothing else."""
    for name in ("test", "train"):
        for main, socratic in zip(made[Split(name)], made[Split(name, "socratic")], strict=True):
            assert (main.id, main.question, main.answer) == (socratic.id, socratic.question, socratic.answer)
            pairs = [line.split(" ** ") for line in steps(socratic)]
            assert [told for _, told in pairs] == steps(main)
            assert all(asked.endswith("?") for asked, _ in pairs)


def test_no_question_is_there_twice(made):
    """Within and across the splits every question differs in more than case, punctuation and spacing."""
    questions = [normalised(problem.question) for split in (Split("test"), VARIED) for problem in made[split]]
    assert len(set(questions)) == len(questions)


def test_no_problem_is_another_with_the_names_changed(made):
    """Problems of one template differ in their numbers."""
    for split in (Split("test"), VARIED):
        problems, stories = made[split], len(word_problems.load_templates(split.name, split.config))
        for first in range(stories):
            numbers = [tuple(re.findall(r"\d+", problem.question)) for problem in problems[first::stories]]
            assert len(set(numbers)) == len(numbers), problems[first]


def test_what_is_scored_comes_from_other_stories_than_what_is_trained_on():
    """The templates of the splits share neither name nor wording."""
    test, train = word_problems.load_templates("test"), word_problems.load_templates("train", "varied")
    both = [*test, *train]
    assert (len(test), len(train)) == (16, 240)
    assert len({template.name for template in both}) == len(both)
    assert len({template.question for template in both}) == len(both)
    sentences = [{step.told for template in some for step in template.steps} for some in (test, train)]
    assert not sentences[0] & sentences[1]


def test_the_templates_take_turns(made):
    """Every stretch of the items holds every story, so an early look at the answers sees all of them."""
    for split in (Split("test"), VARIED):
        patterns = [
            re.sub(r"\\\{\w+\\\}", ".+", re.escape(story.question))
            for story in word_problems.load_templates(split.name, split.config)
        ]
        for number, problem in enumerate(made[split]):
            assert re.fullmatch(patterns[number % len(patterns)], problem.question)


def test_the_worked_example_is_in_neither_split(made):
    """No candidate has trained on the example, and no model is asked it."""
    question, solution = word_problems.EXAMPLE
    for problem in chain.from_iterable(made.values()):
        assert normalised(problem.question) != normalised(question)
    assert all(worked_out(line)[1] == worked_out(line)[2] for line in solution.splitlines()[:-1])
    assert solution.splitlines()[-1] == "#### 17"


def test_a_prompt_is_one_worked_example_and_the_question(made):
    """Every conversation opens with the same turns and ends with what is asked."""
    problem = made[Split()][0]
    user, assistant, asked = word_problems.messages(problem)
    assert [user.role, assistant.role, asked.role] == ["user", "assistant", "user"]
    assert (user.content, assistant.content) == word_problems.EXAMPLE
    assert asked.content == problem.question


@every_split
def test_the_english_holds_for_whatever_fills_the_slots(made, split):
    """No slot stays open, nothing is one of many, no article is wrong, and sentences open and end as they should."""
    for problem in made[split]:
        for text in (problem.question, *steps(problem)):
            assert not re.search(
                r"[{}<>]|  | [.,?]|\b1 [a-z]+s\b|\b[01] |\b[Aa] [aeiou]|\b[Aa]n (?!hour)[^aeiou]", text
            ), text
            assert re.match(r"[A-Z]", text), text
            assert all(re.match(r"[A-Z]", sentence) for sentence in re.split(r"[.?] (?:\*\* )?", text)), text
        assert problem.question.endswith("?")
        assert all(line.endswith(".") for line in steps(problem))


def test_the_opening_of_the_module_shows_a_real_problem(made):
    """Question and solution in the docstring are those of one item."""
    shown = " ".join(word_problems.__doc__.split())
    assert any(
        f"Question: {problem.question} {' '.join(problem.solution.split())}" in shown for problem in made[Split()]
    )


def test_varied_keeps_the_templates_of_main_and_adds_many(made):
    """What main trains on is part of varied, and no run of 10 words of a new question is one of a scored question."""
    assert {problem.question for problem in made[Split("train")]} < {problem.question for problem in made[VARIED]}
    scored, trained = (
        {
            tuple(words[start : start + 10])
            for problem in made[split]
            for words in [re.findall(r"[a-z]+", re.sub(r"[A-Z]\w+", "", problem.question))]
            for start in range(len(words) - 9)
        }
        for split in (Split("test"), VARIED)
    )
    assert not scored & trained


def test_the_config_varied_has_nothing_to_score():
    """Scoring on varied would be a second protocol under one label, so it is an error."""
    with pytest.raises(BenchError, match="for training alone"):
        word_problems.problems(Split("test", "varied"))


def test_an_unknown_config_is_refused():
    """A config that the task does not have is an error that names those it has."""
    with pytest.raises(BenchError, match="main, socratic"):
        word_problems.problems(Split(config="sokratic"))


@pytest.mark.parametrize("expression", ["a / b", "a ** b", "a % b", "f(a)", "a.b", "1.5", "'a'"])
def test_a_template_can_only_do_whole_arithmetic(expression):
    """A division with a rest, and whatever is not + - * / over numbers and slots, is a mistake that raises."""
    with pytest.raises(ValueError, match="no whole number"):
        word_problems._evaluate_node(ast.parse(expression, mode="eval").body, {"a": 7, "b": 2})


def test_the_problems_are_these_for_ever(made):
    """Every id, question, answer and solution is as published: entries keep their bits, training runs repeat."""
    for splits, golden in ((SPLITS, GOLDEN), ([VARIED], VARIED_GOLDEN)):
        items = [
            [[problem.id, problem.question, problem.answer, problem.solution] for problem in made[split]]
            for split in splits
        ]
        assert sha256(json.dumps(items).encode()).hexdigest() == golden
