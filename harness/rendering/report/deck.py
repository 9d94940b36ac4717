"""Renders the report's README: the answer in three lines, the findings with their evidence, figures and all rows."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from baseline_bench.analysis.multiple_testing import MIN_SEEDS
from baseline_bench.analysis.statistics import format_points
from baseline_bench.core.markup import UNKNOWN_MARK, code_span, table_cell
from baseline_bench.rendering.formatting import format_interval, format_margin, format_warnings, render_table
from baseline_bench.rendering.page import explain_warnings
from baseline_bench.rendering.report.axes import Figure
from baseline_bench.rendering.report.bar_charts import summarise_outcomes
from baseline_bench.rendering.report.data import ReportRow, Study
from baseline_bench.rendering.report.findings import ReportedClaim, tally_claims
from baseline_bench.rendering.report.safe_text import ExternalName, Sentence, format_count, format_p_value, to_markdown

MARKER = "<!-- Rendered by `bench report` from the entries. Never edited: change nothing here, run it again. -->"
_COLUMNS = (
    ("candidate", "---"),
    ("{measure} %", "---:"),
    ("95 % interval", ":---:"),
    ("against base, points", ":---:"),
    ("Holm p", "---:"),
    ("strict %", "---:"),
    ("unread %", "---:"),
    ("cut %", "---:"),
    ("final loss", "---:"),
    ("samples/s", "---:"),
    ("peak GiB", "---:"),
)
_HEADINGS = {
    "loss.svg": "Training loss",
    "final-loss.svg": "Final loss",
    "cost.svg": "Speed and memory",
    "accuracy.svg": "Accuracy",
    "checkpoints.svg": "Accuracy by checkpoint",
    "loss-and-score.svg": "Does a lower loss mean a better score?",
}
NO_CHECKPOINTS = (
    "No weights from before the end of a training were scored: train with `--checkpoints K`, then score the run."
)


def summarise_study(study: Study, findings: Sequence[ReportedClaim]) -> tuple[Sentence, Sentence, Sentence]:
    """Summarise the study in three lines: the highest score, all candidates, the hypotheses."""
    return (
        _describe_highest_row(study),
        (*summarise_outcomes(study), " (better and worse with Holm's correction over all of them)."),
        tally_claims(findings),
    )


def _describe_highest_row(study: Study) -> Sentence:
    """Describe the highest row, with its interval and the number of rows it was selected from."""
    best = max(study.lines, key=lambda line: (line.percent, line.gain is not None))
    counts = best.entry.result.counts
    low, high = best.interval
    ties = sum(line.percent == best.percent for line in study.lines)
    ties_text = f", as {format_count(ties - 1, 'other row does', 'other rows do')}" if ties > 1 else ""
    start: Sentence = (
        f"Highest of {format_count(len(study.lines), 'row')}: ",
        ExternalName(best.name),
        f" answers {best.percent:.2f} % of {format_count(counts.total, 'problem')} right [{100 * low:.1f}, "
        f"{100 * high:.1f}]",
    )
    if best.gain is None:
        return (*start, f"{ties_text}{_describe_seeds(study, best)}.")
    gain = best.gain
    least, most = map(format_points, gain.interval)
    gain_text = f"{format_points(gain.pairs.difference)} points [{least}, {most}] against its base"
    return (*start, f"{ties_text}; {gain_text}{_describe_seeds(study, best)}.")


def _describe_seeds(study: Study, best: ReportRow) -> str:
    """Give the mean over the seeds of the highest row's recipe, since the highest row is its luckiest seed."""
    seed_rows = [line for line in study.trained if (line.home, line.recipe) == (best.home, best.recipe)]
    if best.made is None or len(seed_rows) < MIN_SEEDS:
        return ""
    return (
        f"; {format_count(len(seed_rows), 'seed')} of its recipe have a mean of "
        f"{fmean(line.percent for line in seed_rows):.2f} %"
    )


