"""What a report is drawn from: one full row a candidate, with its training, its loss history and its base."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.analysis.board_comparisons import ComparedBoard, compare_board
from baseline_bench.analysis.compare import Comparison, compare_entries, explain_incomparability
from baseline_bench.analysis.multiple_testing import holm_adjust
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.types import Step
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.report.safe_text import ExternalName, Sentence
from baseline_bench.results import retractions
from baseline_bench.results.board import Row
from baseline_bench.results.candidate import Candidate, compute_final_loss, parse_steps
from baseline_bench.results.completions import decompress_file
from baseline_bench.results.entries import losses_path
from baseline_bench.results.entry import Entry

# The palette's colours in an order whose first five stay apart for people with protanopia and deuteranopia (simulated
# after Machado, Oliveira and Fernandes 2009: at least 10 in CIE76 on white and on dark; blue and violet are 4 apart).
_COLOURS = (0, 5, 4, 2, 6, 3, 1, 7)
_DISTINCT_COLOURS = 5


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One candidate of the report.

    Attributes:
        path: of its entry.
        group: the base that it is shown under; its own name for a base.
        steps: its loss history; empty where no training of ours made it.
        home: the file of the base's row that it stands beside, as on the board: scored in the same way; a base's is
            its own; None where there is no such row.
        again: a base that stands here a second time, since candidates were scored in another way.
        gain: against that row; None for the base itself, and where there is none.
        p: the exact test's p value, adjusted by Holm over every gain of the report.
    """

    path: Path
    entry: Entry
    group: str
    steps: tuple[Step, ...]
    home: str | None = None
    again: bool = False
    gain: Comparison | None = None
    p: float | None = None

    @property
    def name(self) -> str:
        """What the board calls it."""
        return self.entry.result.candidate

    @property
    def is_base(self) -> bool:
        """The model as it came, under whose name others stand."""
        return self.name == self.group

    @property
    def title(self) -> str:
        """Its name, unlike that of every other line."""
        return f"{self.name}, again {self.entry.created}" if self.again else self.name

    @property
    def label(self) -> str:
        """Its name under the heading of its base."""
        if self.is_base:
            return f"base, again {self.entry.created[:10]}" if self.again else "base, as it came"
        return self.name.removeprefix(f"{self.group}+")

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
        return compute_final_loss(self.steps[: self.step]) if self.steps else None

    @property
    def percent(self) -> float:
        """Exact match."""
        self.entry.result.require_bits()
        return 100 * self.entry.result.counts.correct / self.entry.result.counts.total


@dataclass(frozen=True, slots=True)
class Study:
    """A report's name, its board, and its lines, group by group."""

    name: str
    board: str
    label: str
    lines: tuple[ReportRow, ...]

    @property
    def measure(self) -> str:
        """What the share of right items is called on this board."""
        return self.lines[0].entry.result.task.measure

    @property
    def right(self) -> Sentence:
        """When an item counts as right."""
        if (bar := self.lines[0].entry.result.task.bar) is None:
            return ("the answer read from the text equals the gold answer",)
        return ExternalName(bar[0]), " reaches ", ExternalName(bar[1])

    @property
    def groups(self) -> tuple[tuple[str, tuple[ReportRow, ...]], ...]:
        """Every base with its lines, in order."""
        names = dict.fromkeys(line.group for line in self.lines)
        return tuple((name, tuple(line for line in self.lines if line.group == name)) for name in names)

    @property
    def trained(self) -> tuple[ReportRow, ...]:
        """The lines of finished trainings, weights kept on the way left out."""
        return tuple(line for line in self.lines if line.made is not None and line.step is None)

    @property
    def colours(self) -> dict[str, str]:
        """A colour for each recipe, the same in every figure."""
        return {recipe: f"series-{_COLOURS[place % 8]}" for place, recipe in enumerate(self._recipes)}

    @property
    def _recipes(self) -> list[str]:
        return sorted({line.recipe for line in self.lines if line.recipe is not None})

    def apart(self, line: ReportRow, manner: str) -> str:
        """The colour of a line, and that manner where somebody may not tell the colour from an earlier one."""
        told = line.recipe is None or self._recipes.index(line.recipe) < _DISTINCT_COLOURS
        return self.colour(line) if told else f"{self.colour(line)} {manner}"

    def colour(self, line: ReportRow) -> str:
        """The colour of a line's recipe; muted for rows without one."""
        return "muted" if line.recipe is None else self.colours[line.recipe]


