"""The data of a report: one full row a candidate, with its training, its loss history and its base."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baseline_bench.analysis.board_comparisons import ComparedBoard, compare_board
from baseline_bench.analysis.compare import Comparison, compare_entries, explain_incomparability
from baseline_bench.analysis.multiple_testing import holm_adjust
from baseline_bench.analysis.outcomes import Outcome
from baseline_bench.analysis.statistics import Interval, wilson_interval
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.types import Step
from baseline_bench.rendering import leaderboard
from baseline_bench.rendering.report.safe_text import ExternalName, Sentence
from baseline_bench.results.board import Row, list_active_rows
from baseline_bench.results.candidate import Candidate, compute_final_loss, parse_steps
from baseline_bench.results.companions import LOSSES, read_lines
from baseline_bench.results.entry import Entry


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One candidate of the report.

    Attributes:
        path: of its entry.
        row: its entry, with the advisories that concern it.
        group: the base that it is shown under; its own name for a base.
        steps: its loss history; empty where bench did not train it.
        home: the entry file of its base's run that was scored in the same way, as on the board; a base's own file;
            None where there is no such run.
        again: whether this is a further run of a base, because some candidates were scored in another way.
        gain: the comparison with that run; None for the base itself, and where there is no such run.
        p: the exact test's p value, adjusted by Holm over every gain of the report.
    """

    path: Path
    row: Row
    group: str
    steps: tuple[Step, ...]
    home: str | None = None
    again: bool = False
    gain: Comparison | None = None
    p: float | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome against its base as one of all gains of the report; None where there is no comparison."""
        return None if self.gain is None or self.p is None else self.gain.decide_adjusted(self.p)

    @property
    def colour(self) -> str:
        """Return the colour of its outcome: better or worse; else ink for a base, muted for others."""
        return self.outcome if self.outcome in ("better", "worse") else "ink" if self.is_base else "muted"

    @property
    def entry(self) -> Entry:
        """Return its entry."""
        return self.row.entry

    @property
    def name(self) -> str:
        """Return the name that the board shows."""
        return self.entry.result.candidate

    @property
    def is_base(self) -> bool:
        """Return whether this is the base itself, under whose name other rows are shown."""
        return self.name == self.group

    @property
    def title(self) -> str:
        """Return a name that no other line has."""
        return f"{self.name}, again {self.entry.created}" if self.again else self.name

    @property
    def label(self) -> str:
        """Return its name under the heading of its base."""
        if self.is_base:
            return f"base, again {self.entry.created[:10]}" if self.again else "base"
        return self.name.removeprefix(f"{self.group}+")

    @property
    def made(self) -> Candidate | None:
        """Return its training; None where bench did not train it."""
        return self.entry.result.trained

    @property
    def step(self) -> int | None:
        """Return the step after which its weights were kept; None for the last step and for a base."""
        return self.entry.result.step

    @property
    def recipe(self) -> str | None:
        """Return the recipe's name; None where bench did not train it."""
        return None if self.made is None else self.made.recipe

    @property
    def loss(self) -> float | None:
        """Return the mean training loss over the last tenth of these weights' steps, in nats a supervised token."""
        if self.made is None:
            return None
        if self.step is None:
            return self.made.final_loss
        return compute_final_loss(self.steps[: self.step]) if self.steps else None

    @property
    def interval(self) -> Interval:
        """Return the 95 % Wilson interval of the share of right items."""
        counts = self.entry.result.counts
        return wilson_interval(counts.correct, counts.total)

    @property
    def percent(self) -> float:
        """Return the share of right items in percent."""
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
        """Return what the share of right items is called on this board."""
        return self.lines[0].entry.result.task.measure

    @property
    def right(self) -> Sentence:
        """Say when an item counts as right."""
        if (bar := self.lines[0].entry.result.task.bar) is None:
            return ("the answer read from the text equals the gold answer",)
        return ExternalName(bar[0]), " reaches ", ExternalName(bar[1])

    @property
    def groups(self) -> tuple[tuple[str, tuple[ReportRow, ...]], ...]:
        """Return every base with its lines, in order."""
        names = dict.fromkeys(line.group for line in self.lines)
        return tuple((name, tuple(line for line in self.lines if line.group == name)) for name in names)

    @property
    def trained(self) -> tuple[ReportRow, ...]:
        """Return the lines of finished trainings, without the checkpoints on the way."""
        return tuple(line for line in self.lines if line.made is not None and line.step is None)


