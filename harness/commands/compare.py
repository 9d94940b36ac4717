"""`bench compare`: compare two rows or logs of other tools by a paired test, or two recipes over their seeds."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.analysis import recipe_rows
from baseline_bench.analysis.compare import classify_comparison, compare_entries
from baseline_bench.analysis.differences import Difference, list_differences
from baseline_bench.analysis.recipe_rows import RecipePair
from baseline_bench.core.command_options import (
    ENTRY,
    argument,
    board_option,
    datasets_option,
    leaderboards_option,
    option,
)
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import code_span, make_visible
from baseline_bench.core.records import encode_indented
from baseline_bench.evaluation import regrading, stored_answers
from baseline_bench.interop import log_pairs, log_text, sample_logs
from baseline_bench.interop.sample_logs import LOGS, SampleLog
from baseline_bench.rendering import comparison_text, recipe_text
from baseline_bench.rendering.comparison_text import ComparisonNumbers, ReportedOutcome, SeedComparison
from baseline_bench.results import advisories, lookup
from baseline_bench.results.advisories import Advisory
from baseline_bench.results.entry import Entry, SolutionLikelihood
from baseline_bench.results.lookup import FoundEntry
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Two rows (by path, file name or candidate's name), two recipes or two logs; and how to print the outcome."""

    first: str = argument(f"the row that wins or loses: {ENTRY}; or recipe:NAME, or a log ({LOGS})", "FIRST")
    second: str = argument(f"the row that it is compared with: {ENTRY}; or recipe:NAME, or a log", "SECOND")
    leaderboards: Path = leaderboards_option()
    board: str | None = board_option()
    base: str | None = option("--base", "of recipes: the model they train, to compare each with it too", "MODEL")
    margin: float | None = option(
        "--margin", "the largest difference that does not matter, 0.01 for 1 point (default: the recipe's)", "SHARE"
    )
    metric: list[str] = option(
        "--metric",
        "of logs: which metric and filter, as exact_match,strict-match (default: the only one); may be repeated",
        "NAME,FILTER",
        list,
    )
    mirror: Path | None = datasets_option()
    markdown: bool = option("--markdown", "print Markdown, for a pull request", default=False, one_of="format")
    as_json: bool = option("--json", "print one JSON record", default=False, one_of="format")

    def __post_init__(self) -> None:
        if self.margin is not None and not 0 < self.margin < 1:
            way_out = "give one above 0 and below 1: 0.01 for one point"
            raise BenchError(f"--margin {self.margin:g} is no share", way_out)


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What `bench compare --json` prints.

    Attributes:
        first, second: the files of the entries.
        numbers: None if the rows are not comparable.
        findings: of each row the codes of its checks' findings, and the ids of the advisories that concern it.
        identity_note: as in `note_identities`.
    """

    first: str
    second: str
    kind: str
    why: tuple[Difference, ...]
    outcome: ReportedOutcome
    estimand: str | None
    sentence: str
    numbers: ComparisonNumbers | None
    solutions: tuple[SolutionLikelihood | None, SolutionLikelihood | None]
    seeds: SeedComparison | None
    differences: tuple[Difference, ...]
    findings: tuple[tuple[str, ...], tuple[str, ...]]
    identity_note: str | None


def run(options: Options, console: Console) -> int:
    """Print the outcome, the difference with its uncertainty, why items changed, and what else differs.

    Raises:
        BenchError: no such row, recipe or log, an ambiguous name, a recipe of one seed, or an impossible margin.
    """
    names = options.first, options.second
    recipes = any(name.startswith(recipe_rows.PREFIX) for name in names)
    logs = not recipes and any(sample_logs.is_log(name) for name in names)
    if options.metric and not logs:
        raise BenchError("--metric is for logs of other tools", "leave it out: a row has one metric")
    if options.base is not None and not recipes:
        raise BenchError("--base is for recipes", "compare recipe:NAME with recipe:NAME, or leave --base out")
    console.say(f"comparing {options.first} with {options.second}")
    if recipes or logs:
        return (_compare_recipes if recipes else _compare_logs)(options, console)
    first, second = find_rows(options.first, options.second, options.leaderboards, options.board, console)
    seed_comparison = _compare_seeds(first, options)
    if options.as_json:
        console.write(encode_indented(_build_report(first, second, seed_comparison, options.margin)).decode())
    elif options.markdown:
        files = " and ".join(code_span(str(row.path)) for row in (first, second))
        affected = [
            f"\nAdvisory {code_span(one.id)}: {code_span(one.affects)}.\n" for one in _collect_advisories(first, second)
        ]
        text = comparison_text.render_markdown(first.entry, second.entry, seed_comparison, options.margin)
        console.write(f"{text}\nEntries: {files}.\n{''.join(affected)}")
    else:
        _print_comparison((first, second), seed_comparison, options.margin, console)
    return 0


def compare_rows(options: Options, console: Console) -> ComparisonReport:
    """Compare two rows of boards; return what `--json` prints. Errors as in `run`."""
    first, second = find_rows(options.first, options.second, options.leaderboards, options.board, console)
    return _build_report(first, second, _compare_seeds(first, options), options.margin)


def find_recipes(first: str, second: str, leaderboards: Path, board: str | None, base: str | None) -> RecipePair:
    """Find the rows of two recipes. Errors as in `run`."""
    if not first.startswith(recipe_rows.PREFIX) or not second.startswith(recipe_rows.PREFIX):
        raise BenchError(
            "a recipe is compared with a recipe", "write recipe:NAME on both sides; --base MODEL adds the base"
        )
    return recipe_rows.select_recipes(first, second, lookup.read_boards(leaderboards, board), base)


def find_rows(
    first_name: str, second_name: str, leaderboards: Path, board: str | None, console: Console
) -> tuple[FoundEntry, FoundEntry]:
    """Find both rows; if a name matches several, take the newest comparable pair, else one of equal tasks or items."""
    first, second = lookup.find_pair(
        first_name,
        second_name,
        leaderboards,
        board,
        lambda one, other: classify_comparison(one, other).name == "comparable",
        lambda one, other: one.result.task == other.result.task and not _differ_in_items(one, other),
        lambda one, other: not _differ_in_items(one, other),
    )
    for row in (first, second):
        _warn_of_records(row, console)
    return first, second


def _warn_of_records(row: FoundEntry, console: Console) -> None:
    if row.retraction is not None:
        console.warn(f"{row.path.name} was withdrawn: {row.retraction.why}")
    for advisory in _find_advisories(row):
        console.warn(f"{row.path.name}: {advisory.describe()}")
    if row.is_regraded:
        console.warn(f"{row.path.name} is judged again by {row.entry.result.task.reader}")


def _compare_logs(options: Options, console: Console) -> int:
    first, second = (_read_side(name, options, console) for name in (options.first, options.second))
    comparison = log_pairs.compare_logs(first, second, options.margin)
    if options.as_json:
        console.write(encode_indented(log_text.build_log_report(comparison)).decode())
    elif options.markdown:
        console.write(log_text.render_logs_markdown(comparison))
    else:
        log_text.print_logs(comparison, console)
    return 0


def _read_side(name: str, options: Options, console: Console) -> SampleLog:
    if sample_logs.is_log(name):
        return sample_logs.read_log(Path(name), options.metric)
    row = lookup.find_entry(name, options.leaderboards, options.board)
    _warn_of_records(row, console)
    task = regrading.find_reader_task(row.entry)
    return log_pairs.read_row(row, stored_answers.read_questions(task, row.entry, options.mirror, console))


def _compare_recipes(options: Options, console: Console) -> int:
    pair = find_recipes(options.first, options.second, options.leaderboards, options.board, options.base)
    comparison = recipe_text.compare_pair(pair, options.margin)
    if options.as_json:
        console.write(encode_indented(recipe_text.build_recipe_report(comparison)).decode())
    elif options.markdown:
        console.write(recipe_text.render_recipes_markdown(comparison))
    else:
        (_, text), *facts = recipe_text.list_recipe_facts(comparison)
        outcome = ("outcome", comparison_text.color_outcome(comparison.contrast.outcome, text))
        console.print(build_facts_table(recipe_text.title_recipes(pair), [outcome, *facts]))
    return 0


def _differ_in_items(first: Entry, second: Entry) -> bool:
    return classify_comparison(first, second).name == "not comparable"


def _list_marks(row: FoundEntry) -> tuple[str, ...]:
    return (*row.entry.result.marks, *(advisory.id for advisory in _find_advisories(row)))


def _collect_advisories(first: FoundEntry, second: FoundEntry) -> list[Advisory]:
    """List each advisory that concerns one of the rows or both."""
    return list({advisory.id: advisory for row in (first, second) for advisory in _find_advisories(row)}.values())


def _find_advisories(row: FoundEntry) -> tuple[Advisory, ...]:
    """Find the advisories of bench, and of the leaderboards that hold the file, that concern the row."""
    return advisories.find_advisories(row.entry, advisories.read_advisories(row.path.absolute().parent.parent))


def _compare_seeds(row: FoundEntry, options: Options) -> SeedComparison | None:
    """Compare with the rows that count on the row's board; with none for a file outside the leaderboards folder."""
    folder, others = row.path.parent, []
    if row.counts and folder.resolve().parent == options.leaderboards.resolve():
        others = [other.entry for other in lookup.read_board_entries(folder) if other.counts]
    return comparison_text.compare_with_seeds(row.entry, others)


