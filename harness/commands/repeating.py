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
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Value
from baseline_bench.evaluation import entry_builder, evaluate, plan, repeat, runs
from baseline_bench.evaluation.plan import EvaluationPlan, Order
from baseline_bench.rendering import leaderboard
from baseline_bench.results import noise as store
from baseline_bench.results.bits import Bits
from baseline_bench.results.entries import slugify
from baseline_bench.results.entry import Selection
from baseline_bench.results.noise import BatchPasses, NoiseRun, RunPair

RECORD_FILE = "noise.json"


@dataclass(frozen=True, slots=True)
class Noise(Order):
    """A model to be scored several times; see `bench noise --help`.

    Attributes:
        times: runs over all items, each with an engine of its own.
        passes: manners of asking, such as "all,shuffled,8,1", the first being what the others are compared with;
            "none" leaves them out.
        items: how many items each pass asks.
    """

    times: int
    passes: str
    items: int


@dataclass(frozen=True, slots=True)
class _FinishedRun:
    """A finished run: its record, and what tells each of its answers from another."""

    run: NoiseRun
    traces: tuple[str, ...]


def noise(order: Noise, console: Console) -> int:
    """Score the model as often as asked, compare the runs, and add one record to the board's folder.

    Finished answers are kept: the same command goes on where it stood, and more `times` adds to the runs there are.

    Raises:
        BenchError: fewer than two runs or one item, an unknown manner, or runs that did not meet the same engine.
    """
    if order.times < 2:
        raise BenchError(f"{order.times} runs show no noise", "give --runs 3 or more")
    if order.items < 1:
        raise BenchError(f"--items {order.items} leaves nothing to ask", "give 1 or more, or --passes none")
    manners = _parse_passes(order.passes)
    seat = plan.plan_evaluation(order, console)
    place = _choose_folder(order, seat)
    with runs.explaining_write_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    lock = runs.lock_folder(place, wait=False)
    try:
        record = _build_record(order, seat, manners, place, console)
    finally:
        os.close(lock)
    path = leaderboard.write_and_render(
        order.leaderboards / record.task.name, lambda board: store.write_record(record, board)
    )
    _print_record(record, path, order.as_json, console)
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


def _choose_folder(order: Noise, seat: EvaluationPlan) -> Path:
    """The folder of these runs, named by all that could change an answer; with `again` the first without a record."""
    stem = "-".join(map(slugify, ("noise", Path(order.task).stem, seat.model.name, seat.engine)))
    stem += f"-{records.digest(seat.settings)[:8]}"
    place, number = order.runs / stem, 1
    while order.again and (place / RECORD_FILE).is_file():
        number += 1
        place = order.runs / f"{stem}-{number}"
    return place


def _build_record(
    order: Noise, seat: EvaluationPlan, manners: Sequence[str], place: Path, console: Console
) -> store.NoiseRecord:
    """The record, dated when it was first whole; made again only where other runs or passes are asked for."""
    folders = [place / f"run-{number}" for number in range(1, order.times + 1)]
    for number, folder in enumerate(folders, 1):
        if not repeat.is_complete(folder, seat.exam.problems):
            console.say(f"run {number} of {order.times}, with an engine of its own")
            child_process.call_in_child(
                "baseline_bench.evaluation.repeat:generate_in_child",
                {**repeat.serialise_plan(seat), "folder": str(folder)},
            )
    sat = repeat.select_subset(seat, order.items)
    beside = [place / f"pass-{order.items}-{slugify(manner)}" for manner in manners]
    _generate_passes(order, sat, manners, beside, console)
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
    order: Noise, seat: EvaluationPlan, manners: Sequence[str], folders: Sequence[Path], console: Console
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
            {**repeat.serialise_plan(seat), "items": order.items, "passes": waiting},
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
