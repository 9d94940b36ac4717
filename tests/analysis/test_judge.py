"""analysis.claims.judge: claims are judged on rows as registered, by the test they name, or not at all."""

import random
from dataclasses import replace

import pytest
from baseline_bench.analysis.claims.judge import judge_claims
from baseline_bench.analysis.claims.registration import RegistrationCommit
from baseline_bench.rendering import claims_page
from claimed import (
    EARLY,
    LATE,
    LOSS,
    PAIRED,
    RATIO,
    TOTAL,
    Filed,
    ahead,
    base,
    claims,
    judged,
    only,
    tuned,
)
from samples import entry, partial


def test_a_significant_difference_of_the_predicted_sign_supports():
    """Ten items won and none lost; the commit that registered it is told."""
    found = judged(claims(PAIRED), tuned(range(30)), base(range(20)))
    one = only(found)
    assert (one.verdict, one.timing, one.since) == ("supported", "registered", RegistrationCommit("0" * 40, EARLY))
    assert one.evidence.counts == ((30, 60), (20, 60))
    assert (one.evidence.p, one.adjusted) == (one.adjusted, pytest.approx(2 / 2**10))
    assert found.findings[0].verdict == "supported"


def test_a_significant_difference_of_the_other_sign_refutes():
    """Ten items lost and none won."""
    found = judged(claims(PAIRED), tuned(range(20)), base(range(30)))
    assert (only(found).verdict, found.findings[0].verdict) == ("refuted", "refuted")


def test_what_the_test_does_not_find_is_not_resolved_with_the_items_it_takes():
    """Five items won and none lost; equal rows have no number."""
    one = only(judged(claims(PAIRED), tuned(range(25)), base(range(20))))
    assert one.verdict == "not resolved"
    assert one.needed is not None
    assert one.needed > TOTAL
    same = only(judged(claims(PAIRED), tuned(range(20)), base(range(20))))
    assert (same.verdict, same.needed) == ("not resolved", None)
    assert "no difference was seen" in claims_page.format_contrast_verdict(same)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([base(range(20))], "no row of b+tune-s0"),
        ([], "no row of b+tune-s0; no row of b"),
        ([tuned(range(30)), base(range(20), file="gone.json")], "retracted: every row of b"),
        ([tuned(range(30)), base(range(20), total=59)], "too few items of b: 60 are asked for"),
    ],
)
def test_a_contrast_without_evidence_is_not_judged_and_says_why(rows: list[Filed], why: str):
    """Missing, retracted and short rows are never taken for a result, nor is git asked about them."""
    of = claims(PAIRED)
    found = judge_claims(of, rows, lambda: pytest.fail("asked git"), retracted=("gone.json",))
    one = only(found)
    assert (one.verdict, one.why, one.evidence) == ("not judged", why, None)
    assert found.findings[0].verdict == "not judged"
    assert f"not judged: `{why}`" in claims_page.render_page("", found)


def test_partial_runs_and_checkpoints_are_no_evidence():
    """A subset of the items, a step on the way, another label or seed: other rows than the claim names."""
    row = tuned(range(30))
    training = replace(row.entry.result.training, step=100)
    on_the_way = Filed("step.json", entry(replace(row.entry.result, training=training), LATE))
    assert only(judged(claims(PAIRED), on_the_way, base(range(20)))).why == "no row of b+tune-s0"
    part = Filed("part.json", entry(partial(row.entry.result, limit=60), LATE))
    assert only(judged(claims(PAIRED), part, base(range(20)))).why == "only partial runs of b+tune-s0"


def test_rows_that_share_no_exam_are_not_judged():
    """Another engine version: the reason is the comparison's own."""
    row = tuned(range(30))
    engine = replace(row.entry.result.engine, version="transformers 5.23.0")
    other = Filed(row.file, entry(replace(row.entry.result, engine=engine), LATE))
    one = only(judged(claims(PAIRED), other, base(range(20))))
    assert one.why.startswith("not comparable: other engine")


def test_the_newest_comparable_pair_is_taken_whatever_the_order():
    """Three rows of the base, of which the newest cannot be compared: the second newest is, in any order of files."""
    newest = base(range(5), "2026-12-30T00:00:00Z", "c.json")
    engine = replace(newest.entry.result.engine, version="another")
    newest = Filed("c.json", entry(replace(newest.entry.result, engine=engine), "2026-12-30T00:00:00Z"))
    rows = [
        tuned(range(30)),
        base(range(25), "2026-12-01T00:00:00Z", "a.json"),
        base(range(20), "2026-12-02T00:00:00Z", "b.json"),
        newest,
    ]
    for seed in range(10):
        random.Random(seed).shuffle(rows)
        one = only(judged(claims(PAIRED), *rows))
        assert one.evidence.files == ("tune.json", "b.json")
        assert one.evidence.choices == 2
    assert "supported, newest of 2 pairs" in claims_page.format_contrast_verdict(one)


def test_the_time_of_training_counts_as_the_run():
    """A row that was scored after the commit, of weights that were trained before it, is post hoc."""
    rows = tuned(range(30), trained="2025-01-01T00:00:00Z"), base(range(20))
    assert only(judged(claims(PAIRED), *rows)).timing == "post hoc"


def test_a_base_with_an_adapter_beside_it_is_not_the_base():
    """The side without a recipe is the base alone, whatever a later row of its name was served with."""
    served = base(range(20), file="served.json")
    engine = served.entry.result.engine
    engine = replace(engine, settings={**engine.settings, "adapter": "0" * 64})
    served = replace(served, entry=entry(replace(served.entry.result, engine=engine), LATE))
    assert only(judged(claims(PAIRED), tuned(range(30)), served)).why == "no row of b"


