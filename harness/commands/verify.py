"""`bench verify`: check an entry again, up to the requested level, and store the result in a separate record.

Levels 0 and 1 need only the files; 2 and 3 need the weights and a machine that runs the entry's engine. Level 3 does
not require level 2: it is for engines whose tokens are not the same in every run.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from baseline_bench.analysis import noise as judging
from baseline_bench.commands import reproduce
from baseline_bench.commands.reproduce import Reproduction
from baseline_bench.core import plugins
from baseline_bench.core.command_options import argument, cache_option, datasets_option, option, own_tasks_option
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Value
from baseline_bench.evaluation import provenance, runs
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.interop import lm_eval_check
from baseline_bench.rendering import leaderboard
from baseline_bench.results import entries, noise, retractions
from baseline_bench.results.companions import load_completions
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.retractions import Verification

Level = Literal[0, 1, 2, 3]
COMMITTED_GOLDS = "those committed, for the task's data is not at hand (--datasets DIR)"
NEXT_LEVEL = {
    0: "level 1: the committed completions, graded again on any CPU (--level 1)",
    1: "level 2: the weights, and a machine for {engine} (made on {device}), to generate again (--level 2 --model ...)",
    2: "level 3: a score inside the noise recorded for these weights, engine and device (--level 3)",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The entries to check again, and up to which level."""

    entries: list[Path] = argument("an entry's .json in its board's folder", "ENTRY")
    against: Literal["lm-eval"] | None = option(
        "--against", "judge the completions of entries or runs by lm-eval too, and list every judgement that differs"
    )
    level: Literal[0, 1, 2, 3] = option(
        "--level", "0 numbers, 1 graded again, 2 generated again, 3 inside the noise (default: 1)", default=1
    )
    model: str | None = option(
        "--model",
        "where the weights are: a name, a folder, or a training's run (default: as the entry names them)",
        "MODEL",
    )
    options: list[str] = option(
        "-o --option", "of the entry's engine, over the settings that the entry names", "KEY=VALUE", list
    )
    again: bool = option(
        "--again", "generate again from the start instead of resuming an unfinished check", default=False
    )
    tasks: list[str] = own_tasks_option()
    runs: Path = option("--runs", "the folder of runs (default: %(default)s)", "DIR", Path("runs"))
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()
    task: str = ""  # of the entry that is generated again: a name, or one of `tasks`
    words: str = ""
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class LevelReached:
    """The level that one entry reached.

    Attributes:
        level: None if its own files contradict one another; then it gets no record.
        found, missing: as in the record.
        hardware, driver: of the generation, or of this machine.
        stopped: why nothing was generated again, which is printed but not recorded; None otherwise.
    """

    level: Level | None
    found: tuple[str, ...]
    missing: tuple[str, ...]
    hardware: str
    driver: Value = None
    stopped: str | None = None


def run(options: Options, console: Console) -> int:
    """Check every entry, add a record for each sound one, and print what the next level needs.

    Returns:
        0, or 1 if an entry did not reach the requested level.

    Raises:
        BenchError: no such entry, no such level, or an error of the engine.
    """
    if options.level not in (0, 1, 2, 3):
        raise BenchError(f"there is no level {options.level}", "give --level 0, 1, 2 or 3")
    if options.against is not None:
        return int(lm_eval_check.compare_with_lm_eval(options.entries, options.mirror, console))
    fell_short = False
    for path in options.entries:
        console.say(f"verifying {path}")
        entry = entries.read_entry(path)
        reached = _verify_levels(path, entry, options, console)
        record = None if reached.level is None else _write_record(path, reached, options)
        _print_progress(path, reached, record, options, console)
        fell_short = fell_short or reached.level is None or reached.level < options.level
    return 1 if fell_short else 0


def _verify_levels(path: Path, entry: Entry, options: Options, console: Console) -> LevelReached:
    """Check the entry from level 0 upwards until a check fails or the requested level is reached."""
    progress = LevelReached(None, (), (), provenance.find_processor_name())
    faults = entries.check_entry_file(path, entry)
    if faults:
        return replace(progress, missing=_format_failures("level 0", faults))
    finding = ("level 0: the numbers follow from the bits, the digests and the file's name from the content",)
    progress = replace(progress, level=0, found=finding, missing=(NEXT_LEVEL[0],))
    if options.level == 0:
        return progress
    grader = Regrader(options.tasks, options.mirror)
    obstacle = grader.lacking(entry)
    faults = entries.verify_entry(path, grader if obstacle is None else None)
    if faults:
        return replace(progress, level=None, missing=_format_failures("level 1", faults))
    if obstacle is not None:
        return replace(progress, missing=(f"level 1 is unchecked: {obstacle}",))
    golds = "the task's own" if grader.own_golds(entry) else COMMITTED_GOLDS
    line = f"level 1: the bits follow from the committed completions by {entry.result.task.reader}; golds: {golds}"
    next_level = NEXT_LEVEL[1].format(engine=entry.result.engine.version, device=entry.result.provenance.device)
    progress = replace(progress, level=1, found=(*progress.found, line), missing=(next_level,))
    return progress if options.level == 1 else _verify_by_regeneration(path, entry, progress, options, console)


