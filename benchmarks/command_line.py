"""How long a person waits for `bench --help`, for `bench list`, and for a board of 1,000 entries."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_indented
from baseline_bench.evaluation.provenance import REPOSITORY_ROOT
from baseline_bench.results import entries
from baseline_bench.results.entry import Entry

from benchmarks import bench
from benchmarks.measuring import Arm, Asked, Target, asked, interleave, keep, timed

WORDS = (("--help",), ("list", "models"), ("list", "tasks"), ("list", "engines"))
BARE, RENDER, CHECK = "python -c pass", "bench board", "bench board --check"
HOW = (
    "Whole processes, from start to end, files in the system's cache. The board's entries are copies of this "
    "repository's rows of 1,319 items under names of their own, without completions: rendering writes every page anew, "
    "checking reads every entry and compares every page."
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure and keep."""
    order = asked(__doc__ or "", 10, words)
    with tempfile.TemporaryDirectory(prefix="bench-board-") as place:
        folder = Path(place)
        count = 8 if order.quick else 1000
        fill(folder / "leaderboards" / "gsm8k", count)
        samples = interleave(arms(folder), order.repeats, warmups=0 if order.quick else 1)
    _keep(samples, order, count)
    return 0


def arms(folder: Path) -> list[Arm]:
    """A bare interpreter, the commands, and the board in a folder, rendered and then checked."""
    board = bench.command("board", "--leaderboards", folder / "leaderboards")
    commands = {BARE: bench.python("-c", "pass")} | {f"bench {' '.join(row)}": bench.command(*row) for row in WORDS}
    found = [Arm(name, partial(_ran, command, folder)) for name, command in commands.items()]
    rendered = Arm(RENDER, partial(_rendered, board, folder))
    return [*found, rendered, Arm(CHECK, partial(_checked, [*board, "--check"], folder))]


def fill(board: Path, count: int) -> None:
    """Write that many sound entries, copies of real ones under names and times of their own.

    Raises:
        BenchError: this copy of the repository has no rows to copy.
    """
    real = [entries.read_entry(path) for path in sorted((REPOSITORY_ROOT / "leaderboards" / "gsm8k").glob("*.json"))]
    found = [entry for entry in real if entry.result.training is None]
    if not found:
        raise BenchError("leaderboards/gsm8k holds no baseline to copy", "measure in a clone of the repository")
    board.mkdir(parents=True)
    for number in range(count):
        source = found[number % len(found)]
        result = replace(source.result, candidate=f"candidate-{number:04}")
        day = f"2026-{1 + number % 12:02}-{1 + number % 28:02}T12:00:00Z"
        entry = Entry.of(result, day, source.timings)
        (board / f"{entries.build_file_stem(entry)}.json").write_bytes(encode_indented(entry))


def _ran(command: Sequence[str], folder: Path) -> Mapping[str, float]:
    return timed(command, env=bench.environment(), cwd=folder)


def _rendered(command: Sequence[str], folder: Path) -> Mapping[str, float]:
    """Render where no page is yet."""
    for page in [file for suffix in ("md", "csv", "svg") for file in (folder / "leaderboards").rglob(f"*.{suffix}")]:
        page.unlink()
    return _ran(command, folder)


def _checked(command: Sequence[str], folder: Path) -> Mapping[str, float]:
    """Check; the one fault that there may be is that completions lack, for which the status is 1."""
    shell = ["sh", "-c", '"$@"; test $? -le 1', "sh", *command]
    log = folder / "check.txt"
    sample = timed(shell, env=bench.environment(), cwd=folder, log=log)
    printed = log.read_text(encoding="utf-8").splitlines()
    expected = ("checking ", "checked ")
    if other := [line for line in printed if ".jsonl.gz" not in line and not line.startswith(expected)]:
        raise BenchError(f"the board is not sound: {other[0]}")
    return sample


def _keep(samples: Mapping[str, Sequence[Mapping[str, float]]], order: Asked, count: int) -> None:
    bounds = {f"bench {' '.join(row)}": 0.1 if row == ("--help",) else 0.15 for row in WORDS} | {RENDER: 5, CHECK: 5}
    targets = [Target("seconds", name, None, at_most=bound) for name, bound in bounds.items()]
    title = f"The command line, and a board of {count:,} entries"
    keep("command_line", samples, targets, title=title, how=HOW, results=order.results)


if __name__ == "__main__":
    raise SystemExit(main())
