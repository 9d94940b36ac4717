"""`bench noise`: score one model several times with nothing changed, and say which differences mean nothing.

Each run starts an engine of its own in a child process, so that two runs share nothing but their settings. Then one
more engine answers a subset in several manners, to see whether an answer hangs on the prompts that share its batch.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from baseline_bench.analysis.noise import describe_noise_floor
from baseline_bench.core import child_process, records
from baseline_bench.core.command_options import option
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Value
from baseline_bench.evaluation import entry_builder, evaluate, plan, repeat, runs
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions
from baseline_bench.rendering import leaderboard
from baseline_bench.results import noise as store
from baseline_bench.results.bits import Bits
from baseline_bench.results.entries import slugify
from baseline_bench.results.entry import Selection
from baseline_bench.results.noise import BatchPasses, NoiseRun, RunPair

RECORD_FILE = "noise.json"


@dataclass(frozen=True, kw_only=True)
class Options(ScoringOptions):
    """A model to be scored several times, and further ways of asking it."""

    task: str = option("--task", "a name of `bench list tasks`, or a .py file", "NAME", "gsm8k")
    name: str | None = option("--name", "the name of its rows (default: the model's name)", "NAME")
    times: int = option("--runs", "how often to score it (default: %(default)s)", "K", 3)
    passes: str = option(
        "--passes",
        "ways to ask in one more engine: all at once, shuffled, batches of N, or none (default: %(default)s)",
        "HOW,HOW",
        "all,shuffled,8,1",
    )
    items: int = option("--items", "items of each such pass (default: %(default)s)", "N", 64)
    runs: Path = option("--runs-dir", "the folder of runs (default: %(default)s)", "DIR", Path("runs"))
    run: Path | None = None
    again: bool = option("--again", "measure again, in another folder", default=False)
    as_json: bool = option("--json", "print the record alone, as JSON", default=False)


@dataclass(frozen=True, slots=True)
class _FinishedRun:
    """A finished run: its record, and what tells each of its answers from another."""

    run: NoiseRun
    traces: tuple[str, ...]


def run(options: Options, console: Console) -> int:
    """Score the model as often as asked, compare the runs, and add one record to the board's folder.

    Finished answers are kept: the same command goes on where it stood, and more `times` adds to the runs there are.

    Raises:
        BenchError: fewer than two runs or one item, an unknown manner, or runs that did not meet the same engine.
    """
    if options.times < 2:
        raise BenchError(f"{options.times} runs show no noise", "give --runs 3 or more")
    if options.items < 1:
        raise BenchError(f"--items {options.items} leaves nothing to ask", "give 1 or more, or --passes none")
    manners = _parse_passes(options.passes)
    seat = plan.plan_evaluation(options, console)
    place = _choose_folder(options, seat)
    with runs.explaining_write_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    lock = runs.lock_folder(place, wait=False)
    try:
        record = _build_record(options, seat, manners, place, console)
    finally:
        os.close(lock)
    path = leaderboard.write_and_render(
        options.leaderboards / record.task.name, lambda board: store.write_record(record, board)
    )
    _print_record(record, path, options.as_json, console)
    return 0


def _parse_passes(text: str) -> tuple[str, ...]:
    """The passes' names as the record has them."""
    if text.strip() in ("", "none"):
        return ()
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in (repeat.ALL, repeat.SHUFFLED) and not (word.isdecimal() and int(word) > 0):
            raise BenchError(
                f"no pass '{word}'", f"give --passes {repeat.ALL},{repeat.SHUFFLED},8,1 or other sizes, or none"
            )
    return tuple(dict.fromkeys(f"batch {int(word)}" if word.isdecimal() else word for word in words))


def _choose_folder(options: Options, seat: EvaluationPlan) -> Path:
    """The folder of these runs, named by all that could change an answer; with `again` the first without a record."""
    stem = "-".join(map(slugify, ("noise", Path(options.task).stem, seat.model.name, seat.engine)))
    stem += f"-{records.digest(seat.settings)[:8]}"
    place, number = options.runs / stem, 1
    while options.again and (place / RECORD_FILE).is_file():
        number += 1
        place = options.runs / f"{stem}-{number}"
    return place


def _build_record(
    options: Options, seat: EvaluationPlan, manners: Sequence[str], place: Path, console: Console
) -> store.NoiseRecord:
    """The record, dated when it was first whole; made again only where other runs or passes are asked for."""
    folders = [place / f"run-{number}" for number in range(1, options.times + 1)]
    for number, folder in enumerate(folders, 1):
        if not repeat.is_complete(folder, seat.exam.problems):
            console.say(f"run {number} of {options.times}, with an engine of its own")
            child_process.call_in_child(
                "baseline_bench.evaluation.repeat:generate_in_child",
                {**repeat.serialise_plan(seat), "folder": str(folder)},
            )
    sat = repeat.select_subset(seat, options.items)
    beside = [place / f"pass-{options.items}-{slugify(manner)}" for manner in manners]
    _generate_passes(options, sat, manners, beside, console)
    resolved = _read_engine_settings([*folders, *beside])
    done = [_read_run(seat, folder, repeat.ALL) for folder in folders]
    result = entry_builder.build_result(seat, *_grade_run(seat, folders[0]), resolved)
    result.require_bits()
    found = store.NoiseRecord(
        schema=1,
        created=runs.current_time(),
        candidate=result.candidate,
        task=result.task,
        selection=result.selection,
        model=result.model,
        prompts_sha256=result.prompts_sha256,
        engine=result.engine,
        provenance=result.provenance,
        runs=tuple(one.run for one in done),
        pairs=store.pair_runs([one.traces for one in done]),
        passes=_build_passes(sat, manners, beside) if manners else None,
    )
    return _keep_equal_record(found, place / RECORD_FILE)


