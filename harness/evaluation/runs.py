"""The folder of one run: settings, problems, completions and judgements; a killed run resumes from it.

run.json           the settings, fixed when the run begins; entry.json follows once the run is complete
problems.jsonl     the chosen items: id, question, gold answer
completions.jsonl  one finished answer per line, appended as it arrives
requests.jsonl     for items with several requests: one answer per line, until the item is complete
solutions.jsonl    the likelihood of each worked solution, if measured
verdicts.jsonl     one judgement per line, in item order
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from baseline_bench.core import plugins, records
from baseline_bench.core.errors import BenchError, suggest_path
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.types import IDENTITY_PARTS, Completion, Judgement, LogLikelihood, Problem, Value
from baseline_bench.core.untrusted import DATA_LIMIT, parse_json, read_bytes
from baseline_bench.core.untrusted import read_json as read_json_file

T = TypeVar("T")
SCHEMA = 1
# Recorded only if not the default, and no reason to refuse to resume: how the engine loaded the weights, and how many
# GPUs shared the questions, which changes answers no more than the engine's own noise.
WEIGHTS_SETTING, GPUS_SETTING = "setting weights", "setting gpus"
DEFAULT_SETTINGS: Mapping[str, Value] = {WEIGHTS_SETTING: "loaded", GPUS_SETTING: 1}
_COMPLETIONS_FILE, _REQUESTS_FILE = "completions.jsonl", "requests.jsonl"
RUN_FILES = ("run.json", "engine.json", "problems.jsonl", _COMPLETIONS_FILE, _REQUESTS_FILE)
VALUE_SEPARATOR = ", then "
_START_AGAIN_ADVICE = "the run is damaged: start it from the beginning with --again"


class Run:
    """The folder of one run, locked by one process at a time.

    A new folder records the settings; an unfinished one must have the same. Each completion is one line, written with
    one call, so that a kill at any moment costs at most a torn last line, which is dropped. A run that fails before its
    first answer leaves nothing.

    Attributes:
        finished: the answers, by problem id.
        kept: the answers to single requests of problems that take several.

    Args:
        settings: everything that could change an answer; equal settings mean the same run.

    Raises:
        BenchError: another process has locked the folder, it cannot be written, or it has other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Value]) -> None:
        self.folder = folder
        self.settings = match_recorded_settings(folder, settings)
        self.key = _hash_settings(self.settings)
        self._resolved: dict[str, Value] | None = None
        with explaining_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(folder, wait=False)
        self._fresh = not any((folder / name).exists() for name in RUN_FILES)
        try:
            self._admit()
            records.sweep_temporary_files(folder, ".*.tmp")
            self.finished = self._completions(_COMPLETIONS_FILE)
            self.kept = self._completions(_REQUESTS_FILE)
            self._file = (folder / _COMPLETIONS_FILE).open("ab", buffering=0)
        except BaseException:
            self._vanish()
            raise

    def append(self, problem_id: str, completion: Completion) -> None:
        """Store one finished answer, once for each problem; BenchError if the disk is full."""
        if problem_id in self.finished:
            raise ValueError(f"{problem_id} was finished before")
        self._write(self._file, problem_id, completion)
        self.finished[problem_id] = completion

    def keep(self, request_id: str, completion: Completion) -> None:
        """Store the answer to one of a problem's several requests; `kept` still has it after a kill."""
        with explaining_write_errors(self.folder), (self.folder / _REQUESTS_FILE).open("ab", buffering=0) as file:
            self._write(file, request_id, completion)
        self.kept[request_id] = completion

    def _write(self, file: FileIO, name: str, completion: Completion) -> None:
        line = {"key": self.key, "id": name, **_encode_completion(completion)}
        with explaining_write_errors(self.folder):
            data = json.dumps(line, ensure_ascii=True).encode() + b"\n"
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def confirm(self, resolved: Mapping[str, Value]) -> None:
        """Record the engine's resolved settings; a resumed run must have the same engine, device and dtype.

        Raises:
            BenchError: earlier answers of this run were generated with other resolved settings.
        """
        path = self.folder / "engine.json"
        previous = read_resolved(self.folder) if (self.finished or self.kept) and path.exists() else {}
        if previous:
            _refuse_changed_settings(previous, dict(resolved), self.folder)
        values = {key: _merge_setting(key, previous, resolved) for key in DEFAULT_SETTINGS}
        unusual = {key: value for key, value in values.items() if value != DEFAULT_SETTINGS[key]}
        own_settings = {key: value for key, value in resolved.items() if key not in DEFAULT_SETTINGS}
        self._resolved = dict(sorted({**own_settings, **unusual}.items()))  # in the file's order
        write_json(path, self._resolved)

    @property
    def resolved(self) -> Mapping[str, Value]:
        """The engine's resolved settings over all processes of the run; BenchError if none has confirmed any."""
        return read_resolved(self.folder) if self._resolved is None else self._resolved

    def close(self) -> None:
        """Close the files and unlock the folder."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None and not (self.finished or self.kept):
            self._vanish()
        self.close()

    def _vanish(self) -> None:
        for name in RUN_FILES if self._fresh else ():
            (self.folder / name).unlink(missing_ok=True)
        self._lock.close()
        with suppress(OSError):  # --run may name a folder that holds more
            self.folder.rmdir()

    def _admit(self) -> None:
        path = self.folder / "run.json"
        if not path.exists():
            value = {"schema": SCHEMA, "started": current_time(), "key": self.key, "settings": self.settings}
            return write_json(path, value)
        return _refuse_changed_settings(read_settings(self.folder), self.settings, self.folder)

    def _completions(self, name: str) -> dict[str, Completion]:
        """Read the answers in a file of this run and truncate a torn last line."""
        path = self.folder / name
        if not path.exists():
            return {}
        complete_lines = _read_lines(path, lambda value: (value["key"], value["id"], _decode_completion(value)))
        finished = {problem_id: completion for _, problem_id, completion in complete_lines}
        if len(finished) < len(complete_lines) or any(key != self.key for key, _, _ in complete_lines):
            raise BenchError(f"{path} holds answers of another run", "move it away, or give --run DIR")
        with explaining_write_errors(self.folder), path.open("ab", buffering=0) as file:
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        return finished


def match_recorded_settings(folder: Path, settings: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings as a run recorded them.

    A run records a task as it was given, by name or file; one finished by older versions lacks the model's identity.
    """
    matched = dict(settings)
    if not (folder / "run.json").is_file():
        return matched
    with suppress(BenchError, KeyError, TypeError):
        recorded = read_settings(folder)
        if plugins.name_task(recorded["task"]) == plugins.name_task(str(settings["task"])):
            matched["task"] = recorded["task"]
        if (folder / "entry.json").is_file() and not _has_identity_settings(recorded):
            matched = {key: value for key, value in matched.items() if not _is_identity_setting(key)}
    return matched


