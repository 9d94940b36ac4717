"""The one error that users see: what is wrong, where, and how to fix it."""

import difflib
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

# Names or problems of one kind that a message shows.
MAX_SHOWN = 5
_LONGEST = 300
_FINITE_ADVICE = (
    "look at the weights with `bench doctor`; if they are sound, float16 may be too narrow: -o dtype=float32"
)


class BenchError(Exception):
    """An error that the user can fix.

    The command line prints it as one line without a traceback and exits with status 1. Any other exception is a bug
    in bench and keeps its traceback.

    Args:
        what: what is wrong and where, in one sentence without a full stop.
        way_out: how to fix it, in one sentence without a full stop; None only if `what` already says so.
    """

    def __init__(self, what: str, way_out: str | None = None) -> None:
        self.what = what
        self.way_out = way_out
        super().__init__(what if way_out is None else f"{what}: {way_out}")


class UnreachableError(BenchError):
    """A place outside this repository does not answer, so that nobody can say what it holds."""


class NotFiniteError(BenchError):
    """A model computes NaN or infinity, which makes its answers meaningless; the run ends."""

    def __init__(self, what: str, way_out: str | None = None) -> None:
        super().__init__(what, way_out or _FINITE_ADVICE)


def combine_problems(problems: list[str], where: str, way_out: str) -> BenchError:
    """Build one error from all problems found in one place, so that a user can fix them all at once."""
    return BenchError(f"{where}: " + "; ".join(problems), way_out)


def list_first(names: Sequence[str]) -> str:
    """List the first names of many, with dots in place of the others."""
    return ", ".join(names[:MAX_SHOWN]) + (", ..." if len(names) > MAX_SHOWN else "")


def keep_first(problems: list[str]) -> list[str]:
    """Keep the first problems of many, and count the others."""
    rest = len(problems) - MAX_SHOWN
    return problems[:MAX_SHOWN] + ([f"and {rest} more"] if rest > 0 else [])


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error; its class name if it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def describe_error(error: BaseException) -> str:
    """Return another library's error in one line of at most 300 characters, with its class."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:_LONGEST].rstrip(": ")


def suggest_name(name: str, known: Sequence[str], listing: str) -> str:
    """Describe how to fix an unknown name: the closest known name, else the known ones; and what lists all."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean '{close[0]}'?" if close else f"known: {list_first(known) or 'none'}") + f" ({listing})"


def suggest_path(path: Path, others: Sequence[str] = ()) -> str:
    """Return "did you mean 'PATH'? " for a path that does not exist; empty if no name in its folder is close.

    Args:
        others: names that a path without a folder may have been meant for.
    """
    missing = path.parent.is_dir() and not path.exists()
    names = [each.name for each in path.parent.iterdir()] if missing else []
    if missing and str(path) == path.name:
        names += others
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"did you mean '{path.parent / close[0]}'? " if close else ""


def suggest_extra(extra: str) -> str:
    """Return the command that installs an extra; in a clone from its folder, since no package index may hold bench."""
    clone = Path(__file__).resolve().parents[2]
    if not (clone / "pyproject.toml").is_file():
        return suggest_library(f"'baseline-bench[{extra}]'")
    return suggest_library(f"-e '{'.' if clone == Path.cwd() else clone}[{extra}]'")


def suggest_library(library: str) -> str:
    """Return the command that installs a library for this Python; `pip` alone may be another environment's."""
    python, pip = Path(sys.executable), shutil.which("pip")
    if pip is not None and Path(pip).parent == python.parent:
        return f"pip install {library}"
    here = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return f"{shlex.quote(str(here))} -m pip install {library}"
