"""`bench board`: render every page from the entries, or say where pages, entries and completions do not agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import evaluate, leaderboard, plugins
from harness.completions import CommittedCompletion
from harness.display import Screen
from harness.entries import Entry
from harness.errors import BenchError
from harness.types import Completion, Problem, Task, Verdict


@dataclass(frozen=True, slots=True)
class Board:
    """What to render or to check; `tasks` are files of tasks that are none of ours."""

    leaderboards: Path
    check: bool
    base: str | None
    tasks: list[str]


def board(order: Board, screen: Screen) -> int:
    """Render, naming what changed; or check, one line a fault, exit status 1 where there is any.

    Raises:
        BenchError: --base without --check, or no such folder.
    """
    if not order.check:
        if order.base is not None:
            raise BenchError("--base goes with --check", f"bench board --check --base {order.base}")
        for path in leaderboard.write(order.leaderboards):
            screen.write(f"{path}\n")
        return 0
    faults = leaderboard.check(order.leaderboards, _Again(order.tasks), order.base)
    screen.write("".join(f"{fault}\n" for fault in faults))
    return 1 if faults else 0


class _Again:
    """Grades committed completions with the reader of the task that their entry names."""

    def __init__(self, files: Sequence[str]) -> None:
        self._own = {task.LABEL: task for task in map(plugins.task, files)}
        self._found: dict[str, Task] = {}

    def __call__(self, entry: Entry, completions: Sequence[CommittedCompletion]) -> list[Verdict] | None:
        task = self._task(entry)
        if entry.result.task.label != task.LABEL:
            return None
        if entry.result.task.reader != task.READER:
            reader = entry.result.task.reader
            raise BenchError(f"was read by {reader}, but {task.LABEL} reads by {task.READER}")
        problems = [Problem(line.id, "", line.gold, "") for line in completions]
        written = {line.id: Completion(line.text, None, line.finish) for line in completions}
        return evaluate.grade(task, problems, written)

    def _task(self, entry: Entry) -> Task:
        name, label = entry.result.task.name, entry.result.task.label
        if label in self._own:
            return self._own[label]
        if name not in self._found:
            if name not in plugins.names("task"):
                raise BenchError(f"its task '{name}' is not here: give --task FILE")
            self._found[name] = plugins.task(name)
        return self._found[name]
