"""What was worked out from files, kept in this process for as long as nobody touches them."""

import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

# A file changed a moment ago could change again without its time telling.
SETTLED_NANOSECONDS = 5 * 10**9

_FileStamps = tuple[tuple[int, ...], ...]
_CACHE: dict[tuple[Hashable, _FileStamps], str] = {}


def compute_once(files: Sequence[Path], which: Hashable, found: Callable[[], str]) -> str:
    """What `found` returns, which is called again only where one of the files may have changed since.

    Args:
        files: all that it reads.
        which: tells it from other things worked out from these files.
        found: reads them.
    """
    before = _read_stamps(files)
    if (which, before) in _CACHE:
        return _CACHE[which, before]
    made = found()
    long_ago = time.time_ns() - SETTLED_NANOSECONDS
    if before == _read_stamps(files) and all(changed < long_ago for *_, changed in before):
        _CACHE[which, before] = made
    return made


def _read_stamps(files: Sequence[Path]) -> _FileStamps:
    """What a change of a file changes: (device, inode, size, time of the last change in ns) of each."""
    told = [file.stat() for file in files]
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_ctime_ns) for one in told)
