"""What a case of the corpus is, and how the check that finds it is taken away."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# (code, severity) of a finding; inputs without codes are refused in one line, which is the pair `REFUSED`.
Found = tuple[str, str]
REFUSED: tuple[Found, ...] = (("refused", "refuse"),)
# Runs a command in a folder: (exit status, stdout, stderr).
Run = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Check:
    """A check of the product that can be taken away.

    Attributes:
        place: "module:name" or "module:Class.name", within `baseline_bench`.
        nothing: what takes its place: a check that finds nothing, or a limit that is never reached.
    """

    place: str
    nothing: Any

    def remove(self, patch: pytest.MonkeyPatch) -> None:
        """Take the check away; fails if there is none of that name."""
        module, _, name = self.place.partition(":")
        owner, _, attribute = name.rpartition(".")
        holder = importlib.import_module(f"baseline_bench.{module}")
        patch.setattr(getattr(holder, owner) if owner else holder, attribute, self.nothing)


def finds(place: str, nothing: Any = ()) -> Check:
    """A check that returns `nothing` when it is taken away, whatever it is given."""
    return Check(place, lambda *_, **__: nothing)


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        source: the public report that it is modelled on, or how it was found.
        build: makes the input in an empty folder and returns what is scored.
        expected: (code, severity) of every finding; none for a sound twin.
        twin: the name of its counterpart: of a bad input the sound one, of a sound one the bad one.
        checks: what finds a case without codes; the checks of codes are in `checks.py`.
        then: what is raised without these checks, where the input breaks what follows; None where it is accepted.
        kept: why no check is named that could be taken away.
    """

    name: str
    source: str
    build: Callable[[Path], Any]
    expected: tuple[Found, ...]
    twin: str
    checks: tuple[Check, ...] = ()
    then: type[BaseException] | None = None
    kept: str = ""
