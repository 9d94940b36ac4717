"""`bench report`: write a study's deck from measured runs, as Markdown with figures and as one HTML page."""

import os
import re
import shlex
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from baseline_bench.core.command_options import argument, datasets_option, leaderboards_option, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import write_atomically
from baseline_bench.rendering import drawing, leaderboard
from baseline_bench.rendering.report import answers, bar_charts, data, deck, findings, html, line_charts
from baseline_bench.rendering.report.axes import Figure
from baseline_bench.rendering.report.data import Study

FIGURES = ("loss.svg", "final-loss.svg", "cost.svg", "accuracy.svg", "checkpoints.svg", "loss-and-score.svg")
# Either marker identifies a report, so that one whose other page was edited can be rendered again.
_OWN_MARKERS = (deck.MARKER.encode(), b'<p class="eyebrow">bench report')
_NAME_PATTERN = re.compile("[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The report's name, rows and folder."""

    name: str = argument("of the report (default: study)", "NAME", "study")
    board: str = option("--board", "whose rows (default: %(default)s)", "NAME", "gsm8k")
    claims: str | None = option("--claims", "a file of leaderboards/claims (default: NAME, where there is one)", "NAME")
    out: Path | None = option("--out", "where it goes (default: reports/NAME)", "DIR")
    rows: tuple[str, ...] = option("--rows", "the rows to show (default: all)", "CANDIDATE", ())
    leaderboards: Path = leaderboards_option()
    questions: bool = option("--without-questions", "leave the questions' text out", default=True)
    format: drawing.ImageFormat | None = option("--format", "write each figure as pdf or png too, next to its SVG")
    check: bool = option(
        "--check", "write nothing; fail where a file in git is not what entries give", default=False, one_of="what"
    )
    browse: bool = option("--open", "show index.html in the browser", default=False, one_of="what")
    mirror: Path | None = datasets_option()


def run(options: Options, console: Console) -> int:
    """Write the report and print every changed file; or check it and exit with 1 if a file is out of date.

    Raises:
        BenchError: an invalid name, no such rows, an unsound entry, a folder that holds something else, or no Cairo.
    """
    if not _NAME_PATTERN.fullmatch(options.name):
        raise BenchError(f"{options.name!r} is no name for a report", "use a-z, 0-9, - and _")
    if options.check and options.format:
        raise BenchError("--check writes nothing, --format does", "leave one of them out")
    convert = drawing.load_converter(options.format) if options.format else None  # before the work, for a missing one
    out = options.out if options.out is not None else Path("reports") / options.name
    console.say(f"comparing the rows of {options.leaderboards / options.board} and drawing the figures")
    texts = render_report(options, out)
    stale_files = [file for file, text in texts.items() if leaderboard.is_stale(out / file, text)]
    removed_files = [file for file in FIGURES if file not in texts and (out / file).is_file()]
    if options.check:
        command = build_command(options)
        lines = [
            f"{out / file}: is not what the entries give; fix: `{command}`\n" for file in (*stale_files, *removed_files)
        ]
        console.write("".join(lines))
        return 1 if lines else 0
    _require_own_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    images = {
        f"{Path(file).stem}.{options.format}": convert(texts[file]) for file in FIGURES if convert and file in texts
    }
    for file in stale_files:
        write_atomically(out / file, texts[file].encode())
    for file, image in images.items():
        write_atomically(out / file, image)
    for file in removed_files:
        (out / file).unlink()
    console.write("".join(f"{out / file}\n" for file in (*stale_files, *removed_files, *images)))
    if options.browse and not webbrowser.open((out / "index.html").resolve().as_uri()):
        console.warn(f"no browser opens here: open {out / 'index.html'} in one")
    return 0


def _require_own_folder(out: Path) -> None:
    """Refuse a folder that is not a report's, since its files of the same names would be overwritten or removed."""
    pages = [out / name for name in ("README.md", "index.html") if (out / name).is_file()]
    if pages and not any(mark in path.read_bytes() for path in pages for mark in _OWN_MARKERS):
        raise BenchError(f"{pages[0]} is no report's", "give another folder with --out")


def render_report(options: Options, out: Path) -> dict[str, str]:
    """Return the text of every file of the report by name and write nothing; equal entries give equal texts.

    A check needs only what is committed, so it leaves the HTML page out.
    """
    judged = findings.judge_claims_file(
        options.leaderboards, options.board, options.claims or options.name, options.claims is not None
    )
    study = data.gather_study(options.leaderboards, options.board, options.name, judged.task, options.rows)
    figures = draw_figures(study)
    command = build_command(options)
    texts = {"README.md": deck.render_readme(study, judged.findings, figures, command, _link_board(options, out))}
    if not options.check:
        reading = answers.read_report_completions(study, options.mirror, options.questions)
        texts["index.html"] = html.render_page(study, judged.findings, figures, reading, command)
    return texts | {figure.file: figure.svg for figure in figures}


def draw_figures(study: Study) -> Sequence[Figure]:
    """Draw the figures that the rows support, in the order of the deck."""
    figures = (
        line_charts.draw_losses(study),
        bar_charts.draw_final_losses(study),
        bar_charts.draw_cost(study),
        bar_charts.draw_accuracy(study),
        line_charts.draw_checkpoints(study),
        bar_charts.draw_loss_and_score(study),
    )
    return [figure for figure in figures if figure is not None]


def build_command(options: Options) -> str:
    """Build the command that makes this report from the repository's folder, without the user's data set paths."""
    words = ["bench", "report", options.name]
    defaults = {"board": "gsm8k", "claims": None, "out": None, "leaderboards": Path("leaderboards")}
    for name, default in defaults.items():
        if (value := getattr(options, name)) != default:
            words += [f"--{name}", str(value)]
    if options.rows:
        words += ["--rows", *options.rows]
    return shlex.join(words if options.questions else [*words, "--without-questions"])


def _link_board(options: Options, out: Path) -> str:
    """Return the link from the report to the board's page."""
    path = os.path.relpath(options.leaderboards / f"{options.board}.md", out)
    return quote(Path(path).as_posix())
