"""Counts how many files a reader opens to follow one command, and how often the reader changes file.

`python tests/support/files_entered.py baseline ./model --task word-problems --engine transformers` prints the reader's
way as a list. A file is entered if the main thread calls one of its functions or methods; class bodies, lambdas,
comprehensions and what runs while a module is imported do not count, nor do child processes.

The orchestration is `cli`, `commands`, `evaluation`, `results`, `training` and `rendering.leaderboard`: what says which
step comes next. Its leaf utilities, functions that call no function of another orchestration file (`runs.read_json`,
`entries.slugify`), are left out: a reader takes them at their word. A reader reads a function once, where it is first
called, so each function counts at its first call, and a change is a first call in another file than the one before.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from paths import ROOT

FOLDERS = ("harness", "tasks", "trainers")
ORCHESTRATION = ("harness/cli.py", "harness/commands/", "harness/evaluation/", "harness/results/", "harness/training/",
                 "harness/rendering/leaderboard.py")  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReadersWay:
    """The functions of the project that one command entered, and those of the orchestration, in order."""

    functions: tuple[tuple[str, str], ...]
    steps: tuple[tuple[str, str], ...]

    @property
    def files(self) -> list[str]:
        """The files entered."""
        return sorted({file for file, _ in self.functions})

    @property
    def changes(self) -> int:
        """How often the orchestration changes file."""
        return sum(one[0] != other[0] for one, other in zip(self.steps, self.steps[1:], strict=False))


def follow(call: Callable[[], object]) -> ReadersWay:
    """Call it, and return the way that a reader of the code goes."""
    entered: dict[CodeType, tuple[str, str]] = {}
    calls: set[tuple[CodeType, CodeType]] = set()

    def notice(frame: FrameType, event: str, _: Any) -> None:
        if (
            event == "call"
            and _is_function(frame.f_code)
            and (file := _name_file(frame.f_code.co_filename)) is not None
        ):
            entered.setdefault(frame.f_code, (file, frame.f_code.co_qualname))
            caller = frame.f_back
            while caller is not None and caller.f_code not in entered:
                caller = caller.f_back
            if caller is not None:
                calls.add((caller.f_code, frame.f_code))

    sys.setprofile(notice)
    try:
        call()
    finally:
        sys.setprofile(None)
    going_on = {
        caller
        for caller, called in calls
        if _orchestrates(entered[called][0]) and entered[called][0] != entered[caller][0]
    }
    while more := {caller for caller, called in calls if called in going_on and caller not in going_on}:
        going_on |= more
    steps = tuple(name for code, name in entered.items() if _orchestrates(name[0]) and code in going_on)
    return ReadersWay(tuple(entered.values()), steps)


def _orchestrates(file: str) -> bool:
    return file.startswith(ORCHESTRATION)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & 1) and not code.co_name.startswith("<")


@cache
def _name_file(file: str) -> str | None:
    """Return the file's path inside the project; None for other code."""
    path = Path(file).resolve()
    inside = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in FOLDERS
    return path.relative_to(ROOT).as_posix() if inside else None
