"""The page to browse holds every answer as data, runs nothing but its own script, and no text in it becomes markup."""

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from baseline_bench.commands.report import draw_figures, render_report
from baseline_bench.core.errors import BenchError
from baseline_bench.rendering.report import data, deck
from baseline_bench.rendering.report import findings as judged
from baseline_bench.rendering.report import html as report_html
from baseline_bench.rendering.report.answers import (
    GradedCompletions,
    ReportCompletions,
    ReportProblem,
    read_report_completions,
)
from baseline_bench.rendering.report.findings import ReportedClaim
from baseline_bench.rendering.report.safe_text import ExternalName, ReviewedText, to_html, to_markdown, to_plain_text
from baseline_bench.results.bits import Bits
from baseline_bench.results.completions import parse_completions, serialise_completions
from baseline_bench.results.entries import completions_path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from paths import ROOT
from report_samples import base, order, tuned, write
from samples import answers, result

SNIPPETS = ("</script>", "<script>alert(1)</script>", "<!--", "-->", "]]>", "<img src=x onerror=y>", '"', "'", "&lt;")
MORE = (
    "`",
    "``",
    "|",
    "\n",
    "\r",
    "\u2028",
    "$x$",
    "@octocat",
    "#12",
    "[l](http://e.vil)",
    "http://e.vil",
    "\u202e",
    "\x00",
)
NASTY = st.lists(st.sampled_from(SNIPPETS + MORE) | st.text(max_size=4), max_size=6).map("".join)
HOSTILE = "".join(SNIPPETS + MORE)
PAGE = Path(report_html.__file__).parent


class Seen(HTMLParser):
    """Tags in order, attributes, and the text of every script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._open = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.raw.append((*self._open, data))
            self._open = None

    def script(self, name: str) -> str:
        """The content of the data block with this id."""
        return next(text for tag, attributes, text in self.raw if attributes.get("id") == name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board with a base and two trainings."""
    board = tmp_path / "leaderboards" / "counting"
    base(board, 5)
    tuned(board, 20, "full")
    tuned(board, 6, "lora", end=0.8)
    return board.parent


def study(folder: Path) -> data.Study:
    """Its rows."""
    return data.gather_study(folder, "counting", "tiny", None, ())


def page(folder: Path) -> str:
    """The page of the board."""
    return render_report(order(folder), folder.parent / "out")["index.html"]


def renamed(of: data.Study, name: str) -> data.Study:
    """The same rows, the last one under another name."""
    line = of.lines[-1]
    entry = replace(line.entry, result=replace(line.entry.result, candidate=name))
    return replace(of, lines=(*of.lines[:-1], replace(line, row=replace(line.row, entry=entry))))


def reading(of: data.Study, text: str) -> ReportCompletions:
    """Answers in which ids, golds, questions, prompts, solutions, what was read and rules are this text."""
    total = of.lines[0].entry.result.counts.total
    packed = gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0)
    one = GradedCompletions(packed, (text,) * total, (text,) * total)
    return ReportCompletions((ReportProblem(text, text, text, text, text),) * total, (one,) * len(of.lines))


