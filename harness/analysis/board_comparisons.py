"""Where the rows of a board stand: each against its own base, and the seeds of one recipe together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

from baseline_bench.analysis.compare import classify_outcome, explain_incomparability
from baseline_bench.analysis.differences import build_recipe_key, find_base_weights, is_untrained
from baseline_bench.analysis.multiple_testing import MIN_SEEDS, seeds_interval
from baseline_bench.analysis.statistics import Interval, PairCounts, mcnemar_p_value, newcombe_interval
from baseline_bench.results.board import Board, BoardTable, Row, build_tables
from baseline_bench.results.candidate import Candidate


@dataclass(frozen=True, slots=True)
class BaseComparison:
    """A row against its base.

    Attributes:
        base: the newest row of the base that is comparable: the same prompts, engine, settings and device.
        pairs: their items.
        interval: of the difference, 95 %, Newcombe's method 10.
        p: of McNemar's exact test.
        verdict: "better", "worse" or "not resolved", by that test at 5 %.
    """

    base: Row
    pairs: PairCounts
    interval: Interval
    p: float
    verdict: str


@dataclass(frozen=True, slots=True)
class RecipeSummary:
    """Three or more seeds of one recipe on one base, scored alike.

    Attributes:
        name, base: of the recipe and of the model it began from.
        seeds: sorted.
        mean: of the seeds' exact match, a proportion.
        interval: 95 % t interval of that mean over training seeds, df = seeds - 1.
    """

    name: str
    base: str
    seeds: tuple[int, ...]
    mean: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class ComparedBoard:
    """A board and where its rows stand.

    Attributes:
        tables: its tables, in the page's order.
        against: a row's file to its comparison; only rows that have a comparable base.
        home: a full row's file to the base row in whose group it stands; a base's is the newest run of its own kind.
    """

    board: Board
    tables: tuple[BoardTable, ...]
    against: Mapping[str, BaseComparison]
    home: Mapping[str, Row]


def compare_board(board: Board) -> ComparedBoard:
    """Every full row that counts, against the newest comparable row of its own base."""
    found, home = {}, {}
    for table in (listed := build_tables(board)):
        bases = _group_bases(table.full)
        for row in table.full:
            base = _find_base_row(row, bases)
            if base is None:
                continue
            home[row.file] = base
            if not is_untrained(row.entry):
                found[row.file] = _compare_with_base(row, base)
    return ComparedBoard(board, tuple(listed), found, home)


def measure_discordance(judged: ComparedBoard, table: BoardTable) -> tuple[float, int] | None:
    """The median share of items on which a candidate of the table and its base disagree, and over how many pairs.

    None where there is no such pair.
    """
    seen = [judged.against[row.file].pairs for row in table.full if row.file in judged.against]
    return (median((pairs.first + pairs.second) / pairs.total for pairs in seen), len(seen)) if seen else None


def summarise_recipes(table: BoardTable) -> list[RecipeSummary]:
    """What three or more seeds say of a recipe; of a seed that was scored twice the newest row counts."""
    of_one: dict[tuple[str, ...], list[Row]] = {}
    for row in table.full:
        if (same := build_recipe_key(row.entry)) is not None and (made := _get_training(row)) is not None:
            of_one.setdefault((made.recipe, made.base.name, *same), []).append(row)
    found = [_summarise_seeds(alike) for same in sorted(of_one) for alike in _group_comparable(of_one[same])]
    return [one for one in found if one is not None]


def _group_bases(rows: Iterable[Row]) -> Mapping[str, list[list[Row]]]:
    """Weights to the runs of them, alike ones together, the newest first."""
    by_weights: dict[str, list[Row]] = {}
    for row in rows:
        if is_untrained(row.entry) and (weights := find_base_weights(row.entry)) is not None:
            by_weights.setdefault(weights, []).append(row)
    return {weights: _group_comparable(runs) for weights, runs in by_weights.items()}


def _group_comparable(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows in groups of which each is comparable within, newest first: who compares with one, does with all."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (row.entry.created, row.file), reverse=True):
        group = next((group for group in groups if explain_incomparability(row.entry, group[0].entry) is None), None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    return groups


def _find_base_row(row: Row, bases: Mapping[str, list[list[Row]]]) -> Row | None:
    groups = bases.get(find_base_weights(row.entry) or "", [])
    return next((group[0] for group in groups if explain_incomparability(row.entry, group[0].entry) is None), None)


def _compare_with_base(row: Row, base: Row) -> BaseComparison:
    one, other = (int(of.result.bits.correct, 16) for of in (row, base))
    both, total = (one & other).bit_count(), row.result.counts.total
    first, second = one.bit_count() - both, other.bit_count() - both
    pairs = PairCounts(both, first, second, total - both - first - second)
    interval, p = _compute_interval_and_p(pairs)
    return BaseComparison(base, pairs, interval, p, classify_outcome(pairs, p))


@cache
def _compute_interval_and_p(pairs: PairCounts) -> tuple[Interval, float]:
    return newcombe_interval(pairs), mcnemar_p_value(pairs)


def _get_training(row: Row) -> Candidate | None:
    return None if row.result.training is None else row.result.training.candidate


def _summarise_seeds(alike: Sequence[Row]) -> RecipeSummary | None:
    """The rows of one recipe, newest first, as a recipe; None for fewer than three seeds."""
    by_seed = {made.seed: (made, row) for row in reversed(alike) if (made := _get_training(row)) is not None}
    if len(by_seed) < MIN_SEEDS:
        return None
    seeds = tuple(sorted(by_seed))
    counts = [by_seed[seed][1].result.counts for seed in seeds]
    shares = [count.correct / count.total for count in counts]
    made = by_seed[seeds[0]][0]
    return RecipeSummary(made.recipe, made.base.name, seeds, sum(shares) / len(shares), seeds_interval(shares))
