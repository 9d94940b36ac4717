"""Describes the comparison of two rows, in the same words for a terminal, a page and a record."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from baseline_bench.analysis.compare import (
    ChangeCounts,
    Comparison,
    ComparisonKind,
    classify_comparison,
    compare_entries,
    is_base,
)
from baseline_bench.analysis.differences import Difference, list_differences
from baseline_bench.analysis.multiple_testing import MIN_SEEDS
from baseline_bench.analysis.outcomes import Outcome, PairedDifference
from baseline_bench.analysis.recipe_key import build_recipe_key
from baseline_bench.analysis.statistics import PairCounts, format_points, wilson_interval
from baseline_bench.core.markup import code_span, make_visible, table_cell
from baseline_bench.rendering.formatting import OUTCOME_SYMBOLS, format_margin
from baseline_bench.results.entry import Entry
from rich.text import Text

QuoteFunction = Callable[[str], str]
ReportedOutcome = Outcome | Literal["not comparable"]
_OUTCOME_STYLES = {"better": "bold green", "worse": "bold red", "equivalent": "bold blue", "non-inferior": "bold blue"}


@dataclass(frozen=True, slots=True)
class ComparisonText:
    """A comparison in words.

    Attributes:
        title: which row against which.
        kind: of the comparison.
        outcome: for a system comparison that of the systems, not of the weights.
        sentence: the conclusion, in one sentence.
        rows: (what, value), the outcome first and the sentence last.
    """

    title: str
    kind: ComparisonKind
    outcome: ReportedOutcome
    sentence: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ComparisonNumbers:
    """The figures of a comparison; shares of the problems, not percentages.

    Attributes:
        low, high: of the 95 % interval, which decides between better and worse.
        low_90, high_90: of the 90 % interval, which decides against the margin.
        p: the level at which the 95 % interval would end at 0.
        p_exact, p_mid: McNemar's exact and mid-p, for information.
    """

    won: int
    lost: int
    both: int
    neither: int
    difference: float
    margin: float | None
    low: float
    high: float
    low_90: float
    high_90: float
    p: float
    p_exact: float
    p_mid: float
    flips: ChangeCounts

    @classmethod
    def of(cls, comparison: PairedDifference, flips: ChangeCounts) -> "ComparisonNumbers":
        """Take the figures of a comparison; `flips` are the problems won and lost by cause."""
        pairs, intervals = comparison.pairs, (*comparison.interval, *comparison.margin_interval)
        counted = (pairs.first, pairs.second, pairs.both, pairs.neither)
        tests = comparison.p, comparison.p_exact, comparison.p_mid
        return cls(*counted, pairs.difference, comparison.margin, *intervals, *tests, flips)


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """A row compared with the rows of its recipe and base under other training seeds.

    Attributes:
        scores: (seed, right, items) by seed.
        above: how many of the other seeds score less than the row, and `below` how many score more.
    """

    scores: tuple[tuple[int, int, int], ...]
    above: int
    below: int


def describe_comparison(
    first: Entry, second: Entry, quote: QuoteFunction = make_visible, margin: float | None = None
) -> ComparisonText:
    """Describe the first row against the second.

    Args:
        first: the row that wins or loses.
        second: the row it is compared with.
        quote: makes text from entries (names, versions, devices) safe for the place where it is shown.
        margin: as in `compare_entries`.

    Raises:
        BenchError: a problem of the task is missing in a row.
    """
    kind = classify_comparison(first, second)
    title = " against ".join(name_entries(first, second, quote))
    if kind.name == "not comparable":
        reason = f"not comparable: {_format_differences(kind.differs, quote)}"
        sentence = "The two rows answer different problems, and their difference means nothing."
        return ComparisonText(title, kind, "not comparable", sentence, (("outcome", reason), ("in short", sentence)))
    comparison = compare_entries(first, second, system=True, margin=margin)
    sentence = _conclude(first, second, comparison, quote)
    label = "system comparison: " if comparison.system else ""
    numbers = list_numbers(comparison, name_estimand(comparison.system), comparison.flips)
    rows = [("outcome", f"{label}{comparison.outcome}"), *numbers]
    rows += [("would narrow it", _format_advice(first, second, comparison, quote)), *_compare_solutions(first, second)]
    rows += [("identity", note)] if (note := note_identities(first, second)) else []
    if comparison.system:
        rows.append(("besides the weights", _format_differences(comparison.differs, quote)))
    return ComparisonText(title, kind, comparison.outcome, sentence, (*rows, ("in short", sentence)))


def color_outcome(outcome: ReportedOutcome, text: str) -> Text:
    """Put the outcome's symbol before its text, in its colour."""
    symbol = "" if outcome == "not comparable" else f"{OUTCOME_SYMBOLS[outcome]} "
    return Text(f"{symbol}{text}", style=_OUTCOME_STYLES.get(outcome, "bold yellow"))


