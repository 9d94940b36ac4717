"""`bench compare` and `bench diff`: one row against another, and the answers to the questions on which they differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.analysis import item_changes
from baseline_bench.analysis.compare import ChangeCounts, Comparison, classify_comparison
from baseline_bench.analysis.compare import compare_entries as compared
from baseline_bench.analysis.differences import Difference, list_differences
from baseline_bench.analysis.item_changes import CompletionPair, EntryCompletions, JudgedCompletion
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console, build_facts_table, replace_control_characters
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import code_span, make_visible
from baseline_bench.core.records import encode_indented
from baseline_bench.core.types import Split
from baseline_bench.evaluation import protocol, regrading, runs
from baseline_bench.rendering import comparison_text
from baseline_bench.rendering.comparison_text import SeedComparison
from baseline_bench.results import lookup
from baseline_bench.results.entry import Entry, SolutionLikelihood
from baseline_bench.results.lookup import FoundEntry
from rich import box
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

# Two answers side by side want this many columns; below, they stand one under the other.
MIN_SIDE_BY_SIDE_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class Compare:
    """Two rows, each a path, a file name or a candidate of `board` (None for every board), and how to tell."""

    first: str
    second: str
    leaderboards: Path
    board: str | None
    markdown: bool
    as_json: bool


@dataclass(frozen=True, slots=True)
class Diff:
    """Two rows as in Compare, and which of the items on which they differ.

    Attributes:
        only: "won", "lost", or those moved by "cut" or "unread"; "both" or None for all that were won and lost.
        limit: items shown at most.
        runs: folders of runs, whose questions are shown where the task's data is not at hand.
        mirror: a folder of data sets, for the questions.
    """

    first: str
    second: str
    leaderboards: Path
    board: str | None
    only: str | None
    limit: int
    markdown: bool
    runs: list[Path]
    mirror: Path | None


@dataclass(frozen=True, slots=True)
class ComparisonNumbers:
    """The figures of a comparison; proportions of items, not percentages."""

    won: int
    lost: int
    both: int
    neither: int
    difference: float
    low: float
    high: float
    p: float
    p_mid: float
    needed: int | None
    at_odds: bool
    flips: ChangeCounts

    @classmethod
    def of(cls, found: Comparison) -> "ComparisonNumbers":
        """Those of a comparison."""
        pairs, interval = found.pairs, found.interval
        counted = (pairs.first, pairs.second, pairs.both, pairs.neither)
        doubt = (interval.low, interval.high, found.p, found.p_mid)
        return cls(*counted, pairs.difference, *doubt, found.needed, found.at_odds, found.flips)


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What `bench compare --json` prints.

    Attributes:
        first, second: the files of the entries.
        numbers: None for rows that are not comparable.
        findings: codes of what the checks of either row found, as `Checks.marks` gives them.
    """

    first: str
    second: str
    kind: str
    why: tuple[Difference, ...]
    verdict: str
    sentence: str
    numbers: ComparisonNumbers | None
    solutions: tuple[SolutionLikelihood | None, SolutionLikelihood | None]
    seeds: SeedComparison | None
    differences: tuple[Difference, ...]
    findings: tuple[tuple[str, ...], tuple[str, ...]]


def compare(order: Compare, console: Console) -> int:
    """Print the verdict, the difference with its doubt, why items moved, and what else differs between two rows.

    Raises:
        BenchError: no such row, or more than one is meant.
    """
    first, second = _find_rows(order, console)
    among = comparison_text.compare_with_seeds(first.entry, _read_active_entries(first, order.leaderboards))
    if order.as_json:
        console.write(encode_indented(_build_report(first, second, among)).decode())
    elif order.markdown:
        files = " and ".join(code_span(str(row.path)) for row in (first, second))
        console.write(f"{comparison_text.render_markdown(first.entry, second.entry, among)}\nEntries: {files}.\n")
    else:
        _print_comparison(first, second, among, console)
    return 0


def diff(order: Diff, console: Console) -> int:
    """Print the questions that exactly one of two rows got right, with both answers.

    Raises:
        BenchError: no such row, rows that cannot be compared, completions that are not there, or a limit below 1.
    """
    if order.limit < 1:
        raise BenchError(f"--limit {order.limit} shows nothing", "give a number from 1")
    first, second = _find_rows(order, console)
    task = regrading.find_reader_task(first.entry)
    sides = [item_changes.read_entry_completions(row.path, row.entry) for row in (first, second)]
    questions = _read_questions(order, task, sides[0], console)
    found = list(
        item_changes.iterate_changed_items(sides[0], sides[1], None if task is None else task.grade, questions)
    )
    chosen = [item for item in found if _is_wanted(item, order.only)]
    told = comparison_text.describe_comparison(first.entry, second.entry)
    names = comparison_text.name_entries(first.entry, second.entry, str)
    won = sum(item.move.won for item in found)
    count = f"{won} won, {len(found) - won} lost, {min(len(chosen), order.limit)} shown"
    if len(chosen) > order.limit:
        count += f" of {len(chosen)} asked for (--limit)"
    if order.markdown:
        files = " and ".join(code_span(str(row.path)) for row in (first, second))
        head = (
            f"### {code_span(names[0])} against {code_span(names[1])}\n\n**{told.verdict}**: {count}. Entries: "
            f"{files}.\n\n"
        )
        console.write(head + item_changes.render_markdown(chosen[: order.limit], *names))
        return 0
    _print_warnings(first.entry, second.entry, console)
    console.print(Text(told.title, style="bold"), *(Text(f"{what}: {value}") for what, value in told.rows[:-1]))
    console.print(*(Text(f"entry: {make_visible(str(row.path))}") for row in (first, second)))
    for item in chosen[: order.limit]:
        _print_item(item, names, console)
    console.print(Text(count))
    return 0


