"""Kill a process at seeded moments, again and again, until its work is done; each kind of work has its own check.

By hand, with more kills than the suite has time for:

    python tests/support/kills.py --kills 100 entries pages scores merges trainings
"""

import argparse
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forked_children import CONTEXT

# What changes a folder; a process is killed just before it does one of these to a file there.
_CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
ITEMS = 40


@dataclass(frozen=True)
class Work:
    """Work that may be killed.

    Attributes:
        prepare: makes what it needs in an empty folder.
        run: does it in the current folder, as often as it is asked to.
        result: what is compared with that of an unbroken run.
        halfway: whether a kill left a part of the work; some kill must.
    """

    prepare: Callable[[Path], None]
    run: Callable[[], None]
    result: Callable[[Path], Any]
    halfway: Callable[[Path], bool] = lambda _: True


@dataclass
class _HalvedFile:
    """A file that takes a line in two writes, with a possible kill before each."""

    file: Any
    count_change: Callable[[], None]

    def write(self, data: bytes) -> int:
        for half in (data[: len(data) // 2], data[len(data) // 2 :]):
            self.count_change()
            self.file.write(half)
        return len(data)


def _run_counted(name: str, folder: Path, last: int, report: Any) -> None:
    """Do the work and report how many changes it made; before change number `last` the process kills itself."""
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ["BENCH_COMMIT"] = "0" * 40  # an entry names the commit, which may change while the tests run
    place, count = str(folder.resolve()), 0

    def count_change() -> None:
        nonlocal count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES and arguments and isinstance(arguments[0], str | bytes | Path):
            if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            if os.path.abspath(os.fsdecode(arguments[0])).startswith(place):  # noqa: PTH100 - no event of its own
                count_change()

    from baseline_bench.evaluation.runs import Run

    write = Run._write  # an answer is appended to an open file, which is no event
    Run._write = lambda run, file, *line: write(run, _HalvedFile(file, count_change), *line)
    sys.addaudithook(watch)
    WORKS[name].run()
    report.send(count)
    os._exit(0)


def run_once(name: str, folder: Path, last: int = 0) -> int | None:
    """Do the work in a process of its own; how many changes it made, or None if it was killed before the last."""
    reader, writer = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run_counted, args=(name, folder, last, writer))
    process.start()
    process.join()
    writer.close()
    if process.exitcode == -signal.SIGKILL:
        return None
    assert process.exitcode == 0, (name, process.exitcode)
    return int(reader.recv())


def try_kills(name: str, place: Path, kills: int, seed: int = 7) -> int:
    """Kill the work that often, each folder until its work is done; the number of folders.

    Every folder ends with the result of a folder whose work was never killed.
    """
    work, chance, folders, killed, halfway = WORKS[name], random.Random(seed), 0, 0, False
    prepared = place / f"{name}-prepared"
    prepared.mkdir()
    work.prepare(prepared)
    unbroken = shutil.copytree(prepared, place / f"{name}-unbroken")
    changes = run_once(name, unbroken)
    assert changes
    expected = work.result(unbroken)
    while killed < kills:
        folders += 1
        folder = shutil.copytree(prepared, place / f"{name}-{folders}")
        while run_once(name, folder, chance.randint(1, changes + changes // 5) if killed < kills else 0) is None:
            killed += 1
            halfway |= work.halfway(folder)
        result = work.result(folder)
        assert result == expected, (name, seed, folders, result, expected)
    assert halfway, "no kill left a part of the work"
    return folders


def _digest_files(folder: Path) -> Mapping[str, str]:
    """Each file's digest by name, temporary ones and locks too: none may be left."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def _write_entries() -> None:
    """Add two rows to a board as a run does, under the lock of the leaderboards, and render it."""
    from baseline_bench.rendering import leaderboard
    from samples import add, result

    for name in ("base", "tuned"):
        leaderboard.write_and_render(
            Path("leaderboards", "counting"), lambda board, name=name: add(board, result(name))
        )


def _prepare_rows(folder: Path) -> None:
    from samples import add, result

    for name in ("base", "tuned", "other"):
        add(folder / "leaderboards" / "counting", result(name))


def _render_pages() -> None:
    from baseline_bench import cli

    assert cli.main(["board"]) == 0


def _prepare_model(folder: Path) -> None:
    import tiny

    tiny.build(folder / "tiny", "chatml")


def _score() -> None:
    from baseline_bench import cli

    words = ["score", "tiny", "--task", "word-problems", "--limit", str(ITEMS), "--engine", "scripted"]
    assert cli.main(words) == 0


def _read_score(folder: Path) -> Any:
    """The one entry's result, and that no answer was asked twice or lost."""
    (entry,) = folder.glob("leaderboards/*/*.json")
    (kept,) = folder.glob("runs/*/completions.jsonl")
    ids = [json.loads(line)["id"] for line in kept.read_bytes().splitlines()]
    left = [path.name for path in (folder / "leaderboards").rglob(".*")]
    return json.loads(entry.read_bytes())["result_sha256"], len(ids), len(set(ids)), left


def _has_some_answers(folder: Path) -> bool:
    """Whether the run has some lines and not all, or half a line."""
    lines = b"".join(path.read_bytes() for path in folder.glob("runs/*/completions.jsonl")).splitlines()
    return 0 < len(lines) < ITEMS


def _prepare_training(folder: Path) -> None:
    import tiny_study

    tiny_study.build(folder)


def _train() -> None:
    import tiny_study

    _count_children_here()
    assert tiny_study.bench(Path(), "train", "lora.toml") == 0


def _count_children_here() -> None:
    """Do what children do in this process, where kills are counted."""
    from baseline_bench.core import child_process
    from baseline_bench.core.display import Console

    def call_here(function: str, argument: object, processes: int = 1) -> Any:
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(argument, Console(sys.stdout, sys.stderr), 0)

    child_process.call_in_child = call_here
    child_process.begin_call = lambda *_: None


def _read_training(folder: Path) -> Any:
    from baseline_bench.results import candidate

    (run,) = folder.glob("runs/lora-*")
    made = candidate.read_candidate(run)
    return made.weights_sha256, made.final_loss, made.cost.steps, sorted(path.name for path in run.iterdir())


def _prepare_candidate(folder: Path) -> None:
    _prepare_training(folder)
    run_once("trainings", folder)


def _merge() -> None:
    import tiny_study

    _count_children_here()
    (run,) = Path().glob("runs/lora-*")
    assert tiny_study.bench(Path(), "merge", run) == 0


def _read_merge(folder: Path) -> Any:
    """The merged tensors and their measured effect, and what is left next to them.

    Without merge.json, which holds how long the merge took, and the manifest, which holds its digest.
    """
    (merged,) = folder.glob("runs/lora-*/merged")
    digests = _digest_files(merged)
    timed = {name for name in ("merge.json", ".manifest.json") if name in digests}
    kept = {name: value for name, value in digests.items() if name.endswith((".safetensors", ".json"))}
    left = sorted(path.name for path in merged.parent.glob(".*"))
    return timed, {name: value for name, value in kept.items() if name not in timed}, left


WORKS = {
    "entries": Work(lambda folder: (folder / "leaderboards").mkdir(), _write_entries, _digest_files),
    "pages": Work(_prepare_rows, _render_pages, _digest_files),
    "scores": Work(_prepare_model, _score, _read_score, _has_some_answers),
    "trainings": Work(_prepare_training, _train, _read_training),
    "merges": Work(_prepare_candidate, _merge, _read_merge),
}


def main() -> int:
    """Kill each kind of work and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], help="default: all")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    for name in options.works or WORKS:
        with tempfile.TemporaryDirectory() as place, suppress(KeyboardInterrupt):
            folders = try_kills(name, Path(place), options.kills, options.seed)
            sys.stdout.write(f"{name}: {options.kills} kills over {folders} folders, all as unbroken\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    import kills  # the forkserver's children import this module by its name

    sys.exit(kills.main())
