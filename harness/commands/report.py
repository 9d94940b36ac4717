"""`bench report`: the study's deck from measured runs, as Markdown with figures and as one page to browse."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from baseline_bench.core.command_options import argument, datasets_option, leaderboards_option, option
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


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to report."""

    name: str = argument("of the report (default: study)", "NAME", "study")
    board: str = option("--board", "whose rows (default: %(default)s)", "NAME", "gsm8k")
    claims: str | None = option("--claims", "a file of leaderboards/claims (default: NAME, where there is one)", "NAME")
    out: Path | None = option("--out", "where it goes (default: reports/NAME)", "DIR")
    rows: list[str] = option("--row", "a row to show; may be repeated (default: all)", "CANDIDATE", list)
    leaderboards: Path = leaderboards_option()
    questions: bool = option("--without-questions", "leave the questions' text out", default=True)
    check: bool = option("--check", "write nothing; fail where a file is not what entries give", default=False)
    mirror: Path | None = datasets_option()


def run(options: Options, console: Console) -> int:
    """Write the report, naming every file that changed; or check it, exit status 1 where a file is not up to date.

    Raises:
        BenchError: a name that is none, no such rows, an unsound entry, or a folder whose README is somebody's own.
    """
    if not _NAME_PATTERN.fullmatch(options.name):
        raise BenchError(f"{options.name!r} is no name for a report", "use a-z, 0-9, - and _")
    out = options.out if options.out is not None else Path("reports") / options.name
    texts = render_report(options, out)
    stale = [file for file, text in texts.items() if not _has_content(out / file, text)]
    gone = [file for file in FIGURES if file not in texts and (out / file).is_file()]
    if options.check:
        mend = build_command(options)
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


def render_report(options: Options, out: Path) -> dict[str, str]:
    """Every file of the report by its name; nothing is written. The same entries give the same texts."""
    judged = findings.judge_claims_file(
        options.leaderboards, options.board, options.claims or options.name, options.claims is not None
    )
    study = data.gather_study(options.leaderboards, options.board, options.name, judged.task, options.rows)
    reading = answers.read_report_completions(study, options.mirror, options.questions)
    figures = draw_figures(study)
    told = build_command(options)
    return {
        "README.md": deck.render_readme(study, judged.findings, figures, told, _link_board(options, out)),
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


def build_command(options: Options) -> str:
    """The command that makes this report from the repository's folder; where data sets lie is the reader's own."""
    words = ["bench", "report", options.name]
    if options.board != "gsm8k":
        words += ["--board", options.board]
    if options.claims is not None:
        words += ["--claims", options.claims]
    if options.out is not None:
        words += ["--out", str(options.out)]
    if options.leaderboards != Path("leaderboards"):
        words += ["--leaderboards", str(options.leaderboards)]
    if options.rows:
        words += ["--rows", *options.rows]
    return shlex.join(words if options.questions else [*words, "--without-questions"])


def _link_board(options: Options, out: Path) -> str:
    """The link from the report to the board's page."""
    path = os.path.relpath(options.leaderboards / f"{options.board}.md", out)
    return quote(Path(path).as_posix())


def _has_content(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
