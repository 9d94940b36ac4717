"""gsm-symbolic: whole numbers, no two problems alike, no template in both splits, one version of the package."""

import builtins
import importlib
import re
from importlib import metadata
from importlib.util import find_spec

import pytest
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Message, Problem, Sample, Split
from baseline_bench.evaluation import protocol, regrading
from baseline_bench.training import contamination

needs_the_package = pytest.mark.skipif(
    find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed: pip install 'baseline-bench[symbolic]'"
)
SIZES = {"test": 840, "train": 1800}


@pytest.fixture
def task():
    """The task as a command finds it."""
    return plugins.load_task("gsm-symbolic")


@needs_the_package
@pytest.mark.parametrize("name", SIZES)
def test_answers_are_whole_numbers_and_solutions_end_in_them(task, name):
    """No answer has a point, a sign or a leading nothing, and no text holds a float with all its digits."""
    problems = task.problems(Split(name))
    assert len(problems) == SIZES[name]
    assert [p.answer for p in problems if not re.fullmatch(r"[1-9][0-9]*", p.answer)] == []
    assert [p.id for p in problems if re.search(r"\d\.\d{3}", f"{p.question}{p.solution}")] == []
    verdicts = [task.grade(p, Completion(p.solution, None, "stop")) for p in problems]
    assert [v.problem_id for v in verdicts if not (v.correct and v.strict)] == []


@needs_the_package
def test_no_template_is_both_scored_and_trained_on(task):
    """Other stories are scored than are trained on: no template, no question and no 13 words in a row are shared."""
    test, train = task.load_templates("test"), task.load_templates("train")
    assert (len(test), len(train)) == (35, 30)
    assert test.keys().isdisjoint(train)
    assert (test.keys() | train.keys()).isdisjoint(task.EXCLUDED_TEMPLATES)
    samples = [Sample(p.id, (Message("user", p.question),), p.solution) for p in task.problems(Split("train"))]
    found = contamination.find_leaks(samples, task.problems(Split()))
    assert (found.exact, found.ngram) == ((), ())


@needs_the_package
def test_no_two_problems_differ_by_names_only(task):
    """Among the problems of one template, numbers and answer together stand once; every template gives as many."""
    for name, size in SIZES.items():
        problems, count = task.problems(Split(name)), len(task.load_templates(name))
        assert len({problem.question for problem in problems}) == size
        for start in range(count):
            own = problems[start::count]
            assert len({(*re.findall(r"\d+(?:\.\d+)?", p.question), p.answer) for p in own}) == size // count


@needs_the_package
def test_the_same_problems_are_made_every_time(task):
    """The seed is the attempt's number, and nothing else is drawn."""
    assert task.problems(Split()) == task.problems(Split())


@needs_the_package
def test_the_package_s_version_is_in_the_protocol(task, monkeypatch):
    """Equal items of another version are another protocol, and the label stands for one of them."""
    problems = task.problems(Split())
    assert protocol.digest_protocol(task, problems) == protocol.read_pinned_digests()[task.LABEL]
    monkeypatch.setattr(task, "MADE_WITH", "reasoning-gym 0.1.24")
    with pytest.raises(BenchError, match="gsm-symbolic-1shot@v2 means protocol"):
        protocol.digest_protocol(task, problems)


@needs_the_package
def test_another_version_of_the_package_is_refused(task, monkeypatch):
    """It might tell other stories; the way out installs the one that is meant."""
    monkeypatch.setattr(metadata, "version", lambda name: "0.2.0")
    with pytest.raises(
        BenchError, match=r"is made with reasoning-gym 0\.1\.25, and 0\.2\.0 is installed.*\[symbolic\]"
    ):
        task.problems(Split())


def test_a_missing_package_is_one_line_with_the_extra(task, monkeypatch):
    """Without the package the task is found, grades, and says what makes its items."""

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="reasoning_gym")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(BenchError, match=r"not installed: reasoning_gym.*\[symbolic\]"):
        task.problems(Split())
    assert task.grade(Problem("test-0", "", "7", ""), Completion("#### 7", None, "stop")).correct


def test_stored_answers_are_read_again_without_the_package(task, monkeypatch):
    """A board with rows of this task is checked by the golds that were committed, where nothing can make its items."""
    monkeypatch.setattr(regrading, "find_spec", lambda name: None)
    assert not regrading.are_items_available(task, None)
    monkeypatch.setattr(regrading, "find_spec", lambda name: builtins)
    assert regrading.are_items_available(task, None)


def test_it_has_the_one_config(task):
    """There are no socratic solutions of it."""
    with pytest.raises(BenchError, match=r"no config 'socratic'.*it has: main"):
        task.problems(Split(config="socratic"))


def test_it_is_asked_as_gsm8k_is(task):
    """What a change of names and numbers does is told by two rows with the same worked example, sampling and reader."""
    one, problem = plugins.load_task("gsm8k"), Problem("test-0", "How many?", "1", "#### 1")
    assert task.messages(problem) == one.messages(problem)
    assert (task.SAMPLING, task.READER) == (one.SAMPLING, one.READER)
