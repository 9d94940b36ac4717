"""core.locks: one process at a time, told who it is, and nothing left behind."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from baseline_bench.core import locks
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import LOCK_FILE, FolderLock

HOLD = "import sys; from pathlib import Path; from baseline_bench.core.locks import FolderLock; "
HOLD += "held = FolderLock(Path(sys.argv[1]), wait=False); print('held', flush=True); input()"


def test_the_file_names_its_holder_and_goes_with_the_lock(tmp_path: Path) -> None:
    """Host, pid and boot; a second lock is refused in this process too, and the file is gone in the end."""
    with FolderLock(tmp_path, wait=False):
        holder = json.loads((tmp_path / LOCK_FILE).read_bytes())
        assert holder["pid"] == os.getpid()
        assert holder.keys() == {"host", "pid", "boot"}
        with pytest.raises(BenchError, match=f"process {os.getpid()} on this host"):
            FolderLock(tmp_path, wait=False)
    assert list(tmp_path.iterdir()) == []
    FolderLock(tmp_path, wait=False).close()


def test_a_killed_holder_leaves_a_file_and_no_lock(tmp_path: Path) -> None:
    """The next one takes the file over; while the first lives, it is named."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BenchError, match=f"process {holder.pid} on this host"):
            FolderLock(tmp_path, wait=False)
        holder.kill()
    assert (tmp_path / LOCK_FILE).exists()
    with FolderLock(tmp_path, wait=True):
        assert json.loads((tmp_path / LOCK_FILE).read_bytes())["pid"] == os.getpid()


def test_the_lock_is_one_that_a_server_of_files_sees(tmp_path: Path) -> None:
    """A byte range of a regular file, exclusive: what NFS passes on, and what other programs' POSIX locks meet."""
    with FolderLock(tmp_path, wait=False), (tmp_path / LOCK_FILE).open("r+b") as other, pytest.raises(BlockingIOError):
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": "x", "host": 1, "boot": ""}', "\udcff"])
def test_a_holder_that_wrote_nothing_readable_is_another_process(text: str, tmp_path: Path) -> None:
    """Its lock counts whatever the file says."""
    with FolderLock(tmp_path, wait=False):
        (tmp_path / LOCK_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(BenchError, match="another process"):
            FolderLock(tmp_path, wait=False)


def test_a_lock_on_a_deleted_file_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last holder deletes the file between opening and locking it: the lock is taken again on a new one."""
    lock = locks._lock_descriptor
    taken: list[int] = []

    def lock_late(descriptor: int, *, wait: bool) -> None:
        if not taken:
            (tmp_path / LOCK_FILE).unlink()
        taken.append(descriptor)
        lock(descriptor, wait=wait)

    monkeypatch.setattr(locks, "_lock_descriptor", lock_late)
    with FolderLock(tmp_path, wait=False):
        assert len(taken) == 2
        assert (tmp_path / LOCK_FILE).exists()


def test_an_nfs_client_that_remembers_a_deleted_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows the old file by `stat` until it asks the server to create one exclusively: the old one is no lock."""
    path, lock, plain_open, plain_stat = tmp_path / LOCK_FILE, locks._lock_descriptor, os.open, os.stat
    remembered: list[os.stat_result] = []
    taken: list[int] = []

    def lock_late(descriptor: int, *, wait: bool) -> None:
        if not taken:
            remembered.append(os.fstat(descriptor))
            path.unlink()  # by another host
        taken.append(descriptor)
        lock(descriptor, wait=wait)

    def open_as_client(name: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL:
            remembered.clear()
        return plain_open(name, flags, mode)

    def stat_as_client(name: Path, **options: bool) -> os.stat_result:
        return remembered[0] if name == path and remembered else plain_stat(name, **options)

    monkeypatch.setattr(locks, "_lock_descriptor", lock_late)
    monkeypatch.setattr(os, "open", open_as_client)
    monkeypatch.setattr(os, "stat", stat_as_client)
    monkeypatch.setattr(os, "lstat", stat_as_client)
    with FolderLock(tmp_path, wait=False):
        assert len(taken) == 2
        with pytest.raises(BenchError, match="this host"):
            FolderLock(tmp_path, wait=False)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A file elsewhere keeps its content."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic"):
        FolderLock(tmp_path, wait=False)
    assert (tmp_path / "mine").read_text() == "mine"
