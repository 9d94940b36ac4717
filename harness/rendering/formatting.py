"""The tables of a page: one line a row, at most eleven columns, no padding, fixed decimals."""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from baseline_bench.analysis.board_comparisons import Against, Judged
from baseline_bench.analysis.differences import untrained
from baseline_bench.analysis.statistics import Interval, points, wilson
from baseline_bench.core.markup import UNKNOWN, cell, visible
from baseline_bench.results.board import Row, Table
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.retractions import Retraction, place

LEFT, RIGHT, _MIDDLE = "---", "---:", ":---:"
EXACT = "exact match"
_SCORE = ((f"{EXACT} %", RIGHT), ("95 % interval", _MIDDLE))
_SHARES = (("strict %", RIGHT), ("unread %", RIGHT), ("cut %", RIGHT))
_MADE = (("prompt", LEFT), ("engine, dtype, device", LEFT))
_CANDIDATE, _ENTRY = ("candidate", LEFT), ("entry", LEFT)
_FULL = (_CANDIDATE, *_SCORE, *_SHARES, ("against base", LEFT), *_MADE, ("tokens/s", RIGHT), _ENTRY)
_PARTIAL = (_CANDIDATE, ("items", RIGHT), *_SCORE, *_SHARES, *_MADE, _ENTRY)
_WITHDRAWN = (_CANDIDATE, ("task", LEFT), *_SCORE, ("withdrawn", LEFT), ("why", LEFT), ("instead", LEFT), _ENTRY)


def full(judged: Judged, table: Table) -> str:
    """The table of the full runs."""
    return written(_headed(_FULL, table.full), [_full(judged, row) for row in table.full])


def partial(judged: Judged, table: Table) -> str:
    """The table of the partial runs: the number of items stands where full ones have a comparison and a speed."""
    return written(_headed(_PARTIAL, table.partial), [_partial(judged, row) for row in table.partial])


def withdrawn(board: str, rows: Sequence[tuple[Row, Retraction]]) -> str:
    """The table of the rows that do not count, each with its reason."""
    columns = _headed(_WITHDRAWN, [row for row, _ in rows])
    return written(columns, [_withdrawn(board, row, record) for row, record in rows])


def measure(rows: Iterable[Row]) -> str:
    """What the share of right items is called in a table of these rows."""
    return next((row.result.task.measure for row in rows if row.result.task.bar is not None), EXACT)


def percent(count: int, total: int, decimals: int) -> str:
    """A share in percent."""
    return f"{100 * count / total:.{decimals}f}"


def span(interval: Interval) -> str:
    """An interval of proportions in percent."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}"


def sentence(text: str) -> str:
    """A sentence from outside in a cell, whole: code spans that nothing in it can leave."""
    return " ".join(cell(part) for part in wrap(visible(text), 90)) or UNKNOWN


def warned(result: Result) -> str:
    """What the checks of a row found, to end a cell; nothing where they found nothing."""
    return f", warned: {', '.join(map(cell, result.marks))}" if result.marks else ""


def dtype(result: Result) -> str | None:
    """Of the weights while generating; None where an engine does not tell."""
    told = result.engine.settings.get("dtype")
    return None if told is None else str(told)


def written(columns: Sequence[tuple[str, str]], rows: Sequence[Iterator[str]]) -> str:
    """A Markdown table of columns, each a heading and its alignment, and of rows of finished cells."""
    head = ["|".join(["", *names, ""]) for names in zip(*columns, strict=True)]
    return "\n".join([*head, *("|".join(["", *cells, ""]) for cells in rows)])


def _headed(columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> Sequence[tuple[str, str]]:
    return [(name.replace(EXACT, measure(rows)), side) for name, side in columns]


def _full(judged: Judged, row: Row) -> Iterator[str]:
    yield cell(row.result.candidate)
    yield from _score(row.result)
    yield from _shares(row.result)
    against = judged.against.get(row.file)
    yield _difference(against) if against is not None else "" if untrained(row.entry) else UNKNOWN
    yield from _made(row.result)
    yield _speed(row.entry)
    yield _link(judged, row)


def _partial(judged: Judged, row: Row) -> Iterator[str]:
    yield cell(row.result.candidate)
    yield f"{row.result.counts.total:,}"
    yield from _score(row.result)
    yield from _shares(row.result)
    yield from _made(row.result)
    yield _link(judged, row)


def _withdrawn(board: str, row: Row, record: Retraction) -> Iterator[str]:
    yield cell(row.result.candidate)
    yield cell(row.result.task.label)
    yield from _score(row.result)
    yield f"[{record.created[:10]}]({board}/{place(record)})"
    yield sentence(record.why)
    yield "" if record.superseded_by is None else f"[entry]({board}/{record.superseded_by})"
    yield f"[entry]({board}/{row.file})"


def _score(result: Result) -> Iterator[str]:
    counts = result.counts
    yield percent(counts.correct, counts.total, 2)
    yield span(wilson(counts.correct, counts.total))


def _shares(result: Result) -> Iterator[str]:
    counts = result.counts
    yield from (percent(count, counts.total, 1) for count in (counts.strict, counts.unread, counts.cut))


def _difference(against: Against) -> str:
    low, high = against.interval
    return f"{points(against.pairs.difference)} ({points(low)} to {points(high)}) {against.verdict}"


def _made(result: Result) -> Iterator[str]:
    yield result.model.prompt_style
    yield cell(f"{result.engine.version}, {dtype(result) or UNKNOWN}, {result.provenance.device}")


def _speed(entry: Entry) -> str:
    return UNKNOWN if entry.timings.tokens_per_second is None else f"{entry.timings.tokens_per_second:,.0f}"


def _link(judged: Judged, row: Row) -> str:
    level = judged.board.said.level(row.file)
    marks = ["" if level is None else f" L{level}", ", uncommitted code" if row.result.provenance.git_dirty else ""]
    return f"[entry]({judged.board.name}/{row.file}){''.join(marks)}{warned(row.result)}"
