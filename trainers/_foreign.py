"""Run an external trainer: write its files, run its command in a child process, take the weights it leaves.

foreign/         in the run's folder: the files from the trainer's `files`, and whatever its command writes
foreign.log      the command's output
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
    """Train by an external trainer; see `baseline_bench.core.contracts.ExternalTrainer`.

    Raises:
        BenchError: the interpreter or the command is missing, the command fails, exceeds the recipe's time limit, or
            leaves no valid weights of this base or no loss history. The error quotes the end of its log.
    """
    if job.processes > 1 or job.checkpoints:
        what = "a foreign trainer shares no work by --gpus and keeps no --checkpoints"
        raise BenchError(what, "leave both out; its own command may start several processes")
    work_folder = job.folder / FOLDER
    shutil.rmtree(work_folder, ignore_errors=True)
    libraries = _read_versions(trainer, job)
    _write_files(_collect_files(trainer, job), work_folder)
    command, start_time = _build_command(trainer, job), perf_counter()
    log = job.folder / LOG
    from baseline_bench.trainers import _external_check  # loads torch

    try:
        _run_command(command, work_folder, log, job.options.time_limit)
        weights_folder = _find_weights(trainer, job, work_folder)
        history = _history.read_history(work_folder)
        steps = list(_history.build_steps(history, job, perf_counter() - start_time))
        result: TrainingResult = _external_check.take_weights(weights_folder, job)
    except BenchError as error:
        name = Path(str(getattr(trainer, "__file__", trainer))).stem
        raise BenchError(f"{name}: {error.what}{_read_log_tail(log)}", error.way_out) from error
    for step in steps:
        job.report(step)
    return replace(
        result,
        held_out_loss=_history.find_last_value(history, "eval_loss") if job.held_out else None,
        libraries=libraries,
        peak_memory=_history.find_last_value(history, "peak_memory"),
    )


def format_jsonl(rows: Sequence[TrainingExample]) -> str:
    """Format rows as JSON lines with input_ids, attention_mask and labels (-100 where not supervised)."""
    return "".join(json.dumps(row) + "\n" for row in build_columns(rows))


def build_columns(rows: Sequence[TrainingExample]) -> list[dict[str, list[int]]]:
    """Build the same rows as dicts."""
    return [
        {
            "input_ids": list(row.token_ids),
            "attention_mask": [1] * len(row.token_ids),
            "labels": [IGNORED_LABEL] * row.start + list(row.token_ids[row.start :]),
        }
        for row in rows
    ]


def find_interpreter(options: Any) -> Path:
    """Find the recipe's Python, by default this one; its link is not resolved, since the link makes the venv."""
    if options.python is None:
        return Path(sys.executable)
    requested = Path(options.python).expanduser()
    path = shutil.which(options.python) if requested.name == options.python else str(requested.absolute())
    if path is None or not os.access(path, os.X_OK):
        raise BenchError(f"the recipe's python {options.python} is not there", "--set python=PATH of an interpreter")
    return Path(path)


def _read_versions(trainer: ExternalTrainer, job: Job) -> Mapping[str, str]:
    python = find_interpreter(job.options)
    needed: Sequence[str] = getattr(trainer, "LIBRARIES", ())
    command = [str(python), "-c", _VERSIONS_SCRIPT, *needed, *LIBRARIES]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        versions: dict[str, str] = json.loads(result.stdout)
    except ValueError as error:
        raise BenchError(f"{python} is no Python that runs", "--set python=PATH of an interpreter") from error
    if missing := [name for name in needed if name not in versions]:
        raise BenchError(f"{python} lacks {', '.join(missing)}", f"{python} -m pip install {' '.join(missing)}")
    return versions


def _collect_files(trainer: ExternalTrainer, job: Job) -> Mapping[str, str | bytes]:
    files: Any = trainer.files(job)
    if not isinstance(files, Mapping) or not all(
        isinstance(name, str) and isinstance(data, str | bytes) and _is_below(name) for name, data in files.items()
    ):
        raise _contract_error(trainer, "files", "names of files below its folder, each with a text or bytes")
    return files


def _is_below(name: str) -> bool:
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _write_files(files: Mapping[str, str | bytes], work_folder: Path) -> None:
    work_folder.mkdir(parents=True)
    for name, data in files.items():
        path = work_folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)


def _build_command(trainer: ExternalTrainer, job: Job) -> list[str]:
    """Build the command; "python", and programs in its folder, are those of the recipe's interpreter."""
    words: Any = trainer.command(job)
    if isinstance(words, str) or not isinstance(words, Sequence) or not all(isinstance(w, str) for w in words):
        raise _contract_error(trainer, "command", "a list of words, such as ['python', 'train.py']")
    if not words:
        raise _contract_error(trainer, "command", "a list of words, and gave none")
    python = find_interpreter(job.options)
    if words[0] == "python":
        return [str(python), *words[1:]]
    program = shutil.which(words[0], path=os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]))
    if program is None:
        what = f"there is no program {words[0]}, neither next to {python} nor on the PATH"
        raise BenchError(what, "install it, or --set python=PATH of the interpreter that has it")
    return [program, *words[1:]]


def _find_weights(trainer: ExternalTrainer, job: Job, work_folder: Path) -> Path:
    relative_path: Any = trainer.weights(job)
    if not isinstance(relative_path, str | Path) or not _is_below(str(relative_path)):
        raise _contract_error(trainer, "weights", "the path of a folder below its own")
    weights_folder = work_folder / relative_path
    if not weights_folder.is_dir() or not any(weights_folder.iterdir()):
        what = f"it ended without an error and left no weights in {weights_folder}"
        raise BenchError(what, "correct the trainer or its files")
    if not weights_folder.resolve().is_relative_to(work_folder.resolve()):
        what = f"{weights_folder} leads out of the run's folder"
        raise BenchError(what, "let it write its weights, not link to some")
    return weights_folder


def _contract_error(trainer: ExternalTrainer, member: str, expected: str) -> BenchError:
    where = getattr(trainer, "__file__", trainer)
    what = f"{where}: {member}(job) must give {expected}"
    return BenchError(what, "see the class Foreign in harness/core/contracts.py")


def _run_command(command: Sequence[str], work_folder: Path, log: Path, limit: float) -> None:
    """Run until the end or the time limit; in any case leave no process running."""
    guarded_command = [sys.executable, str(Path(_child_guard.__file__)), *command]
    with log.open("wb") as output:
        child = subprocess.Popen(
            guarded_command,
            cwd=work_folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired as error:
            what = f"it was ended after {limit:g} seconds, the recipe's time_limit"
            raise BenchError(what, "--set time_limit=SECONDS") from error
        finally:
            _end_command(child)
    if code == 128 + signal.SIGKILL:
        raise BenchError("it was killed by the system, most likely for want of memory", f"look into {log}")
    if code:
        raise BenchError(f"its command ended with status {code}", f"look into {log}")


def _end_command(child: "subprocess.Popen[bytes]") -> None:
    """Close the guard's stdin, which ends the command; then kill what is left in its group."""
    if child.stdin is not None:
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(2 * _child_guard.GRACE_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _read_log_tail(log: Path) -> str:
    text = log.read_bytes().decode(errors="replace") if log.is_file() else ""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()][-_SHOWN_LINES:]
    return f"; its log ends: {' | '.join(lines)[-_SHOWN:]}" if lines else "; its log is empty"
