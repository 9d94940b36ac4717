"""rendering.claims_page: findings are told so that nobody takes more from them than there is."""

import pytest
from baseline_bench.analysis.claims.claims_file import parse_claims, read_claims
from baseline_bench.analysis.claims.judge import judge_claims
from baseline_bench.analysis.claims.registration import Registration, RegistrationCommit
from baseline_bench.rendering import claims_page
from claimed import (
    CLAIM,
    EARLY,
    HEAD,
    LATE,
    LEADERBOARDS,
    LOSS,
    PAIRED,
    RATIO,
    ahead,
    base,
    claims,
    judged,
    only,
    real,
    tuned,
)
from markdown_it import MarkdownIt


@pytest.mark.parametrize(
    ("registered", "timing"),
    [
        (Registration(True, (RegistrationCommit("0" * 40, LATE),)), "post hoc"),
        (Registration(True, (None,)), "post hoc"),
        (Registration(False, (None,)), "registration unknown"),
    ],
)
def test_a_contrast_younger_than_its_rows_is_never_plainly_supported(registered: Registration, timing: str):
    """Committed at the very second of the run or later, or not at all, or nobody can tell."""
    found = judged(claims(PAIRED), tuned(range(30)), base(range(20)), registered=registered)
    assert (only(found).verdict, only(found).timing, found.findings[0].late) == ("supported", timing, 1)
    assert claims_page.format_claim_verdict(found.findings[0]) == f"{timing}: supported"
    assert claims_page.format_contrast_verdict(only(found)) == f"{timing}: supported"
    text = claims_page.render_page("", found) + claims_page.render_summary([found])
    assert "|supported|" not in text
    assert f"|{timing}: supported|" in text


def test_a_claim_of_which_a_part_came_late_says_how_much():
    """One contrast was committed before its rows and one after: neither the claim nor the page hides it."""
    other = PAIRED.replace('"tune"', '"other"')
    registered = Registration(True, (RegistrationCommit("0" * 40, EARLY), None))
    rows = tuned(range(30)), tuned(range(31), "other"), base(range(20))
    found = judged(claims(PAIRED, other), *rows, registered=registered)
    assert claims_page.format_claim_verdict(found.findings[0]) == "supported, 1 of 2 post hoc"
    assert "1 of 2 judged contrasts were committed before their rows were trained or scored: `000000000000`" in (
        claims_page.render_page("", found)
    )


def test_a_page_is_the_same_before_and_after_its_file_is_committed():
    """Uncommitted, and committed later than the rows: the same bytes, so that the commit does not make a page stale."""
    rows = tuned(range(30)), base(range(20))
    late = Registration(True, (RegistrationCommit("1" * 40, "2027-01-01T00:00:00Z"),))
    pages = [
        claims_page.render_page("", judged(claims(PAIRED), *rows, registered=one))
        for one in (Registration(True, (None,)), late)
    ]
    assert pages[0] == pages[1]


def test_the_study_s_claims_are_judged_on_the_real_rows():
    """Fine-tuning improves, eight times of eight; the method contrasts are not resolved; LoRA is hardly faster."""
    of = read_claims(LEADERBOARDS / "claims" / "study.toml")
    found = judged(of, *real(), registered=ahead(22, "2026-11-22T15:04:47Z"))
    told = {
        finding.claim.id: (finding.verdict, claims_page.format_verdict_counts(finding)) for finding in found.findings
    }
    assert told == {
        "fine-tuning-improves": ("supported", "supported on 8 of 8"),
        "full-beats-lora": ("not resolved", "not resolved on 4 of 4"),
        "main-beats-socratic": ("not resolved", "not resolved on 4 of 4"),
        "lower-loss-is-not-a-better-score": ("not resolved", "not resolved on 4 of 4"),
        "lora-is-hardly-faster": ("supported", "supported on 2 of 2"),
    }
    assert [found.family(name) for name in ("base", "method")] == [(8, 8), (8, 8)]
    first = found.findings[0].judged[0]
    assert (first.evidence.counts, first.evidence.choices) == (((69, 1319), (24, 1319)), 2)
    assert {one.timing for finding in found.findings for one in finding.judged} == {"registered"}


def test_the_published_table_is_read_again_and_never_called_supported():
    """Three of four stand against the base, no method contrast does, and each would show on the whole split."""
    of = read_claims(LEADERBOARDS / "claims" / "published.toml")
    found = judge_claims(of, [], lambda: pytest.fail("asked git"))
    ones = [one for finding in found.findings for one in finding.judged]
    assert [round(one.adjusted, 3) for one in ones[4:]] == [0.235, 0.113, 0.235, 0.235]
    assert max(one.adjusted for one in ones[:3]) <= 0.008
    assert [claims_page.format_claim_verdict(finding) for finding in found.findings] == [
        "stands in part",
        "not resolved",
        "not resolved",
    ]
    text = claims_page.render_page("", found)
    for line in (
        "|`base`|6|100|6.0|2.8–12.5|",
        "|`full-main`|31|100|31.0|22.8–40.6|",
        "|`lora-socratic`|11|100|11.0|6.3–18.6|",
    ):
        assert line in text
    assert "|0.0281|0.1125|above .999|not resolved (takes about 218 items)|" in text
    assert "supported" not in text
    assert "post hoc" not in text + claims_page.render_summary([found])


def test_every_line_of_a_table_has_as_many_cells_as_its_head():
    """In Markdown as GitHub reads it, for judged, unjudged and published contrasts."""
    pages = [
        claims_page.render_page("", judged(claims(PAIRED, LOSS, RATIO), tuned(range(30)), base(range(20)))),
        claims_page.render_page(
            "", judge_claims(read_claims(LEADERBOARDS / "claims" / "published.toml"), [], lambda: ahead(8))
        ),
    ]
    pages.append(claims_page.render_summary([judged(claims(PAIRED), tuned(range(30)), base(range(20)))]))
    for text in pages:
        for block in text.split("\n\n"):
            lines = block.splitlines()
            if block.startswith("|"):
                assert len({line.count("|") for line in lines}) == 1, block
                assert "<table>" in MarkdownIt("commonmark").enable("table").render(block)


def test_nothing_in_a_file_can_break_the_page():
    """Bars, backticks, HTML, names of people and line ends in a hypothesis stay inside their cells."""
    nasty = "a | b ``c`` <img src=x> @someone #12 $x$ " + "long " * 40
    text = HEAD + CLAIM.replace("the fine-tune scores higher", nasty.replace('"', "")) + PAIRED
    found = judged(parse_claims(text.encode(), "mine.toml"), tuned(range(30)), base(range(20)))
    html = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(claims_page.render_page("", found) + "\n\n" + claims_page.render_summary([found]))
    )
    assert "<img" not in html
    outside = "".join(part.split("</code>")[-1] for part in html.split("<code>"))
    assert "@someone" not in outside
    assert "$x$" not in outside


def test_a_board_tells_its_own_claims_before_the_tables_of_others():
    """What was registered here is judged on this board's rows; the rest reads others again, whatever it is called."""
    found = [judged(read_claims(LEADERBOARDS / "claims" / f"{name}.toml"), *real()) for name in ("published", "study")]
    files = [line.split("|")[1] for line in claims_page.render_summary(found).splitlines()[2:]]
    assert files == ["[study](claims/study.md)"] * 5 + ["[published](claims/published.md)"] * 3
