"""Every answer of a report's rows with what was read in it, and the questions where the task's data is at hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from baseline_bench.evaluation import protocol, regrading
from baseline_bench.rendering.report.data import ReportRow, Study
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.completions import CommittedCompletion, decompress_file, parse_completions
from baseline_bench.results.entries import completions_path
from baseline_bench.results.entry import Entry


@dataclass(frozen=True, slots=True)
class ReportProblem:
    """One item; `question` is None where it is left out or not at hand."""

    id: str
    gold: str
    question: str | None


@dataclass(frozen=True, slots=True)
class GradedCompletions:
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
class ReportCompletions:
    """All that can be browsed: the items, and the answers of every line in the study's order."""

    items: tuple[ReportProblem, ...]
    answers: tuple[GradedCompletions, ...]

    @property
    def with_questions(self) -> bool:
        """The questions' text is part of it."""
        return any(item.question is not None for item in self.items)


def read_report_completions(study: Study, mirror: Path | None, questions: bool) -> ReportCompletions:
    """Read the committed completions of every line again.

    Args:
        study: whose lines.
        mirror: a folder of data sets, for tasks that do not bring their own.
        questions: whether their text is wanted; it is left out too where it is not at hand.

    Raises:
        BenchError: completions are missing or damaged, or rows of one task have other items.
    """
    first = study.lines[0].entry
    task = regrading.find_reader_task(first)
    asked = _read_questions(task, first, mirror) if questions and task is not None else {}
    found = [(line, *_read_completions(line)) for line in study.lines]
    items = tuple(ReportProblem(one.id, one.gold, asked.get(one.id)) for one in found[0][2])
    for line, _, completions in found:
        if [(one.id, one.gold) for one in completions] != [(item.id, item.gold) for item in items]:
            raise BenchError(f"{line.path.name}: its items are not those of {study.lines[0].path.name}", _CHECK_ADVICE)
    answers = (_grade_completions(task, line.entry, packed, completions) for line, packed, completions in found)
    return ReportCompletions(items, tuple(answers))


_CHECK_ADVICE = "see bench board --check"


def _read_questions(task: Task, entry: Entry, mirror: Path | None) -> dict[str, str]:
    """Question by id, of a task that brings its data or finds it in the mirror; none elsewhere."""
    if not regrading.are_items_available(task, mirror):
        return {}
    problems = list(task.problems(Split("test", mirror=mirror)))
    if protocol.digest_items(problems) != entry.result.task.items_sha256:
        raise BenchError(f"the items at hand are not those of {task.LABEL}", "give --without-questions")
    return {problem.id: problem.question for problem in problems}


def _read_completions(line: ReportRow) -> tuple[bytes, tuple[CommittedCompletion, ...]]:
    path = completions_path(line.path)
    if path.is_symlink() or not path.is_file():
        raise BenchError(f"no completions beside {line.path.name}", f"restore {path.name} from git")
    return path.read_bytes(), parse_completions(decompress_file(path), path.name)


def _grade_completions(
    task: Task | None, entry: Entry, packed: bytes, completions: Sequence[CommittedCompletion]
) -> GradedCompletions:
    if task is None:
        unread = hex_to_bits(entry.result.bits.unread, len(completions))
        return GradedCompletions(
            packed, tuple(None if one else "?" for one in unread), ("its own task",) * len(completions)
        )
    verdicts = regrading.grade_completions(task, completions)
    return GradedCompletions(packed, tuple(one.answer for one in verdicts), tuple(one.rule for one in verdicts))
