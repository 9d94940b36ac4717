"""Decide which task can grade an entry's answers again, and against which gold answers."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Judgement, Problem, Split
from baseline_bench.evaluation import evaluate, protocol
from baseline_bench.results import audit
from baseline_bench.results.bits import Bits, hex_to_bits
from baseline_bench.results.board import split_task_label
from baseline_bench.results.companions import load_completions
from baseline_bench.results.completions import CommittedCompletion, restore_completion
from baseline_bench.results.entries import RegradeFunction
from baseline_bench.results.entry import Entry, TaskRecord
from baseline_bench.results.retractions import Regrade
from baseline_bench.tasks import _answers


def find_reader_task(entry: Entry) -> Task | None:
    """Return an entry's task if it is installed with the same version and the same reader; else None.

    Tasks of other libraries give None: they need their items to read an answer.
    """
    task = _load_newest_version(entry.result.task)
    return None if task is None else select_version(task, entry.result.task)


def find_newer_version(record: TaskRecord) -> tuple[Task, Task] | None:
    """Return the version that a row names and the newest one, which can judge its answers again; None if there is none.

    Tasks of other libraries give None.
    """
    task = _load_newest_version(record)
    own = None if task is None else select_version(task, record)
    return None if task is None or own is None or own is task else (own, task)


def _load_newest_version(record: TaskRecord) -> Task | None:
    name = plugins.find_task_name(record.name, record.label)
    return None if name is None or plugins.is_library_task(record.label) else plugins.load_task(name)


def select_version(task: Task, record: TaskRecord) -> Task | None:
    """Return the task as the version that a row names; None if that version's reader is not here.

    Tasks that read numbers by bench's reader know its earlier versions: under published labels, which have the newest
    one's items, prompts and sampling, and under their own label.
    """
    if (record.label, record.reader) == (task.LABEL, task.READER):
        return task
    if task.grade is not _answers.grade or record.reader not in _answers.EARLIER_READERS:
        return None
    published = record.label in protocol.read_pinned_digests()
    same_family = split_task_label(record.label)[0] == split_task_label(task.LABEL)[0]
    is_earlier = record.label == task.LABEL or (published and same_family)
    if not is_earlier:
        return None
    # Everything but label and reader is the newest version's.
    grade = _answers.EARLIER_READERS[record.reader]
    return cast(Task, plugins.TaskVariant(task, LABEL=record.label, READER=record.reader, grade=grade))


def regrade_entry(entry: Entry, path: Path, created: str) -> Regrade | None:
    """Judge an entry's answers by the newest version of its task; None if that is the entry's own version.

    Raises:
        BenchError: the entry or its completions are faulty, or the newest version is not a published one.
    """
    versions = find_newer_version(entry.result.task)
    if versions is None:
        return None
    old_task, task = versions
    digest = protocol.read_pinned_digests().get(task.LABEL)
    if digest is None:
        raise BenchError(f"{task.LABEL} is not a published version", "pin its digest in protocols.toml")
    lines = load_completions(path, entry)
    old_judgements, judgements = grade_completions(old_task, lines), grade_completions(task, lines)
    return Regrade(
        schema=1,
        created=created,
        entry=path.name,
        entry_sha256=sha256(path.read_bytes()).hexdigest(),
        task=replace(entry.result.task, label=task.LABEL, reader=task.READER, protocol_sha256=digest),
        bits=Bits.of(judgements),
        counts=evaluate.count_judgements(judgements),
        moved=count_moves(old_judgements, judgements),
    )


def find_regrade_faults(
    record: Regrade, entry: Entry, lines: Sequence[CommittedCompletion], regrade: RegradeFunction | None
) -> list[str]:
    """List what is wrong in the numbers of a re-grade.

    Args:
        record: the re-grade.
        entry: its entry, which is sound.
        lines: the entry's completions.
        regrade: judges completions again by the version that an entry names; None checks the numbers alone.

    Raises:
        BenchError: a task or its data is missing.
    """
    pinned = protocol.read_pinned_digests()
    applied = record.apply(entry)
    problems = audit.check_numbers(applied)
    versions = (entry.result.task, record.task)
    if any(pinned.get(version.label) != version.protocol_sha256 for version in versions):
        problems.append("names a protocol that is not the published one of its label")
    if record.task.items_sha256 != entry.result.task.items_sha256:
        problems.append("has other items than its entry")
    judgements = None if regrade is None or problems else regrade(applied, lines)
    if regrade is None or judgements is None:
        return problems
    if problems := audit.check_judgements(applied, lines, judgements):
        return problems
    changed = _find_changed_items(entry.result.bits, record.bits, len(lines))
    old_judgements = regrade(entry, [line for line, differs in zip(lines, changed, strict=True) if differs])
    new_judgements = [judgement for judgement, differs in zip(judgements, changed, strict=True) if differs]
    if old_judgements is None or count_moves(old_judgements, new_judgements) == record.moved:
        return []
    return ["its moved items do not follow from the completions"]


def count_moves(old: Sequence[Judgement], new: Sequence[Judgement]) -> dict[str, int]:
    """Count the items whose right, strict or unread bit changed, by how and why."""
    moves = Counter(
        f"{_describe_judgement(before)}, now {_describe_judgement(after)}"
        for before, after in zip(old, new, strict=True)
        if (before.correct, before.strict, before.answer is None) != (after.correct, after.strict, after.answer is None)
    )
    return dict(sorted(moves.items()))


def _describe_judgement(judgement: Judgement) -> str:
    if judgement.answer is None:
        return f"unread ({judgement.rule})"
    return f"{'strict' if judgement.strict else 'right' if judgement.correct else 'wrong'} by {judgement.rule}"


def _find_changed_items(old: Bits, new: Bits, total: int) -> list[bool]:
    pairs = ((old.correct, new.correct), (old.strict, new.strict), (old.unread, new.unread))
    flags = [
        [first != second for first, second in zip(hex_to_bits(one, total), hex_to_bits(other, total), strict=True)]
        for one, other in pairs
    ]
    return [any(item) for item in zip(*flags, strict=True)]


def are_items_available(task: Task, mirror: Path | None) -> bool:
    """Return whether the task's items are available: the task brings them, or the mirror folder holds them.

    A folder with other data sets but not this one gives False. A folder without any data set was named by mistake and
    gives True, so that loading from it raises the error.
    """
    if any(find_spec(library) is None for library in getattr(task, "LIBRARIES", ())):
        return False
    repository = getattr(task, "REPOSITORY", None)
    if repository is None or mirror is None:
        return repository is None
    return (mirror / repository).is_dir() or not any(path.is_dir() for path in mirror.glob("*/*"))


def grade_completions(task: Task, lines: Sequence[CommittedCompletion]) -> list[Judgement]:
    """Judge every committed completion with the task against its committed gold answer, in order."""
    return [
        evaluate.judge_completion(task, Problem(line.id, "", line.gold, ""), restore_completion(line)) for line in lines
    ]


class Regrader:
    """Grades committed completions again with the reader of the task that their entry names.

    If the task's data is available, the gold answers are its own and limit and seed select the items; else it uses the
    committed gold answers. Answers to a task of another library need that library and its data.

    Attributes:
        unchecked: by label, why answers were not judged again; this is no fault of an entry.

    Args:
        files: of the user's own tasks.
        mirror: a folder of data sets, or None.
    """

    def __init__(self, files: Sequence[str], mirror: Path | None) -> None:
        self._own = {task.LABEL: task for task in map(plugins.load_task, files)}
        self._mirror = mirror
        self._tasks: dict[tuple[str, str], Task] = {}
        self._items: dict[str, list[Problem]] = {}
        self._digests: dict[str, str] = {}  # of the items, by label
        self.unchecked: dict[str, str] = {}

    def __call__(self, entry: Entry, completions: Sequence[CommittedCompletion]) -> list[Judgement] | None:
        """Return the judgements; None for an older version of a task, whose reader is no longer available.

        Raises:
            BenchError: the task or its data is missing or differs from the entry's; the error says how to get it.
        """
        if plugins.is_library_task(entry.result.task.label) and (reason := self.lacking(entry)) is not None:
            self.unchecked[entry.result.task.label] = reason
            return None
        task = self._task(entry)
        task = select_version(task, entry.result.task) or task
        if entry.result.task.label != task.LABEL:
            (family, number), (ours, newest) = split_task_label(entry.result.task.label), split_task_label(task.LABEL)
            if family == ours and number > newest:
                message = f"its task {entry.result.task.label!r:.80} is newer than {task.LABEL}, which is here"
                raise BenchError(message, "check with a newer bench, or pass --task FILE of that version")
            return None
        if entry.result.task.reader != task.READER:
            used = entry.result.task.reader
            message = f"was read by {used}, but {task.LABEL} reads by {task.READER}"
            raise BenchError(
                message, f"pass --task FILE that reads by {used}, or check with the bench that wrote the row"
            )
        completions_by_id = {line.id: restore_completion(line) for line in completions}
        problems = self._drawn(task, entry) or [Problem(line.id, "", line.gold, "") for line in completions]
        # Selected items without an answer get no judgement; the audit then finds that other items were answered.
        problems = [problem for problem in problems if problem.id in completions_by_id]
        judgements = evaluate.judge_completions(task, problems, completions_by_id)
        if len(problems) == len(completions):
            _require_same_evidence(task, entry, problems, completions)
        return judgements

    def lacking(self, entry: Entry) -> str | None:
        """Describe what is missing here for judging an entry's answers again; None if nothing is.

        A task of another library needs its data; bench's tasks use the committed golds if no folder is given.
        """
        try:
            task = self._task(entry)
        except BenchError as error:
            return str(error)
        record, repository = entry.result.task, getattr(task, "REPOSITORY", None)
        if select_version(task, record) is None:
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
        """Return whether the gold answers come from the task and not from the committed completions."""
        return are_items_available(self._task(entry), self._mirror)

    def _drawn(self, task: Task, entry: Entry) -> list[Problem]:
        """Return the selected items with the task's own golds; empty if the task's data is not available."""
        if not are_items_available(task, self._mirror):
            return []
        if task.LABEL not in self._items:
            self._items[task.LABEL] = list(task.problems(Split("test", mirror=self._mirror)))
            self._digests[task.LABEL] = protocol.digest_items(self._items[task.LABEL])
        items, selection = self._items[task.LABEL], entry.result.selection
        if self._digests[task.LABEL] != entry.result.task.items_sha256:
            what = f"its items are not those of {task.LABEL}"
            raise BenchError(what, "pass --datasets DIR, or --task FILE, with the items that were asked")
        return protocol.select_problems(items, selection.limit, selection.seed or 0)

    def _task(self, entry: Entry) -> Task:
        name, label = entry.result.task.name, entry.result.task.label
        base_label, limit = plugins.split_token_limit(label)
        if base_label in self._own:
            return plugins.limit_tokens(self._own[base_label], limit)
        if (name, label) not in self._tasks:
            self._tasks[name, label] = self._load_task(name, label)
        return self._tasks[name, label]

    def _load_task(self, name: str, label: str) -> Task:
        task_name = plugins.find_task_name(name, label)
        if task_name is None:
            raise BenchError(
                f"its task '{name}' is not here",
                "pass --task FILE, or score with it on this machine",
            )
        return plugins.load_task(task_name)


def _require_same_evidence(
    task: Task, entry: Entry, problems: Sequence[Problem], lines: Sequence[CommittedCompletion]
) -> None:
    """Compare an entry's stored item evidence and aggregates with what the task computes now.

    Raises:
        BenchError: they differ; metrics by more than another version of a library explains.
    """
    if (build_evidence := getattr(task, "evidence", None)) is None:
        return
    for problem, line in zip(problems, lines, strict=True):
        current_evidence = build_evidence(problem, restore_completion(line), entry.result.model.prompt_style)
        if line.asked_sha256 != current_evidence.asked_sha256 or not _are_close(line.metrics, current_evidence.metrics):
            raise BenchError(f"the requests or the metrics of {line.id} are not those of {task.LABEL}")
    totals = cast(Any, task).aggregates(problems, [restore_completion(line) for line in lines])
    if not _are_close(entry.result.aggregates, totals):
        raise BenchError("its aggregates do not follow from its items")


def _are_close(first: Mapping[str, float] | None, second: Mapping[str, float] | None) -> bool:
    first, second = first or {}, second or {}
    return first.keys() == second.keys() and all(math.isclose(first[key], second[key], rel_tol=1e-6) for key in first)
