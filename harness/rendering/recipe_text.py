"""Describes the comparison of two recipes: who, the difference, what widens its interval, and what would narrow it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from baseline_bench.analysis.outcomes import Outcome
from baseline_bench.analysis.recipe_contrast import (
    SMALLEST_P,
    Contrast,
    compare_recipes,
    forecast_designs,
)
from baseline_bench.analysis.recipe_rows import RecipePair, RecipeRows, read_right_answers
from baseline_bench.analysis.statistics import Interval, format_points
from baseline_bench.core.markup import code_span, make_visible, table_cell
from baseline_bench.rendering.comparison_text import QuoteFunction
from baseline_bench.rendering.formatting import format_margin

ESTIMAND = (
    "these recipes on problems like these: the mean over new training seeds and new problems of right(first) - "
    "right(second)"
)


@dataclass(frozen=True, slots=True)
class RecipeSide:
    """One side of a comparison of recipes: its rows' files and right answers, by seed; and the files not used."""

    name: str
    digest: str
    base: str
    seeds: tuple[int, ...]
    right: tuple[int, ...]
    files: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContrastNumbers:
    """The figures of a contrast; shares of the problems, not percentages.

    Attributes:
        margin: the largest difference that does not matter; None if none was declared.
        low, high: of the 95 % interval, which decides between better and worse.
        low_90, high_90: of the 90 % interval, which decides against the margin.
        variance: shares of the variance: of the seeds, of seed x problem, and of the problems.
        forecast: half-widths of the interval (see `Forecast`).
    """

    outcome: Outcome
    margin: float | None
    difference: float
    low: float
    high: float
    low_90: float
    high_90: float
    p: float
    variance: Mapping[str, float]
    forecast: Mapping[str, float | int | str]

    @classmethod
    def of(cls, contrast: Contrast) -> "ContrastNumbers":
        """Take the figures of a contrast."""
        shares, forecast = contrast.variance.shares._asdict(), asdict(forecast_designs(contrast))
        intervals = *contrast.interval, *contrast.margin_interval
        return cls(contrast.outcome, contrast.margin, contrast.difference, *intervals, contrast.p, shares, forecast)


@dataclass(frozen=True, slots=True)
class RecipeReport:
    """What `bench compare recipe:A recipe:B --json` prints.

    Attributes:
        problems: that every row answers.
        differs: what differs between the rows besides the weights.
        base: the file of the base's row, and each recipe against it; None unless it was asked for.
        left_out: files of both sides' rows that are not used, each with the reason.
    """

    first: RecipeSide
    second: RecipeSide
    task: str
    problems: int
    estimand: str
    numbers: ContrastNumbers
    differs: tuple[str, ...]
    base: str | None
    against_base: tuple[ContrastNumbers, ...]
    left_out: Mapping[str, str]


def build_recipe_report(pair: RecipePair, margin: float | None = None) -> RecipeReport:
    """Compare two recipes, and each with the base if the pair has one; without a margin its own recipe's counts."""
    base = None if pair.base is None else [read_right_answers(pair.base.entry)]
    margins = [recipe.margin if margin is None else margin for recipe in (pair.first, pair.second)]
    sides = zip((pair.first, pair.second), margins, strict=True)
    against_base = [compare_recipes(recipe.right, base, own) for recipe, own in sides if base is not None]
    result = pair.first.rows[0].entry.result
    return RecipeReport(
        first=_describe_side(pair.first),
        second=_describe_side(pair.second),
        task=result.task.label,
        problems=result.counts.total,
        estimand=ESTIMAND,
        numbers=ContrastNumbers.of(compare_recipes(pair.first.right, pair.second.right, margins[0])),
        differs=pair.differs,
        base=None if pair.base is None else pair.base.path.name,
        against_base=tuple(map(ContrastNumbers.of, against_base)),
        left_out={row.path.name: reason for row, reason in (*pair.first.left_out, *pair.second.left_out)},
    )


