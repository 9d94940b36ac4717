"""Draws figures with one line a candidate (final loss, cost, accuracy), and loss against score."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from baseline_bench.analysis.outcomes import OUTCOMES
from baseline_bench.rendering.drawing import Canvas, truncate_text
from baseline_bench.rendering.report.axes import WIDTH, AxisRange, Figure, PlotFrame
from baseline_bench.rendering.report.data import ReportRow, Study
from baseline_bench.rendering.report.safe_text import ExternalName, Sentence, format_count, join_names, to_plain_text

_LABELS, _ROW, _HEAD, _TOP = 196.0, 22.0, 30.0, 34.0
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class PlottedValue:
    """A value, its interval where it has one, the text next to its mark, and the mark's colour."""

    value: float
    text: str
    low: float | None = None
    high: float | None = None
    colour: str = "muted"


@dataclass(frozen=True, slots=True)
class ChartColumn:
    """A measure of every line: its axis title and its marks; `zero` where the axis starts at 0."""

    title: str
    marks: tuple[PlottedValue | None, ...]
    zero: bool = True


def draw_final_losses(study: Study) -> Figure | None:
    """Draw the mean training loss over the last tenth of the steps; None without trained candidates."""
    lines = study.trained
    if not lines:
        return None
    takeaway: list[str | ExternalName] = ["The final training loss is "]
    for index, (base, group) in enumerate(_list_trained_groups(study)):
        losses = [line.loss for line in group if line.loss is not None]
        takeaway += ["; " if index else "", f"{min(losses):.3f} to {max(losses):.3f} on ", ExternalName(base)]
    note: Sentence = (
        "Mean over the last tenth of the steps, weighted by supervised tokens, in nats. Losses on main and on socratic "
        "are over different texts, and losses of different bases over different tokens.",
    )
    return _draw_row_chart("final-loss.svg", (tuple(takeaway), note), lines, [_build_loss_column(lines)])


def _build_loss_column(lines: Sequence[ReportRow]) -> ChartColumn:
    marks = tuple(PlottedValue(line.loss, f"{line.loss:.3f}") if line.loss is not None else None for line in lines)
    return ChartColumn("final training loss, nats a supervised token", marks, zero=False)


def _list_trained_groups(study: Study) -> list[tuple[str, list[ReportRow]]]:
    """List the bases that have finished trainings, each with these."""
    groups = [(base, [line for line in lines if line in study.trained]) for base, lines in study.groups]
    return [(base, lines) for base, lines in groups if lines]


def draw_cost(study: Study) -> Figure | None:
    """Draw samples a second and peak memory of every training; None without trained candidates."""
    lines = [(line, line.made.cost) for line in study.trained if line.made is not None]
    if not lines:
        return None
    speeds = tuple(
        None
        if cost.samples_per_second is None
        else PlottedValue(cost.samples_per_second, f"{cost.samples_per_second:,.1f}")
        for _, cost in lines
    )
    memory = tuple(PlottedValue(cost.peak_memory / _GIB, f"{cost.peak_memory / _GIB:.1f}") for _, cost in lines)
    takeaway = _summarise_cost([line for line, _ in lines])
    devices = join_names(sorted({cost.device for _, cost in lines}))
    note = ("Samples are training rows, after the first step; memory is the device's peak. Trained on ", *devices, ".")
    columns = (ChartColumn("samples a second", speeds), ChartColumn("peak memory, GiB", memory))
    return _draw_row_chart("cost.svg", (takeaway, note), [line for line, _ in lines], columns)


def _summarise_cost(lines: Sequence[ReportRow]) -> Sentence:
    """Say whether speeds mean anything: runs of one recipe on one base should be about equally fast."""
    speeds: dict[tuple[str, str | None], list[float]] = {}
    for line in lines:
        if line.made is not None and line.made.cost.samples_per_second:
            speeds.setdefault((line.group, line.recipe), []).append(line.made.cost.samples_per_second)
    if not speeds:
        return ("No training was long enough to tell its speed",)
    (base, recipe), uneven = max(speeds.items(), key=lambda item: max(item[1]) / min(item[1]))
    if max(uneven) / min(uneven) > 1.25:
        return (
            "Speeds depend on more than the recipe: runs of ",
            ExternalName(f"{base}+{recipe}"),
            f" made between {min(uneven):,.1f} and {max(uneven):,.1f} samples a second",
        )
    known = [speed for group in speeds.values() for speed in group]
    return (f"Trainings made between {min(known):,.1f} and {max(known):,.1f} samples a second",)


def draw_accuracy(study: Study) -> Figure:
    """Draw accuracy with 95 % Wilson intervals, and each base's interval as a band behind its candidates."""
    takeaway = summarise_outcomes(study)
    note: Sentence = (
        f"Points are {study.measure}, whiskers 95 % Wilson intervals, the band is the base's interval. Rows share "
        "their problems, so the interval of the paired difference decides, not the overlap of whiskers. The word is "
        "the outcome with Holm's correction.",
    )
    return _draw_row_chart("accuracy.svg", (takeaway, note), study.lines, [_build_score_column(study, study.lines)])


def summarise_outcomes(study: Study) -> Sentence:
    """Count the candidates by their outcome against their base."""
    counts = Counter(line.outcome for line in study.lines if line.outcome is not None)
    if not counts:
        return ("No candidate can be compared with its base here",)
    parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    return (f"Of {format_count(counts.total(), 'candidate')} compared with their base: {', '.join(parts)}",)


