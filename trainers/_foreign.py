"""Runs a foreign trainer: writes its files, runs its command in a child process, takes the weights that it leaves.

foreign/         in the run's folder: what the trainer's `files` gave, and whatever its command writes
foreign.log      what the command printed
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from baseline_bench.core.contracts import ExternalTrainer
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, TrainingExample, TrainingResult
from baseline_bench.trainers import _child_guard, _history

FOLDER, LOG = "foreign", "foreign.log"
IGNORED_LABEL = -100
LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "peft", "bitsandbytes", "datasets")
_SHOWN_LINES, _SHOWN = 3, 400
_VERSIONS_SCRIPT = """\
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def run_trainer(trainer: ExternalTrainer, job: Job) -> TrainingResult:
    """Train by a foreign trainer; see `baseline_bench.core.contracts.ExternalTrainer`.

    Raises:
        BenchError: the interpreter or the command is not there, the command fails, takes longer than the recipe's time
            limit, or leaves no sound weights of this base or no loss history. The end of its log stands in the error.
    """
    if job.processes > 1 or job.checkpoints:
        raise BenchError(
            "a foreign trainer shares no work by --gpus and keeps no --checkpoints",
            "leave both out; its own command may start several processes",
        )
    place = job.folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    libraries = _read_versions(trainer, job)
    _write_files(_collect_files(trainer, job), place)
    command, began = _build_command(trainer, job), perf_counter()
    log = job.folder / LOG
    from baseline_bench.trainers import _external_check  # loads torch

    try:
        _run_command(command, place, log, job.options.time_limit)
        found = _find_weights(trainer, job, place)
        logged = _history.read_history(place)
        steps = list(_history.build_steps(logged, job, perf_counter() - began))
        taken: TrainingResult = _external_check.take_weights(found, job)
    except BenchError as error:
        name = Path(str(getattr(trainer, "__file__", trainer))).stem
        raise BenchError(f"{name}: {error.what}{_read_log_tail(log)}", error.way_out) from error
    for step in steps:
        job.report(step)
    return replace(
        taken,
        held_out_loss=_history.find_last_value(logged, "eval_loss") if job.held_out else None,
        libraries=libraries,
        peak_memory=_history.find_last_value(logged, "peak_memory"),
    )


def format_jsonl(rows: Sequence[TrainingExample]) -> str:
    """Rows as most trainers take ready tokens: input_ids, attention_mask, labels with -100 where nothing is learned."""
    return "".join(json.dumps(row) + "\n" for row in build_columns(rows))


def build_columns(rows: Sequence[TrainingExample]) -> list[dict[str, list[int]]]:
    """The same as values, one dict a row."""
    return [
        {
            "input_ids": list(row.token_ids),
            "attention_mask": [1] * len(row.token_ids),
            "labels": [IGNORED_LABEL] * row.start + list(row.token_ids[row.start :]),
        }
        for row in rows
    ]


def find_interpreter(options: Any) -> Path:
    """The Python that a recipe names, this one where it names none. A link stays one: it is what makes a venv.

    Raises:
        BenchError: it is not there.
    """
    if options.python is None:
        return Path(sys.executable)
    named = Path(options.python).expanduser()
    found = shutil.which(options.python) if named.name == options.python else str(named.absolute())
    if found is None or not os.access(found, os.X_OK):
        raise BenchError(f"the recipe's python {options.python} is not there", "--set python=PATH of an interpreter")
    return Path(found)


def _read_versions(trainer: ExternalTrainer, job: Job) -> Mapping[str, str]:
    """Versions in that interpreter of what trains there."""
    python = find_interpreter(job.options)
    needed: Sequence[str] = getattr(trainer, "LIBRARIES", ())
    asked = [str(python), "-c", _VERSIONS_SCRIPT, *needed, *LIBRARIES]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    try:
        found: dict[str, str] = json.loads(told.stdout)
    except ValueError as error:
        raise BenchError(f"{python} is no Python that runs", "--set python=PATH of an interpreter") from error
    if absent := [name for name in needed if name not in found]:
        raise BenchError(f"{python} lacks {', '.join(absent)}", f"{python} -m pip install {' '.join(absent)}")
    return found


