"""`bench quickstart`: run a baseline, a short fine-tune and their comparison with a small real model."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from baseline_bench.commands import baseline, summary, train_and_score
from baseline_bench.core.command_options import option
from baseline_bench.core.display import Console
from baseline_bench.evaluation import entry_builder

PLACE = Path("quickstart")


@dataclass(frozen=True, kw_only=True)
class Options(train_and_score.Options):
    """The options of train-and-score, with an embedded model and a short recipe."""

    model: str = option("--model", "default: %(default)s", "MODEL", "smollm2-135m-it-q4_1")
    task: str = option("--task", "the task to score on (default: %(default)s)", "NAME", "word-problems")
    leaderboards: Path = option(
        "--leaderboards", "the folder of the leaderboards (default: %(default)s)", "DIR", PLACE / "leaderboards"
    )
    runs: Path = option("--runs", "the folder of runs (default: %(default)s)", "DIR", PLACE / "runs")
    seed: int = option("--seed", "which subset (default: %(default)s)", "S", 0)
    recipes: list[str] = field(default_factory=lambda: ["quickstart-lora"])
    sets: list[str] = field(default_factory=list)
    base: str | None = None
    train_seed: int = 0
    checkpoints: int = 0
    log: list[str] = field(default_factory=list)
    reuse_base: bool = True


def run(options: Options, console: Console) -> int:
    """Score the embedded model on the embedded task, then train a short LoRA and report whether it helped."""
    baseline.run(options, console)
    train_and_score.run(replace(options, base=options.model, name=None), console)
    if not options.as_json:
        summary.show_board_and_next_steps(options.leaderboards, entry_builder.board_name(options.task), console)
    return 0
