"""`bench regrade`: grade a run's answers again, without its model."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.commands import summary
from baseline_bench.core import plugins
from baseline_bench.core.command_options import argument, option
from baseline_bench.core.display import Console
from baseline_bench.evaluation import entry_builder, evaluate, pipeline, runs
from baseline_bench.rendering import leaderboard
from baseline_bench.results import entries


@dataclass(frozen=True, kw_only=True)
class Options:
    """The run to grade again."""

    run: Path = argument("a run's folder", "RUN")
    task: str | None = option("--task", "the task's file, where the task is not one of ours", "FILE")
    leaderboards: Path | None = option("--leaderboards", "add a row with the new judgements there", "DIR")


def run(options: Options, console: Console) -> int:
    """Judge a run's answers again with today's reader; this needs neither model nor data set.

    Raises:
        BenchError: the run is missing or incomplete.
    """
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
