"""GSM8K-Platinum is read in the hub's layout, has no train split, and shares GSM8K's manner of asking."""

import datasets
import pyarrow
import pytest
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Split
from baseline_bench.evaluation import protocol
from pyarrow import parquet

ROWS = {
    "question": ["How many eggs are 9 and 9?", "How many are 2,000 and 500 bricks?", "How warm is 3 below 1 degree?"],
    "answer": ["9+9=<<9+9=18>>18\n#### 18", "2000+500=<<2000+500=2500>>2500\n#### 2,500", "1-3=<<1-3=-2>>-2\n#### -2"],
    "cleaning_status": ["consensus", "verified", "revised"],
}
CARD = """---
configs:
- config_name: main
  data_files:
  - split: test
    path: main/test-*
---
"""


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    """What the library prepares from a mirror stays in the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def task():
    """The task as a command finds it."""
    return plugins.load_task("gsm8k-platinum")


@pytest.fixture
def mirror(tmp_path):
    """A mirror with three rows of our own, as the data set's card lays them out."""
    folder = tmp_path / "mirror" / "madrylab" / "gsm8k-platinum"
    (folder / "main").mkdir(parents=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    parquet.write_table(pyarrow.table(ROWS), folder / "main" / "test-00000-of-00001.parquet")
    return tmp_path / "mirror"


def test_every_row_is_a_problem_and_its_solution_right(task, mirror):
    """Rows keep their order; a column that is not asked for is passed over; commas and signs are read."""
    problems = task.problems(Split(mirror=mirror))
    assert [(problem.id, problem.answer) for problem in problems] == [
        ("test-0", "18"),
        ("test-1", "2500"),
        ("test-2", "-2"),
    ]
    verdicts = [task.grade(problem, Completion(problem.solution, None, "stop")) for problem in problems]
    assert all(verdict.correct and verdict.strict for verdict in verdicts)


def test_it_is_asked_as_gsm8k_is_under_a_label_of_its_own(task, mirror):
    """One worked example, the same sampling and reader; items and label make another protocol."""
    one = plugins.load_task("gsm8k")
    problems = task.problems(Split(mirror=mirror))
    assert task.messages(problems[0]) == one.messages(problems[0])
    assert (task.SAMPLING, task.READER) == (one.SAMPLING, one.READER)
    assert task.LABEL != one.LABEL
    with pytest.raises(BenchError, match="gsm8k-1shot@v2 means protocol"):
        protocol.digest_protocol(one, problems)


@pytest.mark.parametrize("mirrored", [True, False])
def test_there_is_nothing_to_train_on(task, mirror, mirrored):
    """All of it is made from GSM8K's test, so its train split is refused before any data is looked for."""
    with pytest.raises(BenchError, match=r"has no train split: all of it is made from GSM8K's test.*openai/gsm8k"):
        task.problems(Split("train", mirror=mirror if mirrored else None))


def test_a_folder_without_it_is_named_with_the_way_out(task, tmp_path):
    """The error names this data set, not GSM8K's."""
    with pytest.raises(BenchError, match=r"no madrylab/gsm8k-platinum in the folder .*--datasets DIR"):
        task.problems(Split(mirror=tmp_path))


def test_it_has_the_one_config(task, mirror):
    """There are no socratic solutions of it."""
    with pytest.raises(BenchError, match="has no socratic/test"):
        task.problems(Split(config="socratic", mirror=mirror))
