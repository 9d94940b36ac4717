"""Before any GPU minute: how many items, and how many seeds, would resolve a gain; and what a given number resolves."""

from dataclasses import dataclass

from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError

# The test split of GSM8K, which the board scores whole.
DEFAULT_ITEMS = 1319
_SHARE_ADVICE = "give shares from 0 to 1: 0.20 for 20 %"


@dataclass(frozen=True, slots=True)
class Plan:
    """A design to look at; every number but `items` is a share from 0 to 1.

    Attributes:
        baseline: the score of the row to beat.
        gain: what the other row has more, or less where it is negative.
        discordance: share of items that exactly one of the two gets right; None takes what unrelated answers would
            give, at most 0.25.
        power: probability of finding the gain.
        alpha: two-sided level.
        items: a number of items to look at.
        seed_sd: standard deviation of the score between training seeds; None leaves seeds out.
    """

    baseline: float
    gain: float
    discordance: float | None = None
    power: float = 0.80
    alpha: float = 0.05
    items: int | None = None
    seed_sd: float | None = None


def plan(order: Plan, console: Console) -> int:
    """Print what resolves the gain.

    Raises:
        BenchError: naming every number that is impossible.
    """
    _check_design(order)
    discordance, source = _choose_discordance(order)
    title = (
        f"{100 * order.baseline:.2f} % against {100 * (order.baseline + order.gain):.2f} %, "
        f"{100 * order.power:.0f} % power at the {100 * order.alpha:g} % level"
    )
    sizes = dict.fromkeys(size for size in (order.items, DEFAULT_ITEMS) if size is not None)
    rows = [
        ("items that disagree", f"{100 * discordance:.1f} % of all, {source}"),
        ("items needed", _describe_needed_items(order, discordance)),
        *((f"on {size:,} items", _describe_resolution(order, discordance, size)) for size in sizes),
    ]
    if order.seed_sd is not None:
        rows += [
            ("seeds, one recipe", _describe_seeds(order, order.seed_sd, arms=1)),
            ("seeds, two recipes", _describe_seeds(order, order.seed_sd, arms=2)),
        ]
    console.print(build_facts_table(title, rows))
    return 0


def _check_design(order: Plan) -> None:
    better = order.baseline + order.gain
    problems = []
    if not 0 <= order.baseline <= 1:
        problems.append(f"a baseline of {order.baseline:g} is no share")
    elif not 0 <= better <= 1:
        problems.append(f"{order.baseline:g} and a gain of {order.gain:g} are no share together")
    if not 0.0001 <= abs(order.gain) <= 1:
        problems.append(f"a gain of {order.gain:g} is none that can be planned for: 0.0001 at least")
    if not 0.5 <= order.power <= 0.999:
        problems.append(f"a power of {order.power:g} lies outside 0.5 to 0.999")
    if not 0.0001 <= order.alpha <= 0.5:
        problems.append(f"an alpha of {order.alpha:g} lies outside 0.0001 to 0.5")
    if order.items is not None and not 1 <= order.items <= 10_000_000:
        problems.append(f"{order.items:,} items are outside 1 to 10,000,000")
    if order.seed_sd is not None and not 0 <= order.seed_sd <= 0.5:
        problems.append(f"a spread of {order.seed_sd:g} between seeds lies outside 0 to 0.5")
    if not problems and order.discordance is not None:
        problems += _find_impossible(order.discordance, order.baseline, better)
    if problems:
        raise BenchError("; ".join(problems), _SHARE_ADVICE)


def _find_impossible(discordance: float, rate: float, other: float) -> list[str]:
    """Why no two rows with these scores disagree on that share of the items."""
    least, most = abs(rate - other), min(rate + other, 2 - rate - other)
    if least - 1e-12 <= discordance <= most + 1e-12:
        return []
    return [f"rows of {rate:g} and {other:g} disagree on {least:.4g} to {most:.4g} of the items, not {discordance:g}"]


def _choose_discordance(order: Plan) -> tuple[float, str]:
    """The share of items on which the rows disagree, and where it comes from."""
    gap = abs(order.gain)
    if order.discordance is not None:
        return max(order.discordance, gap), "as given"
    better = order.baseline + order.gain
    unrelated = order.baseline * (1 - better) + better * (1 - order.baseline)
    from baseline_bench.analysis import statistics  # loads scipy

    usual: float = statistics.DEFAULT_DISCORDANCE
    if gap > usual:
        return gap, "the least that this gain allows"
    if unrelated < usual:
        return max(unrelated, gap), "as two rows with these scores would if their answers were unrelated"
    return usual, "the boards' usual share; look at a comparison of yours and give --discordance"


def _describe_needed_items(order: Plan, discordance: float) -> str:
    from baseline_bench.analysis import statistics  # loads scipy

    formula = statistics.items_needed(order.gain, discordance, order.power, order.alpha)
    exact = statistics.items_needed_exact(order.gain, discordance, order.power, order.alpha)
    if exact == formula:
        return f"{exact:,} that both rows answer"
    return (
        f"{exact:,} that both rows answer (McNemar's exact test, which decides here; Connor's formula says {formula:,})"
    )


def _describe_resolution(order: Plan, discordance: float, items: int) -> str:
    """What a number of items does for this gain, and the least gain that it resolves."""
    from baseline_bench.analysis import statistics  # loads scipy

    power = statistics.exact_power(items, order.gain, discordance, order.alpha)
    least = statistics.resolvable_difference(items, discordance, order.power, order.alpha)
    found = f"this gain is found with {_format_percent(power)} probability; "
    if least is None:
        return found + "no difference is resolved among rows that disagree so rarely"
    return found + f"a difference of {100 * least:.2f} points is resolved (by the formula)"


def _describe_seeds(order: Plan, spread: float, arms: int) -> str:
    from baseline_bench.analysis import multiple_testing  # loads scipy

    needed = multiple_testing.seeds_needed(order.gain, spread, order.power, order.alpha, arms)
    against = "against one fixed row" if arms == 1 else "each, one recipe against another"
    if needed is None:
        return f"more than a thousand {against}: the gain drowns in the spread of {100 * spread:.2f} points"
    least = (
        "; fewer than three say something of checkpoints, not of a recipe"
        if needed == multiple_testing.MIN_SEEDS
        else ""
    )
    return f"{needed} {against} (t test of the seeds' scores, spread {100 * spread:.2f} points){least}"


def _format_percent(share: float) -> str:
    """A probability that is not told as certain, nor as impossible."""
    if share > 0.999:
        return "over 99.9 %"
    return "under 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
