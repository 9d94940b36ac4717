"""Load training data as samples, from a task's train split, the hub or a file; import lazily, it loads datasets."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from baseline_bench.core import plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError, combine_problems, first_line, keep_first
from baseline_bench.core.mirrors import load_rows
from baseline_bench.core.types import Message, Problem, Sample, Split
from baseline_bench.core.untrusted import DATA_LIMIT, parse_json, read_bytes, split_lines
from baseline_bench.training import recipes
from baseline_bench.training.recipes import Recipe
from pyarrow import parquet

COLUMNS = ("question", "answer")
# What other programs read, and would be dropped here.
_UNSUPPORTED_KEYS = ("tools", "tool_calls", "functions", "function_call", "reasoning_content", "thinking")
_EXPECTED_SHAPE = (
    'a row is {"question": "...", "answer": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}'
)

RawRecord = tuple[str, str, Any]


def load_samples(recipe: Recipe, mirror: Path | None) -> list[Sample]:
    """Load every sample of a recipe's data, in the data's order and with unique ids.

    Args:
        mirror: a folder with data sets in the hub's layout, or None for the hub.

    Raises:
        BenchError: data that cannot be reached, is empty or has invalid rows; a split that is used for scoring; more
            shots than the task has.
    """
    task = plugins.load_task(recipes.resolve_path(recipe, "task"))
    data = recipes.resolve_path(recipe, "data")
    if data.endswith((".jsonl", ".parquet")):
        return _convert_records(_read_file(Path(data)), task, recipe.shots, data)
    if data.endswith(".py") or data in (recipe.task, *plugins.list_names("task")):
        return _load_task_samples(plugins.load_task(data), task, recipe, mirror)
    if data == getattr(task, "REPOSITORY", None):
        return _load_task_samples(task, task, recipe, mirror)
    return _convert_records(_load_hub_rows(recipe, mirror), task, recipe.shots, recipe.data)


def load_texts(path: Path) -> list[Sample]:
    """Load every text in a file's rows, whatever its columns: enough to find leaks in any file.

    Raises:
        BenchError: no file, neither .jsonl nor .parquet, empty, or unreadable.
    """
    rows = list(_read_file(path))
    if problems := [f"{location} is not JSON" for _, location, row in rows if isinstance(row, ValueError)]:
        raise _rows_error(problems, str(path))
    if not rows:
        raise BenchError(f"{path} is empty", "give a file with rows")
    return [Sample(name, tuple(Message("user", text) for text in _iterate_texts(row)), "") for name, _, row in rows]


def _load_task_samples(source: Task, task: Task, recipe: Recipe, mirror: Path | None) -> list[Sample]:
    if recipe.split != "train":
        what = f"{recipe.data} is a task, and its {recipe.split} split is not for training"
        raise BenchError(what, "split must be train for a task's data")
    problems = source.problems(Split("train", recipe.config or "main", mirror))
    if not problems:
        raise BenchError(f"the train split of {recipe.data} is empty", "name other data")
    return [Sample(p.id, _build_messages(task, recipe.shots, p), p.solution) for p in problems]


def _build_messages(task: Task, shots: int, problem: Problem) -> tuple[Message, ...]:
    """Return the task's own conversation with its last `shots` worked examples, or raise BenchError if it has fewer."""
    messages = task.messages(problem)
    available = (len(messages) - 1) // 2
    if shots > available:
        what = f"the recipe asks for {shots} shots, and {task.LABEL} has {available}"
        raise BenchError(what, f"set shots to {available} or less")
    return messages[len(messages) - 1 - 2 * shots :]


def _convert_records(rows: Iterator[RawRecord], task: Task, shots: int, source_name: str) -> list[Sample]:
    samples, problems = [], []
    for name, location, row in rows:
        try:
            turns, solution = _parse_record(row)
        except ValueError as error:
            problems.append(f"{location} {error}")
            continue
        prompt = _build_messages(task, shots, Problem(name, turns[-1].content, "", solution))
        if len(turns) > 1:  # keep a conversation unchanged, after the worked examples
            prompt = (*prompt[:-1], *turns)
        samples.append(Sample(name, prompt, solution))
    if problems:
        raise _rows_error(problems, source_name)
    if not samples:
        raise BenchError(f"{source_name} is empty", _EXPECTED_SHAPE)
    return samples


def _rows_error(problems: list[str], source_name: str) -> BenchError:
    return combine_problems(keep_first(problems), source_name, _EXPECTED_SHAPE)


