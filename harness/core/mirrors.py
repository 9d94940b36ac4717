"""Data sets of the hub, or in a local folder with the hub's layout, always read in their current state."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
from baseline_bench.core.errors import BenchError, first_line
from datasets.exceptions import DatasetsError


def advise_offline(repository: str) -> str:
    """Say how to use a data set without the hub."""
    return f"name a folder that holds {repository} in the hub's layout: --datasets DIR or BENCH_DATASETS"


def load_rows(repository: str, config: str | None, split: str, folder: Path | None, way_out: str | None = None) -> Any:
    """Load a split of a data set: from the hub, or from its folder.

    Raises:
        BenchError: it cannot be reached or read; or it has no such config or split, for which `way_out` may help.
    """
    source, advice = repository if folder is None else str(folder), advise_offline(repository)
    try:
        with reading_data_set(folder):
            return datasets.load_dataset(source, config, split=split)
    except (OSError, DatasetsError, StopIteration) as error:  # an empty .jsonl ends in StopIteration
        advice = f"{advice}; or name a mirror of the hub: HF_ENDPOINT" if folder is None else advice
        raise BenchError(f"cannot load {source}: {first_line(error.__cause__ or error)}", advice) from error
    except ValueError as error:
        what = f"{source} has no {config or 'default'}/{split}: {first_line(error)}"
        raise BenchError(what, way_out or advice) from error


@contextmanager
def reading_data_set(folder: Path | None) -> Iterator[None]:
    """Hide the data-set library's progress bars, and make it read a folder's current files, not rows cached earlier.

    The library caches a folder's rows under the folder's last name and the names of its files (datasets 5.2): after an
    edit, or for another folder of that name, it silently returns the old rows. This context gives it a cache folder of
    its own for every combination of file paths, sizes and modification times.

    Args:
        folder: of one data set; None for the hub, whose revisions the library tells apart.
    """
    shown, cache = not datasets.are_progress_bars_disabled(), datasets.config.HF_DATASETS_CACHE
    if folder is not None:
        datasets.config.HF_DATASETS_CACHE = Path(cache) / "folders" / _digest_folder_state(folder)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = cache
        if shown:
            datasets.enable_progress_bars()


def _digest_folder_state(folder: Path) -> str:
    hasher = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        hasher.update(f"\0{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return hasher.hexdigest()[:16]
