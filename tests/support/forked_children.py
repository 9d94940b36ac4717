"""Forks the program's child processes from a server that has imported torch, transformers and PEFT already.

Importing them takes a child ten seconds, and what it does to a tiny model less than one. How children are really
started is tested by tests/core/test_child_process.py, and by every test that runs the program in a process of its own.
"""

import multiprocessing
import os
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import pytest
from baseline_bench.core import child_process, child_server

CONTEXT = multiprocessing.get_context("forkserver")
# One list for every user: the server is one for the whole process and imports once.
CONTEXT.set_forkserver_preload(
    [
        "baseline_bench.trainers.full",
        "baseline_bench.trainers.lora",
        "baseline_bench.training.worker",
        "baseline_bench.training.data",
        "baseline_bench.training.merging",
        "baseline_bench.models.fidelity",
        "bitsandbytes",
        "scipy.stats",
        "tiny_training",
        "samples",
        "baseline_bench.commands.score",
        "baseline_bench.engines.scripted",
        "baseline_bench.rendering.leaderboard",
    ]
)


class ForkedChild:
    """A child that is used like the Popen of `python -m baseline_bench.core.child_server CONNECTION FACTORY ...`."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int], **others: object
    ) -> None:
        assert command[1:4] == ["-m", "baseline_bench.core.child_server", str(pass_fds[0])]
        assert others == {"stdin": subprocess.DEVNULL, "stdout": 2, "start_new_session": True}
        with Connection(os.dup(pass_fds[0])) as parent, Connection(os.dup(2), readable=False) as stderr:
            given = (command[4:], dict(env), str(Path.cwd()), parent, stderr)
            self._process = CONTEXT.Process(target=_serve, args=given)
            self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its status, -9 where a signal ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its status, once it has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("child_process", timeout or 0)
        return self.returncode


def _serve(words: Sequence[str], env: Mapping[str, str], cwd: str, parent: Connection, stderr: Connection) -> None:
    """Become what the command would have started."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for target in (1, 2):
        os.dup2(stderr.fileno(), target)
    warnings.simplefilter("ignore")
    child_server.run(parent, words[0], words[1:])


def start_server() -> None:
    """Start the server without its stderr: what libraries print at their import is not the output of the first test."""
    stderr = os.dup(2)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        forkserver.ensure_running()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


@contextmanager
def forking():
    """Within it, the program forks its children."""
    start_server()
    names = {"DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "subprocess", SimpleNamespace(Popen=ForkedChild, **names))
        yield
