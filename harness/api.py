"""What the main commands do, as functions that return what the commands print.

A function takes its command's options as keyword arguments, by their long names: `max_tokens=64` is `--max-tokens 64`.
A repeated option takes a list, or a dictionary for `key=value`: `set={"lr": 5e-4}`. Rows and runs are those of the
commands, so that each continues what the other began. Warnings go to stderr.
"""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baseline_bench import cli
from baseline_bench.commands import compare as comparing
from baseline_bench.commands import score as scoring
from baseline_bench.core.command_options import build_options
from baseline_bench.core.display import Console
from baseline_bench.evaluation.pipeline import EvaluationResult
from baseline_bench.rendering import board_csv, board_svg, leaderboard
from baseline_bench.training import train as training

if TYPE_CHECKING:
    import pandas


class Picture(str):
    """The text of an SVG image, which a notebook shows as an image."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def evaluate(model: str | Path, task: str = "gsm8k", **options: Any) -> EvaluationResult:
    """Score a model on a task and add its row; a killed run continues, and a finished one is not repeated.

    Args:
        model: a name of `bench list models`, `org/name[@revision]` of the hub, or a folder: weights, an adapter, or
            a run that `train` returned.
        task: a name of `bench list tasks`, a .py file, or `lm-eval:NAME`.
        options: of `bench score`, such as `limit` (a seeded subset of so many problems), `leaderboards`, `runs`.

    Returns:
        `entry` (`entry.result.counts.correct` of `entry.result.counts.total` problems are right), `path` of the
        entry, `folder` of the run, and `findings` of the checks.

    Raises:
        BenchError: no such model, task, engine or option, or a check refuses the model.
    """
    cli.quieten_libraries()
    given = build_options(scoring.Options, {**options, "task": task}, folders=[str(model)], words="evaluate()")
    return scoring.score_candidates(given, _open_console())[-1]


def train(recipe: str | Path, **options: Any) -> Path:
    """Train a candidate; a killed training continues, and a finished one is not repeated.

    Args:
        recipe: a name of `bench list recipes`, or a .toml file.
        options: of `bench train`, such as `base` (a model), `set` (a dictionary of the recipe's keys), `seed`, `runs`.

    Returns:
        The run's folder, for `evaluate`; its `loss.jsonl` has one step a line.

    Raises:
        BenchError: a recipe, base, option or data that cannot be used, or a training that failed.
    """
    cli.quieten_libraries()
    given, console = build_options(training.TrainingOptions, options, recipe=str(recipe)), _open_console()
    return training.train_candidate(training.plan_training(given, console), console)


def compare(first: str | Path, second: str | Path, **options: Any) -> comparing.ComparisonReport:
    """Compare two rows problem by problem, with a paired test.

    Args:
        first: the row that wins or loses: a candidate's name, or the path or file name of an entry.
        second: the row that it is compared with.
        options: of `bench compare`: `margin` (a share: 0.01 is one point), `leaderboards`, `board`.

    Returns:
        What `bench compare --json` prints: among others `outcome`, `sentence`, and `numbers` with `won` and `lost`
        (problems), `difference`, `low` and `high` (shares; a 95 % interval), or None for rows that do not compare.

    Raises:
        BenchError: no such row or option, an ambiguous name, or an impossible margin.
    """
    given = build_options(comparing.Options, options, first=str(first), second=str(second))
    return comparing.compare_rows(given, _open_console())


def load_board(board: str, leaderboards: str | Path = "leaderboards") -> "pandas.DataFrame":
    """Load a board as a table of its entries, with the columns of `bench export csv`.

    Scores are in percent, differences in points, losses in nats; yes and no are booleans, unknown cells NaN.

    Args:
        board: such as "word-problems".
        leaderboards: the folder of the boards.

    Raises:
        BenchError: no such board, an unsound entry, or problems that are not right or wrong.
    """
    import pandas  # slow

    text = io.StringIO(board_csv.render_csv(leaderboard.load_compared_board(Path(leaderboards), board)))
    words: dict[str, Any] = {"true_values": ["yes"], "false_values": ["no"], "na_values": [""]}
    return pandas.read_csv(text, keep_default_na=False, parse_dates=["created"], **words)


def draw_board(board: str, leaderboards: str | Path = "leaderboards") -> Picture:
    """Draw a board's scores with their 95 % intervals, over those of their bases. As `load_board`."""
    return Picture(board_svg.draw_forest_plot(leaderboard.load_compared_board(Path(leaderboards), board)))


def _open_console() -> Console:
    return Console(io.StringIO(), sys.stderr)
