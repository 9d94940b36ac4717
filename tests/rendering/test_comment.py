"""rendering.comment: outcomes first, a limit that always holds, and no text from outside that can break it."""

from dataclasses import replace
from typing import Any

import pytest
from baseline_bench.analysis.compare import ItemChange, compare_entries
from baseline_bench.analysis.differences import list_differences
from baseline_bench.analysis.item_changes import CompletionPair, JudgedCompletion
from baseline_bench.core.types import Step
from baseline_bench.rendering.comment import COMMENT_MARKER, MAX_COMMENT_BYTES, fence_text, render_comment
from baseline_bench.rendering.pr_model import ProposedComparison, ProposedRow, PullRequestReport
from baseline_bench.results.board import Row
from baseline_bench.results.entry import Entry
from baseline_bench.results.retractions import Retraction
from hypothesis import example, given, settings
from hypothesis import strategies as st
from judged_rows import RIGHT, WRONG, row
from markdown_it import MarkdownIt
from nasty_text import NASTY, SNIPPETS
from samples import entry, result

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
TEXT = st.lists(
    st.sampled_from([*SNIPPETS, "```", "````", "~~~", "</details>", "\n\n", "    ", "> ", "- ", "| a | b |\n"])
    | st.text(max_size=3)
).map("".join)


def named(made: Entry, candidate: str) -> Entry:
    """The same row under another name."""
    return Entry.of(replace(made.result, candidate=candidate), made.created, made.timings)


def contest(
    ups: int, downs: int, name: str = "new", p: float | None = None, **given: Any
) -> tuple[Row, ProposedComparison]:
    """A row against another, with so many items won and lost of forty."""
    pairs = [(RIGHT, WRONG)] * ups + [(WRONG, RIGHT)] * downs + [(RIGHT, RIGHT)] * (40 - ups - downs)
    mine, other = (row(*kinds) for kinds in zip(*pairs, strict=True))
    mine, other = named(mine, name), named(other, given.pop("against", "old"))
    found = compare_entries(mine, other)
    values = {"role": "base", "p": found.p if p is None else p, **given}
    return Row("new.json", mine), ProposedComparison(against=Row("old.json", other), found=found, **values)


def changed(name: str, gold: str, before: str, after: str, won: bool) -> CompletionPair:
    """An item that the new row alone answers right, or the other alone."""
    now, then = (JudgedCompletion(text, "stop", "?", None, right) for text, right in ((after, won), (before, not won)))
    return CompletionPair(name, None, gold, ItemChange(0, "answer", won), now, then)


def proposed(*contests: tuple[Row, ProposedComparison], board: str = "counting", **given: Any) -> ProposedRow:
    """One new row with its contests."""
    row, first = contests[0]
    changes = list_differences(row.entry, first.against.entry)
    values = {"remarks": (), "steps": (), "changes": changes, **given}
    return ProposedRow(board=board, row=row, contests=tuple(one for _, one in contests), **values)


def report(*rows: ProposedRow, **given: Any) -> PullRequestReport:
    """A comment's content."""
    values = {"base": "origin/main", "commit": "0123456789abcdef", "link": None, "prefix": "leaderboards/"}
    return PullRequestReport(**{**values, "faults": (), "rows": rows, "retractions": (), "unsound": 0, **given})


def test_a_pull_request_without_new_rows_is_one_line():
    """Nothing to judge, nothing to read, and the marker by which it is found again."""
    assert (
        render_comment(report())
        == f"{COMMENT_MARKER}\n**bench**: no new rows against `origin/main` (merge-base `0123456789ab`).\n"
    )


def test_worse_is_said_first():
    """In the title as in the list, whatever the order of the rows."""
    rows = [proposed(contest(9, 0, "up")), proposed(contest(2, 1, "flat")), proposed(contest(0, 9, "down"))]
    told = render_comment(report(*rows))
    assert "## bench: ▼ 1 worse, ▲ 1 better, ? 1 inconclusive" in told
    assert told.index("**worse than") < told.index("**better than") < told.index("**inconclusive against")


