"""`bench diff`: show both answers to the questions on which two rows differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.analysis import item_changes
from baseline_bench.analysis.item_changes import CompletionPair, EntryCompletions
from baseline_bench.commands.compare import find_rows, print_warnings
from baseline_bench.core.command_options import (
    ENTRY,
    argument,
    board_option,
    datasets_option,
    leaderboards_option,
    option,
)
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.markup import code_span, make_visible
from baseline_bench.evaluation import regrading, runs
from baseline_bench.evaluation.stored_answers import read_questions
from baseline_bench.rendering import comparison_text
from baseline_bench.rendering.side_by_side import print_completion_pair
from baseline_bench.results.companions import load_completions
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Two rows, and which of their differing questions to show."""

    first: str = argument(f"the row that wins or loses: {ENTRY}", "FIRST")
    second: str = argument(f"the row that it is compared with: {ENTRY}", "SECOND")
    leaderboards: Path = leaderboards_option()
    board: str | None = board_option()
    only: Literal["won", "lost", "both", "cut", "unread"] | None = option(
        "--only", "questions won, lost, or changed by a completion that was cut or unread (default: won and lost)"
    )
    limit: int = option("-n", "at most N questions (default: %(default)s)", "N", 20)
    markdown: bool = option("--markdown", "print Markdown, each question folded", default=False)
    runs: list[Path] = option(
        "--run", "a run's folder, for the questions where the data set is not at hand; may be repeated", "DIR", list
    )
    mirror: Path | None = datasets_option()


def run(options: Options, console: Console) -> int:
    """Print the questions that exactly one of the two rows answers correctly, with both answers.

    Raises:
        BenchError: no such row, rows that cannot be compared, missing completions, or a limit below 1.
    """
    if options.limit < 1:
        raise BenchError(f"-n {options.limit} shows nothing", "give a number from 1")
    console.say(f"comparing {options.first} with {options.second}")
    first, second = find_rows(options.first, options.second, options.leaderboards, options.board, console)
    task = regrading.find_reader_task(first.entry)
    sides = [EntryCompletions(row.entry, load_completions(row.path, row.entry)) for row in (first, second)]
    questions = _read_questions(options, task, sides[0], console)
    changed_items = list(
        item_changes.iterate_changed_items(sides[0], sides[1], None if task is None else task.grade, questions)
    )
    chosen = [item for item in changed_items if _is_wanted(item, options.only)]
    comparison = comparison_text.describe_comparison(first.entry, second.entry)
    names = comparison_text.name_entries(first.entry, second.entry, str)
    count = _count_items(changed_items, len(chosen), options.limit)
    if options.markdown:
        files = " and ".join(code_span(str(row.path)) for row in (first, second))
        head = (
            f"### {code_span(names[0])} against {code_span(names[1])}\n\n**{comparison.outcome}**: {count}. Entries: "
            f"{files}.\n\n"
        )
        console.write(head + item_changes.render_markdown(chosen[: options.limit], *names))
        return 0
    print_warnings(first.entry, second.entry, console)
    console.print(
        Text(comparison.title, style="bold"), *(Text(f"{what}: {value}") for what, value in comparison.rows[:2])
    )
    for row in (first, second):
        console.print_line(Text(f"entry: {make_visible(str(row.path))}"))
    for item in chosen[: options.limit]:
        print_completion_pair(item, names, console)
    console.print(Text(count))
    return 0


def _count_items(changed_items: Sequence[CompletionPair], chosen: int, limit: int) -> str:
    won = sum(item.move.won for item in changed_items)
    shown = f"{limit} of {chosen} shown (-n N shows more)" if chosen > limit else f"{chosen} shown"
    return f"{won} won, {len(changed_items) - won} lost, {shown}"


def _read_questions(options: Options, task: Task | None, side: EntryCompletions, console: Console) -> Mapping[str, str]:
    """Read the questions by item id, from the named runs and from the task's data if available."""
    golds = {line.id: line.gold for line in side.lines}
    problems = [problem for folder in options.runs for problem in runs.read_problems(folder)]
    questions = {problem.id: problem.question for problem in problems if golds.get(problem.id) == problem.answer}
    questions |= read_questions(task, side.entry, options.mirror, console)
    if not questions:
        console.say("questions are shown by their ids: give --datasets DIR, or --run DIR of a run that asked them")
    return questions


def _is_wanted(item: CompletionPair, only: str | None) -> bool:
    kinds = {
        "won": item.move.won,
        "lost": not item.move.won,
        "cut": item.move.cause == "stopping",
        "unread": item.move.cause == "unread",
    }
    return kinds.get(only or "both", True)
