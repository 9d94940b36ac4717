"""What a report is drawn from: one full row a candidate, with its training, its loss history and its base."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BenchError, nearest
from harness.judging.compare import Comparison, comparable, compare
from harness.judging.families import holm
from harness.pages import leaderboard
from harness.store import lineage
from harness.store.board import Row
from harness.store.candidate import Candidate, final_loss, steps
from harness.store.completions import read_lines
from harness.store.entries import losses_path
from harness.store.entry import Entry
from harness.types import Step

# The palette's colours in an order whose first five stay apart for people with protanopia and deuteranopia (simulated
# after Machado, Oliveira and Fernandes 2009: at least 10 in CIE76 on white and on dark; blue and violet are 4 apart).
_COLOURS = (0, 5, 4, 2, 6, 3, 1, 7)
_TOLD_APART = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One candidate of the report.

    Attributes:
        path: of its entry.
        group: the base that it is shown under; its own name for a base.
        steps: its loss history; empty where no training of ours made it.
        gain: against the base's row; None for the base itself, and where the two are not comparable.
        p: the exact test's p value, adjusted by Holm over every gain of the report.
    """

    path: Path
    entry: Entry
    group: str
    steps: tuple[Step, ...]
    gain: Comparison | None = None
    p: float | None = None

    @property
    def name(self) -> str:
        """What the board calls it."""
        return self.entry.result.candidate

    @property
    def label(self) -> str:
        """Its name under the heading of its base."""
        return "base, as it came" if self.name == self.group else self.name.removeprefix(f"{self.group}+")

    @property
    def made(self) -> Candidate | None:
        """Its training, where it was made by one of ours."""
        training = self.entry.result.training
        return None if training is None else training.candidate

    @property
    def step(self) -> int | None:
        """After which step its weights were kept; None for the last one, and for a base."""
        training = self.entry.result.training
        return None if training is None else training.step

    @property
    def recipe(self) -> str | None:
        """The recipe's name, which gives a line its colour."""
        return None if self.made is None else self.made.recipe

    @property
    def loss(self) -> float | None:
        """Mean training loss over the last tenth of the steps that made these weights, nats a supervised token."""
        if self.made is None:
            return None
        if self.step is None:
            return self.made.final_loss
        return final_loss(self.steps[: self.step]) if self.steps else None

    @property
    def percent(self) -> float:
        """Exact match."""
        return 100 * self.entry.result.counts.correct / self.entry.result.counts.total


@dataclass(frozen=True, slots=True)
class Study:
    """A report's name, its board, and its lines, group by group."""

    name: str
    board: str
    label: str
    lines: tuple[Line, ...]

    @property
    def groups(self) -> tuple[tuple[str, tuple[Line, ...]], ...]:
        """Every base with its lines, in order."""
        names = dict.fromkeys(line.group for line in self.lines)
        return tuple((name, tuple(line for line in self.lines if line.group == name)) for name in names)

    @property
    def trained(self) -> tuple[Line, ...]:
        """The lines of finished trainings, weights kept on the way left out."""
        return tuple(line for line in self.lines if line.made is not None and line.step is None)

    @property
    def colours(self) -> dict[str, str]:
        """A colour for each recipe, the same in every figure."""
        return {recipe: f"series-{_COLOURS[place % 8]}" for place, recipe in enumerate(self._recipes)}

    @property
    def _recipes(self) -> list[str]:
        return sorted({line.recipe for line in self.lines if line.recipe is not None})

    def apart(self, line: Line, manner: str) -> str:
        """The colour of a line, and that manner where somebody may not tell the colour from an earlier one."""
        told = line.recipe is None or self._recipes.index(line.recipe) < _TOLD_APART
        return self.colour(line) if told else f"{self.colour(line)} {manner}"

    def colour(self, line: Line) -> str:
        """The colour of a line's recipe; muted for rows without one."""
        return "muted" if line.recipe is None else self.colours[line.recipe]


def gather(folder: Path, board: str, name: str, label: str | None, wanted: Sequence[str]) -> Study:
    """The rows of a report: full, not retracted, of one task label, one for each candidate.

    Args:
        folder: the leaderboards.
        board: the board's name.
        name: of the report.
        label: the task version; None for that of the newest entry.
        wanted: candidates to show; empty for all.

    Raises:
        BenchError: there is nothing to show, or a wanted candidate has no such row.
    """
    said = lineage.read(folder / board)
    full = [
        row
        for row in leaderboard.load(folder, board).rows
        if row.entry.result.selection.limit is None and said.retraction(row.file) is None
    ]
    if label is None and full:
        label = max(full, key=_age).entry.result.task.label
    rows = [row for row in full if row.entry.result.task.label == label]
    if not rows:
        raise BenchError(f"{board} has no full row of {label or 'any task'}", "score a model first: bench baseline")
    shown = _one_each(rows, wanted)
    bases = {row.entry.result.candidate for row in rows if row.entry.result.training is None}
    lines = [_line(folder / board, row, bases) for row in shown]
    judged = _judged(lines)
    return Study(name, board, label or "", tuple(sorted(judged, key=_order)))


def _age(row: Row) -> tuple[str, str]:
    return row.entry.created, row.file


def _one_each(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """For each candidate the row that most others can be compared with, of those the newest."""
    names = sorted({row.entry.result.candidate for row in rows})
    for name in wanted:
        if name not in names:
            raise BenchError(f"no full row of {name!r}", nearest(name, names, "see the board's page"))
    repeated = {name for name in names if sum(row.entry.result.candidate == name for row in rows) > 1}

    def rank(row: Row) -> tuple[int, str, str]:
        if row.entry.result.candidate not in repeated:
            return 0, *_age(row)
        return sum(comparable(row.entry, other.entry) is None for other in rows), *_age(row)

    best: dict[str, Row] = {}
    for row in sorted(rows, key=rank):
        best[row.entry.result.candidate] = row
    return [best[name] for name in names if not wanted or name in wanted]


def _line(board: Path, row: Row, bases: Iterable[str]) -> Line:
    path, result = board / row.file, row.entry.result
    beside = losses_path(path)
    history = tuple(steps(read_lines(beside))) if beside.is_file() else ()
    return Line(path, row.entry, _group(result.candidate, row.entry, bases), history)


def _group(name: str, entry: Entry, bases: Iterable[str]) -> str:
    """The base that a training names; for other rows the part of the name before a `+`, where that is a row."""
    training = entry.result.training
    if training is not None and training.candidate is not None:
        return training.candidate.base.name
    before = name.partition("+")[0]
    return before if before in bases else name


def _judged(lines: Sequence[Line]) -> list[Line]:
    """Every line with its gain over the base's line, p values adjusted by Holm over all of them."""
    bases = {line.name: line for line in lines if line.name == line.group}
    gains: list[Comparison | None] = []
    for line in lines:
        base = bases.get(line.group)
        fits = base is not None and base is not line and comparable(line.entry, base.entry) is None
        gains.append(compare(line.entry, base.entry) if base is not None and fits else None)
    adjusted = iter(holm([gain.p for gain in gains if gain is not None]))
    return [
        Line(line.path, line.entry, line.group, line.steps, gain, None if gain is None else next(adjusted))
        for line, gain in zip(lines, gains, strict=True)
    ]


def _order(line: Line) -> tuple[str, bool, str, int, int, str]:
    made = line.made
    seed = -1 if made is None else made.seed
    return line.group, line.name != line.group, line.recipe or "~", seed, line.step or 10**9, line.name
