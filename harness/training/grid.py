"""The tries of a sweep and which of them wins: all combinations of the grid, judged by held-out score and loss."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product

from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.types import Judgement
from baseline_bench.results.candidate import Candidate
from baseline_bench.training import recipes
from baseline_bench.training.recipes import Recipe

SIGNIFICANCE_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination of the grid: `key=value` texts and the recipe they make."""

    sets: tuple[str, ...]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What came of a try.

    Attributes:
        made: the candidate; None where the try failed.
        verdicts: on the held-out problems, in their order; None where nothing was scored.
        failure: why there is no candidate.
    """

    tried: Trial
    made: Candidate | None
    verdicts: tuple[Judgement, ...] | None
    failure: str | None

    @property
    def loss(self) -> float:
        """On the held-out rows, in nats a supervised token; infinite where the trainer does not tell."""
        told = self.made.held_out_loss if self.made is not None else None
        return math.inf if told is None else told

    @property
    def correct(self) -> int:
        """Held-out problems answered right."""
        return sum(verdict.correct for verdict in self.verdicts or ())


def expand_grid(recipe: str, sets: Sequence[str], base: str | None, grid: Sequence[str]) -> list[Trial]:
    """Every combination of the grid's values; the last key changes fastest.

    Args:
        recipe: a name or a path, as `recipes.read` takes it.
        sets: `key=value` texts that all tries share.
        base: another base than the recipe's.
        grid: `key=value,value` texts.

    Raises:
        BenchError: a text that is none, keys that are no hyper-parameters, values that do not fit, or two equal tries.
    """
    axes = [
        (key.strip(), [value.strip() for value in values.split(",")]) for key, _, values in map(_split_assignment, grid)
    ]
    keys = [key for key, _ in axes]
    fixed = [key.strip() for key, _, _ in map(_split_assignment, sets)]
    wrong = [f"'{text}' is not key=value,value" for text, axis in zip(grid, axes, strict=True) if not _is_axis(axis)]
    wrong += [f"{key} is named twice" for key in dict.fromkeys(keys) if [*keys, *fixed].count(key) > 1]
    if wrong or not grid:
        raise combine_problems(
            wrong or ["is empty"], "--grid", "name each hyper-parameter once, such as --grid lr=1e-4,2e-4"
        )
    made = []
    for values in product(*(values for _, values in axes)):
        own = tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        made.append(Trial(own, recipes.read_recipe(recipe, [*sets, *own], base)))
    _require_single_values(keys, made[0].recipe)
    _require_different(made)
    return made


def choose_winner(outcomes: Sequence[TrialResult]) -> tuple[TrialResult, str]:
    """The winner, and the rule that decided.

    Among the tries whose score is not significantly below the best one, the lowest held-out loss: on a few hundred
    items most differences of scores are noise, while a loss over tens of thousands of tokens is hardly any.

    Raises:
        BenchError: every try failed, or there is nothing to choose by.
    """
    done = [outcome for outcome in outcomes if outcome.made is not None]
    if not done:
        named = "; ".join(f"{' '.join(outcome.tried.sets)}: {outcome.failure}" for outcome in outcomes)
        raise BenchError(f"every try failed: {named}", "lower the learning rates, or mend what the failures name")
    lossless = all(math.isinf(outcome.loss) for outcome in done)
    if any(outcome.verdicts is None for outcome in done):
        if lossless:
            raise BenchError("there is neither score nor held-out loss to choose by", "sweep with another trainer")
        lowest = min(done, key=lambda outcome: outcome.loss)
        return lowest, "by the lowest held-out loss alone, since not every held-out solution has an answer to be read"
    best = min(done, key=lambda outcome: (-outcome.correct, outcome.loss))
    if lossless:
        return best, "by the best held-out score alone, since the trainer tells no held-out loss"
    level = [outcome for outcome in done if outcome is best or _compute_p_value(best, outcome) >= SIGNIFICANCE_LEVEL]
    if len(level) == 1 < len(done):
        return (
            best,
            f"by its score, which every other one is significantly below (exact McNemar p < {SIGNIFICANCE_LEVEL})",
        )
    winner = min(level, key=lambda outcome: (outcome.loss, -outcome.correct))
    return winner, (
        f"by the lowest held-out loss among the {len(level)} of {len(outcomes)} tries whose score is not significantly "
        f"below the best (exact McNemar p >= {SIGNIFICANCE_LEVEL})"
    )


def describe_grid_edges(tried: Sequence[Trial], winner: Trial) -> Iterator[str]:
    """What to tell of a winner at the end of a numeric axis, beyond which nothing was tried."""
    for key, _, text in map(_split_assignment, winner.sets):
        values = {getattr(each.recipe.options, key) for each in tried}
        if len(values) < 2 or not all(type(value) in (int, float) for value in values):
            continue
        own = getattr(winner.recipe.options, key)
        for end, name in ((max(values), "largest"), (min(values), "smallest")):
            if own == end:
                yield f"the best {key} is the {name} tried ({text}): widen the grid"


def _split_assignment(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _is_axis(axis: tuple[str, list[str]]) -> bool:
    key, values = axis
    return bool(key) and all(values)


def _require_single_values(keys: Sequence[str], recipe: Recipe) -> None:
    """Only the trainer's own: tries on other rows, or from another base, would have losses that cannot be compared."""
    options = {field.name: getattr(recipe.options, field.name) for field in fields(recipe.options)}
    known = [name for name, value in options.items() if not isinstance(value, tuple)]
    if odd := [key for key in keys if key not in known]:
        raise BenchError(
            f"--grid cannot sweep {', '.join(odd)}: all tries share base, rows and lists",
            f"it takes {', '.join(known)}",
        )


def _require_different(tried: Sequence[Trial]) -> None:
    seen: dict[str, Trial] = {}
    for each in tried:
        other = seen.setdefault(recipes.digest_recipe(each.recipe), each)
        if other is not each:
            raise BenchError(f"--grid: {' '.join(other.sets)} and {' '.join(each.sets)} are the same", "leave one out")


def _compute_p_value(best: TrialResult, other: TrialResult) -> float:
    """How likely two tries of equal worth differ this much."""
    from baseline_bench.analysis import statistics  # loads scipy

    both = list(zip(best.verdicts or (), other.verdicts or (), strict=True))
    kinds = ((True, True), (True, False), (False, True), (False, False))
    counts = [sum((first.correct, second.correct) == kind for first, second in both) for kind in kinds]
    return float(statistics.mcnemar_p_value(statistics.PairCounts(*counts)))
