"""`bench init`: write all that a repository needs for its own leaderboards, without overwriting anything."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from baseline_bench.core.command_options import argument
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import write_atomically
from baseline_bench.rendering import leaderboard

SCAFFOLD_FOLDER = Path(__file__).resolve().parent / "scaffold"
_DISTRIBUTION, _WORKFLOW = "baseline-bench", ".github/workflows/bench.yml"
# Target path and template of each file; templates that a tool would read as part of this package end in .txt.
_FILES = {
    "README.md": "README.md",
    "bench.toml": "bench.toml",
    "recipes/my-lora.toml": "my-lora.toml",
    "tasks/my_task.py": "my_task.py.txt",
    _WORKFLOW: "bench.yml",
    ".github/workflows/bench-comment.yml": "bench-comment.yml",
    ".github/actions/bench/action.yml": "action.yml",
    ".gitattributes": "gitattributes.txt",
    ".gitignore": "gitignore.txt",
}
_UNKNOWN_REQUIREMENT = f"{_DISTRIBUTION} @ git+https://URL_OF_BENCH@COMMIT"
_LEADERBOARDS_PAGE = "leaderboards/README.md"
_NEXT_STEPS = """\

Next, in {folder}:
  git config merge.bench-board.driver true                      once a clone; after a merge: bench board
  bench baseline smollm2-135m-it-q4_1 --task my-task            the base first
  bench check recipes/my-lora.toml                              then the recipe
  bench train-and-score recipes/my-lora.toml --reuse-base       did it help? minutes on a CPU
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The folder to write into; created if it does not exist."""

    folder: Path = argument("default: the current folder", "DIR", Path())


def run(options: Options, console: Console) -> int:
    """Write the missing files, leave existing ones, and print which is which; BenchError if a folder is a file."""
    requirement = find_requirement()
    for name, text in _render_files(options.folder, requirement or _UNKNOWN_REQUIREMENT):
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
    if requirement is None:
        console.warn(f"bench was installed from a folder: write its URL and commit into {options.folder / _WORKFLOW}")
    return 0


def _render_files(folder: Path, requirement: str) -> Iterator[tuple[str, str]]:
    """Yield every file's path and text; the leaderboards page is the one that `bench board` would render."""
    for name, template in _FILES.items():
        text = (SCAFFOLD_FOLDER / template).read_text(encoding="utf-8")
        with_extras = requirement.replace(_DISTRIBUTION, f"{_DISTRIBUTION}[transformers,train]", 1)
        yield name, text.replace("@REQUIREMENT@", json.dumps(requirement)).replace("@WITH_EXTRAS@", with_extras)
    boards = folder / _LEADERBOARDS_PAGE
    _make_folder(boards.parent)
    yield _LEADERBOARDS_PAGE, leaderboard.render_all(boards.parent)["README.md"]


def find_requirement() -> str | None:
    """Return the requirement that installs this copy of bench elsewhere, as pip recorded where it came from.

    A version only for a copy from a package index, since anybody may claim the name on an index that does not hold it;
    None for a copy from a folder or a file of this machine, and where nothing is installed.
    """
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
    recorded = distribution.read_text("direct_url.json")
    if recorded is None:
        return f"{_DISTRIBUTION}=={distribution.version}"
    origin = json.loads(recorded)
    url, subdirectory = origin["url"], origin.get("subdirectory")
    if url.startswith("file:"):
        return None
    fragment = f"#subdirectory={subdirectory}" if subdirectory else ""
    if (vcs := origin.get("vcs_info")) is not None:
        return f"{_DISTRIBUTION} @ {vcs['vcs']}+{url}@{vcs['commit_id']}{fragment}"
    return f"{_DISTRIBUTION} @ {url}{fragment}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BenchError(f"{folder} is no folder", "give another place, or move that file") from None
