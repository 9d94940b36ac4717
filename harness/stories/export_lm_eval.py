"""`bench export lm-eval-results`: an entry or a run in the files that lm-eval 0.4.13 writes, for what reads those.

One results file and one samples file, a line for each item and filter. Our two readings stand as filters of the metric
exact_match: the reader's own, and `strict`.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness import regrading, runs
from harness.display import Screen
from harness.errors import BenchError
from harness.store import choosing, entries
from harness.store.bits import hex_to_bits
from harness.store.completions import CommittedCompletion, completions_of, written
from harness.store.entry import Entry
from harness.store.records import moment, replace_file
from harness.types import Message, Problem, Split

METRIC, STRICT = "exact_match", "strict"


@dataclass(frozen=True, slots=True)
class LmEvalResults:
    """Which entry or run, and the folder that takes the files; `mirror` is where a task's questions are found."""

    entry: str
    out: Path
    leaderboards: Path
    board: str | None
    mirror: Path | None


@dataclass(frozen=True, slots=True)
class _Item:
    """One item as it was asked and answered; `messages` is None where the question is not at hand."""

    problem: Problem
    messages: tuple[Message, ...] | None
    line: CommittedCompletion
    right: bool
    strict: bool


def export(order: LmEvalResults, screen: Screen) -> int:
    """Write both files, naming them.

    Raises:
        BenchError: no such entry, an unfinished run, or completions that are damaged.
    """
    entry, items = _from_run(Path(order.entry), order) if Path(order.entry).is_dir() else _from_entry(order)
    if all(item.messages is None for item in items):
        screen.warn("the questions are not at hand, and stand as null: name a run, or the data with --datasets DIR")
    name, day = task_name(entry), _created(entry).strftime("%Y-%m-%dT%H-%M-%S.%f")
    place = order.out / re.sub(r'["<>:/|\\?*\[\]]+', "__", entry.result.candidate)
    lines = [_sample(entry, number, item, key) for key in _filters(entry) for number, item in enumerate(items)]
    samples = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    shots = next((len(item.messages) // 2 for item in items if item.messages), None)
    results = json.dumps(_results(entry, lines, shots), indent=2, ensure_ascii=False)
    files = {f"results_{day}.json": results, f"samples_{name}_{day}.jsonl": samples}
    with runs.writing(order.out):
        place.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            replace_file(place / file, text.encode("utf-8", "backslashreplace"))
    screen.write("".join(f"{place / file}\n" for file in files))
    return 0


def task_name(entry: Entry) -> str:
    """What the task is called in lm-eval's files: ours, for another of theirs asks otherwise."""
    return "bench_" + re.sub(r"\W+", "_", entry.result.task.label)


def _created(entry: Entry) -> datetime:
    found = moment(entry.created)
    if found is None:
        raise BenchError(f"the entry of {entry.result.candidate} was made at no time: {entry.created!r}", "score anew")
    return found


def _from_run(folder: Path, order: LmEvalResults) -> tuple[Entry, list[_Item]]:
    if not (folder / "entry.json").is_file():
        raise BenchError(f"{folder} holds no finished run", "give a run's folder, or an entry")
    entry = entries.read(folder / "entry.json")
    path = order.leaderboards / entry.result.task.name / f"{entries.stem(entry)}.json"
    if not path.is_file():
        raise BenchError(f"{folder} is not on the board: no {path}", "give --leaderboards DIR")
    return entry, _items(path, entry, runs.read_problems(folder))


def _from_entry(order: LmEvalResults) -> tuple[Entry, list[_Item]]:
    chosen = choosing.choose(order.entry, order.leaderboards, order.board)
    task = regrading.reader(chosen.entry)
    known: list[Problem] = []
    if task is not None and regrading.at_hand(task, order.mirror):
        known = list(task.problems(Split("test", mirror=order.mirror)))
    return chosen.entry, _items(chosen.path, chosen.entry, known)


def _items(path: Path, entry: Entry, known: Sequence[Problem]) -> list[_Item]:
    lines = completions_of(entries.completions_path(path))
    total = entry.result.counts.total
    right, strict = (hex_to_bits(bits, total) for bits in (entry.result.bits.correct, entry.result.bits.strict))
    task, by_id = regrading.reader(entry), {problem.id: problem for problem in known}
    items = []
    for line, *judged in zip(lines, right, strict, strict=True):
        problem = by_id.get(line.id)
        asked = None if problem is None or task is None else task.messages(problem)
        items.append(_Item(problem or Problem(line.id, "", line.gold, ""), asked, line, *judged))
    return items


def _filters(entry: Entry) -> tuple[str, str]:
    reader = entry.result.task.reader
    return reader.rpartition("@")[0] or reader, STRICT


def _sample(entry: Entry, number: int, item: _Item, key: str) -> dict[str, Any]:
    """One line of the samples file. The prompt is the conversation, as JSON; each hash is over what lm-eval hashes."""
    question = item.problem.question if item.messages else None
    doc = {"id": item.problem.id, "question": question, "answer": item.problem.solution or item.problem.answer}
    turns = [{"role": turn.role, "content": turn.content} for turn in item.messages or ()]
    prompt = json.dumps(turns, ensure_ascii=False)
    sampling = entry.result.sampling
    settings = {
        "until": list(sampling.stop),
        "do_sample": sampling.temperature > 0,
        "temperature": sampling.temperature,
        "max_gen_toks": sampling.max_tokens,
        **({} if sampling.top_p is None else {"top_p": sampling.top_p}),
    }
    return {
        "doc_id": number,
        "doc": doc,
        "target": item.problem.answer,
        "arguments": {"gen_args_0": {"arg_0": prompt if turns else None, "arg_1": settings}},
        "resps": [[draw.text for draw in written(item.line).answer.draws]],
        "filtered_resps": [_read(entry, item) or "[invalid]"],
        "filter": key,
        "metrics": [METRIC],
        "doc_hash": _sha256(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _sha256(prompt),
        "target_hash": _sha256(item.problem.answer),
        METRIC: float(item.strict if key == STRICT else item.right),
    }


def _read(entry: Entry, item: _Item) -> str | None:
    """The answer that was read, where the task is here to read it again; the gold of a right one says it too."""
    task = regrading.reader(entry)
    if task is None:
        return item.problem.answer if item.right else None
    return regrading.grade(task, [item.line])[0].answer


def _results(entry: Entry, lines: Sequence[dict[str, Any]], shots: int | None) -> dict[str, Any]:
    """The results file; what is not known here is null."""
    name, result = task_name(entry), entry.result
    scores: dict[str, Any] = {"name": name, "alias": name, "sample_len": result.counts.total}
    for key, right in zip(_filters(entry), (result.counts.correct, result.counts.strict), strict=True):
        scores[f"{METRIC},{key}"] = right / result.counts.total
        scores[f"{METRIC}_stderr,{key}"] = stderr(right, result.counts.total)
    hashes = "".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines)
    version = result.task.label.partition("@v")[2]
    settings = {"until": list(result.sampling.stop), "max_gen_toks": result.sampling.max_tokens}
    return {
        "results": {name: scores},
        "group_subtasks": {},
        "configs": {name: {"task": name, "output_type": "generate_until", "generation_kwargs": settings}},
        "versions": {name: int(version) if version.isdecimal() else result.task.label},
        "n-shot": {name: shots},
        "higher_is_better": {name: {METRIC: True}},
        "n-samples": {name: {"original": result.selection.total, "effective": result.selection.scored}},
        "config": {
            "model": result.engine.name,
            "model_args": dict(result.engine.settings),
            "device": result.engine.settings.get("device"),
            "limit": result.selection.limit,
        },
        "git_hash": result.provenance.git_commit,
        "date": _created(entry).timestamp(),
        "transformers_version": result.provenance.libraries.get("transformers"),
        "lm_eval_version": None,
        "task_hashes": {name: _sha256(hashes)},
        "model_source": result.engine.name,
        "model_name": result.candidate,
        "model_name_sanitized": re.sub(r'["<>:/|\\?*\[\]]+', "__", result.candidate),
        "chat_template_sha": result.model.template_sha256,
        "total_evaluation_time_seconds": str(sum(entry.timings.phases.values())),
        "bench": {"version": result.provenance.bench, "protocol_sha256": result.task.protocol_sha256,
                  "result_sha256": entry.result_sha256},
    }  # fmt: skip


def stderr(right: int, total: int) -> float | None:
    """Of the mean as lm-eval estimates it, from the sample's own variance; None for a single item."""
    share = right / total
    return math.sqrt(share * (1 - share) / (total - 1)) if total > 1 else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
