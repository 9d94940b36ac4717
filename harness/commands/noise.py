"""`bench noise`: score one model several times with nothing changed, and report which differences are noise.

Each run starts its own engine in a child process, so that two runs share nothing but their settings. Then one more
engine answers a subset in several ways, to see whether an answer depends on the prompts that share its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from baseline_bench.analysis.noise import describe_noise_floor
from baseline_bench.core import child_process, records
from baseline_bench.core.command_options import option
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.types import Value
from baseline_bench.evaluation import evaluate, plan, repeat, runs
from baseline_bench.evaluation.entry_builder import RunReport, build_entry, commit_completions
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
    """A model to score several times, and further ways to batch its prompts."""

    task: str = option("--task", "a name of `bench list tasks`, or a .py file", "NAME", "gsm8k")
    name: str | None = option("--name", "the name of its rows (default: the model's name)", "NAME")
    times: int = option("--times", "how often to score it (default: %(default)s)", "K", 3)
    passes: str = option(
        "--passes",
        "ways to ask in one more engine: all at once, shuffled, batches of N, or none (default: %(default)s)",
        "HOW,HOW",
        "all,shuffled,8,1",
    )
    items: int = option("--items", "items of each such pass (default: %(default)s)", "N", 64)
    runs: Path = option("--runs --runs-dir", "the folder of runs (default: %(default)s)", "DIR", Path("runs"))
    run: Path | None = None
    again: bool = option("--again", "measure again, in another folder", default=False)
    as_json: bool = option("--json", "print the record alone, as JSON", default=False)


def run(options: Options, console: Console) -> int:
    """Score the model as often as requested, compare the runs, and add one record to the board's folder.

    Finished answers are kept: the same command resumes, and a larger `times` adds runs to the existing ones.

    Raises:
        BenchError: fewer than two runs or one item, an unknown pass, or runs by different engines.
    """
    if options.times < 2:
        raise BenchError(f"{options.times} runs show no noise", "give --times 3 or more")
    if options.runs.name.isdigit():  # what --runs meant in earlier versions
        raise BenchError(f"--runs names the folder of runs, not {options.runs}", f"give --times {options.runs}")
    if options.items < 1:
        raise BenchError(f"--items {options.items} leaves nothing to ask", "give 1 or more, or --passes none")
    pass_names = _parse_passes(options.passes)
    evaluation_plan = plan.plan_evaluation(options, console)
    runs_folder = _choose_folder(options, evaluation_plan)
    with runs.explaining_write_errors(runs_folder):
        runs_folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(runs_folder, wait=False)
    with lock:
        record = _build_record(options, evaluation_plan, pass_names, runs_folder, console)
    path = leaderboard.write_and_render(
        options.leaderboards / record.task.name, lambda board: store.write_record(record, board)
    )
    _print_record(record, path, options.as_json, console)
    return 0


def _parse_passes(text: str) -> tuple[str, ...]:
    if text.strip() in ("", "none"):
        return ()
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in (repeat.ALL, repeat.SHUFFLED) and not (word.isdecimal() and int(word) > 0):
            what = f"no pass '{word}'"
            raise BenchError(what, f"give --passes {repeat.ALL},{repeat.SHUFFLED},8,1 or other sizes, or none")
    return tuple(dict.fromkeys(f"batch {int(word)}" if word.isdecimal() else word for word in words))


def _choose_folder(options: Options, evaluation_plan: EvaluationPlan) -> Path:
    """Name the folder after all that could change an answer; with `again`, take the first without a record."""
    stem = "-".join(
        map(slugify, ("noise", Path(options.task_name).stem, evaluation_plan.model.name, evaluation_plan.engine.name))
    )
    stem += f"-{records.digest(evaluation_plan.settings)[:8]}"
    folder, number = options.runs / stem, 1
    while options.again and (folder / RECORD_FILE).is_file():
        number += 1
        folder = options.runs / f"{stem}-{number}"
    return folder


def _build_record(
    options: Options, evaluation_plan: EvaluationPlan, pass_names: Sequence[str], runs_folder: Path, console: Console
) -> store.NoiseRecord:
    """Run what is missing and build the record; keep its date if the runs and passes are the same as before."""
    folders = [runs_folder / f"run-{number}" for number in range(1, options.times + 1)]
    for number, folder in enumerate(folders, 1):
        if not repeat.is_complete(folder, evaluation_plan.prepared_task.problems):
            console.say(f"run {number} of {options.times}, with an engine of its own")
            child_process.call_in_child(
                "baseline_bench.evaluation.repeat:generate_in_child",
                repeat.build_request(evaluation_plan, folder=folder),
            )
    pass_plan = repeat.select_subset(evaluation_plan, options.items)
    pass_folders = [runs_folder / f"pass-{options.items}-{slugify(pass_name)}" for pass_name in pass_names]
    _generate_passes(options, pass_plan, pass_names, pass_folders, console)
    resolved = _read_engine_settings([*folders, *pass_folders])
    finished_runs = [_read_run(evaluation_plan, folder, repeat.ALL) for folder in folders]
    result = build_entry(evaluation_plan, *_grade_run(evaluation_plan, folders[0]), RunReport(resolved)).result
    result.require_bits()
    record = store.NoiseRecord(
        schema=1,
        created=runs.current_time(),
        candidate=result.candidate,
        task=result.task,
        selection=result.selection,
        model=result.model,
        prompts_sha256=result.prompts_sha256,
        engine=result.engine,
        provenance=result.provenance,
        runs=tuple(run for run, _ in finished_runs),
        pairs=store.pair_runs([fingerprints for _, fingerprints in finished_runs]),
        passes=_build_passes(pass_plan, pass_names, pass_folders) if pass_names else None,
    )
    return _keep_equal_record(record, runs_folder / RECORD_FILE)


def _keep_equal_record(record: store.NoiseRecord, path: Path) -> store.NoiseRecord:
    """Return the stored record if only its time or program differs; otherwise store the new one."""
    if path.is_file():
        stored = records.read_record(store.NoiseRecord, path, "use --again")
        if replace(record, created=stored.created, provenance=stored.provenance) == stored:
            return stored
    with runs.explaining_write_errors(path.parent):
        records.write_atomically(path, records.encode_indented(record))
    return record


def _generate_passes(
    options: Options, pass_plan: EvaluationPlan, pass_names: Sequence[str], folders: Sequence[Path], console: Console
) -> None:
    """Generate unfinished passes in a child process, each from its start: resuming would change the batches."""
    waiting = []
    for pass_name, folder in zip(pass_names, folders, strict=True):
        if not repeat.is_complete(folder, pass_plan.prepared_task.problems):
            for name in (*runs.RUN_FILES, repeat.SECONDS_FILE):
                (folder / name).unlink(missing_ok=True)
            waiting.append((pass_name, folder))
    if waiting:
        console.say(f"{len(waiting)} passes over {len(pass_plan.prepared_task.problems)} items, in one engine")
        child_process.call_in_child(
            "baseline_bench.evaluation.repeat:generate_passes_in_child",
            repeat.build_request(pass_plan, items=options.items, passes=waiting),
        )


def _read_engine_settings(folders: Sequence[Path]) -> dict[str, Value]:
    """Return the settings that all runs share, except how many GPUs shared the questions, or raise BenchError."""
    first, *others = [{**runs.read_resolved(folder), **dict.fromkeys(runs.DEFAULT_SETTINGS)} for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        keys = sorted(key for key in {*first, *other} if first.get(key) != other.get(key))
        if keys:
            changes = "; ".join(f"{key} was {first.get(key)}, then {other.get(key)}" for key in keys)
            what = f"{folder} ran on another engine than {folders[0]} ({changes})"
            raise BenchError(what, "measure again with --again")
    return {key: value for key, value in first.items() if key not in runs.DEFAULT_SETTINGS}


def _grade_run(evaluation_plan: EvaluationPlan, folder: Path) -> tuple[Any, Any]:
    completions = runs.read_completions(folder)
    return evaluate.judge_completions(
        evaluation_plan.prepared_task.task, evaluation_plan.prepared_task.problems, completions
    ), commit_completions(evaluation_plan.prepared_task.problems, completions)


def _read_run(evaluation_plan: EvaluationPlan, folder: Path, pass_name: str) -> tuple[NoiseRun, tuple[str, ...]]:
    """Return a finished run's record, and a fingerprint of each answer."""
    judgements, committed = _grade_run(evaluation_plan, folder)
    bits, traces = Bits.of(judgements), tuple(map(store.fingerprint_completion, committed))
    counts = [line.tokens for line in committed if line.tokens is not None]
    seconds = runs.read_json(folder / repeat.SECONDS_FILE) if (folder / repeat.SECONDS_FILE).is_file() else None
    tokens = sum(counts) if len(counts) == len(committed) else None
    run = NoiseRun(
        pass_name, len(committed), bits.correct, bits.unread, bits.cut, records.digest(traces), seconds, tokens
    )
    return run, traces


