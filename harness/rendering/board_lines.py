"""Folds the full runs of a table into lines: one for a base, one for the seeds of a recipe, one for checkpoints."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from baseline_bench.analysis.board_comparisons import BaseComparison, ComparedBoard, RecipeSummary, summarise_recipes
from baseline_bench.analysis.compare import explain_incomparability
from baseline_bench.analysis.differences import is_untrained
from baseline_bench.analysis.recipe_contrast import Contrast
from baseline_bench.analysis.recipe_key import digest_recipe_keys
from baseline_bench.analysis.statistics import Interval, wilson_interval
from baseline_bench.rendering.formatting import describe_setup
from baseline_bench.results.board import BoardTable, Row


@dataclass(frozen=True, slots=True)
class BoardLine:
    """One line of a board: a single row, or rows that one line summarises.

    Attributes:
        rows: the row whose numbers the line shows first, then the others by name and time.
        recipe: the summary whose numbers the line shows instead; None unless the rows have two seeds or more.
        comparison: of these numbers with the base; None for a base, and where no row of the base is comparable.
    """

    rows: tuple[Row, ...]
    recipe: RecipeSummary | None
    comparison: BaseComparison | Contrast | None

    @property
    def name(self) -> str:
        """The candidate's name; of several seeds the base's and the recipe's."""
        return self.rows[0].result.candidate if self.recipe is None else f"{self.recipe.base}+{self.recipe.name}"

    @property
    def scored(self) -> tuple[Row, ...]:
        """The rows whose numbers the line shows."""
        return self.rows[:1] if self.recipe is None else self.recipe.rows

    @property
    def score(self) -> float:
        """The share of right problems; of several seeds the mean."""
        counts = self.rows[0].result.counts
        return counts.correct / counts.total if self.recipe is None else self.recipe.mean

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the score: Wilson's, or over new seeds and new problems."""
        counts = self.rows[0].result.counts
        return wilson_interval(counts.correct, counts.total) if self.recipe is None else self.recipe.interval

    @property
    def contents(self) -> str:
        """What the line folds, such as "3 seeds, 4 checkpoints"; empty for a single row."""
        shown = {row.file for row in self.scored}
        folded = [row for row in self.rows if row.file not in shown]
        checkpoints = sum(_is_checkpoint(row) for row in folded)
        parts = (
            (0 if self.recipe is None else len(self.recipe.seeds), "seed"),
            (checkpoints, "checkpoint"),
            (len(folded) - checkpoints, "older run"),
        )
        return ", ".join(f"{count:,} {what}{'s' if count > 1 else ''}" for count, what in parts if count)


def fold_rows(judged: ComparedBoard, table: BoardTable) -> list[BoardLine]:
    """Fold the full runs of a table into lines, sorted by name.

    Runs of a base fold where the page shows the same prompt, engine, dtype and device for them. Rows of a recipe fold
    where they are comparable: all seeds, or else the checkpoints and repeated runs of one seed.
    """
    recipes = {row.file: summary for summary in summarise_recipes(judged, table) for row in summary.rows}
    groups: dict[Hashable, list[list[Row]]] = {}
    for row in sorted(table.full, key=lambda row: _sort_key(row, row.file in recipes), reverse=True):
        candidates = groups.setdefault(_build_fold_key(row), [])
        group = next((group for group in candidates if _belong_together(row, group[0], recipes)), None)
        if group is None:
            candidates.append([row])
        else:
            group.append(row)
    lines = [_build_line(judged, group, recipes.get(group[0].file)) for several in groups.values() for group in several]
    return sorted(lines, key=lambda line: (line.name, line.rows[0].entry.created, line.rows[0].file))


def shorten_names(lines: Sequence[BoardLine]) -> list[str]:
    """Return the name of each line, without the base's where the nearest base above it has that name."""
    names, base = [], None
    for line in lines:
        if is_untrained(line.rows[0].entry):
            base = line.name
        is_below_base = base is not None and line.name.startswith(f"{base}+")
        names.append(line.name.removeprefix(base or "") if is_below_base else line.name)
    return names


def _sort_key(row: Row, is_summarised: bool) -> tuple[bool, bool, str, str]:
    """Sort what a line shows last: rows of a summary, then last steps, then by time."""
    return is_summarised, not _is_checkpoint(row), row.entry.created, row.file


def _is_checkpoint(row: Row) -> bool:
    return row.result.step is not None


def _build_fold_key(row: Row) -> Hashable:
    """Return what rows of one line share; it holds the file's name where a row has a line of its own."""
    weights = row.result.model.weights_sha256
    if (candidate := row.result.trained) is not None:
        base, data = candidate.base.weights_sha256, candidate.data.sha256
        return candidate.recipe, digest_recipe_keys(candidate), base, data
    if is_untrained(row.entry) and weights is not None:
        return row.result.candidate, weights, describe_setup(row.result)
    return row.file


def _belong_together(row: Row, shown: Row, recipes: dict[str, RecipeSummary]) -> bool:
    """Tell whether a row folds into the line that shows another row of the same key."""
    if is_untrained(row.entry):
        return True
    if recipes.get(row.file) != recipes.get(shown.file) and row.file in recipes:
        return False
    seeds = recipes[shown.file].seeds if shown.file in recipes else (_get_seed(shown),)
    return _get_seed(row) in seeds and explain_incomparability(row.entry, shown.entry) is None


def _get_seed(row: Row) -> int | None:
    return None if row.result.trained is None else row.result.trained.seed


def _build_line(judged: ComparedBoard, group: Sequence[Row], recipe: RecipeSummary | None) -> BoardLine:
    others = sorted(group[1:], key=lambda row: (row.result.candidate, row.entry.created, row.file))
    comparison = judged.against.get(group[0].file) if recipe is None else recipe.contrast
    return BoardLine((group[0], *others), recipe, comparison)