@pytest.mark.parametrize(
    ("contests", "given", "advice"),
    [
        ([(0, 9), (2, 1)], {}, "problems lost"),
        ([(2, 1), (9, 0)], {}, "would narrow it"),
        ([(9, 0)], {}, "nothing is open"),
        ([(0, 9)], {"faults": ("a fault",)}, "faults first"),
    ],
)
def test_one_line_after_the_outcomes_says_what_to_do(contests, given, advice):
    """By the first of: faults, a worse outcome, an undecided one; it is above the table, and the method is folded."""
    told = render_comment(report(*(proposed(contest(*counts)) for counts in contests), **given))
    (line,) = (line for line in told.splitlines() if line.startswith("**What to do**"))
    assert advice in line
    assert told.index("- ▲" if contests[0][0] == 9 else "- ") < told.index(line) < told.index("|candidate|")
    assert told.index("|candidate|") < told.index("<details><summary>How p is adjusted") < told.index("after Holm over")


def test_the_adjusted_p_value_decides():
    """What one test alone would call better is inconclusive in its family, and both numbers are shown."""
    told = render_comment(report(proposed(contest(6, 0, p=0.25))))
    assert "**inconclusive against its base**" in told
    assert "p = 0.25 after Holm (0.0312 alone)" in told
    assert "The fine-tune helped" not in told


def test_faults_come_before_outcomes():
    """A board that does not hold together is told before any number, and counted in the title."""
    told = render_comment(
        report(proposed(contest(9, 0)), faults=("leaderboards/x.json: changed since 0123; fix: `git`",))
    )
    assert told.index("leaderboards/x.json: changed") < told.index("**better than")
    assert "## bench: 1 fault of the board, ▲ 1 better" in told


def test_new_entries_that_do_not_hold_together_are_counted():
    """A pull request whose only entry is unsound does not look like an empty one."""
    assert "**, and 2 new entries not judged, for faults." not in render_comment(report())
    assert "(merge-base `0123456789ab`), and 2 new entries not judged, for faults.\n" in render_comment(
        report(unsound=2)
    )


def test_retractions_are_listed_with_their_reasons():
    """File, board, why, and what takes its place."""
    said = Retraction(1, "2026-11-22T12:00:00Z", "old.json", "0" * 64, "trained on the test", "newer.json")
    told = render_comment(report(retractions=(("counting", said),)))
    assert "|`old.json`|`counting`|`trained on the test`|`newer.json`|" in told
    assert "more: see the board" not in told
    assert "\n\nand 3 more: see the board\n" in render_comment(report(retractions=(("counting", said),) * 53))


def test_links_lead_to_the_files_at_the_head():
    """Under the address that was given, path and all; without one the files are named."""
    row = proposed(contest(9, 0), steps=(step(1, 2.0), step(2, 1.0)))
    told = render_comment(report(row, link="https://github.com/o/n/blob/abc"))
    assert "[entry](https://github.com/o/n/blob/abc/leaderboards/counting/new.json)" in told
    assert "[loss history](https://github.com/o/n/blob/abc/leaderboards/counting/new.loss.jsonl.gz)" in told
    assert "](" not in render_comment(report(row))


def step(number: int, loss: float) -> Step:
    """One step of two."""
    return Step(number, 2, loss, 1e-4, None, 8, 100, 50, float(number))


def test_the_training_is_told_by_its_first_and_last_loss():
    """In words, for a curve takes a picture."""
    told = render_comment(report(proposed(contest(9, 0), steps=(step(1, 2.5), step(2, 1.25)))))
    assert "Loss 2.5000 at step 1, 1.2500 at step 2 of 2" in told


