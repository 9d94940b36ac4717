"""`bench verify --against lm-eval`: judge stored completions with lm-eval's filters and list every difference.

It generates nothing and reads no data set: texts and gold answers come from the run or the entry.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import make_visible
from baseline_bench.core.types import Completion, Split
from baseline_bench.evaluation import stored_answers
from baseline_bench.evaluation.stored_answers import JudgedProblem
from rich.text import Text

LENIENT_FILTER, STRICT_FILTER = "flexible-extract", "strict-match"
# The lm-eval task whose filters judge.
DEFAULT_TASK = "gsm8k"
_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class JudgementDifference:
    """One question that bench and lm-eval judge differently.

    Attributes:
        problem_id: the question's id.
        verdict: "exact match" or "strict".
        ours: whether bench judges it right.
        text: the gold answer, what bench read and what lm-eval took.
        why: the reason, one of a few so that they can be counted.
    """

    problem_id: str
    verdict: str
    ours: bool
    text: str
    why: str


def compare_with_lm_eval(paths: Sequence[Path], mirror: Path | None, console: Console) -> int:
    """Judge the completions of runs and entries with lm-eval too, and list every question judged differently.

    Answers to one of lm-eval's own tasks have only one reader, so their metrics are printed as lm-eval aggregates
    them.

    Returns:
        0: a difference between two readers is a finding and not a failure.

    Raises:
        BenchError: no such run or entry, lm-eval is not installed, or its task's data is not available.
    """
    from baseline_bench.tasks import _lm_eval_numbers  # loads lm_eval

    judge: Any = _lm_eval_numbers.NumberJudge(DEFAULT_TASK)
    number_task = plugins.load_task("word-problems")
    for path in paths:
        answers, name = stored_answers.read_judged_problems(path), stored_answers.find_task_name(path) or ""
        if name.startswith("lm-eval:"):
            _print_lm_eval_metrics(path, answers, plugins.load_task(name), mirror, console)
            continue
        _require_number_task(path, answers, number_task)
        readings = [judge.readings(each.problem.answer, each.completion.answer.text) for each in answers]
        pairs = list(zip(answers, readings, strict=True))
        differences: list[JudgementDifference] = []
        for answer, reading in pairs:
            differences += _find_differences(answer, reading, number_task)
        _print_differences(path, pairs, differences, console)
    return 0


def _require_number_task(path: Path, answers: Sequence[JudgedProblem], number_task: Any) -> None:
    if any(answer.completion.more for answer in answers):
        what = f"{path}: several draws are judged together, and lm-eval's {DEFAULT_TASK} judges one answer"
        raise BenchError(what, "name a row of one of lm-eval's own tasks with draws")
    for problem in {answer.problem.answer: answer.problem for answer in answers}.values():
        gold = number_task.grade(problem, Completion(f"#### {problem.answer}", None, "stop"))
        if gold.rule != "hash" or gold.answer is None:
            what = f"{path}: the gold answer of {problem.id} is no number: {make_visible(problem.answer):.40}"
            raise BenchError(what, f"only number tasks can be judged by lm-eval's {DEFAULT_TASK}")


def _find_differences(answer: JudgedProblem, readings: Any, number_task: Any) -> Iterator[JudgementDifference]:
    ours = answer.verdict
    for kind, right, name in (("exact match", ours.correct, LENIENT_FILTER), ("strict", ours.strict, STRICT_FILTER)):
        reading = readings[name]
        if right == reading.correct:
            continue
        read = f"ours read nothing ({ours.rule})" if ours.answer is None else f"ours read {ours.answer} by {ours.rule}"
        lm_eval_text = "found no match" if reading.text is None else f"took {_shorten(reading.text)}"
        reason = (_explain_lenient if name == LENIENT_FILTER else _explain_strict)(answer, reading, number_task)
        cut = ", the answer was cut" if ours.finish == "length" else ""
        description = f"gold {answer.problem.answer}, {read}, {name} {lm_eval_text}{cut}"
        yield JudgementDifference(answer.problem.id, kind, right, description, reason)


def _explain_lenient(answer: JudgedProblem, reading: Any, number_task: Any) -> str:
    """Explain why flexible-extract and bench's reader disagree whether an answer is right."""
    ours, gold = answer.verdict, answer.problem.answer
    if reading.text is None:
        return "theirs knows digits alone"
    if not any(sign.isdigit() for sign in reading.text):
        return "theirs took signs without a digit"
    if stored_answers.parse_number(number_task, reading.text.rstrip(".")) == gold and not reading.correct:
        return "the same number, which theirs compares as text"
    if ours.answer is None:
        return f"ours read nothing ({ours.rule})"
    if "/" in ours.answer and reading.text in ours.answer.split("/"):
        return "theirs takes a fraction apart"
    return f"another number: ours by {ours.rule}"


