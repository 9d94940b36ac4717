"""Pairs two logs item by item, or a log with a row of bench, and says why items changed as far as the logs say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from baseline_bench.analysis.compare import ChangeCause, ChangeCounts, ItemChange, count_changes
from baseline_bench.analysis.item_changes import CompletionPair, JudgedCompletion
from baseline_bench.analysis.outcomes import PairedDifference
from baseline_bench.analysis.statistics import PairCounts
from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.markup import UNKNOWN_MARK
from baseline_bench.core.types import Finish
from baseline_bench.interop.sample_logs import UNNAMED_FILTER, LoggedItem, SampleLog
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.companions import load_completions
from baseline_bench.results.lookup import FoundEntry

NO_TEXT = "(no text in the log)"
_PAIRING_ADVICE = "compare two runs on the same items: items are never intersected"


@dataclass(frozen=True, slots=True)
class LogComparison(PairedDifference):
    """Two logs item by item.

    Attributes:
        paired_by: by what items were paired, and whether their content was compared.
        flips: the items that exactly one of them has right, in the order of their ids.
    """

    first: SampleLog
    second: SampleLog
    paired_by: str
    flips: tuple[CompletionPair, ...]

    @property
    def causes(self) -> ChangeCounts:
        """The items won and lost for each cause."""
        return count_changes((flip.move for flip in self.flips), get_args(ChangeCause))


def compare_logs(first: SampleLog, second: SampleLog, margin: float | None = None) -> LogComparison:
    """Pair the items of two logs and compare them.

    Logs of one tool, and any log with a CSV, are paired by id, others by the text of the question.

    Raises:
        BenchError: other items, items that cannot be paired, or two metrics of one tool.
    """
    tools = {first.tool, second.tool}
    if len(tools) == 1 and _names_other_measure(first.measure, second.measure):
        what = f"two metrics: {first.measure} in {first.path}, {second.measure} in {second.path}"
        raise BenchError(what, "name one that both have with --metric")
    by_id = len(tools) == 1 or "CSV" in tools
    keys = [{name: name for name in log.items} if by_id else _key_by_question(log) for log in (first, second)]
    _require_equal_items(keys, (first, second))
    names = {keys[0][key]: keys[1][key] for key in sorted(keys[0], key=lambda key: (len(keys[0][key]), keys[0][key]))}
    items = [(name, first.items[name], second.items[other]) for name, other in names.items()]
    same = [_have_same_content(one, other, len(tools) == 1) for _, one, other in items]
    if unlike := [name for (name, _, _), equal in zip(items, same, strict=True) if equal is False]:
        what = f"{first.path} and {second.path} ask something else under {len(unlike)} equal ids: {list_first(unlike)}"
        raise BenchError(what, _PAIRING_ADVICE)
    basis = f"id; the content of {same.count(True):,} of {len(same):,} was compared" if by_id else "question"
    flips = tuple(
        CompletionPair(
            id=name,
            question=one.question or other.question,
            gold=one.gold or other.gold or UNKNOWN_MARK,
            move=ItemChange(place, _find_cause(one, other), one.correct),
            first=_judge(one, first.measure),
            second=_judge(other, second.measure),
        )
        for place, (name, one, other) in enumerate(items)
        if one.correct != other.correct
    )
    rights = [(one.correct, other.correct) for _, one, other in items]
    pairs = PairCounts(*(rights.count(right) for right in ((True, True), (True, False), (False, True), (False, False))))
    return LogComparison(pairs, margin, first, second, basis, flips)


def read_row(row: FoundEntry, questions: Mapping[str, str]) -> SampleLog:
    """Read a row of bench as a log: its bits, its committed completions, and its questions by item id.

    Raises:
        BenchError: its items are not right or wrong, or its completions are missing.
    """
    result = row.entry.result
    result.require_bits()
    lines = load_completions(row.path, row.entry)
    right, unread, cut = (
        hex_to_bits(bits, len(lines)) for bits in (result.bits.correct, result.bits.unread, result.bits.cut)
    )
    items = {
        line.id: LoggedItem(
            correct=bool(right[place]),
            question=questions.get(line.id),
            gold=line.gold,
            text=line.shown,
            unread=bool(unread[place]),
            cut=bool(cut[place]),
        )
        for place, line in enumerate(lines)
    }
    return SampleLog(row.path, "bench", result.task.reader, result.candidate, items)


def _names_other_measure(first: str, second: str) -> bool:
    """Tell whether two measures differ; the filter that an old version of lm-eval does not name fits any."""
    (metric, _, one), (other_metric, _, other) = first.partition(","), second.partition(",")
    return metric != other_metric or (one != other and not {one, other} & {UNNAMED_FILTER})


def _key_by_question(log: SampleLog) -> dict[str, str]:
    """Return the ids of a log by the text of the question; BenchError if one is missing or asked twice."""
    questions = {name: (item.question or "").strip() for name, item in log.items.items()}
    if missing := [name for name, question in questions.items() if not question]:
        what = f"{log.path} shows no question for {len(missing)} items: {list_first(missing)}"
        raise BenchError(
            what, "items of two tools are paired by their question; of a row it is read with --datasets DIR"
        )
    keys = {question: name for name, question in questions.items()}
    if len(keys) < len(questions):
        raise BenchError(f"{log.path} asks a question twice, so that items cannot be paired by it", _PAIRING_ADVICE)
    return keys


def _require_equal_items(keys: list[dict[str, str]], logs: tuple[SampleLog, SampleLog]) -> None:
    parts = []
    for own, other, log in ((keys[0], keys[1], logs[0]), (keys[1], keys[0], logs[1])):
        if extra := [own[key] for key in own if key not in other]:
            parts.append(f"{len(extra):,} of {len(own):,} are in {log.path} alone ({list_first(sorted(extra))})")
    if parts:
        raise BenchError(f"other items: {'; '.join(parts)}", _PAIRING_ADVICE)


def _have_same_content(first: LoggedItem, second: LoggedItem, one_tool: bool) -> bool | None:
    """Tell whether two items ask the same; None where the logs do not say."""
    name = "content_sha256" if one_tool and first.content_sha256 and second.content_sha256 else "question"
    one, other = getattr(first, name), getattr(second, name)
    return None if one is None or other is None else one.strip() == other.strip()


def _judge(item: LoggedItem, measure: str) -> JudgedCompletion:
    is_read = item.read is not None or bool(item.unread)
    finish: Finish | None = None if item.cut is None else "length" if item.cut else "stop"
    return JudgedCompletion(
        item.text or NO_TEXT, finish, item.read if is_read else "?", measure if is_read else None, item.correct
    )


def _find_cause(first: LoggedItem, second: LoggedItem) -> ChangeCause:
    if None not in (first.unread, second.unread) and first.unread != second.unread:
        return "unread"
    if None not in (first.cut, second.cut) and first.cut != second.cut:
        return "stopping"
    answers = (first.read, second.read) if first.read and second.read else (first.text, second.text)
    if None in answers:
        return "unknown"
    return "judgement" if answers[0] == answers[1] else "answer"
