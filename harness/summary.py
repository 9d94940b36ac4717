"""What a command says when it is done: the score with its doubt, what it cost, and where the files are."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from harness import plugins
from harness.display import Screen, table
from harness.entries import Entry
from harness.records import pretty
from harness.types import Score


def announce(entry: Entry, path: Path, folder: Path, as_json: bool, screen: Screen) -> None:
    """Print the entry's table, or the entry itself as JSON."""
    if as_json:
        screen.write(pretty(entry).decode())
        return
    result, timings = entry.result, entry.timings
    selection = result.selection
    part = "" if selection.limit is None else f", {selection.scored} of {selection.total} (seed {selection.seed})"
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in timings.phases.items())
    speed = "" if timings.tokens_per_second is None else f"{timings.tokens_per_second:,.0f} tokens/s, "
    settings = result.engine.settings
    engine = f"{result.engine.version}, {settings.get('dtype', '')} on {result.provenance.device}"
    rows = [*_counted(result.counts), ("engine", engine), ("speed", f"{speed}seconds: {phases}"),
            ("answers", f"{folder} (read them: bench show {folder} --wrong)"), ("entry", str(path))]  # fmt: skip
    screen.print(table(f"{result.candidate} on {result.task.label}{part}", rows))


def regraded(score: Score, changed: Sequence[str], folder: Path, screen: Screen) -> None:
    """Print a re-graded run's counts and which verdicts changed."""
    told = "none" if not changed else f"{len(changed)}: {', '.join(changed[:10])}" + (" ..." if changed[10:] else "")
    screen.print(table(str(folder), [*_counted(score), ("verdicts changed", told)]))


def next_steps(leaderboards: Path, task: str, screen: Screen) -> None:
    """Print the board that a quickstart made, and what to try next."""
    page = leaderboards / f"{task}.md"
    screen.print(Text(f"\n{page}\n", style="bold"))
    screen.write(page.read_text(encoding="utf-8"))
    screen.print(
        Text(
            "\nNext: bench show on the run above, with --wrong, before you believe the number.\n"
            "Then: bench baseline MODEL (bench list models) scores GSM8K; --datasets DIR where no hub is reachable."
        )
    )


def _counted(score: Score) -> list[tuple[str, str]]:
    interval = plugins.room("harness.statistics").wilson(score.correct, score.total)
    return [
        (
            "exact match",
            f"{_percent(score.correct, score.total)} ({score.correct} of {score.total}), "
            f"95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f} %",
        ),
        ("strict", f"{_percent(score.strict, score.total)} (#### and the right number)"),
        ("unread", f"{_percent(score.unread, score.total)} (no answer found)"),
        ("cut", f"{_percent(score.cut, score.total)} (stopped by the token limit)"),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"
