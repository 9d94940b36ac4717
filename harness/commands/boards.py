"""`bench board`: render every page from the entries, or say where pages, entries, records and completions disagree."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.evaluation import runs
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking, leaderboard


@dataclass(frozen=True, slots=True)
class Board:
    """What to render or to check.

    Attributes:
        tasks: files of tasks that are none of ours.
        mirror: a folder of data sets; with it the golds of tasks whose data lies elsewhere are checked too.
    """

    leaderboards: Path
    check: bool
    base: str | None
    tasks: list[str]
    mirror: Path | None


def board(order: Board, console: Console) -> int:
    """Render, naming what changed; or check, one line a fault, exit status 1 where there is any. Notes are no faults.

    Raises:
        BenchError: --base without --check, or no such folder.
    """
    if not order.check:
        if order.base is not None:
            raise BenchError("--base goes with --check", f"bench board --check --base {order.base}")
        with runs.explaining_write_errors(order.leaderboards):
            changed = leaderboard.update_pages(order.leaderboards)
        console.write("".join(f"{path}\n" for path in changed))
        return 0
    grader = Regrader(order.tasks, order.mirror)
    found = checking.check_leaderboards(order.leaderboards, grader, order.base)
    for label, why in sorted(grader.unchecked.items()):
        console.warn(f"unchecked: the answers to {label} were not judged again: {why}")
    console.write("".join(f"{line}\n" for line in (*found.faults, *found.notes)))
    names = leaderboard.list_boards(order.leaderboards)
    entries = sum(len(leaderboard.list_files(order.leaderboards / name, leaderboard.ENTRY_SUFFIX)) for name in names)
    since = "" if order.base is None else f", the history since {order.base}"
    faults = f"{len(found.faults):,} faults"
    console.say(f"checked {entries:,} entries on {len(names):,} boards, their records and pages{since}: {faults}")
    return 1 if found.faults else 0