def test_the_page_runs_its_own_script_and_nothing_else(folder: Path) -> None:
    """One script can run, and the policy names it and the style by their digests; nothing is loaded."""
    seen = Seen(page(folder))
    runs = [text for tag, attributes, text in seen.raw if tag == "script" and "type" not in attributes]
    styles = [text for tag, _, text in seen.raw if tag == "style"]
    assert len(runs) == len(styles) == 1
    policy = next(
        value or "" for tag, name, value in seen.attributes if name == "content" and "default-src" in (value or "")
    )
    for kind, text in (("script-src", runs[0]), ("style-src", styles[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert not [name for _, name, _ in seen.attributes if name.startswith("on") or name in ("style", "src", "srcset")]
    assert all((value or "").startswith("#") for _, name, value in seen.attributes if name == "href")


def test_the_script_sets_text_and_never_markup() -> None:
    """None of the ways to make markup of a text, to run one, or to reach a network stands in the script."""
    script = (PAGE / "page.js").read_text()
    ways = (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "XMLHttp",
        "srcdoc",
    )
    assert not [way for way in ways if way in script]
    assert not re.findall(r"https?:", script + (PAGE / "page.css").read_text() + (PAGE / "page.html").read_text())


def test_ids_are_unique_and_every_one_the_script_asks_for_is_there(folder: Path) -> None:
    """Figures inside the page do not share ids, and no control is missing."""
    seen = Seen(page(folder))
    ids = Counter(value for _, name, value in seen.attributes if name == "id")
    assert not [one for one, times in ids.items() if times > 1]
    asked = set(re.findall(r'by\("([a-z]+)"\)', (PAGE / "page.js").read_text()))
    assert asked <= set(ids)
    named = [
        one for _, name, value in seen.attributes if name in ("aria-labelledby", "for") for one in (value or "").split()
    ]
    assert set(named) <= set(ids)


def test_every_answer_of_every_row_is_in_the_page(folder: Path) -> None:
    """Unpacked, a row's block is the committed completions; its bits are the entry's, what was read is beside them."""
    of, seen = study(folder), Seen(page(folder))
    data = json.loads(seen.script("data"))
    assert [row["name"] for row in data["rows"]] == [line.name for line in of.lines]
    assert data["items"]["ids"] == [f"test-{i}" for i in range(40)]
    assert data["items"]["questions"] is None
    for place, line in enumerate(of.lines):
        packed = base64.b64decode(seen.script(f"packed-{place}"), validate=True)
        assert packed == completions_path(line.path).read_bytes()
        assert len(parse_completions(gzip.decompress(packed), "page")) == 40
        row, bits = data["rows"][place], line.entry.result.bits
        assert Bits(**row["bits"]) == bits
        assert [one is None for one in row["read"]] == [i >= 37 for i in range(40)]
        assert row["base"] == 0


def test_rows_that_cannot_be_compared_are_said_to_be_so(folder: Path) -> None:
    """Every pair has its difference, or the reason why there is none."""
    tuned(folder / "counting", 9, "other", prompts_sha256="0" * 64)
    pairs = json.loads(Seen(page(folder)).script("data"))["pairs"]
    assert len(pairs) == 6
    difference, low, high, p, outcome, mirrored = pairs["0-1"]
    assert (outcome, mirrored) == ("worse", "better")
    assert difference == -37.5
    assert low < -37.5 < high < 0
    assert p < 0.001
    assert [why for why in pairs.values() if isinstance(why, str)] == [pairs["0-3"], pairs["1-3"], pairs["2-3"]]
    assert "prompts as token ids" in pairs["0-3"]


def test_questions_are_in_the_page_only_where_they_are_wanted(gsm8k_mirror: Path) -> None:
    """With the data set at hand the page shows the questions; without leave, or without the data, none."""
    board = ROOT / "leaderboards"
    of = data.gather_study(board, "gsm8k", "study", None, ["smollm2-135m-it-q4_1"])
    shown = read_report_completions(of, gsm8k_mirror, True)
    first = shown.items[0]
    assert first.question is not None
    assert first.question.startswith("Janet")
    plain = read_report_completions(of, gsm8k_mirror, False)
    assert not plain.with_questions
    assert {(item.prompt, item.solution) for item in plain.items} == {(None, None)}
    assert not read_report_completions(of, None, True).with_questions
    assert sum(one is not None for one in shown.answers[0].read) == 1319 - of.lines[0].entry.result.counts.unread


def test_the_prompt_and_the_worked_solution_of_a_question_are_in_the_page(gsm8k_mirror: Path) -> None:
    """The whole conversation with its example, and the solution; a page without questions has neither."""
    rows = ("smollm2-135m-it-q4_1",)
    given = order(ROOT / "leaderboards", board="gsm8k", rows=rows, mirror=gsm8k_mirror)
    for wanted in (True, False):
        text = render_report(replace(given, questions=wanted), Path("out"))["index.html"]
        items = json.loads(Seen(text).script("data"))["items"]
        prompt, solution = items["start"] + items["prompts"][0], items["solutions"][0]
        turns = re.findall(r"^(\w+):$", prompt, re.MULTILINE)
        assert turns == (["user", "assistant", "user"] if wanted else [])
        assert ("Janet" in prompt, solution.endswith("#### 18")) == (wanted, wanted)


def test_rows_of_other_items_are_refused(folder: Path) -> None:
    """A row whose items are in another order cannot be laid beside the rest."""
    turned = tuple(reversed(answers(40, 9, 3, 2)))
    of = result("turned", turned)
    same = study(folder).lines[0].entry.result.selection.ids_sha256
    path = write(folder / "apart", of, turned)
    lines = study(folder).lines
    other = data.gather_study(folder, "apart", "tiny", None, ()).lines
    assert of.selection.ids_sha256 != same
    with pytest.raises(BenchError, match=f"{path.name}: its items are not those of"):
        read_report_completions(replace(study(folder), lines=(*lines, *other)), None, False)


def test_missing_completions_are_told(folder: Path) -> None:
    """Without the committed answers there is nothing to browse, and the way out is named."""
    of = study(folder)
    completions_path(of.lines[0].path).unlink()
    with pytest.raises(BenchError, match="restore"):
        read_report_completions(of, None, True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(text=NASTY)
def test_no_text_becomes_markup(folder: Path, text: str) -> None:
    """Whatever names, questions, answers and hypotheses hold, the page has the same elements, and the data the text."""
    of = study(folder)
    told = ReportedClaim(
        (ReviewedText(text),),
        "open",
        "not resolved",
        (ExternalName(text),),
        (ReviewedText(text),),
        ((ExternalName(text), ": x"),),
    )
    plain_page, hostile = (
        report_html.render_page(
            renamed(of, one), [replace(told, hypothesis=(ReviewedText(one),))], draw_figures(of), reading(of, one), one
        )
        for one in ("plain", text)
    )
    seen = Seen(hostile)
    assert seen.tags == Seen(plain_page).tags
    data = json.loads(seen.script("data"))
    assert data["rows"][-1]["name"] == text
    items = data["items"]
    prompt = items["start"] + items["prompts"][0]
    assert items["questions"][0] == prompt == items["solutions"][0] == data["rows"][0]["read"][0] == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(text=NASTY)
def test_no_text_breaks_the_deck(folder: Path, text: str) -> None:
    """Whatever names and hypotheses hold, the deck has the same blocks, one table, and no link or HTML of theirs."""
    of, parser = study(folder), MarkdownIt("commonmark", {"html": True}).enable("table")
    shapes = []
    for one in ("plain", text):
        told = ReportedClaim(
            (ReviewedText(one),),
            "open",
            "not resolved",
            ("Not resolved",),
            ("x ", ReviewedText(one)),
            ((ExternalName(one), ": x"),),
        )
        tokens = parser.parse(
            deck.render_readme(renamed(of, one), [told], draw_figures(renamed(of, one)), "bench report", "board.md")
        )
        inner = [
            child.type
            for token in tokens
            for child in token.children or ()
            if child.type in ("link_open", "html_inline", "image")
        ]
        shapes.append(([token.type for token in tokens], inner))
    assert shapes[0] == shapes[1]


def test_a_hostile_page_is_read_back_whole(folder: Path) -> None:
    """The worst text at once: tags as before, and a data block that ends where it should."""
    of = renamed(study(folder), HOSTILE)
    text = report_html.render_page(of, [], draw_figures(of), reading(of, HOSTILE), "bench report")
    assert json.loads(Seen(text).script("data"))["items"]["golds"][0] == HOSTILE
    assert text.count("<script") == text.count("</script>") == 2 + len(of.lines)


def test_words_are_spelled_for_where_they_stand() -> None:
    """A name is code, reviewed words are words, and neither is markup."""
    sentence = ("a ", ExternalName("x`<b>"), " ", ReviewedText("50 % of *all* <b> #12"))
    assert to_plain_text(sentence) == "a x`<b> 50 % of *all* <b> #12"
    assert to_markdown(sentence) == "a ``x`<b>`` 50 % of \\*all\\* \\<b\\> \\#12"
    assert to_html(sentence) == "a <code>x`&lt;b&gt;</code> 50 % of *all* &lt;b&gt; #12"


def test_the_tally_says_what_speaks_against_first() -> None:
    """Refuted before supported, and what is no prediction apart from what is."""
    kinds = (("supported", "holds"), ("supported", "late"), ("refuted", "fails"), ("not resolved", "open"))
    told = [ReportedClaim((), kind, word, (), (), ()) for word, kind in kinds]  # type: ignore[arg-type]
    assert (
        to_plain_text(judged.tally_claims(told))
        == "Of 4 hypotheses: 1 refuted, 1 supported, 1 supported post hoc, 1 not resolved."
    )


def test_completions_are_what_was_committed() -> None:
    """The sample's lines are read back as they were written, so that the tests above look at real blocks."""
    assert parse_completions(serialise_completions(answers()), "here") == answers()


@pytest.mark.skipif(
    shutil.which("node") is None and not os.environ.get("CI"),
    reason="nothing here reads a script: node is not installed",
)
def test_the_page_s_script_can_be_read():
    """A name declared twice would leave a page without answers."""
    script = Path(report_html.__file__).with_name("page.js")
    done = subprocess.run(["node", "--check", str(script)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