def _collect_files(trainer: ExternalTrainer, job: Job) -> Mapping[str, str | bytes]:
    given = _call_member(trainer, "files", job)
    if not isinstance(given, Mapping) or not all(_is_file(name, data) for name, data in given.items()):
        raise _contract_error(trainer, "files", "names of files below its folder, each with a text or bytes")
    return given


def _is_file(name: object, data: object) -> bool:
    return isinstance(name, str) and isinstance(data, str | bytes) and _is_below(name)


def _is_below(name: str) -> bool:
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _write_files(files: Mapping[str, str | bytes], place: Path) -> None:
    place.mkdir(parents=True)
    for name, data in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


def _build_command(trainer: ExternalTrainer, job: Job) -> list[str]:
    """The words to run; "python", and programs that lie beside it, are those of the recipe's interpreter."""
    words = _call_member(trainer, "command", job)
    if isinstance(words, str) or not isinstance(words, Sequence) or not all(isinstance(w, str) for w in words):
        raise _contract_error(trainer, "command", "a list of words, such as ['python', 'train.py']")
    if not words:
        raise _contract_error(trainer, "command", "a list of words, and gave none")
    python = find_interpreter(job.options)
    if words[0] == "python":
        return [str(python), *words[1:]]
    program = shutil.which(words[0], path=os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]))
    if program is None:
        raise BenchError(
            f"there is no program {words[0]}, neither beside {python} nor on the PATH",
            "install it, or --set python=PATH of the interpreter that has it",
        )
    return [program, *words[1:]]


def _find_weights(trainer: ExternalTrainer, job: Job, place: Path) -> Path:
    given = _call_member(trainer, "weights", job)
    if not isinstance(given, str | Path) or not _is_below(str(given)):
        raise _contract_error(trainer, "weights", "the path of a folder below its own")
    found = place / given
    if not found.is_dir() or not any(found.iterdir()):
        raise BenchError(f"it ended without an error and left no weights in {found}", "mend the trainer or its files")
    if not found.resolve().is_relative_to(place.resolve()):
        raise BenchError(f"{found} leads out of the run's folder", "let it write its weights, not link to some")
    return found


def _call_member(trainer: ExternalTrainer, member: str, job: Job) -> Any:
    function: Callable[[Job], Any] = getattr(trainer, member)
    return function(job)


def _contract_error(trainer: ExternalTrainer, member: str, expected: str) -> BenchError:
    where = getattr(trainer, "__file__", trainer)
    return BenchError(
        f"{where}: {member}(job) must give {expected}", "see the class Foreign in harness/core/contracts.py"
    )


def _run_command(command: Sequence[str], place: Path, log: Path, limit: float) -> None:
    """Run to the end, or to the end of the time; whatever happens, nothing of it is left running."""
    leash = [sys.executable, str(Path(_child_guard.__file__)), *command]
    with log.open("wb") as printed:
        child = subprocess.Popen(
            leash,
            cwd=place,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired as error:
            raise BenchError(
                f"it was ended after {limit:g} seconds, the recipe's time_limit", "--set time_limit=SECONDS"
            ) from error
        finally:
            _end_command(child)
    if code == 128 + signal.SIGKILL:
        raise BenchError("it was killed by the system, most likely for want of memory", f"look into {log}")
    if code:
        raise BenchError(f"its command ended with status {code}", f"look into {log}")


def _end_command(child: "subprocess.Popen[bytes]") -> None:
    """Let go of the leash, which ends what still runs; then what the command left behind in its group."""
    if child.stdin is not None:
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(2 * _child_guard.GRACE_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _read_log_tail(log: Path) -> str:
    """The last lines of a log, on one line."""
    text = log.read_bytes().decode(errors="replace") if log.is_file() else ""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()][-_SHOWN_LINES:]
    return f"; its log ends: {' | '.join(lines)[-_SHOWN:]}" if lines else "; its log is empty"
