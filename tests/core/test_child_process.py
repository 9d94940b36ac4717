"""core.child_process: what a child process says comes back, and none stays behind; this file is what they run too."""

import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from baseline_bench.core import child_process
from baseline_bench.core.errors import BenchError

HERE = Path(__file__).parent
PATIENCE = 60


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """Children find this file."""
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)


@pytest.fixture
def pipe(tmp_path) -> Path:
    """A named pipe: its reader is told when the last process that holds it has ended."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def echo(asked, console, rank):
    """What a child knows of itself."""
    return {"asked": asked, "rank": rank, "world": os.environ.get("WORLD_SIZE"), "pid": os.getpid()}


def refuse(asked, console, rank):
    """Fail as the user is meant to see it."""
    raise BenchError(*asked)


def crash(asked, console, rank):
    """Fail by a bug."""
    raise LookupError(asked)


def die(asked, console, rank):
    """Get a signal."""
    os.kill(os.getpid(), asked)


def leave(asked, console, rank):
    """End without a word."""
    os._exit(asked)


def exit_early(asked, console, rank):
    """End as a script does."""
    sys.exit(asked)


def talk(asked, console, rank):
    """Print as libraries do."""
    sys.stdout.write("by print\n")
    os.write(1, b"by descriptor\n")
    console.say(f"by screen {rank}")


def write(asked, console, rank):
    """Fail as a file system does."""
    raise OSError(asked, os.strerror(asked), "there")


def hold(asked, console, rank):
    """Say so, and stay."""
    descriptor = os.open(asked, os.O_WRONLY)
    os.write(descriptor, b"!")
    threading.Event().wait()


def hold_with_helper(asked, console, rank):
    """Start a process that holds the pipe too, and stay."""
    descriptor = os.open(asked, os.O_WRONLY)
    subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
    )
    os.write(descriptor, b"!")
    threading.Event().wait()


def hold_or_fail(asked, console, rank):
    """The first stays; the second fails once the first is there."""
    path, kind = asked
    if rank == 0:
        hold(path, console, rank)
    descriptor = os.open(path.replace("pipe", "start"), os.O_RDONLY)
    os.read(descriptor, 1)
    {"refuse": refuse, "die": die, "crash": crash}[kind]({"refuse": ["no"], "die": 9, "crash": "bug"}[kind], console, 1)


def ended(reader: int) -> bool:
    """Whether the last holder of the pipe ends; what they said before is read away."""
    while select.select([reader], [], [], PATIENCE)[0]:
        if not os.read(reader, 100):
            return True
    return False


def test_a_value_comes_back_from_another_process():
    """JSON goes in and comes out; one process is told of no others."""
    told = child_process.call_in_child("test_child_process:echo", {"a": [1, None, "ü"]})
    assert told["asked"] == {"a": [1, None, "ü"]}
    assert (told["rank"], told["world"]) == (0, None)
    assert told["pid"] != os.getpid()


def test_of_several_processes_the_first_is_heard():
    """Each finds its rank and their number where torch and accelerate look."""
    told = child_process.call_in_child("test_child_process:echo", None, processes=2)
    assert (told["rank"], told["world"]) == (0, "2")


def test_nothing_is_a_value():
    """A stage that returns nothing has ended well."""
    assert child_process.call_in_child("test_child_process:talk", None) is None


@pytest.mark.parametrize("words", [["no such thing", "take another"], ["no such thing", None]])
def test_an_error_for_the_user_comes_back_as_itself(words):
    """What and way out are those of the child, without a word of the process between."""
    with pytest.raises(BenchError) as caught:
        child_process.call_in_child("test_child_process:refuse", words)
    assert [caught.value.what, caught.value.way_out] == words


def test_a_bug_keeps_its_traceback(capfd):
    """It is printed, and the error names the exit status."""
    with pytest.raises(BenchError, match="ended with status 1, its traceback is above"):
        child_process.call_in_child("test_child_process:crash", "the cause")
    assert "LookupError: the cause" in capfd.readouterr().err


def test_an_end_without_a_word_is_no_success():
    """Neither a status nor a silent exit passes for a value."""
    with pytest.raises(BenchError, match="ended with status 3"):
        child_process.call_in_child("test_child_process:leave", 3)
    with pytest.raises(BenchError, match="ended with status 0"):
        child_process.call_in_child("test_child_process:leave", 0)


@pytest.mark.parametrize(("code", "status"), [(0, 1), (None, 1), ("no", 1), (3, 3)])
def test_a_request_that_exits_the_process_fails(code, status, capfd):
    """Its status is never that of success, and its traceback shows who left."""
    with pytest.raises(BenchError, match=f"ended with status {status}"):
        child_process.call_in_child("test_child_process:exit_early", code)
    assert "exit_early" in capfd.readouterr().err


@pytest.mark.parametrize(("number", "told"), [(9, "killed by the system.*memory"), (15, "ended by signal 15")])
def test_a_signal_is_told(number, told):
    """SIGKILL is what a system without memory sends; any other is named."""
    with pytest.raises(BenchError, match=told):
        child_process.call_in_child("test_child_process:die", number)


def test_a_full_disk_is_told_and_other_trouble_with_files_is_a_bug(capfd):
    """Only what free space mends is said to be mended by it."""
    with pytest.raises(BenchError, match="cannot write there: No space left on device: free some space"):
        child_process.call_in_child("test_child_process:write", errno.ENOSPC)
    with pytest.raises(BenchError, match="its traceback is above"):
        child_process.call_in_child("test_child_process:write", errno.ENOENT)
    assert "FileNotFoundError" in capfd.readouterr().err


def test_what_a_child_prints_is_not_data(capfd):
    """All of it goes to stderr, and only the first process has something to say."""
    child_process.call_in_child("test_child_process:talk", None, processes=2)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("by descriptor") == err.count("by print") == 2
    assert "by screen 1" not in err


@pytest.mark.parametrize(
    ("kind", "told"), [("refuse", "^no$"), ("die", "killed by the system"), ("crash", "ended with status 1")]
)
def test_when_one_process_fails_the_others_end_and_its_failure_is_told(pipe, kind, told, capfd):
    """They would wait for it for ever; that they were ended is not what the user is told."""
    os.mkfifo(pipe.with_name("start"))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def begin():
        if select.select([reader], [], [], PATIENCE)[0]:
            pipe.with_name("start").write_bytes(b"!")

    starter = threading.Thread(target=begin)
    starter.start()
    with pytest.raises(BenchError, match=told):
        child_process.call_in_child("test_child_process:hold_or_fail", [str(pipe), kind], processes=2)
    starter.join()
    assert ended(reader)
    os.close(reader)


@pytest.mark.parametrize(("work", "processes"), [("hold", 1), ("hold", 2), ("hold_with_helper", 1)])
def test_children_end_when_their_parent_is_killed(pipe, work, processes):
    """Even SIGKILL, of which no parent can tell, leaves no process that holds a GPU, nor one that they started."""
    asked = f"stage.call_in_child('test_child_process:{work}', {json.dumps(str(pipe))}, {processes})"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"from baseline_bench.core import child_process as stage; {asked}"]
    )
    reader = os.open(pipe, os.O_RDONLY)
    there = 0
    while there < processes and select.select([reader], [], [], PATIENCE)[0]:
        there += len(os.read(reader, 100))
    assert there == processes
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ended(reader)
    os.close(reader)


def test_an_interrupt_leaves_no_child(pipe, monkeypatch):
    """Ctrl-C in the parent ends the children before the command does."""
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def interrupted(children):
        assert select.select([reader], [], [], PATIENCE)[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(child_process, "collect_answers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        child_process.call_in_child("test_child_process:hold", str(pipe))
    assert ended(reader)
    os.close(reader)


def test_a_process_that_was_begun_answers_later_and_only_then():
    """It has loaded its module by the time it is asked, and calls nothing before."""
    with child_process.ChildProcess("test_child_process:echo") as begun:
        child = begun.workers[0].process
        assert child.poll() is None
        told = begun.ask("late")
    assert (told["asked"], told["pid"]) == ("late", child.pid)


def test_a_process_that_nobody_asks_is_ended():
    """Leaving the block is enough, whatever it was loading."""
    with child_process.ChildProcess("test_child_process:hold", processes=2) as begun:
        children = [worker.process for worker in begun.workers]
    assert [child.poll() for child in children] == [-signal.SIGKILL] * 2


def test_a_process_that_ended_before_it_was_asked_is_told_like_any_other():
    """Nobody listens any more when it is let go."""
    with child_process.ChildProcess("test_child_process:echo") as begun:
        child = begun.workers[0].process
        child.kill()
        child.wait()
        with pytest.raises(BenchError, match="killed by the system"):
            begun.ask(None)
