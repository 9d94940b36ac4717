"""`bench verify`: check an entry again, as far as is asked, and keep what was found in a record of its own beside it.

Levels 0 and 1 need the files alone; 2 and 3 need the weights and a machine that runs the entry's engine. Level 3 does
not take level 2 for granted: it is what an engine can still show whose tokens do not come out the same every time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from baseline_bench.analysis import noise as judging
from baseline_bench.commands import reproduce
from baseline_bench.commands.reproduce import Reproduction, ReproductionOptions
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
from baseline_bench.results.completions import decompress_file, parse_completions
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
    """Entries to be checked again, and how far."""

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
    words: str = ""
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class LevelReached:
    """How far one entry came.

    Attributes:
        level: None where its own files contradict one another: then it gets no record.
        found, missing: as in the record.
        hardware, driver: of what generated, or of this machine.
        stopped: why nothing was generated again, which says nothing of the entry and is only told; None otherwise.
    """

    level: Level | None
    found: tuple[str, ...]
    missing: tuple[str, ...]
    hardware: str
    driver: Value = None
    stopped: str | None = None


def run(options: Options, console: Console) -> int:
    """Check every entry, add a record for each that is sound, and say what the next level takes.

    Returns:
        0, or 1 where an entry did not reach the level that was asked for.

    Raises:
        BenchError: no such entry, a level that there is not, or an engine's own.
    """
    if options.level not in (0, 1, 2, 3):
        raise BenchError(f"there is no level {options.level}", "give --level 0, 1, 2 or 3")
    if options.against is not None:
        return int(lm_eval_check.compare_with_lm_eval(options.entries, options.mirror, console))
    short = False
    for path in options.entries:
        entry = entries.read_entry(path)
        reached = _verify_levels(path, entry, options, console)
        record = None if reached.level is None else _write_record(path, reached, options)
        _print_progress(path, reached, record, options, console)
        short = short or reached.level is None or reached.level < options.level
    return 1 if short else 0


def _verify_levels(path: Path, entry: Entry, options: Options, console: Console) -> LevelReached:
    """From level 0 upwards, as far as is asked and as it goes."""
    here = LevelReached(None, (), (), provenance.find_processor_name())
    wrong = entries.check_entry_file(path, entry)
    if wrong:
        return replace(here, missing=_format_failures("level 0", wrong))
    found = ("level 0: the numbers follow from the bits, the digests and the file's name from the content",)
    here = replace(here, level=0, found=found, missing=(NEXT_LEVEL[0],))
    if options.level == 0:
        return here
    grader = Regrader(options.tasks, options.mirror)
    lacking = grader.lacking(entry)
    wrong = entries.verify_entry(path, grader if lacking is None else None)
    if wrong:
        return replace(here, level=None, missing=_format_failures("level 1", wrong))
    if lacking is not None:
        return replace(here, missing=(f"level 1 is unchecked: {lacking}",))
    golds = "the task's own" if grader.own_golds(entry) else COMMITTED_GOLDS
    line = f"level 1: the bits follow from the committed completions by {entry.result.task.reader}; golds: {golds}"
    following = NEXT_LEVEL[1].format(engine=entry.result.engine.version, device=entry.result.provenance.device)
    here = replace(here, level=1, found=(*here.found, line), missing=(following,))
    return here if options.level == 1 else _verify_by_regeneration(path, entry, here, options, console)


def _format_failures(level: str, wrong: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{level} fails: {problem}" for problem in wrong)


def find_task(entry: Entry, files: Sequence[str]) -> str | None:
    """The name of the entry's task, or the file among these that has its label; None where it is not here."""
    labels = {plugins.load_task(file).LABEL: file for file in files}
    asked = entry.result.task
    return labels.get(asked.label) or plugins.find_task_name(asked.name, asked.label)