def render_readme(
    study: Study, findings: Sequence[ReportedClaim], figures: Sequence[Figure], command: str, board: str
) -> str:
    """Render the whole README.

    Args:
        study: the rows.
        findings: the judged hypotheses, in the order of their file.
        figures: the figures that could be drawn.
        command: the command that makes the report.
        board: the link to the board's page.
    """
    lines = enumerate(summarise_study(study, findings), 1)
    columns = [(name.format(measure=study.measure), side) for name, side in _COLUMNS]
    parts = [
        MARKER,
        f"# {study.name}: what the runs say",
        f"Task {code_span(study.label)}, board [{study.board}]({board}). To read every completion, run the command at "
        "the end and open `index.html`, which it writes next to this file, in a browser.",
        "## Today's answer",
        "\n".join(f"{place}. {to_markdown(sentence)}" for place, sentence in lines),
        "## Findings",
        *(_render_claims(findings) if findings else ["No claims file was judged."]),
        *_render_figures(figures),
        "## All rows",
        render_table(columns, [_row_cells(line) for line in study.lines]),
        _HOW_TO_READ.format(measure=study.measure, right=to_markdown(study.right)),
        *explain_warnings([line.row for line in study.lines]),
        "## How to render it again",
        f"The same entries give the same bytes:\n\n```\n{command}\n```",
    ]
    return "\n\n".join(parts) + "\n"


_HOW_TO_READ = """\
**{measure}**: {right}; the interval is Wilson's. **against base**: the gain of these weights on problems like these, \
over the newest row of the base that was scored in the same way and is listed above it, with its 95 % interval. \
Outside 0 it decides between better and worse, if **Holm p** is also below .05: the level at which the interval \
ends at 0, adjusted over every row of this table that has one. A dash: no row of the base is comparable. **final \
loss**: mean over the last tenth of the steps, in nats a supervised token. **samples/s** and **peak GiB** are of the \
training."""


def _render_claims(findings: Sequence[ReportedClaim]) -> Iterator[str]:
    for finding in findings:
        yield (
            f"### {to_markdown(finding.hypothesis)}\n\n**{to_markdown(finding.verdict)}.** "
            f"{to_markdown(finding.published)}"
        )
        lines = "\n".join(f"- {to_markdown(line)}" for line in finding.evidence)
        yield f"<details>\n<summary>Evidence</summary>\n\n{lines}\n\n</details>"


def _render_figures(figures: Sequence[Figure]) -> Iterator[str]:
    drawn = {figure.file: figure for figure in figures}
    for file, heading in _HEADINGS.items():
        if file in drawn:
            figure = drawn[file]
            yield (
                "## "
                f"{heading}\n\n**{to_markdown(figure.takeaway)}.**\n\n![{heading}]({file})\n\n{to_markdown(figure.note)}"
            )
        elif file == "checkpoints.svg":
            yield f"## {heading}\n\n{NO_CHECKPOINTS}"


def _row_cells(line: ReportRow) -> Iterator[str]:
    cost = None if line.made is None else line.made.cost
    speed = None if cost is None else cost.samples_per_second
    yield table_cell(line.title) + format_warnings(line.row)
    yield from format_numbers(line)
    yield UNKNOWN_MARK if speed is None else f"{speed:,.1f}"
    yield UNKNOWN_MARK if cost is None else f"{cost.peak_memory / 2**30:.1f}"


def format_numbers(line: ReportRow) -> Iterator[str]:
    """Yield score, interval, comparison with the base, shares of strict, unread and cut answers, and final loss."""
    counts = line.entry.result.counts
    yield f"{line.percent:.2f}"
    yield format_interval(line.interval)
    yield from format_base_comparison(line)
    yield from (f"{100 * count / counts.total:.1f}" for count in (counts.strict, counts.unread, counts.cut))
    yield UNKNOWN_MARK if line.loss is None else f"{line.loss:.3f}"


def format_base_comparison(line: ReportRow) -> tuple[str, str]:
    """Format (difference from the base in points with its interval and outcome, Holm p), or dashes without one."""
    if line.gain is None or line.p is None:
        return UNKNOWN_MARK, UNKNOWN_MARK
    low, high = map(format_points, line.gain.interval)
    margin = "" if line.gain.margin is None else f"; {format_margin(line.gain.margin, line.gain.margin_interval)}"
    difference = f"{format_points(line.gain.pairs.difference)} [{low}, {high}] {line.outcome}{margin}"
    return difference, format_p_value(line.p)
