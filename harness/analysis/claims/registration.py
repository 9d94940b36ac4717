"""Since when git has held a contrast unchanged, to tell a hypothesis from an afterthought.

The times are commit times, which the committer controls: they keep honest people from fooling themselves. A rebase or
a squash resets a claim's time to its own.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from baseline_bench.analysis.claims import claims_file as reader
from baseline_bench.analysis.claims.claims_file import Claim, ClaimsFile, Contrast, Prediction, find_family
from baseline_bench.analysis.claims.evidence import ContrastEvidence, gather_evidence
from baseline_bench.analysis.claims.predictions import find_first_runs
from baseline_bench.core.errors import BenchError
from baseline_bench.results.board import Row
from baseline_bench.results.history import run_git

_HEADER_FIELDS = ("board", "task", "alpha", "least_items", "source", "all_items", "rows")


@dataclass(frozen=True, slots=True)
class RegistrationCommit:
    """A commit and its commit time (not author time), UTC as 2026-11-22T12:00:00Z."""

    commit: str
    time: str


@dataclass(frozen=True, slots=True)
class Registration:
    """What git knows of a claims file.

    Attributes:
        known: there is a repository; without one registration is unknown.
        since: for each contrast, in the order of `ClaimsFile.contrasts`, the oldest commit since which it is
            unchanged; None where no commit holds it in its present form.
    """

    known: bool
    since: tuple[RegistrationCommit | None, ...]


def find_registration(path: Path, claims: ClaimsFile, revision: str = "HEAD") -> Registration:
    """Find since when each contrast of the claims in `path` has been in git unchanged, up to a revision.

    A contrast is unchanged while its claim's id and hypothesis, itself, its family's rule, and the file's board, task,
    alpha and least items are, and while no contrast was taken out of its family or its claim: that would make the
    others look better. Adding contrasts changes nothing. A renamed file counts as new.

    Raises:
        BenchError: the clone is too shallow to tell.
    """
    no_commits: list[RegistrationCommit | None] = [None] * len(claims.contrasts)
    if _run_git(path, "rev-parse", "--git-dir") is None:
        return Registration(False, tuple(no_commits))
    registration_commits, unchanged = no_commits, set(range(len(no_commits)))
    for commit, old in _list_versions(path, revision):
        unchanged = {index for index in unchanged if old is not None and _is_unchanged(claims, index, old)}
        if not unchanged:
            break
        for index in unchanged:
            registration_commits[index] = commit
    _refuse_shallow_clone(path, {one.commit for one in registration_commits if one is not None})
    return Registration(True, tuple(registration_commits))


def find_changed_claims(path: Path, commit: str, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Find the claims of a commit that rows already answered there and that are now different, each with what changed.

    A prediction is answered as soon as one of its runs exists, a published table when it is written. More claims,
    contrasts and families are no change.

    Args:
        path: the claims file.
        commit: holds the earlier version; nothing is found where it holds none that can be read.
        rows: the board entries that the commit holds.

    Raises:
        BenchError: the file cannot be read as claims.
    """
    text = _run_git(path, "show", f"{commit}:./{path.name}")
    old, now = None if text is None else _parse_version(text, path), reader.read_claims(path)
    if old is None:
        return []
    changes = []
    since = find_registration(path, old, commit).since if old.predicts else (None,) * len(old.contrasts)
    are_answered = iter([_is_answered(old, *pair, rows) for pair in zip(old.contrasts, since, strict=True)])
    for claim in old.claims:
        answered = [contrast for contrast in claim.contrasts if next(are_answered)]
        if answered and (part := _name_changed_part(old, now, claim, answered)):
            changes.append((claim.id, part))
    return changes


def _is_answered(
    claims: ClaimsFile, numbered: tuple[Claim, Contrast], since: RegistrationCommit | None, rows: Sequence[Row]
) -> bool:
    contrast = numbered[1]
    if not isinstance(contrast, Prediction):
        return isinstance(gather_evidence(claims, contrast, rows, ()), ContrastEvidence)
    sides = contrast.first, contrast.second
    return since is not None and any(find_first_runs(claims, side, rows, since.time) for side in sides)


def _name_changed_part(old: ClaimsFile, now: ClaimsFile, claim: Claim, answered: Sequence[Contrast]) -> str:
    """Name the first part of a claim, or of the file's keys that its verdict depends on, that is different now."""
    current = next((one for one in now.claims if one.id == claim.id), None)
    if current is None:
        return "the claim itself"
    families = dict.fromkeys(filter(None, map(find_family, claim.contrasts)))
    compared = {
        "the hypothesis": (claim.hypothesis, current.hypothesis),
        "what was published": (claim.published, current.published),
        "a contrast": (set(answered), set(answered) & set(current.contrasts)),
        **{f"{name} of the file": (getattr(old, name), getattr(now, name)) for name in _HEADER_FIELDS},
        **{f"the family {name!r:.60}": (old.families.get(name), now.families.get(name)) for name in families},
    }
    return next((part for part, (before, after) in compared.items() if before != after), "")


def _list_versions(path: Path, revision: str) -> Iterator[tuple[RegistrationCommit, ClaimsFile | None]]:
    """Yield every commit that changed the file, newest first, with its claims; None where they cannot be read."""
    # A signature shown by the user's git settings would break the line format.
    listed = _run_git(path, "log", "--no-show-signature", "--topo-order", "--format=%H %ct", revision, "--", path.name)
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


def _is_unchanged(now: ClaimsFile, index: int, old: ClaimsFile) -> bool:
    claim, contrast = now.contrasts[index]
    old_claim = next((one for one in old.claims if (one.id, one.hypothesis) == (claim.id, claim.hypothesis)), None)
    return (
        old_claim is not None
        and contrast in old_claim.contrasts
        and _describe_context(now, contrast) == _describe_context(old, contrast)
        and set(old_claim.contrasts) <= set(claim.contrasts)
        and _list_family_members(old, contrast) <= _list_family_members(now, contrast)
    )


def _describe_context(claims: ClaimsFile, contrast: Contrast) -> tuple[object, ...]:
    """Return everything outside a contrast that affects its verdict."""
    family = find_family(contrast)
    rule = None if family is None else claims.families.get(family)
    return claims.board, claims.task, claims.alpha, claims.least_items, claims.source, claims.rows, rule


def _list_family_members(claims: ClaimsFile, contrast: Contrast) -> set[tuple[str, Contrast]]:
    """List the contrasts of the same family, each with its claim's id; empty for a contrast without a family."""
    family = find_family(contrast)
    return {
        (claim.id, other) for claim, other in claims.contrasts if family is not None and find_family(other) == family
    }


def _refuse_shallow_clone(path: Path, commits: set[str]) -> None:
    """Raise BenchError if a commit is the edge of a shallow clone, which seems to add every file."""
    shallow_path = _run_git(path, "rev-parse", "--git-path", "shallow")
    shallow_file = path.parent / (shallow_path or b"").decode("utf-8", "surrogateescape").strip()
    if shallow_file.is_file() and commits.intersection(shallow_file.read_text().split()):
        raise BenchError(
            f"{path.name}: this clone is too shallow to find since when its claims are unchanged",
            "fetch the whole history: git fetch --unshallow (on GitHub: fetch-depth: 0)",
        )


def _run_git(path: Path, *arguments: str) -> bytes | None:
    """Return what git prints in the file's folder, or None if it fails or is not installed."""
    return run_git(path.parent, *arguments) if shutil.which("git") else None