@pytest.mark.parametrize("limit", [MAX_COMMENT_BYTES, 20_000, 6_000])
def test_too_much_is_left_out_from_the_least_important_and_counted(limit):
    """Examples go first, outcomes and faults stay, and the last line says what is missing."""
    shown = tuple(changed(f"test-{n}", "1", "a " * 300, "b " * 300, n < 5) for n in range(10))
    rows = [proposed(contest(9, 0, f"new-{n}", examples=shown)) for n in range(20)]
    told = render_comment(report(*rows), limit)
    assert len(told.encode()) <= limit
    assert "sets of examples. `bench show" in told.splitlines()[-1]
    assert told.count("**better than its base**") == 20
    if limit == MAX_COMMENT_BYTES:
        assert told.count("how to re-run</summary>") == 20
        assert 0 < told.count("problems gained and lost") < 20
    else:
        assert "problems gained and lost" not in told


@pytest.mark.parametrize("letter", ["x", "🧮", "`", "|", "\u202e", "&"])
def test_the_limit_holds_for_the_worst_of_names_and_counts(letter):
    """Hundreds of rows and faults with endless names are still one comment."""
    rows = [proposed(contest(9, 0, f"{n}{letter * 500}", against=letter * 500), remarks=(f"{n}",)) for n in range(200)]
    told = render_comment(report(*rows, base=letter * 500, faults=(letter * 5000,) * 500))
    assert len(told.encode()) <= MAX_COMMENT_BYTES
    assert told.startswith(COMMENT_MARKER)
    assert "better than its base" in told


def kinds(text: str) -> list[str]:
    """The blocks that a reader of Markdown sees, with the kinds of their inline parts but for plain text."""
    found = []
    for token in MARKDOWN.parse(text):
        found.append(token.type)
        found += [child.type for child in token.children or () if child.type not in ("text", "softbreak")]
    return found


def hostile(text: str, link: str | None = None) -> PullRequestReport:
    """A comment in which everything that can come from outside is this text."""
    shown = tuple(changed(text, text, text, text, won) for won in (True, False))
    mine, against = contest(6, 0, text, against=text, examples=shown)
    made = replace(mine.entry.result, provenance=replace(mine.entry.result.provenance, command=text, device=text))
    mine = Row(text, Entry.of(made, mine.entry.created, mine.entry.timings))
    said = Retraction(1, "2026-11-22T12:00:00Z", text, "0" * 64, text, text)
    return report(
        proposed((mine, against), board=text, steps=(step(1, 2.0),)),
        base=text,
        link=link,
        faults=(text,),
        retractions=((text, said),),
    )


@settings(max_examples=150)
@given(TEXT.filter(lambda text: text.strip(" ")))
@example("/")
@example("\ud800")
@example("|\n```\n</details>")
def test_no_text_from_outside_changes_what_the_comment_is_made_of(text):
    """Whatever names, answers, reasons, commands and faults say, blocks, tables, code and links are those of `x`."""
    for link in (None, "https://example.org/o/n/blob/abc"):
        assert kinds(render_comment(hostile(text, link))) == kinds(render_comment(hostile("x", link)))


@given(TEXT)
def test_a_fence_shows_the_text_and_ends_where_it_ends(text):
    """One block of code, then what follows, whatever runs of backticks or tildes stand inside."""
    blocks = MARKDOWN.parse(f"{fence_text(text)}\n\nend")
    assert [block.type for block in blocks] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert blocks[0].content.count("\n") == text.count("\n") + 1


@given(NASTY)
def test_a_name_in_a_summary_is_text_and_no_tag(text):
    """Inside the HTML of a folded block a name opens nothing and closes nothing."""
    told = render_comment(hostile(text or "x"))
    opened = [line for line in told.splitlines() if line.startswith("<details><summary><code>")]
    assert opened
    for line in opened:
        assert (line.count("<"), line.count(">")) == (5, 5)
        assert line.endswith("</summary>")


def test_a_row_that_is_no_candidate_is_in_the_table_alone():
    """Without a contest there is a remark, a line of the table and no verdict."""
    row = ProposedRow("counting", Row("new.json", entry(result("base"))), (), ("scored before",), (), ())
    told = render_comment(report(row))
    assert "## bench: nothing to compare" in told
    assert "- `base`: scored before" in told
    assert "|`base`|12|41.67|" in told
