"""commands.plan: what `bench plan` says of a design, before any GPU minute."""

import io

import pytest
from baseline_bench.commands.plan import Options, run
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError


def told(**design: float | None) -> str:
    """What is printed, on one line."""
    data = io.StringIO()
    assert run(Options(**design), Console(data, io.StringIO())) == 0  # type: ignore[arg-type]
    return " ".join(data.getvalue().split())


def test_a_gain_of_five_points_takes_798_problems():
    """By the exact power of what decides; the formula's number is next to it, and where the discordance is from."""
    said = told(baseline=0.20, gain=0.05)
    assert "20.00 % against 25.00 %, 80 % power at the 5 % level" in said
    assert (
        "problems needed 798 that both rows answer (by the exact power of what decides; Connor's formula says 783)"
        in said
    )
    assert "25.0 % of all, the boards' usual share" in said
    assert (
        "on 1,319 problems this gain is found with 95.2 % probability; a difference of 3.89 points is resolved" in said
    )
    assert "seeds" not in said


def test_low_scores_cannot_disagree_on_a_quarter_of_the_problems():
    """Rows of 2 and 5 % are taken to disagree as unrelated answers would; that takes fewer problems."""
    said = told(baseline=0.018, gain=0.034)
    assert "6.8 % of all, as two rows with these scores would if their answers were unrelated" in said
    assert "problems needed 461" in said


def test_a_large_gain_forces_its_own_discordance():
    """Rows that differ by 30 points disagree on 30 % of the problems at least."""
    assert "30.0 % of all, the least that this gain allows" in told(baseline=0.4, gain=0.3)


def test_a_loss_takes_as_many_problems_as_a_gain():
    """Which of the rows is better does not matter."""
    gain = told(baseline=0.20, gain=0.05, discordance=0.25).split("problems needed")[1]
    assert told(baseline=0.25, gain=-0.05, discordance=0.25).split("problems needed")[1] == gain


def test_a_given_number_of_problems_stands_before_the_usual_one():
    """Both are told; the usual number is not told twice."""
    said = told(baseline=0.2, gain=0.05, discordance=0.1, items=100)
    assert "10.0 % of all, as given" in said
    assert "on 100 problems this gain is found with 31.5 % probability" in said
    assert said.index("on 100 problems") < said.index("on 1,319 problems")
    assert told(baseline=0.2, gain=0.05, items=1319).count("1,319 problems") == 1


def test_too_few_problems_resolve_nothing():
    """Five problems can never show a significant difference, and the plan says so."""
    said = told(baseline=0.5, gain=0.1, items=5)
    assert "on 5 problems this gain is found with under 0.1 % probability" in said
    assert "no difference is resolved" in said


def test_seeds_are_planned_for_two_recipes():
    """A given spread of the seeds' scores is enough: three seeds a side on the usual problems are the first design."""
    said = told(baseline=0.2, gain=0.01, seed_sd=0.01)
    assert "two recipes that differ by 1.00 points" in said
    assert "as planned 3 1,319" in said


def test_a_margin_is_planned_for_equivalence_and_non_inferiority():
    """Without a gain the rows are taken to be equal; a gain as large as the margin leaves non-inferiority."""
    said = told(baseline=0.2, margin=0.01)
    assert "20.00 % against 20.00 %, within 1 points" in said
    assert "problems for equivalence 21,518 that both rows answer" in said
    assert "problems for non-inferiority 15,564 that both rows answer" in said
    assert "non-inferiority is shown with 17.1 % probability" in said
    assert "change the design" in said
    ahead = told(baseline=0.2, gain=0.02, margin=0.01, items=9000)
    assert "equivalence" not in ahead
    assert "problems for non-inferiority 1,752" in ahead
    assert "change the design" not in ahead.split("on 9,000 problems")[1].split("on 1,319 problems")[0]


def test_a_margin_is_planned_for_recipes_as_well():
    """One table an aim, with what either takes: seeds on these problems, or problems with these seeds."""
    said = told(baseline=0.2, margin=0.03, seed_sd=0.004, seeds=3, discordance=0.1)
    assert said.count("as planned 3 1,319") == 2
    assert "equivalence within 3 points" in said
    assert "non-inferiority within 3 points" in said
    assert said.count("problems with 3 seeds a side; the next GPU hour should buy") == 2


def test_more_power_takes_more_problems():
    """A power of 95 % is asked for and told."""
    said = told(baseline=0.2, gain=0.05, power=0.95, alpha=0.01)
    assert "95 % power at the 1 % level" in said
    assert "problems needed 1,784" in said


@pytest.mark.parametrize(
    ("design", "what"),
    [
        ({"baseline": 20, "gain": 5}, "a baseline of 20 is no share; a gain of 5 is none"),
        ({"baseline": 0.9, "gain": 0.2}, "0.9 and a gain of 0.2 are no share together"),
        ({"baseline": 0.2, "gain": 0.0}, "a gain of 0 is none that can be planned for"),
        ({"baseline": 0.2, "gain": float("nan")}, "no share together"),
        ({"baseline": 0.2}, "a gain of 0 is none that can be planned for"),
        ({"baseline": 0.2, "margin": 1.0}, "a margin of 1 is outside 0.002 to 0.5"),
        ({"baseline": 0.2, "margin": 0.02, "gain": -0.02}, "a gain of -0.02 is worse than the margin"),
        ({"baseline": 0.2, "margin": 0.02, "gain": 0.019}, "a gain of 0.019 is within 0.002 of the margin"),
        ({"baseline": 0.2, "margin": 0.02, "alpha": 0.4}, "an alpha of 0.4 is above 0.2"),
        ({"baseline": 0.2, "gain": 0.1, "power": 0.2}, "a power of 0.2"),
        ({"baseline": 0.2, "gain": 0.1, "alpha": 0.0}, "an alpha of 0"),
        ({"baseline": 0.2, "gain": 0.1, "items": 0}, "0 problems"),
        ({"baseline": 0.2, "gain": 0.1, "seed_sd": -0.1}, "a spread of -0.1"),
        ({"baseline": 0.2, "gain": 0.1, "discordance": 0.05}, "disagree on 0.1 to 0.5 of the problems, not 0.05"),
        ({"baseline": 0.02, "gain": 0.03, "discordance": 0.25}, "disagree on 0.03 to 0.07 of the problems, not 0.25"),
        ({"baseline": 0.2, "gain": 0.1, "discordance": float("nan")}, "not nan"),
    ],
)
def test_impossible_designs_are_refused_with_every_reason(design: dict[str, float], what: str):
    """Percentages for shares, scores beyond 1, and rows that cannot disagree so: told at once, with the way out."""
    with pytest.raises(BenchError) as caught:
        told(**design)
    assert what in caught.value.what
    assert caught.value.way_out == "give shares from 0 to 1: 0.20 for 20 %"
