"""What the checks cost: of a model before it is loaded, and of a board of 1,000 and of 5,000 rows."""

import hashlib
import os
import random
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from baseline_bench.core import trace
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

from benchmarks import _models, bench
from benchmarks.measuring import Arm, Asked, Target, asked, interleave, keep, timed

HOW = (
    "A board's rows have 12 items and weights, completions and judgements of their own; `cold` judges every row again, "
    "`base` trusts the rows that the commit before the last one holds. Of a model, `check` is that phase of `bench "
    "baseline --limit 1 --engine transformers --trace`: every tensor is read for NaN and compared with the "
    "configuration, template and tokenizer are tried, the identity is taken. `load` is the start of the engine, "
    "which maps the files: they are read while it generates."
)
EMBEDDED = "smollm2-135m-it-q4_1"
_LIMITS = {1000: (13, 5), 5000: (80, 30)}
_ITEMS = 12
_WORDS = ("so", "each", "then", "apples", "costs", "half", "more", "left", "per", "day")


def main(words: Sequence[str] | None = None) -> int:
    """Measure and keep."""
    order = asked(__doc__ or "", 3, words)
    where = _models.places()
    shape = _models.shaped(_models.TINY if order.quick else _models.GEMMA_2B, where).folder
    counts = [8] if order.quick else list(_LIMITS)
    with tempfile.TemporaryDirectory(prefix="bench-checks-") as place:
        boards = {count: _fill_repository(Path(place) / str(count), count) for count in counts}
        arms = [arm for count, root in boards.items() for arm in _list_board_arms(root, count)]
        models: list[Path | str] = [shape] if order.quick else [EMBEDDED, shape]
        arms += [Arm(f"bench baseline, {_name(model)}", partial(_score, model, Path(place))) for model in models]
        samples = interleave(arms, order.repeats, warmups=0 if order.quick else 1)
    _keep(samples, order)
    return 0


def _name(model: Path | str) -> str:
    return Path(model).name


def _list_board_arms(root: Path, count: int) -> list[Arm]:
    check = bench.command("board", "--check")
    return [
        Arm(f"{name}, {count:,} rows", partial(timed, [*check, *words], env=bench.environment(), cwd=root))
        for name, words in (("cold", ()), ("base", ("--base", "main")))
    ]


def _score(model: Path | str, place: Path) -> Mapping[str, float]:
    """Score one item, and read from the trace how long the checks and the load took."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        file = Path(folder) / "trace.json"
        words = ("baseline", model, "--task", "word-problems", "--limit", 1, "--engine", "transformers")
        command = bench.command(*words, "--leaderboards", file.with_name("boards"))
        command += ["--runs", str(file.with_name("runs")), "--trace", str(file)]
        sample = timed(command, env=bench.environment(), cwd=Path(folder))
        seconds = dict.fromkeys(("check model", "start engine"), 0.0)
        for event in trace.read_events(file):
            if event["name"] in seconds:
                seconds[event["name"]] += event["dur"] / 1e6
    check, load = seconds.values()
    return {"check_seconds": check, "load_seconds": load, **sample}


def _fill_repository(root: Path, count: int) -> Path:
    """Write a repository whose main holds all rows but the last."""
    folder = root / "leaderboards"
    for number in range(count):
        _add_row(folder, number, _ITEMS)
        if number == count - 2:
            leaderboard.update_pages(folder)
            for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "rows"]):
                _run_git(root, *words)
    leaderboard.update_pages(folder)
    return root


def _keep(samples: Mapping[str, Sequence[Mapping[str, float]]], order: Asked) -> None:
    bounds = {
        f"{name}, {count:,} rows": bound
        for count, pair in _LIMITS.items()
        for name, bound in zip(("cold", "base"), pair, strict=True)
    }
    targets = [Target("seconds", name, None, at_most=bound) for name, bound in bounds.items() if name in samples]
    if not order.quick:
        targets.append(Target("check_seconds", f"bench baseline, {EMBEDDED}", None, at_most=2))
    keep("checks", samples, targets, title="What the checks cost", how=HOW, results=order.results)


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
    raise SystemExit(main())
