"""Expand a sweep's grid into trials and choose the winner by held-out score and loss."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product

from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.types import Judgement
from baseline_bench.results.candidate import Candidate
from baseline_bench.training import recipes
from baseline_bench.training.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination of the grid: `key=value` texts and the resulting recipe."""

    sets: tuple[str, ...]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        made: the candidate; None if the trial failed.
        verdicts: judgements of the held-out problems, in order; None if nothing was scored.
        failure: why there is no candidate.
    """

    tried: Trial
    made: Candidate | None
    verdicts: tuple[Judgement, ...] | None
    failure: str | None

    @property
    def loss(self) -> float:
        """Return the held-out loss in nats per supervised token; infinite if the trainer does not report it."""
        held_out_loss = self.made.held_out_loss if self.made is not None else None
        return math.inf if held_out_loss is None else held_out_loss

    @property
    def correct(self) -> int:
        """Count the held-out problems answered right."""
        return sum(verdict.correct for verdict in self.verdicts or ())


def expand_grid(recipe: str, sets: Sequence[str], base: str | None, grid: Sequence[str]) -> list[Trial]:
    """Return every combination of the grid's values; the last key changes fastest.

    Args:
        recipe: a name or a path, as `recipes.read_recipe` takes it.
        sets: `key=value` texts that all trials share.
        grid: `key=value,value` texts.

    Raises:
        BenchError: an invalid text, keys that are not hyper-parameters, invalid values, or two equal trials.
    """
    axes = [
        (key.strip(), [value.strip() for value in values.split(",")]) for key, _, values in map(_split_assignment, grid)
    ]
    keys = [key for key, _ in axes]
    fixed = [key.strip() for key, _, _ in map(_split_assignment, sets)]
    problems = [
        f"'{text}' is not key=value,value"
        for text, (key, values) in zip(grid, axes, strict=True)
        if not (key and all(values))
    ]
    problems += [f"{key} is named twice" for key in dict.fromkeys(keys) if [*keys, *fixed].count(key) > 1]
    if problems or not grid:
        raise combine_problems(
            problems or ["is empty"], "--grid", "name each hyper-parameter once, such as --grid lr=1e-4,2e-4"
        )
    trials = []
    for values in product(*(values for _, values in axes)):
        assignments = tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        trials.append(Trial(assignments, recipes.read_recipe(recipe, [*sets, *assignments], base)))
    _require_single_values(keys, trials[0].recipe)
    _require_different(trials)
    return trials


def choose_winner(results: Sequence[TrialResult]) -> tuple[TrialResult, str]:
    """Choose the winner, and return it with the rule that decided.

    The lowest held-out loss wins among the trials that the best score is not better than, as a comparison of rows
    decides: on a few hundred problems most score differences are noise, while a loss over tens of thousands of
    tokens has little noise.

    Raises:
        BenchError: every trial failed, or there is nothing to choose by.
    """
    trained = [result for result in results if result.made is not None]
    if not trained:
        failures = "; ".join(f"{' '.join(result.tried.sets)}: {result.failure}" for result in results)
        raise BenchError(f"every try failed: {failures}", "lower the learning rates, or correct what the failures name")
    lossless = all(math.isinf(result.loss) for result in trained)
    if any(result.verdicts is None for result in trained):
        if lossless:
            raise BenchError("there is neither score nor held-out loss to choose by", "sweep with another trainer")
        lowest = min(trained, key=lambda result: result.loss)
        return lowest, "by the lowest held-out loss alone, since not every held-out solution has an answer to be read"
    best = min(trained, key=lambda result: (-result.correct, result.loss))
    if lossless:
        return best, "by the best held-out score alone, since the trainer reports no held-out loss"
    contenders = [result for result in trained if result is best or not _is_better(best, result)]
    if len(contenders) == 1 < len(trained):
        return best, "by its score, which is better than every other (95 % interval of the paired difference)"
    winner = min(contenders, key=lambda result: (result.loss, -result.correct))
    return winner, (
        f"by the lowest held-out loss among the {len(contenders)} of {len(results)} tries that the best score is not "
        "better than (95 % interval of the paired difference)"
    )


def describe_grid_edges(trials: Sequence[Trial], winner: Trial) -> Iterator[str]:
    """Report each numeric key whose winning value is the largest or smallest tried."""
    for key, _, text in map(_split_assignment, winner.sets):
        values = {getattr(trial.recipe.options, key) for trial in trials}
        if len(values) < 2 or not all(type(value) in (int, float) for value in values):
            continue
        chosen = getattr(winner.recipe.options, key)
        for end, name in ((max(values), "largest"), (min(values), "smallest")):
            if chosen == end:
                yield f"the best {key} is the {name} tried ({text}): widen the grid"


def _split_assignment(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _require_single_values(keys: Sequence[str], recipe: Recipe) -> None:
    """Allow only the trainer's scalar options: losses on other rows or another base are not comparable."""
    options = {field.name: getattr(recipe.options, field.name) for field in fields(recipe.options)}
    known = [name for name, value in options.items() if not isinstance(value, tuple)]
    if refused := [key for key in keys if key not in known]:
        what = f"--grid cannot sweep {', '.join(refused)}: all tries share base, rows and lists"
        raise BenchError(what, f"it takes {', '.join(known)}")


def _require_different(trials: Sequence[Trial]) -> None:
    seen: dict[str, Trial] = {}
    for trial in trials:
        other = seen.setdefault(recipes.digest_recipe(trial.recipe), trial)
        if other is not trial:
            raise BenchError(f"--grid: {' '.join(other.sets)} and {' '.join(trial.sets)} are the same", "leave one out")


def _is_better(best: TrialResult, other: TrialResult) -> bool:
    from baseline_bench.analysis import outcomes, statistics  # loads scipy

    both = list(zip(best.verdicts or (), other.verdicts or (), strict=True))
    kinds = ((True, True), (True, False), (False, True), (False, False))
    counts = [sum((first.correct, second.correct) == kind for first, second in both) for kind in kinds]
    return outcomes.PairedDifference(statistics.PairCounts(*counts), None).outcome == "better"
