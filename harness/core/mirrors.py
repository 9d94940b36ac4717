"""Data sets in a local folder with the hub's layout, always read in their current state."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets


@contextmanager
def fresh_dataset_cache(folder: Path | None) -> Iterator[None]:
    """Make the data-set library read a folder's current files and not rows that it cached earlier.

    The library caches a folder's rows under the folder's last name and the names of its files (datasets 5.2): after an
    edit, or for another folder of that name, it silently returns the old rows. This context gives it a cache folder of
    its own for every combination of file paths, sizes and modification times.

    Args:
        folder: of one data set; None for the hub, whose revisions the library tells apart.
    """
    if folder is None:
        yield
        return
    original = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = Path(original) / "folders" / _digest_folder_state(folder)
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = original


def _digest_folder_state(folder: Path) -> str:
    hasher = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        hasher.update(f"\0{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return hasher.hexdigest()[:16]
