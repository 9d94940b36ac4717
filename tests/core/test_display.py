"""What is printed can be copied: a path or a command is never broken over two lines. A bar's count is always whole."""

import io
import threading

import pytest
from baseline_bench.core.display import PIPE_WIDTH, Console, build_facts_table
from rich.text import Text

PATH = "/somewhere/" + "long/" * 20
COMMAND = f"`bench show {PATH} --wrong`"
ROWS = [("folder", PATH), ("read", f"the answers: {COMMAND}, or not"), ("note", Text("word " * 40, style="red"))]
LONG_NAME = "organisation-with-a-long-name/a model in a folder with blanks-1.5b+full-main-s12"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def on_80_columns(monkeypatch) -> Console:
    """A console whose messages go to a terminal of 80 columns."""
    for name, value in (("COLUMNS", "80"), ("TERM", "xterm-256color"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    return Console(io.StringIO(), Terminal())


@pytest.mark.parametrize("width", [20, 80])
def test_paths_and_commands_stay_whole_at_any_width(width):
    """Words wrap, and continue below the start of their value."""
    out = io.StringIO()
    console = Console(out, io.StringIO())
    console.data.width = width
    console.print(build_facts_table("facts", ROWS))
    lines = out.getvalue().splitlines()
    assert any(line.endswith(PATH) for line in lines)
    assert any(COMMAND in line for line in lines)
    words = [line for line in lines if "word" in line]
    assert len(words) > 1
    assert all(len(line) <= width and line.startswith(("note", "    ")) for line in words)
    assert sum(line.count("word") for line in words) == 40


@pytest.mark.parametrize(
    ("stream", "columns", "width"),
    [
        (io.StringIO, None, PIPE_WIDTH),
        (io.StringIO, "60", 60),
        (io.StringIO, "0", PIPE_WIDTH),
        (io.StringIO, "wide", PIPE_WIDTH),
        (Terminal, "60", 60),
    ],
)
def test_what_is_laid_out_fits_into_columns_also_in_a_pipe(monkeypatch, stream, columns, width):
    """As of other tools; without a number of columns a pipe is as wide as a table wants to be."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    console = Console(stream(), io.StringIO())
    console.print(Text("word " * 100))
    longest = max(map(len, console.data.file.getvalue().splitlines()))
    assert width - len("word ") <= longest <= width


@pytest.mark.parametrize(
    ("name", "shown"), [("tiny", "tiny "), (LONG_NAME, "organisation…"), ("smollm2-135m-it-q4_1", "smollm2-135m…")]
)
def test_a_long_name_is_shortened_and_a_count_never(on_80_columns, name, shown):
    """One line of 80 columns: the name gives way to the bar, the count, the rate and the times."""
    with on_80_columns.steps(name, "loading") as report:
        report(1238, 1319, "12.3 requests/s, 1,245 tokens/s")
    line = on_80_columns.talk.file.getvalue().rpartition("\x1b[2K")[2].splitlines()[0]
    assert line.startswith(shown)
    assert "1238/1319 12.3 requests/s, 1,245 tokens/s 0:00:00" in line
    assert len(line) <= 80


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_in_a_pipe_a_bar_is_one_line_at_its_start(stream):
    """Where nobody sees a bar, a phase says that it begins and no more; a terminal has the bar instead."""
    talk = stream()
    console = Console(io.StringIO(), talk)
    with console.progress("tiny", 1319) as report:
        report(0, 0)
        report(1319, 5000)
    with console.steps("lora", "loading the base") as step:
        step(20, 20, "loss 1.000")
    said = ["tiny: 1,319 requests", "lora: loading the base"]
    assert [line for line in talk.getvalue().splitlines() if line in said] == ([] if console.watched else said)
    assert console.watched or talk.getvalue().splitlines() == said


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_items_are_counted_on_a_terminal_and_announced_everywhere(monkeypatch, stream):
    """Without a thread that draws, since processes are forked meanwhile."""
    monkeypatch.setenv("TERM", "xterm-256color")
    console, threads = Console(io.StringIO(), stream()), threading.active_count()
    with console.count_items("checking 20 rows", "checked") as report:
        report(7, 20)
        assert threading.active_count() == threads
    said = console.talk.file.getvalue()
    assert "checking 20 rows" in said
    assert ("7/20" in said) == console.watched


def test_before_the_first_step_a_training_says_what_it_does(on_80_columns):
    """It counts nothing out of an unknown total; from the first step on it counts steps."""
    with on_80_columns.steps("lora", "loading the base") as report:
        report(1, 20, "loss 1.000")
    before, _, after = on_80_columns.talk.file.getvalue().rpartition("lora")
    assert "loading the base" in before
    assert "/?" not in before + after
    assert "1/20" in after
    assert "loss 1.000" in after
