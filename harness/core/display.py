"""Console output: data to stdout, messages and progress to stderr; colour and bars only on a terminal."""

import os
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from baseline_bench.core.markup import make_visible
from rich.cells import cell_len, set_cell_size
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

PIPE_WIDTH = 200
# Cells of a bar, on 80 columns and on a wide terminal; the others go to its name first.
_SHORTEST_BAR, _LONGEST_BAR = 8, 40
# A command in a text, and what replaces its spaces while the text is wrapped.
_COMMAND, _JOINER = re.compile("`[^`]+`"), "\ue000"
_WRAPPER = partial(textwrap.wrap, break_long_words=False, break_on_hyphens=False)
# Controls, direction marks, line separators, surrogates and tags; texts may hold blanks and joiners of all scripts.
_CONTROL_CODES = (
    *(*range(32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
    *(0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xD800, 0xE000), *range(0xE0000, 0xE0080)),
)
_CONTROL_CHARACTERS = {code: "�" for code in _CONTROL_CODES if chr(code) not in "\n\t"}


class _VisibleSegments:
    """A renderable whose text, from any source, is shown without control characters; rich's own styles are kept."""

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else segment._replace(text=replace_control_characters(segment.text))


class _VisibleHook(RenderHook):
    """Replaces control characters in everything that a console prints."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_VisibleSegments(renderable) for renderable in renderables]


class _Name(ProgressColumn):
    """What a bar is about: the only column that is shortened where a line is too narrow for all."""

    def render(self, task: Task) -> Text:
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class _Count(MofNCompleteColumn):
    """Done and total; empty before the total is known."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class Console:
    """The output of a command. Control characters in texts are replaced, so that a terminal obeys none of them.

    Args:
        data: the stream for data that a script may read; stdout.
        talk: the stream for messages to a person; stderr.
    """

    def __init__(self, data: TextIO, talk: TextIO) -> None:
        self.data = RichConsole(file=data, highlight=False, width=_choose_width(data))
        self.talk = RichConsole(file=talk, highlight=False, stderr=False)
        for console in (self.data, self.talk):
            console.push_render_hook(_VisibleHook())
        self.watched = talk.isatty()
        self._data = data

    def say(self, text: str) -> None:
        """Print one line of information to stderr, terminal or not: no phase begins silently in a pipe either."""
        self.talk.print(Text(make_visible(text), style="dim"), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print one warning line to stderr, terminal or not."""
        self.talk.print(Text(f"bench: {make_visible(text)}", style="yellow"), soft_wrap=True)

    def write(self, text: str) -> None:
        """Write data unchanged, byte for byte, except to a terminal."""
        self._data.write(replace_control_characters(text) if self._data.isatty() else text)
        self._data.flush()

    def print(self, *parts: "Text | Table | FactsTable | str") -> None:
        """Print data laid out for a person, without interpreting markup in it."""
        for part in parts:
            self.data.print(part, markup=False, soft_wrap=isinstance(part, FactsTable))

    def print_line(self, line: Text) -> None:
        """Print data as one line however long, so that a path or a command in it can be copied from a terminal."""
        self.data.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str, wanted: int) -> Iterator[Callable[[int, int], None]]:
        """Show a bar of requests done, requests and tokens per second, and time left.

        Call the value with (requests done, tokens generated here); the rate ignores requests done at the first call.
        """
        self._announce(f"{what}: {wanted:,} requests")
        with self._build_bar() as bar:
            task = bar.add_task(make_visible(what), total=wanted, text="")
            first_count: list[int] = []

            def report(done: int, tokens: int) -> None:
                first_count[:] = first_count or [done]
                rate = format_rate(done - first_count[0], tokens, bar.tasks[0].elapsed or 0.0)
                bar.update(task, completed=done, text=rate)

            yield report

    @contextmanager
    def steps(self, what: str, first: str) -> Iterator[Callable[[int, int, str], None]]:
        """Show a bar of training steps and time left; call the value with (step, total steps, text).

        Args:
            first: what happens before the first step, shown instead of a count.
        """
        self._announce(f"{what}: {first}")
        with self._build_bar() as bar:
            task = bar.add_task(make_visible(what), total=None, text=first)

            def report(step: int, total: int, text: str) -> None:
                bar.update(task, completed=step, total=total, text=make_visible(text))

            yield report

    @contextmanager
    def count_items(self, phase: str, what: str) -> Iterator[Callable[[int, int], None]]:
        """Say which phase begins, and count its items on a bar while it lasts; call the value with (done, all items).

        The bar needs no thread, so that the phase may fork processes.
        """
        self.say(phase)
        with self._build_bar(threaded=False) as bar:
            task = bar.add_task(make_visible(what), total=None, text="")
            yield lambda done, total: bar.update(task, completed=done, total=total, refresh=True)

    def _announce(self, phase: str) -> None:
        """Say which phase begins where nobody would see its bar."""
        if not self.watched:
            self.say(phase)

    def _build_bar(self, *, threaded: bool = True) -> Progress:
        whole, length = Column(no_wrap=True), min(_LONGEST_BAR, max(_SHORTEST_BAR, self.talk.width - 110))
        return Progress(
            _Name(),
            BarColumn(length, table_column=whole),
            _Count(table_column=whole),
            TextColumn("{task.fields[text]}", markup=False, table_column=whole),
            TimeElapsedColumn(table_column=whole),
            TimeRemainingColumn(table_column=whole),
            console=self.talk,
            disable=not self.watched,
            auto_refresh=threaded,
            transient=not threaded,
        )


def _choose_width(data: TextIO) -> int | None:
    """Choose the width of laid-out data: COLUMNS in a pipe too, as of other tools; None takes the terminal's."""
    columns = os.environ.get("COLUMNS", "")
    asked = int(columns) if columns.isdecimal() else 0
    return asked or (None if data.isatty() else PIPE_WIDTH)


def format_rate(requests: int, tokens: int, seconds: float) -> str:
    """Format requests and, if any, tokens per second; empty before the first request is done."""
    if not requests or seconds <= 0:
        return ""
    return f"{requests / seconds:,.1f} requests/s" + (f", {tokens / seconds:,.0f} tokens/s" if tokens else "")


def replace_control_characters(text: str) -> str:
    """Replace control characters and direction marks, so that a terminal obeys none of them."""
    return text.translate(_CONTROL_CHARACTERS)


@dataclass(frozen=True, slots=True)
class FactsTable:
    """A title and rows of a name and its value; long values are wrapped between words.

    A word, and a command in backticks, stays on one line however long, so that it can be copied from a terminal.
    """

    title: str
    rows: tuple[tuple[str, str | Text], ...]

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> Iterator[Text]:
        indent = max((cell_len(name) for name, _ in self.rows), default=0) + 2
        for line in _wrap(self.title, options.max_width):
            yield Text(line, style="italic")
        for name, value in self.rows:
            text = value if isinstance(value, Text) else Text(value)
            for number, line in enumerate(_wrap(text.plain, options.max_width - indent)):
                head = Text(set_cell_size("" if number else name, indent), style="bold")
                yield Text.assemble(head, (line, text.style))


def _wrap(text: str, width: int) -> list[str]:
    """Break a text between words, keeping its own lines; a command in backticks counts as one word."""
    joined = _COMMAND.sub(lambda command: command[0].replace(" ", _JOINER), text)
    wrapped = [_WRAPPER(line, max(width, 1)) or [""] for line in joined.split("\n")]
    return [line.replace(_JOINER, " ") for lines in wrapped for line in lines]


def build_facts_table(title: str, rows: Sequence[tuple[str, str | Text]]) -> FactsTable:
    """Build a table of two columns: a name and its value."""
    return FactsTable(title, tuple(rows))
