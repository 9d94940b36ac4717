"""What is said of two rows, said once: the words are the same in a terminal, on a page and in a record."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from baseline_bench.analysis.compare import (
    MIN_DISCORDANT,
    Comparison,
    ComparisonKind,
    classify_comparison,
    compare_entries,
    is_base,
)
from baseline_bench.analysis.differences import Difference, build_recipe_key, list_differences
from baseline_bench.analysis.multiple_testing import MIN_SEEDS, seeds_interval
from baseline_bench.analysis.statistics import Interval, format_points, wilson_interval
from baseline_bench.core.markup import code_span, make_visible, table_cell
from baseline_bench.results.entry import Entry

QuoteFunction = Callable[[str], str]
ReportedOutcome = Literal["worse", "better", "not resolved", "not comparable"]


@dataclass(frozen=True, slots=True)
class ComparisonText:
    """A comparison in words.

    Attributes:
        title: which row against which.
        kind: of the comparison.
        verdict: its word; that of a system comparison holds for the systems, not for the weights.
        sentence: what a reader takes home, in one sentence.
        rows: (what, value), the verdict first and the sentence last.
    """

    title: str
    kind: ComparisonKind
    verdict: ReportedOutcome
    sentence: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """A row among the rows of its recipe and base under other training seeds.

    Attributes:
        scores: (seed, right, items) by seed.
        interval: of the recipe's rate over seeds, 95 %, by Student's t.
        above: how many of the other seeds score less than the row, and `below` how many score more.
    """

    scores: tuple[tuple[int, int, int], ...]
    interval: Interval
    above: int
    below: int


def describe_comparison(first: Entry, second: Entry, quote: QuoteFunction = make_visible) -> ComparisonText:
    """What there is to say of the first row against the second.

    Args:
        first: the row that wins or loses.
        second: what it is held against.
        quote: how text from entries (names, versions, devices) is made safe where the words are to stand.

    Raises:
        BenchError: a row lacks items.
    """
    found = classify_comparison(first, second)
    title = " against ".join(name_entries(first, second, quote))
    if found.name == "not comparable":
        why = f"not comparable: {_format_differences(found.differs, quote)}"
        sentence = "The two rows answer different exams, and their difference means nothing."
        return ComparisonText(title, found, "not comparable", sentence, (("verdict", why), ("in short", sentence)))
    compared = compare_entries(first, second, system=True)
    sentence = _conclude(first, second, compared, quote)
    rows = [("verdict", _format_outcome(compared)), *_list_numbers(compared), *_compare_solutions(first, second)]
    if compared.system:
        rows.append(("beside the weights", _format_differences(compared.differs, quote)))
    return ComparisonText(title, found, compared.verdict, sentence, (*rows, ("in short", sentence)))


def name_entries(first: Entry, second: Entry, quote: QuoteFunction = make_visible) -> tuple[str, str]:
    """What the two rows are called; two of one name are told apart by their time."""
    called = [quote(entry.result.candidate) for entry in (first, second)]
    if first.result.candidate == second.result.candidate:
        called = [f"{name} of {quote(entry.created)}" for name, entry in zip(called, (first, second), strict=True)]
    return called[0], called[1]


def list_warnings(first: Entry, second: Entry, quote: QuoteFunction = make_visible) -> tuple[str, ...]:
    """Which findings the checks of either row made, a line for each row that has some."""
    called = zip(name_entries(first, second, quote), (first.result.marks, second.result.marks), strict=True)
    return tuple(f"{name}: {', '.join(map(quote, marks))}" for name, marks in called if marks)


def format_score(entry: Entry) -> str:
    """A row's own counts, exact match with its 95 % Wilson interval."""
    counts = entry.result.counts
    low, high = wilson_interval(counts.correct, counts.total)
    parts = ((counts.strict, "strict"), (counts.unread, "unread"), (counts.cut, "cut"))
    others = ", ".join(f"{name} {100 * part / counts.total:.1f} %" for part, name in parts)
    return (
        f"{100 * counts.correct / counts.total:.2f} % ({counts.correct:,} of {counts.total:,}), "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f} %; {others}"
    )


