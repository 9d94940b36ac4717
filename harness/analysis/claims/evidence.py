"""Gather the evidence on a contrast: the rows or published counts, and the result of the named test."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product

from baseline_bench.analysis.claims.claims_file import (
    ClaimsFile,
    CountsTest,
    LossTest,
    PairedTest,
    RatioTest,
    RowContrast,
    RowSelector,
    get_sides,
)
from baseline_bench.analysis.compare import compare_entries, explain_incomparability
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.multiple_testing import boschloo_p_value, unpaired_interval
from baseline_bench.analysis.statistics import Interval, mcnemar_p_value, newcombe_interval
from baseline_bench.core.records import parse_time
from baseline_bench.results.board import Row
from baseline_bench.results.candidate import Candidate
from baseline_bench.results.entry import Entry

RightOfTotal = tuple[int, int]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ContrastEvidence:
    """The evidence for judging a contrast; sides are in the order better, worse (first, second).

    Attributes:
        counts: (right, items) of each side.
        cut: answers of each side that ended at the token limit; None for a published table.
        files: of the two entries; None for a published table.
        choices: number of pairs of rows that were eligible; the newest was taken.
        begun: the latest time by which training or scoring of either row had begun, UTC (`list_start_times`); None
            for a published table.
        difference: of the rates, better less worse.
        interval: of the difference, 95 %.
        p: of the test before adjustment; None for a ratio.
        discordance: share of items that exactly one side gets right; None without item-level results.
        measured: training losses in nats for `loss`, samples a second for `ratio`.
    """

    counts: tuple[RightOfTotal, RightOfTotal]
    files: tuple[str, str] | None
    choices: int
    begun: str | None
    difference: float
    interval: Interval
    p: float | None
    discordance: float | None = None
    measured: tuple[float, float] | None = None
    cut: RightOfTotal | None = None


def gather_evidence(
    claims: ClaimsFile, contrast: RowContrast, rows: Sequence[Row], retracted: Collection[str]
) -> ContrastEvidence | str:
    """Gather the evidence on a contrast, or return in one clause why there is none.

    Where a side has several rows, the newest comparable pair is taken: the one whose older row is newest. Only full
    runs of the claims' task count that are not in `retracted`, and only the last step of a training.
    """
    if isinstance(contrast, CountsTest):
        return _build_from_counts(claims, contrast)
    rows_or_reasons = [_find_side_rows(claims, side, rows, retracted) for side in get_sides(contrast)]
    if reasons := [side_rows for side_rows in rows_or_reasons if isinstance(side_rows, str)]:
        return "; ".join(dict.fromkeys(reasons))
    better_rows, worse_rows = ([row for row in side_rows if not isinstance(row, str)] for side_rows in rows_or_reasons)
    pairs = sorted(product(better_rows, worse_rows), key=_pair_age, reverse=True)
    refusals = [_explain_unfit_pair(contrast, better.entry, worse.entry) for better, worse in pairs]
    comparable_pairs = [pair for pair, refusal in zip(pairs, refusals, strict=True) if refusal is None]
    if not comparable_pairs:
        return f"not comparable: {refusals[0]}"
    return _build_from_rows(contrast, *comparable_pairs[0], len(comparable_pairs))


def _find_side_rows(
    claims: ClaimsFile, side: RowSelector, rows: Sequence[Row], retracted: Collection[str]
) -> list[Row] | str:
    """Find the rows of a side that may be judged, or return why there are none."""
    side_rows = [
        row
        for row in rows
        if row.entry.result.task.label == claims.task
        and row.entry.result.step is None
        and matches_training(side, row.entry)
    ]
    if not side_rows:
        return f"no row of {side.name}"
    valid = [row for row in side_rows if row.file not in retracted]
    if not valid:
        return f"retracted: every row of {side.name}"
    full = [row for row in valid if row.entry.result.selection.limit is None]
    if not full:
        return f"only partial runs of {side.name}"
    enough = [row for row in full if row.entry.result.counts.total >= claims.least_items]
    return enough or f"too few items of {side.name}: {claims.least_items:,} are asked for"


def matches_training(side: RowSelector, entry: Entry) -> bool:
    """Tell whether it is a row of the base, or of any step of this recipe's training with the seed."""
    if side.recipe is None:
        return is_untrained(entry) and entry.result.model.name == side.base
    if (candidate := entry.result.trained) is None:
        return False
    return (candidate.recipe, candidate.base.name, candidate.seed) == (side.recipe, side.base, side.seed)