def list_recipe_facts(report: RecipeReport, quote: QuoteFunction = make_visible) -> list[tuple[str, str]]:
    """List (what, value), the outcome first; `quote` makes texts of entries safe for the place."""
    numbers = report.numbers
    rows = [
        ("outcome", numbers.outcome),
        ("difference", _format_difference(numbers)),
        *([] if numbers.margin is None else [("margin", _format_margin(numbers))]),
        ("estimand", report.estimand),
        ("first", _format_side(report.first, report.problems, quote)),
        ("second", _format_side(report.second, report.problems, quote)),
        ("problems", f"{report.problems:,} of {quote(report.task)}, the same for every row"),
        ("variance", _format_variance(numbers.variance)),
        ("would narrow it", _format_forecast(numbers)),
    ]
    sides = zip((report.first, report.second), report.against_base, strict=False)
    rows += [(f"{quote(side.name)} against base", _format_difference(one, say=True)) for side, one in sides]
    rows += [("besides the weights", "; ".join(map(quote, report.differs)))] if report.differs else []
    return rows + [
        (f"left out of {name}", f"{quote(file)}: {quote(report.left_out[file])}")
        for name, side in (("first", report.first), ("second", report.second))
        for file in side.left_out
    ]


def title_recipes(report: RecipeReport, quote: QuoteFunction = make_visible) -> str:
    """Return which recipe is compared with which."""
    sides = report.first, report.second
    suffixes = [f"@{side.digest[:12]}" if sides[0].name == sides[1].name else "" for side in sides]
    return " against ".join(f"recipe {quote(side.name)}{suffix}" for side, suffix in zip(sides, suffixes, strict=True))


def render_recipes_markdown(report: RecipeReport) -> str:
    """Render the comparison as a Markdown table, for a pull request."""
    rows = [("", ""), ("---", "---"), *list_recipe_facts(report, table_cell)]
    files = ", ".join(code_span(file) for file in (*report.first.files, *report.second.files))
    lines = [f"### {title_recipes(report, code_span)}", "", *("|".join(["", *row, ""]) for row in rows)]
    return "\n".join([*lines, "", f"Entries: {files}."]) + "\n"


def _describe_side(recipe: RecipeRows) -> RecipeSide:
    right = tuple(row.entry.result.counts.correct for row in recipe.rows)
    files = tuple(row.path.name for row in recipe.rows)
    left_out = tuple(row.path.name for row, _ in recipe.left_out)
    return RecipeSide(recipe.name, recipe.digest, recipe.base, recipe.seeds, right, files, left_out)


def _format_side(side: RecipeSide, problems: int, quote: QuoteFunction) -> str:
    scores = ", ".join(f"s{seed} {right:,}" for seed, right in zip(side.seeds, side.right, strict=True))
    mean = 100 * sum(side.right) / len(side.right) / problems
    name = f"{quote(side.name)}@{side.digest[:12]} of {quote(side.base)}"
    return f"{name}: {scores} right, {mean:.2f} % in the mean"


def _format_difference(numbers: ContrastNumbers, say: bool = False) -> str:
    interval = Interval(numbers.low, numbers.high)
    p = f"p = {numbers.p:.3g}" if numbers.p > SMALLEST_P else f"p < {SMALLEST_P:g}"
    text = f"{format_points(numbers.difference)} points, 95 % interval {' to '.join(map(format_points, interval))}, {p}"
    margin = "" if numbers.margin is None else f"; {_format_margin(numbers)}"
    return f"{numbers.outcome}, {text}{margin}" if say else text


def _format_margin(numbers: ContrastNumbers) -> str:
    return format_margin(numbers.margin or 0.0, Interval(numbers.low_90, numbers.high_90))


def _format_variance(shares: Mapping[str, float]) -> str:
    percent = [f"{100 * share:.0f} %" for share in shares.values()]
    return (
        f"{percent[0]} between seeds (shrinks with seeds), {percent[1]} seed x problem (with seeds or problems), "
        f"{percent[2]} between problems (with problems)"
    )


def _format_forecast(numbers: ContrastNumbers) -> str:
    forecast = numbers.forecast
    now, seed, problems = (100 * float(forecast[key]) for key in ("now", "one_more_seed", "more_problems"))
    designs = (
        f"one more seed a side would give about ±{seed:.2f} points instead of ±{now:.2f}, as many completions on "
        f"{forecast['problems']:,} problems ±{problems:.2f}"
    )
    decided = forecast["advice"] == "nothing"
    return f"{'nothing: the outcome is decided' if decided else forecast['advice']}; {designs}"
