"""A report is what the entries give: the same rows give the same bytes, and a file that differs is found."""

import hashlib
import io
import os
import shlex
import shutil
import sys
import webbrowser
from ctypes.util import find_library
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from baseline_bench import cli
from baseline_bench.commands import board, export_csv
from baseline_bench.commands.report import FIGURES, Options, build_command, render_report, run
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering import drawing
from baseline_bench.rendering.report import bar_charts, data, deck, findings
from baseline_bench.results import retractions
from baseline_bench.results.retractions import Retraction
from paths import ROOT
from report_samples import ITEMS, base, order, tuned, write
from samples import answers, result

REAL = ROOT / "leaderboards"
BAR = "lm-eval/chrf=50,none@4a3e3581"
DOC = ROOT / "docs" / "report.md"
needs_cairo = pytest.mark.skipif(
    None in (find_spec("cairosvg"), find_library("cairo")) and not os.environ.get("CI"),
    reason="CairoSVG is not installed: pip install 'baseline-bench[figures]' and libcairo2",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board with a base and two trainings."""
    board = tmp_path / "leaderboards" / "counting"
    base(board, 5)
    tuned(board, 20, "full")
    tuned(board, 6, "lora", end=0.8)
    return board.parent


def say(given: Options) -> tuple[int, str]:
    """The exit status and what is printed."""
    data = io.StringIO()
    return run(given, Console(data, io.StringIO())), data.getvalue()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Whether it is one."""
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_long_commands_tell_what_they_do(folder: Path, stream: type[io.StringIO]) -> None:
    """On a terminal and in a log alike."""
    for command, given in (
        (run, order(folder)),
        (board.run, board.Options(leaderboards=folder, check=True)),
        (export_csv.run, export_csv.Options(leaderboards=folder, entries=["base"])),
    ):
        told = stream()
        command(given, Console(io.StringIO(), told))  # type: ignore[operator]
        assert [line for line in told.getvalue().splitlines() if " faults" not in line and "unchecked" not in line]


def study(folder: Path, *wanted: str) -> data.Study:
    """The rows of the report."""
    return data.gather_study(folder, "counting", "tiny", None, wanted)


def test_a_report_is_written_once_and_named(folder: Path) -> None:
    """The first run names every file; the second finds nothing to change."""
    status, told = say(order(folder))
    out = folder.parent / "out"
    assert status == 0
    assert sorted(told.split()) == sorted(str(path) for path in out.iterdir())
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "index.html",
        "loss.svg",
        "final-loss.svg",
        "cost.svg",
        "accuracy.svg",
        "loss-and-score.svg",
    }
    assert say(order(folder)) == (0, "")


class Browser(webbrowser.BaseBrowser):
    """A browser that remembers what it opened."""

    def __init__(self, works: bool) -> None:
        super().__init__()
        self.works, self.opened = works, list[str]()

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        """Open a page."""
        self.opened.append(url)
        return self.works


@pytest.mark.parametrize("works", [True, False])
def test_the_page_opens_in_a_browser_where_there_is_one(folder: Path, monkeypatch, works: bool) -> None:
    """Only if asked; without a browser the file is named."""
    browser, warnings = Browser(works), io.StringIO()
    monkeypatch.setattr(webbrowser, "_tryorder", ["mine"])
    monkeypatch.setattr(webbrowser, "_browsers", {"mine": [None, browser]})
    say(order(folder))
    assert browser.opened == []
    assert run(order(folder, browse=True), Console(io.StringIO(), warnings)) == 0
    page = folder.parent / "out" / "index.html"
    assert browser.opened == [page.resolve().as_uri()]
    assert (str(page) in warnings.getvalue()) is not works


