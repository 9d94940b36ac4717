"""A stranger's program is ended when it takes too much, and its results and errors come back."""

import os
import re
import time
from functools import partial

import pytest
from baseline_bench.core import bounded
from baseline_bench.core.bounded import BoundedFunction
from baseline_bench.core.errors import BenchError


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(bounded, "SECONDS", 0.2)
    monkeypatch.setattr(bounded, "MEMORY", 2**26)


class Panic(BaseException):
    """As PyO3 raises it for a panic in Rust."""


def spend(kind: str, size: int = 1) -> object:
    """Do what a child may not."""
    if kind == "time":
        return re.fullmatch("(a+)+$", "a" * 40 + "b")
    if kind == "memory":
        return len(bytearray(2**33))  # more than any free memory of a process that has run many tests
    if kind == "answer":
        return "x" * size
    if kind == "end":
        os._exit(3)
    if kind == "raise":
        raise KeyError(kind)
    if kind == "panic":
        raise Panic(kind)
    return os.getpid()


@pytest.mark.parametrize(("kind", "limit"), [("time", "0.2 seconds"), ("memory", "64 MiB"), ("end", "64 MiB")])
def test_a_call_beyond_a_limit_is_one_error(kind, limit):
    """The error names the program, the limit and the way out, and the next call is answered."""
    bounded_spend = BoundedFunction(spend, "the program", "write another")
    with pytest.raises(BenchError, match=f"^the program takes more than {limit}.*: write another$"):
        bounded_spend(kind)
    assert bounded_spend("pid") != os.getpid()


def test_an_answer_beyond_the_limit_is_refused(monkeypatch):
    """A child cannot fill the parent's memory either."""
    monkeypatch.setattr(bounded, "_ANSWER_LIMIT", 1000)
    answer = partial(spend, "answer")  # a function of its own, whose child is forked under this limit
    with pytest.raises(BenchError, match="MiB of memory"):
        BoundedFunction(answer, "the program", "write another")(2000)
    assert BoundedFunction(answer, "the program", "write another")(500) == "x" * 500


def test_one_child_answers_all_calls_of_a_function():
    """Another function's call starts another child and ends the first."""
    first, other = BoundedFunction(spend, "a", "b"), BoundedFunction(os.getpid, "a", "b")
    child = first("pid")
    assert first("pid") == child != os.getpid()
    assert other() not in (child, os.getpid())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_errors_come_back_as_they_are():
    """Callers tell them apart by their class."""
    with pytest.raises(KeyError, match="raise"):
        BoundedFunction(spend, "a", "b")("raise")


def test_a_panic_in_rust_comes_back_as_an_error():
    """It is no Exception, and must neither end the parent nor count as a lack of memory."""
    with pytest.raises(ValueError, match="Panic: panic"):
        BoundedFunction(spend, "a", "b")("panic")


def test_a_child_keeps_no_file_of_its_parent():
    """A pipe whose end tells another process that the parent ended must not stay open in the child."""
    reader, writer = os.pipe()
    BoundedFunction(spend, "a", "b")("pid")
    os.close(writer)
    os.set_blocking(reader, False)
    ended = time.monotonic() + 5
    data = None
    while data is None and time.monotonic() < ended:
        try:
            data = os.read(reader, 1)
        except BlockingIOError:
            continue
    os.close(reader)
    assert data == b""
