"""Gather the evidence on a prediction: the first runs after its registration, and the level at which they decide."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from baseline_bench.analysis.claims.claims_file import ClaimsFile, Prediction, RowSelector, RunSelector
from baseline_bench.analysis.claims.evidence import ContrastEvidence, list_start_times, matches_training
from baseline_bench.analysis.compare import compare_entries, explain_incomparability
from baseline_bench.analysis.differences import list_environment_differences
from baseline_bench.analysis.outcomes import Outcome, PairedDifference
from baseline_bench.analysis.recipe_contrast import Contrast as RecipeDifference
from baseline_bench.analysis.recipe_contrast import compare_recipes
from baseline_bench.analysis.recipe_key import digest_recipe_keys
from baseline_bench.analysis.recipe_rows import read_right_answers
from baseline_bench.analysis.statistics import Interval
from baseline_bench.results.board import Row
from baseline_bench.results.entry import Entry

FirstRuns = Mapping[int | None, Row]
_LEAST_LEVEL, _MOST_LEVEL = 1e-12, 0.499999
_BISECTION_STEPS = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionEvidence(ContrastEvidence):
    """The evidence for judging a prediction; `counts` are over all seeds of a side, and `p` is of either direction.

    Attributes:
        margin_interval: of the difference, 90 %, by the procedure of `interval`.
        outcome: what the two intervals decide, whatever was predicted.
        as_predicted: whether `p` speaks for the prediction, and not for its opposite.
        runs: file by seed of each side; the seed of a base is None.
        differs: names of the code, libraries and machines that differ within each side.
    """

    margin_interval: Interval
    outcome: Outcome
    as_predicted: bool
    runs: tuple[Mapping[int | None, str], ...]
    differs: tuple[tuple[str, ...], ...]


def find_first_runs(claims: ClaimsFile, side: RunSelector, rows: Sequence[Row], since: str) -> FirstRuns:
    """Find the first full run of each declared seed that was trained and scored after a time.

    Later runs of a seed never count, so that nobody can choose among them. A seed without a run is absent.
    """
    runs = {}
    for seed in side.seeds or (None,):
        found = [
            row
            for row in _list_rows(side, seed, rows, since)
            if row.entry.result.task.label == claims.task
            and row.entry.result.selection.limit is None
            and row.entry.result.step is None
        ]
        if found:
            runs[seed] = min(found, key=lambda row: (row.entry.created, row.file))
    return runs


def _list_rows(side: RunSelector, seed: int | None, rows: Sequence[Row], since: str) -> list[Row]:
    """List every row of a seed that was trained and scored after a time: partial ones, steps and other tasks too."""
    selector = RowSelector(side.base, side.recipe, seed)
    return [
        row
        for row in rows
        if matches_training(selector, row.entry)
        and _has_digest(row, side.digest)
        and min(list_start_times(row.entry)) > since
    ]


def _find_earlier_weights(
    sides: Sequence[RunSelector], runs: Sequence[FirstRuns], rows: Sequence[Row], since: str
) -> Iterator[str]:
    """Yield in one clause each which row showed other weights of a seed before its first full run.

    A seed that was trained before the registration and gives equal weights afterwards tests no prediction either.
    """
    for side, seed, first in [(side, *run) for side, found in zip(sides, runs, strict=True) for run in found.items()]:
        for row in _list_rows(side, seed, rows, since):
            both = {_get_trained_weights(first), _get_trained_weights(row)}
            if row.entry.created <= first.entry.created and len(both - {None}) > 1:
                yield f"the seed was trained again after a look: {row.file} scored other weights before {first.file}"
        weights = None if seed is None else _get_trained_weights(first)
        for row in rows:
            if row.entry.created <= since and weights is not None and _get_trained_weights(row) == weights:
                yield f"the result was known: {row.file} scored the weights of {first.file} before it was registered"


def _get_trained_weights(row: Row) -> str | None:
    """Return the digest of what the row's training made, whichever step the row scores; of a base its own."""
    return (row.entry.result.trained or row.entry.result.model).weights_sha256


