"""A folder of data sets in the hub's layout, read as it lies there."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets


@contextmanager
def fresh_dataset_cache(folder: Path | None) -> Iterator[None]:
    """Have the data-set library look at what a folder holds now, and not at rows that it kept of another time.

    The library keeps what it made of a folder under the folder's last name and the names of its files (datasets 5.2):
    an edited file, or another folder of that name, is answered with the rows of before, and nothing is said. Here it
    keeps them under every file's place, size and time of change.

    Args:
        folder: of one data set; None for the hub, whose revisions the library does tell apart.
    """
    if folder is None:
        yield
        return
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = Path(before) / "folders" / _digest_folder_state(folder)
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before


def _digest_folder_state(folder: Path) -> str:
    told = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found = path.stat()
        told.update(f"\0{path.relative_to(folder).as_posix()}\0{found.st_size}\0{found.st_mtime_ns}".encode())
    return told.hexdigest()[:16]
