"""What a check of the leaderboards reports, and the paths and commands in it as a user types them."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.markup import make_visible


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, shown in one line: the file, what is wrong with it, and how to fix it."""

    file: str
    what: str
    fix: str

    def __str__(self) -> str:
        return make_visible(f"{self.file}: {self.what}; fix: {self.fix}")


def format_command(*words: str) -> str:
    """Format a command for a shell, between backticks."""
    return f"`{shlex.join(words)}`"


def format_path(folder: Path, file: str) -> str:
    """Format the path of a file whose name is relative to the leaderboards."""
    return (folder / file).as_posix()