def name_estimand(system: bool) -> str:
    """Name what a comparison estimates, of weights, or of systems of which more than the weights differs."""
    subject = "systems" if system else "weights"
    return f"these {subject} on problems like these: the mean over new problems of right(first) - right(second)"


def name_entries(first: Entry, second: Entry, quote: QuoteFunction = make_visible) -> tuple[str, str]:
    """Return the names of the two rows; equal names are distinguished by their time."""
    names = [quote(entry.result.candidate) for entry in (first, second)]
    if first.result.candidate == second.result.candidate:
        names = [f"{name} of {quote(entry.created)}" for name, entry in zip(names, (first, second), strict=True)]
    return names[0], names[1]


def list_warnings(first: Entry, second: Entry, quote: QuoteFunction = make_visible) -> tuple[str, ...]:
    """List the findings of the checks, a line for each row that has some."""
    named_marks = zip(name_entries(first, second, quote), (first.result.marks, second.result.marks), strict=True)
    return tuple(f"{name}: {', '.join(map(quote, marks))}" for name, marks in named_marks if marks)


def note_identities(first: Entry, second: Entry) -> str | None:
    """Say that both models are known in part, which is no difference; None if one is known: `list_differences` says it.

    It qualifies "nothing else differs": what neither entry holds cannot be compared.
    """
    partly = all(entry.result.model.is_partly_known for entry in (first, second))
    return "both models are known in part: settings that the entries do not hold may differ" if partly else None


def format_score(entry: Entry) -> str:
    """Format a row's counts, and its exact match with the 95 % Wilson interval."""
    counts = entry.result.counts
    low, high = wilson_interval(counts.correct, counts.total)
    parts = ((counts.strict, "strict"), (counts.unread, "unread"), (counts.cut, "cut"))
    others = ", ".join(f"{name} {100 * part / counts.total:.1f} %" for part, name in parts)
    return (
        f"{100 * counts.correct / counts.total:.2f} % ({counts.correct:,} of {counts.total:,}), "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f} %; {others}"
    )


def compare_with_seeds(entry: Entry, board: Sequence[Entry]) -> SeedComparison | None:
    """Compare a row with the other seeds of its recipe on its base; None for fewer than three seeds.

    Only rows that are comparable with it count, and only the newest of each seed.

    Args:
        entry: the row.
        board: the rows to consider, with the row itself.
    """
    if (recipe_key := build_recipe_key(entry)) is None:
        return None
    same_recipe_rows = [
        one
        for one in board
        if build_recipe_key(one) == recipe_key and classify_comparison(entry, one).name == "comparable"
    ]
    newest = {_get_seed(one): one for one in sorted(same_recipe_rows, key=lambda one: one.created)} | {
        _get_seed(entry): entry
    }
    if len(newest) < MIN_SEEDS:
        return None
    scores = tuple((seed, row.result.counts.correct, row.result.counts.total) for seed, row in sorted(newest.items()))
    rates = [right / total for _, right, total in scores]
    own_rate = entry.result.counts.correct / entry.result.counts.total
    above, below = sum(rate < own_rate for rate in rates), sum(rate > own_rate for rate in rates)
    return SeedComparison(scores, above, below)


def describe_seeds(seeds: SeedComparison) -> str:
    """Describe how a row compares with its other seeds."""
    rates = [100 * right / total for _, right, total in seeds.scores]
    each = ", ".join(f"s{seed} {rate:.2f}" for (seed, _, _), rate in zip(seeds.scores, rates, strict=True))
    return (
        f"above {seeds.above} and below {seeds.below} of {len(rates) - 1} other seeds of its recipe ({each} %); the "
        f"recipe's mean {sum(rates) / len(rates):.2f} %"
    )


