"""What a person sees: data to stdout, talk and progress to stderr, and neither colour nor bars where nobody looks."""

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
    """Where a command writes.

    Args:
        data: what a script may read; stdout.
        talk: what a person watches; stderr.
    """

    def __init__(self, data: TextIO, talk: TextIO) -> None:
        self.data = RichConsole(file=data, highlight=False, width=None if data.isatty() else PIPE_WIDTH)
        self.talk = RichConsole(file=talk, highlight=False, stderr=False)
        self.watched = talk.isatty()
        self._data = data

    def say(self, text: str) -> None:
        """One line of talk; nothing where stderr is not a terminal."""
        if self.watched:
            self.talk.print(Text(text, style="dim"))

    def warn(self, text: str) -> None:
        """One line that is told whether or not somebody watches."""
        self.talk.print(Text(f"bench: {make_visible(text)}", style="yellow"), soft_wrap=True)

    def write(self, text: str) -> None:
        """Data as it is, byte for byte."""
        self._data.write(text)
        self._data.flush()

    def print(self, *parts: Text | Table | str) -> None:
        """Data for a person: laid out, without markup being read in it."""
        for part in parts:
            self.data.print(part, markup=False)

    @contextmanager
    def progress(self, what: str, wanted: int) -> Iterator[Callable[[int, int], None]]:
        """A bar of requests done, requests and tokens a second, and time left.

        Call the value with (requests done, tokens generated here); what was done at the first call is not counted.
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.talk, disable=not self.watched) as bar:
            task = bar.add_task(what, total=wanted, rate="")

            before: list[int] = []

            def report(done: int, tokens: int) -> None:
                before[:] = before or [done]
                bar.update(
                    task, completed=done, rate=format_rate(done - before[0], tokens, bar.tasks[0].elapsed or 0.0)
                )

            yield report

    @contextmanager
    def steps(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        """A bar of training steps and time left; call the value with (step, steps in all, what to say of it)."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.talk, disable=not self.watched) as bar:
            task = bar.add_task(what, total=None, told="")

            def report(step: int, total: int, told: str) -> None:
                bar.update(task, completed=step, total=total, told=told)

            yield report


def format_rate(requests: int, tokens: int, seconds: float) -> str:
    """Requests and, where any were generated, tokens a second; nothing before there is one."""
    if not requests or seconds <= 0:
        return ""
    return f"{requests / seconds:,.1f} requests/s" + (f", {tokens / seconds:,.0f} tokens/s" if tokens else "")


def replace_control_characters(text: str) -> str:
    """A model's text made safe for a terminal: control characters are replaced, so that none can be obeyed."""
    return text.translate(_CONTROL_CHARACTERS)


def build_facts_table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Two columns: what, and its value."""
    made = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(Text(name), Text(value))
    return made
