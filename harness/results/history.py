"""What git says about a folder since a branch left its base: entries are only ever added."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError


@dataclass(frozen=True, slots=True)
class FolderHistory:
    """A folder against the commit at which a branch left its base; paths are relative to the folder.

    Attributes:
        commit: the merge-base.
        frozen: the files it holds.
        changed: those of them that the working tree has with other content, or no longer has.
    """

    commit: str
    frozen: frozenset[str]
    changed: tuple[str, ...]


def read_folder_history(folder: Path, ref: str) -> FolderHistory:
    """The history of `folder` since HEAD left `ref`, the uncommitted changes counted.

    A renamed file is one that the working tree no longer has.

    Raises:
        BenchError: no repository, no such ref, or no common commit.
    """
    # --end-of-options: a ref that begins with a dash is a ref that does not exist.
    tip = _git_output(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if tip is None:
        raise BenchError(f"git knows no commit {ref!r}", "fetch it, or name another with --base")
    base = _git_output(folder, "merge-base", tip.strip(), "HEAD")
    if base is None:
        raise BenchError(
            f"{ref} and HEAD have no common commit here", "fetch the whole history: git fetch --unshallow origin"
        )
    commit = base.strip()
    listed = _git_output(folder, "ls-tree", "-r", "-z", "--name-only", commit)
    # Status of the working tree, staged or not; no renames, so that a moved file shows as one that is gone.
    changed = _git_output(
        folder, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--relative", commit, "--", "."
    )
    if listed is None or changed is None:
        raise BenchError(f"git cannot compare {folder} with {commit[:12]}", "check the repository: git fsck")
    frozen = frozenset(filter(None, listed.split("\0")))
    return FolderHistory(commit, frozen, tuple(sorted(frozen.intersection(changed.split("\0")))))


def _git_output(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise BenchError("git is not installed", "install it, or check without --base") from None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
