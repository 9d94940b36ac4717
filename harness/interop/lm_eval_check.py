"""`bench verify --against lm-eval`: stored completions judged by lm-eval's own filters, and every verdict that differs.

Nothing is generated and no data set is read: the texts and their golds are those of the run or the entry.
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
# Whose filters judge: the task that the answers were written for, or this one.
DEFAULT_TASK = "gsm8k"
_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class JudgementDifference:
    """One question on which a verdict of ours and one of lm-eval's are not the same.

    Attributes:
        problem_id: which question.
        verdict: "exact match" or "strict".
        ours: whether ours says right.
        told: gold, what was read and what was taken.
        why: the reason, one of a few, so that they can be counted.
    """

    problem_id: str
    verdict: str
    ours: bool
    told: str
    why: str


def compare_with_lm_eval(paths: Sequence[Path], mirror: Path | None, console: Console) -> int:
    """Judge the completions of runs and entries by lm-eval as well, and list every question judged otherwise.

    Of an answer to one of lm-eval's own tasks no two readers speak; all of its metrics are told instead, as lm-eval
    sums them up.

    Returns:
        0: a difference between two readers is a finding and no failure.

    Raises:
        BenchError: no such run or entry, lm-eval is not installed, or the data of its task is not at hand.
    """
    from baseline_bench.tasks import _lm_eval_numbers  # loads lm_eval

    judge: Any = _lm_eval_numbers.NumberJudge(DEFAULT_TASK)
    numbers = plugins.load_task("word-problems")
    for path in paths:
        answers, name = stored_answers.read_judged_problems(path), stored_answers.find_task_name(path) or ""
        if name.startswith("lm-eval:"):
            _print_lm_eval_metrics(path, answers, plugins.load_task(name), mirror, console)
            continue
        _require_number_task(path, answers, numbers)
        found = [judge.readings(each.problem.answer, each.completion.answer.text) for each in answers]
        pairs = list(zip(answers, found, strict=True))
        differences = [one for answered, theirs in pairs for one in _find_differences(answered, theirs, numbers)]
        _print_differences(path, pairs, differences, console)
    return 0


def _require_number_task(path: Path, answers: Sequence[JudgedProblem], numbers: Any) -> None:
    if any(each.completion.more for each in answers):
        what = f"{path}: several draws are judged together, and lm-eval's {DEFAULT_TASK} judges one answer"
        raise BenchError(what, "name a row of one of lm-eval's own tasks with draws")
    for each in {each.problem.answer: each for each in answers}.values():
        gold = numbers.grade(each.problem, Completion(f"#### {each.problem.answer}", None, "stop"))
        if gold.rule != "hash" or gold.answer is None:
            what = f"{path}: the gold answer of {each.problem.id} is no number: {make_visible(each.problem.answer):.40}"
            raise BenchError(what, f"only number tasks can be judged by lm-eval's {DEFAULT_TASK}")


def _find_differences(answered: JudgedProblem, theirs: Any, numbers: Any) -> Iterator[JudgementDifference]:
    ours = answered.verdict
    for verdict, right, name in (("exact match", ours.correct, LENIENT_FILTER), ("strict", ours.strict, STRICT_FILTER)):
        taken = theirs[name]
        if right == taken.correct:
            continue
        read = f"ours read nothing ({ours.rule})" if ours.answer is None else f"ours read {ours.answer} by {ours.rule}"
        took = "found no match" if taken.text is None else f"took {_shorten(taken.text)}"
        why = (_explain_lenient if name == LENIENT_FILTER else _explain_strict)(answered, taken, numbers)
        cut = ", the answer was cut" if ours.finish == "length" else ""
        told = f"gold {answered.problem.answer}, {read}, {name} {took}{cut}"
        yield JudgementDifference(answered.problem.id, verdict, right, told, why)


def _explain_lenient(answered: JudgedProblem, taken: Any, numbers: Any) -> str:
    """Why flexible-extract and our reader do not agree whether an answer is right."""
    ours, gold = answered.verdict, answered.problem.answer
    if taken.text is None:
        return "theirs knows digits alone"
    if not any(sign.isdigit() for sign in taken.text):
        return "theirs took signs without a digit"
    if stored_answers.parse_number(numbers, taken.text.rstrip(".")) == gold and not taken.correct:
        return "the same number, which theirs compares as text"
    if ours.answer is None:
        return f"ours read nothing ({ours.rule})"
    if "/" in ours.answer and taken.text in ours.answer.split("/"):
        return "theirs takes a fraction apart"
    return f"another number: ours by {ours.rule}"


def _explain_strict(answered: JudgedProblem, taken: Any, numbers: Any) -> str:
    """Why strict-match and our strict verdict do not agree."""
    marks, gold = answered.completion.answer.text.count("####"), answered.problem.answer
    if marks > 1:
        return "several ####: theirs takes the first, ours the last"
    if answered.verdict.strict:
        same = taken.text is not None and stored_answers.parse_number(numbers, taken.text.rstrip(".")) == gold
        return "the same number, which theirs compares as text" if same else "theirs wants one space behind ####"
    if not answered.verdict.correct:
        return f"another number: ours by {answered.verdict.rule}"
    return "theirs does not mind what else stands on the line"


def _shorten(text: str) -> str:
    shown = make_visible(text)
    return repr(shown if len(shown) <= _MAX_SHOWN else shown[: _MAX_SHOWN - 1] + "…")


def _print_lm_eval_metrics(
    path: Path, answers: Sequence[JudgedProblem], task: Any, mirror: Path | None, console: Console
) -> None:
    """Print what lm-eval itself would tell of the answers to a task of its own: every metric, in its own sum."""
    rows = [("judged by", f"lm-eval {version('lm_eval')}, its own {task.LABEL}; {len(answers):,} answers")]
    right = sum(each.verdict.correct for each in answers)
    rows.append(("counted right", f"{right:,}, by {task.READER}"))
    by_id = {problem.id: problem for problem in task.problems(Split("test", mirror=mirror))}
    totals = task.totals([by_id[each.problem.id] for each in answers], [each.completion.answer for each in answers])
    rows += [(name, f"{total:.6g}") for name, total in totals.items()]
    console.print(build_facts_table(path.name, rows))


def _print_differences(
    path: Path, pairs: Sequence[tuple[JudgedProblem, Any]], found: Sequence[JudgementDifference], console: Console
) -> None:
    """Print the counts of both, the reasons, and then every question."""
    rows = [("judged by", f"lm-eval {version('lm_eval')}, its own {DEFAULT_TASK}; {len(pairs):,} answers")]
    for verdict, member, name in (("exact match", "correct", LENIENT_FILTER), ("strict", "strict", STRICT_FILTER)):
        ours = sum(getattr(answered.verdict, member) for answered, _ in pairs)
        theirs = sum(readings[name].correct for _, readings in pairs)
        apart = [one for one in found if one.verdict == verdict]
        alone = sum(one.ours for one in apart)
        told = f"{ours:,} right, {name} {theirs:,}; apart on {len(apart):,}: {alone:,} right for ours alone"
        rows.append((verdict, f"{told}, {len(apart) - alone:,} for theirs alone"))
    for (verdict, why), many in Counter((one.verdict, one.why) for one in found).most_common():
        rows.append((f"{many:,} x", f"{verdict}: {why}"))
    console.print(build_facts_table(path.name, rows))
    for one in found:
        side = "right for ours alone" if one.ours else "right for theirs alone"
        line = make_visible(f"{one.problem_id}: {one.verdict}, {side}: {one.told}: {one.why}")
        console.data.print(Text(line), soft_wrap=True)
