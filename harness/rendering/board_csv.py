"""Renders a board as CSV: every row, exact counts, and more than fits the page; unknown cells are empty."""

import csv
import io
import re
from collections.abc import Collection, Iterator

from baseline_bench.analysis.board_comparisons import ComparedBoard
from baseline_bench.analysis.statistics import format_points, wilson_interval
from baseline_bench.core.markup import csv_cell
from baseline_bench.rendering.comparison_text import name_estimand
from baseline_bench.rendering.formatting import find_dtype, format_percent
from baseline_bench.results.board import Row, sort_rows
from baseline_bench.results.entry import Result
from baseline_bench.results.retractions import Retraction

_NUMBER_PATTERN = re.compile(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?")
NamedCell = tuple[str, str | int | None]


def render_csv(judged: ComparedBoard, files: Collection[str] | None = None) -> str:
    """Render the board as CSV. Differences are in points, p_exact is McNemar's, losses are in nats.

    The estimand is named as in the JSON of `bench compare`, up to the colon.

    Args:
        judged: the board, its rows compared with their bases.
        files: of the entries to include; None includes all.
    """
    retraction_by_file = {record.entry: record for record in judged.board.said.retractions}
    thoughts = any(row.result.unfinished_thoughts is not None for row in judged.board.rows)
    records = [
        (
            *_score_cells(row),
            *_origin_cells(row),
            *_comparison_cells(judged, row, retraction_by_file.get(row.file)),
            ("verified_level", judged.board.said.level(row.file)),
            *_training_cells(row.result),
            ("findings", "; ".join(row.marks)),
            *([("unfinished_thoughts", row.result.unfinished_thoughts)] if thoughts else []),
        )
        for row in sort_rows(judged.board.rows)
        if files is None or row.file in files
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in records[0]])
    writer.writerows([_format_cell(value) for _, value in record] for record in records)
    return text.getvalue()


def _format_cell(value: str | int | None) -> str:
    """Format a cell: a number, also a negative one, as it is; text so that no spreadsheet computes it."""
    text = "" if value is None else str(value)
    return text if _NUMBER_PATTERN.fullmatch(text) else csv_cell(text)


def _score_cells(row: Row) -> Iterator[NamedCell]:
    result, counts = row.result, row.result.counts
    interval, speed = wilson_interval(counts.correct, counts.total), row.entry.timings.tokens_per_second
    yield "candidate", result.candidate
    yield "label", result.task.label
    yield "partial", _format_yes_no(row.partial)
    yield "items", counts.total
    yield "task_items", result.selection.total
    yield "correct", counts.correct
    yield "strict", counts.strict
    yield "unread", counts.unread
    yield "cut", counts.cut
    yield "exact_match_percent", format_percent(counts.correct, counts.total, 2)
    yield "low_percent", f"{100 * interval.low:.2f}"
    yield "high_percent", f"{100 * interval.high:.2f}"
    yield "prompt_style", result.model.prompt_style
    yield "engine", result.engine.version
    yield "dtype", find_dtype(result)
    yield "device", result.provenance.device
    yield "tokens_per_second", None if speed is None else f"{speed:.1f}"


def _origin_cells(row: Row) -> Iterator[NamedCell]:
    result = row.result
    yield "model", result.model.name
    yield "source", result.model.source
    yield "revision", result.model.revision
    yield "weights_sha256", result.model.weights_sha256
    yield "protocol_sha256", result.task.protocol_sha256
    yield "items_sha256", result.task.items_sha256
    yield "git_commit", result.provenance.git_commit
    yield "git_dirty", _format_yes_no(result.provenance.git_dirty)
    yield "created", row.entry.created
    yield "result_sha256", row.entry.result_sha256
    yield "entry", row.file


def _comparison_cells(judged: ComparedBoard, row: Row, retraction: Retraction | None) -> Iterator[NamedCell]:
    against = judged.against.get(row.file)
    yield "retracted", _format_yes_no(retraction is not None)
    yield "superseded_by", None if retraction is None else retraction.superseded_by
    yield "base", None if against is None else against.base.file
    yield "estimand", None if against is None else name_estimand(system=False).partition(":")[0]
    yield "difference", None if against is None else _format_points(against.pairs.difference)
    yield "difference_low", None if against is None else _format_points(against.interval.low)
    yield "difference_high", None if against is None else _format_points(against.interval.high)
    yield "difference_low_90", None if against is None else _format_points(against.margin_interval.low)
    yield "difference_high_90", None if against is None else _format_points(against.margin_interval.high)
    yield "margin", None if against is None or against.margin is None else f"{100 * against.margin:g}"
    yield "p", None if against is None else f"{against.p:.3g}"
    yield "p_exact", None if against is None else f"{against.p_exact:.3g}"
    yield "p_adjusted", None if against is None else f"{judged.adjusted[row.file]:.3g}"
    yield "outcome", None if against is None else against.outcome


def _training_cells(result: Result) -> Iterator[NamedCell]:
    candidate, solutions = result.trained, result.solutions
    yield "recipe", None if candidate is None else candidate.recipe
    yield "seed", None if candidate is None else candidate.seed
    yield "final_loss", None if candidate is None else f"{candidate.final_loss:.4f}"
    yield "solutions_mean_logprob", None if solutions is None else f"{solutions.mean_logprob:.4f}"


def _format_points(value: float) -> str:
    """Format points without the plus sign, which a spreadsheet takes for a formula."""
    return format_points(value).removeprefix("+")


def _format_yes_no(value: bool | None) -> str | None:
    return None if value is None else ("yes" if value else "no")
