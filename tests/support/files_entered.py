"""Counts how many files a reader opens to follow one command, and how often the reader changes file.

A file is entered if the main thread calls one of its functions or methods. Class bodies, lambdas and comprehensions do
not count, nor does what runs while a module is imported, nor child processes.

The orchestration is what decides which step comes next: `cli`, `commands`, `evaluation`, `results`, `training` and
`rendering.leaderboard`. A reader follows each call in it once, in the order of the calls, and takes a leaf at its
word: a function that calls no function of the orchestration. A change is a call of a function in another file than the
one called before.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

from paths import ROOT

FOLDERS = ("harness", "tasks", "trainers")
PARTS = ("cli.py", "commands/", "evaluation/", "results/", "training/", "rendering/leaderboard.py")
ORCHESTRATION = tuple(f"harness/{part}" for part in PARTS)
_OPTIMISED = 1  # the flag of a function's code; a class body's lacks it

Function = tuple[str, str]  # file, qualified name


@dataclass(frozen=True, slots=True)
class ReadersWay:
    """The functions of the project that one command enters, and the calls of its orchestration, in order."""

    functions: tuple[Function, ...]
    steps: tuple[Function, ...]

    @property
    def files(self) -> list[str]:
        """The files entered, sorted."""
        return sorted({file for file, _ in self.functions})

    @property
    def changes(self) -> int:
        """How often the orchestration changes file."""
        return sum(one[0] != other[0] for one, other in zip(self.steps, self.steps[1:], strict=False))


def follow(command: Callable[[], object]) -> ReadersWay:
    """Run the command, and return the way that a reader of its code goes."""
    calls: dict[tuple[Function | None, Function], None] = {}
    known: dict[int, tuple[CodeType, Function | None]] = {}  # by identity: hashing code is slow; the code stays alive

    seen: set[tuple[int, int]] = set()

    def identify(code: CodeType) -> Function | None:
        if id(code) not in known:
            known[id(code)] = code, _identify(code)
        return known[id(code)][1]

    def notice(frame: FrameType, _event: str, _: object) -> None:
        pair = id(frame.f_code), id(frame.f_back.f_code)
        if pair in seen or (called := identify(frame.f_code)) is None:
            return
        caller, above = None, frame.f_back
        while above is not None and above.f_code is not follow.__code__:
            if above.f_code.co_name == "<module>":
                return  # runs while a module is imported
            caller, above = caller or identify(above.f_code), above.f_back
        seen.add(pair)
        calls.setdefault((caller, called))

    sys.settrace(notice)
    try:
        command()
    finally:
        sys.settrace(None)
    within = [call for call in calls if all(each is None or each[0].startswith(ORCHESTRATION) for each in call)]
    callers = {caller for caller, _ in within}
    steps = tuple(called for _, called in within if called in callers)
    return ReadersWay(tuple(dict.fromkeys(called for _, called in calls)), steps)


@cache
def _identify(code: CodeType) -> Function | None:
    """Return file and name of a function of the project; None for other code."""
    path = Path(code.co_filename).resolve()
    if not code.co_flags & _OPTIMISED or code.co_name.startswith("<") or not path.is_relative_to(ROOT):
        return None
    file = path.relative_to(ROOT).as_posix()
    return (file, code.co_qualname) if file.startswith(FOLDERS) else None