def _build_passes(pass_plan: EvaluationPlan, pass_names: Sequence[str], folders: Sequence[Path]) -> BatchPasses:
    prepared = pass_plan.prepared_task
    finished_runs = [
        _read_run(pass_plan, folder, pass_name) for pass_name, folder in zip(pass_names, folders, strict=True)
    ]
    ids = records.digest([problem.id for problem in prepared.problems])
    return BatchPasses(
        selection=Selection(prepared.total, len(prepared.problems), prepared.limit, prepared.seed, ids),
        runs=tuple(run for run, _ in finished_runs),
        pairs=store.pair_runs([fingerprints for _, fingerprints in finished_runs]),
    )


def _print_record(record: store.NoiseRecord, path: Path, as_json: bool, console: Console) -> None:
    """Print the runs, what they have in common, and the noise floor; or the record itself."""
    if as_json:
        console.write(records.encode_indented(record).decode())
        return
    rows = [(f"run {number}", _describe_run(run)) for number, run in enumerate(record.runs, 1)]
    rows += [(f"runs {pair.first + 1}, {pair.second + 1}", _describe_pair(record.runs, pair)) for pair in record.pairs]
    passes = record.passes
    if passes is not None:
        first = f"; against {passes.runs[0].how}"
        against = {
            pair.second: f"{first}: {_describe_pair(passes.runs, pair)}" for pair in passes.pairs if pair.first == 0
        }
        rows += [
            (f"pass {run.how}", _describe_run(run) + against.get(index, "")) for index, run in enumerate(passes.runs)
        ]
    rows.append(("record", str(path)))
    title = f"{record.candidate} on {record.task.label}, {len(record.runs)} times by {record.engine.version}"
    console.print(build_facts_table(title, rows))
    console.write(describe_noise_floor(record) + "\n")


def _describe_run(run: NoiseRun) -> str:
    speed = run.tokens_per_second
    return f"{run.right:,} of {run.items:,} right" + ("" if speed is None else f", {speed:,.0f} tokens/s")


def _describe_pair(noise_runs: Sequence[NoiseRun], pair: RunPair) -> str:
    first, second = noise_runs[pair.first], noise_runs[pair.second]
    return f"{store.count_flips(first, second):,} flips, {pair.equal:,} of {first.items:,} answers equal in every token"
