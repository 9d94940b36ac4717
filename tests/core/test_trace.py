"""core.trace: whose phase an instant is, and files that stay readable; this file is what its processes run too."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext

import pytest
from baseline_bench.core import trace
from baseline_bench.core.trace import sum_phases

MAIN, CHILD, OTHER_CHILD, THIRD = 1, 2, 3, 4


def span(name: str, pid: int, start: float, end: float, children: Sequence[int] = ()) -> dict:
    """A phase of a process, as a line of the file has it."""
    more = {"args": {"children": children}} if children else {}
    return {"name": name, "pid": pid, "ts": start, "dur": end - start, **more}


def wait(start: float, end: float, *children: int, pid: int = MAIN) -> dict:
    """A process waits for others."""
    return span("wait", pid, start, end, children)


CASES = {
    "nothing": ([], {"other": 10}),
    "one": ([span("load", MAIN, 0, 10)], {"load": 10, "other": 0}),
    "gaps": ([span("load", MAIN, 2, 5), span("grade", MAIN, 6, 9)], {"load": 3, "grade": 3, "other": 4}),
    "nested": ([span("merge", MAIN, 0, 10), span("check", MAIN, 4, 6)], {"merge": 8, "check": 2, "other": 0}),
    "longer": ([span("early", MAIN, -3, 4), span("late", MAIN, 4, 30)], {"early": 4, "late": 6, "other": 0}),
    "a child that nobody waits for": ([span("import", CHILD, 0, 10)], {"other": 10}),
    "a wait": (
        [span("import", CHILD, 0, 6), span("read", MAIN, 1, 3), wait(3, 9, CHILD)],
        {"read": 2, "import": 3, "other": 5},
    ),
    "within a phase": (
        [span("generate", MAIN, 0, 10), wait(1, 9, CHILD), span("import", CHILD, 2, 8)],
        {"generate": 2, "import": 6, "other": 2},
    ),
    "two children": (
        [wait(0, 10, CHILD, OTHER_CHILD), span("load", CHILD, 0, 8), span("import", OTHER_CHILD, 2, 4)],
        {"load": 6, "import": 2, "other": 2},
    ),
    "the other child": (
        [wait(0, 10, CHILD), span("load", CHILD, 0, 10), span("import", OTHER_CHILD, 2, 4)],
        {"load": 10, "other": 0},
    ),
    "a child's child": (
        [wait(0, 10, CHILD), span("load", CHILD, 0, 9), wait(2, 8, THIRD, pid=CHILD), span("import", THIRD, 3, 8)],
        {"load": 3, "import": 5, "other": 2},
    ),
}


@pytest.mark.parametrize(("spans", "seconds"), CASES.values(), ids=CASES.keys())
def test_an_instant_belongs_to_one_phase(spans, seconds):
    """In whatever order the spans are written, the sums are those, and add up to the time between the two moments."""
    for order in (spans, spans[::-1]):
        found = sum_phases(order, MAIN, 0, 10)
        assert found == seconds
        assert sum(found.values()) == 10


def test_a_killed_process_leaves_what_it_finished(tmp_path):
    """Its open span is lost, nothing else; with the bracket that the format allows to lack, the file is JSON."""
    file = tmp_path / "trace.json"
    file.write_text("[\n")
    command = [sys.executable, "-P", __file__, "1", "2", "what it does"]
    ended = subprocess.run(command, env={**os.environ, "BENCH_TRACE": str(file)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    spans = [each for each in trace.read_events(file) if each["name"] != "import baseline_bench"]
    assert [each["name"] for each in spans] == ["start Python", "inner", "outer", "wait"]
    start, inner, outer, waited = spans
    assert start["dur"] > 0
    assert outer["ts"] <= inner["ts"] <= inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]
    assert waited["args"] == {"children": [7]}
    events = json.loads(file.read_text().rstrip().rstrip(",") + "]")
    assert [event["args"] for event in events if event["ph"] == "M"] == [{"name": "what it does"}]
    assert {event["pid"] for event in events} == {start["pid"]}


def test_without_a_file_a_span_is_nothing():
    """No function of the program runs for it, and imports are Python's own."""
    assert "BENCH_TRACE" not in os.environ
    assert trace.span is trace.wait is nullcontext
    assert __import__.__module__ == "builtins"


if __name__ == "__main__":
    with trace.span("outer"), trace.span("inner"):
        sum(range(300_000))
    with trace.wait([7]):
        sum(range(300_000))
    with trace.span("cut"):
        os.kill(os.getpid(), signal.SIGKILL)
