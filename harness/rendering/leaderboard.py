"""The leaderboards' folder: boards read from their files, and pages, sheets and plots rendered from boards."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.analysis.claims import claims_file, registration
from baseline_bench.analysis.claims import judge as judges
from baseline_bench.analysis.claims.claims_file import ClaimsFile
from baseline_bench.analysis.claims.judge import JudgedClaims
from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.records import write_atomically
from baseline_bench.evaluation import runs
from baseline_bench.rendering import aggregates, claims_page
from baseline_bench.rendering.board_csv import render_csv
from baseline_bench.rendering.board_svg import draw_forest_plot
from baseline_bench.rendering.page import MARKER, render_board_page, render_index
from baseline_bench.results import entries, foreign, noise, retractions
from baseline_bench.results.board import Board, Row

SIZE_BUDGET = 50 * 1024 * 1024
BOARD_NAME_PATTERN = re.compile("[a-z0-9][a-z0-9_-]*")
ENTRY_SUFFIX, CLAIMS_FOLDER = ".json", "claims"


def load_board(folder: Path, board: str) -> Board:
    """The entries of a board, their numbers checked against their bits and digests, and what is said of them.

    Raises:
        BenchError: naming every entry and record that is unsound, or there is none.
    """
    if board not in list_boards(folder):
        raise BenchError(f"no board {board!r} in {folder}", f"boards: {', '.join(list_boards(folder)) or 'none'}")
    rows, problems = [], []
    for path in list_files(folder / board, ENTRY_SUFFIX):
        try:
            entry = entries.read_entry(path)
            problems += [f"{path.name}: {problem}" for problem in entries.check_entry_file(path, entry)]
            rows.append(Row(path.name, entry))
        except BenchError as error:
            problems.append(error.what)
    if problems:
        raise combine_problems(problems, str(folder / board), "see bench board --check")
    return build_board(folder, board, rows)


def build_board(folder: Path, board: str, rows: Sequence[Row]) -> Board:
    """The board of rows that are known to be sound.

    Raises:
        BenchError: a name that no board can have, or unsound records of what is said of the rows.
    """
    if not BOARD_NAME_PATTERN.fullmatch(board):
        raise BenchError(f"{board!r} is no name for a board", "name the folder with a-z, 0-9, - and _")
    if problems := retractions.check_records(folder / board):
        told = [f"{problem.file}: {problem.what}" for problem in problems]
        raise combine_problems(told, str(folder / board), "see bench board --check")
    noise.read_records(folder / board)
    foreign.read_records(folder / board)
    return Board(board, tuple(rows), retractions.read_records(folder / board))


def list_boards(folder: Path) -> list[str]:
    """The names of the sub-folders that hold entries, sorted."""
    if not folder.is_dir():
        raise BenchError(f"no folder {folder}", "give the folder of the leaderboards")
    return [path.name for path in list_folders(folder) if list_files(path, ENTRY_SUFFIX)]


def load_and_render_board(folder: Path, board: str) -> dict[str, str]:
    """Page, CSV and plot of one board and its claims' pages, by path relative to `folder`. Nothing is written.

    Errors as in `load`, and for claims that cannot be read or whose history git does not have.
    """
    return render_board(folder, load_board(folder, board))


def render_all(folder: Path) -> dict[str, str]:
    """Every rendered file and the README that lists the boards, by path relative to `folder`. Errors as in `render`."""
    loaded = [load_board(folder, board) for board in list_boards(folder)]
    rendered = {path: text for board in loaded for path, text in render_board(folder, board).items()}
    return {
        **rendered,
        **render_claims_without_board(folder, [board.name for board in loaded]),
        "README.md": render_readme(loaded),
    }


def render_board(folder: Path, board: Board) -> dict[str, str]:
    """What is rendered of one board, by path relative to `folder`. Errors as in `render`."""
    if aggregates.has_aggregates(board):
        return {f"{board.name}.md": aggregates.render_page(board, MARKER)}
    judged = compare_board(board)
    findings = [
        _judge_claims_file(path, one, board) for path, one in _read_claims_files(folder) if one.board == board.name
    ]
    told = claims_page.render_summary(findings) if findings else ""
    return {
        f"{board.name}.md": render_board_page(
            judged, noise.read_records(folder / board.name), told, foreign.read_records(folder / board.name)
        ),
        f"{board.name}.csv": render_csv(judged),
        f"{board.name}.svg": draw_forest_plot(judged),
        **_render_claims_pages(findings),
    }


def render_claims_without_board(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The pages of claims about boards that have no entries yet. Errors as in `render`."""
    alone = [(path, one) for path, one in _read_claims_files(folder) if one.board not in names]
    return _render_claims_pages([_judge_claims_file(path, one, Board(one.board, ())) for path, one in alone])


def _read_claims_files(folder: Path) -> list[tuple[Path, ClaimsFile]]:
    place = folder / CLAIMS_FOLDER
    return [(path, claims_file.read_claims(path)) for path in (list_files(place, ".toml") if place.is_dir() else [])]


def _judge_claims_file(path: Path, one: ClaimsFile, board: Board) -> JudgedClaims:
    gone = {record.entry for record in board.said.retractions}
    return judges.judge_claims(one, board.rows, lambda: registration.find_registration(path, one), gone)


def _render_claims_pages(findings: Sequence[JudgedClaims]) -> dict[str, str]:
    return {f"{CLAIMS_FOLDER}/{one.claims.name}.md": claims_page.render_page(MARKER, one) for one in findings}


def render_readme(loaded: Sequence[Board]) -> str:
    """The README that lists the boards."""
    return render_index(loaded, f"{SIZE_BUDGET // 1024**2} MiB")


def update_pages(folder: Path) -> list[Path]:
    """Bring every rendered file up to date; the ones that changed. Errors as in `load`: then nothing is written."""
    late = [
        (folder / path, text.encode()) for path, text in render_all(folder).items() if is_stale(folder / path, text)
    ]
    for path, data in late:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)
    return [path for path, _ in late]


def list_folders(folder: Path) -> list[Path]:
    """The sub-folders, sorted; a link is none."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def list_files(folder: Path, suffix: str) -> list[Path]:
    """The files of that suffix, sorted; hidden ones are none."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix) and not path.name.startswith("."))


def is_stale(path: Path, text: str) -> bool:
    """The file is absent or holds something else."""
    return not path.is_file() or path.read_bytes() != text.encode()


def write_and_render(board: Path, add: Callable[[Path], Path]) -> Path:
    """Let `add` add its file to a board's folder, and bring the page up to date where the board has one."""
    leaderboards, name = board.absolute().parent, board.absolute().name
    with runs.explaining_write_errors(board):
        board.mkdir(parents=True, exist_ok=True)
        lock = runs.lock_folder(leaderboards, wait=True)
        try:
            path = add(board)
            if (leaderboards / f"{name}.md").is_file():
                update_pages(leaderboards)
        finally:
            os.close(lock)
    return path
