"""`bench export csv`: export rows of the boards as CSV, with the numbers that their boards show."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.core.command_options import ENTRY, argument, board_option, leaderboards_option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.board_csv import render_csv
from baseline_bench.results import entries, lookup


@dataclass(frozen=True, kw_only=True)
class Options:
    """Rows, each a path, a file name or a candidate's name; none means every row of a board."""

    entries: list[str] = argument(f"{ENTRY} (default: every row of the board)", "ENTRY", list)
    leaderboards: Path = leaderboards_option()
    board: str | None = board_option()


def run(options: Options, console: Console) -> int:
    """Print the chosen rows, grouped by board under one header, compared with their bases as on their board.

    Raises:
        BenchError: no such entry or board, several boards where neither is named, a board with an unsound entry, or a
            row without right and wrong items.
    """
    console.say(f"comparing the rows of {options.leaderboards}")
    if not options.entries:
        console.write(render_csv(leaderboard.load_compared_board(options.leaderboards, _choose_board(options))))
        return 0
    chosen = [lookup.find_entry(name, options.leaderboards, options.board).path for name in options.entries]
    for path in chosen:
        entries.read_entry(path).result.require_bits()
    sheets = []
    for board in dict.fromkeys(path.parent for path in chosen):
        files = {path.name for path in chosen if path.parent == board}
        folder = board.resolve()
        sheets.append(render_csv(compare_board(leaderboard.load_board(folder.parent, folder.name)), files))
    head = sheets[0].partition("\n")[0]
    console.write(f"{head}\n" + "".join(text.partition("\n")[2] for text in sheets))
    return 0


def _choose_board(options: Options) -> str:
    known = leaderboard.list_boards(options.leaderboards)
    if options.board is not None or len(known) == 1:
        return options.board or known[0]
    raise BenchError(f"{len(known)} boards in {options.leaderboards}", f"name one with --board: {', '.join(known)}")
