"""Every plug-in there is keeps its contract; they are found by listing, so a new file is tested by being there."""

import dataclasses
import importlib.util
import inspect
import tomllib
from functools import cache

import pytest
from baseline_bench.core import plugins
from baseline_bench.core.types import Completion, Split
from baseline_bench.evaluation import protocol
from baseline_bench.training import recipes


@pytest.fixture(params=plugins.list_names("task"))
def task_and_split(request):
    """Each task whose library is installed, with the mirror for those whose data lies elsewhere."""
    task = plugins.load_task(request.param)
    missing = [name for name in getattr(task, "LIBRARIES", ()) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    repository = getattr(task, "REPOSITORY", None)
    mirror = None if repository is None else request.getfixturevalue("gsm8k_mirror")
    if mirror is not None and not (mirror / repository).is_dir():
        pytest.skip(f"BENCH_DATASETS names a folder without {repository}")
    return task, lambda name: Split(name, mirror=mirror)


def test_a_task_grades_its_own_solutions_as_right(task_and_split):
    """Whatever a task would train on, it would also accept, strictly."""
    task, split = task_and_split
    for name in getattr(task, "SPLITS", ("train", "test")):
        problems = task.problems(split(name))
        assert len({problem.id for problem in problems}) == len(problems) > 0
        assert find_misjudged(task.grade, tuple(problems)) == []


@cache
def find_misjudged(grade, problems):
    """The problems whose own solution is not right, strictly; the variants of one task share items and grading."""
    verdicts = [grade(p, Completion(p.solution, None, "stop")) for p in problems]
    return [v.problem_id for v in verdicts if not (v.correct and v.strict)]


def test_a_task_s_label_is_pinned_to_its_digest(task_and_split):
    """One label, one digest, for ever: a change to a task makes a new version."""
    task, split = task_and_split
    problems = task.problems(split("test"))
    pinned = protocol.read_pinned_digests()
    assert pinned.get(task.LABEL) == protocol.digest_protocol(task, problems)


def test_a_task_s_prompts_end_with_the_question_and_have_no_system_turn(task_and_split):
    """Gemma 1 and 2 refuse a system turn; the last turn asks."""
    task, split = task_and_split
    for problem in list(task.problems(split("test")))[:20]:
        messages = task.messages(problem)
        assert {m.role for m in messages} <= {"user", "assistant"}
        assert (messages[-1].role, messages[-1].content) == ("user", problem.question)


@pytest.mark.parametrize("name", plugins.list_names("task"))
def test_a_task_s_optional_members_are_of_their_kind(name):
    """What a task may leave out is looked for by name, so a slip of the pen would go unnoticed elsewhere."""
    task = plugins.load_task(name)
    assert isinstance(getattr(task, "REPOSITORY", ""), str)
    assert set(getattr(task, "SPLITS", ())) <= {"train", "test"}
    assert all(isinstance(library, str) for library in getattr(task, "LIBRARIES", ()))
    origins = getattr(task, "DERIVED_FROM", {})
    assert set(origins) <= set(getattr(task, "SPLITS", ("train", "test")))
    assert {root for roots in origins.values() for root in roots} <= {*plugins.list_names("task")} - {name}


@pytest.mark.parametrize("name", [name for name in plugins.list_names("engine") if name != "vllm"])
def test_an_engine_has_frozen_options_with_defaults(name):
    """`-o key=value` needs a frozen dataclass that can be made without arguments; vllm has a suite of its own."""
    options = plugins.load_engine(name).Options()
    assert dataclasses.is_dataclass(options)
    assert options.__dataclass_params__.frozen


@pytest.mark.parametrize("name", plugins.list_names("trainer"))
def test_a_trainer_has_frozen_options_with_defaults_and_trains_one_job(name):
    """A recipe's keys become the Options, every one of them a value that TOML can say; train takes a job alone."""
    trainer = plugins.load_trainer(name)
    options = trainer.Options()
    assert dataclasses.is_dataclass(options)
    assert options.__dataclass_params__.frozen
    assert not hasattr(options, "__dict__")
    values = [getattr(options, field.name) for field in dataclasses.fields(options)]
    assert all(value is None or isinstance(value, str | int | float | bool | tuple) for value in values)
    assert list(inspect.signature(trainer.train).parameters) == ["job"]
    assert trainer.__doc__


@pytest.mark.parametrize("name", plugins.list_names("trainer"))
def test_a_trainer_s_options_say_what_they_are(name):
    """Every key of a recipe is explained where its default stands."""
    kinds = plugins.load_trainer(name).Options.__mro__[:-1]
    told = "".join(kind.__doc__ or "" for kind in kinds)
    assert [field.name for field in dataclasses.fields(kinds[0]) if field.name not in told] == []


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_parses_and_states_every_key(name):
    """Only a key whose value is nothing may be absent, for TOML has no word for it."""
    recipe = recipes.read_recipe(name)
    values = recipes.collect_values(recipe)
    stated = tomllib.loads(recipes.find_recipe_file(name).read_text(encoding="utf-8"))
    assert set(values) - set(stated) == {key for key, value in values.items() if value is None}
    assert {key: values[key] for key in stated} == stated
    assert recipe.trainer in plugins.list_names("trainer")
    assert isinstance(recipe.options, plugins.load_trainer(recipe.trainer).Options)
    assert recipe.task not in recipe.derived_from


def test_the_study_s_recipes_are_there():
    """Full and LoRA on both manners of the solutions, QLoRA, and the study's own settings for comparison."""
    wanted = {"full-main", "full-socratic", "lora-main", "lora-socratic", "qlora-main"}
    assert wanted | {"seeds-full-main", "seeds-lora-main", "quickstart-lora"} <= set(recipes.list_recipes())
