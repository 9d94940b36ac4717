"""GSM8K, one shot: grade-school word problems whose answer is one number (Cobbe et al. 2021, arXiv:2110.14168).

Question: Ben buys 4 boxes of 6 crayons and finds 5 more in a drawer. How many crayons does he have?

    The boxes hold 4*6=<<4*6=24>>24 crayons.
    With those from the drawer he has 24+5=<<24+5=29>>29 crayons.
    #### 29

The data is the hub's `openai/gsm8k` (test 1,319, train 7,473; configs main and socratic), or a mirror in a folder. The
worked example of every prompt is our own and in neither split, so that no candidate has trained on it.
"""

from typing import Any

import datasets
from datasets.exceptions import DatasetsError

from harness.errors import BenchError
from harness.quiet import no_bars
from harness.types import Completion, Message, Problem, Sampling, Split, Verdict
from tasks import _answers
from tasks._numbers import normalise

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
UNREACHABLE = f"{OFFLINE}; or name a mirror of the hub: HF_ENDPOINT"


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
    read = [(f"{split.name}-{number}", _problem(f"{split.name}-{number}", row)) for number, row in enumerate(rows)]
    if unreadable := [name for name, problem in read if problem is None]:
        named = ", ".join(unreadable[:5]) + (", ..." if len(unreadable) > 5 else "")
        what = f"{len(unreadable)} rows of {REPOSITORY} {split.config} end in no readable '#### N': {named}"
        raise BenchError(what, "mend these rows, or fetch the data set again")
    return [problem for _, problem in read if problem is not None]


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
    try:
        with no_bars():
            return datasets.load_dataset(where, split.config, split=split.name)
    except (OSError, DatasetsError, StopIteration) as error:  # an empty .jsonl ends in StopIteration
        way_out = UNREACHABLE if split.mirror is None else OFFLINE
        raise BenchError(f"cannot load {where}: {_first_line(error.__cause__ or error)}", way_out) from error
    except ValueError as error:
        raise BenchError(f"{where} has no {split.config}/{split.name}: {_first_line(error)}", OFFLINE) from error


def _problem(name: str, row: dict[str, Any]) -> Problem | None:
    """Make one problem; None where the row's answer does not end in a readable `#### N`."""
    question, solution = row["question"], row["answer"]
    if not (isinstance(question, str) and isinstance(solution, str)):
        return None
    answer = normalise(solution.rpartition("####")[2].strip()) if "####" in solution else None
    return None if answer is None else Problem(name, question, answer, solution)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
