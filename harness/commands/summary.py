"""Print what a command reports at its end: the score with its uncertainty, the cost, and where the files are."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from baseline_bench.analysis import statistics
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.records import encode_indented, to_json_value
from baseline_bench.core.types import Score
from baseline_bench.evaluation.pipeline import EvaluationResult
from baseline_bench.rendering import aggregates, comparison_text
from baseline_bench.rendering.formatting import find_dtype
from baseline_bench.results import answers
from baseline_bench.results.candidate import LOSS_FILE, Candidate, compute_final_loss, parse_steps
from baseline_bench.results.entry import Entry
from baseline_bench.training.merging import CandidateWeights
from rich.text import Text


def show_entry(scored: EvaluationResult, as_json: bool, console: Console) -> None:
    """Print the entry's table, or the entry itself as JSON."""
    entry, path, folder = scored.entry, scored.path, scored.folder
    if as_json:
        console.write(encode_indented({**to_json_value(entry), "findings": scored.findings}).decode())
        return
    result, timings = entry.result, entry.timings
    selection = result.selection
    part = "" if selection.limit is None else f", {selection.scored} of {selection.total} (seed {selection.seed})"
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in timings.phases.items())
    speed = "" if timings.tokens_per_second is None else f"{timings.tokens_per_second:,.0f} tokens/s, "
    version = ", ".join(filter(None, (result.engine.version, find_dtype(result))))
    engine = f"{version} on {result.provenance.device}"
    bar_row = [] if result.task.bar is None else [("right is", "{} that reaches {}".format(*result.task.bar))]
    counts = aggregates.format_aggregates(result) or _count_rows(result.counts, result.task.measure)
    check_facts = [] if result.checks is None else result.checks.facts
    rows = [*counts, *check_facts, *bar_row, ("engine", engine), ("speed", f"{speed}seconds: {phases}"),
            ("answers", str(folder)), ("read them", f"`{shlex.join(['bench', 'show', str(folder), '--wrong'])}`"),
            ("entry", str(path))]  # fmt: skip
    console.print(build_facts_table(f"{result.candidate} on {result.task.label}{part}", rows))


def show_training(folder: Path, candidate: Candidate, console: Console) -> None:
    """Print the result and the cost of a training."""
    cost = candidate.cost
    speed = "" if cost.samples_per_second is None else f", {cost.samples_per_second:,.1f} samples/s"
    moved = "" if candidate.changed is None else f"; {100 * candidate.changed:.1f} % of the weights moved"
    rows = [
        ("trained", f"{candidate.trainable:,} of {candidate.parameters:,} numbers ({candidate.kind}){moved}"),
        ("loss", f"{candidate.final_loss:.4f} nats a supervised token over the last tenth"),
        ("cost", f"{cost.steps:,} steps, {cost.seconds:,.1f} s{speed}, peak {cost.peak_memory / 2**30:.1f} GiB"),
        ("candidate", str(folder)),
        ("score it", f"`{shlex.join(['bench', 'score', str(folder)])}`"),
    ]
    console.print(build_facts_table(f"{candidate.recipe} on {candidate.base.name}, seed {candidate.seed}", rows))


def show_merge(candidate_weights: CandidateWeights, console: Console) -> None:
    """Print where whole weights are, and what merging lost."""
    merge = candidate_weights.training.merge
    rows = [("weights", str(candidate_weights.model.folder))]
    if merge is not None:
        rows += [
            ("merged", f"{merge.targets} tensors in {merge.dtype}, {merge.others} others are the base's own"),
            ("rounding", f"{100 * merge.rel_err:.2f} % of the change"),
            ("effect", f"KL {merge.mean_kl:.2g} nats a token, greedy agreement {100 * merge.greedy_agreement:.1f} %"),
        ]
    console.print(build_facts_table(candidate_weights.model.name, rows))


def show_steps(candidates: Sequence[EvaluationResult], console: Console) -> None:
    """Print loss and score of a training's weights side by side, step by step."""
    rows = []
    for scored in candidates:
        result, counts = scored.entry.result, scored.entry.result.counts
        if result.trained is None:
            continue
        history = parse_steps((scored.folder / LOSS_FILE).read_bytes())[: result.step]
        loss_and_score = (
            f"loss {compute_final_loss(history):.4f}, "
            f"{result.task.measure} {_format_percent(counts.correct, counts.total)}"
        )
        rows.append((f"{result.trained.recipe}, step {len(history)}", loss_and_score))
    console.print(build_facts_table("loss (mean over the last tenth of the steps so far) and score", rows))


def show_comparison(entry: Entry, base: Entry, console: Console) -> None:
    """Print whether a candidate is better than its base, with the uncertainty, and why items changed."""
    comparison = comparison_text.describe_comparison(entry, base)
    (name, outcome), *rows = comparison.rows
    colored = comparison_text.color_outcome(comparison.outcome, outcome)
    console.print(build_facts_table(comparison.title, [(name, colored), *rows]))


def show_regrading(score: Score, changed: Sequence[str], folder: Path, console: Console) -> None:
    """Print a regraded run's counts and which judgements changed."""
    changed_text = (
        "none" if not changed else f"{len(changed)}: {', '.join(changed[:10])}" + (" ..." if changed[10:] else "")
    )
    console.print(build_facts_table(str(folder), [*_count_rows(score), ("judgements changed", changed_text)]))


def _count_rows(score: Score, measure: str = "exact match") -> list[tuple[str, str | Text]]:
    interval = statistics.wilson_interval(score.correct, score.total)
    cut = f"{_format_percent(score.cut, score.total)} (stopped by the token limit)"
    if many_cut := score.cut > answers.MAX_CUT_SHARE * score.total:
        cut += ": give more with `--max-tokens N`, or find out with `bench doctor` why the model does not stop"
    return [
        (
            measure,
            f"{_format_percent(score.correct, score.total)} ({score.correct} of {score.total}), "
            f"95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f} %",
        ),
        ("strict", f"{_format_percent(score.strict, score.total)} (right, and in the task's own format)"),
        ("unread", f"{_format_percent(score.unread, score.total)} (no answer found)"),
        ("cut", Text(cut, style="yellow") if many_cut else cut),
    ]


def _format_percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"
