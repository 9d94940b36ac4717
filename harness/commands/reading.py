"""Read what a model wrote, judge single completions: the commands that need no model."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console, replace_control_characters
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import make_visible
from baseline_bench.core.types import Completion, Judgement, Problem
from baseline_bench.evaluation import stored_answers
from baseline_bench.evaluation.stored_answers import JudgedProblem, read_judged_problems
from baseline_bench.results import entries
from baseline_bench.training import recipes
from rich.rule import Rule
from rich.text import Text

# As many draws of one question, and as many characters of what it is judged by, as a reader can take in.
_MAX_DRAWS, _MAX_LENGTH = 8, 300


@dataclass(frozen=True, slots=True)
class Show:
    """What to show: runs or entries, which of their answers, how many; or `recipe NAME`, with what differs from it."""

    what: list[str]
    only: str | None
    most: int
    sets: list[str]
    base: str | None


@dataclass(frozen=True, slots=True)
class Grade:
    """One completion on stdin against `gold`, or a file of cases."""

    gold: str | None
    cases: Path | None


def show(order: Show, console: Console) -> int:
    """Print questions, completions and verdicts, those asked for; or a recipe as it would be trained."""
    if order.what[0] == "recipe" and len(order.what) > 1:
        console.write("\n".join(recipes.describe_recipe(name, order.sets, order.base) for name in order.what[1:]))
        return 0
    for what in order.what:
        found = read_judged_problems(Path(what))
        chosen = [a for a in found if _is_wanted(a.verdict, order.only)]
        for answered in chosen[: order.most]:
            _print_problem(answered, console)
        left = len(chosen) - min(len(chosen), order.most)
        kind = order.only or "in all"
        console.print(
            Text(f"{what}: {len(found)} answers, {len(chosen)} {kind}" + (f", {left} not shown (-n)" if left else ""))
        )
        entry = Path(what) if what.endswith(".json") else Path(what) / "entry.json"
        checks = entries.read_entry(entry).result.checks if entry.is_file() else None
        if checks is not None:
            console.print(*(Text(make_visible(f"{name}: {value}")) for name, value in checks.facts))
    return 0


def grade(order: Grade, console: Console) -> int:
    """Judge by the answer reader alone: one line of JSON for each completion, in order.

    Raises:
        BenchError: a line of the file is not {"completion", "gold"}.
    """
    task = plugins.load_task("word-problems")
    if order.cases is None:
        completion = sys.stdin.buffer.read().decode("utf-8", "replace")
        console.write(_grade_as_json(task, completion, _parse_gold(task, str(order.gold))))
        return 0
    if not order.cases.is_file():
        raise BenchError(f"no file {order.cases}", 'give a JSONL file of {"completion": "...", "gold": "..."} lines')
    cases = []
    for number, line in enumerate(order.cases.read_bytes().splitlines(), 1):
        try:
            value = json.loads(line)
            cases.append((str(value["completion"]), _parse_gold(task, str(value["gold"]))))
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(
                f"{order.cases}, line {number} is not a case", 'write {"completion": "...", "gold": "..."}'
            ) from error
    console.write("".join(_grade_as_json(task, completion, gold) for completion, gold in cases))
    return 0


def _parse_gold(task: Task, text: str) -> str:
    """The gold answer in the reader's own spelling, so that 70,000 and $5 may be given.

    Raises:
        BenchError: it is no number.
    """
    read = stored_answers.parse_number(task, text)
    if read is None:
        raise BenchError(f"the gold answer '{text}' is no number", "give one, such as 18, 70,000 or 2.5")
    return read


def _grade_as_json(task: Task, completion: str, gold: str) -> str:
    verdict = task.grade(Problem("stdin", "", gold, ""), Completion(completion, None, "stop"))
    value = {"answer": verdict.answer, "correct": verdict.correct, "strict": verdict.strict, "rule": verdict.rule}
    return json.dumps(value, ensure_ascii=False) + "\n"


def _is_wanted(verdict: Judgement, only: str | None) -> bool:
    kinds = {"wrong": not verdict.correct, "cut": verdict.finish == "length", "unread": verdict.answer is None}
    return only is None or kinds[only]


def _print_problem(answered: JudgedProblem, console: Console) -> None:
    verdict = answered.verdict
    console.data.print(Rule(Text(answered.problem.id), align="left"))
    if answered.problem.question:
        console.print(Text(replace_control_characters(answered.problem.question), style="bold"))
    draws = answered.completion.draws
    for number, draw in enumerate(draws[:_MAX_DRAWS], 1):
        if len(draws) > 1:
            console.print(Text(f"draw {number} of {len(draws)}", style="dim"))
        if draw.answer_start:
            console.print(
                Text(replace_control_characters(draw.text[: draw.answer_start]), style="dim"),
                Text("[the answer:]", style="dim"),
            )
        console.print(Text(replace_control_characters(draw.answer.text)))
    if len(draws) > _MAX_DRAWS:
        console.print(Text(f"{len(draws) - _MAX_DRAWS} more draws, among the completions", style="dim"))
    read = verdict.answer if verdict.answer is not None else "nothing"
    judged = "right" if verdict.correct else "wrong"
    style = "green" if verdict.correct else "red"
    text = (
        f"{judged}: gold {_shorten(answered.problem.answer)}, read {_shorten(read)} by {verdict.rule}, {verdict.finish}"
    )
    console.print(Text(replace_control_characters(text), style=style))


def _shorten(text: str) -> str:
    """A gold or what was read, which may be a whole document or program, as far as a line can say it."""
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}… ({len(text):,} characters)"
