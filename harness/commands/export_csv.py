"""`bench export csv`: some rows of the boards as CSV, each number the one on its board."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.core.display import Console
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.board_csv import render_csv
from baseline_bench.results import entries, lookup


@dataclass(frozen=True, slots=True)
class Csv:
    """Rows, each a path, a file name or a candidate of `board` (None for every board)."""

    entries: list[str]
    leaderboards: Path
    board: str | None


def export(order: Csv, console: Console) -> int:
    """Print the rows that are meant, board by board under one head, held against their bases as on their board.

    Raises:
        BenchError: no such entry, a board with one that is unsound, or a row without right and wrong items.
    """
    chosen = [lookup.find_entry(name, order.leaderboards, order.board).path for name in order.entries]
    for path in chosen:
        entries.read_entry(path).result.require_bits()
    sheets = []
    for board in dict.fromkeys(path.parent for path in chosen):
        files = {path.name for path in chosen if path.parent == board}
        place = board.resolve()
        sheets.append(render_csv(compare_board(leaderboard.load_board(place.parent, place.name)), files))
    head = sheets[0].partition("\n")[0]
    console.write(f"{head}\n" + "".join(text.partition("\n")[2] for text in sheets))
    return 0
