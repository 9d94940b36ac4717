"""The `bench` command of this very tree as a child process, installed or not."""

import os
import sys

from baseline_bench.evaluation.provenance import REPOSITORY_ROOT


def command(*words: object) -> list[str]:
    """`bench WORDS` as this interpreter runs it."""
    return [sys.executable, "-m", "baseline_bench.cli", *map(str, words)]


def environment(**more: object) -> dict[str, str]:
    """What a child needs to find this tree and no other, whatever folder it runs in."""
    path = os.pathsep.join(part for part in (str(REPOSITORY_ROOT / ".dev"), os.environ.get("PYTHONPATH")) if part)
    return {"PYTHONPATH": path, **{name: str(value) for name, value in more.items()}}


def python(*words: object) -> list[str]:
    """`python WORDS` with this interpreter."""
    return [sys.executable, *map(str, words)]
