"""Reads what other tools log about each item: right or wrong, and why, as far as the log says.

lm-eval's `samples_*.jsonl`, inspect's `.eval` and `.json`, the instance-level `.jsonl` of Every Eval Ever, and CSV.
"""

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard

from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.records import digest
from baseline_bench.core.untrusted import (
    DATA_LIMIT,
    FILE_LIMIT,
    parse_json,
    read_bytes,
    read_text,
    split_lines,
)

LogTool = Literal["lm-eval", "inspect", "Every Eval Ever", "CSV", "bench"]

LOGS = "lm-eval's samples_*.jsonl, inspect's .eval or .json, an Every Eval Ever .jsonl, a CSV with id,correct"
_ADVICE = f"give {LOGS}"
# Keys of a sample of lm-eval that are no metric: older versions do not list the metrics.
_LM_EVAL_KEYS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
_LM_EVAL_KEYS |= {"doc_hash", "prompt_hash", "target_hash"}
_QUESTION_KEYS = ("question", "problem", "query", "input", "prompt")
# An id may hold a slash, as those of HumanEval do.
_INSPECT_MEMBER = re.compile(r"header\.json|samples/.+\.json", re.DOTALL)
_INSPECT_VALUES = {"C": 1, "I": 0, "N": 0}  # correct, incorrect, no answer
_CSV_VALUES = {"1": 1, "0": 0, "1.0": 1, "0.0": 0, "true": 1, "false": 0}
# What a filter of lm-eval returns where it finds no answer.
_LM_EVAL_UNREAD = "[invalid]"
# The filter of a sample of lm-eval that names none, as versions before 0.4.3 write them.
UNNAMED_FILTER = "unnamed"


@dataclass(frozen=True, slots=True)
class LoggedItem:
    """What a log says about an item; None for what it does not say.

    Attributes:
        read: the answer that the tool took from the text.
        unread: whether the tool found no answer in the text.
        cut: whether the text was cut at the token limit.
        content_sha256: of what was asked, as the tool writes it; equal in two logs of one tool for the same item.
    """

    correct: bool
    question: str | None = None
    gold: str | None = None
    text: str | None = None
    read: str | None = None
    unread: bool | None = None
    cut: bool | None = None
    content_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SampleLog:
    """The items of one run by id.

    Attributes:
        measure: the metric that says right or wrong, with its filter where the tool has filters.
        model: as the log names it; None where it names none.
    """

    path: Path
    tool: LogTool
    measure: str
    model: str | None
    items: Mapping[str, LoggedItem]


@dataclass(frozen=True, slots=True)
class _LoggedScore:
    """A score of an item, as it was logged; `correct` of its item is not read yet."""

    id: str
    measure: str
    value: object
    item: LoggedItem


def is_log(name: str) -> bool:
    """Tell by name and type whether an argument is a log of another tool, and not a row of bench."""
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        return path.suffix in (".jsonl", ".eval", ".csv")
    try:
        value = parse_json(read_bytes(path, None, DATA_LIMIT), name, None, surrogates=True)
    except BenchError:
        return False
    return isinstance(value, dict) and not value.keys().isdisjoint(("eval", "results", "evaluation_results"))


def read_log(path: Path, metrics: Sequence[str] = ()) -> SampleLog:
    """Read a log.

    Args:
        metrics: as NAME or NAME,FILTER, of which the log has one; needed where it has several metrics or filters.

    Raises:
        BenchError: not such a log, several metrics, an item twice or without a score, or a score that is not 0 or 1.
    """
    if path.suffix == ".csv":
        return _build_log(path, "CSV", None, _read_csv(path), ())
    if path.suffix != ".jsonl":
        model, samples = _read_inspect(path)
        return _build_log(path, "inspect", model, _list_inspect_scores(samples, path), metrics)
    lines = _parse_lines(path)
    if _are_lm_eval_samples(lines):
        return _build_log(path, "lm-eval", None, _list_lm_eval_scores(lines, path), metrics)
    if lines and all(isinstance(line, dict) and isinstance(line.get("sample_id"), str) for line in lines):
        model = lines[0].get("model_id")
        scores = _list_every_eval_ever_scores(lines, path)
        return _build_log(path, "Every Eval Ever", _text_or_none(model), scores, metrics)
    raise BenchError(f"{path} is neither lm-eval's samples nor an instance-level file of Every Eval Ever", _ADVICE)