def _pair_age(pair: tuple[Row, Row]) -> tuple[str, str, str, str]:
    """Return the sort key of a pair: it is as new as its older row; ties are broken by the newer one, then by name."""
    better, worse = pair
    times = better.entry.created, worse.entry.created
    return min(times), max(times), better.file, worse.file


def _explain_unfit_pair(contrast: PairedTest | LossTest | RatioTest, better: Entry, worse: Entry) -> str | None:
    """Return why two rows cannot be compared for the contrast; speeds are comparable on equal machines only."""
    if not isinstance(contrast, RatioTest):
        return explain_incomparability(better, worse)
    one, other = _get_training(better), _get_training(worse)
    machines = [f"{candidate.cost.gpus} x {candidate.cost.device}" for candidate in (one, other)]
    if machines[0] != machines[1]:
        return f"trained on {machines[0]} and on {machines[1]}"
    return None if one.cost.samples_per_second and other.cost.samples_per_second else "a speed was not recorded"


def _build_from_rows(
    contrast: PairedTest | LossTest | RatioTest, better: Row, worse: Row, choices: int
) -> ContrastEvidence:
    one, other = (row.entry.result.counts for row in (better, worse))
    evidence = ContrastEvidence(
        counts=((one.correct, one.total), (other.correct, other.total)),
        files=(better.file, worse.file),
        choices=choices,
        begun=min(time for row in (better, worse) for time in list_start_times(row.entry)),
        difference=one.correct / one.total - other.correct / other.total,
        interval=unpaired_interval((one.correct, one.total), (other.correct, other.total)),
        p=None,
        cut=(one.cut, other.cut),
    )
    if isinstance(contrast, RatioTest):
        speeds = [_get_training(row.entry).cost.samples_per_second or 0.0 for row in (better, worse)]
        return replace(evidence, measured=(speeds[0], speeds[1]))
    pairs = compare_entries(better.entry, worse.entry).pairs
    discordance = (pairs.first + pairs.second) / pairs.total
    evidence = replace(evidence, interval=newcombe_interval(pairs), p=mcnemar_p_value(pairs), discordance=discordance)
    if isinstance(contrast, PairedTest):
        return evidence
    return replace(evidence, measured=(_get_training(better.entry).final_loss, _get_training(worse.entry).final_loss))


def _build_from_counts(claims: ClaimsFile, contrast: CountsTest) -> ContrastEvidence:
    rows = [claims.row(name) for name in (contrast.better, contrast.worse)]
    one, other = ((row.right, row.total) for row in rows)
    difference = one[0] / one[1] - other[0] / other[1]
    return ContrastEvidence(
        (one, other), None, 1, None, difference, unpaired_interval(one, other), boschloo_p_value(one, other)
    )


def list_start_times(entry: Entry) -> Iterator[str]:
    """Yield when scoring and training began: the time of each record, written at the end, less its seconds.

    A training that was interrupted began earlier than that; since its record says when, this time is yielded too.
    """
    yield _subtract_seconds(entry.created, sum(entry.timings.phases.values()))
    if (candidate := entry.result.trained) is not None:
        yield _subtract_seconds(candidate.created, candidate.cost.seconds)
        if candidate.begun is not None:
            yield candidate.begun


def _subtract_seconds(time: str, seconds: float) -> str:
    ended = parse_time(time)
    if ended is None:
        raise ValueError(f"{time!r:.60} is no time")
    elapsed = timedelta(seconds=min(max(seconds, 0.0), (ended - _EPOCH).total_seconds()))
    return (ended - elapsed).strftime("%Y-%m-%dT%H:%M:%SZ")


def _get_training(entry: Entry) -> Candidate:
    """Return the training of a row that was selected by its recipe."""
    if entry.result.trained is None:
        raise ValueError(f"{entry.result.candidate} was not trained here")
    return entry.result.trained