def _find_rows(order: Compare | Diff, console: Console) -> tuple[FoundEntry, FoundEntry]:
    """Both rows; where a name has several, those of the newest pair that is comparable."""
    first, second = lookup.find_pair(
        order.first,
        order.second,
        order.leaderboards,
        order.board,
        lambda one, other: classify_comparison(one, other).name == "comparable",
    )
    for row in (first, second):
        if row.retraction is not None:
            console.warn(f"{row.path.name} was withdrawn: {row.retraction.why}")
    return first, second


def _read_active_entries(row: FoundEntry, leaderboards: Path) -> list[Entry]:
    """The rows that count on the row's board; none for a file from elsewhere, whose neighbours may be anything."""
    folder = row.path.parent
    if not row.counts or folder.resolve().parent != leaderboards.resolve():
        return []
    return [other.entry for other in lookup.read_board_entries(folder) if other.counts]


def _print_warnings(first: Entry, second: Entry, console: Console) -> None:
    """What the checks found, before the verdict that it may explain."""
    console.print(*(Text(f"warned: {line}", style="yellow") for line in comparison_text.list_warnings(first, second)))


def _print_comparison(left: FoundEntry, right: FoundEntry, among: SeedComparison | None, console: Console) -> None:
    first, second = left.entry, right.entry
    _print_warnings(first, second, console)
    told = comparison_text.describe_comparison(first, second)
    sides = zip(comparison_text.name_entries(first, second), (left, right), strict=True)
    rows = [
        *told.rows[:-1],
        *([("among its seeds", comparison_text.describe_seeds(among))] if among else []),
        told.rows[-1],
    ]
    console.print(build_facts_table(told.title, rows))
    console.print(Text(""))
    for name, row in sides:
        console.print(Text(name, style="bold"))
        console.print(
            *(Text(f"  {line}") for line in (comparison_text.format_score(row.entry), make_visible(str(row.path))))
        )
    others = list_differences(first, second)
    if not others:
        console.print(Text("\nNothing else differs."))
        return
    made = Table(title="what else differs", title_justify="left", box=None, pad_edge=False)
    for header in ("what", "first", "second"):
        made.add_column(header, overflow="fold", ratio=None)
    for one in others:
        made.add_row(*(Text(make_visible(text)) for text in (one.what, one.first, one.second)))
    console.print(Text(""), made)


def _build_report(first: FoundEntry, second: FoundEntry, among: SeedComparison | None) -> ComparisonReport:
    one, other = first.entry, second.entry
    found, told = classify_comparison(one, other), comparison_text.describe_comparison(one, other)
    numbers = None if found.name == "not comparable" else ComparisonNumbers.of(compared(one, other, system=True))
    return ComparisonReport(
        first=first.path.name,
        second=second.path.name,
        kind=found.name,
        why=found.differs,
        verdict=told.verdict,
        sentence=told.sentence,
        numbers=numbers,
        solutions=(one.result.solutions, other.result.solutions),
        seeds=among,
        differences=list_differences(one, other),
        findings=(one.result.marks, other.result.marks),
    )


def _read_questions(order: Diff, task: Task | None, side: EntryCompletions, console: Console) -> Mapping[str, str]:
    """Questions by item id: of the runs that were named, and of the task's data where it is at hand."""
    golds = {line.id: line.gold for line in side.lines}
    problems = [problem for folder in order.runs for problem in runs.read_problems(folder)]
    if task is not None and regrading.are_items_available(task, order.mirror):
        items = task.problems(Split("test", mirror=order.mirror))
        if protocol.digest_items(items) == side.entry.result.task.items_sha256:
            problems += items
        else:
            console.warn(f"the items at hand are not those of {task.LABEL} in this entry: their text is not shown")
    found = {problem.id: problem.question for problem in problems if golds.get(problem.id) == problem.answer}
    if not found:
        console.say("questions are shown by their ids: give --datasets DIR, or --run DIR of a run that asked them")
    return found


def _is_wanted(item: CompletionPair, only: str | None) -> bool:
    kinds = {
        "won": item.move.won,
        "lost": not item.move.won,
        "cut": item.move.cause == "stopping",
        "unread": item.move.cause == "unread",
    }
    return kinds.get(only or "both", True)


def _print_item(item: CompletionPair, names: Sequence[str], console: Console) -> None:
    won = "won" if item.move.won else "lost"
    console.data.print(Rule(Text(make_visible(f"{item.id}: {won} ({item.move.cause})")), align="left"))
    if item.question is not None:
        console.print(Text(replace_control_characters(item.question), style="bold"), Text(""))
    answers = list(zip(names, (item.first, item.second), strict=True))
    if console.data.width < MIN_SIDE_BY_SIDE_COLUMNS:
        for name, answer in answers:
            console.print(
                Text(make_visible(name), style="bold underline"), *_render_completion(answer, item.gold), Text("")
            )
        return
    made = Table(box=box.MINIMAL, expand=True, pad_edge=False)
    for name in names:
        made.add_column(Text(make_visible(name)), ratio=1, overflow="fold")
    for pair in zip(*(_render_completion(answer, item.gold) for _, answer in answers), strict=True):
        made.add_row(*pair)
    console.print(made)


def _render_completion(answer: JudgedCompletion, gold: str) -> Iterator[Text]:
    yield Text(replace_control_characters(answer.text.strip()))
    yield Text(item_changes.describe_judgement(answer, gold), style="green" if answer.correct else "red")
