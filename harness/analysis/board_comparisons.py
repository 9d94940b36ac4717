"""Compare each row of a board with its own base, and summarise the seeds of each recipe."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from baseline_bench.analysis.compare import explain_incomparability, find_margin
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.multiple_testing import holm_adjust
from baseline_bench.analysis.outcomes import ALPHA, PairedDifference
from baseline_bench.analysis.recipe_contrast import Contrast, compare_recipes
from baseline_bench.analysis.recipe_key import build_recipe_key
from baseline_bench.analysis.recipe_rows import find_least_margin, read_right_answers
from baseline_bench.analysis.statistics import Interval, PairCounts
from baseline_bench.results.board import Board, BoardTable, Row, build_tables, list_regraded_rows


@dataclass(frozen=True, slots=True)
class BaseComparison(PairedDifference):
    """A row compared with its base, against the margin that its recipe declares.

    Attributes:
        base: the newest comparable row of the base: the same prompts, engine, settings and device.
    """

    base: Row


@dataclass(frozen=True, slots=True)
class RecipeSummary:
    """Two or more seeds of one recipe on one base, scored under the same conditions.

    Attributes:
        name, base: of the recipe and of the model that it trains.
        digest: of the keys that move weights.
        seeds: sorted.
        rows: the newest row of each seed, in the order of the seeds.
        mean: of the seeds' scores, a proportion.
        interval: 95 %, of the mean over new seeds and new problems.
        contrast: with the newest comparable row of the base, over new seeds and new problems; None without such a row.
    """

    name: str
    base: str
    digest: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    mean: float
    interval: Interval
    contrast: Contrast | None


@dataclass(frozen=True, slots=True)
class ComparedBoard:
    """A board with the comparisons of its rows.

    Attributes:
        tables: its tables, in the page's order.
        against: maps a row's file to its comparison; only rows that have a comparable base.
        home: maps a full row's file to its group's base row; a base's is its own newest comparable run.
        adjusted: maps the file of each comparison to its exact p, adjusted by Holm over all of the board's comparisons.
    """

    board: Board
    tables: tuple[BoardTable, ...]
    against: Mapping[str, BaseComparison]
    home: Mapping[str, Row]
    adjusted: Mapping[str, float]

    def survives(self, file: str) -> bool:
        """Tell whether a compared row is better or worse than its base even among all of the board's comparisons."""
        return self.against[file].outcome in ("better", "worse") and self.adjusted[file] < ALPHA


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
    adjusted = holm_adjust([comparison.p for comparison in comparisons.values()]) if comparisons else ()
    return ComparedBoard(board, tuple(tables), comparisons, base_rows, dict(zip(comparisons, adjusted, strict=True)))


def measure_discordance(compared: ComparedBoard, table: BoardTable) -> tuple[float, int] | None:
    """Return the median share of items on which candidate and base disagree, and the number of pairs.

    None if the table has no such pair.
    """
    pair_counts = [compared.against[row.file].pairs for row in table.full if row.file in compared.against]
    shares = [(pairs.first + pairs.second) / pairs.total for pairs in pair_counts]
    return (median(shares), len(shares)) if shares else None


def summarise_recipes(compared: ComparedBoard, table: BoardTable) -> list[RecipeSummary]:
    """Summarise each recipe with two or more seeds; of a seed scored twice the newest row counts."""
    rows_by_recipe: dict[tuple[str, ...], list[Row]] = {}
    for row in table.full:
        if (key := build_recipe_key(row.entry)) is not None and (candidate := row.result.trained) is not None:
            rows_by_recipe.setdefault((candidate.recipe, *key), []).append(row)
    summaries = [
        _summarise_seeds(key[1], comparable_rows, compared.home.get(comparable_rows[0].file))
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


def _summarise_seeds(digest: str, rows: Sequence[Row], base: Row | None) -> RecipeSummary | None:
    """Summarise one recipe's rows, newest first; None for a single seed."""
    by_seed = {trained.seed: (trained, row) for row in reversed(rows) if (trained := row.result.trained) is not None}
    if len(by_seed) == 1:
        return None
    seeds = tuple(sorted(by_seed))
    candidate, newest_rows = by_seed[seeds[0]][0], tuple(by_seed[seed][1] for seed in seeds)
    answers = [read_right_answers(row.entry) for row in newest_rows]
    # Against answers that are all wrong the difference is the mean itself.
    mean = compare_recipes(answers, [[False] * len(answers[0])])
    interval = Interval(max(mean.interval.low, 0.0), mean.interval.high)
    contrast = None
    if base is not None:
        margin = find_least_margin(row.entry for row in rows)
        contrast = compare_recipes(answers, [read_right_answers(base.entry)], margin)
    return RecipeSummary(
        candidate.recipe, candidate.base.name, digest, seeds, newest_rows, mean.difference, interval, contrast
    )
