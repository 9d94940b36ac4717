"""`bench board`: render every page from the entries, check them, or print the boards in a terminal."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.analysis.board_comparisons import compare_board
from baseline_bench.core.command_options import datasets_option, leaderboards_option, option, own_tasks_option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import FolderLock
from baseline_bench.evaluation import runs
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import aggregates, checking, leaderboard
from baseline_bench.rendering.board_terminal import SortColumn, build_terminal_table
from baseline_bench.results import companions, lookup


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to render, to check or to print."""

    leaderboards: Path = leaderboards_option()
    check: bool = option("--check", "write nothing; fail where pages and entries do not agree", "", False, "action")
    base: str | None = option("--base", "with --check: fail too where an entry of REF was changed", "REF")
    accept_unreachable: bool = option(
        "--accept-unreachable-store",
        "with --check: pass though the store of completions does not answer; say how many rows that concerns",
        default=False,
    )
    move: Literal["out", "in"] | None = option(
        "--move-completions", "move completions into the store of store.toml, or back to their entries", one_of="action"
    )
    show: bool = option("--show", "write nothing; print the boards", "", False, "action")
    sort: SortColumn | None = option("--sort", "with --show: by name, score or gain (default: name)")
    tasks: list[str] = own_tasks_option()
    mirror: Path | None = datasets_option()


def run(options: Options, console: Console) -> int:
    """Render and print the changed files; or check, print one line per fault and exit with 1. Notes are not faults.

    Raises:
        BenchError: --base without --check, --sort without --show, or no such folder.
    """
    if options.sort is not None and not options.show:
        raise BenchError("--sort goes with --show", f"bench board --show --sort {options.sort}")
    if options.show:
        return _show(options, console)
    if not options.check:
        if options.base is not None:
            raise BenchError("--base goes with --check", f"bench board --check --base {options.base}")
        console.say(f"rendering the pages of {options.leaderboards}")
        leaderboard.list_boards(options.leaderboards)  # before the lock, for a folder that does not exist
        with runs.explaining_write_errors(options.leaderboards), FolderLock(options.leaderboards, wait=True):
            if options.move is not None:
                rows = {row.path: row.entry for row in lookup.read_boards(options.leaderboards, None)}
                for path in companions.move_companions(options.leaderboards, rows, options.move):
                    console.write(f"{path}\n")
            changed = leaderboard.update_pages(options.leaderboards)
        console.write("".join(f"{path}\n" for path in changed))
        return 0
    grader = Regrader(options.tasks, options.mirror)
    phase = f"checking every entry of {options.leaderboards} and judging its answers again"
    with console.count_items(phase, "entries checked") as report:
        checked = checking.check_leaderboards(
            options.leaderboards, grader, options.base, accept_unreachable=options.accept_unreachable, report=report
        )
    for label, reason in sorted(grader.unchecked.items()):
        console.warn(f"unchecked: the answers to {label} were not judged again: {reason}")
    console.write("".join(f"{line}\n" for line in (*checked.faults, *checked.notes)))
    console.say(f"{checked.checked}: {len(checked.faults):,} faults")
    return 1 if checked.faults else 0


def _show(options: Options, console: Console) -> int:
    """Print the full runs of every board, the newest version of each task first."""
    console.say(f"comparing the rows of {options.leaderboards}")
    for name in leaderboard.list_boards(options.leaderboards):
        board = leaderboard.load_board(options.leaderboards, name)
        if aggregates.has_aggregates(board) or not board.rows:
            console.warn(f"{name} has no rows of right or wrong problems: see {options.leaderboards / name}.md")
            continue
        judged = compare_board(board)
        for table in judged.tables:
            if table.full:
                console.print(build_terminal_table(judged, table, options.sort or "name"), "")
    return 0
