"""Renders the Markdown comment of a pull request: outcomes first; what exceeds the limit is left out and counted."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from urllib.parse import quote

from baseline_bench.analysis import item_changes
from baseline_bench.analysis.compare import Comparison
from baseline_bench.analysis.item_changes import CompletionPair
from baseline_bench.analysis.outcomes import OUTCOMES, Outcome
from baseline_bench.analysis.statistics import format_points, wilson_interval
from baseline_bench.core.markup import code_span, make_visible, table_cell
from baseline_bench.rendering import aggregates
from baseline_bench.rendering.comparison_text import describe_comparison
from baseline_bench.rendering.formatting import (
    OUTCOME_SYMBOLS,
    OUTCOME_WORDS,
    format_margin,
    format_outcome,
    format_shares,
    format_warnings,
    name_measure,
)
from baseline_bench.rendering.pr_model import ProposedComparison, ProposedRow, PullRequestReport
from baseline_bench.rendering.report.safe_text import format_count
from baseline_bench.results.board import Row
from baseline_bench.results.companions import LOSSES
from baseline_bench.results.retractions import Retraction

# GitHub's limit for a comment, in characters. Counted here in bytes of UTF-8, which are never fewer.
MAX_COMMENT_BYTES = 65_536
COMMENT_MARKER = "<!-- bench pr-report -->"
fence_text = partial(item_changes.fence_text, line_end="\n")  # a carriage return in an answer shows
_MAX_ANSWER_LENGTH, _MAX_LINE_LENGTH, _MAX_NAME_LENGTH = 600, 300, 100
_MAX_ITEMS = {"outcomes": 24, "remarks": 6, "faults": 20, "rows": 50, "facts": 40, "names": 4}
_NO_VALUE = "–"
# Parts that may be left out (faults and outcomes stay): the last kind first and, within a kind, the last candidate.
_OPTIONAL_PARTS = {
    "retractions": "retractions",
    "tables": "tables of rows",
    "moves": "tables of numbers",
    "changes": "lists of what changed",
    "trainings": "training curves",
    "commands": "commands to re-run",
    "examples": "sets of examples",
}


@dataclass(frozen=True, slots=True)
class _CommentPart:
    kind: str
    text: str


def render_comment(report: PullRequestReport, limit: int = MAX_COMMENT_BYTES) -> str:
    """Render the comment, at most `limit` bytes of UTF-8; it begins with `COMMENT_MARKER`.

    Faults and outcomes always stay: their own limits are together below GitHub's. Other parts that do not fit are left
    out, examples first, and the last line counts them.
    """
    return _fit_to_limit(list(_build_parts(report)), limit)


def _fit_to_limit(parts: list[_CommentPart], limit: int) -> str:
    left_out: Counter[str] = Counter()
    size = sum(_count_bytes(part.text) + 2 for part in parts)
    for kind in reversed(_OPTIONAL_PARTS):
        for place in range(len(parts) - 1, -1, -1):
            if size + _count_bytes(_describe_omissions(left_out)) + 2 <= limit:
                break
            if parts[place].kind == kind:
                size -= _count_bytes(parts[place].text) + 2
                left_out[kind] += 1
                del parts[place]
    texts = [part.text for part in parts] + ([_describe_omissions(left_out)] if left_out else [])
    return "\n\n".join(texts) + "\n"


def _describe_omissions(left_out: Counter[str]) -> str:
    counted = ", ".join(f"{left_out[kind]} {name}" for kind, name in _OPTIONAL_PARTS.items() if left_out[kind])
    return (
        f"Left out to stay within {MAX_COMMENT_BYTES:,} characters: {counted}. `bench show ENTRY` reads what is "
        "in the files."
    )


def _count_bytes(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))


def _build_parts(report: PullRequestReport) -> Iterator[_CommentPart]:
    yield _CommentPart("outcomes", f"{COMMENT_MARKER}\n{_render_headline(report)}")
    if report.faults:
        yield _CommentPart("faults", _render_faults(report.faults))
    if report.rows:
        yield _CommentPart("outcomes", _render_outcomes(report))
    if report.retractions:
        yield _CommentPart("retractions", _render_retractions(report.retractions))
    for board in dict.fromkeys(row.board for row in report.rows):
        yield _CommentPart("tables", _render_table(report, board))
    if method := _render_method(report.rows):
        yield _CommentPart("outcomes", method)
    for row in report.rows:
        yield from _build_details(report, row)


def _render_headline(report: PullRequestReport) -> str:
    since = f"against {code_span(report.base)} (merge-base `{report.commit[:12]}`)"
    unsound = format_count(report.unsound, "new entry", "new entries")
    left = f", and {unsound} not judged, for faults" if report.unsound else ""
    if not report.rows:
        return f"**bench**: no new rows {since}{left}."
    counts = Counter(contest.outcome for row in report.rows for contest in row.contests)
    outcome_counts = [f"{OUTCOME_SYMBOLS[word]} {counts[word]} {word}" for word in OUTCOMES if counts[word]] or [
        "nothing to compare"
    ]
    faults = [f"{format_count(len(report.faults), 'fault')} of the board"] if report.faults else []
    new_rows = format_count(len(report.rows), "new row")
    return f"## bench: {', '.join([*faults, *outcome_counts])}\n\n{new_rows} {since}{left}."


def _render_faults(faults: Sequence[str]) -> str:
    shown = [_truncate(fault, _MAX_LINE_LENGTH) for fault in faults[: _MAX_ITEMS["faults"]]]
    hidden_count = len(faults) - len(shown)
    more = f"\n\n{hidden_count:,} more: run `bench board --check`." if hidden_count else ""
    head = "**The board has faults: trust no number below until they are fixed** (`bench board --check --base`):"
    return f"{head}\n\n{fence_text(chr(10).join(shown))}{more}"


def _render_outcomes(report: PullRequestReport) -> str:
    contests = [(row, contest) for row in report.rows for contest in row.contests]
    contests.sort(key=lambda pair: OUTCOMES.index(pair[1].outcome))
    lines = [*_list_warnings(report.rows), *(_render_outcome(row, contest) for row, contest in contests)]
    shown = lines[: _MAX_ITEMS["outcomes"]]
    if hidden_count := len(lines) - len(shown):
        shown.append(f"- and {hidden_count:,} more, in the table")
    return "\n".join([*shown, *(["", _advise(report, contests[0][1].outcome)] if contests else [])])


def _advise(report: PullRequestReport, first: Outcome) -> str:
    """Say in one line what to do; `first` is the first outcome in their order of listing."""
    if report.faults or report.unsound:
        advice = "fix the faults first; until then the outcomes may be wrong."
    elif first == "worse":
        advice = "read the problems lost, below, before you merge."
    elif any(contest.outcome == "inconclusive" for row in report.rows for contest in row.contests):
        advice = (
            'these problems do not decide every comparison. "would narrow it", in the numbers below, says what may.'
        )
    else:
        advice = "nothing is open: every comparison is decided, and none is worse."
    return f"**What to do**: {advice}"


def _render_method(rows: Sequence[ProposedRow]) -> str:
    """Fold what was not compared and how p was adjusted; empty where there is nothing of either."""
    remarks, number = list(_list_remarks(rows)), sum(len(row.contests) for row in rows)
    shown = remarks[: _MAX_ITEMS["remarks"]]
    shown += [f"- and {len(remarks) - len(shown):,} more"] if len(remarks) > len(shown) else []
    titles = [*(["what was not compared"] if shown else []), *(["how p is adjusted"] if number else [])]
    parts = [*(["\n".join(shown)] if shown else []), *([_describe_tests(number)] if number else [])]
    if not parts:
        return ""
    summary = ", and ".join(titles).capitalize()
    return "\n\n".join([f"<details><summary>{summary}</summary>", *parts, "</details>"])


def _list_warnings(rows: Sequence[ProposedRow]) -> Iterator[str]:
    for row in (row.row for row in rows):
        if row.marks:
            yield f"- **warned**: {code_span(row.result.candidate)}: {', '.join(map(code_span, row.marks))}"


def _list_remarks(rows: Sequence[ProposedRow]) -> Iterator[str]:
    """List each remark once, with the candidates that it is about."""
    for remark in dict.fromkeys(remark for row in rows for remark in row.remarks):
        names = [code_span(row.row.result.candidate) for row in rows if remark in row.remarks]
        rest = f" and {len(names) - _MAX_ITEMS['names']:,} more" if len(names) > _MAX_ITEMS["names"] else ""
        yield f"- {', '.join(names[: _MAX_ITEMS['names']])}{rest}: {remark}"


def _render_outcome(row: ProposedRow, contest: ProposedComparison) -> str:
    comparison, other = contest.found, contest.against.result
    opponent = "its base" if contest.role == "base" else "the incumbent"
    opponent += ", a system comparison (more than the weights differs)" if comparison.system else ""
    margin = "" if comparison.margin is None else f"; {format_margin(comparison.margin, comparison.margin_interval)}"
    return (
        f"- {OUTCOME_SYMBOLS[contest.outcome]} **{OUTCOME_WORDS[contest.outcome]} {opponent}**: "
        f"{code_span(row.row.result.candidate)} "
        f"{_format_rate(row.row)} against {code_span(other.candidate)} {_format_rate(contest.against)}: "
        f"{_format_difference(comparison)}, {comparison.pairs.first:,} problems won and "
        f"{comparison.pairs.second:,} lost of {comparison.pairs.total:,}, p = {contest.p:.3g} after Holm "
        f"({comparison.p:.3g} alone){margin}"
    )


def _describe_tests(number: int) -> str:
    return (
        "Each comparison estimates the difference of these weights on problems like these, with its 95 % interval. "
        "Better and worse need p, the level at which the interval ends at 0, below 0.05 after Holm over the "
        f"{format_count(number, 'comparison')} of this pull request (each candidate with its own base and with the "
        "incumbent). The 90 % interval decides against a margin that the recipe declares, each comparison alone. "
        "The incumbent is the best full row of the same task at the merge-base that is comparable and not retracted, "
        "other than the candidate's own base and its own weights."
    )


def _render_retractions(retractions: Sequence[tuple[str, Retraction]]) -> str:
    lines = ["|retracted entry|board|why|superseded by|", "|---|---|---|---|"]
    for board, retraction in retractions[: _MAX_ITEMS["rows"]]:
        successor = table_cell(retraction.superseded_by) if retraction.superseded_by else _NO_VALUE
        lines.append(f"|{table_cell(retraction.entry)}|{table_cell(board)}|{table_cell(retraction.why)}|{successor}|")
    hidden_count = len(retractions) - _MAX_ITEMS["rows"]
    more = f"\n\nand {hidden_count:,} more: see the board" if hidden_count > 0 else ""
    return "### Retractions\n\n" + "\n".join(lines) + more


def _render_table(report: PullRequestReport, board: str) -> str:
    rows = [row for row in report.rows if row.board == board]
    right = f"{name_measure(row.row for row in rows)} %"
    head = ("candidate", "problems", right, "95 % interval", "strict %", "unread %", "cut %")
    lines = ["|" + "|".join((*head, "against its base", "against the incumbent", "entry")) + "|"]
    lines.append("|---|---:|---:|:---:|---:|---:|---:|---|---|---|")
    lines += ["|" + "|".join(_row_cells(report, row)) + "|" for row in rows[: _MAX_ITEMS["rows"]]]
    hidden_count = len(rows) - _MAX_ITEMS["rows"]
    more = f"\n\nand {hidden_count:,} more: see the board" if hidden_count > 0 else ""
    return f"### Board {code_span(board)}\n\n" + "\n".join(lines) + more


def _row_cells(report: PullRequestReport, row: ProposedRow) -> Iterator[str]:
    counts = row.row.result.counts
    interval = wilson_interval(counts.correct, counts.total)
    yield table_cell(row.row.result.candidate)
    yield f"{counts.total:,}" + (" (partial)" if row.row.partial else "")
    whole = ", ".join(f"{name} {value}" for name, value in aggregates.format_aggregates(row.row.result))
    yield table_cell(whole) if whole else f"{100 * counts.correct / counts.total:.2f}"
    yield _NO_VALUE if whole else f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
    yield from format_shares(row.row.result)
    for role in ("base", "incumbent"):
        contest = next((contest for contest in row.contests if contest.role == role), None)
        yield (
            _NO_VALUE
            if contest is None
            else f"{format_outcome(contest.outcome)}, {format_points(contest.found.pairs.difference)}"
        )
    yield _link_file(report, row, row.row.file, "entry") + format_warnings(row.row)


def _build_details(report: PullRequestReport, row: ProposedRow) -> Iterator[_CommentPart]:
    """Build everything about one candidate, in folded blocks; each may be left out alone."""
    name = row.row.result.candidate
    for contest in row.contests:
        opponent = _describe_role(contest)
        moves = _render_item_changes(row, contest)
        yield _CommentPart("moves", _fold_block(f"numbers, {opponent}", name, moves))
        if contest.examples:
            text = "\n\n".join(_render_examples(contest.examples))
            yield _CommentPart("examples", _fold_block(f"problems gained and lost, {opponent}", name, text))
    if row.changes:
        what = f"what changed, {_describe_role(row.contests[-1])}"
        yield _CommentPart("changes", _fold_block(what, name, _render_differences(row)))
    if row.steps:
        yield _CommentPart("trainings", _fold_block("training curve", name, _describe_training(report, row)))
    yield _CommentPart("commands", _fold_block("how to re-run", name, _render_rerun_command(row.row)))


def _describe_role(contest: ProposedComparison) -> str:
    return "against its base" if contest.role == "base" else "against the incumbent"


def _fold_block(what: str, name: str, body: str) -> str:
    """Render a folded block. GitHub renders no Markdown in its summary, so the name is escaped as HTML."""
    shown = make_visible(name)
    shown = shown if len(shown) <= _MAX_NAME_LENGTH else f"{shown[: _MAX_NAME_LENGTH - 1]}…"
    return f"<details><summary><code>{escape(shown)}</code>: {what}</summary>\n\n{body}\n\n</details>"


def _render_item_changes(row: ProposedRow, contest: ProposedComparison) -> str:
    """Render the numbers of the comparison, and its conclusion unless Holm's correction changes the outcome."""
    text = describe_comparison(row.row.entry, contest.against.entry, table_cell)
    rows = text.rows[1:] if text.outcome == contest.outcome else text.rows[1:-1]
    return "\n".join(["|what|found|", "|---|---|", *(f"|{what}|{value}|" for what, value in rows)])


