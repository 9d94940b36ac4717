"""Draws figures over training steps: the loss of every candidate, and accuracy with loss for checkpoints."""

from collections.abc import Sequence

from baseline_bench.analysis.compare import compare_entries, explain_incomparability
from baseline_bench.analysis.statistics import format_points
from baseline_bench.core.types import Step
from baseline_bench.rendering.drawing import Canvas, truncate_text
from baseline_bench.rendering.formatting import OUTCOME_WORDS
from baseline_bench.rendering.report.axes import WIDTH, AxisRange, Figure, PlotFrame, spread_labels
from baseline_bench.rendering.report.data import ReportRow, Study
from baseline_bench.rendering.report.safe_text import (
    ExternalName,
    Sentence,
    format_count,
    to_plain_text,
)

Point = tuple[float, float]
_LEFT, _RIGHT, _PANEL, _GAP = 52.0, 196.0, 230.0, 92.0
_MAX_POINTS = 200
_WINDOW_DIVISOR = 20  # the window of a curve is this part of the steps


def choose_window(steps: Sequence[Step]) -> int:
    """Return over how many steps a curve is averaged: a twentieth of them, at least one."""
    return max(1, len(steps) // _WINDOW_DIVISOR)


def smooth_losses(steps: Sequence[Step]) -> list[Point]:
    """Return (middle step, mean loss) of every whole window, each step weighted by its supervised tokens."""
    window = choose_window(steps)
    total = sum(step.loss * step.supervised for step in steps[:window])
    tokens = sum(step.supervised for step in steps[:window])
    points = [((steps[0].number + steps[window - 1].number) / 2, total / tokens)] if steps else []
    for leaving, entering in zip(steps, steps[window:], strict=False):
        total += entering.loss * entering.supervised - leaving.loss * leaving.supervised
        tokens += entering.supervised - leaving.supervised
        points.append(((leaving.number + 1 + entering.number) / 2, total / tokens))
    return points


def draw_losses(study: Study) -> Figure | None:
    """Draw training loss by step, one line a candidate, one panel a base; None where no loss was kept."""
    panels = [(base, [line for line in lines if line.steps and line.step is None]) for base, lines in study.groups]
    panels = [(base, lines) for base, lines in panels if lines]
    if not panels:
        return None
    takeaway = _summarise_losses([line for _, lines in panels for line in lines])
    windows = sorted({choose_window(line.steps) for _, lines in panels for line in lines})
    window_text = " or ".join(f"{window:,}" for window in windows)
    note: Sentence = (
        f"Each point is the mean over {window_text} steps, weighted by supervised tokens. Losses of different bases "
        "(other tokenizers) and of different data (main, socratic) are means over different tokens: compare lines of "
        "one base and one data set. The thick line is the candidate with the highest score of its base.",
    )
    canvas = Canvas(WIDTH, 44 + len(panels) * (_PANEL + _GAP) - 30, to_plain_text(takeaway), to_plain_text(note))
    for panel_index, (base, lines) in enumerate(panels):
        _draw_panel(canvas, base, lines, 56 + panel_index * (_PANEL + _GAP))
    return Figure("loss.svg", takeaway, note, canvas.render())


def _summarise_losses(lines: Sequence[ReportRow]) -> Sentence:
    ended = [(line.loss, line) for line in lines if line.loss is not None]
    (low, least), (high, most) = min(ended, key=lambda one: one[0]), max(ended, key=lambda one: one[0])
    if least is most:
        return (f"Training ended at a loss of {low:.3f}: ", ExternalName(least.name))
    return (
        f"Training ended between a loss of {low:.3f} (",
        ExternalName(least.name),
        f") and {high:.3f} (",
        ExternalName(most.name),
        ")",
    )


def _draw_panel(canvas: Canvas, base: str, lines: Sequence[ReportRow], top: float) -> None:
    """Draw the curves of one base in grey and over them, thick, that of the highest score; many colours tangle."""
    best = max(lines, key=lambda line: line.percent)
    lines = [*(line for line in lines if line is not best), best]
    curves = [_thin_points(smooth_losses(line.steps)) for line in lines]
    values = [value for curve in curves for _, value in curve]
    last = max(line.steps[-1].number for line in lines)
    frame = PlotFrame(canvas, _LEFT, top, WIDTH - _LEFT - _RIGHT, _PANEL, AxisRange(0, last), AxisRange.around(values))
    canvas.text(_LEFT, top - 28, truncate_text(base, 70), "ink strong")
    frame.axis_left("training loss, nats a supervised token")
    frame.axis_below("step")
    for line, curve in zip(lines, curves, strict=True):
        points = [(frame.x(step), frame.y(value)) for step, value in curve]
        canvas.polyline(points, f"{best.colour} thick" if line is best else "muted thin")
    _draw_labels(frame, best, list(zip(lines, curves, strict=True)))


def _draw_labels(frame: PlotFrame, best: ReportRow, drawn: Sequence[tuple[ReportRow, Sequence[Point]]]) -> None:
    """Draw a label for the best candidate and one a recipe for the others, at the mean height of their curves' ends."""
    ends: dict[tuple[str, str], list[float]] = {}
    for line, curve in drawn:
        key = (f"{best.colour} strong", line.label) if line is best else ("muted", line.recipe or "")
        ends.setdefault(key, []).append(frame.y(curve[-1][1]))
    wanted = [sum(heights) / len(heights) for heights in ends.values()]
    positions = spread_labels(wanted, 15, frame.top + 4, frame.top + frame.height)
    right = frame.left + frame.width
    for ((style, name), heights), position, own in zip(ends.items(), positions, wanted, strict=True):
        runs = "" if len(heights) == 1 else f" ({format_count(len(heights), 'run')})"
        words = f" {best.outcome}" if style != "muted" and best.outcome else runs
        frame.canvas.line(right - 6, own, right + 10, position, "muted thin")
        frame.canvas.text(right + 14, position + 4, f"{truncate_text(name, 27 - len(words))}{words}", style)


def _thin_points(points: list[Point]) -> list[Point]:
    """Keep about two hundred points, with the last one."""
    every = max(1, len(points) // _MAX_POINTS)
    thinned = points[::every]
    return thinned if thinned[-1] == points[-1] else [*thinned, points[-1]]


def draw_checkpoints(study: Study) -> Figure | None:
    """Draw accuracy by step above loss by step; None where no checkpoints were scored."""
    runs = _group_runs(study)
    if not runs:
        return None
    takeaway = _summarise_checkpoints(runs)
    note: Sentence = (
        f"Above: {study.measure} with its 95 % Wilson interval at the step where the weights were kept; step 0 is the "
        "base. Below: training loss, smoothed over a twentieth of the steps. Points of one run share their problems.",
    )
    height = 2 * (_PANEL - 40)
    canvas = Canvas(WIDTH, 40 + len(runs) * (height + 150), to_plain_text(takeaway), to_plain_text(note))
    for run_index, lines in enumerate(runs):
        _draw_run(canvas, study, lines, 60 + run_index * (height + 150))
    return Figure("checkpoints.svg", takeaway, note, canvas.render())


def _group_runs(study: Study) -> list[list[ReportRow]]:
    """Group the lines of every training with scored checkpoints, sorted by step."""
    runs: dict[tuple[str, str, int], list[ReportRow]] = {}
    for line in study.lines:
        if line.made is not None and line.steps:
            runs.setdefault((line.group, line.made.recipe, line.made.seed), []).append(line)
    return [sorted(lines, key=_find_step) for lines in runs.values() if any(line.step is not None for line in lines)]


def _find_step(line: ReportRow) -> int:
    return line.steps[-1].number if line.step is None else line.step


def _summarise_checkpoints(runs: Sequence[Sequence[ReportRow]]) -> Sentence:
    """Say where the run's score was highest; of several runs, how many were highest at the end."""
    if len(runs) == 1:
        best, last = max(runs[0], key=lambda line: (line.percent, -_find_step(line))), runs[0][-1]
        start: Sentence = (
            ExternalName(last.name),
            f" scored highest, {best.percent:.1f} %, at step {_find_step(best):,}",
        )
        if best is last or explain_incomparability(best.entry, last.entry) is not None:
            return start
        comparison = compare_entries(best.entry, last.entry)
        low, high = map(format_points, comparison.interval)
        return (
            *start,
            f": {OUTCOME_WORDS[comparison.outcome]} its last step's {last.percent:.1f} % (95 % interval of the "
            f"difference {low} to {high} points)",
        )
    ends = sum(max(lines, key=lambda line: line.percent).percent <= lines[-1].percent for lines in runs)
    return (f"In {ends} of {format_count(len(runs), 'run')} no step scored higher than the last one",)


def _draw_run(canvas: Canvas, study: Study, lines: Sequence[ReportRow], top: float) -> None:
    steps = lines[0].steps
    base = next((line for line in study.lines if line.path.name == lines[0].home), None)
    points = [*([(0, base)] if base else []), *((_find_step(line), line) for line in lines)]
    width, across = WIDTH - _LEFT - 30, AxisRange(0, steps[-1].number)
    high = 100 * max(line.interval.high for _, line in points)
    above = PlotFrame(canvas, _LEFT, top, width, _PANEL - 60, across, AxisRange.around([0.0, high], zero=True))
    canvas.text(_LEFT, top - 28, truncate_text(f"{lines[0].group} + {lines[0].recipe}", 80), "ink strong")
    above.axis_left(f"{study.measure}, %")
    above.axis_below("")
    canvas.polyline([(above.x(at), above.y(line.percent)) for at, line in points], "muted thin")
    for at, line in points:
        x, (low, high) = above.x(at), line.interval
        canvas.line(x, above.y(100 * low), x, above.y(100 * high), "ink")
        canvas.circle(x, above.y(line.percent), 4, "ink")
    curve = _thin_points(smooth_losses(steps))
    values = AxisRange.around([value for _, value in curve])
    below = PlotFrame(canvas, _LEFT, top + _PANEL, width, _PANEL - 60, across, values)
    below.axis_left("training loss, nats a supervised token")
    below.axis_below("step")
    canvas.polyline([(below.x(step), below.y(value)) for step, value in curve], "ink")
