"""Select the rows of a recipe, one a training seed, by the digest of the keys that move weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.analysis.compare import classify_comparison, explain_incomparability, find_margin, is_base
from baseline_bench.analysis.recipe_key import RecipeKey, build_recipe_key
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.records import digest
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.candidate import Candidate
from baseline_bench.results.entry import Entry
from baseline_bench.results.lookup import FoundEntry

PREFIX = "recipe:"
_SAME_TERMS_ADVICE = "score all of them on one board with the same settings: bench score"


@dataclass(frozen=True, slots=True)
class RecipeRows:
    """The rows of one recipe that a comparison uses, one a seed, sorted by seed.

    Attributes:
        name: the recipe's.
        digest: of the keys that move weights; of base and data too where only that selects the rows.
        base: the name of the model that it trains.
        rows: not empty.
        margin: the smallest that any of its trainings declares, used or not; None if one of them declares none.
        left_out: rows of seeds that are not used, each with the reason.
    """

    name: str
    digest: str
    base: str
    rows: tuple[FoundEntry, ...]
    margin: float | None
    left_out: tuple[tuple[FoundEntry, str], ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(_get_candidate(row).seed for row in self.rows)

    @property
    def right(self) -> tuple[tuple[bool, ...], ...]:
        """One row a seed: which problems it answers right."""
        return tuple(read_right_answers(row.entry) for row in self.rows)


@dataclass(frozen=True, slots=True)
class RecipePair:
    """The rows of two recipes that answer the same problems.

    Attributes:
        first, second: the recipes.
        base: the newest row of the base of both under the same conditions; None unless one was asked for.
        differs: what differs between the rows besides the weights, such as engine settings; empty where nothing does.
    """

    first: RecipeRows
    second: RecipeRows
    base: FoundEntry | None
    differs: tuple[str, ...]


def read_right_answers(entry: Entry) -> tuple[bool, ...]:
    """Return which problems a row answers right, in the task's order."""
    return hex_to_bits(entry.result.bits.correct, entry.result.counts.total)


def find_least_margin(entries: Iterable[Entry]) -> float | None:
    """Return the smallest margin that the trainings of these rows declare; None if one of them declares none."""
    margins = [find_margin(entry) for entry in entries]
    return None if None in margins else min(margin for margin in margins if margin is not None)


def count_training_seconds(entry: Entry) -> float:
    """Return the GPU seconds of a row's training; 0 for an untrained model."""
    trained = entry.result.trained
    return 0.0 if trained is None else trained.cost.seconds * max(trained.cost.gpus, 1)


def select_recipes(first: str, second: str, rows: Sequence[FoundEntry], base: str | None = None) -> RecipePair:
    """Select the rows of two recipes that can be compared seed by seed: those of most seeds under the same conditions.

    Of a seed scored twice the newest row counts. A row of an older task version takes part with the judgements of its
    re-grade too, so that a seed scored today joins those before. Where no two seeds a side agree in all but the
    weights, rows that answer the same problems are taken, and what else differs is listed.

    Args:
        first, second: `recipe:NAME` or `recipe:NAME@DIGEST`, with the first digits of the digest.
        rows: of all boards to search.
        base: the name of a model; only recipes that train it are considered, and its row is selected too.

    Raises:
        BenchError: a name has no rows or those of several recipes, both are on no board or on several, a recipe has one
            seed only, or the base has no comparable row.
    """
    rows = [*rows, *(replace(row, entry=row.regrade.apply(row.entry)) for row in rows if row.regrade is not None)]
    recipes = [_find_recipe(text, rows, base) for text in (first, second)]
    if recipes[0].rows == recipes[1].rows:
        raise BenchError(
            f"{first} and {second} are one recipe", "name two; `bench noise` shows how far a score repeats"
        )
    board = _find_shared_board(first, second, recipes)
    everywhere = [[row for row in recipe.rows if row.path.parent == board] for recipe in recipes]
    sides = _choose_comparable(*everywhere)
    if not all(sides):
        raise BenchError(f"{first} and {second} have no comparable rows", _SAME_TERMS_ADVICE)
    one, other = (
        _require_seeds(replace(recipe, rows=tuple(side))) for recipe, side in zip(recipes, sides, strict=True)
    )
    chosen = [*one.rows, *other.rows]
    anchor = one.rows[0].entry
    differs = dict.fromkeys(
        str(difference) for row in chosen for difference in classify_comparison(anchor, row.entry).differs
    )
    one, other = (
        replace(recipe, left_out=_list_left_out(side, recipe, anchor))
        for recipe, side in zip((one, other), everywhere, strict=True)
    )
    return RecipePair(one, other, None if base is None else _find_base(base, chosen, rows), tuple(differs))


def _find_shared_board(first: str, second: str, recipes: Sequence[RecipeRows]) -> Path:
    boards = set.intersection(*({row.path.parent for row in recipe.rows} for recipe in recipes))
    if len(boards) != 1:
        names = ", ".join(sorted(board.name for board in boards))
        problem = f"are on several boards: {names}" if boards else "share no board"
        raise BenchError(f"{first} and {second} {problem}", "name one with --board" if boards else _SAME_TERMS_ADVICE)
    return boards.pop()


