"""`bench baseline`: score a model and add its row to the leaderboard."""

from time import perf_counter

from baseline_bench.commands import summary
from baseline_bench.core.display import Console
from baseline_bench.core.early_processes import early_processes
from baseline_bench.evaluation import pipeline
from baseline_bench.evaluation import plan as planning
from baseline_bench.evaluation.engine_pool import EnginePool, begin_likely_engine
from baseline_bench.evaluation.plan import ScoringOptions
from baseline_bench.rendering import leaderboard

Options = ScoringOptions


@early_processes()
def run(options: Options, console: Console) -> int:
    """Score a model and add its row."""
    start_time = perf_counter()
    begin_likely_engine(options.engine, options.gpus)
    task_plan = planning.plan_task(options)
    with EnginePool(task_plan.engine, console, early=1, most=len(task_plan.chosen)) as engines:
        plan = planning.plan_evaluation(options, console, task_plan)
        (scored,) = pipeline.evaluate_plans([plan], engines, console, start_time, leaderboard.update_pages)
    summary.show_entry(scored, options.as_json, console)
    return 0
