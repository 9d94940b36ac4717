"""Free disk and memory, checked before a download or a load begins, so that "no space" does not come an hour later."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from baseline_bench.core.errors import BenchError

GIB = 2**30
_ROOT = Path("/")
_ACCELERATOR_FILES = ("dev/nvidiactl", "dev/kfd", "dev/dxg")
_LARGER_DISK = "free some space, or name a folder on a larger disk with --cache DIR"
_LESS_MEMORY = "take a smaller model or a smaller dtype, or close what else is running"


def free_disk(path: Path) -> int:
    """Return the bytes this user may still write under a path, which need not exist yet."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def available_memory(root: Path = _ROOT) -> int | None:
    """Return the bytes of main memory a new process can use without swapping; None if the system does not report it.

    On Linux this is the minimum of the kernel's MemAvailable and the headroom of every control group above this process
    (both hierarchies: a container's limit is usually one of them), where file cache counts as free. On macOS it is
    the free, inactive, speculative and purgeable pages.

    Args:
        root: the parent of /proc and /sys.
    """
    if sys.platform == "darwin" and root == _ROOT:
        return _parse_vm_stat(_run_command("vm_stat"))
    table = _read_text(root / "proc/meminfo")
    match = re.search(r"^MemAvailable:\s+(\d+) kB", table, re.MULTILINE)
    if match is None:
        return None
    return max(0, min([int(match[1]) * 1024, *_read_cgroup_headrooms(root)]))


def has_accelerator(root: Path = _ROOT) -> bool:
    """Return whether a GPU's device file exists (NVIDIA, AMD, WSL); then a model need not fit in main memory."""
    return any((root / name).exists() for name in _ACCELERATOR_FILES)


def count_gpu_files(root: Path = _ROOT) -> int:
    """Count the device files of NVIDIA's GPUs, without torch; 0 also where GPUs have other files (AMD, WSL)."""
    return sum(file.name.removeprefix("nvidia").isdecimal() for file in (root / "dev").glob("nvidia*"))


def cpu_computes_bf16() -> bool:
    """Tell whether this CPU multiplies bf16 matrices fast; one with AVX2 takes 100 times as long as in fp32."""
    import torch  # takes seconds to import

    available: Callable[[], bool] = torch.backends.mkldnn.is_available
    return available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def require_disk(path: Path, needed: int, what: str, way_out: str = _LARGER_DISK) -> None:
    """Refuse work that would fill the disk.

    Args:
        path: the folder that will be written; need not exist.
        needed: bytes.
        what: the subject of the sentence, such as "downloading google/gemma-2b-it".
        way_out: what to do if `--cache` does not control the path.

    Raises:
        BenchError: less is free; names both numbers.
    """
    free = free_disk(path)
    if free < needed:
        raise BenchError(
            f"{what} needs {_format_gib(needed)} of disk under {path}, where {_format_gib(free)} are free", way_out
        )


def require_memory(needed: int, what: str) -> None:
    """Refuse work that would not fit into main memory; if the available memory is unknown, refuse nothing.

    Args:
        needed: bytes.
        what: the subject of the sentence, such as "google/gemma-2b-it".

    Raises:
        BenchError: less is available; names both numbers.
    """
    room = available_memory()
    if room is not None and room < needed:
        raise BenchError(
            f"{what} needs {_format_gib(needed)} of memory, and {_format_gib(room)} are available", _LESS_MEMORY
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of torch, its libraries or Python says that a device or this machine lacks memory."""
    known = ("out of memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in known)


def _read_cgroup_headrooms(root: Path) -> list[int]:
    rooms = []
    mounted = root / "sys/fs/cgroup"
    for row in _read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = row.split(":", 2)
        bases: tuple[Path, ...]
        if not controllers:
            names = ("memory.max", "memory.current", "inactive_file")
            bases = (mounted, mounted / "unified")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            bases = (mounted / "memory",)
        else:
            continue
        for base in bases:
            deepest = base / path.strip("/")
            folders = [deepest, *deepest.parents]
            rooms += [room for folder in folders[: folders.index(base) + 1] for room in _read_headroom(folder, names)]
    return rooms


def _read_headroom(folder: Path, names: tuple[str, str, str]) -> list[int]:
    """Return limit minus usage plus reclaimable cache of one control group; empty if it has no limit."""
    limit, used, cache = names
    ceiling, use = _read_text(folder / limit).strip(), _read_text(folder / used).strip()
    if not (ceiling.isdecimal() and use.isdecimal()):
        return []
    match = re.search(rf"^{cache} (\d+)$", _read_text(folder / "memory.stat"), re.MULTILINE)
    return [int(ceiling) - int(use) + (int(match[1]) if match else 0)]


def _parse_vm_stat(report: str) -> int | None:
    size = re.search(r"page size of (\d+) bytes", report)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", report, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


def _run_command(command: str) -> str:
    try:
        return subprocess.run([command], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _format_gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