def test_a_contrast_made_during_a_training_is_post_hoc():
    """Records are dated at the end: what counts is when the training and the scoring began."""
    of, rows = claims(PAIRED), (tuned(range(30), trained="2026-06-01T12:00:00Z"), base(range(20)))
    seconds = rows[0].entry.result.training.candidate.cost.seconds
    assert seconds > 2
    for time, timing in (("2026-06-01T11:59:59Z", "post hoc"), ("2026-06-01T11:00:00Z", "registered")):
        assert only(judged(of, *rows, registered=ahead(1, time))).timing == timing
    rows = base(range(20), created="2026-06-01T12:00:00Z"), tuned(range(30))
    assert only(judged(of, *rows, registered=ahead(1, "2026-06-01T11:59:59Z"))).timing == "post hoc"


def test_a_contrast_of_the_second_in_which_a_run_began_is_post_hoc():
    """Times have whole seconds: the run may have come first."""
    of, rows = claims(PAIRED), (tuned(range(30)), base(range(20)))
    begun = only(judged(of, *rows)).evidence.begun
    assert only(judged(of, *rows, registered=ahead(1, begun))).timing == "post hoc"


def test_a_p_value_at_the_level_decides_nothing():
    """A finding is below its level, as the page says."""
    of, rows = claims(PAIRED), (tuned(range(30)), base(range(20)))
    p = only(judged(of, *rows)).adjusted
    assert only(judged(replace(of, alpha=p), *rows)).verdict == "not resolved"
    assert only(judged(replace(of, alpha=1.01 * p), *rows)).verdict == "supported"


def test_no_number_of_items_is_advised_that_the_rows_already_have():
    """Five of five items won are no finding, though four would be expected to show so large a difference."""
    row, won, lost = (side.entry.result for side in (tuned(range(0)), base(range(5), total=5), base(range(0), total=5)))
    rows = Filed("tune.json", entry(replace(won, training=row.training), LATE)), Filed("b.json", entry(lost, LATE))
    one = only(judged(replace(claims(PAIRED), least_items=5), *rows))
    assert (one.verdict, one.needed) == ("not resolved", None)


def test_p_values_are_adjusted_by_holm_over_what_could_be_judged():
    """Two of three contrasts have rows: the smaller p is doubled; how many were judged is told."""
    other = PAIRED.replace('"tune"', '"other"')
    third = PAIRED.replace('"tune"', '"third"')
    found = judged(claims(PAIRED, other, third), tuned(range(30)), tuned(range(26), "other"), base(range(20)))
    one, two, three = found.findings[0].judged
    assert (one.adjusted, two.adjusted) == (pytest.approx(2 * one.evidence.p), pytest.approx(two.evidence.p))
    assert (three.adjusted, three.verdict) == (None, "not judged")
    assert found.family("base") == (2, 3)
    assert claims_page.format_verdict_counts(found.findings[0]) == "supported on 2 of 3, not judged on 1"
    assert found.findings[0].verdict == "supported"


def test_claims_with_several_verdicts_say_on_how_many():
    """Supported and open is "in part"; supported and refuted is mixed; refuted and open is refuted."""
    other = PAIRED.replace('"tune"', '"other"')

    def word(first: int, second: int) -> str:
        rows = tuned(range(first)), tuned(range(second), "other"), base(range(20))
        return judged(claims(PAIRED, other), *rows).findings[0].verdict

    assert [word(32, 21), word(32, 2), word(2, 21), word(21, 21)] == [
        "supported in part",
        "mixed",
        "refuted",
        "not resolved",
    ]


@pytest.mark.parametrize(
    ("better", "worse", "losses", "verdict"),
    [
        (30, 20, (0.6, 0.5), "supported"),
        (20, 30, (0.6, 0.5), "refuted"),
        (22, 20, (0.6, 0.5), "not resolved"),
        (30, 20, (0.5, 0.6), "premise not met"),
        (30, 20, (0.5, 0.5), "premise not met"),
    ],
)
def test_a_loss_contrast_wants_the_lower_loss_and_no_higher_score(better, worse, losses, verdict):
    """Without the lower loss on the worse side there is nothing to judge."""
    rows = tuned(range(better), loss=losses[0]), tuned(range(worse), "other", loss=losses[1])
    found = judged(claims(LOSS), *rows)
    assert (only(found).verdict, found.findings[0].verdict) == (verdict, verdict)
    assert f"{losses[0]:.3f} : {losses[1]:.3f} nats" in claims_page.render_page("", found)


@pytest.mark.parametrize(("speed", "verdict"), [(12.5, "supported"), (12.6, "refuted"), (5.0, "supported")])
def test_a_ratio_is_judged_by_its_limit(speed: float, verdict: str):
    """At most 1.25 times; no p value, and no scores on its line."""
    found = judged(claims(RATIO), tuned(range(30), speed=speed), tuned(range(20), "other"))
    assert (only(found).verdict, only(found).evidence.p) == (verdict, None)
    assert "|–|–|–|–|–|" in claims_page.render_page("", found)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (
            tuned(range(20), "other", device="A100"),
            "not comparable: trained on 1 x NVIDIA H100 80GB HBM3 and on 1 x A100",
        ),
        (tuned(range(20), "other", speed=None), "not comparable: a speed was not recorded"),
    ],
)
def test_speeds_of_two_machines_are_no_ratio(other: Filed, why: str):
    """Nor are speeds that nobody measured."""
    assert only(judged(claims(RATIO), tuned(range(30)), other)).why == why