def _explain_strict(answer: JudgedProblem, reading: Any, number_task: Any) -> str:
    """Explain why strict-match and bench's strict judgement disagree."""
    marks, gold = answer.completion.answer.text.count("####"), answer.problem.answer
    if marks > 1:
        return "several ####: theirs takes the first, ours the last"
    if answer.verdict.strict:
        same = reading.text is not None and stored_answers.parse_number(number_task, reading.text.rstrip(".")) == gold
        return "the same number, which theirs compares as text" if same else "theirs wants one space behind ####"
    if not answer.verdict.correct:
        return f"another number: ours by {answer.verdict.rule}"
    return "theirs does not mind what else is on the line"


def _shorten(text: str) -> str:
    shown = make_visible(text)
    return repr(shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 1] + "…")


def _print_lm_eval_metrics(
    path: Path, answers: Sequence[JudgedProblem], task: Any, mirror: Path | None, console: Console
) -> None:
    """Print every metric of lm-eval's own task over the answers, aggregated as lm-eval does."""
    rows = [("judged by", f"lm-eval {version('lm_eval')}, its own {task.LABEL}; {len(answers):,} answers")]
    right = sum(judged_problem.verdict.correct for judged_problem in answers)
    rows.append(("counted right", f"{right:,}, by {task.READER}"))
    by_id = {problem.id: problem for problem in task.problems(Split("test", mirror=mirror))}
    problems, completions = [by_id[each.problem.id] for each in answers], [each.completion.answer for each in answers]
    totals = task.totals(problems, completions)
    rows += [(name, f"{total:.6g}") for name, total in totals.items()]
    console.print(build_facts_table(path.name, rows))


def _print_differences(
    path: Path, pairs: Sequence[tuple[JudgedProblem, Any]], differences: Sequence[JudgementDifference], console: Console
) -> None:
    rows = [("judged by", f"lm-eval {version('lm_eval')}, its own {DEFAULT_TASK}; {len(pairs):,} answers")]
    for kind, member, name in (("exact match", "correct", LENIENT_FILTER), ("strict", "strict", STRICT_FILTER)):
        ours = sum(getattr(judged_problem.verdict, member) for judged_problem, _ in pairs)
        theirs = sum(readings[name].correct for _, readings in pairs)
        disputed = [difference for difference in differences if difference.verdict == kind]
        only_bench = sum(difference.ours for difference in disputed)
        only_lm_eval = len(disputed) - only_bench
        counts = f"{ours:,} right, {name} {theirs:,}; apart on {len(disputed):,}: {only_bench:,} right for ours alone"
        rows.append((kind, f"{counts}, {only_lm_eval:,} for theirs alone"))
    reasons = Counter((difference.verdict, difference.why) for difference in differences)
    for (kind, reason), count in reasons.most_common():
        rows.append((f"{count:,} x", f"{kind}: {reason}"))
    console.print(build_facts_table(path.name, rows))
    for difference in differences:
        side = "right for ours alone" if difference.ours else "right for theirs alone"
        line = f"{difference.problem_id}: {difference.verdict}, {side}: {difference.text}: {difference.why}"
        console.data.print(Text(make_visible(line)), soft_wrap=True)
