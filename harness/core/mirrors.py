"""Data sets of the hub, or in a local folder with the hub's layout, always read in their current state."""

import hashlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from baseline_bench.core.errors import BenchError, first_line

_WITHOUT_HUB = "or name a mirror of the hub: HF_ENDPOINT; or take word-problems, which comes with bench"


def advise_offline(repository: str) -> str:
    """Say how to use a data set without the hub."""
    return f"name a folder that holds {repository} in the hub's layout: --datasets DIR or BENCH_DATASETS"


def load_rows(repository: str, config: str | None, split: str, folder: Path | None, way_out: str | None = None) -> Any:
    """Load a split of a data set: from the hub, or from its folder.

    Raises:
        BenchError: it cannot be reached or read; or it has no such config or split, for which `way_out` may help.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    source, advice = repository if folder is None else str(folder), advise_offline(repository)
    try:
        with reading_data_set(folder):
            return datasets.load_dataset(source, config, split=split)
    except (OSError, DatasetsError, StopIteration) as error:  # an empty .jsonl ends in StopIteration
        advice = f"{advice}; {_WITHOUT_HUB}" if folder is None else advice
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

    Where the hub's name has no address, only the library's cache is asked: it would try for a minute.

    Args:
        folder: of one data set; None for the hub, whose revisions the library tells apart.
    """
    import datasets
    from huggingface_hub import constants

    shown, cache = not datasets.are_progress_bars_disabled(), datasets.config.HF_DATASETS_CACHE
    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline or (folder is None and not _has_address(constants.ENDPOINT))
    if folder is not None:
        datasets.config.HF_DATASETS_CACHE = Path(cache) / "folders" / _digest_folder_state(folder)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE, constants.HF_HUB_OFFLINE = cache, offline
        if shown:
            datasets.enable_progress_bars()


def _has_address(url: str) -> bool:
    """Return whether the URL's host can be resolved; a proxy resolves it itself."""
    parts = urllib.parse.urlsplit(url)
    if {parts.scheme, "all"} & urllib.request.getproxies().keys():
        return True
    try:
        return bool(socket.getaddrinfo(parts.hostname, None))
    except OSError:
        return False


def _digest_folder_state(folder: Path) -> str:
    hasher = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        status = path.stat()
        hasher.update(f"\0{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return hasher.hexdigest()[:16]
