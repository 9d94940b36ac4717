"""Trace where a command's time goes: named phases of all its processes, in Chrome's trace format.

`with trace.span("tokenise"):` marks a phase, `with trace.wait(pids):` a wait for processes; both do nothing without
`--trace FILE`. Each process appends one line a span, with one write; the array needs no end, so that a kill harms none.
"""

import builtins
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError

span: Callable[[str], AbstractContextManager[object]] = nullcontext
wait: Callable[[Sequence[int]], AbstractContextManager[object]] = nullcontext
_VARIABLE = "BENCH_TRACE"
_import = builtins.__import__
_SLOW = {"accelerate", "baseline_bench", "bitsandbytes", "datasets", "peft", "scipy", "torch", "transformers", "vllm"}


@contextmanager
def record_command(file: Path, console: Console, main_start: float) -> Iterator[None]:
    """Trace this process, whose `main` began at `main_start`, and its children; then print the seconds by phase."""
    if file.exists() and not file.is_file():  # a pipe would wait for its reader
        raise BenchError(f"{file} is no regular file", "name another file with --trace")
    try:
        file.write_text("[\n", encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot write {file}: {error.strerror}", "name another file with --trace") from error
    os.environ[_VARIABLE] = str(file.absolute())
    start = _record_process("bench", main_start * 1e6)
    _append("import baseline_bench", main_start * 1e6)
    try:
        yield
    finally:
        with suppress(ValueError):  # a full disk cut a line
            times = sum_phases(read_events(file), os.getpid(), start, end := time.monotonic() * 1e6)
            for name, length in sorted(times.items(), key=lambda item: (item[0] == "other", -item[1])):
                console.say(f"{length / 1e6:9.2f} s {100 * length / (end - start):5.1f} %  {name}")
            console.say(f"{(end - start) / 1e6:9.2f} s in all; every process: {file}")


def sum_phases(events: Sequence[dict[str, Any]], main: int, start: float, end: float) -> dict[str, float]:
    """Sum the time of each phase between two moments, together all that is between them.

    An instant belongs to the innermost span of the main process; while that waits for children, to the innermost span
    of a child, of several to the one that started last. The rest is "other".
    """
    changes = {time for event in events for time in (event["ts"], event["ts"] + event["dur"]) if start < time < end}
    times = {"other": 0.0}
    for moment, following in pairwise(sorted({start, end, *changes})):
        active = [event for event in events if event["ts"] <= moment < event["ts"] + event["dur"]]
        name = (_find_owner(main, active) or {"name": "other"})["name"]
        times[name] = times.get(name, 0.0) + following - moment
    return times


def _find_owner(pid: int, active: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    innermost = max((event for event in active if event["pid"] == pid), key=lambda event: event["ts"], default=None)
    if innermost is None or "args" not in innermost:
        return innermost
    owners = [owner for child in innermost["args"]["children"] if (owner := _find_owner(child, active))]
    return max(owners, key=lambda owner: owner["ts"], default=None)


def read_events(file: Path) -> list[dict[str, Any]]:
    """Read the spans of a file: from `ts` on, `dur` long, in microseconds; ValueError if a full disk cut a line."""
    events = json.loads(file.read_text(encoding="utf-8").rstrip(",\n") + "]")
    return [event for event in events if "dur" in event]


def _record_process(name: str, main_start: float | None = None) -> float:
    """Record every span and import of this process from here on; return when it started."""
    global span, wait  # replaced, so that they cost nothing without --trace
    span, wait, builtins.__import__ = _record, lambda pids: _record("wait", pids), _record_import
    _write(ph="M", name="process_name", args={"name": name})
    _append("start Python", start := _find_process_start(), main_start)
    return start


@contextmanager
def _record(name: str, children: Sequence[int] = ()) -> Iterator[None]:
    start = time.monotonic() * 1e6
    try:
        yield
    finally:
        _append(name, start, None, children)


def _record_import(name: str, *arguments: Any, **keywords: Any) -> Any:
    """Import as Python does, and record the outermost absolute import of each of the packages."""
    package = name.partition(".")[0]
    if package not in _SLOW or any(arguments[3:]):
        return _import(name, *arguments, **keywords)
    _SLOW.discard(package)
    with _record(f"import {package}"):
        module = _import(name, *arguments, **keywords)
    _SLOW.add(package)
    return module


def _append(name: str, start: float, end: float | None = None, children: Sequence[int] = ()) -> None:
    if (length := (end or time.monotonic() * 1e6) - start) >= 100:  # shorter ones count to the span around them
        _write(ph="X", name=name, ts=start, dur=length, **({"args": {"children": children}} if children else {}))


def _write(**event: Any) -> None:
    with suppress(OSError), Path(os.environ[_VARIABLE]).open("ab", buffering=0) as file:
        file.write(json.dumps({**event, "pid": os.getpid(), "tid": threading.get_native_id()}).encode() + b",\n")


def _find_process_start() -> float:
    """Return when this process began, a shell's time before its `exec` included; now where the system does not tell."""
    with suppress(OSError, AttributeError):
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        return (time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")) * 1e6
    return time.monotonic() * 1e6


if _VARIABLE in os.environ:  # a child of a command with --trace
    _record_process(" ".join(sys.argv[3:]))
