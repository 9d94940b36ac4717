"""Every answer of a report's rows with what was read in it, and the questions where the task's data is at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from baseline_bench.evaluation import protocol, regrading
from baseline_bench.rendering.report.data import Line, Study
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.completions import CommittedCompletion, from_lines, read_lines
from baseline_bench.results.entries import completions_path
from baseline_bench.results.entry import Entry


@dataclass(frozen=True, slots=True)
class Item:
    """One item; `question` is None where it is left out or not at hand."""

    id: str
    gold: str
    question: str | None


@dataclass(frozen=True, slots=True)
class Answers:
    """What one row answered.

    Attributes:
        packed: the committed completions, gzip as they lie beside the entry.
        read: the answer read from each, None where nothing was; a question mark where the reader is not here.
        rules: the rule of the reader that fired for each.
    """

    packed: bytes
    read: tuple[str | None, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """All that can be browsed: the items, and the answers of every line in the study's order."""

    items: tuple[Item, ...]
    answers: tuple[Answers, ...]

    @property
    def with_questions(self) -> bool:
        """The questions' text is part of it."""
        return any(item.question is not None for item in self.items)


def read(study: Study, mirror: Path | None, questions: bool) -> Reading:
    """Read the committed completions of every line again.

    Args:
        study: whose lines.
        mirror: a folder of data sets, for tasks that do not bring their own.
        questions: whether their text is wanted; it is left out too where it is not at hand.

    Raises:
        BenchError: completions are missing or damaged, or rows of one task have other items.
    """
    first = study.lines[0].entry
    task = regrading.reader(first)
    asked = _questions(task, first, mirror) if questions and task is not None else {}
    found = [(line, *_completions(line)) for line in study.lines]
    items = tuple(Item(one.id, one.gold, asked.get(one.id)) for one in found[0][2])
    for line, _, completions in found:
        if [(one.id, one.gold) for one in completions] != [(item.id, item.gold) for item in items]:
            raise BenchError(f"{line.path.name}: its items are not those of {study.lines[0].path.name}", _MEND)
    answers = (_graded(task, line.entry, packed, completions) for line, packed, completions in found)
    return Reading(items, tuple(answers))


_MEND = "see bench board --check"


def _questions(task: Task, entry: Entry, mirror: Path | None) -> dict[str, str]:
    """Question by id, of a task that brings its data or finds it in the mirror; none elsewhere."""
    if not regrading.at_hand(task, mirror):
        return {}
    problems = list(task.problems(Split("test", mirror=mirror)))
    if protocol.items_sha256(problems) != entry.result.task.items_sha256:
        raise BenchError(f"the items at hand are not those of {task.LABEL}", "give --without-questions")
    return {problem.id: problem.question for problem in problems}


def _completions(line: Line) -> tuple[bytes, tuple[CommittedCompletion, ...]]:
    path = completions_path(line.path)
    if path.is_symlink() or not path.is_file():
        raise BenchError(f"no completions beside {line.path.name}", f"restore {path.name} from git")
    return path.read_bytes(), from_lines(read_lines(path), path.name)


def _graded(task: Task | None, entry: Entry, packed: bytes, completions: Sequence[CommittedCompletion]) -> Answers:
    if task is None:
        unread = hex_to_bits(entry.result.bits.unread, len(completions))
        return Answers(packed, tuple(None if one else "?" for one in unread), ("its own task",) * len(completions))
    verdicts = regrading.grade(task, completions)
    return Answers(packed, tuple(one.answer for one in verdicts), tuple(one.rule for one in verdicts))
