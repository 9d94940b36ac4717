"""Read the answers that a run or an entry stores, each with its judgement."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console
from baseline_bench.core.types import Completion, Judgement, Problem, Split
from baseline_bench.evaluation import evaluate, protocol, regrading, runs
from baseline_bench.results import entries
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.companions import load_completions
from baseline_bench.results.completions import restore_completion
from baseline_bench.results.entry import Entry


@dataclass(frozen=True, slots=True)
class JudgedProblem:
    """A problem with its completion and judgement."""

    problem: Problem
    completion: Completion
    verdict: Judgement


def read_judged_problems(path: Path) -> list[JudgedProblem]:
    """Read every answer of a run's folder, or of an entry's committed completions, with its judgement."""
    if path.suffix == ".json":
        return _read_committed(path)
    problems, completions = runs.read_problems(path), runs.read_completions(path)
    judgements = {judgement.problem_id: judgement for judgement in runs.read_judgements(path)}
    done = [problem for problem in problems if problem.id in completions]
    unjudged = [problem for problem in done if problem.id not in judgements]
    if unjudged:
        task = plugins.load_task(runs.read_task_name(path))
        judgements |= {
            problem.id: evaluate.judge_completion(task, problem, completions[problem.id]) for problem in unjudged
        }
    return [JudgedProblem(problem, completions[problem.id], judgements[problem.id]) for problem in done]


def read_questions(task: Task | None, entry: Entry, mirror: Path | None, console: Console) -> dict[str, str]:
    """Read an entry's questions by item id from the task's data; none where these items are not at hand."""
    if task is None or not regrading.are_items_available(task, mirror):
        return {}
    items = task.problems(Split("test", mirror=mirror))
    if protocol.digest_items(items) == entry.result.task.items_sha256:
        return {problem.id: problem.question for problem in items}
    console.warn(f"the items at hand are not those of {task.LABEL} in this entry: their text is not shown")
    return {}


def find_task_name(path: Path) -> str | None:
    """Return the name of a run's or an entry's task; None if no installed task has that name."""
    if path.suffix == ".json":
        record = entries.read_entry(path).result.task
        return plugins.find_task_name(record.name, record.label)
    return runs.read_task_name(path)


def _read_committed(path: Path) -> list[JudgedProblem]:
    entry = entries.read_entry(path)
    lines, bits = load_completions(path, entry), entry.result.bits
    problems = [Problem(line.id, "", line.gold, "") for line in lines]
    completions = [restore_completion(line) for line in lines]
    task = regrading.find_reader_task(entry)
    if task is not None:
        return list(map(JudgedProblem, problems, completions, regrading.grade_completions(task, lines)))
    # An entry stores whether each answer is right, but not what an unavailable reader read.
    kinds = zip(*(hex_to_bits(each, len(lines)) for each in (bits.correct, bits.strict, bits.unread)), strict=True)
    judgements = [
        Judgement(line.id, None if unread else "?", "its own task", correct, strict, line.finish)
        for line, (correct, strict, unread) in zip(lines, kinds, strict=True)
    ]
    return list(map(JudgedProblem, problems, completions, judgements))


def parse_number(task: Task, text: str) -> str | None:
    """Return the number in a text, in the reader's own spelling; None if it has none."""
    return task.grade(Problem("gold", "", "0", ""), Completion(f"#### {text}", None, "stop")).answer
