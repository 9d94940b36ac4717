"""The Markdown of a pull request's comment: verdicts first, and what is too much is left out from the end and told."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from baseline_bench.analysis.compare import Comparison
from baseline_bench.analysis.statistics import points, wilson
from baseline_bench.core.markup import cell, code, visible
from baseline_bench.rendering import aggregates
from baseline_bench.rendering.comparison_text import tell
from baseline_bench.rendering.formatting import measure, warned
from baseline_bench.rendering.pr_model import Contest, Example, Proposed, Report, Withdrawn
from baseline_bench.results.board import Row

# What GitHub takes as one comment. Counted here in bytes of UTF-8, of which there are never fewer than characters.
LIMIT = 65_536
MARK = "<!-- bench pr-report -->"
_ANSWER, _LINE, _NAME = 600, 300, 100
_MOST = {"verdicts": 30, "faults": 20, "rows": 50, "facts": 40, "names": 4}
_ABSENT = "–"
_ORDER = ("worse", "better", "not resolved")
# Parts by weight: faults and verdicts stay, these go from the last kind and, within a kind, from the last candidate.
_SHED = ("retractions", "tables", "moves", "changes", "trainings", "commands", "examples")
_NAMES = {
    "retractions": "retractions",
    "tables": "tables of rows",
    "moves": "notes on why items moved",
    "changes": "lists of what changed",
    "trainings": "training curves",
    "commands": "commands to re-run",
    "examples": "sets of examples",
}


@dataclass(frozen=True, slots=True)
class _Part:
    kind: str
    text: str


def render(report: Report, limit: int = LIMIT) -> str:
    """The comment, at most `limit` bytes of UTF-8, beginning with `MARK`.

    Faults and verdicts always stay (they have limits of their own, together below the limit of GitHub); what else does
    not fit is left out, examples first, and the last line counts what is missing.
    """
    return _fitted(list(_parts(report)), limit)


def fence(text: str) -> str:
    """A fenced block that shows `text`, with a fence longer than any run of backticks in it.

    Line ends stay, every other control or invisible character is spelled out; nothing inside is Markdown, a mention, a
    link or LaTeX.
    """
    lines = [visible(line.replace("\t", "    ")) for line in text.split("\n")]
    shown = "\n".join(lines)
    bar = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{bar}text\n{shown}\n{bar}"


def _fitted(parts: list[_Part], limit: int) -> str:
    left_out: Counter[str] = Counter()
    size = sum(_size(part.text) + 2 for part in parts)
    for kind in reversed(_SHED):
        for place in range(len(parts) - 1, -1, -1):
            if size + _size(_notice(left_out)) + 2 <= limit:
                break
            if parts[place].kind == kind:
                size -= _size(parts[place].text) + 2
                left_out[kind] += 1
                del parts[place]
    texts = [part.text for part in parts] + ([_notice(left_out)] if left_out else [])
    return "\n\n".join(texts) + "\n"


def _notice(left_out: Counter[str]) -> str:
    counted = ", ".join(f"{left_out[kind]} {_NAMES[kind]}" for kind in _SHED if left_out[kind])
    return f"Left out to stay within {LIMIT:,} characters: {counted}. `bench show ENTRY` reads what is in the files."


def _size(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))


def _parts(report: Report) -> Iterator[_Part]:
    yield _Part("verdicts", f"{MARK}\n{_headline(report)}")
    if report.faults:
        yield _Part("faults", _faults(report.faults))
    if report.rows:
        yield _Part("verdicts", _verdicts(report))
    if report.retractions:
        yield _Part("retractions", _retractions(report.retractions))
    for board in dict.fromkeys(row.board for row in report.rows):
        yield _Part("tables", _table(report, board))
    for row in report.rows:
        yield from _details(report, row)


def _headline(report: Report) -> str:
    since = f"against {code(report.base)} (merge-base `{report.commit[:12]}`)"
    left = (
        f", and {_counted(report.unsound, 'new entry', 'new entries')} not judged, for faults" if report.unsound else ""
    )
    if not report.rows:
        return f"**bench**: no new rows {since}{left}."
    counts = Counter(contest.verdict for row in report.rows for contest in row.contests)
    told = [f"{counts[word]} {word}" for word in _ORDER if counts[word]] or ["nothing to compare"]
    faults = [f"{_counted(len(report.faults), 'fault')} of the board"] if report.faults else []
    return f"## bench: {', '.join([*faults, *told])}\n\n{_counted(len(report.rows), 'new row')} {since}{left}."


def _faults(faults: Sequence[str]) -> str:
    shown = [_cut(fault, _LINE) for fault in faults[: _MOST["faults"]]]
    rest = len(faults) - len(shown)
    more = f"\n\n{rest:,} more: run `bench board --check`." if rest else ""
    head = "**The board has faults. Believe no number below before they are mended** (`bench board --check --base`):"
    return f"{head}\n\n{fence(chr(10).join(shown))}{more}"


def _verdicts(report: Report) -> str:
    contests = [(row, contest) for row in report.rows for contest in row.contests]
    contests.sort(key=lambda pair: _ORDER.index(pair[1].verdict))
    lines = [*_warned(report.rows), *(_verdict(row, contest) for row, contest in contests)]
    lines += _remarks(report.rows)
    shown = lines[: _MOST["verdicts"]]
    if rest := len(lines) - len(shown):
        shown.append(f"- and {rest:,} more, in the table")
    return "\n".join(shown) + (f"\n\n{_family(len(contests))}" if contests else "")


def _warned(rows: Sequence[Proposed]) -> Iterator[str]:
    """What the checks of the new rows found, a line each, before any verdict that it may explain."""
    for result in (row.row.entry.result for row in rows):
        if result.marks:
            yield f"- **warned**: {code(result.candidate)}: {', '.join(map(code, result.marks))}"


def _remarks(rows: Sequence[Proposed]) -> Iterator[str]:
    """Each remark once, with the candidates that it is about."""
    for remark in dict.fromkeys(remark for row in rows for remark in row.remarks):
        names = [code(row.row.entry.result.candidate) for row in rows if remark in row.remarks]
        rest = f" and {len(names) - _MOST['names']:,} more" if len(names) > _MOST["names"] else ""
        yield f"- {', '.join(names[: _MOST['names']])}{rest}: {remark}"


def _verdict(row: Proposed, contest: Contest) -> str:
    found, other = contest.found, contest.against.entry.result
    word = {"worse": "worse than", "better": "better than", "not resolved": "not resolved against"}[contest.verdict]
    whose = "its base" if contest.role == "base" else "the incumbent"
    whose += ", a system comparison (more than the weights differs)" if found.system else ""
    needed = f"; a difference like this one takes {found.needed:,} items" if found.needed else ""
    odds = "; interval and test disagree" if found.at_odds else ""
    return (
        f"- **{word} {whose}**: {code(row.row.entry.result.candidate)} {_rate(row.row)} against "
        f"{code(other.candidate)} {_rate(contest.against)}: {_points(found)}, {found.pairs.first:,} items won and "
        f"{found.pairs.second:,} lost of {found.pairs.total:,}, p = {contest.p:.3g} after Holm "
        f"({found.p:.3g} alone){needed if contest.verdict == 'not resolved' else ''}{odds}"
    )


def _family(number: int) -> str:
    return (
        f"Exact McNemar on the same items, Holm over the {_counted(number, 'comparison')} of this pull request (each "
        "candidate with its own base and with the incumbent), 5 %; intervals of single differences, 95 %, Newcombe. "
        "The incumbent is the best full row of the same task at the merge-base that is comparable and not retracted, "
        "other than the candidate's own base and its own weights."
    )


def _retractions(retractions: Sequence[Withdrawn]) -> str:
    lines = ["|retracted entry|board|why|superseded by|", "|---|---|---|---|"]
    for one in retractions[: _MOST["rows"]]:
        said = one.retraction
        later = cell(said.superseded_by) if said.superseded_by else _ABSENT
        lines.append(f"|{cell(said.entry)}|{cell(one.board)}|{cell(said.why)}|{later}|")
    rest = len(retractions) - _MOST["rows"]
    more = f"\n\nand {rest:,} more: see the board" if rest > 0 else ""
    return "### Retractions\n\n" + "\n".join(lines) + more


def _table(report: Report, board: str) -> str:
    rows = [row for row in report.rows if row.board == board]
    right = f"{measure(row.row for row in rows)} %"
    head = ("candidate", "items", right, "95 % interval", "strict %", "unread %", "cut %")
    lines = ["|" + "|".join((*head, "against its base", "against the incumbent", "entry")) + "|"]
    lines.append("|---|---:|---:|:---:|---:|---:|---:|---|---|---|")
    lines += ["|" + "|".join(_cells(report, row)) + "|" for row in rows[: _MOST["rows"]]]
    rest = len(rows) - _MOST["rows"]
    more = f"\n\nand {rest:,} more: see the board" if rest > 0 else ""
    return f"### Board {code(board)}\n\n" + "\n".join(lines) + more


def _cells(report: Report, row: Proposed) -> Iterator[str]:
    counts = row.row.entry.result.counts
    interval = wilson(counts.correct, counts.total)
    yield cell(row.row.entry.result.candidate)
    yield f"{counts.total:,}" + (" (partial)" if row.row.entry.result.selection.limit is not None else "")
    whole = ", ".join(f"{name} {value}" for name, value in aggregates.told(row.row.entry.result))
    yield cell(whole) if whole else f"{100 * counts.correct / counts.total:.2f}"
    yield _ABSENT if whole else f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"
    yield from (f"{100 * count / counts.total:.1f}" for count in (counts.strict, counts.unread, counts.cut))
    for role in ("base", "incumbent"):
        contest = next((contest for contest in row.contests if contest.role == role), None)
        yield _ABSENT if contest is None else f"{contest.verdict}, {points(contest.found.pairs.difference)}"
    yield _file(report, row, row.row.file, "entry") + warned(row.row.entry.result)


def _details(report: Report, row: Proposed) -> Iterator[_Part]:
    """Everything about one candidate, in folded blocks that each may go alone."""
    name = row.row.entry.result.candidate
    for contest in row.contests:
        whose = _whose(contest)
        yield _Part("moves", _folded(f"why items moved, {whose}", name, _moves(row, contest)))
        if contest.gained or contest.lost:
            told = "\n\n".join([*_examples("gained", contest.gained), *_examples("lost", contest.lost)])
            yield _Part("examples", _folded(f"items gained and lost, {whose}", name, told))
    if row.changes:
        yield _Part("changes", _folded(f"what changed, {_whose(row.contests[-1])}", name, _changes(row)))
    if row.steps:
        yield _Part("trainings", _folded("training curve", name, _training(report, row)))
    yield _Part("commands", _folded("how to re-run", name, _rerun(row.row)))


def _whose(contest: Contest) -> str:
    return "against its base" if contest.role == "base" else "against the incumbent"


def _folded(what: str, name: str, body: str) -> str:
    """A folded block. Nothing is Markdown inside its summary, so the name stands there as escaped HTML."""
    shown = visible(name)
    shown = shown if len(shown) <= _NAME else f"{shown[: _NAME - 1]}…"
    return f"<details><summary><code>{escape(shown)}</code>: {what}</summary>\n\n{body}\n\n</details>"


def _moves(row: Proposed, contest: Contest) -> str:
    """What is told of two rows anywhere, but for the verdict: here that is the one after Holm."""
    told = tell(row.row.entry, contest.against.entry, cell)
    rows = told.rows[1:] if told.verdict == contest.verdict else told.rows[1:-1]
    return "\n".join(["|what|found|", "|---|---|", *(f"|{what}|{value}|" for what, value in rows)])


def _examples(word: str, examples: Sequence[Example]) -> Iterator[str]:
    for place, example in enumerate(examples, 1):
        yield f"**{word} {place}**: {code(example.id)}, gold {code(example.gold)}; before, then after"
        yield fence(_cut(example.before, _ANSWER))
        yield fence(_cut(example.after, _ANSWER))


def _changes(row: Proposed) -> str:
    shown = row.changes[: _MOST["facts"]]
    lines = [f"|{cell(one.what)}|{cell(one.second)}|{cell(one.first)}|" for one in shown]
    rest = len(row.changes) - len(shown)
    more = f"\n\nand {rest:,} more" if rest else ""
    return "|what|before|now|\n|---|---|---|\n" + "\n".join(lines) + more


def _training(report: Report, row: Proposed) -> str:
    made = row.row.entry.result.training
    first, last = row.steps[0], row.steps[-1]
    told = f"{first.loss:.4f} at step {first.number:,}, {last.loss:.4f} at step {last.number:,} of {last.total:,}"
    if made is not None and made.candidate is not None:
        cost = made.candidate.cost
        told += f"; final loss (mean of the last tenth) {made.candidate.final_loss:.4f} nats a token"
        told += f"; {cost.rows:,} rows in {cost.seconds:,.0f} s"
    beside = row.row.file.removesuffix(".json") + ".loss.jsonl.gz"
    return f"Loss {told}; {_file(report, row, beside, 'loss history')}"


def _rerun(row: Row) -> str:
    where = row.entry.result.provenance
    lines = [where.command]
    if where.git_commit is not None:
        dirty = "; the code had uncommitted changes" if where.git_dirty else ""
        lines.insert(0, f"# bench {where.bench}, commit {where.git_commit}{dirty}")
    return fence("\n".join(_cut(line, 2000) for line in lines))


def _file(report: Report, row: Proposed, file: str, word: str) -> str:
    if report.link is None:
        return cell(file)
    return f"[{word}]({report.link}/{quote(f'{report.prefix}{row.board}/{file}', errors='backslashreplace')})"


def _rate(row: Row) -> str:
    return f"{100 * row.entry.result.counts.correct / row.entry.result.counts.total:.2f} %"


def _points(found: Comparison) -> str:
    low, high = map(points, found.interval)
    return f"{points(found.pairs.difference)} points [{low}, {high}]"


def _counted(number: int, one: str, more: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} characters more)"