def _parse_record(row: Any) -> tuple[tuple[Message, ...], str]:
    """Return (turns up to the last user turn, solution); a ValueError's text continues "row N ..."."""
    if isinstance(row, ValueError):
        raise ValueError("is not JSON")
    if not isinstance(row, Mapping):
        raise ValueError("is no object")
    if dropped := sorted(key for key in _UNSUPPORTED_KEYS if row.get(key)):
        raise ValueError(f"has {' and '.join(dropped)}, which no prompt here shows")
    if row.get("messages") is not None:
        return _parse_messages(row["messages"])
    if missing := [column for column in COLUMNS if row.get(column) is None]:
        raise ValueError(f"lacks {' and '.join(missing)}")
    if without_text := [column for column in COLUMNS if not (isinstance(row[column], str) and row[column].strip())]:
        raise ValueError(f"has no text in {' and '.join(without_text)}")
    return (Message("user", row["question"]),), row["answer"]


def _parse_messages(messages: Any) -> tuple[tuple[Message, ...], str]:
    if not isinstance(messages, Sequence) or not all(_is_turn(turn) for turn in messages) or len(messages) < 2:
        raise ValueError("has messages that are no list of two or more {role, content}")
    if dropped := sorted({key for turn in messages for key in _UNSUPPORTED_KEYS if turn.get(key)}):
        raise ValueError(f"has turns with {' and '.join(dropped)}, which no prompt here shows")
    roles = [turn["role"] for turn in messages]
    if "system" in roles:
        raise ValueError("has a system turn, and scoring has none: move its words into the first user turn")
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise ValueError(f"has turns of {', '.join(roles)}: user and assistant take turns, the assistant ends")
    if not all(turn["content"].strip() for turn in messages):
        raise ValueError("has an empty turn")
    return tuple(Message(turn["role"], turn["content"]) for turn in messages[:-1]), messages[-1]["content"]


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, Mapping) and all(isinstance(turn.get(key), str) for key in ("role", "content"))


def _read_file(path: Path) -> Iterator[RawRecord]:
    """Yield (id, location, value) of every row; a line that is not JSON has its error as value."""
    if not path.is_file():
        raise BenchError(f"no file {path}", "give a .jsonl or .parquet file; one in a recipe starts from the recipe's")
    readers: dict[str, Callable[[Path], Iterator[RawRecord]]] = {".jsonl": _read_jsonl, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise BenchError(f"{path} is neither .jsonl nor .parquet", "save it as one of them")
    return readers[path.suffix](path)


def _read_jsonl(path: Path) -> Iterator[RawRecord]:
    for number, line in split_lines(read_bytes(path, _EXPECTED_SHAPE, DATA_LIMIT)):
        try:
            row = parse_json(line, f"line {number}", None, surrogates=True)  # the tokenizer refuses them by name
        except BenchError as error:
            row = ValueError(error.what)
        yield f"{path.stem}-{number}", f"line {number}", row


def _read_parquet(path: Path) -> Iterator[RawRecord]:
    try:
        groups = parquet.read_metadata(path)
        if sum(groups.row_group(n).total_byte_size for n in range(groups.num_row_groups)) > DATA_LIMIT:
            raise BenchError(f"{path} has more than {DATA_LIMIT:,} bytes when decompressed", "give a part of its rows")
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise BenchError(f"{path} is no Parquet file: {first_line(error)}", "write it again") from error
    for number, row in enumerate(rows, 1):
        yield f"{path.stem}-{number}", f"row {number}", row


def _load_hub_rows(recipe: Recipe, mirror: Path | None) -> Iterator[RawRecord]:
    if re.search(r"\btest\b", recipe.split):
        raise BenchError(f"{recipe.data} {recipe.split}: test splits are not for training", "name another split")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", recipe.data):
        known = ", ".join(plugins.list_names("task"))
        what = f"no data '{recipe.data}'"
        raise BenchError(what, f"give a task ({known}), org/name of the hub, or a .jsonl or .parquet file")
    folder = None if mirror is None or not (mirror / recipe.data).is_dir() else mirror / recipe.data
    rows = load_rows(recipe.data, recipe.config, recipe.split, folder, "set config and split")
    for number, row in enumerate(rows):
        yield f"{recipe.split}-{number}", f"row {number}", row


def _iterate_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _iterate_texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from _iterate_texts(item)
