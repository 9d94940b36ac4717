"""What git knows of a folder since a branch left its base: entries may only be added."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError


@dataclass(frozen=True, slots=True)
class FolderHistory:
    """A folder compared with the merge-base of a branch; paths are relative to the folder.

    Attributes:
        commit: the merge-base.
        frozen: the files it holds.
        changed: those of them that the working tree has changed or deleted.
        unchanged: the others.
    """

    commit: str
    frozen: frozenset[str]
    changed: tuple[str, ...]
    unchanged: frozenset[str]


NO_HISTORY = FolderHistory("", frozenset(), (), frozenset())
"""Of a folder that is compared with nothing."""


def read_folder_history(folder: Path, ref: str) -> FolderHistory:
    """Read the history of `folder` since HEAD left `ref`, including uncommitted changes.

    A renamed file counts as deleted.

    Raises:
        BenchError: no repository, no such ref, or no common commit.
    """
    # --end-of-options: a ref that begins with a dash must not be read as an option.
    tip = _git_output(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if tip is None:
        raise BenchError(f"git knows no commit {ref!r}", "fetch it, or name another with --base")
    base = _git_output(folder, "merge-base", tip.strip(), "HEAD")
    if base is None:
        what = f"{ref} and HEAD have no common commit here"
        raise BenchError(what, "fetch the whole history: git fetch --unshallow origin")
    commit = base.strip()
    listed = _git_output(folder, "ls-tree", "-r", "-z", "--name-only", commit)
    # The working tree, staged or not; no renames, so that a moved file shows as deleted.
    changed = _git_output(
        folder, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--relative", commit, "--", "."
    )
    if listed is None or changed is None:
        raise BenchError(f"git cannot compare {folder} with {commit[:12]}", "check the repository: git fsck")
    frozen = frozenset(filter(None, listed.split("\0")))
    changed_files = frozen.intersection(changed.split("\0"))
    return FolderHistory(commit, frozen, tuple(sorted(changed_files)), frozen - changed_files)


def list_ignored_files(folder: Path, paths: Sequence[Path]) -> frozenset[Path]:
    """List the paths that git ignores and does not hold; none outside a repository."""
    if not paths or shutil.which("git") is None:
        return frozenset()
    by_name = {str(path.relative_to(folder)): path for path in paths}
    listed = _git_output(folder, "check-ignore", "-z", "--stdin", names="\0".join(by_name)) or ""
    return frozenset(by_name[name] for name in listed.split("\0") if name in by_name)


def run_git(folder: Path, *arguments: str, given: bytes = b"") -> bytes | None:
    """Return what git prints in a folder, or None if it fails; `given` is its standard input."""
    try:
        result = subprocess.run(["git", "-C", str(folder), *arguments], input=given, capture_output=True, check=False)
    except FileNotFoundError:
        raise BenchError("git is not installed", "install it, or check without --base") from None
    return result.stdout if result.returncode == 0 else None


def _git_output(folder: Path, *arguments: str, names: str = "") -> str | None:
    printed = run_git(folder, *arguments, given=names.encode("utf-8", "surrogateescape"))
    return None if printed is None else printed.decode("utf-8", "surrogateescape")
