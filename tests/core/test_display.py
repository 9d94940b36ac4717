"""What is printed can be copied: a path or a command is never broken over two lines."""

import io

import pytest
from baseline_bench.core.display import Console, build_facts_table
from rich.text import Text

PATH = "/somewhere/" + "long/" * 20
COMMAND = f"`bench show {PATH} --wrong`"
ROWS = [("folder", PATH), ("read", f"the answers: {COMMAND}, or not"), ("note", Text("word " * 40, style="red"))]


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
