"""A small board as the tests of reports need it: a base, trainings on it with their losses, and weights on the way."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from baseline_bench.commands.report import Options
from baseline_bench.core.types import Step
from baseline_bench.results import entries
from baseline_bench.results.candidate import LossLog, compute_final_loss
from baseline_bench.results.candidate import parse_steps as read
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Result
from board_samples import trained
from samples import answers, entry, result

ITEMS = 40
CREATED = "2026-11-22T12:00:00Z"


def history(folder: Path, end: float, steps: int = 40) -> bytes:
    """The loss history of a training that falls from 2 to `end`."""
    folder.mkdir(parents=True, exist_ok=True)
    losses = LossLog(folder)
    losses.path.unlink(missing_ok=True)
    for number in range(1, steps + 1):
        loss = end + (2 - end) * (1 - number / steps)
        losses.append(Step(number, steps, loss, 1e-4, 1.0, 8, 900, 700 + number, number / 10))
    return losses.path.read_bytes()


def steps(losses: Sequence[float], supervised: Sequence[int] | None = None) -> list[Step]:
    """Steps with these losses."""
    tokens = supervised or [700] * len(losses)
    return [Step(i, len(losses), loss, 1e-4, 1.0, 8, 900, tokens[i - 1], i / 10) for i, loss in enumerate(losses, 1)]


def base(board: Path, right: int, name: str = "base", created: str = CREATED) -> Path:
    """Score a model that nobody trained."""
    completions = answers(ITEMS, right, 3, 2)
    return entries.write_entry(entry(result(name, completions), created), completions, board)


def tuned(
    board: Path, right: int, recipe: str, seed: int = 0, step: int | None = None, end: float = 0.5, **changed: object
) -> Path:
    """Train on the base and score what came of it.

    `right` items are answered right, `step` is where the weights were kept, `end` where the loss ended; `changed` are
    fields of the result to replace.
    """
    completions = answers(ITEMS, right, 3, 2)
    of, losses = trained("base", recipe, seed, step), history(board.parent / "run", end)
    assert of.training is not None
    assert of.training.candidate is not None
    made = of.training.candidate
    known = read(losses)
    made = replace(
        made,
        losses_sha256=hashlib.sha256(losses).hexdigest(),
        final_loss=compute_final_loss(known),
        cost=replace(made.cost, steps=len(known)),
    )
    name = of.candidate if step is None else f"{of.candidate}-step{step}"
    scored = replace(result(name, completions), training=replace(of.training, candidate=made))
    return write(board, replace(scored, **changed), completions, losses)  # type: ignore[arg-type]


def write(board: Path, of: Result, completions: Sequence[CommittedCompletion], losses: bytes | None = None) -> Path:
    """Add a row."""
    return entries.write_entry(entry(of, CREATED), completions, board, losses)


def order(folder: Path, **changed: object) -> Options:
    """The order of a report on that board, into a folder beside it."""
    plain = Options(name="tiny", board="counting", out=folder.parent / "out", leaderboards=folder, mirror=None)
    return replace(plain, **changed)  # type: ignore[arg-type]
