"""Lock a folder against other processes, on this host and on others that mount the same file system."""

import errno
import fcntl
import json
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

from baseline_bench.core.errors import BenchError

LOCK_FILE = ".bench.lock"
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
# struct flock of <fcntl.h>: type, whence, start, length, pid; a length of 0 covers the whole file.
_WHOLE_FILE = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class FolderLock:
    """The lock of a folder, held until `close` or the end of this process, however it ends.

    It is a byte-range lock on a regular file that is open for writing: an NFS client passes it to the server, where it
    also excludes the server's own processes. A lock on a folder, or by flock on the server, excludes only processes of
    one host. It belongs to the open file, so a second lock in this process is refused too. The file names its holder
    and is deleted with the lock. Locks of other names are independent, for parts of the folder.

    Raises:
        BenchError: another process has locked it and `wait` is False; the message names that process.
        OSError: the file cannot be written, or its file system has no locks.
    """

    def __init__(self, folder: Path, *, wait: bool, name: str = LOCK_FILE) -> None:
        self._path = folder / name
        self._descriptor = _open_and_lock(self._path, wait=wait)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "boot": _read_boot_id()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(holder).encode() + b"\n", 0)
        os.fsync(self._descriptor)  # or an NFS client keeps it to itself for a while

    def close(self) -> None:
        """Delete the file and release the lock; may be called twice."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_and_lock(path: Path, *, wait: bool) -> int:
    """Open and lock the file; start over where its last holder deleted it before this process had the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            _lock_descriptor(descriptor, wait=wait)
            if _still_has_name(path, descriptor):
                return descriptor
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                what = f"{_describe_holder(descriptor)} is writing {path.parent}"
                os.close(descriptor)
                way_out = "wait for it, or write to another folder: --runs DIR"
                raise BenchError(what, way_out) from None
            if error.errno != errno.ESTALE:
                os.close(descriptor)
                raise
        os.close(descriptor)


def _lock_descriptor(descriptor: int, *, wait: bool) -> None:
    if hasattr(fcntl, "F_OFD_SETLK"):
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, _WHOLE_FILE)
    else:  # macOS
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _still_has_name(path: Path, descriptor: int) -> bool:
    """Return whether the open file is the one of this name; make an empty file of the name where there is none.

    An NFS client answers `stat` and a plain `open` from what it remembers of the folder, which another host may have
    changed. It must ask the server to create a file exclusively, and then remembers the answer.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        with suppress(FileNotFoundError):
            return os.path.samestat(path.lstat(), os.fstat(descriptor))
    return False


def _describe_holder(descriptor: int) -> str:
    """Name the process that wrote itself into the file; it may have locked the file and not written yet."""
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        own = (socket.gethostname(), _read_boot_id())
        where = "this host" if (holder["host"], holder["boot"]) == own else f"{holder['host']!r:.80}"
        return f"process {int(holder['pid'])} on {where}"
    except (OSError, ValueError, KeyError, TypeError):  # OSError: an NFS file that its holder deleted
        return "another process"


def _read_boot_id() -> str:
    """Return the id of this host's present start; containers of one host share it."""
    try:
        return _BOOT_FILE.read_text().strip()
    except OSError:
        return ""
