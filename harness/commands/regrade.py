"""`bench regrade`: grade the answers of a run, or of a board's older rows, again, without the model."""

from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.commands import summary
from baseline_bench.core import plugins
from baseline_bench.core.command_options import argument, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import FolderLock
from baseline_bench.evaluation import entry_builder, evaluate, pipeline, regrading, runs
from baseline_bench.rendering import leaderboard
from baseline_bench.results import companions, entries, retractions


@dataclass(frozen=True, kw_only=True)
class Options:
    """The run or the board to grade again."""

    run: Path = argument("a run's folder; or a board's, whose rows of older task versions get a record each", "RUN")
    task: str | None = option("--task", "the task's file, where the task is not one of ours", "FILE")
    leaderboards: Path | None = option("--leaderboards", "add a row with the new judgements there", "DIR")


def run(options: Options, console: Console) -> int:
    """Judge answers again with today's reader; this needs neither model nor data set.

    A board's entries keep their bytes: the new judgements are records of their own.

    Raises:
        BenchError: the run is missing or incomplete, or an entry of the board is faulty.
    """
    console.say(f"grading the answers of {options.run} again")
    if _is_board(options.run):
        return _regrade_board(options, console)
    problems, completions = runs.read_problems(options.run), runs.read_completions(options.run)
    task = plugins.load_task(options.task or str(runs.read_json(options.run / "run.json")["settings"]["task"]))
    previous = {judgement.problem_id: judgement for judgement in runs.read_judgements(options.run)}
    judgements = evaluate.judge_completions(task, problems, completions)
    changed = [v.problem_id for v in judgements if v.problem_id in previous and previous[v.problem_id] != v]
    path = None
    if options.leaderboards is not None:
        entry = entry_builder.rejudge_entry(entries.read_entry(options.run / "entry.json"), task, judgements)
        committed, losses = entry_builder.commit_completions(problems, completions), pipeline.read_losses(options.run)
        path = pipeline.add_to_board(
            entry, committed, options.run, options.leaderboards, leaderboard.update_pages, losses
        )
    runs.write_judgements(options.run, judgements)
    summary.show_regrading(evaluate.count_judgements(judgements), changed, path or options.run, console)
    return 0


def _is_board(folder: Path) -> bool:
    """Tell whether the folder holds entries, with their completions, and is not a run's."""
    if not folder.is_dir() or (folder / "run.json").is_file():
        return False
    files = leaderboard.list_entry_files(folder)
    has_store = (folder.absolute().parent / companions.STORE_FILE).is_file()
    return any(has_store or entries.completions_path(path).is_file() for path in files)


def _regrade_board(options: Options, console: Console) -> int:
    """Write the records that rows of older task versions lack, and the stale pages; print what was written."""
    board = options.run
    if options.task is not None or options.leaderboards is not None:
        raise BenchError("--task and --leaderboards go with a run, not with a board", f"bench regrade {board}")
    leaderboards, name = board.absolute().parent, board.absolute().name
    with runs.explaining_write_errors(board), FolderLock(leaderboards, wait=True):
        written = _write_missing_records(board)
        console.write("".join(f"{path}\n" for path in written))
        if (leaderboards / f"{name}.md").is_file():  # a killed command may have written records alone
            console.write("".join(f"{path}\n" for path in leaderboard.update_pages(leaderboards)))
    return 0


def _write_missing_records(board: Path) -> list[Path]:
    board_records, written = retractions.read_records(board), []
    for path in leaderboard.list_entry_files(board):
        record = regrading.regrade_entry(entries.read_entry(path), path, runs.current_time())
        previous = board_records.regrade(path.name)
        if record is not None and (previous is None or replace(previous, created=record.created) != record):
            written.append(retractions.write_record(record, board))
    return written
