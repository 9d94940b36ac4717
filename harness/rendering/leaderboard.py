"""The leaderboards folder: load its boards, and render their pages, CSV files and plots."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.analysis.board_comparisons import ComparedBoard, compare_board
from baseline_bench.analysis.claims import claims_file, registration
from baseline_bench.analysis.claims import judge as judges
from baseline_bench.analysis.claims.claims_file import ClaimsFile
from baseline_bench.analysis.claims.judge import JudgedClaims
from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.records import sweep_temporary_files, write_atomically
from baseline_bench.evaluation import runs
from baseline_bench.rendering import aggregates, claims_page
from baseline_bench.rendering.board_csv import render_csv
from baseline_bench.rendering.board_svg import draw_forest_plot
from baseline_bench.rendering.page import MARKER, render_board_page, render_index
from baseline_bench.results import advisories, entries, foreign, noise, retractions
from baseline_bench.results.advisories import Advisory
from baseline_bench.results.board import Board, Row
from baseline_bench.results.foreign import ExternalResult
from baseline_bench.results.noise import NoiseRecord
from baseline_bench.results.retractions import BoardRecords, RecordFault

SIZE_BUDGET = 50 * 1024 * 1024
BOARD_NAME_PATTERN = re.compile("[a-z0-9][a-z0-9_-]*")
ENTRY_SUFFIX, CLAIMS_FOLDER = ".json", "claims"


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """Everything recorded about a board's entries.

    Attributes:
        said: its retractions, verifications and re-grades.
        noise: the repeated runs of its models.
        external: results of other harnesses.
        faults: of the records' files.
    """

    said: BoardRecords
    noise: tuple[NoiseRecord, ...]
    external: tuple[ExternalResult, ...]
    faults: tuple[RecordFault, ...]


def load_board(folder: Path, board: str) -> Board:
    """Load the entries and records of a board; check each entry's numbers against its bits and digests.

    Raises:
        BenchError: there is no such board, or entries or records are faulty; the message names each of them.
    """
    if board not in list_boards(folder):
        raise BenchError(f"no board {board!r} in {folder}", f"boards: {', '.join(list_boards(folder)) or 'none'}")
    rows, problems = [], []
    for path in list_entry_files(folder / board):
        try:
            entry = entries.read_entry(path)
            problems += [f"{path.name}: {problem}" for problem in entries.check_entry_file(path, entry)]
            rows.append(Row(path.name, entry))
        except BenchError as error:
            problems.append(error.what)
    if problems:
        raise combine_problems(problems, str(folder / board), "see bench board --check")
    return build_board(board, rows, read_board_records(folder / board), advisories.read_advisories(folder))


def load_compared_board(folder: Path, board: str) -> ComparedBoard:
    """Load a board of right and wrong problems, its rows compared with their bases. Errors as in `load_board`."""
    loaded = load_board(folder, board)
    if not loaded.rows:
        raise BenchError(f"{board} has no rows, only results of other harnesses", f"see {folder / board}.md")
    for row in loaded.rows:
        row.result.require_bits()
    return compare_board(loaded)


def read_board_records(board: Path) -> StoredRecords:
    """Read all records about a board's entries, and list their faults; it raises nothing for faulty ones."""
    said, faults = retractions.check_records(board)
    measured: tuple[NoiseRecord, ...] = ()
    external: tuple[ExternalResult, ...] = ()
    try:
        measured = noise.read_records(board)
    except BenchError as error:
        faults.append(RecordFault(noise.FOLDER, error.what))
    try:
        external = foreign.read_records(board)
    except BenchError as error:
        faults.append(RecordFault(foreign.FOLDER, error.what))
    return StoredRecords(said, measured, external, tuple(faults))


def build_board(board: str, rows: Sequence[Row], records: StoredRecords, known: Sequence[Advisory]) -> Board:
    """Build a board from rows that are already checked.

    Args:
        board: its name.
        rows: without advisories.
        records: about its rows.
        known: the advisories that may concern them.

    Raises:
        BenchError: the name is not allowed for a board, or records about its rows are faulty.
    """
    require_board_name(board)
    if records.faults:
        problem_lines = [f"{problem.file}: {problem.what}" for problem in records.faults]
        raise combine_problems(problem_lines, board, "see bench board --check")
    rows = [replace(row, advisories=advisories.find_advisories(row.entry, known)) for row in rows]
    return Board(board, tuple(rows), records.said, records.noise, records.external)


def require_board_name(board: str) -> None:
    """Raise BenchError where the name is not allowed for a board."""
    if not BOARD_NAME_PATTERN.fullmatch(board):
        raise BenchError(f"{board!r} is no name for a board", "name the folder with a-z, 0-9, - and _")


