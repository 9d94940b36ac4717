"""training.held_out: hyper-parameters are chosen by train rows that no try has trained on."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from baseline_bench.training import data as training_data
from baseline_bench.training import held_out
from baseline_bench.training import train as training

RECIPE = """\
base = "{base}"
trainer = "full"
task = "word-problems"
data = "{data}"
lr = 1e-3
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny base."""
    return tiny.build(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def prepare(base):
    """A function of (folder, data) to a plan of all rows, with their samples."""

    def made(folder: Path, data: str):
        (folder / "mine.toml").write_text(RECIPE.format(base=base, data=data))
        order = training.TrainingOptions(recipe=str(folder / "mine.toml"), runs=folder, mirror=None, cache=folder)
        plan = training.plan_training(order, Console(io.StringIO(), io.StringIO()))
        return plan, training_data.load_samples(plan.recipe, None)

    return made


@pytest.fixture(scope="module")
def whole(prepare, tmp_path_factory):
    """All rows of word-problems, with their samples."""
    return prepare(tmp_path_factory.mktemp("whole"), "word-problems")


def lines(folder, rows):
    """A .jsonl file of (question, answer) pairs; its name."""
    text = "\n".join(json.dumps({"question": q, "answer": a}) for q, a in rows)
    (folder / "rows.jsonl").write_text(text)
    return "rows.jsonl"


def ids(rows):
    """Their ids."""
    return [row.id for row in rows]


def test_the_parts_are_disjoint_and_keep_the_data_s_order(whole):
    """256 held out of 2,000 by default would be more than a tenth, so 200 are; the fraction is of the rest."""
    plan, samples = whole
    made = held_out.split_held_out(plan, samples, None, 0.25)
    held, kept = ids(made.held_out), ids(made.rows.rows)
    assert (len(held), len(kept)) == (200, 450)
    assert not {*held} & {*kept}
    assert [each for each in ids(plan.rows.rows) if each in {*held, *kept}] == sorted(
        [*held, *kept], key=lambda name: int(name.removeprefix("train-"))
    )
    assert held != ids(plan.rows.rows[:200])
    assert made.rows.sha256 != plan.rows.sha256


def test_a_smaller_part_lies_in_a_larger_one(whole):
    """So a second sweep with more data repeats nothing in vain; another seed splits otherwise."""
    plan, samples = whole
    few, many = (held_out.split_held_out(plan, samples, count, 1.0) for count in (20, 40))
    assert {*ids(few.held_out)} < {*ids(many.held_out)}
    part = held_out.split_held_out(plan, samples, 20, 0.1)
    assert {*ids(part.rows.rows)} < {*ids(few.rows.rows)}
    other = held_out.split_held_out(replace(plan, options=replace(plan.options, seed=1)), samples, 20, 0.1)
    assert {*ids(other.held_out)} != {*ids(part.held_out)}


@pytest.mark.parametrize("count", [0, 2000, -1])
def test_a_part_that_would_be_empty_is_refused(whole, count):
    """The range is told."""
    with pytest.raises(BenchError, match="out of range: give 1 to 1999"):
        held_out.split_held_out(*whole, count, 0.5)


def test_a_question_that_stands_twice_is_never_trained_on_and_held_out(prepare, tmp_path):
    """Its other rows are left out of the training part, whatever their case and spaces."""
    rows = [(f"{'What is' if i % 2 else 'what  IS'} {i // 2} plus 1", f"#### {i // 2 + 1}") for i in range(40)]
    plan, samples = prepare(tmp_path, lines(tmp_path, rows))
    made = held_out.split_held_out(plan, samples, 10, 1.0)
    asked = {sample.id: sample.messages[-1].content.lower().split()[2] for sample in samples}
    assert not {asked[row.id] for row in made.held_out} & {asked[row.id] for row in made.rows.rows}
    assert len(made.held_out) == 10
    with pytest.raises(BenchError, match="asks a held-out question"):
        held_out.split_held_out(*prepare(tmp_path, lines(tmp_path, [("What is 1 plus 1", "#### 2")] * 4)), 1, 1.0)


def test_a_task_s_own_data_gives_its_own_train_problems(whole):
    """Asked exactly as the task asks, example included, and none of them is a test item."""
    plan, samples = whole
    plan = held_out.split_held_out(plan, samples, 12, 0.1)
    prepared = held_out.prepare_held_out_task(plan, samples)
    task = plugins.load_task("word-problems")
    own = {problem.id: problem for problem in task.problems(Split("train"))}
    assert list(prepared.problems) == [own[row.id] for row in plan.held_out]
    tests = {problem.question for problem in task.problems(Split("test"))}
    assert not tests & {problem.question for problem in prepared.problems}
    text = plan.model_tokenizer.tokenizer.decode(prepared.requests[0].token_ids, skip_special_tokens=False)
    assert task.messages(prepared.problems[0])[0].content in text
    assert (prepared.total, prepared.limit, prepared.seed) == (12, None, None)


def test_other_data_becomes_problems_whose_gold_the_task_reads(prepare, tmp_path):
    """A solution without an answer leaves it empty."""
    rows = [(f"What is {i} plus 1000", f"It is {i} + 1000.\n#### {i + 1000:,}") for i in range(9)]
    plan, samples = prepare(tmp_path, lines(tmp_path, [*rows, ("Who asks", "Nobody does.")]))
    prepared = held_out.prepare_held_out_task(replace(plan, held_out=plan.rows.rows), samples)
    assert [problem.answer for problem in prepared.problems] == [*(str(i + 1000) for i in range(9)), ""]
    assert [problem.question for problem in prepared.problems[:2]] == ["What is 0 plus 1000", "What is 1 plus 1000"]
