"""Describes the comparison of two recipes: who, the difference, what widens its interval, and what would narrow it."""

from collections.abc import Mapping
from dataclasses import dataclass

from baseline_bench.analysis.recipe_contrast import (
    SMALLEST_P,
    Contrast,
    Forecast,
    VarianceShares,
    compare_recipes,
    forecast_designs,
)
from baseline_bench.analysis.recipe_rows import RecipePair, RecipeRows, read_right_answers
from baseline_bench.analysis.statistics import format_points
from baseline_bench.core.markup import code_span, make_visible, table_cell
from baseline_bench.rendering.comparison_text import QuoteFunction
from baseline_bench.rendering.formatting import format_margin

ESTIMAND = (
    "these recipes on problems like these: the mean over new training seeds and new problems of right(first) - "
    "right(second)"
)


@dataclass(frozen=True, slots=True)
class RecipeComparison:
    """Two recipes compared over their seeds.

    Attributes:
        pair: their rows.
        contrast: the first recipe against the second.
        against_base: each recipe against the base; empty unless that was asked for.
    """

    pair: RecipePair
    contrast: Contrast
    against_base: tuple[Contrast, ...]

    @property
    def problems(self) -> int:
        """Number of problems that every row answers."""
        return self.pair.first.rows[0].entry.result.counts.total

    @property
    def task(self) -> str:
        """The label of the task version by which every row is judged."""
        return self.pair.first.rows[0].entry.result.task.label


def compare_pair(pair: RecipePair, margin: float | None = None) -> RecipeComparison:
    """Compare two recipes, and each with the base if the pair has one; without a margin its own recipe's counts."""
    base = None if pair.base is None else [read_right_answers(pair.base.entry)]
    margins = [recipe.margin if margin is None else margin for recipe in (pair.first, pair.second)]
    sides = zip((pair.first, pair.second), margins, strict=True)
    against_base = tuple(compare_recipes(recipe.right, base, own) for recipe, own in sides if base is not None)
    return RecipeComparison(pair, compare_recipes(pair.first.right, pair.second.right, margins[0]), against_base)


def build_recipe_report(comparison: RecipeComparison) -> Mapping[str, object]:
    """Build what `bench compare recipe:A recipe:B --json` prints."""
    pair = comparison.pair
    return {
        "first": _record_side(pair.first),
        "second": _record_side(pair.second),
        "task": comparison.task,
        "problems": comparison.problems,
        "estimand": ESTIMAND,
        "numbers": _record_contrast(comparison.contrast),
        "differs": pair.differs,
        "base": None if pair.base is None else pair.base.path.name,
        "against_base": [_record_contrast(contrast) for contrast in comparison.against_base],
        "left_out": {row.path.name: reason for row, reason in (*pair.first.left_out, *pair.second.left_out)},
    }


def _record_side(recipe: RecipeRows) -> Mapping[str, object]:
    return {
        "name": recipe.name,
        "digest": recipe.digest,
        "base": recipe.base,
        "seeds": recipe.seeds,
        "right": [row.entry.result.counts.correct for row in recipe.rows],
        "files": [row.path.name for row in recipe.rows],
        "left_out": [row.path.name for row, _ in recipe.left_out],
    }


def _record_contrast(contrast: Contrast) -> Mapping[str, object]:
    """Return the figures of a contrast; shares of the problems, not percentages."""
    return {
        "outcome": contrast.outcome,
        "margin": contrast.margin,
        "difference": contrast.difference,
        "low": contrast.interval.low,
        "high": contrast.interval.high,
        "low_90": contrast.margin_interval.low,
        "high_90": contrast.margin_interval.high,
        "p": contrast.p,
        "variance": contrast.variance.shares._asdict(),
        "forecast": forecast_designs(contrast),
    }


