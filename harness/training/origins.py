"""What tasks and data were made from: a score means nothing where both go back to the same test items.

Words alone do not tell: a template with other names and numbers, or a question put better, shares no 13 of them with
the item that it was made from.
"""

from collections.abc import Sequence
from pathlib import Path

from baseline_bench import plugins
from baseline_bench.errors import BenchError


def shared(derived_from: Sequence[str], data: str, task: str) -> str | None:
    """The task from whose test items both the training data and this task's test items come; None where there is none.

    Args:
        derived_from: the tasks whose items the data was made from, as its recipe says.
        data: what was trained on: a task's name stands for its train split, which may be made from another's test.
        task: name or file of the task to be scored. Its own train split is held apart from its test by the task.
    """
    sources = {*derived_from, *(root for name in derived_from for root in _made_from(name, "test"))}
    if data != task:
        sources.update(_made_from(data, "train"))
    return next((root for root in (task, *_made_from(task, "test")) if root in sources), None)


def require_apart(derived_from: Sequence[str], data: str, task: str) -> None:
    """Refuse to score a candidate on a task whose items, or the items behind them, its training data was made from.

    Raises:
        BenchError: data and task go back to the same test items.
    """
    root = shared(derived_from, data, task)
    if root is None:
        return
    too = "" if root == task else f", as those of {task} were"
    raise BenchError(
        f"the training data was made from items of {root} (derived_from){too}, so a score on {task} would mean nothing",
        "score the candidate on another task, or train on other data",
    )


def _made_from(name: str, split: str) -> tuple[str, ...]:
    """The tasks whose test items this task's split was made from; nothing for what is no task here."""
    if name not in plugins.names("task") and not (name.endswith(".py") and Path(name).is_file()):
        return ()
    return tuple(getattr(plugins.task(name), "DERIVED_FROM", {}).get(split, ()))
