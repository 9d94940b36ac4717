"""The leaderboards' folder: boards read from their files, and pages, sheets and plots rendered from boards."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from baseline_bench.analysis.board_comparisons import judge
from baseline_bench.analysis.claims import claims_file, registration
from baseline_bench.analysis.claims import judge as judges
from baseline_bench.analysis.claims.claims_file import Claims
from baseline_bench.analysis.claims.judge import Findings
from baseline_bench.core.errors import BenchError, gathered
from baseline_bench.core.records import replace_file
from baseline_bench.evaluation import runs
from baseline_bench.rendering import aggregates, claims_page
from baseline_bench.rendering.board_csv import sheet
from baseline_bench.rendering.board_svg import draw
from baseline_bench.rendering.page import MARKER, index, page
from baseline_bench.results import entries, foreign, noise, retractions
from baseline_bench.results.board import Board, Row

BUDGET = 50 * 1024 * 1024
NAME = re.compile("[a-z0-9][a-z0-9_-]*")
ENTRY, CLAIMS = ".json", "claims"


def load(folder: Path, board: str) -> Board:
    """The entries of a board, their numbers checked against their bits and digests, and what is said of them.

    Raises:
        BenchError: naming every entry and record that is unsound, or there is none.
    """
    if board not in boards(folder):
        raise BenchError(f"no board {board!r} in {folder}", f"boards: {', '.join(boards(folder)) or 'none'}")
    rows, problems = [], []
    for path in files(folder / board, ENTRY):
        try:
            entry = entries.read(path)
            problems += [f"{path.name}: {problem}" for problem in entries.audit_file(path, entry)]
            rows.append(Row(path.name, entry))
        except BenchError as error:
            problems.append(error.what)
    if problems:
        raise gathered(problems, str(folder / board), "see bench board --check")
    return of(folder, board, rows)


def of(folder: Path, board: str, rows: Sequence[Row]) -> Board:
    """The board of rows that are known to be sound.

    Raises:
        BenchError: a name that no board can have, or unsound records of what is said of the rows.
    """
    if not NAME.fullmatch(board):
        raise BenchError(f"{board!r} is no name for a board", "name the folder with a-z, 0-9, - and _")
    if problems := retractions.audit(folder / board):
        told = [f"{problem.file}: {problem.what}" for problem in problems]
        raise gathered(told, str(folder / board), "see bench board --check")
    noise.read(folder / board)
    foreign.read(folder / board)
    return Board(board, tuple(rows), retractions.read(folder / board))


def boards(folder: Path) -> list[str]:
    """The names of the sub-folders that hold entries, sorted."""
    if not folder.is_dir():
        raise BenchError(f"no folder {folder}", "give the folder of the leaderboards")
    return [path.name for path in folders(folder) if files(path, ENTRY)]


def render(folder: Path, board: str) -> dict[str, str]:
    """Page, CSV and plot of one board and its claims' pages, by path relative to `folder`. Nothing is written.

    Errors as in `load`, and for claims that cannot be read or whose history git does not have.
    """
    return texts(folder, load(folder, board))


def render_all(folder: Path) -> dict[str, str]:
    """Every rendered file and the README that lists the boards, by path relative to `folder`. Errors as in `render`."""
    loaded = [load(folder, board) for board in boards(folder)]
    rendered = {path: text for board in loaded for path, text in texts(folder, board).items()}
    return {**rendered, **unclaimed(folder, [board.name for board in loaded]), "README.md": list_of(loaded)}


def texts(folder: Path, board: Board) -> dict[str, str]:
    """What is rendered of one board, by path relative to `folder`. Errors as in `render`."""
    if aggregates.measured(board):
        return {f"{board.name}.md": aggregates.page(board, MARKER)}
    judged = judge(board)
    findings = [_findings(path, one, board) for path, one in _claims(folder) if one.board == board.name]
    told = claims_page.summary(findings) if findings else ""
    return {
        f"{board.name}.md": page(judged, noise.read(folder / board.name), told, foreign.read(folder / board.name)),
        f"{board.name}.csv": sheet(judged),
        f"{board.name}.svg": draw(judged),
        **_claims_texts(findings),
    }


def unclaimed(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The pages of claims about boards that have no entries yet. Errors as in `render`."""
    alone = [(path, one) for path, one in _claims(folder) if one.board not in names]
    return _claims_texts([_findings(path, one, Board(one.board, ())) for path, one in alone])


def _claims(folder: Path) -> list[tuple[Path, Claims]]:
    place = folder / CLAIMS
    return [(path, claims_file.read(path)) for path in (files(place, ".toml") if place.is_dir() else [])]


def _findings(path: Path, one: Claims, board: Board) -> Findings:
    gone = {record.entry for record in board.said.retractions}
    return judges.judge(one, board.rows, lambda: registration.since(path, one), gone)


def _claims_texts(findings: Sequence[Findings]) -> dict[str, str]:
    return {f"{CLAIMS}/{one.claims.name}.md": claims_page.page(MARKER, one) for one in findings}


def list_of(loaded: Sequence[Board]) -> str:
    """The README that lists the boards."""
    return index(loaded, f"{BUDGET // 1024**2} MiB")


def write(folder: Path) -> list[Path]:
    """Bring every rendered file up to date; the ones that changed. Errors as in `load`: then nothing is written."""
    late = [(folder / path, text.encode()) for path, text in render_all(folder).items() if stale(folder / path, text)]
    for path, data in late:
        path.parent.mkdir(exist_ok=True)
        replace_file(path, data)
    return [path for path, _ in late]


def folders(folder: Path) -> list[Path]:
    """The sub-folders, sorted; a link is none."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def files(folder: Path, suffix: str) -> list[Path]:
    """The files of that suffix, sorted; hidden ones are none."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix) and not path.name.startswith("."))


def stale(path: Path, text: str) -> bool:
    """The file is absent or holds something else."""
    return not path.is_file() or path.read_bytes() != text.encode()


def keep(board: Path, add: Callable[[Path], Path]) -> Path:
    """Let `add` add its file to a board's folder, and bring the page up to date where the board has one."""
    leaderboards, name = board.absolute().parent, board.absolute().name
    with runs.writing(board):
        board.mkdir(parents=True, exist_ok=True)
        lock = runs.held(leaderboards, wait=True)
        try:
            path = add(board)
            if (leaderboards / f"{name}.md").is_file():
                write(leaderboards)
        finally:
            os.close(lock)
    return path
