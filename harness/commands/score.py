"""`bench score`: score training runs, adapters and folders of weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from baseline_bench.analysis import compare
from baseline_bench.commands import summary
from baseline_bench.commands.merge import make_whole_weights
from baseline_bench.core.command_options import argument, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import pipeline
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions, TaskPlan
from baseline_bench.models import registry
from baseline_bench.rendering import leaderboard
from baseline_bench.results import entries, retractions
from baseline_bench.results.entry import Entry
from baseline_bench.training import contamination, merging, resolve_candidate
from baseline_bench.training import train as training
from baseline_bench.training.resolve_candidate import CandidateSource


@dataclass(frozen=True, kw_only=True)
class Options(ScoringOptions):
    """Candidates to be scored: training runs, adapters, trainers' outputs or whole weights."""

    folders: list[str] = argument(
        "a training run, an adapter, a trainer's output, a folder of weights, or org/name[@revision] of the hub",
        "RUN|FOLDER|NAME",
    )
    base: str | None = option("--base", "the base of an adapter (default: the one that it names)", "MODEL")
    with_base: bool = option(
        "--with-base", "score the bases too, through the same engine, and compare with them", default=False
    )
    model: str = ""


def run(options: Options, console: Console) -> int:
    """Score trained candidates, adapters and folders of weights, all through one engine, and add their rows."""
    began = perf_counter()
    if len(options.folders) > 1 and (options.name or options.run):
        raise BenchError("--name and --run are for one folder", "score the folders one by one, or leave them out")
    asked = planning.plan_task(options)
    with pipeline.start_early(options, asked, console, len(options.folders) + options.with_base) as ahead:
        seats = [_plan_candidate(options, asked, folder, console) for folder in options.folders]
        bases = _plan_bases(options, asked, seats, console) if options.with_base else []
        rows = pipeline.evaluate_plans(
            [*bases, *(seat for seat, _ in seats)], console, began, leaderboard.update_pages, ahead
        )
    for scored in rows:
        summary.show_entry(scored, options.as_json, console)
        base = find_base_entry(scored.entry, options.leaderboards)
        if base is not None and not options.as_json:
            summary.show_comparison(scored.entry, base, console)
    return 0


def _plan_candidate(
    options: Options, asked: TaskPlan, name: str, console: Console
) -> tuple[EvaluationPlan, str | None]:
    """A candidate before its exam, and what its base is called; what a training made is scored in its own folder."""
    found = resolve_candidate.find_source(name, options.cache, console)
    if found.folder is not None and (found.folder.resolve().parent / training.REQUEST_FILE).is_file():
        parent = found.folder.parent
        raise BenchError(f"{found.folder} belongs to a training run", f"score the run: bench score {parent}")
    if found.kind == "whole":
        console.say(f"model {name}: looking for it, fetching what is missing")
        return planning.plan_model(
            options, console, resolve_candidate.load_whole_weights(found, options.cache), None, asked
        ), None
    with planning.write_refusals_as_json(options, console):
        made = make_whole_weights(found, options, console)
    if made.training.candidate is not None:
        data = made.training.candidate.data
        contamination.require_separate_origins(data.derived_from, data.name, options.task)
    place = options if found.kind == "adapter" else replace(options, runs=Path(found.name))
    seat = planning.plan_model(place, console, made.model, made.training, asked, made.findings)
    return seat, _find_base_name(found, options.base)


def _find_base_name(found: CandidateSource, base: str | None) -> str | None:
    """What an adapter's base is called; a training run knows its own."""
    return (
        base or merging.read_base_name(found.folder) if found.kind == "adapter" and found.folder is not None else None
    )


def _plan_bases(
    options: Options, asked: TaskPlan, seats: Sequence[tuple[EvaluationPlan, str | None]], console: Console
) -> list[EvaluationPlan]:
    """The base of every training run and adapter among the seats, once each."""
    made: dict[str | None, EvaluationPlan] = {}
    for seat, name in seats:
        if seat.training is None:
            continue
        if seat.training.candidate is not None:
            model = merging.find_base(seat.training.candidate, seat.options.runs, options.cache)
        else:
            model = registry.resolve_model(str(name), options.cache)
        there = replace(options, name=None, runs=seat.options.runs)
        if model.weights_sha256 not in made:
            made[model.weights_sha256] = planning.plan_model(there, console, model, None, asked)
    return list(made.values())


def find_base_entry(entry: Entry, leaderboards: Path) -> Entry | None:
    """The newest row on the board of the base that this one was trained from, comparable and not withdrawn."""
    if entry.result.base_sha256 is None:
        return None
    board = leaderboards / entry.result.task.name
    said = retractions.read_records(board)
    rows = [entries.read_entry(path) for path in sorted(board.glob("*.json")) if said.retraction(path.name) is None]
    fit = [row for row in rows if compare.is_base(row, entry) and not compare.explain_incomparability(entry, row)]
    return max(fit, key=lambda row: row.created, default=None)