def render_markdown(
    first: Entry, second: Entry, seeds: SeedComparison | None = None, margin: float | None = None
) -> str:
    """Render the comparison as Markdown: the outcome, then the numbers, then a folded list of other differences."""
    text, plain = (describe_comparison(first, second, quote, margin) for quote in (table_cell, code_span))
    sides = zip(name_entries(first, second, table_cell), map(format_score, (first, second)), strict=True)
    rows = [*text.rows[:-1], *sides, *([("among its seeds", describe_seeds(seeds))] if seeds else [])]
    system = "system comparison: " if text.kind.name == "system comparison" else ""
    lines = [
        f"### {plain.title}",
        "",
        *(part for line in list_warnings(first, second, code_span) for part in (f"Warned: {line}", "")),
        f"**{system}{text.outcome}.** {plain.sentence}",
        "",
        *("|".join(["", *row, ""]) for row in (("", ""), ("---", "---"), *rows)),
        "",
        *_render_differences(list_differences(first, second)),
    ]
    return "\n".join(lines) + "\n"


def _render_differences(differences: Sequence[Difference]) -> Iterator[str]:
    if not differences:
        yield "Nothing else differs."
        return
    yield from (
        f"<details><summary>What else differs ({len(differences)})</summary>",
        "",
        "|what|first|second|",
        "|---|---|---|",
    )
    yield from (
        f"|{table_cell(difference.what)}|{table_cell(difference.first)}|{table_cell(difference.second)}|"
        for difference in differences
    )
    yield from ("", "</details>")


def list_numbers(comparison: PairedDifference, estimand: str, changes: ChangeCounts) -> Iterator[tuple[str, str]]:
    """Yield (what, value) for the numbers of a comparison; `changes` are the problems won and lost by cause."""
    pairs = comparison.pairs
    yield (
        "difference",
        f"{format_points(pairs.difference)} points, 95 % interval {format_points(comparison.interval.low)} to "
        f"{format_points(comparison.interval.high)}",
    )
    if comparison.margin is not None:
        yield "margin", format_margin(comparison.margin, comparison.margin_interval)
    yield "estimand", estimand
    yield (
        "p",
        (
            f"{_format_p_value(comparison.p)}, where the interval ends at 0; for information exact McNemar "
            f"{_format_p_value(comparison.p_exact)}, mid-p {comparison.p_mid:.3g}"
        ),
    )
    yield (
        "problems",
        f"{pairs.first:,} won, {pairs.second:,} lost, {pairs.both:,} right in both, {pairs.neither:,} in neither, "
        f"of {pairs.total:,}",
    )
    moved = [f"{cause} +{won} -{lost}" for cause, (won, lost) in changes.items() if won or lost]
    note = " (format: right or wrong as before, written otherwise)" if any(changes.get("format", ())) else ""
    yield "why", (", ".join(moved) or "nothing changed") + note


def _format_advice(first: Entry, second: Entry, comparison: Comparison, quote: QuoteFunction) -> str:
    """Say what would narrow the interval most: problems, seeds where two recipes are compared, or nothing."""
    recipes = [entry.result.trained and entry.result.trained.recipe for entry in (first, second)]
    command = " ".join(f"recipe:{quote(str(recipe))}" for recipe in recipes)
    of_one_recipe = None in recipes or recipes[0] == recipes[1]
    if comparison.outcome != "inconclusive":
        more = "" if of_one_recipe else f" for these two trainings; bench compare {command} uses all seeds"
        return f"nothing: the outcome is decided{more}"
    problems = format_problem_advice(comparison)
    if of_one_recipe:
        return f"problems: {problems}"
    return f"seeds: this compares one training of each recipe; bench compare {command} uses all seeds; {problems}"


def format_problem_advice(comparison: PairedDifference) -> str:
    """Say how much twice the problems would narrow the interval."""
    doubled = PairedDifference(PairCounts(*(2 * count for count in comparison.pairs)), None).interval
    now, then = (50 * (interval.high - interval.low) for interval in (comparison.interval, doubled))
    return f"twice the problems would give about ±{then:.2f} points instead of ±{now:.2f}"


def _format_p_value(value: float) -> str:
    """Format a p value, never as 0: with more than a thousand items all won it is below what a float holds."""
    return f"= {value:.3g}" if value else "< 1e-300"


def _compare_solutions(first: Entry, second: Entry) -> Iterator[tuple[str, str]]:
    """Compare how likely either model finds the gold solutions: a signal even where few answers are right."""
    first_solutions, second_solutions = first.result.solutions, second.result.solutions
    if first_solutions is None and second_solutions is None:
        return
    measures = [
        "not measured" if solutions is None else f"{solutions.mean_logprob:.4f} over {solutions.tokens:,} tokens"
        for solutions in (first_solutions, second_solutions)
    ]
    difference = ""
    if first_solutions is not None and second_solutions is not None:
        same = (first_solutions.tokens, first.result.model.tokenizer_sha256) == (
            second_solutions.tokens,
            second.result.model.tokenizer_sha256,
        )
        gap = first_solutions.mean_logprob - second_solutions.mean_logprob
        way = "likelier under the first" if gap > 0 else "likelier under the second" if gap < 0 else "alike"
        difference = f": {gap:+.4f}, {way}" if same else "; in other tokens, so the two cannot be compared"
    yield "gold solutions", f"mean log-probability {measures[0]} against {measures[1]}, in nats a token{difference}"