def read_completions(folder: Path) -> dict[str, Completion]:
    """Read a run's finished answers by problem id without locking it; drop a torn last line."""
    path = folder / "completions.jsonl"
    if not path.is_file():
        raise BenchError(f"no run in {folder}", "give the folder that a run printed as its files, or an entry's .json")
    return dict(_read_lines(path, lambda value: (value["id"], _decode_completion(value))))


def write_problems(folder: Path, problems: Sequence[Problem]) -> None:
    """Write the chosen items, so that re-grading and reading need neither data set nor model."""
    _write_lines(folder / "problems.jsonl", ({"id": p.id, "question": p.question, "gold": p.answer} for p in problems))


def read_problems(folder: Path) -> list[Problem]:
    """Read the chosen items of a run in item order; their solutions are not stored."""
    path = folder / "problems.jsonl"
    if not path.is_file():
        raise BenchError(
            f"no run in {folder}", f"{suggest_path(folder)}give the folder that a run printed as its answers"
        )
    return _read_lines(path, lambda value: Problem(value["id"], value["question"], value["gold"], ""))


def write_judgements(folder: Path, judgements: Sequence[Judgement]) -> None:
    """Write the judgements in item order."""
    _write_lines(folder / "verdicts.jsonl", (asdict(judgement) for judgement in judgements))


def read_judgements(folder: Path) -> list[Judgement]:
    """Read the judgements of a run in item order; empty if it was never graded."""
    path = folder / "verdicts.jsonl"
    return _read_lines(path, lambda value: Judgement(**value)) if path.is_file() else []


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically."""
    _write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run; BenchError if it is absent or not JSON."""
    if not path.exists():
        raise BenchError(f"no {path.name} in {path.parent}", "give the folder of a run")
    return read_json_file(path, _START_AGAIN_ADVICE, surrogates=True)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings that a run was begun with; BenchError if run.json is absent or damaged."""
    record = read_json(folder / "run.json")
    return _require_object(record.get("settings") if isinstance(record, dict) else None, folder / "run.json")


def read_task_name(folder: Path) -> str:
    """Read the name or file of a run's task; BenchError if run.json is absent or damaged."""
    return str(_require_object(read_settings(folder), folder / "run.json", "task")["task"])


