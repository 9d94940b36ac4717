"""The answers that a run or an entry keeps, each with its judgement."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Judgement, Problem
from baseline_bench.evaluation import evaluate, regrading, runs
from baseline_bench.results import entries
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.completions import decompress_file, parse_completions, restore_completion


@dataclass(frozen=True, slots=True)
class JudgedProblem:
    """A problem with what was written and how it was judged."""

    problem: Problem
    completion: Completion
    verdict: Judgement


def read_judged_problems(path: Path) -> list[JudgedProblem]:
    """Every answer of a run's folder, or of an entry's committed completions, with its verdict."""
    if path.suffix == ".json":
        return _read_committed(path)
    problems, completions = runs.read_problems(path), runs.read_completions(path)
    verdicts = {v.problem_id: v for v in runs.read_judgements(path)}
    done = [p for p in problems if p.id in completions]
    unjudged = [p for p in done if p.id not in verdicts]
    if unjudged:
        task = plugins.load_task(str(runs.read_json(path / "run.json")["settings"]["task"]))
        verdicts |= {p.id: evaluate.judge_completion(task, p, completions[p.id]) for p in unjudged}
    return [JudgedProblem(p, completions[p.id], verdicts[p.id]) for p in done]


def find_task_name(path: Path) -> str | None:
    """The name of the task that a run or an entry answers; None where no task here is of that name."""
    if path.suffix == ".json":
        asked = entries.read_entry(path).result.task
        return plugins.find_task_name(asked.name, asked.label)
    return str(runs.read_json(path / "run.json")["settings"]["task"])


def _read_committed(path: Path) -> list[JudgedProblem]:
    entry = entries.read_entry(path)
    beside = path.with_suffix(".jsonl.gz")
    if not beside.is_file():
        raise BenchError(f"no completions beside {path}", f"restore {beside.name} from git")
    lines, bits = parse_completions(decompress_file(beside), str(beside)), entry.result.bits
    problems = [Problem(line.id, "", line.gold, "") for line in lines]
    completions = [restore_completion(line) for line in lines]
    task = regrading.find_reader_task(entry)
    if task is not None:
        return list(map(JudgedProblem, problems, completions, regrading.grade_completions(task, lines)))
    # What a reader that is not here read is not in an entry; whether it was right is.
    kinds = zip(*(hex_to_bits(each, len(lines)) for each in (bits.correct, bits.strict, bits.unread)), strict=True)
    verdicts = [
        Judgement(line.id, None if unread else "?", "its own task", correct, strict, line.finish)
        for line, (correct, strict, unread) in zip(lines, kinds, strict=True)
    ]
    return list(map(JudgedProblem, problems, completions, verdicts))


def parse_number(task: Task, text: str) -> str | None:
    """The number that a text is, in the reader's own spelling; None where it is none."""
    return task.grade(Problem("gold", "", "0", ""), Completion(f"#### {text}", None, "stop")).answer
