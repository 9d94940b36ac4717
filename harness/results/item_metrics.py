"""Whether an entry's bits follow from the metrics that it keeps of each item, without the task or its data."""

from collections.abc import Sequence

from baseline_bench.results.bits import bits_to_hex
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry


def check_item_metrics(entry: Entry, completions: Sequence[CommittedCompletion]) -> list[str]:
    """What contradicts the metrics; nothing for entries that keep none.

    An item is right whose metric is 1, or reaches the bar that the reader names.
    """
    result = entry.result
    if result.aggregates is not None:
        return ["an item without a bit is right"] if result.counts.correct else []
    kept = [completion.metrics for completion in completions if completion.metrics is not None]
    if not kept:
        return []
    counted = result.task.counted
    if counted is None:
        return [f"the reader {result.task.reader!r:.80} names no metric, and the items keep some"]
    key = f"{counted['metric']},{counted['filter']}"
    values = [metrics[key] for metrics in kept if key in metrics]
    if len(values) < len(completions):
        return [f"{len(completions) - len(values)} items keep no {key}"]
    bar = 1.0 if counted["bar"] is None else float(counted["bar"])
    right = [value <= bar if counted["less"] else value >= bar for value in values]
    return (
        [] if bits_to_hex(right) == result.bits.correct else [f"the correct bits do not follow from each item's {key}"]
    )
