"""`bench plan`: compute before any GPU time how many problems and seeds show a gain, or hardly any."""

import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median

from baseline_bench.core.command_options import argument, board_option, leaderboards_option, option
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from rich.table import Table
from rich.text import Text

if typing.TYPE_CHECKING:
    from baseline_bench.analysis.recipe_contrast import Aim, ContrastVariance, DesignCost, Goal

# The test split of GSM8K, which the board scores whole.
DEFAULT_ITEMS = 1319
DEFAULT_SEEDS = 3
# A smaller margin takes millions of problems, and minutes to plan.
_LEAST_MARGIN = 0.002
# What can be shown against a margin.
_AIMS: "tuple[Aim, Aim]" = ("equivalence", "non-inferiority")
_SHARE_ADVICE = "give shares from 0 to 1: 0.20 for 20 %"


@dataclass(frozen=True, kw_only=True)
class Options:
    """A study design; every number but `items` and `seeds` is a share from 0 to 1."""

    first: str | None = argument("recipe:NAME: plan more seeds of this recipe ...", "RECIPE", None)
    second: str | None = argument("... and of this one, from the rows that they have", "RECIPE", None)
    baseline: float | None = option("--baseline", "the score to beat, 0.20 for 20 %%, without recipes", "P")
    gain: float = option("--gain", "what the other row truly has more, 0.05 for 5 points", "G", 0.0)
    margin: float | None = option(
        "--margin", "show equivalence or non-inferiority within this difference, 0.01 for 1 point", "M"
    )
    discordance: float | None = option(
        "--discordance",
        "share of problems that exactly one row gets right (default: as unrelated answers would, at most 0.25)",
        "D",
    )
    power: float = option("--power", "chance of finding it (default: 0.80)", "P", 0.80)
    alpha: float = option("--alpha", "two-sided level (default: 0.05)", "A", 0.05)
    items: int | None = option("--items", "what this many problems would show", "N")
    seed_sd: float | None = option(
        "--seed-sd", "standard deviation of the score between training seeds, as a share", "S"
    )
    seeds: int | None = option("--seeds", "power of two recipes with so many seeds each (needs --seed-sd or rows)", "S")
    flips: float | None = option(
        "--flips", "share of problems on which two seeds of a recipe differ (default: as --discordance)", "F"
    )
    leaderboards: Path = leaderboards_option()
    board: str | None = board_option()
    base: str | None = option("--base", "of recipes: the model they train", "MODEL")


def run(options: Options, console: Console) -> int:
    """Print how many problems and seeds show the gain, or that a difference is within the margin.

    Raises:
        BenchError: a number is impossible; the message names all of them; or as `bench compare` for two recipes.
    """
    console.say("computing what the designs would show")
    if options.first is not None:
        return _plan_recipes(options, console)
    baseline = _check_design(options)
    discordance, source = _choose_discordance(options, baseline)
    within = "" if options.margin is None else f"within {100 * options.margin:g} points, "
    title = (
        f"{100 * baseline:.2f} % against {100 * (baseline + options.gain):.2f} %, {within}"
        f"{100 * options.power:.0f} % power at the {100 * options.alpha:g} % level"
    )
    sizes = dict.fromkeys(size for size in (options.items, DEFAULT_ITEMS) if size is not None)
    rows = [("problems that disagree", f"{100 * discordance:.1f} % of all, {source}")]
    if options.margin is None:
        rows += [("problems needed", _describe_needed_items(options, discordance))]
        rows += [(f"on {size:,} problems", _describe_resolution(options, discordance, size)) for size in sizes]
    else:
        rows += _describe_margin(options, options.margin, discordance, sizes)
    console.print(build_facts_table(title, rows))
    if options.seed_sd is not None:
        _plan_by_hand(options, options.seed_sd, discordance, console)
    return 0


def _check_design(options: Options) -> float:
    """Check the numbers and return the baseline. Errors as in `run`."""
    if options.baseline is None:
        raise BenchError("nothing to plan", "give --baseline and --gain, or recipe:NAME recipe:NAME and --gain")
    baseline, better = options.baseline, options.baseline + options.gain
    problems = []
    if not 0 <= baseline <= 1:
        problems.append(f"a baseline of {baseline:g} is no share")
    elif not 0 <= better <= 1:
        problems.append(f"{baseline:g} and a gain of {options.gain:g} are no share together")
    problems += _check_numbers(options)
    if options.seeds is not None and options.seed_sd is None:
        problems.append("--seeds without recipes needs --seed-sd")
    if not problems and options.discordance is not None:
        problems += _find_impossible(options.discordance, baseline, better)
    if problems:
        raise BenchError("; ".join(problems), _SHARE_ADVICE)
    return baseline


