"""Select the rows of a recipe, one a training seed, by the digest of the keys that move weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import PurePath

from baseline_bench.analysis.compare import classify_comparison, explain_incomparability, find_margin, is_base
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.records import digest
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.candidate import Candidate
from baseline_bench.results.entry import Entry
from baseline_bench.results.lookup import FoundEntry
from baseline_bench.trainers import _options as trainer_options

PREFIX = "recipe:"
# Guards, programs, kernels and memory change weights by rounding at most, and a margin only judges them. An unknown key
# counts as one that moves them.
KEYS_WITHOUT_EFFECT = frozenset(
    (
        *("max_length", "derived_from", "margin", "python", "time_limit", "checkpoint_steps"),
        *("forward_tokens", "forward_rows", "gradient_checkpointing", "cuda_graph", "sharding"),
    )
)
_FILE_SUFFIXES = (".py", ".jsonl", ".parquet")
_SAME_TERMS_ADVICE = "score all of them on one board with the same settings: bench score"


@dataclass(frozen=True, slots=True)
class RecipeRows:
    """The rows of one recipe that a comparison uses, one a seed, sorted by seed.

    Attributes:
        name: the recipe's.
        digest: of the keys that move weights.
        base: the name of the model that it trains.
        rows: not empty.
    """

    name: str
    digest: str
    base: str
    rows: tuple[FoundEntry, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(_get_candidate(row).seed for row in self.rows)

    @property
    def right(self) -> tuple[tuple[bool, ...], ...]:
        """One row a seed: which problems it answers right."""
        return tuple(read_right_answers(row.entry) for row in self.rows)

    @property
    def margin(self) -> float | None:
        """The smallest margin that its trainings declare; None if one of them declares none."""
        margins = [find_margin(row.entry) for row in self.rows]
        return None if None in margins else min(margin for margin in margins if margin is not None)


@dataclass(frozen=True, slots=True)
class RecipePair:
    """The rows of two recipes that answer the same problems.

    Attributes:
        first, second: the recipes.
        base: the newest row of the base of both under the same conditions; None unless one was asked for.
        differs: what differs between the rows besides the weights, such as engine settings; empty where nothing does.
        left_out: rows of seeds that are not used, each with the reason.
    """

    first: RecipeRows
    second: RecipeRows
    base: FoundEntry | None
    differs: tuple[str, ...]
    left_out: tuple[tuple[FoundEntry, str], ...]


def read_right_answers(entry: Entry) -> tuple[bool, ...]:
    """Return which problems a row answers right, in the task's order."""
    return hex_to_bits(entry.result.bits.correct, entry.result.counts.total)


def count_training_seconds(entry: Entry) -> float:
    """Return the GPU seconds of a row's training; 0 for an untrained model."""
    training = entry.result.training
    cost = None if training is None or training.candidate is None else training.candidate.cost
    return 0.0 if cost is None else cost.seconds * max(cost.gpus, 1)


