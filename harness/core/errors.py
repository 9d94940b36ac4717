"""The one error a user is meant to see: what is wrong, where, and the way out."""

import difflib
from collections.abc import Sequence


class BenchError(Exception):
    """Something the user can mend.

    Printed by the command line as one line without a traceback, exit status 1. Any other exception is a bug of
    ours and keeps its traceback.

    Args:
        what: what is wrong and where, in one sentence without a full stop.
        way_out: what to do about it, in one sentence without a full stop; None only where `what` already says so.
    """

    def __init__(self, what: str, way_out: str | None = None) -> None:
        self.what = what
        self.way_out = way_out
        super().__init__(what if way_out is None else f"{what}: {way_out}")


class NotFiniteError(BenchError):
    """A model computes NaN or infinity: whatever it answers is not its own, so that the run ends."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} are NaN or infinite",
            "look at the weights with `bench doctor`; if they are sound, float16 may be too narrow: -o dtype=float32",
        )


def combine_problems(problems: list[str], where: str, way_out: str) -> BenchError:
    """One error for every problem found in one place, so that nobody mends a file line by line."""
    return BenchError(f"{where}: " + "; ".join(problems), way_out)


def first_line(error: BaseException) -> str:
    """What another library's error says first; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def suggest_name(name: str, known: Sequence[str], listing: str) -> str:
    """The way out of an unknown name: the likeliest one and the command that lists all."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean '{close[0]}'? " if close else "") + f"known: {', '.join(known) or 'none'} ({listing})"
