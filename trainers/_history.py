"""Read an external trainer's loss history: `trainer_state.json`, as transformers' Trainer writes it."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job, Step
from baseline_bench.core.untrusted import read_bytes

HISTORY_FILE = "trainer_state.json"
_WAY_OUT = (
    f"let it log every step (logging_steps = 1) and write {HISTORY_FILE}, as transformers' Trainer.save_state does"
)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Read the log with the most steps below a folder (checkpoints hold older ones); BenchError without any."""
    logged: list[dict[str, Any]] = []
    for path in sorted(folder.rglob(HISTORY_FILE)):
        try:
            # not parse_json: a training that diverged logs NaN
            entries = [dict(entry) for entry in json.loads(read_bytes(path, _WAY_OUT))["log_history"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BenchError(f"{path} holds no log_history", _WAY_OUT) from error
        if len(_select_loss_entries(entries)) >= len(_select_loss_entries(logged)):
            logged = entries
    if not _select_loss_entries(logged):
        raise BenchError("it reported no loss", _WAY_OUT)
    return logged


def build_steps(logged: Sequence[dict[str, Any]], job: Job, elapsed: float) -> Iterator[Step]:
    """Yield the steps, in order.

    An external trainer shuffles by itself, so a step's tokens are estimated as its rows times the mean row's tokens,
    rounded so that whole epochs add up. An entry may have `seconds` since the first step began; without them the whole
    time is spread evenly.

    Args:
        elapsed: seconds of the training, used if the history does not state them.

    Raises:
        BenchError: steps that are missing or duplicate, or a loss that is not finite.
    """
    entries = _select_loss_entries(logged)
    total = len(entries)
    if [entry.get("step") for entry in entries] != list(range(1, total + 1)):
        raise BenchError(f"its history has not every step from 1 to {total}", _WAY_OUT)
    total_seconds = next((float(entry["train_runtime"]) for entry in logged if "train_runtime" in entry), elapsed)
    rows_before = 0
    lengths, starts = (sum(part) for part in zip(*((len(row.token_ids), row.start) for row in job.rows), strict=True))
    means = lengths / len(job.rows), (lengths - starts) / len(job.rows)
    for number, entry in enumerate(entries, 1):
        loss, rate = _require_number(entry, "loss", number), _require_number(entry, "learning_rate", number)
        rows = _count_step_rows(number, len(job.rows), job.options.batch)
        tokens, supervised = (round((rows_before + rows) * mean) - round(rows_before * mean) for mean in means)
        yield Step(
            number=number,
            total=total,
            loss=loss,
            lr=rate,
            grad_norm=_require_number(entry, "grad_norm", number) if entry.get("grad_norm") is not None else None,
            rows=rows,
            tokens=tokens,
            supervised=supervised,
            seconds=float(entry.get("seconds", total_seconds * number / total)),
        )
        rows_before += rows


def find_last_value(logged: Sequence[dict[str, Any]], key: str) -> Any:
    """Return the last value of a key, or None."""
    return next((entry[key] for entry in reversed(logged) if key in entry), None)


def _select_loss_entries(logged: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in logged if "loss" in entry]


def _require_number(entry: dict[str, Any], key: str, step: int) -> float:
    try:
        value = float(entry[key])
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"step {step} of its history has no {key}", _WAY_OUT) from error
    if not math.isfinite(value):
        raise BenchError(f"its {key} became {value} at step {step}", "lower the learning rate (--set lr=...)")
    return value


def _count_step_rows(number: int, rows: int, batch: int) -> int:
    """Count the rows of a step: a batch, and in the last step of an epoch the rest."""
    index = (number - 1) % -(-rows // batch)
    return min(batch, rows - index * batch)
