"""Formats numbers, outcomes and Markdown tables of pages: no padding, fixed decimals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from baseline_bench.analysis.outcomes import Outcome
from baseline_bench.analysis.statistics import Interval, format_points
from baseline_bench.core.markup import UNKNOWN_MARK, make_visible, table_cell
from baseline_bench.core.options import format_settings
from baseline_bench.results.board import Row
from baseline_bench.results.entry import Result

ALIGN_LEFT, ALIGN_RIGHT, ALIGN_CENTRE = "---", "---:", ":---:"
EXACT_MATCH = "exact match"
OUTCOME_WORDS: Mapping[Outcome, str] = {
    "worse": "worse than",
    "better": "better than",
    "equivalent": "equivalent to",
    "non-inferior": "non-inferior to",
    "inconclusive": "inconclusive against",
}
# Before an outcome's word, so that colour alone never says it.
OUTCOME_SYMBOLS: Mapping[Outcome, str] = {
    "worse": "▼",
    "better": "▲",
    "equivalent": "≈",
    "non-inferior": "≥",
    "inconclusive": "?",
}
# After an outcome that also holds among all comparisons of the board.
SURVIVES_MARK = "†"


def name_measure(rows: Iterable[Row]) -> str:
    """Return what the share of right items is called in a table of these rows."""
    return next((row.result.task.measure for row in rows if row.result.task.bar is not None), EXACT_MATCH)


def format_outcome(outcome: Outcome) -> str:
    """Return the outcome's symbol and word."""
    return f"{OUTCOME_SYMBOLS[outcome]} {outcome}"


def format_percent(count: int, total: int, decimals: int) -> str:
    """Format a share in percent, without the sign."""
    return f"{100 * count / total:.{decimals}f}"


def format_interval(interval: Interval) -> str:
    """Format an interval of proportions in percent."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def format_margin(margin: float, interval: Interval) -> str:
    """Format the 90 % interval of a difference, and how it compares with the margin."""
    low, high = interval.low > -margin, interval.high < margin
    bound = format_points(-margin)
    where = f"within {bound} to {format_points(margin)}" if low and high else f"{'' if low else 'not '}above {bound}"
    return f"90 % interval {' to '.join(map(format_points, interval))} points, {where}"


def format_shares(*results: Result) -> Iterator[str]:
    """Yield the shares of strict, unread and cut answers in percent; with the last, that of unfinished thoughts.

    Args:
        results: one run, or several whose answers count together.
    """
    counts = [result.counts for result in results]
    total, cut = sum(count.total for count in counts), sum(count.cut for count in counts)
    yield format_percent(sum(count.strict for count in counts), total, 1)
    yield format_percent(sum(count.unread for count in counts), total, 1)
    unfinished = [result.unfinished_thoughts for result in results if result.unfinished_thoughts is not None]
    thoughts = f", {format_percent(sum(unfinished), total, 1)} in a thought" if unfinished else ""
    yield format_percent(cut, total, 1) + thoughts


def quote_sentence(text: str) -> str:
    """Quote a whole sentence from outside for a table cell, in code spans that its text cannot end."""
    return " ".join(table_cell(part) for part in wrap(make_visible(text), 90)) or UNKNOWN_MARK


def format_warnings(row: Row) -> str:
    """Format the codes of a row's findings and advisories, as the end of a cell; empty where it has none."""
    return f", warned: {', '.join(map(table_cell, row.marks))}" if row.marks else ""


def find_dtype(result: Result) -> str | None:
    """Return the dtype while generating, and how weights are quantised; None where the engine does not report it."""
    parts = [result.engine.settings.get(key) for key in ("dtype", "quantised")]
    return " over ".join(str(part) for part in parts if part is not None) or None


def describe_setup(result: Result) -> tuple[str, str, str, str]:
    """Return prompt, engine, dtype and device as Markdown for a table's cell."""
    chosen = [name for name in (result.model.template_name,) if name]
    chosen += format_settings(result.model.template_arguments)
    prompt = ", ".join([result.model.prompt_style, *map(table_cell, chosen)])
    parts = result.engine.version, find_dtype(result) or "", result.provenance.device
    engine, dtype, device = map(table_cell, parts)
    return f"prompt {prompt}", engine, f"dtype {dtype}" if dtype == UNKNOWN_MARK else dtype, device


def render_table(columns: Sequence[tuple[str, str]], rows: Sequence[Iterator[str]]) -> str:
    """Render a Markdown table from columns (heading, alignment) and rows of finished cells."""
    head = ["|".join(["", *names, ""]) for names in zip(*columns, strict=True)]
    return "\n".join([*head, *("|".join(["", *cells, ""]) for cells in rows)])
