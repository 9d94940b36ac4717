"""Since when git has held a contrast as it stands, so that a hypothesis can be told from an afterthought.

The times are those of commits, and whoever commits sets them: they keep honest people from fooling themselves. A rebase
or a squash makes a claim as young as itself.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from baseline_bench.analysis.claims import claims_file as reader
from baseline_bench.analysis.claims.claims_file import Claim, Claims, Contrast, family
from baseline_bench.core.errors import BenchError


@dataclass(frozen=True, slots=True)
class Since:
    """A commit, and the time at which it was committed (not authored), UTC as 2026-11-22T12:00:00Z."""

    commit: str
    time: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What git knows of a claims file.

    Attributes:
        known: there is a repository; without one nothing can be said.
        since: for each contrast, in the order of `Claims.contrasts`, the oldest commit from which on it stood
            unchanged; None where no commit holds it as it stands.
    """

    known: bool
    since: tuple[Since | None, ...]


def since(path: Path, claims: Claims) -> Registration:
    """Since when each contrast of the claims in `path` has stood in git unchanged, up to HEAD.

    A contrast is unchanged while its claim's id and hypothesis, itself, its family's rule, and the file's board, task,
    alpha and least items are, and while no contrast was taken out of its family or its claim: that would make the
    others look better. Adding contrasts changes nothing. A renamed file begins anew.

    Raises:
        BenchError: the clone is too shallow to tell.
    """
    nothing: list[Since | None] = [None] * len(claims.contrasts)
    if _git(path, "rev-parse", "--git-dir") is None:
        return Registration(False, tuple(nothing))
    found, alive = nothing, set(range(len(nothing)))
    for commit, old in _versions(path):
        alive = {place for place in alive if old is not None and _stands(claims, place, old)}
        if not alive:
            break
        for place in alive:
            found[place] = commit
    _refuse_shallow(path, {one.commit for one in found if one is not None})
    return Registration(True, tuple(found))


def _versions(path: Path) -> Iterator[tuple[Since, Claims | None]]:
    """Every commit that changed the file, newest first, and the claims it holds; None where they cannot be read."""
    # A signature that the settings ask to show would stand between the lines.
    listed = _git(path, "log", "--no-show-signature", "--topo-order", "--format=%H %ct", "--", path.name)
    for line in (listed or b"").decode().splitlines():
        commit, seconds = line.split()
        text = _git(path, "show", f"{commit}:./{path.name}")
        time = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield Since(commit, time), None if text is None else _read(text, path)


def _read(text: bytes, path: Path) -> Claims | None:
    try:
        return reader.parse(text, path.name)
    except BenchError:
        return None


def _stands(now: Claims, place: int, old: Claims) -> bool:
    claim, contrast = now.contrasts[place]
    before = next((one for one in old.claims if (one.id, one.hypothesis) == (claim.id, claim.hypothesis)), None)
    if before is None or contrast not in before.contrasts or _frame(now, contrast) != _frame(old, contrast):
        return False
    return set(before.contrasts) <= set(claim.contrasts) and _members(old, contrast) <= _members(now, contrast)


def _frame(claims: Claims, contrast: Contrast) -> tuple[object, ...]:
    """What decides about a contrast from outside it."""
    one = family(contrast)
    rule = None if one is None else claims.families.get(one)
    return claims.board, claims.task, claims.alpha, claims.least_items, claims.source, claims.rows, rule


def _members(claims: Claims, contrast: Contrast) -> set[tuple[str, Contrast]]:
    """The contrasts of the same family, each with its claim's id; none for a contrast without a family."""
    one = family(contrast)
    return {_named(*pair) for pair in claims.contrasts if one is not None and family(pair[1]) == one}


def _named(claim: Claim, contrast: Contrast) -> tuple[str, Contrast]:
    return claim.id, contrast


def _refuse_shallow(path: Path, commits: set[str]) -> None:
    """A shallow clone's oldest commits seem to add every file; what stood before them is not there."""
    place = _git(path, "rev-parse", "--git-path", "shallow")
    edges = path.parent / (place or b"").decode("utf-8", "surrogateescape").strip()
    if edges.is_file() and commits.intersection(edges.read_text().split()):
        raise BenchError(
            f"{path.name}: this clone is too shallow to tell since when its claims stand",
            "fetch the whole history: git fetch --unshallow (on GitHub: fetch-depth: 0)",
        )


def _git(path: Path, *arguments: str) -> bytes | None:
    """What git prints in the file's folder, or None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(path.parent), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
