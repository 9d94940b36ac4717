"""Console output: data to stdout, messages and progress to stderr; colour and bars only on a terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from baseline_bench.core.markup import make_visible
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200
_CONTROL_CHARACTERS = {code: "�" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class Console:
    """The output of a command.

    Args:
        data: the stream for data that a script may read; stdout.
        talk: the stream for messages to a person; stderr.
    """

    def __init__(self, data: TextIO, talk: TextIO) -> None:
        self.data = RichConsole(file=data, highlight=False, width=None if data.isatty() else PIPE_WIDTH)
        self.talk = RichConsole(file=talk, highlight=False, stderr=False)
        self.watched = talk.isatty()
        self._data = data

    def say(self, text: str) -> None:
        """Print one line of information to stderr if it is a terminal."""
        if self.watched:
            self.talk.print(Text(text, style="dim"))

    def warn(self, text: str) -> None:
        """Print one warning line to stderr, terminal or not."""
        self.talk.print(Text(f"bench: {make_visible(text)}", style="yellow"), soft_wrap=True)

    def write(self, text: str) -> None:
        """Write data unchanged, byte for byte."""
        self._data.write(text)
        self._data.flush()

    def print(self, *parts: Text | Table | str) -> None:
        """Print data laid out for a person, without interpreting markup in it."""
        for part in parts:
            self.data.print(part, markup=False)

    @contextmanager
    def progress(self, what: str, wanted: int) -> Iterator[Callable[[int, int], None]]:
        """Show a bar of requests done, requests and tokens per second, and time left.

        Call the value with (requests done, tokens generated here); the rate ignores requests done at the first call.
        """
        with self._build_bar() as bar:
            task = bar.add_task(what, total=wanted, text="")
            first_count: list[int] = []

            def report(done: int, tokens: int) -> None:
                first_count[:] = first_count or [done]
                rate = format_rate(done - first_count[0], tokens, bar.tasks[0].elapsed or 0.0)
                bar.update(task, completed=done, text=rate)

            yield report

    @contextmanager
    def steps(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        """Show a bar of training steps and time left; call the value with (step, total steps, text)."""
        with self._build_bar() as bar:
            task = bar.add_task(what, total=None, text="")

            def report(step: int, total: int, text: str) -> None:
                bar.update(task, completed=step, total=total, text=text)

            yield report

    def _build_bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.talk,
            disable=not self.watched,
        )


def format_rate(requests: int, tokens: int, seconds: float) -> str:
    """Format requests and, if any, tokens per second; empty before the first request is done."""
    if not requests or seconds <= 0:
        return ""
    return f"{requests / seconds:,.1f} requests/s" + (f", {tokens / seconds:,.0f} tokens/s" if tokens else "")


def replace_control_characters(text: str) -> str:
    """Replace control characters in a model's text, so that a terminal obeys none of them."""
    return text.translate(_CONTROL_CHARACTERS)


def build_facts_table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Build a table of two columns: a name and its value."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table
