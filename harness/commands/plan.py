"""`bench plan`: compute before any GPU time how many items and seeds resolve a gain, and what a number resolves."""

from dataclasses import dataclass

from baseline_bench.core.command_options import MUST_BE_GIVEN, option
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError

# The test split of GSM8K, which the board scores whole.
DEFAULT_ITEMS = 1319
_SHARE_ADVICE = "give shares from 0 to 1: 0.20 for 20 %"


@dataclass(frozen=True, kw_only=True)
class Options:
    """A study design; every number but `items` is a share from 0 to 1."""

    baseline: float = option("--baseline", "the score to beat, 0.20 for 20 %%", "P", MUST_BE_GIVEN)
    gain: float = option("--gain", "what the other row has more, 0.05 for 5 points", "G", MUST_BE_GIVEN)
    discordance: float | None = option(
        "--discordance",
        "share of items that exactly one row gets right (default: as unrelated answers would, at most 0.25)",
        "D",
    )
    power: float = option("--power", "chance of finding it (default: 0.80)", "P", 0.80)
    alpha: float = option("--alpha", "two-sided level (default: 0.05)", "A", 0.05)
    items: int | None = option("--items", "what this many items would show", "N")
    seed_sd: float | None = option(
        "--seed-sd", "standard deviation of the score between training seeds, as a share", "S"
    )


def run(options: Options, console: Console) -> int:
    """Print how many items and seeds resolve the gain.

    Raises:
        BenchError: a number is impossible; the message names all of them.
    """
    _check_design(options)
    discordance, source = _choose_discordance(options)
    title = (
        f"{100 * options.baseline:.2f} % against {100 * (options.baseline + options.gain):.2f} %, "
        f"{100 * options.power:.0f} % power at the {100 * options.alpha:g} % level"
    )
    sizes = dict.fromkeys(size for size in (options.items, DEFAULT_ITEMS) if size is not None)
    rows = [
        ("items that disagree", f"{100 * discordance:.1f} % of all, {source}"),
        ("items needed", _describe_needed_items(options, discordance)),
        *((f"on {size:,} items", _describe_resolution(options, discordance, size)) for size in sizes),
    ]
    if options.seed_sd is not None:
        rows += [
            ("seeds, one recipe", _describe_seeds(options, options.seed_sd, arms=1)),
            ("seeds, two recipes", _describe_seeds(options, options.seed_sd, arms=2)),
        ]
    console.print(build_facts_table(title, rows))
    return 0


def _check_design(options: Options) -> None:
    better = options.baseline + options.gain
    problems = []
    if not 0 <= options.baseline <= 1:
        problems.append(f"a baseline of {options.baseline:g} is no share")
    elif not 0 <= better <= 1:
        problems.append(f"{options.baseline:g} and a gain of {options.gain:g} are no share together")
    if not 0.0001 <= abs(options.gain) <= 1:
        problems.append(f"a gain of {options.gain:g} is none that can be planned for: 0.0001 at least")
    if not 0.5 <= options.power <= 0.999:
        problems.append(f"a power of {options.power:g} is outside 0.5 to 0.999")
    if not 0.0001 <= options.alpha <= 0.5:
        problems.append(f"an alpha of {options.alpha:g} is outside 0.0001 to 0.5")
    if options.items is not None and not 1 <= options.items <= 10_000_000:
        problems.append(f"{options.items:,} items are outside 1 to 10,000,000")
    if options.seed_sd is not None and not 0 <= options.seed_sd <= 0.5:
        problems.append(f"a spread of {options.seed_sd:g} between seeds is outside 0 to 0.5")
    if not problems and options.discordance is not None:
        problems += _find_impossible(options.discordance, options.baseline, better)
    if problems:
        raise BenchError("; ".join(problems), _SHARE_ADVICE)


def _find_impossible(discordance: float, rate: float, other: float) -> list[str]:
    """Explain why no two rows with these scores disagree on that share of the items."""
    least, most = abs(rate - other), min(rate + other, 2 - rate - other)
    if least - 1e-12 <= discordance <= most + 1e-12:
        return []
    return [f"rows of {rate:g} and {other:g} disagree on {least:.4g} to {most:.4g} of the items, not {discordance:g}"]


def _choose_discordance(options: Options) -> tuple[float, str]:
    """Return the share of items on which the rows disagree, and where it comes from."""
    gap = abs(options.gain)
    if options.discordance is not None:
        return max(options.discordance, gap), "as given"
    better = options.baseline + options.gain
    unrelated = options.baseline * (1 - better) + better * (1 - options.baseline)
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
    return (
        f"{exact:,} that both rows answer (McNemar's exact test, which decides here; Connor's formula says {formula:,})"
    )


def _describe_resolution(options: Options, discordance: float, items: int) -> str:
    from baseline_bench.analysis import statistics  # loads scipy

    power = statistics.exact_power(items, options.gain, discordance, options.alpha)
    least = statistics.resolvable_difference(items, discordance, options.power, options.alpha)
    text = f"this gain is found with {_format_percent(power)} probability; "
    if least is None:
        return text + "no difference is resolved among rows that disagree so rarely"
    return text + f"a difference of {100 * least:.2f} points is resolved (by the formula)"


def _describe_seeds(options: Options, spread: float, arms: int) -> str:
    from baseline_bench.analysis import multiple_testing  # loads scipy

    needed = multiple_testing.seeds_needed(options.gain, spread, options.power, options.alpha, arms)
    against = "against one fixed row" if arms == 1 else "each, one recipe against another"
    if needed is None:
        return f"more than a thousand {against}: the gain drowns in the spread of {100 * spread:.2f} points"
    few = needed == multiple_testing.MIN_SEEDS
    least = "; fewer than three say something of checkpoints, not of a recipe" if few else ""
    return f"{needed} {against} (t test of the seeds' scores, spread {100 * spread:.2f} points){least}"


def _format_percent(share: float) -> str:
    """Format a probability, never as certain or impossible."""
    if share > 0.999:
        return "over 99.9 %"
    return "under 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
