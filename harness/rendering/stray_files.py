"""Finds files in the leaderboards that bench does not write there, such as pages of a forger, and companions alone."""

from collections.abc import Collection, Iterator
from pathlib import Path

from baseline_bench.core.locks import LOCK_FILE
from baseline_bench.core.records import TEMPORARY_NAME
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.faults import Fault
from baseline_bench.results import advisories, companions, foreign, history, noise, retractions

_RECORD_FOLDERS = (
    retractions.RETRACTIONS_FOLDER,
    retractions.VERIFICATIONS_FOLDER,
    retractions.REGRADES_FOLDER,
    noise.FOLDER,
    foreign.FOLDER,
)
_RENDERED_SUFFIXES = (".md", ".csv", ".svg")
_HIDDEN_NAMES = (".gitignore", ".gitattributes", ".gitkeep", LOCK_FILE)


def find_stray_files(folder: Path, names: Collection[str]) -> Iterator[Fault]:
    """Find files that no check of entries, records and pages covers, and a folder over its budget of bytes.

    Args:
        folder: the leaderboards.
        names: of its boards.
    """
    yield from _find_unexpected_files(folder, names)
    yield from _find_orphaned_companions(folder)
    yield from _check_size(folder)


def _find_unexpected_files(folder: Path, names: Collection[str]) -> Iterator[Fault]:
    """Find links, and files that neither bench writes here nor git ignores, whatever they hold."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    strays = [path for path in paths if path.is_symlink() or not _is_expected_file(folder, path, names)]
    ignored = history.list_ignored_files(folder, strays)
    for path in strays:
        if path.is_symlink():
            yield Fault(path.as_posix(), "is a link", "put the file itself in its place, or move the link away")
        elif path not in ignored:
            yield Fault(path.as_posix(), "is not a file that bench writes here", "move it out of the folder")


def _is_expected_file(folder: Path, path: Path, names: Collection[str]) -> bool:
    """Tell whether another check covers the file, such as that of entries, or it shows no results, such as git's."""
    file = path.relative_to(folder)
    parts, suffix = file.parts, path.suffix
    if path.name in _HIDDEN_NAMES or TEMPORARY_NAME.fullmatch(path.name):  # what killed commands leave
        return True
    if len(parts) == 1:
        is_page = path.stem in names and suffix in _RENDERED_SUFFIXES
        return path.name in ("README.md", advisories.FILE, companions.STORE_FILE) or is_page
    if path.name.startswith("."):
        return False
    if parts[0] == leaderboard.CLAIMS_FOLDER:
        return len(parts) == 2 and suffix in (".md", ".toml") and path.with_suffix(".toml").is_file()
    return is_record_file(file.as_posix()) or (len(parts) == 3 and parts[1] in _RECORD_FOLDERS)


def _find_orphaned_companions(folder: Path) -> Iterator[Fault]:
    """Find companion files without their entry, and files in the record folders that are no records."""
    for board in leaderboard.list_folders(folder):
        stems = {path.name.removesuffix(leaderboard.ENTRY_SUFFIX) for path in leaderboard.list_entry_files(board)}
        for path in leaderboard.list_files(board, companions.COMPLETIONS):
            if strip_suffix(path.name) not in stems:
                fix = (
                    f"restore {strip_suffix(path.name)}{leaderboard.ENTRY_SUFFIX}, or move this file out of the "
                    "board's folder"
                )
                yield Fault(path.as_posix(), "completions or losses without their entry", fix)
        for path in sorted(other for kind in _RECORD_FOLDERS for other in board.glob(f"{kind}/*")):
            if path.suffix != ".json" and not path.is_dir():
                yield Fault(path.as_posix(), "is no record", "move it out of the board's folder")


def _check_size(folder: Path) -> Iterator[Fault]:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    if size > leaderboard.SIZE_BUDGET:
        what = f"holds {size:,} bytes, over its budget of {leaderboard.SIZE_BUDGET:,}"
        yield Fault(folder.as_posix(), what, "move completions into a store: docs/completions-store.md")


def is_record_file(file: str) -> bool:
    """Return whether the file is an entry or its companion (one level deep), or a record about it (two levels deep)."""
    parts = file.split("/")
    if len(parts) == 2:
        return file.endswith((leaderboard.ENTRY_SUFFIX, companions.COMPLETIONS))
    return len(parts) == 3 and parts[1] in _RECORD_FOLDERS and file.endswith(".json")


def strip_suffix(file: str) -> str:
    """Return the name without the suffix of an entry's companion file."""
    return file.removesuffix(next((suffix for suffix in companions.SUFFIXES if file.endswith(suffix)), ""))
