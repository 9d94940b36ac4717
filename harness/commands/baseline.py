"""`bench baseline`: score a model and add its row to the leaderboard."""

from time import perf_counter

from baseline_bench.commands import summary
from baseline_bench.core.display import Console
from baseline_bench.evaluation import pipeline
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.plan import ScoringOptions
from baseline_bench.rendering import leaderboard

Options = ScoringOptions


def run(options: Options, console: Console) -> int:
    """Score a model and add its row."""
    start_time = perf_counter()
    task_plan = planning.plan_task(options)
    with pipeline.start_early(options, task_plan, console) as early_processes:
        (scored,) = pipeline.evaluate_plans(
            [planning.plan_evaluation(options, console, task_plan)],
            console,
            start_time,
            leaderboard.update_pages,
            early_processes,
        )
    summary.show_entry(scored, options.as_json, console)
    return 0