def read_lm_eval_samples(path: Path, metrics: Sequence[str]) -> SampleLog:
    """Read lm-eval's samples, whatever the name of their file; errors as in `read_log`."""
    if not _are_lm_eval_samples(lines := _parse_lines(path)):
        raise BenchError(f"{path} is no samples file of lm-eval", _ADVICE)
    return _build_log(path, "lm-eval", None, _list_lm_eval_scores(lines, path), metrics)


def _parse_lines(path: Path) -> list[Any]:
    lines = split_lines(read_bytes(path, _ADVICE, DATA_LIMIT))
    return [parse_json(line, f"{path}, line {number}", _ADVICE, surrogates=True) for number, line in lines]


def _are_lm_eval_samples(lines: Sequence[Any]) -> bool:
    return bool(lines) and all(isinstance(line, dict) and type(line.get("doc_id")) is int for line in lines)


def _build_log(
    path: Path, tool: LogTool, model: str | None, scores: Iterable[_LoggedScore], metrics: Sequence[str]
) -> SampleLog:
    by_measure: dict[str, list[_LoggedScore]] = defaultdict(list)
    for score in scores:
        by_measure[score.measure].append(score)
    if not by_measure:
        raise BenchError(f"{path} has no item with a score", _ADVICE)
    ids = dict.fromkeys(score.id for group in by_measure.values() for score in group)
    measure = _choose_measure(list(by_measure), metrics, path)
    chosen = by_measure[measure]
    counts = Counter(score.id for score in chosen)
    if twice := [name for name, count in counts.items() if count > 1]:
        way_out = "give the items of one run, with one answer to each"
        raise BenchError(f"{path}: more than one {measure} for {_count_ids(twice)}", way_out)
    if missing := [name for name in ids if name not in counts]:
        raise BenchError(f"{path}: no {measure} for {_count_ids(missing)}", _ADVICE)
    items = {score.id: replace(score.item, correct=_parse_score(score, path)) for score in chosen}
    return SampleLog(path, tool, measure, model, items)


def _count_ids(ids: list[str]) -> str:
    return f"{len(ids):,} of its items ({list_first(ids)})"


def _choose_measure(measures: list[str], metrics: Sequence[str], path: Path) -> str:
    way_out = f"name one of each log with --metric: {'; '.join(measures)}"
    if not metrics and len(measures) > 1:
        raise BenchError(f"{path} has several metrics or filters", way_out)
    fits = {one for metric in metrics for one in _find_measures(measures, metric)} if metrics else set(measures)
    if len(fits) != 1:
        named = f"--metric {' '.join(metrics)} names {'several' if fits else 'none'} of its metrics"
        raise BenchError(f"{path}: {named}", way_out)
    return fits.pop()


def _find_measures(measures: list[str], metric: str) -> list[str]:
    """Return the measures that a --metric names: itself, else those of the metric, else the one without a filter."""
    unnamed = f"{metric.partition(',')[0]},{UNNAMED_FILTER}"
    by_name = [one for one in measures if one.partition(",")[0] == metric]
    return [metric] if metric in measures else by_name or [one for one in measures if one == unnamed]


def _parse_score(score: _LoggedScore, path: Path) -> bool:
    value = score.value
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        what = f"{path}, {score.id}: the {score.measure} {value!r:.60} is neither right nor wrong"
        raise BenchError(what, "name a metric of 0 and 1 with --metric")
    return bool(value)


