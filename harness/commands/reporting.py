"""`bench report`: the study's deck from measured runs, as Markdown with figures and as one page to browse."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import write_atomically
from baseline_bench.rendering.report import answers, bar_charts, data, deck, findings, html, line_charts
from baseline_bench.rendering.report.axes import Figure
from baseline_bench.rendering.report.data import Study

FIGURES = ("loss.svg", "final-loss.svg", "cost.svg", "accuracy.svg", "checkpoints.svg", "loss-and-score.svg")
# Either tells a report, so that one whose other page was edited can be mended.
_OWN_MARKERS = (deck.MARKER.encode(), b'<p class="eyebrow">bench report')
_NAME_PATTERN = re.compile("[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Report:
    """What to report.

    Attributes:
        name: of the report, and of the claims file where `claims` names no other.
        board: whose rows.
        claims: a file of `claims/`; None for the one called as the report, where there is one.
        out: the folder; None for reports/<name>.
        rows: candidates to show; empty for all.
        mirror: a folder of data sets, for the questions' text.
        questions: whether the page may hold that text.
        check: write nothing; fail where the files are not what the entries give.
    """

    name: str
    board: str
    claims: str | None
    out: Path | None
    rows: list[str]
    leaderboards: Path
    mirror: Path | None
    questions: bool
    check: bool


def report(order: Report, console: Console) -> int:
    """Write the report, naming every file that changed; or check it, exit status 1 where a file is not up to date.

    Raises:
        BenchError: a name that is none, no such rows, an unsound entry, or a folder whose README is somebody's own.
    """
    if not _NAME_PATTERN.fullmatch(order.name):
        raise BenchError(f"{order.name!r} is no name for a report", "use a-z, 0-9, - and _")
    out = order.out if order.out is not None else Path("reports") / order.name
    texts = render_report(order, out)
    stale = [file for file, text in texts.items() if not _has_content(out / file, text)]
    gone = [file for file in FIGURES if file not in texts and (out / file).is_file()]
    if order.check:
        mend = build_command(order)
        lines = [f"{out / file}: is not what the entries give; mend: `{mend}`\n" for file in (*stale, *gone)]
        console.write("".join(lines))
        return 1 if lines else 0
    _require_own_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    for file in stale:
        write_atomically(out / file, texts[file].encode())
    for file in gone:
        (out / file).unlink()
    console.write("".join(f"{out / file}\n" for file in (*stale, *gone)))
    return 0


def _require_own_folder(out: Path) -> None:
    """Refuse a folder of something else: its files of the report's names would be overwritten or removed."""
    told = [out / name for name in ("README.md", "index.html") if (out / name).is_file()]
    if told and not any(mark in path.read_bytes() for path in told for mark in _OWN_MARKERS):
        raise BenchError(f"{told[0]} is no report's", "give another folder with --out")


def render_report(order: Report, out: Path) -> dict[str, str]:
    """Every file of the report by its name; nothing is written. The same entries give the same texts."""
    judged = findings.judge_claims_file(
        order.leaderboards, order.board, order.claims or order.name, order.claims is not None
    )
    study = data.gather_study(order.leaderboards, order.board, order.name, judged.task, order.rows)
    reading = answers.read_report_completions(study, order.mirror, order.questions)
    figures = draw_figures(study)
    told = build_command(order)
    return {
        "README.md": deck.render_readme(study, judged.findings, figures, told, _link_board(order, out)),
        "index.html": html.render_page(study, judged.findings, figures, reading, told),
        **{figure.file: figure.svg for figure in figures},
    }


def draw_figures(study: Study) -> Sequence[Figure]:
    """The figures that the rows give, in the order of the deck."""
    made = (
        line_charts.draw_losses(study),
        bar_charts.draw_final_losses(study),
        bar_charts.draw_cost(study),
        bar_charts.draw_accuracy(study),
        line_charts.draw_checkpoints(study),
        bar_charts.draw_loss_and_score(study),
    )
    return [figure for figure in made if figure is not None]


def build_command(order: Report) -> str:
    """The command that makes this report from the repository's folder; where data sets lie is the reader's own."""
    words = ["bench", "report", order.name]
    if order.board != "gsm8k":
        words += ["--board", order.board]
    if order.claims is not None:
        words += ["--claims", order.claims]
    if order.out is not None:
        words += ["--out", str(order.out)]
    if order.leaderboards != Path("leaderboards"):
        words += ["--leaderboards", str(order.leaderboards)]
    if order.rows:
        words += ["--rows", *order.rows]
    return shlex.join(words if order.questions else [*words, "--without-questions"])


def _link_board(order: Report, out: Path) -> str:
    """The link from the report to the board's page."""
    path = os.path.relpath(order.leaderboards / f"{order.board}.md", out)
    return quote(Path(path).as_posix())


def _has_content(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