def read_resolved(folder: Path) -> dict[str, Any]:
    """Read an engine's resolved settings over all processes of a run; BenchError if absent or damaged."""
    return _require_object(read_json(folder / "engine.json"), folder / "engine.json")


def _require_object(value: Any, path: Path, *keys: str) -> dict[str, Any]:
    if not isinstance(value, dict) or any(key not in value for key in keys):
        raise BenchError(f"{path} lacks the settings of a run", _START_AGAIN_ADVICE)
    return value


def current_time() -> str:
    """Return the current time in UTC, ISO format, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def explaining_write_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError of a full or read-only disk into a BenchError."""
    try:
        yield
    except OSError as error:
        way_out = "free some space or make it writable, then give the same command again: finished answers are kept"
        raise BenchError(f"cannot write {folder}: {error.strerror}", way_out) from error


def _read_lines(path: Path, build: Callable[[Any], T]) -> list[T]:
    """Build a value from each line of a run's file, without a torn last line; BenchError for a damaged line."""
    values = []
    for number, line in enumerate(read_bytes(path, _START_AGAIN_ADVICE, DATA_LIMIT).split(b"\n")[:-1], 1):
        where = f"{path}, line {number} is damaged"
        try:
            values.append(build(parse_json(line, where, _START_AGAIN_ADVICE, surrogates=True)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(where, _START_AGAIN_ADVICE) from error
    return values


def _encode_completion(completion: Completion) -> dict[str, object]:
    fields: dict[str, object] = {
        "text": completion.text,
        "token_ids": list(completion.token_ids) if completion.token_ids is not None else None,
        "finish": completion.finish_reason,
    }
    if completion.answer_start:
        fields["answer_start"] = completion.answer_start
    if completion.likelihoods:
        fields["likelihoods"] = [[each.logprob, each.greedy, each.tokens] for each in completion.likelihoods]
    return {**fields, "more": [_encode_completion(draw) for draw in completion.more]} if completion.more else fields


def _decode_completion(value: Mapping[str, Any]) -> Completion:
    ids = value["token_ids"]
    more = tuple(_decode_completion(draw) for draw in value.get("more", ()))
    likelihoods = tuple(LogLikelihood(*each) for each in value.get("likelihoods", ()))
    ids = tuple(ids) if ids is not None else None
    start = value.get("answer_start", 0)
    return Completion(value["text"], ids, value["finish"], more=more, answer_start=start, likelihoods=likelihoods)


def _hash_settings(settings: Mapping[str, Value]) -> str:
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:12]


def _merge_setting(key: str, recorded: Mapping[str, Value], resolved: Mapping[str, Value]) -> Value:
    """Return a setting over all processes of one run: the one value, or the values in order, joined."""
    current = resolved.get(key, DEFAULT_SETTINGS[key])
    previous = str(recorded.get(key, DEFAULT_SETTINGS[key])).split(VALUE_SEPARATOR) if recorded else []
    return (
        current if set(previous) <= {str(current)} else VALUE_SEPARATOR.join(dict.fromkeys([*previous, str(current)]))
    )


def _format_setting(key: str, settings: Mapping[str, Value]) -> str:
    return "the default" if key not in settings and _is_identity_setting(key) else str(settings.get(key))


def _is_identity_setting(key: str) -> bool:
    return key.startswith(IDENTITY_PARTS)


def _has_identity_settings(settings: Mapping[str, Value]) -> bool:
    return any(map(_is_identity_setting, settings))


def _refuse_changed_settings(previous: Mapping[str, Value], current: Mapping[str, Value], folder: Path) -> None:
    if _has_identity_settings(current) and not _has_identity_settings(previous):
        what = f"the unfinished run {folder} is by an older version, which did not record the model's configuration"
        raise BenchError(what, "start again with --again, or give --run DIR for a folder of its own")
    keys = sorted({*previous, *current} - DEFAULT_SETTINGS.keys())
    changed = [
        f"{k} was {_format_setting(k, previous)}, now {_format_setting(k, current)}"
        for k in keys
        if previous.get(k) != current.get(k)
    ]
    if changed:
        raise BenchError(
            f"the unfinished run {folder} was started under other settings ({'; '.join(changed)})",
            "give the same settings to resume it, --again to start from the beginning, or --run DIR for a folder "
            "of its own",
        )


def _write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    _write_text(path, "".join(json.dumps(value, ensure_ascii=True) + "\n" for value in values))


def _write_text(path: Path, text: str) -> None:
    with explaining_write_errors(path.parent):
        records.write_atomically(path, text.encode("utf-8", "backslashreplace"))
