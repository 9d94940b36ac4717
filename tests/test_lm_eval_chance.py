"""Where a file of lm-eval's throws dice, prompts are those of `lm_eval run`, and verdicts follow from the answer."""

import importlib.util
import json
import random

import numpy as np
import pytest
from lm_eval_side import hub_folder

from harness import plugins
from harness.mirrors import as_it_lies
from harness.types import Split

LM_EVAL = importlib.util.find_spec("lm_eval") is not None
pytestmark = pytest.mark.skipif(not LM_EVAL, reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'")

# As our golds are written.
SHORT = (", ", ":")
NAME = "gpqa_main_cot_zeroshot"


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Nothing here is asked of a hub, which lm-eval's evaluator would ask for a data set's revision."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def questions(tmp_path):
    """A dozen questions of GPQA's fields, whose file of lm-eval's shuffles the choices."""
    rows = [
        {
            "Question": f"Which number is {number}?",
            "Correct Answer": str(number),
            **{f"Incorrect Answer {place}": str(number + 10 * place) for place in (1, 2, 3)},
        }
        for number in range(12)
    ]
    hub_folder(tmp_path, "Idavidrein/gpqa", "gpqa_main", {"train": rows})
    return tmp_path


def asked(mirror):
    """The prompts and golds of a task that was never loaded before."""
    module = plugins.room("tasks._lm_eval.task")
    module.task.cache_clear()
    task = module.task(NAME)
    before = random.getstate(), np.random.get_state()[1].tolist()
    problems = task.problems(Split("test", mirror=mirror))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    return [task.text(problem) for problem in problems], [problem.answer for problem in problems]


def test_shuffled_choices_stand_as_lm_eval_run_has_them(questions, tmp_path):
    """By lm-eval's seed, whatever was drawn before; and who draws afterwards goes on where he was."""
    random.seed(7)
    prompts, golds = asked(questions)
    assert len(set(golds)) > 1
    manager = plugins.room("tasks._lm_eval.definition")._manager(NAME)
    folder = questions / "Idavidrein" / "gpqa"
    with as_it_lies(folder):
        found = plugins.room("lm_eval").simple_evaluate(
            model="dummy",
            tasks=[{"group": "alone", "task": [{"task": NAME, "dataset_path": str(folder)}]}],
            task_manager=manager,
            log_samples=True,
            bootstrap_iters=0,
        )
    samples = {line["doc_id"]: line["arguments"][0][0] for line in found["samples"][NAME]}
    assert [samples[number] for number in range(12)] == prompts


def test_a_judge_that_guesses_guesses_the_same_of_the_same_answer():
    """MMMU's draws a letter where it reads none: by the question, not by what was judged before."""
    task = plugins.task("lm-eval:mmmu_val_math")
    asked = {"options": "['a', 'b', 'c', 'd']", "question_type": "multiple-choice"}
    golds = [
        json.dumps({"lm-eval document": {**asked, "question": f"Which of {number}?", "answer": "A"}}, separators=SHORT)
        for number in range(40)
    ]

    def guessed(gold):
        return task.readings(gold, "nothing of it")["none"].correct

    first = [guessed(gold) for gold in golds]
    assert 1 < sum(first) < 30  # about a quarter of them
    random.seed(1)
    before = random.getstate()
    assert [guessed(gold) for gold in reversed(golds)] == first[::-1]
    assert task.totals([(gold, ["nothing of it"]) for gold in golds]) == {"acc,none": sum(first) / 40}
    assert random.getstate() == before
    assert all(task.readings(gold, "(A)")["none"].correct for gold in golds)