def test_the_check_names_each_file_that_is_not_what_the_entries_give(folder: Path) -> None:
    """Nothing is written by a check; an edited file, a lost one and a figure of the past are named with the mend."""
    say(order(folder))
    out = folder.parent / "out"
    page = (out / "index.html").read_bytes()
    (out / "index.html").unlink()  # git does not keep the page
    assert say(order(folder, check=True)) == (0, "")
    (out / "index.html").write_bytes(page)
    (out / "README.md").write_text("better")
    (out / "loss.svg").unlink()
    (out / "checkpoints.svg").write_text("<svg/>")
    status, told = say(order(folder, check=True))
    assert status == 1
    named = [line.partition(":")[0] for line in told.splitlines()]
    assert named == [str(out / file) for file in ("README.md", "loss.svg", "checkpoints.svg")]
    assert "fix: `bench report tiny --board counting" in told
    assert (out / "README.md").read_text() == "better"
    say(order(folder))
    assert not (out / "checkpoints.svg").exists()


def test_a_row_that_an_advisory_concerns_is_marked(folder: Path) -> None:
    """In the table of both pages, with what it means; the other rows are not."""
    text = '[[advisories]]\nid = "cold"\naffects = "the speed"\nwhere = { "result.candidate" = ["base+lora*"] }\n'
    (folder / "advisories.toml").write_text(text)
    texts = render_report(order(folder), Path("out"))
    marked = [line for line in texts["README.md"].splitlines() if "warned: `cold`" in line]
    assert [line.startswith("|`base+lora-s0`") for line in marked] == [True]
    assert "`cold`: `the speed`" in texts["README.md"]
    assert texts["index.html"].count("warned: cold") == 1


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_a_folder_of_something_else_is_left_alone(folder: Path, name: str) -> None:
    """A page of the same name that no report wrote is not overwritten, and nothing beside it is removed."""
    out = folder.parent / "out"
    out.mkdir()
    (out / name).write_text("mine")
    (out / "checkpoints.svg").write_text("mine")
    with pytest.raises(BenchError, match=f"{name} is no report's: give another folder with --out"):
        say(order(folder))
    assert sorted(path.name for path in out.iterdir()) == sorted([name, "checkpoints.svg"])
    assert (out / name).read_text() == (out / "checkpoints.svg").read_text() == "mine"


def test_the_same_entries_give_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the machine's folders nor the time of rendering are in a report."""
    shutil.copytree(folder, tmp_path / "elsewhere" / "leaderboards")
    made = []
    for place in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(place)
        made.append(render_report(order(Path("leaderboards"), out=None), Path("reports/tiny")))
    assert made[0] == made[1]
    assert "[counting](../../leaderboards/counting.md)" in made[0]["README.md"]
    assert "bench report tiny --board counting\n" in made[0]["README.md"]


def test_the_answer_says_what_was_looked_at_and_what_is_not_resolved(folder: Path) -> None:
    """Three lines: the highest row with its doubt, every candidate against its base, the hypotheses."""
    text = render_report(order(folder), folder.parent / "out")["README.md"]
    answer = text.partition("## Today's answer")[2].partition("##")[0].strip().splitlines()
    assert answer[0].startswith(
        "1. Highest of 3 rows: `base+full-s0` answers 50.00 % of 40 problems right [35.2, 64.8]"
    )
    assert answer[1].startswith("2. Of 2 candidates compared with their base: 1 better, 1 inconclusive")
    assert answer[2] == "3. No hypothesis was written down before these runs."