def _build_score_column(study: Study, lines: Sequence[ReportRow]) -> ChartColumn:
    """Build the column of scores with their intervals and outcomes."""
    marks = []
    for line in lines:
        low, high = line.interval
        text = f"{line.percent:.2f} {line.outcome or ''}".rstrip()
        marks.append(PlottedValue(line.percent, text, 100 * low, 100 * high, line.colour))
    return ChartColumn(f"{study.measure}, %", tuple(marks))


def _draw_row_chart(
    file: str,
    words: tuple[Sentence, Sentence],
    lines: Sequence[ReportRow],
    columns: Sequence[ChartColumn],
) -> Figure:
    """Draw lines grouped by base with their measures side by side; `words` are the takeaway and the note."""
    height = _TOP + len(lines) * _ROW + len({line.group for line in lines}) * _HEAD
    canvas = Canvas(WIDTH, height + 52, *map(to_plain_text, words))
    row_positions = _place_rows(canvas, lines)
    for line, y in zip(lines, row_positions, strict=True):
        canvas.text(_LABELS - 12, y + 4, truncate_text(line.label, 25), "ink mono small", "end")
    width = (WIDTH - _LABELS) / len(columns)
    for index, column in enumerate(columns):
        values = [one for mark in column.marks if mark for one in (mark.value, mark.low, mark.high) if one is not None]
        across = AxisRange.around(values or [0.0, 1.0], column.zero)
        left, room = _LABELS + index * width, 24 + max((6 * len(mark.text) for mark in column.marks if mark), default=0)
        frame = PlotFrame(canvas, left, _TOP, width - room, height - _TOP + 4, across, AxisRange(0, 1))
        frame.axis_below(column.title, 6 if frame.width > 300 else 4)
        _draw_bands(frame, column, lines, row_positions)
        for mark, y in zip(column.marks, row_positions, strict=True):
            if mark is not None:
                _draw_mark(frame, mark, y, column.zero)
    return Figure(file, *words, canvas.render())


def _place_rows(canvas: Canvas, lines: Sequence[ReportRow]) -> list[float]:
    """Draw the names of the bases above their lines; return the y of every line."""
    row_positions, y = [], _TOP - 14
    groups_seen: set[str] = set()
    for line in lines:
        if line.group not in groups_seen:
            groups_seen.add(line.group)
            y += _HEAD
            canvas.text(14, y - 4, truncate_text(line.group, 90), "ink strong")
        y += _ROW
        row_positions.append(y - 4)
    return row_positions


def _draw_mark(frame: PlotFrame, mark: PlottedValue, y: float, zero: bool) -> None:
    if mark.low is not None and mark.high is not None:
        frame.canvas.line(frame.x(mark.low), y, frame.x(mark.high), y, f"{mark.colour} thick")
    elif zero:
        frame.canvas.rect(frame.x(0), y - 5, frame.x(mark.value) - frame.x(0), 10, mark.colour)
    else:
        frame.canvas.line(frame.x(frame.across.low), y, frame.x(mark.value), y, f"{mark.colour} thin")
    if mark.low is not None or not zero:
        frame.canvas.circle(frame.x(mark.value), y, 4.5, mark.colour)
    frame.canvas.text(frame.x(max(mark.value, mark.high or mark.value)) + 9, y + 4, mark.text, "ink small")


def _draw_bands(
    frame: PlotFrame, column: ChartColumn, lines: Sequence[ReportRow], row_positions: Sequence[float]
) -> None:
    """Draw the interval of each base's run as a band behind the candidates that are compared with it."""
    for line, mark in zip(lines, column.marks, strict=True):
        if mark is None or mark.low is None or mark.high is None or not line.is_base:
            continue
        group_key = (line.group, line.home)
        band_positions = [
            y for other, y in zip(lines, row_positions, strict=True) if (other.group, other.home) == group_key
        ]
        x = frame.x(mark.low)
        frame.canvas.rect(
            x, band_positions[0] - 11, frame.x(mark.high) - x, band_positions[-1] - band_positions[0] + 22, "band"
        )


def draw_loss_and_score(study: Study) -> Figure | None:
    """Draw candidates from the lowest final loss to the highest with their scores; None without a pair on one base."""
    groups = _list_trained_groups(study)
    lower, higher, even = _count_agreement([lines for _, lines in groups])
    pairs = lower + higher + even
    if not pairs:
        return None
    takeaway: Sentence = (
        f"In {lower} of {format_count(pairs, 'pair')} of candidates on the same base the one with the lower loss "
        "scored "
        f"higher, in {higher} it scored lower" + (f", in {even} they tied" if even else ""),
    )
    note: Sentence = (
        "Counted, not tested: the pairs share candidates, and a difference in score may be smaller than its doubt "
        "(whiskers: 95 % Wilson intervals).",
    )
    lines = [line for _, group in groups for line in sorted(group, key=lambda line: line.loss or 0)]
    columns = (_build_loss_column(lines), _build_score_column(study, lines))
    return _draw_row_chart("loss-and-score.svg", (takeaway, note), lines, columns)


def _count_agreement(groups: Sequence[Sequence[ReportRow]]) -> tuple[int, int, int]:
    """Count pairs of one base where the lower loss has the higher score, the lower score, or where they tie."""
    lower = higher = even = 0
    for lines in groups:
        for one, other in combinations([line for line in lines if line.loss is not None], 2):
            product = ((one.loss or 0) - (other.loss or 0)) * (one.percent - other.percent)
            lower, higher, even = lower + (product < 0), higher + (product > 0), even + (product == 0)
    return lower, higher, even