def print_warnings(first: Entry, second: Entry, console: Console) -> None:
    """Print the findings of both rows' checks, since they may explain the outcome."""
    console.print(*(Text(f"warned: {line}", style="yellow") for line in comparison_text.list_warnings(first, second)))


def _print_comparison(
    found: tuple[FoundEntry, FoundEntry], seed_comparison: SeedComparison | None, margin: float | None, console: Console
) -> None:
    first, second = found[0].entry, found[1].entry
    print_warnings(first, second, console)
    comparison = comparison_text.describe_comparison(first, second, margin=margin)
    sides = zip(comparison_text.name_entries(first, second), found, strict=True)
    rows: list[tuple[str, str | Text]] = [
        ("outcome", comparison_text.color_outcome(comparison.outcome, comparison.rows[0][1])),
        *comparison.rows[1:-1],
        *([("among its seeds", comparison_text.describe_seeds(seed_comparison))] if seed_comparison else []),
        comparison.rows[-1],
    ]
    console.print(build_facts_table(comparison.title, rows))
    console.print(Text(""))
    for name, row in sides:
        console.print(Text(name, style="bold"))
        console.print(*(Text(f"  {part}") for part in comparison_text.format_score(row.entry).split("; ")))
        console.print_line(Text(f"  {make_visible(str(row.path))}"))
    differences = list_differences(first, second)
    if not differences:
        console.print(Text("\nNothing else differs."))
        return
    table = Table(title="what else differs", title_justify="left", box=None, pad_edge=False)
    for header in ("what", "first", "second"):
        table.add_column(header, overflow="fold", ratio=None)
    for difference in differences:
        table.add_row(*(Text(make_visible(text)) for text in (difference.what, difference.first, difference.second)))
    console.print(Text(""), table)


def _build_report(
    first: FoundEntry, second: FoundEntry, seed_comparison: SeedComparison | None, margin: float | None
) -> ComparisonReport:
    entries = first.entry, second.entry
    kind, comparison = classify_comparison(*entries), comparison_text.describe_comparison(*entries, margin=margin)
    comparable = kind.name != "not comparable"
    found = compare_entries(*entries, system=True, margin=margin) if comparable else None
    return ComparisonReport(
        first=first.path.name,
        second=second.path.name,
        kind=kind.name,
        why=kind.differs,
        outcome=comparison.outcome,
        estimand=comparison_text.name_estimand(bool(kind.differs)) if comparable else None,
        sentence=comparison.sentence,
        numbers=None if found is None else ComparisonNumbers.of(found, found.flips),
        solutions=(first.entry.result.solutions, second.entry.result.solutions),
        seeds=seed_comparison,
        differences=list_differences(*entries),
        findings=(_list_marks(first), _list_marks(second)),
        identity_note=comparison_text.note_identities(*entries) if comparable else None,
    )
