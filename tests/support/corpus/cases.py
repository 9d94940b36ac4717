"""What a case of the corpus is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        source: the public report that it is modelled on, or how it was found.
        build: makes the input in an empty folder and returns what is scored.
        expected: (code, severity) of every finding, sorted; none for a sound twin.
        twin: the name of its counterpart: of a bad input the sound one, of a sound one the bad one.
    """

    name: str
    source: str
    build: Callable[[Path], Path]
    expected: tuple[tuple[str, str], ...]
    twin: str