def _keep_equal_record(found: store.NoiseRecord, path: Path) -> store.NoiseRecord:
    """What was found before, where nothing is new but the time and the program that tells it; else what was found."""
    if path.is_file():
        before = records.decode_record(
            store.NoiseRecord, records.parse_json(path.read_bytes(), str(path), ""), str(path), "use --again"
        )
        if replace(found, created=before.created, provenance=before.provenance) == before:
            return before
    with runs.explaining_write_errors(path.parent):
        records.write_atomically(path, records.encode_indented(found))
    return found


def _generate_passes(
    options: Options, seat: EvaluationPlan, manners: Sequence[str], folders: Sequence[Path], console: Console
) -> None:
    """Let a child make the passes that are not whole, each from its beginning: the rest alone would be batched anew."""
    waiting = []
    for manner, folder in zip(manners, folders, strict=True):
        if not repeat.is_complete(folder, seat.exam.problems):
            for name in (*runs.RUN_FILES, repeat.SECONDS_FILE):
                (folder / name).unlink(missing_ok=True)
            waiting.append([manner, str(folder)])
    if waiting:
        console.say(f"{len(waiting)} passes over {len(seat.exam.problems)} items, in one engine")
        child_process.call_in_child(
            "baseline_bench.evaluation.repeat:generate_passes_in_child",
            {**repeat.serialise_plan(seat), "items": options.items, "passes": waiting},
        )


def _read_engine_settings(folders: Sequence[Path]) -> dict[str, Value]:
    """What the engine was in every one of the runs; how many GPUs shared the questions may be another in each.

    Raises:
        BenchError: it was not the same: a library, a driver or a setting changed between them.
    """
    first, *others = [
        {**runs.read_json(folder / "engine.json"), **dict.fromkeys(runs.DEFAULT_SETTINGS)} for folder in folders
    ]
    for folder, other in zip(folders[1:], others, strict=True):
        keys = sorted(key for key in {*first, *other} if first.get(key) != other.get(key))
        if keys:
            told = "; ".join(f"{key} was {first.get(key)}, then {other.get(key)}" for key in keys)
            raise BenchError(f"{folder} met another engine than {folders[0]} ({told})", "measure anew with --again")
    return {key: value for key, value in first.items() if key not in runs.DEFAULT_SETTINGS}


def _grade_run(seat: EvaluationPlan, folder: Path) -> tuple[Any, Any]:
    """(verdicts, committed completions) of a finished run."""
    written = runs.read_completions(folder)
    return evaluate.judge_completions(seat.exam.task, seat.exam.problems, written), entry_builder.commit_completions(
        seat.exam.problems, written
    )


def _read_run(seat: EvaluationPlan, folder: Path, how: str) -> _FinishedRun:
    verdicts, committed = _grade_run(seat, folder)
    bits, traces = Bits.of(verdicts), tuple(map(store.fingerprint_completion, committed))
    counts = [line.tokens for line in committed if line.tokens is not None]
    seconds = runs.read_json(folder / repeat.SECONDS_FILE) if (folder / repeat.SECONDS_FILE).is_file() else None
    tokens = sum(counts) if len(counts) == len(committed) else None
    run = NoiseRun(how, len(committed), bits.correct, bits.unread, bits.cut, records.digest(traces), seconds, tokens)
    return _FinishedRun(run, traces)


def _build_passes(seat: EvaluationPlan, manners: Sequence[str], folders: Sequence[Path]) -> BatchPasses:
    exam = seat.exam
    done = [_read_run(seat, folder, manner) for manner, folder in zip(manners, folders, strict=True)]
    ids = records.digest([problem.id for problem in exam.problems])
    return BatchPasses(
        selection=Selection(exam.total, len(exam.problems), exam.limit, exam.seed, ids),
        runs=tuple(one.run for one in done),
        pairs=store.pair_runs([one.traces for one in done]),
    )


def _print_record(record: store.NoiseRecord, path: Path, as_json: bool, console: Console) -> None:
    """Print the runs, what they have in common, and the one sentence; or the record itself."""
    if as_json:
        console.write(records.encode_indented(record).decode())
        return
    rows = [(f"run {number}", _describe_run(run)) for number, run in enumerate(record.runs, 1)]
    rows += [(f"runs {pair.first + 1}, {pair.second + 1}", _describe_pair(record.runs, pair)) for pair in record.pairs]
    made = record.passes
    if made is not None:
        first = f"; against {made.runs[0].how}"
        against = {pair.second: f"{first}: {_describe_pair(made.runs, pair)}" for pair in made.pairs if pair.first == 0}
        rows += [
            (f"pass {run.how}", _describe_run(run) + against.get(place, "")) for place, run in enumerate(made.runs)
        ]
    rows.append(("record", str(path)))
    title = f"{record.candidate} on {record.task.label}, {len(record.runs)} times by {record.engine.version}"
    console.print(build_facts_table(title, rows))
    console.write(describe_noise_floor(record) + "\n")


def _describe_run(run: NoiseRun) -> str:
    speed = run.tokens_per_second
    return f"{run.right:,} of {run.items:,} right" + ("" if speed is None else f", {speed:,.0f} tokens/s")


def _describe_pair(made: Sequence[NoiseRun], pair: RunPair) -> str:
    one, other = made[pair.first], made[pair.second]
    return f"{store.count_flips(one, other):,} flips, {pair.equal:,} of {one.items:,} answers equal in every token"
