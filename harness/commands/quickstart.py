"""`bench quickstart`: run a baseline, a short fine-tune and their comparison with a small real model."""

import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

from baseline_bench.commands import baseline, train_and_score
from baseline_bench.commands.score import find_base_entry
from baseline_bench.core import plugins
from baseline_bench.core.command_options import option
from baseline_bench.core.display import Console
from baseline_bench.results import lookup
from rich.text import Text

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
        _show_next_steps(options.leaderboards, plugins.build_board_name(options.task), console)
    return 0


def _show_next_steps(leaderboards: Path, board: str, console: Console) -> None:
    """Print where the board is, and the commands that come next; only full rows are found by a candidate's name."""
    rows = lookup.read_board_entries(leaderboards / board)
    candidate = max(rows, key=lambda row: row.entry.created)
    base = find_base_entry(candidate.entry, leaderboards)
    pair = [
        row.entry.result.candidate if row.counts else str(row.path)
        for row in (candidate, *(row for row in rows if row.entry == base))
    ]
    console.print(Text("\nNext", style="bold"))
    for what, words in (
        ("what training changed, question by question", ["diff", *pair, "--leaderboards", str(leaderboards)]),
        ("the comparison again", ["compare", *pair, "--leaderboards", str(leaderboards)]),
        ("score GSM8K with a model of `bench list models`", ["baseline", "MODEL"]),
        ("ask whether a recipe of `bench list recipes` helps", ["train-and-score", "RECIPE"]),
    ):
        console.print_line(Text(f"  {shlex.join(['bench', *words])}"))
        console.print(Text(f"      {what}", style="dim"))
    console.print_line(Text(f"The board: {leaderboards / board}.md"))