def _conclude(first: Entry, second: Entry, comparison: Comparison, quote: QuoteFunction) -> str:
    names = name_entries(first, second, quote)
    if not comparison.discordant:
        both = "Both rows are right on the same problems: nothing changed."
        return both if comparison.pairs.both else "Neither row answers any problem."
    if not comparison.system and _have_same_weights(first, second):
        if comparison.outcome in ("better", "worse"):
            return "The same weights twice, but the scores differ by more than chance: something else changed."
        return f"The same weights twice: the change of {format_items(comparison.discordant)} is noise."
    if comparison.outcome in ("equivalent", "non-inferior"):
        points = f"{100 * (comparison.margin or 0):g} points"
        within = f"within {points} of" if comparison.outcome == "equivalent" else f"not worse by {points} or more than"
        return f"{'As a system, ' if comparison.system else ''}{names[0]} is {within} {names[1]}."
    if comparison.system:
        return _conclude_for_systems(first, second, comparison, names)
    return _conclude_for_weights(comparison, names, tuned=is_base(second, first))


def _conclude_for_weights(comparison: Comparison, names: tuple[str, str], tuned: bool) -> str:
    """Conclude for rows that differ only in weights; `tuned` where the second row is the base of the first."""
    one, other = names
    gap = abs(comparison.pairs.first - comparison.pairs.second)
    if comparison.outcome == "inconclusive":
        what = "whether the fine-tune helped" if tuned else f"whether {one} is better or worse than {other}"
        return f"These problems do not show {what}."
    if comparison.outcome == "worse":
        subject, against = ("The fine-tune hurt: it", "its base") if tuned else (f"Worse: {one}", other)
        return f"{subject} answers {format_items(gap)} fewer than {against}."
    subject, against = ("The fine-tune helped: it", "its base") if tuned else (f"Better: {one}", other)
    sentence = f"{subject} answers {format_items(gap)} more than {against}"
    format_gain = sum(won - lost for won, lost in (comparison.flips["unread"], comparison.flips["stopping"]))
    if 2 * format_gain >= gap:
        share = "all" if format_gain >= gap else format_gain
        sentence += (
            f", but {share} of them for answers that now end or can be read, which a prompt instead might give too"
        )
    return sentence + "."


def _conclude_for_systems(first: Entry, second: Entry, comparison: Comparison, names: tuple[str, str]) -> str:
    """Conclude for systems; a fine-tune against its base under another prompt shows if training was needed."""
    gap = comparison.pairs.first - comparison.pairs.second
    ahead, behind = names if gap > 0 else names[::-1]
    tuned = (is_base(second, first), is_base(first, second))
    same_prompts = not any(tuned) or first.result.prompts_sha256 == second.result.prompts_sha256
    if comparison.outcome == "inconclusive":
        question = "which system is better" if same_prompts else "whether the fine-tune beats a prompt instead"
        return f"These problems do not show {question}."
    if same_prompts:
        sentence = f"As a system, {ahead} answers {format_items(abs(gap))} more than {behind}"
        return f"{sentence}; how much of that the weights cause is unknown."
    if tuned[0] == (gap > 0):
        return f"Fine-tune: {ahead} answers {format_items(abs(gap))} more than its base does under the other prompt."
    return f"Prompt instead: without any training {ahead} answers {format_items(abs(gap))} more than {behind}."


def format_items(number: int) -> str:
    """Format a number of problems."""
    return "1 problem" if number == 1 else f"{number:,} problems"


def _format_differences(differences: Sequence[Difference], quote: QuoteFunction) -> str:
    return "; ".join(
        f"other {difference.what} ({quote(difference.first)}, {quote(difference.second)})" for difference in differences
    )


def _have_same_weights(first: Entry, second: Entry) -> bool:
    one, other = (row.result.engine.settings.get("adapter") for row in (first, second))
    return one == other and first.result.model.key.matches(second.result.model.key)


def _get_seed(entry: Entry) -> int:
    return -1 if entry.result.trained is None else entry.result.trained.seed