def digest_weight_keys(values: Mapping[str, object]) -> str:
    """Return the sha256 over the keys of a recipe that move weights; the seed is none of them.

    A key that a built-in trainer has by default and an omitted one are equal; of a file only the name counts. The
    contents of base and data are checked when rows are selected.
    """
    options = getattr(trainer_options, str(values.get("trainer")).capitalize(), None)
    defaults = {field.name: field.default for field in fields(options)} if is_dataclass(options) else {}
    moving = {**defaults, **values}
    return digest(
        {
            key: _normalise(value)
            for key, value in moving.items()
            if key not in KEYS_WITHOUT_EFFECT and value is not None
        }
    )


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
        BenchError: a name has no rows or several digests, both are on no board or on several, a recipe has one seed
            only, rows of one digest were trained from other weights or data, or the base has no comparable row.
    """
    rows = [*rows, *(replace(row, entry=row.regrade.apply(row.entry)) for row in rows if row.regrade is not None)]
    recipes = [_find_recipe(text, rows, base) for text in (first, second)]
    if recipes[0].digest == recipes[1].digest and recipes[0].name == recipes[1].name:
        raise BenchError(
            f"{first} and {second} are one recipe", "name two; `bench noise` shows how far a score repeats"
        )
    boards = set.intersection(*({row.path.parent for row in recipe.rows} for recipe in recipes))
    if len(boards) != 1:
        names = ", ".join(sorted(board.name for board in boards))
        problem = f"are on several boards: {names}" if boards else "share no board"
        raise BenchError(f"{first} and {second} {problem}", "name one with --board" if boards else _SAME_TERMS_ADVICE)
    (board,) = boards
    everywhere = [[row for row in recipe.rows if row.path.parent == board] for recipe in recipes]
    sides = _choose_comparable(*everywhere)
    if not all(sides):
        raise BenchError(f"{first} and {second} have no comparable rows", _SAME_TERMS_ADVICE)
    one, other = (
        _require_sound_rows(RecipeRows(recipe.name, recipe.digest, recipe.base, tuple(side)))
        for recipe, side in zip(recipes, sides, strict=True)
    )
    chosen = [*one.rows, *other.rows]
    found_base = None if base is None else _find_base(base, chosen, rows)
    anchor = one.rows[0].entry
    differs = dict.fromkeys(
        str(difference) for row in chosen for difference in classify_comparison(anchor, row.entry).differs
    )
    return RecipePair(one, other, found_base, tuple(differs), _list_left_out(everywhere, (one, other), anchor))


def _find_recipe(text: str, rows: Sequence[FoundEntry], base: str | None) -> RecipeRows:
    name, _, digits = text.removeprefix(PREFIX).partition("@")
    trained = [row for row in rows if row.counts and _is_last_step(row.entry)]
    if base is not None:
        trained = [row for row in trained if _get_candidate(row).base.name == base]
    groups: dict[str, list[FoundEntry]] = {}
    for row in trained:
        if (candidate := _get_candidate(row)).recipe == name:
            groups.setdefault(digest_weight_keys(candidate.values), []).append(row)
    matching = {key: group for key, group in groups.items() if key.startswith(digits)}
    if not matching:
        known = {_get_candidate(row).recipe for row in trained}
        where = "" if base is None else f" on {base}"
        way_out = _list_digests(name, groups) if groups else suggest_name(name, sorted(known), "bench board")
        raise BenchError(f"no row of {text}{where}", way_out)
    if len(matching) > 1:
        raise BenchError(f"'{name}' names {len(matching)} recipes", f"give one: {_list_digests(name, matching)}")
    ((key, group),) = matching.items()
    return RecipeRows(name, key, _get_candidate(group[0]).base.name, tuple(group))


def _list_digests(name: str, groups: Mapping[str, Sequence[FoundEntry]]) -> str:
    def describe(key: str, group: Sequence[FoundEntry]) -> str:
        candidate = _get_candidate(group[0])
        seeds = sorted({_get_candidate(row).seed for row in group})
        learning_rate = candidate.values.get("lr", "unknown")
        return f"{PREFIX}{name}@{key[:12]} ({candidate.base.name}, lr {learning_rate}, seeds {_join(seeds)})"

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


def _list_left_out(
    everywhere: Sequence[Sequence[FoundEntry]], recipes: Sequence[RecipeRows], anchor: Entry
) -> tuple[tuple[FoundEntry, str], ...]:
    """List each row of an unused seed once, as the anchor's version of the task judges it if it can."""
    unused = {
        row.path: row
        for side, recipe in zip(everywhere, recipes, strict=True)
        for row in sorted(side, key=lambda row: row.entry.result.task.label == anchor.result.task.label)
        if _get_candidate(row).seed not in recipe.seeds
    }
    return tuple((row, explain_incomparability(anchor, row.entry) or "other conditions") for row in unused.values())


def _take_newest(rows: Sequence[FoundEntry]) -> list[FoundEntry]:
    newest = {_get_candidate(row).seed: row for row in sorted(rows, key=lambda row: row.entry.created)}
    return [row for _, row in sorted(newest.items())]


def _require_sound_rows(recipe: RecipeRows) -> RecipeRows:
    """Return the recipe, or raise BenchError for one seed, several bases, or several data."""
    if len(recipe.rows) == 1:
        raise BenchError(
            f"recipe {recipe.name} has one seed here, which shows these weights and not the recipe",
            f"add a seed: bench train-and-score {recipe.name} --seed {max(recipe.seeds) + 1}, with --base and --set as "
            f"for {recipe.rows[0].path.name}",
        )
    candidates = [_get_candidate(row) for row in recipe.rows]
    if len({(candidate.base.weights_sha256, candidate.data.sha256) for candidate in candidates}) > 1:
        raise BenchError(
            f"rows of {PREFIX}{recipe.name}@{recipe.digest[:12]} were trained from several bases or data of one name",
            "retract the rows that should not count, or train them again",
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


def _is_last_step(entry: Entry) -> bool:
    training = entry.result.training
    return training is not None and training.candidate is not None and training.step is None


def _get_candidate(row: FoundEntry) -> Candidate:
    training = row.entry.result.training
    if training is None or training.candidate is None:
        raise ValueError(f"{row.path} has no training by bench")
    return training.candidate


def _normalise(value: object) -> object:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return PurePath(value).name if isinstance(value, str) and value.endswith(_FILE_SUFFIXES) else value


def _join(seeds: Sequence[int]) -> str:
    return " ".join(map(str, seeds))
