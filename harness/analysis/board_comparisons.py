"""Where the rows of a board stand: each against its own base, and the seeds of one recipe together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

from baseline_bench.analysis.compare import comparable, word
from baseline_bench.analysis.differences import base_weights, recipe, untrained
from baseline_bench.analysis.multiple_testing import LEAST_SEEDS, seeds_interval
from baseline_bench.analysis.statistics import Interval, Pairs, mcnemar, newcombe
from baseline_bench.results.board import Board, Row, Table, tables
from baseline_bench.results.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Against:
    """A row against its base.

    Attributes:
        base: the newest row of the base that is comparable: the same prompts, engine, settings and device.
        pairs: their items.
        interval: of the difference, 95 %, Newcombe's method 10.
        p: of McNemar's exact test.
        verdict: "better", "worse" or "not resolved", by that test at 5 %.
    """

    base: Row
    pairs: Pairs
    interval: Interval
    p: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Recipe:
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
class Judged:
    """A board and where its rows stand.

    Attributes:
        tables: its tables, in the page's order.
        against: a row's file to its comparison; only rows that have a comparable base.
        home: a full row's file to the base row in whose group it stands; a base's is the newest run of its own kind.
    """

    board: Board
    tables: tuple[Table, ...]
    against: Mapping[str, Against]
    home: Mapping[str, Row]


def judge(board: Board) -> Judged:
    """Every full row that counts, against the newest comparable row of its own base."""
    found, home = {}, {}
    for table in (listed := tables(board)):
        bases = _bases(table.full)
        for row in table.full:
            base = _home(row, bases)
            if base is None:
                continue
            home[row.file] = base
            if not untrained(row.entry):
                found[row.file] = _against(row, base)
    return Judged(board, tuple(listed), found, home)


def discordance(judged: Judged, table: Table) -> tuple[float, int] | None:
    """The median share of items on which a candidate of the table and its base disagree, and over how many pairs.

    None where there is no such pair.
    """
    seen = [judged.against[row.file].pairs for row in table.full if row.file in judged.against]
    return (median((pairs.first + pairs.second) / pairs.total for pairs in seen), len(seen)) if seen else None


def recipes(table: Table) -> list[Recipe]:
    """What three or more seeds say of a recipe; of a seed that was scored twice the newest row counts."""
    of_one: dict[tuple[str, ...], list[Row]] = {}
    for row in table.full:
        if (same := recipe(row.entry)) is not None and (made := _made(row)) is not None:
            of_one.setdefault((made.recipe, made.base.name, *same), []).append(row)
    found = [_together(alike) for same in sorted(of_one) for alike in _alike(of_one[same])]
    return [one for one in found if one is not None]


def _bases(rows: Iterable[Row]) -> Mapping[str, list[list[Row]]]:
    """Weights to the runs of them, alike ones together, the newest first."""
    by_weights: dict[str, list[Row]] = {}
    for row in rows:
        if untrained(row.entry) and (weights := base_weights(row.entry)) is not None:
            by_weights.setdefault(weights, []).append(row)
    return {weights: _alike(runs) for weights, runs in by_weights.items()}


def _alike(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows in groups of which each is comparable within, newest first: who compares with one, does with all."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (row.entry.created, row.file), reverse=True):
        group = next((group for group in groups if comparable(row.entry, group[0].entry) is None), None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    return groups


def _home(row: Row, bases: Mapping[str, list[list[Row]]]) -> Row | None:
    groups = bases.get(base_weights(row.entry) or "", [])
    return next((group[0] for group in groups if comparable(row.entry, group[0].entry) is None), None)


def _against(row: Row, base: Row) -> Against:
    one, other = (int(of.result.bits.correct, 16) for of in (row, base))
    both, total = (one & other).bit_count(), row.result.counts.total
    first, second = one.bit_count() - both, other.bit_count() - both
    pairs = Pairs(both, first, second, total - both - first - second)
    interval, p = _doubt(pairs)
    return Against(base, pairs, interval, p, word(pairs, p))


@cache
def _doubt(pairs: Pairs) -> tuple[Interval, float]:
    return newcombe(pairs), mcnemar(pairs)


def _made(row: Row) -> Candidate | None:
    return None if row.result.training is None else row.result.training.candidate


def _together(alike: Sequence[Row]) -> Recipe | None:
    """The rows of one recipe, newest first, as a recipe; None for fewer than three seeds."""
    by_seed = {made.seed: (made, row) for row in reversed(alike) if (made := _made(row)) is not None}
    if len(by_seed) < LEAST_SEEDS:
        return None
    seeds = tuple(sorted(by_seed))
    counts = [by_seed[seed][1].result.counts for seed in seeds]
    shares = [count.correct / count.total for count in counts]
    made = by_seed[seeds[0]][0]
    return Recipe(made.recipe, made.base.name, seeds, sum(shares) / len(shares), seeds_interval(shares))
