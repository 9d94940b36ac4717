"""What a command says when it is done: the score with its doubt, what it cost, and where the files are."""

from collections.abc import Sequence
from pathlib import Path

from baseline_bench.analysis import statistics
from baseline_bench.core.display import Screen, table
from baseline_bench.core.records import plain, pretty
from baseline_bench.core.types import Score
from baseline_bench.evaluation.pipeline import Scored
from baseline_bench.rendering import aggregates, comparison_text
from baseline_bench.results.candidate import LOSSES, Candidate, final_loss, steps
from baseline_bench.results.entry import Entry
from baseline_bench.training.merging import Made
from rich.text import Text


def announce(scored: Scored, as_json: bool, screen: Screen) -> None:
    """Print the entry's table, or the entry itself as JSON."""
    entry, path, folder = scored.entry, scored.path, scored.folder
    if as_json:
        screen.write(pretty({**plain(entry), "findings": scored.findings}).decode())
        return
    result, timings = entry.result, entry.timings
    selection = result.selection
    part = "" if selection.limit is None else f", {selection.scored} of {selection.total} (seed {selection.seed})"
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in timings.phases.items())
    speed = "" if timings.tokens_per_second is None else f"{timings.tokens_per_second:,.0f} tokens/s, "
    settings = result.engine.settings
    version = ", ".join(str(told) for told in (result.engine.version, settings.get("dtype")) if told)
    engine = f"{version} on {result.provenance.device}"
    bar = [] if result.task.bar is None else [("right is", "{} that reaches {}".format(*result.task.bar))]
    counted = aggregates.told(result) or _counted(result.counts, result.task.measure)
    noticed = [] if result.checks is None else result.checks.facts
    rows = [*counted, *noticed, *bar, ("engine", engine), ("speed", f"{speed}seconds: {phases}"),
            ("answers", f"{folder} (read them: bench show {folder} --wrong)"), ("entry", str(path))]  # fmt: skip
    screen.print(table(f"{result.candidate} on {result.task.label}{part}", rows))


def trained(folder: Path, made: Candidate, screen: Screen) -> None:
    """Print what a training made and cost."""
    cost = made.cost
    speed = "" if cost.samples_per_second is None else f", {cost.samples_per_second:,.1f} samples/s"
    moved = "" if made.changed is None else f"; {100 * made.changed:.1f} % of the weights moved"
    rows = [
        ("trained", f"{made.trainable:,} of {made.parameters:,} numbers ({made.kind}){moved}"),
        ("loss", f"{made.final_loss:.4f} nats a supervised token over the last tenth"),
        ("cost", f"{cost.steps:,} steps, {cost.seconds:,.1f} s{speed}, peak {cost.peak_memory / 2**30:.1f} GiB"),
        ("candidate", f"{folder} (bench score {folder})"),
    ]
    screen.print(table(f"{made.recipe} on {made.base.name}, seed {made.seed}", rows))


def merged(made: Made, screen: Screen) -> None:
    """Print where whole weights lie, and what merging lost."""
    merge = made.training.merge
    rows = [("weights", str(made.model.folder))]
    if merge is not None:
        rows += [
            ("merged", f"{merge.targets} tensors in {merge.dtype}, {merge.others} others are the base's own"),
            ("rounding", f"{100 * merge.rel_err:.2f} % of the change"),
            ("effect", f"KL {merge.mean_kl:.2g} nats a token, greedy agreement {100 * merge.greedy_agreement:.1f} %"),
        ]
    screen.print(table(made.model.name, rows))


def by_step(candidates: Sequence[Scored], screen: Screen) -> None:
    """Print loss and score of a training's weights side by side, step by step."""
    rows = []
    for scored in candidates:
        made, counts = scored.entry.result.training, scored.entry.result.counts
        if made is None or made.candidate is None:
            continue
        history = steps((scored.folder / LOSSES).read_bytes())[: made.step]
        measure = scored.entry.result.task.measure
        told = f"loss {final_loss(history):.4f}, {measure} {_percent(counts.correct, counts.total)}"
        rows.append((f"{made.candidate.recipe}, step {len(history)}", told))
    screen.print(table("loss (mean over the last tenth of the steps so far) and score", rows))


def verdict(entry: Entry, base: Entry, screen: Screen) -> None:
    """Print whether a candidate is better than its base, with the doubt, and why single items moved."""
    told = comparison_text.tell(entry, base)
    screen.print(table(told.title, told.rows))


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
            "\nNext: bench show on the runs above, with --wrong, before you believe the numbers.\n"
            "Then: bench baseline MODEL (bench list models) scores GSM8K, bench train-and-score RECIPE asks whether a "
            "fine-tune helps; --datasets DIR where no hub is reachable."
        )
    )


def _counted(score: Score, measure: str = "exact match") -> list[tuple[str, str]]:
    interval = statistics.wilson(score.correct, score.total)
    return [
        (
            measure,
            f"{_percent(score.correct, score.total)} ({score.correct} of {score.total}), "
            f"95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f} %",
        ),
        ("strict", f"{_percent(score.strict, score.total)} (right, and in the task's own format)"),
        ("unread", f"{_percent(score.unread, score.total)} (no answer found)"),
        ("cut", f"{_percent(score.cut, score.total)} (stopped by the token limit)"),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"
