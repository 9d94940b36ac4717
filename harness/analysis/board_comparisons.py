"""Compare each row of a board with its own base, and summarise the seeds of each recipe."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from baseline_bench.analysis.compare import explain_incomparability, find_margin
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.multiple_testing import MIN_SEEDS, seeds_interval
from baseline_bench.analysis.outcomes import PairedDifference
from baseline_bench.analysis.recipe_key import build_recipe_key
from baseline_bench.analysis.statistics import Interval, PairCounts
from baseline_bench.results.board import Board, BoardTable, Row, build_tables, list_regraded_rows
from baseline_bench.results.candidate import Candidate


@dataclass(frozen=True, slots=True)
class BaseComparison(PairedDifference):
    """A row compared with its base, against the margin that its recipe declares.

    Attributes:
        base: the newest comparable row of the base: the same prompts, engine, settings and device.
    """

    base: Row


@dataclass(frozen=True, slots=True)
class RecipeSummary:
    """Three or more seeds of one recipe on one base, scored under the same conditions.

    Attributes:
        name, base: of the recipe and of the model that it trains.
        seeds: sorted.
        mean: of the seeds' scores, a proportion.
        interval: 95 % t interval of that mean over training seeds, df = seeds - 1.
    """

    name: str
    base: str
    seeds: tuple[int, ...]
    mean: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class ComparedBoard:
    """A board with the comparisons of its rows.

    Attributes:
        tables: its tables, in the page's order.
        against: maps a row's file to its comparison; only rows that have a comparable base.
        home: maps a full row's file to its group's base row; a base's is its own newest comparable run.
    """

    board: Board
    tables: tuple[BoardTable, ...]
    against: Mapping[str, BaseComparison]
    home: Mapping[str, Row]


def compare_board(board: Board) -> ComparedBoard:
    """Compare every full row that is not withdrawn with the newest comparable row of its own base.

    A base scored under an older version of the task counts with its re-grade by the row's version.
    """
    comparisons, base_rows = {}, {}
    for table in (tables := build_tables(board)):
        bases = _group_bases([*table.full, *list_regraded_rows(board, table.label)])
        for row in table.full:
            groups = bases.get((row.result.base or row.result.model.key).weights_sha256, [])
            comparable = [group[0] for group in groups if explain_incomparability(row.entry, group[0].entry) is None]
            if not comparable:
                continue
            base = max(comparable, key=lambda row: (row.entry.created, row.file))
            base_rows[row.file] = base
            if not is_untrained(row.entry):
                comparisons[row.file] = _compare_with_base(row, base)
    return ComparedBoard(board, tuple(tables), comparisons, base_rows)


def measure_discordance(compared: ComparedBoard, table: BoardTable) -> tuple[float, int] | None:
    """Return the median share of items on which candidate and base disagree, and the number of pairs.

    None if the table has no such pair.
    """
    pair_counts = [compared.against[row.file].pairs for row in table.full if row.file in compared.against]
    shares = [(pairs.first + pairs.second) / pairs.total for pairs in pair_counts]
    return (median(shares), len(shares)) if shares else None


def summarise_recipes(table: BoardTable) -> list[RecipeSummary]:
    """Summarise each recipe with three or more seeds; of a seed scored twice the newest row counts."""
    rows_by_recipe: dict[tuple[str, ...], list[Row]] = {}
    for row in table.full:
        if (key := build_recipe_key(row.entry)) is not None and (candidate := _get_training(row)) is not None:
            rows_by_recipe.setdefault((candidate.recipe, *key), []).append(row)
    summaries = [
        _summarise_seeds(comparable_rows)
        for key in sorted(rows_by_recipe)
        for comparable_rows in _group_comparable(rows_by_recipe[key])
    ]
    return sorted((one for one in summaries if one is not None), key=lambda summary: (summary.name, summary.base))


def _group_bases(rows: Iterable[Row]) -> Mapping[str | None, list[list[Row]]]:
    """Map weights to the base rows with them, grouped by comparability, newest first.

    Rows of an unknown identity are comparable with every other, and in groups of their own.
    """
    by_weights: dict[str | None, tuple[list[Row], list[Row]]] = {}
    for row in rows:
        model = row.result.model
        if is_untrained(row.entry) and model.weights_sha256 is not None:
            by_weights.setdefault(model.weights_sha256, ([], []))[model.identity is None].append(row)
    return {
        weights: [group for part in parts for group in _group_comparable(part)] for weights, parts in by_weights.items()
    }


def _group_comparable(rows: Iterable[Row]) -> list[list[Row]]:
    """Group rows that are comparable with one another, newest first; comparability is transitive."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (row.entry.created, row.file), reverse=True):
        group = next((group for group in groups if explain_incomparability(row.entry, group[0].entry) is None), None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    return groups


def _compare_with_base(row: Row, base: Row) -> BaseComparison:
    own_bits, base_bits = (int(side.result.bits.correct, 16) for side in (row, base))
    both, total = (own_bits & base_bits).bit_count(), row.result.counts.total
    row_only, base_only = own_bits.bit_count() - both, base_bits.bit_count() - both
    pairs = PairCounts(both, row_only, base_only, total - both - row_only - base_only)
    return BaseComparison(pairs, find_margin(row.entry), base)


def _get_training(row: Row) -> Candidate | None:
    return None if row.result.training is None else row.result.training.candidate


def _summarise_seeds(rows: Sequence[Row]) -> RecipeSummary | None:
    """Summarise one recipe's rows, newest first; None for fewer than three seeds."""
    by_seed = {
        candidate.seed: (candidate, row) for row in reversed(rows) if (candidate := _get_training(row)) is not None
    }
    if len(by_seed) < MIN_SEEDS:
        return None
    seeds = tuple(sorted(by_seed))
    counts = [by_seed[seed][1].result.counts for seed in seeds]
    shares = [count.correct / count.total for count in counts]
    candidate = by_seed[seeds[0]][0]
    return RecipeSummary(
        candidate.recipe, candidate.base.name, seeds, sum(shares) / len(shares), seeds_interval(shares)
    )
