"""`bench init`: write all that a repository needs for its own leaderboards, without overwriting anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import baseline_bench
from baseline_bench.core.command_options import argument
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import write_atomically
from baseline_bench.rendering import leaderboard

SCAFFOLD_FOLDER = Path(__file__).resolve().parent / "scaffold"
# Target path and template of each file; templates that a tool would read as part of this package end in .txt.
_FILES = {
    "README.md": "README.md",
    "recipes/my-lora.toml": "my-lora.toml",
    "tasks/my_task.py": "my_task.py.txt",
    ".github/workflows/bench.yml": "bench.yml",
    ".github/workflows/bench-comment.yml": "bench-comment.yml",
    ".gitattributes": "gitattributes.txt",
    ".gitignore": "gitignore.txt",
}
_LEADERBOARDS_PAGE = "leaderboards/README.md"
_NEXT_STEPS = """\

Next, in {folder}:
  git config merge.bench-board.driver true                      once a clone; after a merge: bench board
  bench baseline smollm2-135m-it-q4_1 --task tasks/my_task.py   the base first
  bench check recipes/my-lora.toml                              then the recipe
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The folder to write into; created if it does not exist."""

    folder: Path = argument("default: the current folder", "DIR", Path())


def run(options: Options, console: Console) -> int:
    """Write the missing files, leave existing ones, and print which is which.

    Raises:
        BenchError: the folder, or a subfolder that is needed, is a file.
    """
    for name, text in _render_files(options.folder):
        path = options.folder / name
        if path.is_symlink() or path.exists():
            same = path.is_file() and path.read_bytes() == text.encode()
            console.write(f"there    {path}\n" if same else f"left     {path} is yours and stays; ours would be:\n")
            console.write("" if same else "".join(f"         | {line}\n" for line in text.splitlines()))
            continue
        _make_folder(path.parent)
        write_atomically(path, text.encode())
        console.write(f"written  {path}\n")
    console.write(_NEXT_STEPS.format(folder=options.folder))
    return 0


def _render_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield every file's path and text; the leaderboards page is the one that `bench board` would render."""
    for name, template in _FILES.items():
        text = (SCAFFOLD_FOLDER / template).read_text(encoding="utf-8")
        yield name, text.replace("@VERSION@", baseline_bench.__version__)
    boards = folder / _LEADERBOARDS_PAGE
    _make_folder(boards.parent)
    yield _LEADERBOARDS_PAGE, leaderboard.render_all(boards.parent)["README.md"]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BenchError(f"{folder} is no folder", "give another place, or move that file") from None
