"""Rows whose problems were judged as a test says."""

from dataclasses import replace

from baseline_bench.core.types import Judgement
from baseline_bench.evaluation.evaluate import count_judgements
from baseline_bench.results.bits import Bits
from baseline_bench.results.entry import Entry, Result
from samples import entry, result

RIGHT, LOOSE, WRONG, UNREAD, CUT = "right", "loose", "wrong", "unread", "cut"


KINDS = (RIGHT, LOOSE, WRONG, UNREAD, CUT)


def verdict(place: int, kind: str) -> Judgement:
    """A judgement of this kind; `loose` is right but not in the task's own format."""
    answer = None if kind == UNREAD else "1"
    right = kind in (RIGHT, LOOSE)
    return Judgement(f"test-{place}", answer, "hash", right, kind == RIGHT, "length" if kind == CUT else "stop")


def row(*kinds: str, of: Result | None = None) -> Entry:
    """A row with these judgements, in item order."""
    verdicts = [verdict(place, kind) for place, kind in enumerate(kinds)]
    return entry(replace(of or result(), bits=Bits.of(verdicts), counts=count_judgements(verdicts)))
