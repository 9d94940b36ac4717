"""`bench regrade`: grade the answers of a run, or of a board's older rows, again, without the model."""

from collections.abc import Callable, Sequence
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
    phase = f"grading the answers of {options.run} again"
    if _is_board(options.run):
        return _regrade_board(options, phase, console)
    console.say(phase)
    problems, completions = runs.read_problems(options.run), runs.read_completions(options.run)
    task = plugins.load_task(options.task or runs.read_task_name(options.run))
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


def _regrade_board(options: Options, phase: str, console: Console) -> int:
    """Write the records that rows of older task versions lack, and the stale pages; print what was written."""
    board = options.run
    if options.task is not None or options.leaderboards is not None:
        raise BenchError("--task and --leaderboards go with a run, not with a board", f"bench regrade {board}")
    leaderboards, name = board.absolute().parent, board.absolute().name
    counting = console.count_items(phase, "rows graded")
    with runs.explaining_write_errors(board), counting as report, FolderLock(leaderboards, wait=True):
        files = leaderboard.list_entry_files(board)
        written = _write_missing_records(board, files, report)
        has_page = (leaderboards / f"{name}.md").is_file()  # a killed command may have written records alone
        changed = leaderboard.update_pages(leaderboards) if has_page else ()
    console.say(f"graded the answers of {len(files):,} rows: {len(written):,} new records")
    console.write("".join(f"{path}\n" for path in (*written, *changed)))
    return 0


def _write_missing_records(board: Path, files: Sequence[Path], report: Callable[[int, int], object]) -> list[Path]:
    board_records, written = retractions.read_records(board), []
    for number, path in enumerate(files, 1):
        record = regrading.regrade_entry(entries.read_entry(path), path, runs.current_time())
        previous = board_records.regrade(path.name)
        if record is not None and (previous is None or replace(previous, created=record.created) != record):
            written.append(retractions.write_record(record, board))
        report(number, len(files))
    return written
