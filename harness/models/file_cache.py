"""Cache values computed from files, in this process, for as long as the files do not change."""

import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

# A file changed a moment ago could change again without a new timestamp.
SETTLED_NANOSECONDS = 5 * 10**9

_FileStamps = tuple[tuple[int, ...], ...]
_CACHE: dict[tuple[Hashable, _FileStamps], str] = {}


def compute_once(files: Sequence[Path], key: Hashable, compute: Callable[[], str]) -> str:
    """Return `compute()`, and call it again only after one of the files may have changed.

    Args:
        files: every file that `compute` reads.
        key: distinguishes it from other values computed from these files.
    """
    stamps = _read_stamps(files)
    if (key, stamps) in _CACHE:
        return _CACHE[key, stamps]
    value = compute()
    long_ago = time.time_ns() - SETTLED_NANOSECONDS
    if stamps == _read_stamps(files) and all(changed < long_ago for *_, changed in stamps):
        _CACHE[key, stamps] = value
    return value


def _read_stamps(files: Sequence[Path]) -> _FileStamps:
    """Return (device, inode, size, time of the last change in ns) of each file; any change shows in one of them."""
    stats = [file.stat() for file in files]
    return tuple((stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime_ns) for stat in stats)