def compare_with_seeds(entry: Entry, board: Sequence[Entry]) -> SeedComparison | None:
    """How a row stands among the seeds of its recipe on its base; None for fewer than three of them.

    Only rows that are comparable with it count, of each seed the newest.

    Args:
        entry: the row.
        board: the rows that count, the row itself among them.
    """
    if (own := build_recipe_key(entry)) is None:
        return None
    fellows = [
        one for one in board if build_recipe_key(one) == own and classify_comparison(entry, one).name == "comparable"
    ]
    newest = {_get_seed(one): one for one in sorted(fellows, key=lambda one: one.created)} | {_get_seed(entry): entry}
    if len(newest) < MIN_SEEDS:
        return None
    scores = tuple((seed, row.result.counts.correct, row.result.counts.total) for seed, row in sorted(newest.items()))
    rates = [right / total for _, right, total in scores]
    mine = entry.result.counts.correct / entry.result.counts.total
    above, below = sum(rate < mine for rate in rates), sum(rate > mine for rate in rates)
    return SeedComparison(scores, seeds_interval(rates), above, below)


def describe_seeds(found: SeedComparison) -> str:
    """How a row stands among its seeds, in words."""
    rates = [100 * right / total for _, right, total in found.scores]
    each = ", ".join(f"s{seed} {rate:.2f}" for (seed, _, _), rate in zip(found.scores, rates, strict=True))
    low, high = (100 * end for end in found.interval)
    return (
        f"above {found.above} and below {found.below} of {len(rates) - 1} other seeds of its recipe ({each} %); the "
        f"recipe's mean {sum(rates) / len(rates):.2f} %, 95 % t interval over seeds {low:.2f} to {high:.2f} %"
    )


def render_markdown(first: Entry, second: Entry, among: SeedComparison | None = None) -> str:
    """The comparison as Markdown: the verdict first, then the numbers, then what else differs, folded."""
    told, plain = describe_comparison(first, second, table_cell), describe_comparison(first, second, code_span)
    sides = zip(name_entries(first, second, table_cell), map(format_score, (first, second)), strict=True)
    rows = [*told.rows[:-1], *sides, *([("among its seeds", describe_seeds(among))] if among else [])]
    system = "system comparison: " if told.kind.name == "system comparison" else ""
    lines = [
        f"### {plain.title}",
        "",
        *(part for line in list_warnings(first, second, code_span) for part in (f"Warned: {line}", "")),
        f"**{system}{told.verdict}.** {plain.sentence}",
        "",
        *("|".join(["", *row, ""]) for row in (("", ""), ("---", "---"), *rows)),
        "",
        *_render_differences(list_differences(first, second)),
    ]
    return "\n".join(lines) + "\n"


def _render_differences(found: Sequence[Difference]) -> Iterator[str]:
    if not found:
        yield "Nothing else differs."
        return
    yield from (
        f"<details><summary>What else differs ({len(found)})</summary>",
        "",
        "|what|first|second|",
        "|---|---|---|",
    )
    yield from (f"|{table_cell(one.what)}|{table_cell(one.first)}|{table_cell(one.second)}|" for one in found)
    yield from ("", "</details>")


def _format_outcome(found: Comparison) -> str:
    label = "system comparison: " if found.system else ""
    odds = "; interval and test disagree, and the test decides" if found.at_odds else ""
    if found.verdict != "not resolved":
        return label + found.verdict + odds
    if not found.discordant:
        return f"{label}not resolved: no item differs"
    if found.needed is None:
        return f"{label}not resolved: as many items won as lost{odds}"
    few = f" (at least {MIN_DISCORDANT} must differ)" if found.discordant < MIN_DISCORDANT else ""
    return f"{label}not resolved; a difference like this one takes {found.needed:,} items{few}{odds}"


def _list_numbers(found: Comparison) -> Iterator[tuple[str, str]]:
    pairs = found.pairs
    yield (
        "difference",
        f"{format_points(pairs.difference)} points, 95 % interval {format_points(found.interval.low)} to "
        f"{format_points(found.interval.high)}, exact McNemar p {_format_p_value(found.p)} (mid-p {found.p_mid:.3g})",
    )
    yield (
        "items",
        f"{pairs.first:,} won, {pairs.second:,} lost, {pairs.both:,} right in both, {pairs.neither:,} in neither, "
        f"of {pairs.total:,}",
    )
    moved = [f"{cause} +{won} -{lost}" for cause, (won, lost) in asdict(found.flips).items() if won or lost]
    note = " (format: right as before, stated otherwise)" if any(found.flips.format) else ""
    yield "why", (", ".join(moved) or "nothing moved") + note


def _format_p_value(value: float) -> str:
    """Of more than a thousand items all won, the p value is less than a float can hold; it is never 0."""
    return f"= {value:.3g}" if value else "< 1e-300"


