"""core.parallel: work in several processes gives what one process gives."""

import os
import signal
import subprocess
import sys

import pytest
from baseline_bench.core import parallel
from baseline_bench.core.errors import BenchError


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every machine have two cores."""
    monkeypatch.setattr(parallel, "_count_cores", lambda: 2)


def test_many_items_are_spread_over_processes_and_keep_their_order() -> None:
    """A function that cannot be pickled runs in other processes."""
    results = parallel.map_in_processes(lambda item: (item * item, os.getpid()), range(40), least=8)
    assert [square for square, _ in results] == [item * item for item in range(40)]
    assert os.getpid() not in {process for _, process in results}


def test_few_items_stay_in_this_process() -> None:
    """Another process would cost more than it saves."""
    assert parallel.map_in_processes(lambda _: os.getpid(), range(15), least=8) == [os.getpid()] * 15


@pytest.mark.parametrize("least", [8, 99])
def test_what_is_done_is_reported_one_by_one(least: int) -> None:
    """From several processes and from this one."""
    reported: list[tuple[int, int]] = []
    parallel.map_in_processes(abs, range(40), least, lambda *done: reported.append(done))
    assert reported == [(done, 40) for done in range(1, 41)]


def test_what_the_function_raises_is_raised_here() -> None:
    """As in one process."""

    def refuse(item: int) -> int:
        if item == 9:
            raise BenchError("nine", "eight")
        return item

    with pytest.raises(BenchError) as caught:
        parallel.map_in_processes(refuse, range(40), least=8)
    assert (caught.value.what, caught.value.way_out) == ("nine", "eight")


def test_a_process_that_dies_is_reported_in_one_line() -> None:
    """As where the system ends it for lack of memory."""

    def die(item: int) -> None:
        if item == 9:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(BenchError, match="died"):
        parallel.map_in_processes(die, range(40), least=8)


def test_no_process_outlives_a_killed_command() -> None:
    """Each holds the command's stdout, which ends with the last of them."""
    script = """
import os, signal
from baseline_bench.core import parallel
parallel._count_cores = lambda: 2
parallel.map_in_processes(lambda _: (os.write(1, b"."), signal.pause()), range(40), least=8)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stdout.read(2) == b".."
        command.kill()
        assert command.communicate(timeout=60) == (b"", None)