def gather_prediction(
    claims: ClaimsFile, contrast: Prediction, rows: Sequence[Row], retracted: Collection[str], since: str | None
) -> PredictionEvidence | str:
    """Gather the evidence on a prediction, or return in one clause why there is none.

    Args:
        claims: the file of the contrast.
        contrast: the prediction.
        rows: entries of the board, in any order.
        retracted: file names of entries that no longer count; no later run replaces one.
        since: the commit time of the registration; None before it.
    """
    sides = contrast.first, contrast.second
    runs = [{} if since is None else find_first_runs(claims, side, rows, since) for side in sides]
    earlier = _find_earlier_weights(sides, runs, rows, since or "")
    if reason := next(chain(_find_obstacles(claims, sides, runs, retracted), earlier), None):
        return reason
    first, second = ([run.entry for run in found.values()] for found in runs)
    estimate = _estimate_difference(contrast, first, second)
    p, as_predicted = estimate.p, estimate.difference > 0
    if contrast.predicted != "better":
        p, as_predicted = _test_margin(contrast, estimate.compute_interval)
    return PredictionEvidence(
        counts=(_count_right(first), _count_right(second)),
        files=None,
        choices=1,
        begun=min(time for entry in (*first, *second) for time in list_start_times(entry)),
        difference=estimate.difference,
        interval=estimate.interval,
        p=p,
        cut=(sum(one.result.counts.cut for one in first), sum(one.result.counts.cut for one in second)),
        margin_interval=estimate.margin_interval,
        outcome=estimate.outcome,
        as_predicted=as_predicted,
        runs=tuple({seed: run.file for seed, run in found.items()} for found in runs),
        differs=(_name_differences(first), _name_differences(second)),
    )


def _name_differences(side: Sequence[Entry]) -> tuple[str, ...]:
    """Name the code, libraries and machines that differ between the runs of a side."""
    found = (one.what for other in side[1:] for one in list_environment_differences(side[0], other))
    return tuple(dict.fromkeys(found))


def _has_digest(row: Row, digest: str | None) -> bool:
    if digest is None:
        return True
    candidate = row.entry.result.trained
    return candidate is not None and digest_recipe_keys(candidate).startswith(digest)


def _find_obstacles(
    claims: ClaimsFile, sides: Sequence[RunSelector], runs: Sequence[FirstRuns], retracted: Collection[str]
) -> Iterator[str]:
    """Yield in one clause each why the declared runs cannot be judged."""
    missing = [
        side.base if seed is None else f"{side.base}+{side.recipe}-s{seed}"
        for side, found in zip(sides, runs, strict=True)
        for seed in side.seeds or (None,)
        if seed not in found
    ]
    if missing:
        which = f" of {', '.join(missing)}" if any(runs) else ""
        yield f"no run since it was registered{which}"
    everything = [run for found in runs for run in found.values()]
    for run in everything:
        if run.file in retracted:
            yield f"retracted: {run.file}, the first run since it was registered"
        if run.entry.result.counts.total < claims.least_items:
            yield f"too few items of {run.file}: {claims.least_items:,} are asked for"
        if reason := explain_incomparability(everything[0].entry, run.entry):
            yield f"not comparable: {run.file}: {reason}"
    digests = list(filter(None, (run.entry.result.model.weights_sha256 for run in everything)))
    if len(set(digests)) < len(digests):
        yield "several of the runs have the same weights"
    weights = {
        (side.base, _get_base_weights(run)) for side, found in zip(sides, runs, strict=True) for run in found.values()
    }
    trained = [[run.entry.result.trained for run in found.values()] for found in runs]
    data = [{candidate and candidate.data.sha256 for candidate in side} for side in trained]
    if len(weights) > len({side.base for side in sides}) or any(len(one) > 1 for one in data):
        yield "runs were trained from several weights of a base, or on several data of one recipe"


def _get_base_weights(run: Row) -> str | None:
    result = run.entry.result
    return result.model.weights_sha256 if result.training is None else result.base_sha256


def _estimate_difference(
    contrast: Prediction, first: Sequence[Entry], second: Sequence[Entry]
) -> PairedDifference | RecipeDifference:
    """Return the difference with its p value, and its interval at any confidence."""
    if contrast.test == "rows":
        return PairedDifference(compare_entries(first[0], second[0]).pairs, contrast.margin)
    return compare_recipes(list(map(read_right_answers, first)), list(map(read_right_answers, second)), contrast.margin)


def _test_margin(contrast: Prediction, interval_at: Callable[[float], Interval]) -> tuple[float, bool]:
    """Return the one-sided level at which the prediction or its opposite is shown, and whether it is the prediction."""
    margin, two_sided = contrast.margin or 0.0, contrast.predicted == "equivalent"
    within = _find_level(lambda one: one.low > -margin and (one.high < margin or not two_sided), interval_at)
    outside = _find_level(lambda one: one.high < -margin or (one.low > margin and two_sided), interval_at)
    return min(within, outside), within <= outside


def _find_level(holds: Callable[[Interval], bool], interval_at: Callable[[float], Interval]) -> float:
    """Find by bisection the least level a at which the interval of confidence 1 - 2a has a property; 1 without any.

    What holds of an interval must hold of every narrower one.
    """
    low, high = _LEAST_LEVEL, _MOST_LEVEL
    if not holds(interval_at(1 - 2 * high)):
        return 1.0
    for _ in range(_BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(interval_at(1 - 2 * middle)) else (middle, high)
    return high


def _count_right(entries: Sequence[Entry]) -> tuple[int, int]:
    counts = [entry.result.counts for entry in entries]
    return sum(one.correct for one in counts), sum(one.total for one in counts)