def _compare_solutions(first: Entry, second: Entry) -> Iterator[tuple[str, str]]:
    """How likely either model finds the gold solutions: a signal even where few answers are right."""
    one, other = first.result.solutions, second.result.solutions
    if one is None and other is None:
        return
    told = ["not measured" if it is None else f"{it.mean_logprob:.4f} over {it.tokens:,} tokens" for it in (one, other)]
    beyond = ""
    if one is not None and other is not None:
        same = (one.tokens, first.result.model.tokenizer_sha256) == (other.tokens, second.result.model.tokenizer_sha256)
        gap = one.mean_logprob - other.mean_logprob
        way = "likelier under the first" if gap > 0 else "likelier under the second" if gap < 0 else "alike"
        beyond = f": {gap:+.4f}, {way}" if same else "; in other tokens, so the two cannot be compared"
    yield "gold solutions", f"mean log-probability {told[0]} against {told[1]}, in nats a token{beyond}"


def _conclude(first: Entry, second: Entry, found: Comparison, quote: QuoteFunction) -> str:
    if found.system:
        return _conclude_for_systems(first, second, found, quote)
    if not found.discordant:
        return "Both rows are right on the same items: nothing moved."
    if _have_same_weights(first, second):
        if found.verdict != "not resolved":
            return "The same weights twice, and apart by more than chance: something beside them moved."
        return f"The same weights twice: that {_format_items(found.discordant)} came out otherwise is noise."
    return _conclude_for_weights(found, name_entries(first, second, quote), tuned=is_base(second, first))


def _conclude_for_weights(found: Comparison, called: tuple[str, str], tuned: bool) -> str:
    """Rows that differ in nothing but weights; `tuned` where the second is the first one's own base."""
    one, other = called
    gap = abs(found.pairs.first - found.pairs.second)
    if found.verdict == "not resolved":
        what = "whether the fine-tune helped" if tuned else f"whether {one} is better or worse than {other}"
        return f"Nobody can tell from these items {what}{_format_needed_items(found)}."
    if found.verdict == "worse":
        subject, against = ("The fine-tune hurt: it", "its base") if tuned else (f"Worse: {one}", other)
        return f"{subject} answers {_format_items(gap)} fewer than {against}."
    subject, against = ("The fine-tune helped: it", "its base") if tuned else (f"Better: {one}", other)
    told = f"{subject} answers {_format_items(gap)} more than {against}"
    manner = sum(won - lost for won, lost in (found.flips.unread, found.flips.stopping))
    if 2 * manner >= gap:
        share = "all" if manner >= gap else manner
        told += f", but {share} of them for answers that now end or can be read, which a prompt instead might give too"
    return told + "."


def _conclude_for_systems(first: Entry, second: Entry, found: Comparison, quote: QuoteFunction) -> str:
    """A fine-tune against its own base under another prompt asks if training was needed at all."""
    called = name_entries(first, second, quote)
    gap = found.pairs.first - found.pairs.second
    ahead, behind = called if gap > 0 else called[::-1]
    tuned = (is_base(second, first), is_base(first, second))
    if not found.discordant:
        return "As systems, both are right on the same items: nothing moved."
    if not any(tuned) or first.result.prompts_sha256 == second.result.prompts_sha256:
        if found.verdict == "not resolved":
            return f"Nobody can tell from these items which system is better{_format_needed_items(found)}."
        told = f"As a system, {ahead} answers {_format_items(abs(gap))} more than {behind}"
        return f"{told}; how much of that is the weights' cannot be told."
    if found.verdict == "not resolved":
        return (
            "Nobody can tell from these items whether the fine-tune beats a prompt "
            f"instead{_format_needed_items(found)}."
        )
    if tuned[0] == (gap > 0):
        return f"Fine-tune: {ahead} answers {_format_items(abs(gap))} more than its base does under the other prompt."
    return f"Prompt instead: without any training {ahead} answers {_format_items(abs(gap))} more than {behind}."


def _format_needed_items(found: Comparison) -> str:
    return "" if found.needed is None else f": that takes {found.needed:,} items"


def _format_items(number: int) -> str:
    return "1 item" if number == 1 else f"{number:,} items"


def _format_differences(found: Sequence[Difference], quote: QuoteFunction) -> str:
    return "; ".join(f"other {one.what} ({quote(one.first)}, {quote(one.second)})" for one in found)


def _have_same_weights(first: Entry, second: Entry) -> bool:
    one, other = (
        (row.result.model.weights_sha256, row.result.engine.settings.get("adapter")) for row in (first, second)
    )
    return one == other and one[0] is not None and not first.result.model.unlike(second.result.model)


def _get_seed(entry: Entry) -> int:
    made = entry.result.training
    return -1 if made is None or made.candidate is None else made.candidate.seed