def _list_lm_eval_scores(lines: list[dict[str, Any]], path: Path) -> Iterator[_LoggedScore]:
    """List every metric of every line; BenchError if a doc_id is of several documents, as in files of several tasks.

    Versions before 0.4.3 do not name the filter: they write every item once for each filter, always in one order.
    """
    repeats: Counter[int] = Counter()
    docs: dict[int, object] = {}
    for line in lines:
        if docs.setdefault(line["doc_id"], line.get("doc")) != line.get("doc"):
            raise BenchError(
                f"{path}: several documents have the doc_id {line['doc_id']}", "give the samples of one task"
            )
        repeats[line["doc_id"]] += 1
        line.setdefault("filter", f"{UNNAMED_FILTER}-{repeats[line['doc_id']]}")
    single = max(repeats.values()) == 1
    for line in lines:
        named = line.get("metrics")
        listed = [name for name in named if isinstance(name, str)] if isinstance(named, list) else line.keys()
        item = _describe_lm_eval_item(line)
        filter_name = UNNAMED_FILTER if single and line["filter"] == f"{UNNAMED_FILTER}-1" else line["filter"]
        for name in listed:
            if name not in _LM_EVAL_KEYS and name in line:
                yield _LoggedScore(str(line["doc_id"]), f"{name},{filter_name}", line[name], item)


def _describe_lm_eval_item(line: Mapping[str, Any]) -> LoggedItem:
    doc, target = line.get("doc"), line.get("target")
    text, read = look_up(line, "resps", 0, 0), look_up(line, "filtered_resps", 0)
    is_filtered = isinstance(text, str) and isinstance(read, str) and read != text
    questions = (look_up(doc, key) for key in _QUESTION_KEYS)
    return LoggedItem(
        correct=False,
        question=next((question for question in questions if isinstance(question, str)), None),
        gold=_text_or_none(target),
        text=text if isinstance(text, str) else None,
        read=read if is_filtered and read != _LM_EVAL_UNREAD else None,
        unread=read == _LM_EVAL_UNREAD if is_filtered else None,
        content_sha256=None if doc is None else digest([doc, str(target)]),
    )


def _read_inspect(path: Path) -> tuple[str | None, list[Any]]:
    """Read the model's name and the samples of a finished run."""
    if path.suffix == ".eval":
        from baseline_bench.core.archives import read_zip  # loads zstd, which no other file needs

        members = [
            (name, parse_json(data, f"{path}, {name:.60}", _ADVICE, surrogates=True))
            for name, data in read_zip(path, _ADVICE, _INSPECT_MEMBER)
        ]
        header = dict(members).get("header.json")
        samples: Any = [value for name, value in members if name != "header.json"]
    else:
        header = parse_json(read_bytes(path, _ADVICE, DATA_LIMIT), str(path), _ADVICE, surrogates=True)
        samples = look_up(header, "samples")
    if not isinstance(look_up(header, "eval"), dict) or not isinstance(samples, list):
        raise BenchError(f"{path} holds no samples", _ADVICE)
    if (status := look_up(header, "status")) != "success":
        raise BenchError(f"{path}: its run did not finish (status {status!r:.60})", "finish it with inspect eval-retry")
    if (completed := look_up(header, "results", "completed_samples")) not in (None, len(samples)):
        raise BenchError(f"{path} holds {len(samples):,} of the {completed!r:.20} samples of its run", _ADVICE)
    return _text_or_none(look_up(header, "eval", "model")), samples