def _find_recipe(text: str, rows: Sequence[FoundEntry], base: str | None) -> RecipeRows:
    name, _, digits = text.removeprefix(PREFIX).partition("@")
    groups: dict[RecipeKey, list[FoundEntry]] = {}
    known = set()
    for row in rows:
        key = build_recipe_key(row.entry) if row.counts else None
        if key is not None and base in (None, _get_candidate(row).base.name):
            known.add(_get_candidate(row).recipe)
            if _get_candidate(row).recipe == name:
                groups.setdefault(key, []).append(row)
    matching = {
        key: group for key, group in groups.items() if any(each.startswith(digits) for each in (key[0], digest(key)))
    }
    if not matching:
        where = "" if base is None else f" on {base}"
        way_out = _list_digests(name, groups) if groups else suggest_name(name, sorted(known), "bench board")
        raise BenchError(f"no row of {text}{where}", way_out)
    if len(matching) > 1:
        raise BenchError(f"'{name}' names {len(matching)} recipes", f"give one: {_list_digests(name, matching)}")
    ((key, group),) = matching.items()
    selected = key[0] if key[0].startswith(digits) else digest(key)
    margin = find_least_margin(row.entry for row in group)
    return RecipeRows(name, selected, _get_candidate(group[0]).base.name, tuple(group), margin)


def _list_digests(name: str, groups: Mapping[RecipeKey, Sequence[FoundEntry]]) -> str:
    """List what selects each group: the digest of its keys or, where another base or data share it, of everything."""
    keys_digests = [key[0] for key in groups]

    def describe(key: RecipeKey, group: Sequence[FoundEntry]) -> str:
        candidate = _get_candidate(group[0])
        seeds = " ".join(map(str, sorted({_get_candidate(row).seed for row in group})))
        learning_rate, sha256 = candidate.values.get("lr", "unknown"), key[0]
        data = ""
        if keys_digests.count(sha256) > 1:
            sha256, data = digest(key), f"data {key[2][:12]}, "
        return f"{PREFIX}{name}@{sha256[:12]} ({candidate.base.name}, lr {learning_rate}, {data}seeds {seeds})"

    return ", ".join(describe(*item) for item in sorted(groups.items()))


def _choose_comparable(*sides: Sequence[FoundEntry]) -> list[list[FoundEntry]]:
    """Choose the rows of most seeds that agree with one row; in all but the weights, if that leaves two a side."""
    anchors = sorted((row for side in sides for row in side), key=lambda row: row.entry.created, reverse=True)
    rules: tuple[Callable[[Entry, Entry], bool], ...] = (
        lambda one, other: explain_incomparability(one, other) is None,
        lambda one, other: classify_comparison(one, other).name != "not comparable",
    )
    best: list[list[FoundEntry]] = [[], []]
    for rule in rules:
        for anchor in anchors:
            chosen = [_take_newest([row for row in side if rule(anchor.entry, row.entry)]) for side in sides]
            best = max(best, chosen, key=lambda each: (min(map(len, each)), sum(map(len, each))))
        if min(map(len, best)) > 1:
            break
    return best


def _list_left_out(rows: Sequence[FoundEntry], recipe: RecipeRows, anchor: Entry) -> tuple[tuple[FoundEntry, str], ...]:
    """List each row of an unused seed once, as the anchor's version of the task judges it if it can."""
    unused = {
        row.path: row
        for row in sorted(rows, key=lambda row: row.entry.result.task.label == anchor.result.task.label)
        if _get_candidate(row).seed not in recipe.seeds
    }
    return tuple((row, _explain_omission(anchor, row.entry)) for row in unused.values())


def _explain_omission(anchor: Entry, entry: Entry) -> str:
    """Describe the first difference from the rows that are used."""
    difference = next(iter(classify_comparison(anchor, entry).differs), None)
    if difference is None:
        return "other conditions"
    return f"other {difference.what} (this row: {difference.second}; rows used: {difference.first})"


def _take_newest(rows: Sequence[FoundEntry]) -> list[FoundEntry]:
    newest = {_get_candidate(row).seed: row for row in sorted(rows, key=lambda row: row.entry.created)}
    return [row for _, row in sorted(newest.items())]


def _require_seeds(recipe: RecipeRows) -> RecipeRows:
    """Return the recipe, or raise BenchError for one seed."""
    if len(recipe.rows) == 1:
        raise BenchError(
            f"recipe {recipe.name} has one seed here, which shows these weights and not the recipe",
            f"add a seed: bench train-and-score {recipe.name} --seed {max(recipe.seeds) + 1}, with --base and --set as "
            f"for {recipe.rows[0].path.name}",
        )
    return recipe


def _find_base(name: str, trained: Sequence[FoundEntry], rows: Sequence[FoundEntry]) -> FoundEntry:
    anchor = trained[0].entry
    bases = [
        row
        for row in rows
        if row.counts
        and all(is_base(row.entry, tuned.entry) for tuned in trained)
        and explain_incomparability(anchor, row.entry) is None
    ]
    if not bases:
        raise BenchError(f"no row of {name} is comparable with these recipes", f"score it: bench baseline {name}")
    return max(bases, key=lambda row: row.entry.created)


def _get_candidate(row: FoundEntry) -> Candidate:
    if row.entry.result.trained is None:
        raise ValueError(f"{row.path} has no training by bench")
    return row.entry.result.trained
