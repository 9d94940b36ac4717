"""Time `bench board --check` on a generated board, cold and against a base that holds all rows but one.

    python -m benchmarks.board_check --rows 1000 --items 12

Every row has its own weights, completions and judgements; each check runs in a process of its own.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from time import perf_counter

from baseline_bench.core.records import digest
from baseline_bench.core.types import Completion, Problem, Split
from baseline_bench.evaluation import protocol
from baseline_bench.evaluation.evaluate import count_judgements, judge_completions
from baseline_bench.rendering import leaderboard
from baseline_bench.results import entries
from baseline_bench.results.bits import Bits
from baseline_bench.results.completions import build_committed_completion, serialise_completions
from baseline_bench.results.entry import (
    EngineRecord,
    Entry,
    ModelRecord,
    Provenance,
    Result,
    Selection,
    TaskRecord,
    Timings,
)
from baseline_bench.tasks import word_problems

_WORDS = ("so", "each", "then", "apples", "costs", "half", "more", "left", "per", "day")


def main() -> int:
    """Generate the board in a temporary repository, time the checks, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--items", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folder = root / "leaderboards"
        for number in range(options.rows):
            _add_row(folder, number, options.items)
            if number == options.rows - 2:
                leaderboard.update_pages(folder)
                for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "rows"]):
                    _run_git(root, *words)
        leaderboard.update_pages(folder)
        for name, words in (("cold", []), ("base", ["--base", "main"])):
            start = perf_counter()
            command = [sys.executable, "-m", "baseline_bench.cli", "board", "--check", *words]
            status = subprocess.run(command, cwd=root, check=False).returncode
            seconds = perf_counter() - start
            sys.stdout.write(
                f"{name}: {options.rows:,} rows of {options.items} items, {seconds:.1f} s, exit {status}\n"
            )
    return 0


@cache
def _list_problems() -> list[Problem]:
    return word_problems.problems(Split("test"))


def _add_row(folder: Path, number: int, items: int) -> None:
    chance, every_problem = random.Random(number), _list_problems()
    problems = protocol.select_problems(every_problem, items, 0)
    completions = {problem.id: _write_answer(problem, chance) for problem in problems}
    judgements = judge_completions(word_problems, problems, completions)
    committed = [build_committed_completion(problem, completions[problem.id]) for problem in problems]
    bits, name = Bits.of(judgements), f"model-{number}"
    result = Result(
        candidate=name,
        task=TaskRecord(
            "word-problems",
            word_problems.LABEL,
            _sha("protocol"),
            protocol.digest_items(every_problem),
            word_problems.READER,
        ),
        selection=Selection(len(every_problem), len(problems), items, 0, digest([problem.id for problem in problems])),
        model=ModelRecord(
            name, f"hub:org/{name}", None, _sha(name), _sha("t"), _sha("c"), "template", "template", (0,)
        ),
        prompts_sha256=_sha("prompts"),
        engine=EngineRecord("transformers", "transformers 5", {"dtype": "float32", "device": "cpu"}),
        sampling=word_problems.SAMPLING,
        training=None,
        bits=bits,
        counts=count_judgements(judgements),
        completions_sha256=hashlib.sha256(serialise_completions(committed)).hexdigest(),
        provenance=Provenance("0.1.0", None, None, "bench score", "3.11", {}, "CPU", None),
    )
    timings = Timings({"generate": 1.0}, sum(line.tokens or 0 for line in committed), 1, 1.0)
    created = f"2026-11-{1 + number % 28:02}T{number // 28 % 24:02}:{number // 672 % 60:02}:00Z"
    entries.write_entry(Entry.of(result, created, timings), committed, folder / "word-problems")


def _write_answer(problem: Problem, chance: random.Random) -> Completion:
    words = " ".join(chance.choices(_WORDS, k=60))
    answer = problem.answer if chance.random() < 0.4 else chance.randrange(100)
    return Completion(f"{words}\n#### {answer}", tuple(chance.randrange(50_000) for _ in range(80)), "stop")


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _run_git(root: Path, *words: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "user.name=B", "-c", "user.email=b@example.org", *words]
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
