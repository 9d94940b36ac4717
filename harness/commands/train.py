"""`bench train`: train a candidate, without scoring it."""

from baseline_bench.commands import summary
from baseline_bench.core.display import Console
from baseline_bench.core.early_processes import early_processes
from baseline_bench.results import candidate
from baseline_bench.training import train as training
from baseline_bench.training.train import TrainingOptions

Options = TrainingOptions


@early_processes()
def run(options: Options, console: Console) -> int:
    """Train a candidate without merging or scoring it."""
    training.begin_training(options)
    folder = training.train_candidate(training.plan_training(options, console), console)
    summary.show_training(folder, candidate.read_candidate(folder), console)
    return 0
