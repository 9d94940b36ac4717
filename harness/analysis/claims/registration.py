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
from baseline_bench.analysis.claims.claims_file import Claim, ClaimsFile, Contrast, find_family
from baseline_bench.core.errors import BenchError


@dataclass(frozen=True, slots=True)
class RegistrationCommit:
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
    since: tuple[RegistrationCommit | None, ...]


def find_registration(path: Path, claims: ClaimsFile) -> Registration:
    """Since when each contrast of the claims in `path` has stood in git unchanged, up to HEAD.

    A contrast is unchanged while its claim's id and hypothesis, itself, its family's rule, and the file's board, task,
    alpha and least items are, and while no contrast was taken out of its family or its claim: that would make the
    others look better. Adding contrasts changes nothing. A renamed file begins anew.

    Raises:
        BenchError: the clone is too shallow to tell.
    """
    nothing: list[RegistrationCommit | None] = [None] * len(claims.contrasts)
    if _run_git(path, "rev-parse", "--git-dir") is None:
        return Registration(False, tuple(nothing))
    found, alive = nothing, set(range(len(nothing)))
    for commit, old in _list_versions(path):
        alive = {place for place in alive if old is not None and _is_unchanged(claims, place, old)}
        if not alive:
            break
        for place in alive:
            found[place] = commit
    _refuse_shallow_clone(path, {one.commit for one in found if one is not None})
    return Registration(True, tuple(found))


def _list_versions(path: Path) -> Iterator[tuple[RegistrationCommit, ClaimsFile | None]]:
    """Every commit that changed the file, newest first, and the claims it holds; None where they cannot be read."""
    # A signature that the settings ask to show would stand between the lines.
    listed = _run_git(path, "log", "--no-show-signature", "--topo-order", "--format=%H %ct", "--", path.name)
    for line in (listed or b"").decode().splitlines():
        commit, seconds = line.split()
        text = _run_git(path, "show", f"{commit}:./{path.name}")
        time = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        yield RegistrationCommit(commit, time), None if text is None else _parse_version(text, path)


def _parse_version(text: bytes, path: Path) -> ClaimsFile | None:
    try:
        return reader.parse_claims(text, path.name)
    except BenchError:
        return None


def _is_unchanged(now: ClaimsFile, place: int, old: ClaimsFile) -> bool:
    claim, contrast = now.contrasts[place]
    before = next((one for one in old.claims if (one.id, one.hypothesis) == (claim.id, claim.hypothesis)), None)
    if (
        before is None
        or contrast not in before.contrasts
        or _describe_context(now, contrast) != _describe_context(old, contrast)
    ):
        return False
    return set(before.contrasts) <= set(claim.contrasts) and _list_family_members(
        old, contrast
    ) <= _list_family_members(now, contrast)


def _describe_context(claims: ClaimsFile, contrast: Contrast) -> tuple[object, ...]:
    """What decides about a contrast from outside it."""
    one = find_family(contrast)
    rule = None if one is None else claims.families.get(one)
    return claims.board, claims.task, claims.alpha, claims.least_items, claims.source, claims.rows, rule


def _list_family_members(claims: ClaimsFile, contrast: Contrast) -> set[tuple[str, Contrast]]:
    """The contrasts of the same family, each with its claim's id; none for a contrast without a family."""
    one = find_family(contrast)
    return {_pair_with_claim_id(*pair) for pair in claims.contrasts if one is not None and find_family(pair[1]) == one}


def _pair_with_claim_id(claim: Claim, contrast: Contrast) -> tuple[str, Contrast]:
    return claim.id, contrast


def _refuse_shallow_clone(path: Path, commits: set[str]) -> None:
    """A shallow clone's oldest commits seem to add every file; what stood before them is not there."""
    place = _run_git(path, "rev-parse", "--git-path", "shallow")
    edges = path.parent / (place or b"").decode("utf-8", "surrogateescape").strip()
    if edges.is_file() and commits.intersection(edges.read_text().split()):
        raise BenchError(
            f"{path.name}: this clone is too shallow to tell since when its claims stand",
            "fetch the whole history: git fetch --unshallow (on GitHub: fetch-depth: 0)",
        )


def _run_git(path: Path, *arguments: str) -> bytes | None:
    """What git prints in the file's folder, or None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(path.parent), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
