"""`bench board`: render every page from the entries, or report where pages, entries, records and completions differ."""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.command_options import datasets_option, leaderboards_option, option, own_tasks_option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import FolderLock
from baseline_bench.evaluation import runs
from baseline_bench.evaluation.regrading import Regrader
from baseline_bench.rendering import checking, leaderboard


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to render or to check."""

    leaderboards: Path = leaderboards_option()
    check: bool = option("--check", "write nothing; fail where pages and entries do not agree", default=False)
    base: str | None = option("--base", "with --check: fail too where an entry of REF was changed", "REF")
    tasks: list[str] = own_tasks_option()
    mirror: Path | None = datasets_option()


def run(options: Options, console: Console) -> int:
    """Render and print the changed files; or check, print one line per fault and exit with 1. Notes are not faults.

    Raises:
        BenchError: --base without --check, or no such folder.
    """
    if not options.check:
        if options.base is not None:
            raise BenchError("--base goes with --check", f"bench board --check --base {options.base}")
        leaderboard.list_boards(options.leaderboards)  # before the lock, for a folder that does not exist
        with runs.explaining_write_errors(options.leaderboards), FolderLock(options.leaderboards, wait=True):
            changed = leaderboard.update_pages(options.leaderboards)
        console.write("".join(f"{path}\n" for path in changed))
        return 0
    console.say(f"checking every entry of {options.leaderboards} and judging its answers again")
    grader = Regrader(options.tasks, options.mirror)
    checked = checking.check_leaderboards(options.leaderboards, grader, options.base)
    for label, reason in sorted(grader.unchecked.items()):
        console.warn(f"unchecked: the answers to {label} were not judged again: {reason}")
    console.write("".join(f"{line}\n" for line in (*checked.faults, *checked.notes)))
    console.say(f"{checked.checked}: {len(checked.faults):,} faults", always=True)
    return 1 if checked.faults else 0