def _format_failures(level: str, faults: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{level} fails: {problem}" for problem in faults)


def find_task(entry: Entry, files: Sequence[str]) -> str | None:
    """Return the name of the entry's task, or the file among `files` with its label; None if there is neither."""
    labels = {plugins.load_task(file).LABEL: file for file in files}
    task = entry.result.task
    label, limit = plugins.split_token_limit(task.label)
    if label in labels:
        return plugins.add_token_limit(labels[label], limit)
    return plugins.find_task_name(task.name, task.label)


def _verify_by_regeneration(
    path: Path, entry: Entry, progress: LevelReached, options: Options, console: Console
) -> LevelReached:
    """Check levels 2 and 3, both with one generation."""
    options = replace(options, task=find_task(entry, options.tasks) or entry.result.task.name)
    try:
        evaluation_plan = reproduce.plan_reproduction(path, entry, options, console)
    except BenchError as error:
        return replace(progress, stopped=str(error))
    stored = load_completions(path, entry)
    reproduction = reproduce.reproduce_completions(evaluation_plan, path, stored, options, console)
    lines = (
        f"generated again: {reproduce.describe_reproduction(reproduction)}",
        *(f"unlike: {line}" for line in reproduction.unlike),
    )
    progress = replace(
        progress, found=(*progress.found, *lines), hardware=reproduction.hardware, driver=reproduction.driver
    )
    if reproduction.altered:
        answers = f"{reproduction.altered:,} of {reproduction.total:,} answers"
        line = f"{answers} are committed otherwise than their tokens give them"
        return replace(progress, missing=(f"levels 2 and 3: {line} (text, gold answer or ending)",))
    if reproduction.departs:
        progress = replace(progress, missing=("level 2: every answer equal in every token", NEXT_LEVEL[2]))
    else:
        progress = replace(progress, level=2, missing=(NEXT_LEVEL[2],))
    return progress if options.level == 2 else _verify_within_noise(path, entry, reproduction, progress)


def _verify_within_noise(path: Path, entry: Entry, reproduction: Reproduction, progress: LevelReached) -> LevelReached:
    """Check level 3: whether the score is inside the recorded noise."""
    record = find_noise_record(entry, noise.read_records(path.parent))
    name = entry.result.candidate
    if record is None:
        missing = f"level 3: a noise record of {name} on {entry.result.engine.version} and its device (bench noise)"
        return replace(progress, missing=(*progress.missing[:-1], missing))
    stored, least = entry.result.counts.correct, judging.compute_noise_floor(record).least
    line = f"{reproduction.right:,} right against the entry's {stored:,} of {reproduction.total:,}"
    rule = f"{len(record.runs)} runs of these weights call {least} or more a difference"
    if abs(reproduction.right - stored) >= least:
        return replace(
            progress, missing=(*progress.missing[:-1], f"level 3: a score inside the noise: {line}, and {rule}")
        )
    return replace(progress, level=3, found=(*progress.found, f"level 3: {line}; {rule}"), missing=())


def find_noise_record(entry: Entry, records: Sequence[noise.NoiseRecord]) -> noise.NoiseRecord | None:
    """Return the newest noise record of the same model, prompts, engine, settings and device, or None."""
    wanted_setup = _setup_key(entry.result.model.weights_sha256, entry.result)
    same_model = [record for record in records if not record.model.unlike(entry.result.model)]
    matching = [record for record in same_model if _setup_key(record.model.weights_sha256, record) == wanted_setup]
    return matching[-1] if matching and entry.result.model.weights_sha256 is not None else None


def _setup_key(weights: str | None, record: noise.NoiseRecord | Result) -> tuple[object, ...]:
    settings = {name: value for name, value in record.engine.settings.items() if name not in ("weights", "gpus")}
    engine = (record.engine.name, record.engine.version, settings)
    return weights, record.prompts_sha256, record.selection.ids_sha256, engine, record.provenance.device


def _write_record(path: Path, reached: LevelReached, options: Options) -> Path:
    """Write the record and return its file; reuse an equal record of the same program and machine."""
    if reached.level is None:
        raise ValueError("an unsound entry gets no record")
    record = Verification(
        schema=1,
        created=runs.current_time(),
        entry=path.name,
        entry_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        level=reached.level,
        found=reached.found,
        missing=reached.missing,
        provenance=provenance.describe_program(options.words, options.commit, reached.hardware, reached.driver),
    )
    for previous in retractions.read_records(path.parent).verifications:
        same_command = replace(previous.provenance, command=record.provenance.command)
        if replace(previous, created=record.created, provenance=same_command) == record:
            record = previous
    return leaderboard.write_and_render(path.parent, lambda board: retractions.write_record(record, board))


def _print_progress(path: Path, reached: LevelReached, record: Path | None, options: Options, console: Console) -> None:
    """Print the reached level, what was found, and what the next level needs."""
    level = "none: its files contradict one another" if reached.level is None else str(reached.level)
    rows = [("level reached", f"{level} (asked: {options.level})")]
    rows += [("found", line) for line in reached.found]
    rows += [("missing" if reached.level is not None else "wrong", line) for line in reached.missing]
    rows += [] if reached.stopped is None else [("stopped", f"before level 2: {reached.stopped}")]
    rows += [] if record is None else [("record", str(record))]
    console.print(build_facts_table(path.name, rows))
