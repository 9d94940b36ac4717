"""Which task can read an entry's answers again, and by which golds; the one place that decides it."""

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Judgement, Problem, Split
from baseline_bench.evaluation import evaluate, protocol
from baseline_bench.results.board import split_task_label
from baseline_bench.results.completions import CommittedCompletion, restore_completion
from baseline_bench.results.entry import Entry


def find_reader_task(entry: Entry) -> Task | None:
    """The task of an entry, where it is one of those here, still of that version, and reads as it did.

    A task of another library is none of them: it reads an answer only where it has its items.
    """
    asked = entry.result.task
    name = plugins.find_task_name(asked.name, asked.label)
    if name is None or plugins.is_library_task(asked.label):
        return None
    task = plugins.load_task(name)
    return task if (asked.label, asked.reader) == (task.LABEL, task.READER) else None


def are_items_available(task: Task, mirror: Path | None) -> bool:
    """Whether the task's items can be had: it brings them, or there is a mirror folder for those that lie elsewhere.

    A folder that holds other data sets and not this one has them not; one that holds none at all was named by mistake,
    and whoever loads from it is told so.
    """
    if any(find_spec(library) is None for library in getattr(task, "LIBRARIES", ())):
        return False
    repository = getattr(task, "REPOSITORY", None)
    if repository is None or mirror is None:
        return repository is None
    return (mirror / repository).is_dir() or not any(path.is_dir() for path in mirror.glob("*/*"))


def grade_completions(task: Task, lines: Sequence[CommittedCompletion]) -> list[Judgement]:
    """Every committed completion judged by the task against its committed gold, in order."""
    return [
        evaluate.judge_completion(task, Problem(line.id, "", line.gold, ""), restore_completion(line)) for line in lines
    ]


class Regrader:
    """Grades committed completions with the reader of the task that their entry names.

    Where the task's data is at hand the golds are its own, and the items those that limit and seed draw; else the golds
    are the committed ones. Answers to a task of another library are judged again where library and data are here.

    Attributes:
        unchecked: by label, why answers were not judged again, which says nothing against an entry.

    Args:
        files: of tasks that are none of ours.
        mirror: a folder of data sets, or None.
    """

    def __init__(self, files: Sequence[str], mirror: Path | None) -> None:
        self._own = {task.LABEL: task for task in map(plugins.load_task, files)}
        self._mirror = mirror
        self._items: dict[str, list[Problem]] = {}
        self.unchecked: dict[str, str] = {}

    def __call__(self, entry: Entry, completions: Sequence[CommittedCompletion]) -> list[Judgement] | None:
        """The verdicts, or None for an older version of a task, whose reader is no longer here.

        Raises:
            BenchError: the task or its data is not here, or is another than the entry says; the way out brings it.
        """
        if plugins.is_library_task(entry.result.task.label) and (why := self.lacking(entry)) is not None:
            self.unchecked[entry.result.task.label] = why
            return None
        task = self._task(entry)
        if entry.result.task.label != task.LABEL:
            (family, number), (ours, newest) = split_task_label(entry.result.task.label), split_task_label(task.LABEL)
            if family == ours and number > newest:
                newer = f"its task {entry.result.task.label!r:.80} is newer than {task.LABEL}, which is here"
                raise BenchError(newer, "check with a newer bench, or pass --task FILE of that version")
            return None
        if entry.result.task.reader != task.READER:
            used = entry.result.task.reader
            other = f"was read by {used}, but {task.LABEL} reads by {task.READER}"
            raise BenchError(
                other, f"pass --task FILE that reads by {used}, or check with the bench that wrote the row"
            )
        answered = {line.id: restore_completion(line) for line in completions}
        problems = self._drawn(task, entry) or [Problem(line.id, "", line.gold, "") for line in completions]
        # Of drawn items that have no answer there is no verdict, and the audit finds that other items were answered.
        problems = [problem for problem in problems if problem.id in answered]
        verdicts = evaluate.judge_completions(task, problems, answered)
        if len(problems) == len(completions):
            _require_same_evidence(task, entry, problems, completions)
        return verdicts

    def lacking(self, entry: Entry) -> str | None:
        """What judging an entry's answers again takes and is not here, which is no fault of it; None where all is here.

        A task of another library needs its data; one of ours takes the committed golds where no folder is named.
        """
        try:
            task = self._task(entry)
        except BenchError as error:
            return str(error)
        record, repository = entry.result.task, getattr(task, "REPOSITORY", None)
        if (record.label, record.reader) != (task.LABEL, task.READER):
            return f"{record.label} read by {record.reader}; here is {task.LABEL} read by {task.READER}"
        if plugins.is_library_task(record.label):
            return (
                None
                if are_items_available(task, self._mirror)
                else f"the data of {task.LABEL} is not at hand (--datasets DIR)"
            )
        if repository is not None and self._mirror is not None and not (self._mirror / repository).is_dir():
            return f"{repository} in the folder {self._mirror} (--datasets DIR, or none for the committed golds)"
        return None

    def own_golds(self, entry: Entry) -> bool:
        """Whether the golds are the task's own, and not those committed."""
        return are_items_available(self._task(entry), self._mirror)

    def _drawn(self, task: Task, entry: Entry) -> list[Problem]:
        """The items that were asked, with their own golds; none where the task's data is not at hand."""
        if not are_items_available(task, self._mirror):
            return []
        if task.LABEL not in self._items:
            self._items[task.LABEL] = list(task.problems(Split("test", mirror=self._mirror)))
        items, selection = self._items[task.LABEL], entry.result.selection
        if protocol.digest_items(items) != entry.result.task.items_sha256:
            what = f"its items are not those of {task.LABEL}"
            raise BenchError(what, "pass --datasets DIR, or --task FILE, with the items that were asked")
        return protocol.select_problems(items, selection.limit, selection.seed or 0)

    def _task(self, entry: Entry) -> Task:
        name, label = entry.result.task.name, entry.result.task.label
        if label in self._own:
            return self._own[label]
        found = plugins.find_task_name(name, label)
        if found is None:
            raise BenchError(f"its task '{name}' is not here", "pass --task FILE")
        return plugins.load_task(found)


def _require_same_evidence(
    task: Task, entry: Entry, problems: Sequence[Problem], lines: Sequence[CommittedCompletion]
) -> None:
    """Hold what an entry keeps of its items, and its aggregates, to what the task says of them now.

    Raises:
        BenchError: they differ; metrics by more than a library's other version would.
    """
    if (tell := getattr(task, "evidence", None)) is None:
        return
    for problem, line in zip(problems, lines, strict=True):
        now = tell(problem, restore_completion(line), entry.result.model.prompt_style)
        if line.asked_sha256 != now.asked_sha256 or not _are_close(line.metrics, now.metrics):
            raise BenchError(f"the requests or the metrics of {line.id} are not those of {task.LABEL}")
    totals = cast(Any, task).aggregates(problems, [restore_completion(line) for line in lines])
    if not _are_close(entry.result.aggregates, totals):
        raise BenchError("its aggregates do not follow from its items")


def _are_close(one: Mapping[str, float] | None, other: Mapping[str, float] | None) -> bool:
    one, other = one or {}, other or {}
    return one.keys() == other.keys() and all(math.isclose(one[key], other[key], rel_tol=1e-6) for key in one)