def test_retracted_rows_and_other_task_versions_are_left_out(folder: Path) -> None:
    """What no longer counts is not in a report."""
    path = next((folder / "counting").glob("*lora*[0-9a-f].json"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    why = Retraction(1, "2026-11-23T12:00:00Z", path.name, digest, "other data than it says", None)
    retractions.write_record(why, folder / "counting")
    assert [line.name for line in study(folder).lines] == ["base", "base+full-s0"]


def test_one_row_is_shown_for_each_candidate_the_newest_that_compares(folder: Path) -> None:
    """A base that was scored again is shown once, by its newest row."""
    newer = base(folder / "counting", 6, created="2026-11-23T12:00:00Z")
    shown = study(folder).lines
    assert [line.name for line in shown] == ["base", "base+full-s0", "base+lora-s0"]
    assert shown[0].path.name == newer.name


def test_a_base_stands_once_for_each_way_of_scoring(folder: Path) -> None:
    """Candidates of two engine settings stand beside the base's run of their own, on top of them, as on the board."""
    board = folder / "counting"
    eager = {**result().engine.settings, "graphs": True}
    fast = replace(result().engine, settings=eager)
    completions = answers(ITEMS, 6, 3, 2)
    again = write(board, replace(result("base", completions), engine=fast), completions)
    tuned(board, 22, "full", seed=1, engine=fast)
    lines = study(folder).lines
    names = [line.name for line in lines]
    place = lines.index(next(line for line in lines if line.path == again))
    assert names[place : place + 2] == ["base", "base+full-s1"]
    assert sorted(names) == ["base", "base", "base+full-s0", "base+full-s1", "base+lora-s0"]
    assert len({line.title for line in lines}) == len(lines)
    assert {line.label for line in lines if line.is_base} == {"base", "base, again 2026-11-22"}
    assert {line.name: line.gain.pairs.difference for line in lines if line.gain}["base+full-s1"] == 16 / ITEMS
    assert render_report(order(folder), folder.parent / "out")["accuracy.svg"].count('class="band"') == 2


def test_the_luckiest_seed_is_told_beside_the_mean_of_its_recipe(folder: Path) -> None:
    """Three seeds of a recipe: the highest is not what the recipe does."""
    for seed, right in ((1, 14), (2, 17)):
        tuned(folder / "counting", right, "full", seed=seed)
    text = render_report(order(folder), folder.parent / "out")["README.md"]
    assert "`base+full-s0` answers 50.00 % of 40 problems right" in text
    assert "; 3 seeds of its recipe have a mean of 42.50 %." in text


def test_chosen_candidates_are_shown_and_unknown_ones_answered(folder: Path) -> None:
    """`--rows` narrows a report; a wrong name is answered with the nearest."""
    assert [line.name for line in study(folder, "base", "base+full-s0").lines] == ["base", "base+full-s0"]
    with pytest.raises(BenchError, match="did you mean 'base\\+full-s0'"):
        study(folder, "base+full-s")


def test_the_command_on_the_page_is_parsed_into_the_same_options(folder: Path) -> None:
    """Whoever copies it from a report makes that report."""
    given = order(folder, rows=("base", "base+full-s0"), questions=False, claims="study")
    words = shlex.split(build_command(given))
    assert words[:2] == ["bench", "report"]
    assert replace(cli.parse_options("report", words[2:]), mirror=given.mirror) == given


def test_wrong_names_are_refused(folder: Path) -> None:
    """A report's name is a folder's; claims that were asked for must be there and of this board."""
    with pytest.raises(BenchError, match="no name for a report"):
        say(order(folder, name="../up"))
    with pytest.raises(BenchError, match="no claims file"):
        say(order(folder, claims="absent"))
    (folder / "claims").mkdir()
    shutil.copy(REAL / "claims" / "study.toml", folder / "claims")
    with pytest.raises(BenchError, match="about the board 'gsm8k'"):
        say(order(folder, claims="study"))
    assert findings.judge_claims_file(folder, "counting", "study", False).findings == ()


def test_a_candidate_alone_is_no_better_than_anything(tmp_path: Path) -> None:
    """Without its base's row a candidate has no gain, and the report says that nothing was compared."""
    board = tmp_path / "leaderboards" / "counting"
    tuned(board, 20, "full")
    assert study(board.parent).lines[0].gain is None
    text = render_report(order(board.parent), tmp_path / "out")["README.md"]
    assert "No candidate can be compared with its base here" in text


def test_the_study_is_judged_on_real_rows(tmp_path: Path) -> None:
    """Of the real board's base and one training the first hypothesis has one contrast, and says what is missing."""
    board = tmp_path / "leaderboards" / "gsm8k"
    board.mkdir(parents=True)
    (board.parent / "claims").mkdir()
    shutil.copy(REAL / "claims" / "study.toml", board.parent / "claims")
    for stem in ("smollm2-135m-it-q4_1-e914a0405fa4", "smollm2-135m-it-q4_1-full-main-s0-9356e43ddd35"):
        for path in (REAL / "gsm8k").glob(f"*{stem}*"):
            shutil.copy(path, board)
    given = order(board.parent, name="study", board="gsm8k", questions=False)
    text = render_report(given, tmp_path / "out")["README.md"]
    assert "### A candidate fine-tuned on GSM8K's train split scores higher than its base" in text
    assert "69 and 24 of 1,319 right, +3.41 points [+2.06, +4.84], exact McNemar, Holm p < .0001: supported" in text
    assert "not judged, no row of smollm2-135m-it-q4\\_1+full-socratic-s0" in text
    assert "not shown to be older than their runs" in text  # no git holds this copy of the claims


@needs_cairo
@pytest.mark.parametrize(("wanted", "start"), [("pdf", b"%PDF-"), ("png", b"\x89PNG\r\n")])
def test_figures_are_converted_when_asked(folder: Path, wanted: drawing.ImageFormat, start: bytes) -> None:
    """Each next to its SVG, named on the output; a check looks at the SVG alone."""
    out = folder.parent / "out"
    say(order(folder))
    status, told = say(order(folder, format=wanted))
    drawn = [file for file in FIGURES if (out / file).is_file()]
    images = [(out / file).with_suffix(f".{wanted}") for file in drawn]
    assert (status, told.splitlines()) == (0, [str(image) for image in images])
    assert len(images) == 5
    assert [image.read_bytes().startswith(start) for image in images] == [True] * 5
    assert say(order(folder, check=True)) == (0, "")


@needs_cairo
def test_a_png_has_the_figure_s_colours_and_not_those_of_a_dark_page(folder: Path) -> None:
    """Twice as many pixels as the SVG has, on white, with the blue of what is better."""
    from PIL import Image

    image = Image.open(io.BytesIO(drawing.load_converter("png")(bar_charts.draw_accuracy(study(folder)).svg)))
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert image.width == 2 * 760
    assert {(0xFF, 0xFF, 0xFF), (0x09, 0x69, 0xDA)} <= colours
    assert (0x0D, 0x11, 0x17) not in colours


def test_converting_needs_the_cairo_library_and_writes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any work: a system without libcairo is told what to install, and a check is not asked to write."""
    (tmp_path / "cairosvg.py").write_text("raise OSError('no library called \"cairo-2\" was found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cairosvg", raising=False)
    with pytest.raises(BenchError) as refused:
        say(order(folder, format="pdf"))
    assert "libcairo2" in refused.value.way_out
    with pytest.raises(BenchError, match="--check"):
        say(order(folder, format="pdf", check=True))


def test_the_documentation_names_every_figure() -> None:
    """The page on reports tells what each file is."""
    text = DOC.read_text()
    for file in ("README.md", "index.html", *FIGURES):
        assert f"`{file}`" in text


def test_a_board_with_a_bar_says_right_where_others_say_exact_match(folder: Path) -> None:
    """In its deck and its figures; what is right there is said once."""
    before = study(folder)
    lines = [
        replace(line, row=replace(line.row, entry=replace(line.entry, result=replace(result, task=task))))
        for line in before.lines
        for result in [line.entry.result]
        for task in [replace(result.task, reader=BAR)]
    ]
    after = replace(before, lines=tuple(lines))
    for given, measure, right in (
        (before, "exact match", "**exact match**: the answer read from the text equals the gold answer; the interval"),
        (after, "right", "**right**: `chrf` reaches `50`; the interval"),
    ):
        figures = [bar_charts.draw_accuracy(given), bar_charts.draw_loss_and_score(given)]
        page = deck.render_readme(given, (), [figure for figure in figures if figure], "bench report", "counting.md")
        assert f"|candidate|{measure} %|" in page
        assert right in page
        svg = "".join(figure.svg for figure in figures if figure)
        assert f"{measure}, %" in svg
        assert ("exact match" in page + svg) == (measure == "exact match")
