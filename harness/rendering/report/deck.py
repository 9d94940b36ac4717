"""The deck: a page of Markdown that says today's answer, shows the figures, and stands behind each finding."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from baseline_bench.analysis.multiple_testing import LEAST_SEEDS
from baseline_bench.analysis.statistics import points, wilson
from baseline_bench.core.markup import UNKNOWN, cell, code
from baseline_bench.rendering.formatting import warned
from baseline_bench.rendering.report.axes import Figure
from baseline_bench.rendering.report.bar_charts import verdicts
from baseline_bench.rendering.report.data import Line, Study
from baseline_bench.rendering.report.findings import Finding, tally
from baseline_bench.rendering.report.safe_text import Name, Sentence, markdown, number, probability

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
    "No weights kept on the way were scored, so there is nothing to show by step: train with `--checkpoints K`, then "
    "score the run."
)


def answer(study: Study, findings: Sequence[Finding]) -> tuple[Sentence, Sentence, Sentence]:
    """Today's answer in three lines: the highest score, all candidates, the hypotheses."""
    return _highest(study), (*verdicts(study), " (exact McNemar, Holm over all of them)."), tally(findings)


def _highest(study: Study) -> Sentence:
    """The highest row with its doubt, and that it was looked for."""
    best = max(study.lines, key=lambda line: (line.percent, line.gain is not None))
    counts = best.entry.result.counts
    low, high = wilson(counts.correct, counts.total)
    ties = sum(line.percent == best.percent for line in study.lines)
    beside = f", as {number(ties - 1, 'other row does', 'other rows do')}" if ties > 1 else ""
    start: Sentence = (
        f"Highest of {number(len(study.lines), 'row')}: ",
        Name(best.name),
        f" answers {best.percent:.2f} % of {number(counts.total, 'item')} right [{100 * low:.1f}, {100 * high:.1f}]",
    )
    if best.gain is None:
        return (*start, f"{beside}{_seeds(study, best)}.")
    gain = best.gain
    least, most = map(points, gain.interval)
    told = f"{points(gain.pairs.difference)} points [{least}, {most}] against its base"
    return (*start, f"{beside}; {told}{_seeds(study, best)}.")


def _seeds(study: Study, best: Line) -> str:
    """What the recipe of the highest row does on the whole, since the luckiest of its seeds is what was found."""
    alike = [line for line in study.trained if (line.home, line.recipe) == (best.home, best.recipe)]
    if best.made is None or len(alike) < LEAST_SEEDS:
        return ""
    return f"; {number(len(alike), 'seed')} of its recipe have a mean of {fmean(line.percent for line in alike):.2f} %"


def page(study: Study, findings: Sequence[Finding], figures: Sequence[Figure], again: str, board: str) -> str:
    """The whole README.

    Args:
        study: the rows.
        findings: the judged hypotheses, in the order of their file.
        figures: those that there are.
        again: the command that makes the report.
        board: the link to the board's page.
    """
    lines = enumerate(answer(study, findings), 1)
    parts = [
        MARKER,
        f"# {study.name}: what the runs say",
        f"Task {code(study.label)}, board [{study.board}]({board}). Every question and "
        "every answer can be read in [index.html](index.html): download it and open it in a browser.",
        "## Today's answer",
        "\n".join(f"{place}. {markdown(sentence)}" for place, sentence in lines),
        "## Findings",
        *(_findings(findings) if findings else ["No claims file was judged."]),
        *_figures(figures),
        "## All rows",
        _table(study),
        _HOW.format(measure=study.measure, right=markdown(study.right)),
        "## Again",
        f"The same entries give the same bytes:\n\n```\n{again}\n```",
    ]
    return "\n\n".join(parts) + "\n"


_HOW = """\
**{measure}**: {right}; the interval is Wilson's. **against base**: \
paired on the same items with the newest run of its base that was scored in the same way, under which it stands; \
Newcombe's interval; **Holm p**: McNemar's exact test, adjusted over every row of this \
table that has one; empty where no run of the base is comparable. **final loss**: mean over the last tenth of the \
steps, in nats a supervised token. **samples/s** and **peak GiB** are of the training."""


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"### {markdown(finding.hypothesis)}\n\n**{markdown(finding.verdict)}.** {markdown(finding.published)}"
        lines = "\n".join(f"- {markdown(line)}" for line in finding.evidence)
        yield f"<details>\n<summary>Evidence</summary>\n\n{lines}\n\n</details>"


def _figures(figures: Sequence[Figure]) -> Iterator[str]:
    drawn = {figure.file: figure for figure in figures}
    for file, heading in _HEADINGS.items():
        if file in drawn:
            figure = drawn[file]
            yield f"## {heading}\n\n**{markdown(figure.takeaway)}.**\n\n![{heading}]({file})\n\n{markdown(figure.note)}"
        elif file == "checkpoints.svg":
            yield f"## {heading}\n\n{NO_CHECKPOINTS}"


def _table(study: Study) -> str:
    head = ["|".join(["", *names, ""]).format(measure=study.measure) for names in zip(*_COLUMNS, strict=True)]
    return "\n".join([*head, *("|".join(["", *_cells(line), ""]) for line in study.lines)])


def _cells(line: Line) -> Iterator[str]:
    counts = line.entry.result.counts
    low, high = wilson(counts.correct, counts.total)
    yield cell(line.title) + warned(line.entry.result)
    yield f"{line.percent:.2f}"
    yield f"{100 * low:.1f}–{100 * high:.1f}"
    yield from against_base(line)
    yield from (f"{100 * count / counts.total:.1f}" for count in (counts.strict, counts.unread, counts.cut))
    cost = None if line.made is None else line.made.cost
    speed = None if cost is None else cost.samples_per_second
    yield UNKNOWN if line.loss is None else f"{line.loss:.3f}"
    yield UNKNOWN if speed is None else f"{speed:,.1f}"
    yield UNKNOWN if cost is None else f"{cost.peak_memory / 2**30:.1f}"


def against_base(line: Line) -> tuple[str, str]:
    """(difference from the base in points with its interval, Holm p), or dashes where there is none."""
    if line.gain is None or line.p is None:
        return UNKNOWN, UNKNOWN
    low, high = map(points, line.gain.interval)
    return f"{points(line.gain.pairs.difference)} [{low}, {high}]", probability(line.p)