def _render_examples(examples: Sequence[CompletionPair]) -> Iterator[str]:
    for word in ("gained", "lost"):
        for place, one in enumerate((one for one in examples if one.move.won == (word == "gained")), 1):
            yield f"**{word} {place}**: {code_span(one.id)}, gold {code_span(one.gold)}; before, then after"
            yield fence_text(_truncate(one.second.text, _MAX_ANSWER_LENGTH))
            yield fence_text(_truncate(one.first.text, _MAX_ANSWER_LENGTH))


def _render_differences(row: ProposedRow) -> str:
    shown = row.changes[: _MAX_ITEMS["facts"]]
    lines = [f"|{table_cell(one.what)}|{table_cell(one.second)}|{table_cell(one.first)}|" for one in shown]
    hidden_count = len(row.changes) - len(shown)
    more = f"\n\nand {hidden_count:,} more" if hidden_count else ""
    return "|what|before|now|\n|---|---|---|\n" + "\n".join(lines) + more


def _describe_training(report: PullRequestReport, row: ProposedRow) -> str:
    candidate = row.row.result.trained
    first, last = row.steps[0], row.steps[-1]
    loss_text = f"{first.loss:.4f} at step {first.number:,}, {last.loss:.4f} at step {last.number:,} of {last.total:,}"
    if candidate is not None:
        cost = candidate.cost
        loss_text += f"; final loss (mean of the last tenth) {candidate.final_loss:.4f} nats a token"
        loss_text += f"; {cost.rows:,} rows in {cost.seconds:,.0f} s"
    losses_file = row.row.file.removesuffix(".json") + LOSSES
    return f"Loss {loss_text}" + (
        f"; {_link_file(report, row, losses_file, 'loss history')}" if row.has_losses_file else ""
    )


def _render_rerun_command(row: Row) -> str:
    provenance = row.result.provenance
    lines = [provenance.command]
    if provenance.git_commit is not None:
        dirty = "; the code had uncommitted changes" if provenance.git_dirty else ""
        lines.insert(0, f"# bench {provenance.bench}, commit {provenance.git_commit}{dirty}")
    return fence_text("\n".join(_truncate(line, 2000) for line in lines))


def _link_file(report: PullRequestReport, row: ProposedRow, file: str, word: str) -> str:
    if report.link is None:
        return table_cell(file)
    return f"[{word}]({report.link}/{quote(f'{report.prefix}{row.board}/{file}', errors='backslashreplace')})"


def _format_rate(row: Row) -> str:
    return f"{100 * row.result.counts.correct / row.result.counts.total:.2f} %"


def _format_difference(comparison: Comparison) -> str:
    low, high = map(format_points, comparison.interval)
    return f"{format_points(comparison.pairs.difference)} points [{low}, {high}]"


def _truncate(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} characters more)"
