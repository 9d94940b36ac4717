"""A child process, timed, with the most memory that it and all below it held together."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from baseline_bench.core.errors import BenchError

_GIB = 2**30
_PROC = Path("/proc")
_EVERY = 0.1
_TAIL = 4000
_PARENT, _RESIDENT = 1, 21  # fields of /proc/PID/stat, counted after the name: proc(5) numbers them 4 and 24


def timed(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
) -> dict[str, float]:
    """Run a child to its end.

    Args:
        command: program and words.
        env: variables beside those of this process.
        cwd: the folder it runs in.
        log: takes what it prints, both streams; written anew. None drops it unless the child fails.

    Returns:
        "seconds", from start to end, and "peak_gib": the most resident memory of it and all below it together. On Linux
        the sum is sampled ten times a second from /proc, and is at least the greatest single process's own peak as the
        kernel counts it (wait4) where that is above this process's; elsewhere it is only the latter. What processes
        share, and files mapped into memory, count.

    Raises:
        BenchError: it ended with another status than 0; the end of what it printed is told.
    """
    with tempfile.TemporaryFile("w+b") if log is None else log.open("w+b") as told:
        began = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        sampler = _Sampler(child.pid)
        try:
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            sampler.end()
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        if child.returncode:
            told.seek(max(0, told.seek(0, os.SEEK_END) - _TAIL))
            tail = told.read().decode("utf-8", "replace").strip()
            raise BenchError(f"{Path(command[0]).name} ended with status {child.returncode}:\n{tail}")
    return {"seconds": seconds, "peak_gib": _peak(usage.ru_maxrss, sampler.most) / _GIB}


class _Sampler:
    """Looks at a process and all below it until it is told to end."""

    def __init__(self, root: int) -> None:
        self.most = 0
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(_EVERY):
            self.most = max(self.most, _resident(self._root))

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def _resident(root: int) -> int:
    """Bytes that a process and all below it hold in memory together; 0 where the system does not tell."""
    if not _PROC.is_dir():
        return 0
    table = {int(entry.name): row for entry in _PROC.iterdir() if entry.name.isdecimal() and (row := _stat(entry))}
    family = {root}
    while more := {pid for pid, (parent, _) in table.items() if parent in family} - family:
        family |= more
    return sum(table[pid][1] for pid in family & set(table)) * os.sysconf("SC_PAGE_SIZE")


def _stat(entry: Path) -> tuple[int, int] | None:
    """(parent, resident pages) of a process; None where it is gone."""
    try:
        words = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(words[_PARENT]), int(words[_RESIDENT])


def _peak(told: int, sampled: int) -> int:
    """Bytes, from what wait4 told of the greatest single process and from the sampled sums.

    Linux hands the peak of the process that forks on to the one that it becomes at exec: a small number told is this
    process's own, and only taken where the child ended before it could be sampled.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    inherited = told <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return sampled if inherited and sampled else max(told * unit, sampled)