def _check_numbers(options: Options) -> list[str]:
    problems: list[str] = []
    if options.margin is not None:
        problems += _check_margin(options.gain, options.margin, options.alpha)
    elif not 0.0001 <= abs(options.gain) <= 1:
        problems.append(f"a gain of {options.gain:g} is none that can be planned for: 0.0001 at least, or a --margin")
    if not 0.5 <= options.power <= 0.999:
        problems.append(f"a power of {options.power:g} is outside 0.5 to 0.999")
    if not 0.0001 <= options.alpha <= 0.5:
        problems.append(f"an alpha of {options.alpha:g} is outside 0.0001 to 0.5")
    if options.items is not None and not 1 <= options.items <= 10_000_000:
        problems.append(f"{options.items:,} problems are outside 1 to 10,000,000")
    if options.seed_sd is not None and not 0 <= options.seed_sd <= 0.5:
        problems.append(f"a spread of {options.seed_sd:g} between seeds is outside 0 to 0.5")
    if options.seeds is not None and not 2 <= options.seeds <= 50:
        problems.append(f"{options.seeds} seeds are outside 2 to 50: one shows these weights, not the recipe")
    if options.flips is not None and not 0 <= options.flips <= 0.5:
        problems.append(f"flips of {options.flips:g} are outside 0 to 0.5")
    return problems


def _check_margin(gain: float, margin: float, alpha: float) -> Iterator[str]:
    if not _LEAST_MARGIN <= margin <= 0.5:
        yield f"a margin of {margin:g} is outside {_LEAST_MARGIN:g} to 0.5"
    elif not gain > -margin:
        yield f"a gain of {gain:g} is worse than the margin of {margin:g} allows"
    elif 0 <= margin - abs(gain) < _LEAST_MARGIN:
        yield f"a gain of {gain:g} is within {_LEAST_MARGIN:g} of the margin"
    if alpha > 0.2:
        yield f"an alpha of {alpha:g} is above 0.2, the most for one side of a margin"


def _find_impossible(discordance: float, rate: float, other: float) -> list[str]:
    """Explain why no two rows with these scores disagree on that share of the problems."""
    least, most = abs(rate - other), min(rate + other, 2 - rate - other)
    if least - 1e-12 <= discordance <= most + 1e-12:
        return []
    return [
        f"rows of {rate:g} and {other:g} disagree on {least:.4g} to {most:.4g} of the problems, not {discordance:g}"
    ]


def _choose_discordance(options: Options, baseline: float) -> tuple[float, str]:
    """Return the share of problems on which the rows disagree, and where it comes from."""
    gap = abs(options.gain)
    if options.discordance is not None:
        return max(options.discordance, gap), "as given"
    better = baseline + options.gain
    unrelated = baseline * (1 - better) + better * (1 - baseline)
    from baseline_bench.analysis import statistics  # loads scipy

    usual: float = statistics.DEFAULT_DISCORDANCE
    if gap > usual:
        return gap, "the least that this gain allows"
    if unrelated < usual:
        return max(unrelated, gap), "as two rows with these scores would if their answers were unrelated"
    return usual, "the boards' usual share; look at a comparison of yours and give --discordance"


def _describe_needed_items(options: Options, discordance: float) -> str:
    from baseline_bench.analysis import statistics  # loads scipy

    formula = statistics.items_needed(options.gain, discordance, options.power, options.alpha)
    exact = statistics.items_needed_exact(options.gain, discordance, options.power, options.alpha)
    if exact == formula:
        return f"{exact:,} that both rows answer"
    return f"{exact:,} that both rows answer (by the exact power of what decides; Connor's formula says {formula:,})"


def _describe_resolution(options: Options, discordance: float, items: int) -> str:
    from baseline_bench.analysis import statistics  # loads scipy

    power = statistics.exact_power(items, options.gain, discordance, options.alpha)
    least = statistics.resolvable_difference(items, discordance, options.power, options.alpha)
    text = f"this gain is found with {_format_percent(power)} probability; "
    if least is None:
        text += "no difference is resolved among rows that disagree so rarely"
    else:
        text += f"a difference of {ceil(10_000 * least) / 100:.2f} points is resolved"
    return text + _advise(options, power)


def _describe_margin(
    options: Options, margin: float, discordance: float, sizes: Iterable[int]
) -> Iterator[tuple[str, str]]:
    """Yield (what, value): the problems that each aim needs, and the power of some numbers of problems."""
    from baseline_bench.analysis import statistics  # loads scipy

    needed = statistics.items_needed_for_margin(margin, options.gain, discordance, options.power, options.alpha)
    for aim, number in zip(_AIMS, needed, strict=True):
        if number is not None:
            yield f"problems for {aim}", f"{number:,} that both rows answer"
    for size in sizes:
        powers = statistics.margin_power(size, margin, options.gain, discordance, options.alpha)
        possible = [pair for pair, number in zip(zip(_AIMS, powers, strict=True), needed, strict=True) if number]
        shown = ", ".join(f"{aim} is shown with {_format_percent(power)} probability" for aim, power in possible)
        yield f"on {size:,} problems", shown + _advise(options, min(power for _, power in possible))


def _advise(options: Options, power: float) -> str:
    """Say what to do about a power that is too low; nothing for one that suffices."""
    low = power < options.power
    return f"; below {100 * options.power:.0f} %, change the design, never the threshold" if low else ""


