"""`bench board`: render every page from the entries, or say where pages, entries, records and completions disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import evaluate, plugins, protocol, runs
from harness.contracts import Task
from harness.display import Screen
from harness.errors import BenchError
from harness.pages import checking, leaderboard
from harness.store.board import version
from harness.store.completions import CommittedCompletion
from harness.store.entry import Entry
from harness.types import Completion, Problem, Split, Verdict


@dataclass(frozen=True, slots=True)
class Board:
    """What to render or to check.

    Attributes:
        tasks: files of tasks that are none of ours.
        mirror: a folder of data sets; with it the golds of tasks whose data lies elsewhere are checked too.
    """

    leaderboards: Path
    check: bool
    base: str | None
    tasks: list[str]
    mirror: Path | None


def board(order: Board, screen: Screen) -> int:
    """Render, naming what changed; or check, one line a fault, exit status 1 where there is any.

    Raises:
        BenchError: --base without --check, or no such folder.
    """
    if not order.check:
        if order.base is not None:
            raise BenchError("--base goes with --check", f"bench board --check --base {order.base}")
        with runs.writing(order.leaderboards):
            changed = leaderboard.write(order.leaderboards)
        screen.write("".join(f"{path}\n" for path in changed))
        return 0
    faults = checking.check(order.leaderboards, _Again(order.tasks, order.mirror), order.base)
    screen.write("".join(f"{fault}\n" for fault in faults))
    return 1 if faults else 0


class _Again:
    """Grades committed completions with the reader of the task that their entry names.

    Where the task's data is at hand the golds are its own, and the items those that limit and seed draw; else the golds
    are the committed ones. Data is at hand for tasks that bring it, and for others in the mirror folder.
    """

    def __init__(self, files: Sequence[str], mirror: Path | None) -> None:
        self._own = {task.LABEL: task for task in map(plugins.task, files)}
        self._mirror = mirror
        self._items: dict[str, list[Problem]] = {}

    def __call__(self, entry: Entry, completions: Sequence[CommittedCompletion]) -> list[Verdict] | None:
        task = self._task(entry)
        if entry.result.task.label != task.LABEL:
            (family, number), (ours, newest) = version(entry.result.task.label), version(task.LABEL)
            if family == ours and number > newest:
                raise BenchError(f"its task {entry.result.task.label!r:.80} is newer than {task.LABEL}, which is here")
            return None
        if entry.result.task.reader != task.READER:
            reader = entry.result.task.reader
            raise BenchError(f"was read by {reader}, but {task.LABEL} reads by {task.READER}")
        written = {line.id: Completion(line.text, None, line.finish) for line in completions}
        problems = self._drawn(task, entry) or [Problem(line.id, "", line.gold, "") for line in completions]
        if list(written) != [problem.id for problem in problems]:
            raise BenchError("its items are not those that its limit and seed draw")
        return evaluate.grade(task, problems, written)

    def _drawn(self, task: Task, entry: Entry) -> list[Problem]:
        """The items that were asked, with their own golds; none where the task's data is not at hand."""
        if getattr(task, "REPOSITORY", None) is not None and self._mirror is None:
            return []
        if task.LABEL not in self._items:
            self._items[task.LABEL] = list(task.problems(Split("test", mirror=self._mirror)))
        items, selection = self._items[task.LABEL], entry.result.selection
        if protocol.items_sha256(items) != entry.result.task.items_sha256:
            raise BenchError(f"its items are not those of {task.LABEL}")
        return protocol.select(items, selection.limit, selection.seed or 0)

    def _task(self, entry: Entry) -> Task:
        name, label = entry.result.task.name, entry.result.task.label
        if label in self._own:
            return self._own[label]
        if name not in plugins.names("task"):
            raise BenchError(f"its task '{name}' is not here: give --task FILE")
        return plugins.task(name)
