"""`bench` as a whole process, with fresh folders: seconds, memory, and the phases that the entry tells."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from baseline_bench.results import entries
from baseline_bench.results.entry import Entry

from benchmarks import bench
from benchmarks._models import SMALL, Places
from benchmarks.measuring import timed

_FEW = 8


def words(*told: str, where: Places, limit: int | None) -> list[str]:
    """A scoring command by vLLM on this machine's places, tiny on a CPU (`limit` given)."""
    made = bench.command(*told, "--engine", "vllm", "--cache", where.cache.resolve())
    made += [] if where.mirror is None else ["--datasets", str(where.mirror.resolve())]
    return made + ([] if limit is None else ["--limit", str(limit), "-o", "kv_gib=2", "-o", "context=2048"])


def first_start(where: Places, place: Path, limit: int | None) -> None:
    """Start vLLM once, so that what it and Python keep for later starts on this machine is there for every arm."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        told = words("baseline", SMALL, "--runs", "runs", where=where, limit=limit or _FEW)
        rows([*told, "-o", "memory=0.3"], Path(folder))


def rows(command: Sequence[str], place: Path) -> tuple[dict[str, float], list[Entry]]:
    """Run it with `place` for all it writes: (seconds and GiB at the peak, the rows it added)."""
    place.mkdir(parents=True, exist_ok=True)
    boards = place / "leaderboards"
    found = timed([*command, "--leaderboards", str(boards), "--again"], env=bench.environment(), cwd=place)
    return found, [entries.read_entry(path) for path in sorted(boards.glob("*/*.json"))]
