"""Draw what a command prints on a terminal; `python tests/support/terminal_picture.py` writes README's picture."""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from io import StringIO
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "terminal.svg"
COLUMNS = 80
# An image on a web page may load no font: every system has its own for terminals.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
_FORMAT = _FORMAT.replace("Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace")


def list_demo_commands() -> list[str]:
    """List the commands of `make demo`, as the Makefile gives them."""
    listed = ["make", "--dry-run", "--always-make", "--silent", "demo"]
    printed = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [line.partition("/bin/")[2] for line in printed.splitlines() if "/bin/bench" in line.split()[0]]


def run_on_terminal(command: str) -> str:
    """Run a `bench` command of this environment on a terminal of its own and return its output with colours."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    words = [sys.executable, "-m", "baseline_bench.cli", *shlex.split(command)[1:]]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment, stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        chunks = []
        while chunk := _read(leader):
            chunks.append(chunk)
    os.close(leader)
    assert process.returncode == 0, b"".join(chunks).decode()
    return b"".join(chunks).decode().replace("\r\n", "\n")


def _read(leader: int) -> bytes:
    """Read from the terminal; empty at its end, which Linux reports as an error."""
    try:
        return os.read(leader, 1 << 16)
    except OSError:
        return b""


def draw_picture() -> str:
    """Draw the first command of the demo and what it prints as one SVG."""
    command = list_demo_commands()[0]
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(run_on_terminal(command)))
    return console.export_svg(title="make demo", unique_id="bench", code_format=_FORMAT)


if __name__ == "__main__":
    PICTURE.write_text(draw_picture(), encoding="utf-8")
