"""Describes the comparison of two logs, for a terminal, as Markdown and as a record."""

from collections.abc import Mapping, Sequence

from baseline_bench.analysis import item_changes
from baseline_bench.analysis.compare import ComparisonKind
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.markup import code_span, make_visible, table_cell
from baseline_bench.interop.log_pairs import NO_TEXT, LogComparison
from baseline_bench.rendering import comparison_text
from baseline_bench.rendering.comparison_text import ComparisonNumbers, ComparisonText, QuoteFunction
from baseline_bench.rendering.side_by_side import print_completion_pair
from rich.text import Text

# The changed items that are shown with their texts; a record lists all.
MAX_SHOWN_ITEMS = 5


def build_log_report(comparison: LogComparison) -> Mapping[str, object]:
    """Build what `bench compare --json` prints of two logs."""
    logs = (("first", comparison.first), ("second", comparison.second))
    return {
        **{
            side: {"path": str(log.path), "tool": log.tool, "measure": log.measure, "model": log.model}
            for side, log in logs
        },
        "paired_by": comparison.paired_by,
        "outcome": comparison.outcome,
        "estimand": comparison_text.name_estimand(system=True),
        "sentence": describe_logs(comparison).sentence,
        "numbers": ComparisonNumbers.of(comparison, comparison.causes),
        "flips": [{"id": one.id, "won": one.move.won, "cause": one.move.cause} for one in comparison.flips],
    }


def describe_logs(comparison: LogComparison, quote: QuoteFunction = make_visible) -> ComparisonText:
    """Describe the comparison of two logs; `quote` makes their names safe for the place where they are shown."""
    names = [quote(name) for name in _name_logs(comparison)]
    sentence = _conclude(comparison, names)
    rows = [
        ("outcome", f"system comparison: {comparison.outcome}"),
        *comparison_text.list_numbers(comparison, comparison_text.name_estimand(system=True), comparison.causes),
    ]
    if comparison.outcome == "inconclusive":
        rows.append(("would narrow it", f"problems: {comparison_text.format_problem_advice(comparison)}"))
    rows += [("paired by", comparison.paired_by)]
    for what, log in (("first", comparison.first), ("second", comparison.second)):
        rows.append((what, f"{quote(str(log.path))}, {log.tool}, judged by {quote(log.measure)}"))
    title = " against ".join(names)
    kind = ComparisonKind("system comparison")
    return ComparisonText(title, kind, comparison.outcome, sentence, (*rows, ("in short", sentence)))


def render_logs_markdown(comparison: LogComparison) -> str:
    """Render the comparison as Markdown: outcome, numbers, and the changed items, each folded."""
    text, plain = (describe_logs(comparison, quote) for quote in (table_cell, code_span))
    table = "\n".join("|".join(["", *row, ""]) for row in (("", ""), ("---", "---"), *text.rows[:-1]))
    head = f"### {plain.title}\n\n**system comparison: {text.outcome}.** {plain.sentence}\n\n{table}\n"
    if not comparison.flips:
        return head
    if not _have_texts(comparison):
        return head + "".join(f"\n- {table_cell(line)}" for line in _list_ids(comparison)) + "\n"
    shown = item_changes.render_markdown(comparison.flips[:MAX_SHOWN_ITEMS], *_name_logs(comparison))
    return f"{head}\n{shown}\n{_count_shown(comparison)}\n"


def print_logs(comparison: LogComparison, console: Console) -> None:
    """Print the comparison, then the changed items: side by side where the logs have texts, else their ids."""
    text = describe_logs(comparison)
    (_, outcome), *facts = text.rows
    first_row = ("outcome", comparison_text.color_outcome(text.outcome, outcome))
    console.print(build_facts_table(text.title, [first_row, *facts]))
    if not comparison.flips:
        return
    console.print(Text(""))
    if _have_texts(comparison):
        for flip in comparison.flips[:MAX_SHOWN_ITEMS]:
            print_completion_pair(flip, _name_logs(comparison), console)
        console.print(Text(_count_shown(comparison)))
    else:
        console.print(Text("\n".join(_list_ids(comparison))))


def _have_texts(comparison: LogComparison) -> bool:
    return any(side.text != NO_TEXT for flip in comparison.flips for side in (flip.first, flip.second))


def _list_ids(comparison: LogComparison) -> list[str]:
    """List the ids of the items that the first log won, and of those that it lost."""
    ids = {word: [flip.id for flip in comparison.flips if flip.move.won == (word == "won")] for word in ("won", "lost")}
    return [make_visible(f"{len(those):,} {word}: {', '.join(those) or '-'}") for word, those in ids.items()]


def _count_shown(comparison: LogComparison) -> str:
    total = len(comparison.flips)
    return f"{min(total, MAX_SHOWN_ITEMS)} of {total:,} changed items shown (--json lists all)"


def _name_logs(comparison: LogComparison) -> tuple[str, str]:
    """Return the names of both models; the file's where a log names none, and of both where the names are equal."""
    logs = comparison.first, comparison.second
    if len({log.path.name for log in logs}) == 1:
        return str(logs[0].path), str(logs[1].path)
    one, other = (log.model or log.path.name for log in logs)
    return (one, other) if one != other else (logs[0].path.name, logs[1].path.name)


def _conclude(comparison: LogComparison, names: Sequence[str]) -> str:
    first, second = names
    gap = comparison_text.format_items(abs(comparison.pairs.first - comparison.pairs.second))
    points = f"{100 * (comparison.margin or 0):g} points"
    return {
        "better": f"{first} answers {gap} more than {second}.",
        "worse": f"{first} answers {gap} fewer than {second}.",
        "equivalent": f"{first} is within {points} of {second}.",
        "non-inferior": f"{first} is not worse than {second} by {points} or more.",
        "inconclusive": "These problems do not show which of the two is better.",
    }[comparison.outcome]