def list_recipe_facts(comparison: RecipeComparison, quote: QuoteFunction = make_visible) -> list[tuple[str, str]]:
    """List (what, value), the outcome first; `quote` makes texts of entries safe for the place."""
    pair, contrast = comparison.pair, comparison.contrast
    sides = (("first", pair.first), ("second", pair.second))
    rows = [
        ("outcome", contrast.outcome),
        ("difference", _format_difference(contrast)),
        *([] if contrast.margin is None else [("margin", format_margin(contrast.margin, contrast.margin_interval))]),
        ("estimand", ESTIMAND),
        *((which, _format_side(recipe, comparison.problems, quote)) for which, recipe in sides),
        ("problems", f"{comparison.problems:,} of {quote(comparison.task)}, the same for every row"),
        ("variance", _format_variance(contrast.variance.shares)),
        ("would narrow it", _format_forecast(forecast_designs(contrast))),
    ]
    for (_, recipe), one in zip(sides, comparison.against_base, strict=False):
        margin = "" if one.margin is None else f"; {format_margin(one.margin, one.margin_interval)}"
        rows.append((f"{quote(recipe.name)} against base", f"{one.outcome}, {_format_difference(one)}{margin}"))
    rows += [("besides the weights", "; ".join(map(quote, pair.differs)))] if pair.differs else []
    return rows + [
        (f"left out of {which}", f"{quote(row.path.name)}: {quote(reason)}")
        for which, recipe in sides
        for row, reason in recipe.left_out
    ]


def title_recipes(pair: RecipePair, quote: QuoteFunction = make_visible) -> str:
    """Return which recipe is compared with which."""
    sides = pair.first, pair.second
    suffixes = [f"@{side.digest[:12]}" if sides[0].name == sides[1].name else "" for side in sides]
    return " against ".join(f"recipe {quote(side.name)}{suffix}" for side, suffix in zip(sides, suffixes, strict=True))


def render_recipes_markdown(comparison: RecipeComparison) -> str:
    """Render the comparison as a Markdown table, for a pull request."""
    pair = comparison.pair
    rows = [("", ""), ("---", "---"), *list_recipe_facts(comparison, table_cell)]
    files = ", ".join(code_span(row.path.name) for row in (*pair.first.rows, *pair.second.rows))
    lines = [f"### {title_recipes(pair, code_span)}", "", *("|".join(["", *row, ""]) for row in rows)]
    return "\n".join([*lines, "", f"Entries: {files}."]) + "\n"


def _format_side(recipe: RecipeRows, problems: int, quote: QuoteFunction) -> str:
    right = [row.entry.result.counts.correct for row in recipe.rows]
    scores = ", ".join(f"s{seed} {count:,}" for seed, count in zip(recipe.seeds, right, strict=True))
    mean = 100 * sum(right) / len(right) / problems
    return (
        f"{quote(recipe.name)}@{recipe.digest[:12]} of {quote(recipe.base)}: {scores} right, {mean:.2f} % in the mean"
    )


def _format_difference(contrast: Contrast) -> str:
    p = f"p = {contrast.p:.3g}" if contrast.p > SMALLEST_P else f"p < {SMALLEST_P:g}"
    interval = " to ".join(map(format_points, contrast.interval))
    return f"{format_points(contrast.difference)} points, 95 % interval {interval}, {p}"


def _format_variance(shares: VarianceShares) -> str:
    percent = [f"{100 * share:.0f} %" for share in shares]
    return (
        f"{percent[0]} between seeds (shrinks with seeds), {percent[1]} seed x problem (with seeds or problems), "
        f"{percent[2]} between problems (with problems)"
    )


def _format_forecast(forecast: Forecast) -> str:
    seed, now, problems = (100 * half for half in (forecast.one_more_seed, forecast.now, forecast.more_problems))
    designs = (
        f"one more seed a side would give about ±{seed:.2f} points instead of ±{now:.2f}, as many completions on "
        f"{forecast.problems:,} problems ±{problems:.2f}"
    )
    return f"{'nothing: the outcome is decided' if forecast.advice == 'nothing' else forecast.advice}; {designs}"