def _verify_by_regeneration(
    path: Path, entry: Entry, here: LevelReached, options: Options, console: Console
) -> LevelReached:
    """Levels 2 and 3, both from one generation."""
    where = ReproductionOptions(
        model=options.model,
        options=options.options,
        task=find_task(entry, options.tasks) or entry.result.task.name,
        again=options.again,
        runs=options.runs,
        mirror=options.mirror,
        cache=options.cache,
        words=options.words,
        commit=options.commit,
    )
    try:
        made = reproduce.plan_reproduction(path, entry, where, console)
    except BenchError as error:
        return replace(here, stopped=str(error))
    before = parse_completions(decompress_file(entries.completions_path(path)), path.name)
    outcome = reproduce.reproduce_completions(made, path, before, where, console)
    lines = (
        f"generated again: {reproduce.describe_reproduction(outcome)}",
        *(f"unlike: {line}" for line in outcome.unlike),
    )
    here = replace(here, found=(*here.found, *lines), hardware=outcome.hardware, driver=outcome.driver)
    if outcome.altered:
        line = f"{outcome.altered:,} of {outcome.total:,} answers are committed otherwise than their tokens give them"
        return replace(here, missing=(f"levels 2 and 3: {line} (text, gold answer or ending)",))
    if outcome.departs:
        here = replace(here, missing=("level 2: every answer equal in every token", NEXT_LEVEL[2]))
    else:
        here = replace(here, level=2, missing=(NEXT_LEVEL[2],))
    return here if options.level == 2 else _verify_within_noise(path, entry, outcome, here)


def _verify_within_noise(path: Path, entry: Entry, outcome: Reproduction, here: LevelReached) -> LevelReached:
    """Level 3 where the score lies inside the noise that was recorded."""
    record = find_noise_record(entry, noise.read_records(path.parent))
    name = entry.result.candidate
    if record is None:
        lacking = f"level 3: a noise record of {name} on {entry.result.engine.version} and its device (bench noise)"
        return replace(here, missing=(*here.missing[:-1], lacking))
    then, least = entry.result.counts.correct, judging.compute_noise_floor(record).least
    line = f"{outcome.right:,} right against the entry's {then:,} of {outcome.total:,}"
    rule = f"{len(record.runs)} runs of these weights call {least} or more a difference"
    if abs(outcome.right - then) >= least:
        return replace(here, missing=(*here.missing[:-1], f"level 3: a score inside the noise: {line}, and {rule}"))
    return replace(here, level=3, found=(*here.found, f"level 3: {line}; {rule}"), missing=())


def find_noise_record(entry: Entry, records: Sequence[noise.NoiseRecord]) -> noise.NoiseRecord | None:
    """The newest noise record of the same model, prompts, engine, settings and device, or None."""
    wanted = _setup_key(entry.result.model.weights_sha256, entry.result)
    alike = [record for record in records if not record.model.unlike(entry.result.model)]
    fitting = [record for record in alike if _setup_key(record.model.weights_sha256, record) == wanted]
    return fitting[-1] if fitting and entry.result.model.weights_sha256 is not None else None


def _setup_key(weights: str | None, record: noise.NoiseRecord | Result) -> tuple[object, ...]:
    settings = {name: value for name, value in record.engine.settings.items() if name not in ("weights", "gpus")}
    engine = (record.engine.name, record.engine.version, settings)
    return weights, record.prompts_sha256, record.selection.ids_sha256, engine, record.provenance.device


def _write_record(path: Path, reached: LevelReached, options: Options) -> Path:
    """The record's file; an equal finding by the same program on the same machine is not written twice."""
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
    for before in retractions.read_records(path.parent).verifications:
        kept = replace(before.provenance, command=record.provenance.command)
        if replace(before, created=record.created, provenance=kept) == record:
            record = before
    return leaderboard.write_and_render(path.parent, lambda board: retractions.write_record(record, board))


def _print_progress(path: Path, reached: LevelReached, record: Path | None, options: Options, console: Console) -> None:
    """Print how far the entry came, what was found, and what the next level takes."""
    level = "none: its files contradict one another" if reached.level is None else str(reached.level)
    rows = [("level reached", f"{level} (asked: {options.level})")]
    rows += [("found", line) for line in reached.found]
    rows += [("missing" if reached.level is not None else "wrong", line) for line in reached.missing]
    rows += [] if reached.stopped is None else [("stopped", f"before level 2: {reached.stopped}")]
    rows += [] if record is None else [("record", str(record))]
    console.print(build_facts_table(path.name, rows))
