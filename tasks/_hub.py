"""Load number problems from a hub data set whose solutions end in `#### N`."""

from typing import Any

from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.mirrors import advise_offline, load_rows
from baseline_bench.core.types import Problem, Split
from baseline_bench.tasks._numbers import normalise

COLUMNS = ("question", "answer")


def problems(repository: str, split: Split) -> list[Problem]:
    """Return every row of the split in the data set's own order; further columns are ignored.

    Args:
        repository: the data set's name on the hub, and its folder in a mirror.

    Raises:
        BenchError: the data set cannot be reached, is empty, lacks a column, or a row's answer cannot be read.
    """
    folder = None if split.mirror is None else split.mirror / repository
    if folder is not None and not folder.is_dir():
        raise BenchError(f"no {repository} in the folder {split.mirror}", advise_offline(repository))
    rows = load_rows(repository, split.config, split.name, folder)
    missing_columns = [column for column in COLUMNS if column not in rows.column_names]
    if missing_columns:
        known_columns = ", ".join(rows.column_names)
        what = f"{repository} {split.config} lacks the columns {', '.join(missing_columns)}"
        raise BenchError(what, f"it has: {known_columns}")
    if len(rows) == 0:
        raise BenchError(f"{repository} {split.config} {split.name} is empty", "fetch the data set again")
    read = [
        (f"{split.name}-{number}", _build_problem(f"{split.name}-{number}", row)) for number, row in enumerate(rows)
    ]
    if unreadable := [name for name, problem in read if problem is None]:
        names = list_first(unreadable)
        message = f"{len(unreadable)} rows of {repository} {split.config} end in no readable '#### N': {names}"
        raise BenchError(message, "correct these rows, or fetch the data set again")
    return [problem for _, problem in read if problem is not None]


def _build_problem(name: str, row: dict[str, Any]) -> Problem | None:
    """Build one problem; None if the row's answer does not end in a readable `#### N`."""
    question, solution = row["question"], row["answer"]
    if not (isinstance(question, str) and isinstance(solution, str)):
        return None
    answer = normalise(solution.rpartition("####")[2].strip()) if "####" in solution else None
    return None if answer is None else Problem(name, question, answer, solution)