def list_boards(folder: Path) -> list[str]:
    """Return the sorted names of the sub-folders that hold entries or results of other harnesses."""
    if not folder.is_dir():
        raise BenchError(f"no folder {folder}", "give the folder of the leaderboards")
    return [path.name for path in list_folders(folder) if list_entry_files(path) or foreign.list_files(path)]


def render_all(folder: Path) -> dict[str, str]:
    """Render all boards, claims and the README, by path relative to `folder`.

    Raises as `load_board` does, and for claims that cannot be read or whose history is not in git.
    """
    loaded = [load_board(folder, board) for board in list_boards(folder)]
    rendered = {path: text for board in loaded for path, text in render_board(folder, board).items()}
    return {
        **rendered,
        **render_claims_without_board(folder, [board.name for board in loaded]),
        "README.md": render_readme(loaded),
    }


def render_board(folder: Path, board: Board) -> dict[str, str]:
    """Render a board's page, CSV, plot and claims pages, by path relative to `folder`. Raises as `render_all`."""
    if aggregates.has_aggregates(board):
        return {f"{board.name}.md": aggregates.render_page(board, MARKER)}
    judged = compare_board(board)
    judged_claims = [
        judge_claims_file(path, claims, board)
        for path, claims in _read_claims_files(folder)
        if claims.board == board.name
    ]
    claims_summary = claims_page.render_summary(judged_claims) if judged_claims else ""
    pages = {
        f"{board.name}.md": render_board_page(judged, board.noise, claims_summary, board.external),
        **_render_claims_pages(judged_claims),
    }
    if not board.rows:  # results of other harnesses alone
        return pages
    return {**pages, f"{board.name}.csv": render_csv(judged), f"{board.name}.svg": draw_forest_plot(judged)}


def render_claims_without_board(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Render the pages of claims about boards that have no entries yet. Raises as `render_all`."""
    without_board = [(path, claims) for path, claims in _read_claims_files(folder) if claims.board not in names]
    return _render_claims_pages(
        [judge_claims_file(path, claims, Board(claims.board, ())) for path, claims in without_board]
    )


def _read_claims_files(folder: Path) -> list[tuple[Path, ClaimsFile]]:
    claims_folder = folder / CLAIMS_FOLDER
    return [
        (path, claims_file.read_claims(path))
        for path in (list_files(claims_folder, ".toml") if claims_folder.is_dir() else [])
    ]


def judge_claims_file(path: Path, claims: ClaimsFile, board: Board) -> JudgedClaims:
    """Judge the claims of a file on a board's rows."""
    retracted_files = {record.entry for record in board.said.retractions}
    return judges.judge_claims(
        claims, board.rows, lambda: registration.find_registration(path, claims), retracted_files
    )


def _render_claims_pages(judged_claims: Sequence[JudgedClaims]) -> dict[str, str]:
    return {
        f"{CLAIMS_FOLDER}/{judged.claims.name}.md": claims_page.render_page(MARKER, judged) for judged in judged_claims
    }


def render_readme(loaded: Sequence[Board]) -> str:
    """Render the README that lists the boards."""
    return render_index(loaded, f"{SIZE_BUDGET // 1024**2} MiB")


def update_pages(folder: Path) -> list[Path]:
    """Rewrite every stale file, delete what killed processes left, and return the written paths.

    The caller has locked the folder. Raises as `render_all`, before anything is written.
    """
    stale_files = [
        (folder / path, text.encode()) for path, text in render_all(folder).items() if is_stale(folder / path, text)
    ]
    sweep_temporary_files(folder)
    for path, data in stale_files:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)
    return [path for path, _ in stale_files]


def list_folders(folder: Path) -> list[Path]:
    """Return the sub-folders, sorted; links are left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())


def list_entry_files(board: Path) -> list[Path]:
    """Return the files that are entries by their name, sorted; hidden ones are left out."""
    return list_files(board, ENTRY_SUFFIX)


def list_files(folder: Path, suffix: str) -> list[Path]:
    """Return the files with this suffix, sorted; hidden ones are left out."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(suffix) and not path.name.startswith("."))


def is_stale(path: Path, text: str) -> bool:
    """Return whether the file is absent, a link, or holds anything but `text`."""
    return path.is_symlink() or not path.is_file() or path.read_bytes() != text.encode()


def write_and_render(board: Path, add: Callable[[Path], Path]) -> Path:
    """Call `add` to write its file to a board's folder; update the rendered files where the board has a page."""
    leaderboards, name = board.absolute().parent, board.absolute().name
    with runs.explaining_write_errors(board):
        board.mkdir(parents=True, exist_ok=True)
        with FolderLock(leaderboards, wait=True):
            sweep_temporary_files(leaderboards)
            path = add(board)
            if (leaderboards / f"{name}.md").is_file():
                update_pages(leaderboards)
    return path