def gather_study(folder: Path, board: str, name: str, label: str | None, wanted: Sequence[str]) -> Study:
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
    said = retractions.read_records(folder / board)
    found = leaderboard.load_board(folder, board)
    full = [row for row in found.rows if row.entry.result.selection.limit is None and said.retraction(row.file) is None]
    if label is None and full:
        label = max(full, key=_row_age).entry.result.task.label
    rows = [row for row in full if row.entry.result.task.label == label]
    if not rows:
        raise BenchError(f"{board} has no full row of {label or 'any task'}", "score a model first: bench baseline")
    judged = compare_board(found)
    shown = _use_compared_bases(_select_row_per_candidate(rows, wanted), judged, wanted)
    bases = {row.entry.result.candidate for row in rows if row.entry.result.training is None}
    lines = sorted((_build_report_row(folder / board, row, bases, judged) for row in shown), key=_sort_key)
    return Study(name, board, label or "", tuple(_add_gains(_mark_repeated_bases(lines), judged)))


def _row_age(row: Row) -> tuple[str, str]:
    return row.entry.created, row.file


def _select_row_per_candidate(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """For each candidate the row that most others can be compared with, of those the newest."""
    names = sorted({row.entry.result.candidate for row in rows})
    for name in wanted:
        if name not in names:
            raise BenchError(f"no full row of {name!r}", suggest_name(name, names, "see the board's page"))
    repeated = {name for name in names if sum(row.entry.result.candidate == name for row in rows) > 1}

    def rank(row: Row) -> tuple[int, str, str]:
        if row.entry.result.candidate not in repeated:
            return 0, *_row_age(row)
        return sum(explain_incomparability(row.entry, other.entry) is None for other in rows), *_row_age(row)

    best: dict[str, Row] = {}
    for row in sorted(rows, key=rank):
        best[row.entry.result.candidate] = row
    return [best[name] for name in names if not wanted or name in wanted]


def _use_compared_bases(shown: Sequence[Row], judged: ComparedBoard, wanted: Sequence[str]) -> list[Row]:
    """The rows, each base by the very runs that the others are compared with."""
    used = {against.base.file: against.base for row in shown if (against := judged.against.get(row.file)) is not None}
    kept = {file: base for file, base in used.items() if not wanted or base.entry.result.candidate in wanted}
    names = {base.entry.result.candidate for base in kept.values()}
    return [*(row for row in shown if row.entry.result.candidate not in names), *kept.values()]


def _build_report_row(board: Path, row: Row, bases: Iterable[str], judged: ComparedBoard) -> ReportRow:
    path, result = board / row.file, row.entry.result
    beside = losses_path(path)
    history = tuple(parse_steps(decompress_file(beside))) if beside.is_file() else ()
    home = judged.home.get(row.file)
    return ReportRow(
        path,
        row.entry,
        _find_base_name(result.candidate, row.entry, bases),
        history,
        (row.file if result.training is None else None) if home is None else home.file,
    )


def _mark_repeated_bases(lines: Sequence[ReportRow]) -> list[ReportRow]:
    """Of a base that stands more than once all but the first are said to stand again."""
    firsts = {line.group: line for line in reversed(lines) if line.is_base}
    return [replace(line, again=line.is_base and firsts[line.group] is not line) for line in lines]


def _find_base_name(name: str, entry: Entry, bases: Iterable[str]) -> str:
    """The base that a training names; for other rows the part of the name before a `+`, where that is a row."""
    training = entry.result.training
    if training is not None and training.candidate is not None:
        return training.candidate.base.name
    before = name.partition("+")[0]
    return before if before in bases else name


def _add_gains(lines: Sequence[ReportRow], judged: ComparedBoard) -> list[ReportRow]:
    """Every line with its gain over its base's row, p values adjusted by Holm over all of them."""
    bases = [judged.against.get(line.path.name) for line in lines]
    gains = [
        None if against is None else compare_entries(line.entry, against.base.entry)
        for line, against in zip(lines, bases, strict=True)
    ]
    adjusted = iter(holm_adjust([gain.p for gain in gains if gain is not None]))
    return [
        replace(line, gain=gain, p=None if gain is None else next(adjusted))
        for line, gain in zip(lines, gains, strict=True)
    ]


def _sort_key(line: ReportRow) -> tuple[str, str, bool, str, int, int, str]:
    """Under each base's name the lines of one of its runs, the earlier day first, that run itself on top."""
    made = line.made
    seed = -1 if made is None else made.seed
    return line.group, line.home or "~", not line.is_base, line.recipe or "~", seed, line.step or 10**9, line.name