def _format_percent(share: float) -> str:
    """Format a probability, never as certain or impossible."""
    if share > 0.999:
        return "over 99.9 %"
    return "under 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _plan_recipes(options: Options, console: Console) -> int:
    """Plan more seeds of two recipes with the variance and the costs that their rows show."""
    from baseline_bench.analysis import recipe_contrast, recipe_rows  # loads scipy
    from baseline_bench.commands.compare import find_recipes  # loads the pages

    by_hand = [options.baseline, options.discordance, options.seed_sd, options.flips]
    problems = _check_numbers(options)
    if any(value is not None for value in by_hand):
        problems.append("recipes have their own baseline, discordance, seed-sd and flips")
    if problems:
        raise BenchError("; ".join(problems), _SHARE_ADVICE)
    sides = str(options.first), str(options.second)
    pair = find_recipes(*sides, options.leaderboards, options.board, options.base)
    variance = recipe_contrast.compare_recipes(pair.first.right, pair.second.right).variance
    rows = [row.entry for row in (*pair.first.rows, *pair.second.rows)]
    cost = recipe_contrast.DesignCost(
        training=median(recipe_rows.count_training_seconds(row) for row in rows),
        problem=median(row.timings.phases.get("generate", 0.0) / row.result.counts.total for row in rows),
    )
    seeds = options.seeds or max(len(pair.first.rows), len(pair.second.rows))
    design = seeds, options.items or variance.problems
    _print_designs(options, variance, design, cost, console)
    return 0


def _plan_by_hand(options: Options, seed_sd: float, discordance: float, console: Console) -> None:
    """Plan two recipes from --seed-sd, --discordance and --flips; a cost is counted in completions."""
    from baseline_bench.analysis.recipe_contrast import ContrastVariance, DesignCost, TrainingNoise  # loads scipy

    flips = discordance if options.flips is None else options.flips
    seeds, items = options.seeds or DEFAULT_SEEDS, options.items or DEFAULT_ITEMS
    noise = TrainingNoise(seeds, seed_sd**2, flips / 2)
    variance = ContrastVariance(noise, noise, max(discordance - flips - options.gain**2, 0.0), items)
    _print_designs(options, variance, (seeds, items), DesignCost(training=0.0, problem=1.0), console)


def _print_designs(
    options: Options, variance: "ContrastVariance", design: tuple[int, int], cost: "DesignCost", console: Console
) -> None:
    """Print for each goal what a design shows, what the cost of one more seed buys, and what suffices."""
    from baseline_bench.analysis import recipe_contrast  # loads scipy

    for goal in _list_goals(options):
        plan = recipe_contrast.plan_designs(variance, goal, design, cost)
        table = Table(title=_title_goal(goal, options.alpha), title_justify="left", box=None, pad_edge=False)
        for header in ("design", "seeds a side", "problems", "interval", "power", "more cost"):
            table.add_column(header, justify="left" if header == "design" else "right")
        names = ("as planned", "one more seed a side", "as much for problems")
        for name, one in zip(names, (plan.planned, plan.more_seeds, plan.more_problems), strict=True):
            more = f"{one.cost / 60:,.1f} GPU min" if cost.training else f"{one.cost:,.0f} completions"
            half = f"±{100 * one.half_width:.2f} points"
            cells = name, f"{one.seeds}", f"{one.problems:,}", half, _format_percent(one.power), more
            table.add_row(*map(Text, cells))
        seeds = recipe_contrast.find_seeds(variance, goal, options.power, design[1])
        problems = recipe_contrast.find_problems(variance, goal, options.power, design[0])
        enough = (
            f"{_format_needed(seeds, recipe_contrast.MAX_SEEDS)} seeds a side on {design[1]:,} problems, or "
            f"{_format_needed(problems, recipe_contrast.MAX_PROBLEMS)} problems with {design[0]} seeds a side"
        )
        advice = f"the next GPU hour should buy {plan.advice}{_advise(options, plan.planned.power)}"
        console.print(table, Text(f"{100 * options.power:.0f} % power takes {enough}; {advice}."))


def _list_goals(options: Options) -> "list[Goal]":
    from baseline_bench.analysis.recipe_contrast import Goal  # loads scipy

    gain, margin = options.gain, options.margin
    if margin is None:
        return [Goal(gain, confidence=1 - options.alpha)]
    goals = [Goal(gain, aim, margin, 1 - 2 * options.alpha) for aim in _AIMS]
    return goals if abs(gain) < margin else goals[1:]


def _title_goal(goal: "Goal", alpha: float) -> str:
    gain = f"two recipes that differ by {abs(100 * goal.gain):.2f} points"
    aim = "" if goal.aim == "difference" else f", {goal.aim} within {100 * goal.margin:g} points"
    return f"{gain}{aim}, {100 * alpha:g} % level"


def _format_needed(number: int | None, most: int) -> str:
    return f"more than {most:,}" if number is None else f"{number:,}"
