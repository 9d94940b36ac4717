"""Reads all answers of a report's rows, the values extracted from them, and the problems' texts where available."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Problem, Split
from baseline_bench.evaluation import protocol, regrading
from baseline_bench.rendering.report.data import ReportRow, Study
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.companions import COMPLETIONS, load_completions, locate_companion
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry


@dataclass(frozen=True, slots=True)
class ReportProblem:
    """One item; its texts are None where they are left out or not available.

    Attributes:
        prompt: the conversation that asks it, before a model's chat template.
        solution: the worked answer.
    """

    id: str
    gold: str
    question: str | None = None
    prompt: str | None = None
    solution: str | None = None


@dataclass(frozen=True, slots=True)
class GradedCompletions:
    """The answers of one row.

    Attributes:
        packed: the committed completions, gzip as in their file.
        read: the answer read from each; None where none was found, a question mark where its reader is not available.
        rules: the rule of the reader that matched each.
    """

    packed: bytes
    read: tuple[str | None, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportCompletions:
    """All that the page lets readers browse: the items, and the answers of every line in the study's order."""

    items: tuple[ReportProblem, ...]
    answers: tuple[GradedCompletions, ...]

    @property
    def with_questions(self) -> bool:
        """Return whether the text of the questions is included."""
        return any(item.question is not None for item in self.items)


def read_report_completions(study: Study, mirror: Path | None, questions: bool) -> ReportCompletions:
    """Read and grade the committed completions of every line.

    Args:
        study: the study with the lines.
        mirror: a folder of data sets, for tasks that do not ship their own.
        questions: whether to include their text, where it is available.

    Raises:
        BenchError: completions are missing or damaged, or rows of one task have other items.
    """
    first = study.lines[0].entry
    task = regrading.find_reader_task(first)
    texts_by_id = _read_texts(task, first, mirror) if questions and task is not None else {}
    read_lines = [(line, *_read_completions(line)) for line in study.lines]
    items = tuple(ReportProblem(one.id, one.gold, *texts_by_id.get(one.id, ())) for one in read_lines[0][2])
    for line, _, completions in read_lines:
        if [(one.id, one.gold) for one in completions] != [(item.id, item.gold) for item in items]:
            raise BenchError(f"{line.path.name}: its items are not those of {study.lines[0].path.name}", _CHECK_ADVICE)
    answers = (_grade_completions(task, line.entry, packed, completions) for line, packed, completions in read_lines)
    return ReportCompletions(items, tuple(answers))


_CHECK_ADVICE = "see bench board --check"


def _read_texts(task: Task, entry: Entry, mirror: Path | None) -> dict[str, tuple[str, str, str]]:
    """Read question, prompt and solution by id, where the task ships its data or finds it in the mirror; else none."""
    if not regrading.are_items_available(task, mirror):
        return {}
    problems = list(task.problems(Split("test", mirror=mirror)))
    if protocol.digest_items(problems) != entry.result.task.items_sha256:
        raise BenchError(f"the items at hand are not those of {task.LABEL}", "give --without-questions")
    return {problem.id: (problem.question, _render_prompt(task, problem), problem.solution) for problem in problems}


def _render_prompt(task: Task, problem: Problem) -> str:
    return "\n\n".join(f"{turn.role}:\n{turn.content}" for turn in task.messages(problem))


def _read_completions(line: ReportRow) -> tuple[bytes, tuple[CommittedCompletion, ...]]:
    completions, packed = load_completions(line.path, line.entry), locate_companion(line.path, line.entry, COMPLETIONS)
    return (b"" if packed is None else packed.read_bytes()), completions


def _grade_completions(
    task: Task | None, entry: Entry, packed: bytes, completions: Sequence[CommittedCompletion]
) -> GradedCompletions:
    if task is None:
        unread = hex_to_bits(entry.result.bits.unread, len(completions))
        return GradedCompletions(
            packed, tuple(None if one else "?" for one in unread), ("its own task",) * len(completions)
        )
    judgements = regrading.grade_completions(task, completions)
    return GradedCompletions(packed, tuple(one.answer for one in judgements), tuple(one.rule for one in judgements))
