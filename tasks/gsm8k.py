"""GSM8K, one shot: grade-school word problems whose answer is one number (Cobbe et al. 2021, arXiv:2110.14168).

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

The data is the hub's `openai/gsm8k` (test 1,319, train 7,473; configs main and socratic), or a mirror of it in a folder.
The worked example of every prompt is our own and in neither split, so that no candidate has trained on it.
"""

from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError

from harness.errors import BenchError
from harness.types import Completion, Message, Problem, Sampling, Split, Verdict
from tasks import _answers

LABEL = "gsm8k-1shot@v1"
READER = _answers.READER
# 256 would cut 770 of 7,473 socratic solutions and only 205 main ones: a silent and biased limit.
SAMPLING = Sampling(max_tokens=512, stop=("\nQuestion:",))

REPOSITORY = "openai/gsm8k"
COLUMNS = ("question", "answer")
EXAMPLE = (
    "A bakery bakes 9 trays of 14 rolls every morning. On Monday it sold 86 rolls before noon and half of what was "
    "left in the afternoon. How many rolls were not sold on Monday?",
    "The bakery bakes 9*14 = 126 rolls.\n"
    "Before noon it sold 86 of them, so 126-86 = 40 rolls were left.\n"
    "In the afternoon it sold 40/2 = 20 rolls, so 40-20 = 20 rolls were not sold.\n"
    "#### 20",
)
OFFLINE = "name a folder that holds openai/gsm8k in the hub's layout: --datasets DIR or BENCH_DATASETS"


def problems(split: Split) -> list[Problem]:
    """Every row of the split in the data set's own order.

    Raises:
        BenchError: the data set cannot be reached, is empty, lacks a column, or a row's answer cannot be read.
    """
    rows = _rows(split)
    missing = [column for column in COLUMNS if column not in rows.column_names]
    if missing:
        there = ", ".join(rows.column_names)
        raise BenchError(f"{REPOSITORY} {split.config} lacks the columns {', '.join(missing)}", f"it has: {there}")
    if len(rows) == 0:
        raise BenchError(f"{REPOSITORY} {split.config} {split.name} is empty", "fetch the data set again")
    return [_problem(f"{split.name}-{number}", row) for number, row in enumerate(rows)]


def messages(problem: Problem) -> tuple[Message, ...]:
    """One worked example as a turn of its own, then the question; every prompt shares this beginning."""
    question, solution = EXAMPLE
    return (Message("user", question), Message("assistant", solution), Message("user", problem.question))


def grade(problem: Problem, completion: Completion) -> Verdict:
    """Judge one completion by the final number it states."""
    return _answers.grade(problem, completion)


def _rows(split: Split) -> Any:
    where = REPOSITORY if split.mirror is None else str(split.mirror / REPOSITORY)
    if split.mirror is not None and not (split.mirror / REPOSITORY).is_dir():
        raise BenchError(f"no {REPOSITORY} in the folder {split.mirror}", OFFLINE)
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(where, split.config, split=split.name)
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError, datasets.exceptions.DatasetGenerationError) as error:
        raise BenchError(f"cannot load {where}: {_first_line(error)}", OFFLINE) from error
    except ValueError as error:
        raise BenchError(f"{where} has no {split.config}/{split.name}: {_first_line(error)}", OFFLINE) from error


def _problem(name: str, row: dict[str, Any]) -> Problem:
    question, solution = row["question"], row["answer"]
    if isinstance(question, str) and isinstance(solution, str):
        answer = _answers.read("####" + solution.rpartition("####")[2]).answer if "####" in solution else None
        if answer is not None:
            return Problem(name, question, answer, solution)
    raise BenchError(f"{name} of {REPOSITORY} has no readable '#### N' at the end of its answer", "mend that row")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
