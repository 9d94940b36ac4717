"""Check that an entry's bits follow from its items' metrics, without the task or its data."""

from collections.abc import Sequence

from baseline_bench.results.bits import bits_to_hex
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry


def check_item_metrics(entry: Entry, completions: Sequence[CommittedCompletion]) -> list[str]:
    """List contradictions with the items' metrics; empty for entries without them.

    An item is right if its metric is 1, or reaches the threshold that the reader names.
    """
    result = entry.result
    if result.aggregates is not None:
        return ["an item without a bit is right"] if result.counts.correct else []
    item_metrics = [completion.metrics for completion in completions if completion.metrics is not None]
    if not item_metrics:
        return []
    metric_parts = result.task.counted
    if metric_parts is None:
        return [f"the reader {result.task.reader!r:.80} names no metric, and the items keep some"]
    key = f"{metric_parts['metric']},{metric_parts['filter']}"
    values = [metrics[key] for metrics in item_metrics if key in metrics]
    if len(values) < len(completions):
        return [f"{len(completions) - len(values)} items keep no {key}"]
    threshold = 1.0 if metric_parts["bar"] is None else float(metric_parts["bar"])
    right = [value <= threshold if metric_parts["less"] else value >= threshold for value in values]
    return (
        [] if bits_to_hex(right) == result.bits.correct else [f"the correct bits do not follow from each item's {key}"]
    )