def gather_study(folder: Path, board: str, name: str, label: str | None, wanted: Sequence[str]) -> Study:
    """Gather the rows of a report: full, not retracted, of one task label, one for each candidate.

    Args:
        folder: the leaderboards.
        board: the board's name.
        name: of the report.
        label: the task version; None for that of the newest entry.
        wanted: candidates to show; empty for all.

    Raises:
        BenchError: there is nothing to show, or a wanted candidate has no such row.
    """
    loaded_board = leaderboard.load_board(folder, board)
    full = [row for row in list_active_rows(loaded_board) if not row.partial]
    if label is None and full:
        label = max(full, key=_row_age).entry.result.task.label
    rows = [row for row in full if row.result.task.label == label]
    if not rows:
        raise BenchError(f"{board} has no full row of {label or 'any task'}", "score a model first: bench baseline")
    judged = compare_board(loaded_board)
    shown = _use_compared_bases(_select_row_per_candidate(rows, wanted), judged, wanted)
    bases = {row.result.candidate for row in rows if row.result.training is None}
    lines = sorted((_build_report_row(folder / board, row, bases, judged) for row in shown), key=_sort_key)
    return Study(name, board, label or "", tuple(_add_gains(_mark_repeated_bases(lines), judged)))


def _row_age(row: Row) -> tuple[str, str]:
    return row.entry.created, row.file


def _select_row_per_candidate(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """Select each candidate's row that is comparable with most other rows; of several the newest."""
    names = sorted({row.result.candidate for row in rows})
    for name in wanted:
        if name not in names:
            raise BenchError(f"no full row of {name!r}", suggest_name(name, names, "see the board's page"))
    repeated = {name for name in names if sum(row.result.candidate == name for row in rows) > 1}

    def rank(row: Row) -> tuple[int, str, str]:
        if row.result.candidate not in repeated:
            return 0, *_row_age(row)
        return sum(explain_incomparability(row.entry, other.entry) is None for other in rows), *_row_age(row)

    best: dict[str, Row] = {}
    for row in sorted(rows, key=rank):
        best[row.result.candidate] = row
    return [best[name] for name in names if not wanted or name in wanted]


def _use_compared_bases(shown: Sequence[Row], judged: ComparedBoard, wanted: Sequence[str]) -> list[Row]:
    """Replace each base's row by the runs of the base that the shown candidates are compared with."""
    compared_bases = {
        against.base.file: against.base for row in shown if (against := judged.against.get(row.file)) is not None
    }
    shown_bases = {file: base for file, base in compared_bases.items() if not wanted or base.result.candidate in wanted}
    names = {base.result.candidate for base in shown_bases.values()}
    return [*(row for row in shown if row.result.candidate not in names), *shown_bases.values()]


def _build_report_row(board: Path, row: Row, bases: Iterable[str], judged: ComparedBoard) -> ReportRow:
    path, result = board / row.file, row.entry.result
    home = judged.home.get(row.file)
    return ReportRow(
        path,
        row,
        _find_base_name(result.candidate, row.entry, bases),
        read_steps(path, row.entry),
        (row.file if result.training is None else None) if home is None else home.file,
    )


def read_steps(path: Path, entry: Entry) -> tuple[Step, ...]:
    """Read the loss history of the entry at `path`; empty where there is none."""
    losses = read_lines(path, entry, LOSSES)
    return () if losses is None else tuple(parse_steps(losses))


def _mark_repeated_bases(lines: Sequence[ReportRow]) -> list[ReportRow]:
    """Mark all runs of a base but the first with `again`."""
    firsts = {line.group: line for line in reversed(lines) if line.is_base}
    return [replace(line, again=line.is_base and firsts[line.group] is not line) for line in lines]


def _find_base_name(name: str, entry: Entry, bases: Iterable[str]) -> str:
    """Return the base of the training; for other rows the name's part before a `+`, where that is a base."""
    if entry.result.trained is not None:
        return entry.result.trained.base.name
    prefix = name.partition("+")[0]
    return prefix if prefix in bases else name


def _add_gains(lines: Sequence[ReportRow], judged: ComparedBoard) -> list[ReportRow]:
    """Add each line's gain over its base's run, with p values adjusted by Holm over all gains."""
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
    """Sort lines by base, then by run of that base, each run before its candidates, then by recipe, seed and step."""
    candidate = line.made
    seed = -1 if candidate is None else candidate.seed
    return line.group, line.home or "~", not line.is_base, line.recipe or "~", seed, line.step or 10**9, line.name