def _list_inspect_scores(samples: list[Any], path: Path) -> Iterator[_LoggedScore]:
    for sample in samples:
        if not isinstance(sample, dict) or type(sample.get("id")) not in (str, int):
            raise BenchError(f"{path} has a sample without an id", _ADVICE)
        scores = sample.get("scores")
        if sample.get("error") is not None or not isinstance(scores, dict) or not scores:
            raise BenchError(f"{path}: sample {sample['id']} has an error or no score", "finish the run with inspect")
        for scorer, score in scores.items():
            value, answer = (look_up(score, key) for key in ("value", "answer"))
            item = _describe_inspect_item(sample, answer)
            for part, one in value.items() if isinstance(value, dict) else [("", value)]:
                number = _INSPECT_VALUES.get(one, one) if isinstance(one, str) else one
                measure = f"{scorer},{part}" if part else scorer
                yield _LoggedScore(str(sample["id"]), measure, number, replace(item, unread=one == "N" or answer == ""))


def _describe_inspect_item(sample: Mapping[str, Any], answer: object) -> LoggedItem:
    asked, text = sample.get("input"), look_up(sample, "output", "completion")
    turns = [[look_up(turn, "role"), look_up(turn, "content")] for turn in (asked if _is_list(asked) else [])]
    questions = [asked] if isinstance(asked, str) else [content for role, content in turns if role == "user"]
    stop_reason = look_up(sample, "output", "choices", 0, "stop_reason")
    return LoggedItem(
        correct=False,
        question=_text_or_none(questions[-1]) if questions else None,
        gold=_text_or_none(sample.get("target")),
        text=_text_or_none(text),
        read=answer if isinstance(answer, str) and answer not in ("", text) else None,
        cut=None if stop_reason is None else stop_reason == "max_tokens",
        content_sha256=digest(
            [asked if isinstance(asked, str) else turns, sample.get("target"), sample.get("choices")]
        ),
    )


def _list_every_eval_ever_scores(lines: list[dict[str, Any]], path: Path) -> Iterator[_LoggedScore]:
    for line in lines:
        score, is_correct = (look_up(line, "evaluation", key) for key in ("score", "is_correct"))
        if line.get("error") is not None:
            raise BenchError(f"{path}: {line['sample_id']} ended in an error", "evaluate it again")
        if type(is_correct) is not bool or score != is_correct:
            score = f"{score!r:.40}, is_correct {is_correct!r:.40}"
        text, read = look_up(line, "output", "raw", 0), look_up(line, "answer_attribution", -1, "extracted_value")
        question, golds = (look_up(line, "input", key) for key in ("raw", "reference"))
        item = LoggedItem(
            correct=False,
            question=_text_or_none(question),
            gold=", ".join(map(str, golds)) if _is_list(golds) else None,
            text=_text_or_none(text),
            read=read if isinstance(read, str) and read != text else None,
            content_sha256=digest([question, golds]),
        )
        measure = line.get("evaluation_result_id") or line.get("evaluation_name")
        yield _LoggedScore(line["sample_id"], str(measure), score, item)


def _read_csv(path: Path) -> Iterator[_LoggedScore]:
    rows = csv.DictReader(io.StringIO(read_text(path, _ADVICE), newline=""), strict=True)
    csv.field_size_limit(FILE_LIMIT)  # texts are longer than its 131,072 characters
    try:
        rows.fieldnames = names = [name.strip().lower() for name in rows.fieldnames or ()]
        if names.count("id") != 1 or names.count("correct") != 1:
            raise BenchError(
                f"{path}: its first line does not name one column id and one correct, with commas", _ADVICE
            )
        for row in rows:
            if None in row or None in row.values():
                raise BenchError(f"{path}, line {rows.line_num}: not as many values as columns", _ADVICE)
            question, gold, text = (row.get(name) or None for name in ("question", "gold", "text"))
            value = _CSV_VALUES.get(row["correct"].strip().lower(), row["correct"])
            yield _LoggedScore(row["id"], "correct", value, LoggedItem(False, question, gold, text))
    except csv.Error as error:
        raise BenchError(f"{path}, line {rows.reader.line_num}: no CSV ({error})", _ADVICE) from None


def look_up(value: Any, *keys: str | int) -> Any:
    """Return the value behind several keys and places; None where one is missing."""
    for key in keys:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None if value is None else json.dumps(value, ensure_ascii=False)
