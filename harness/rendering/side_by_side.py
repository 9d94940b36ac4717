"""Prints two completions of one problem side by side, or one below the other on a narrow terminal."""

from collections.abc import Iterator, Sequence

from baseline_bench.analysis.item_changes import CompletionPair, JudgedCompletion, describe_judgement
from baseline_bench.core.display import Console
from baseline_bench.core.markup import make_visible
from rich import box
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

# Two answers side by side need this many columns; on a narrower screen one goes below the other.
MIN_SIDE_BY_SIDE_COLUMNS = 100


def print_completion_pair(item: CompletionPair, names: Sequence[str], console: Console) -> None:
    """Print a problem that exactly one of two rows got right, with both completions and how they were judged."""
    won = "won" if item.move.won else "lost"
    console.data.print(Rule(Text(make_visible(f"{item.id}: {won} ({item.move.cause})")), align="left"))
    if item.question is not None:
        console.print(Text(item.question, style="bold"), Text(""))
    answers = list(zip(names, (item.first, item.second), strict=True))
    if console.data.width < MIN_SIDE_BY_SIDE_COLUMNS:
        for name, answer in answers:
            console.print(
                Text(make_visible(name), style="bold underline"), *_render_completion(answer, item.gold), Text("")
            )
        return
    table = Table(box=box.MINIMAL, expand=True, pad_edge=False)
    for name in names:
        table.add_column(Text(make_visible(name)), ratio=1, overflow="fold")
    for pair in zip(*(_render_completion(answer, item.gold) for _, answer in answers), strict=True):
        table.add_row(*pair)
    console.print(table)


def _render_completion(answer: JudgedCompletion, gold: str) -> Iterator[Text]:
    yield Text(answer.text.strip())
    yield Text(describe_judgement(answer, gold), style="green" if answer.correct else "red")
