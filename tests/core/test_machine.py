"""core.machine: what is left on disk and in memory, and who is turned away."""

from types import SimpleNamespace

import pytest
from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError

MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n"
FREE = 8_000_000 * 1024
MIB = 2**20

VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               1000.
Pages active:                             9000.
Pages inactive:                            500.
Pages speculative:                          20.
Pages wired down:                         7000.
Pages purgeable:                             3.
"""


def system(root, files):
    """A file tree with /proc/meminfo and the given files."""
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "room"),
    [
        pytest.param({}, FREE, id="no control groups"),
        pytest.param({"proc/self/cgroup": "0::/a\n"}, FREE, id="a group without files"),
        pytest.param(
            {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, FREE, id="v2 without a limit"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": f"{100 * MIB}\n",
                "sys/fs/cgroup/a/memory.current": f"{60 * MIB}\n",
                "sys/fs/cgroup/a/memory.stat": f"active_file 7\ninactive_file {10 * MIB}\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            50 * MIB,
            id="v2 limit of the group above, cache given back",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{100 * MIB}\n",
                "sys/fs/cgroup/memory.current": f"{60 * MIB}\n",
            },
            40 * MIB,
            id="v2 inside a container",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{64 * MIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{30 * MIB}\n",
                "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {6 * MIB}\n",
            },
            40 * MIB,
            id="v1 inside a container, whose own path is not to be seen",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
            },
            FREE,
            id="v1 without a limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "10\n",
                "sys/fs/cgroup/memory.current": "50\n",
            },
            0,
            id="a group over its limit has no room",
        ),
    ],
)
def test_memory_is_the_least_of_the_kernel_s_and_every_group_s_room(tmp_path, files, room):
    """A container's limit counts as much as the machine's own memory."""
    assert machine.available_memory(system(tmp_path, files)) == room


def test_unknown_memory_is_none(tmp_path):
    """A system that does not tell is not taken for an empty one."""
    assert machine.available_memory(tmp_path) is None


def test_this_machine_tells_its_memory():
    """On the machine of this test the answer is a plausible number."""
    room = machine.available_memory()
    assert room is not None
    assert 2**20 < room < 2**50


def test_macos_pages_are_counted_in_the_size_the_report_names():
    """Free, inactive, speculative and purgeable pages can be had; active and wired ones cannot."""
    assert machine._parse_vm_stat(VM_STAT) == 1523 * 16384
    assert machine._parse_vm_stat("") is None


def test_disk_is_that_of_the_nearest_folder_that_exists(tmp_path, monkeypatch):
    """A cache that is not there yet lies on its parent's disk, and what root keeps to itself is not free."""
    asked = []
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: asked.append(path) or SimpleNamespace(total=9, used=3, free=5)
    )
    assert machine.free_disk(tmp_path / "not" / "yet" / "there") == 5
    assert machine.free_disk(tmp_path) == 5
    assert asked == [tmp_path, tmp_path]


def test_too_little_disk_is_refused_with_both_numbers(tmp_path):
    """What would not fit is refused before it begins, with the way out."""
    with pytest.raises(BenchError, match=r"fetching x needs 1073741824\.0 GiB of disk .* GiB are free: .*--cache DIR"):
        machine.require_disk(tmp_path / "new", 2**60, "fetching x")
    machine.require_disk(tmp_path / "new", 1, "fetching x")


def test_too_little_memory_is_refused_with_both_numbers():
    """What would not fit is refused before it begins, with the way out."""
    with pytest.raises(
        BenchError, match=r"x needs 1073741824\.0 GiB of memory, and .* available: take a smaller model"
    ):
        machine.require_memory(2**60, "x")
    machine.require_memory(1, "x")


def test_a_gpu_is_seen_by_its_device_file(tmp_path):
    """No library is needed to know that a GPU is there."""
    assert not machine.has_accelerator(tmp_path)
    assert machine.has_accelerator(system(tmp_path, {"dev/nvidiactl": ""}))


def test_gpu_files_are_counted_by_their_numbers(tmp_path):
    """Nvidiactl and its like are no GPUs."""
    (tmp_path / "dev").mkdir()
    assert machine.count_gpu_files(tmp_path) == 0
    for name in ("nvidia0", "nvidia7", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / "dev" / name).touch()
    assert machine.count_gpu_files(tmp_path) == 2
