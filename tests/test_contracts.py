"""Every plug-in there is keeps its contract; they are found by listing, so a new file is tested by being there."""

import dataclasses

import pytest

from harness import plugins, protocol
from harness.types import Completion, Split

OFFLINE = {"gsm8k"}


@pytest.fixture(params=plugins.names("task"))
def task_and_split(request):
    """Each task, with the mirror for those that need one."""
    mirror = request.getfixturevalue("gsm8k_mirror") if request.param in OFFLINE else None
    return plugins.task(request.param), lambda name: Split(name, mirror=mirror)


def test_a_task_grades_its_own_solutions_as_right(task_and_split):
    """Whatever a task would train on, it would also accept, strictly."""
    task, split = task_and_split
    for name in ("train", "test"):
        problems = task.problems(split(name))
        verdicts = [task.grade(p, Completion(p.solution, None, "stop")) for p in problems]
        assert [v.problem_id for v in verdicts if not (v.correct and v.strict)] == []


def test_a_task_s_label_is_pinned_to_its_digest(task_and_split):
    """One label, one digest, for ever: a change to a task makes a new version."""
    task, split = task_and_split
    problems = task.problems(split("test"))
    pinned = protocol.pinned()
    assert pinned.get(task.LABEL) == protocol.digest(task, problems)


def test_a_task_s_prompts_end_with_the_question_and_have_no_system_turn(task_and_split):
    """Gemma 1 and 2 refuse a system turn; the last turn asks."""
    task, split = task_and_split
    for problem in list(task.problems(split("test")))[:20]:
        messages = task.messages(problem)
        assert {m.role for m in messages} <= {"user", "assistant"}
        assert (messages[-1].role, messages[-1].content) == ("user", problem.question)


@pytest.mark.parametrize("name", [name for name in plugins.names("engine") if name != "vllm"])
def test_an_engine_has_frozen_options_with_defaults(name):
    """`-o key=value` needs a frozen dataclass that can be made without arguments; vllm has a suite of its own."""
    options = plugins.engine(name).Options()
    assert dataclasses.is_dataclass(options)
    assert options.__dataclass_params__.frozen
