"""rendering.comparison_text: what is said of two rows, the same words wherever they stand."""

import typing
from dataclasses import replace

import pytest
import samples
from baseline_bench.analysis.differences import list_differences
from baseline_bench.analysis.outcomes import Outcome
from baseline_bench.analysis.statistics import Interval
from baseline_bench.rendering.comparison_text import (
    color_outcome,
    compare_with_seeds,
    describe_comparison,
    describe_seeds,
    format_score,
    name_entries,
    name_estimand,
    note_identities,
    render_markdown,
)
from baseline_bench.rendering.formatting import format_margin
from baseline_bench.results.candidate import MergeSummary, TrainingRecord
from baseline_bench.results.entry import Entry, SolutionLikelihood
from committed_rows import BASE, board, real
from corpus.boards import IDENTITY, OLDER
from judged_rows import CUT, LOOSE, RIGHT, UNREAD, WRONG, row


def tuned(of: Entry, base: Entry) -> Entry:
    """The row as one whose weights were merged from an adapter on this base."""
    sha256, made = base.result.model.weights_sha256, of.result
    merge = MergeSummary("bfloat16", sha256, "a", "b", 1, 1, 0.01, None, 0.0, 1.0, 1)
    model = replace(made.model, weights_sha256=samples.sha("merged"))
    return replace(of, result=replace(made, candidate="tuned", model=model, training=TrainingRecord(None, None, merge)))


def told(*pairs: tuple[str, str], prompts: str | None = None, margin: float | None = None):
    """The telling of a fine-tune against its base, item by item; `prompts` gives the fine-tune other ones."""
    first, second = (row(*kinds) for kinds in zip(*pairs, strict=True))
    first = tuned(first, second)
    if prompts:
        first = replace(first, result=replace(first.result, prompts_sha256=samples.sha(prompts)))
    return describe_comparison(first, second, margin=margin)


def test_a_real_fine_tune_is_told():
    """The outcome first, the difference with its interval and both p values, the problems, the causes, one sentence."""
    found = describe_comparison(real(f"{BASE}+full-main-s0"), real(BASE, "2026-11-22T18:52:05Z"))
    assert found.title == f"{BASE}+full-main-s0 against {BASE}"
    assert found.rows == (
        ("outcome", "better"),
        ("difference", "+3.41 points, 95 % interval +2.07 to +4.89"),
        ("estimand", name_estimand(system=False)),
        ("p", "= 1.03e-06, where the interval ends at 0; for information exact McNemar = 1.03e-06, mid-p 6.67e-07"),
        ("problems", "65 won, 20 lost, 4 right in both, 1,230 in neither, of 1,319"),
        ("why", "unread +1 -0, stopping +9 -2, answer +55 -18"),
        ("would narrow it", "nothing: the outcome is decided"),
        ("identity", note_identities(real(BASE), real(BASE))),
        ("in short", "The fine-tune helped: it answers 45 problems more than its base."),
    )


@pytest.mark.parametrize(
    ("pairs", "margin", "outcome", "sentence"),
    [
        ([(WRONG, RIGHT)] * 9, None, "worse", "The fine-tune hurt: it answers 9 problems fewer than its base."),
        ([(RIGHT, WRONG)] * 9, None, "better", "The fine-tune helped: it answers 9 problems more than its base."),
        ([(RIGHT, WRONG)] * 5, None, "inconclusive", "These problems do not show whether the fine-tune helped."),
        (
            [(RIGHT, RIGHT)] * 400 + [(RIGHT, WRONG)],
            0.02,
            "equivalent",
            "tuned is within 2 points of smollm2-135m-it.",
        ),
        (
            [(RIGHT, RIGHT)] * 95 + [(RIGHT, WRONG)] * 5,
            0.05,
            "non-inferior",
            "tuned is not worse by 5 points or more than smollm2-135m-it.",
        ),
        (
            [(RIGHT, RIGHT), (WRONG, UNREAD)],
            None,
            "inconclusive",
            "Both rows are right on the same problems: nothing changed.",
        ),
    ],
)
def test_an_outcome_has_its_sentence(pairs, margin, outcome, sentence):
    """Better, worse, against a margin, inconclusive, and nothing changed."""
    found = told(*pairs, margin=margin)
    assert (found.outcome, found.rows[0], found.sentence) == (outcome, ("outcome", outcome), sentence)
    assert found.rows[-1] == ("in short", sentence)
    assert ("margin" in dict(found.rows)) == (margin is not None)


@pytest.mark.parametrize(
    ("margin", "where"), [(0.5, "within -50.00 to +50.00"), (0.2, "above -20.00"), (0.01, "not above -1.00")]
)
def test_a_margin_is_shown_with_its_interval(margin, where):
    """The 90 % interval, and on which side of the margin it is."""
    assert format_margin(margin, Interval(-0.1, 0.3)) == f"90 % interval -10.00 to +30.00 points, {where}"


def test_what_would_narrow_the_interval():
    """Problems; where both rows are trainings of different recipes, seeds, by the command that uses them."""
    pairs = [(RIGHT, WRONG)] * 6 + [(WRONG, RIGHT)] * 3 + [(WRONG, WRONG)] * 11
    assert dict(told(*pairs).rows)["would narrow it"] == (
        "problems: twice the problems would give about ±22.64 points instead of ±33.08"
    )
    first, second = (real(f"{BASE}+{recipe}-s0") for recipe in ("full-main", "lora-main"))
    advice = dict(describe_comparison(first, second).rows)["would narrow it"]
    assert "bench compare recipe:full-main recipe:lora-main" in advice
    assert advice.startswith("seeds: ")
    same_recipe = describe_comparison(first, real(f"{BASE}+full-main-s1"))
    assert dict(same_recipe.rows)["would narrow it"].startswith("problems: ")


@pytest.mark.parametrize("manner", [UNREAD, CUT])
def test_a_gain_in_manner_points_at_a_prompt(manner):
    """Where half of the gain is answers that now end or can be read, training was perhaps not needed."""
    found = told(*[(RIGHT, manner)] * 6, *[(RIGHT, WRONG)] * 6)
    assert "but 6 of them for answers that now end or can be read, which a prompt instead might give" in found.sentence
    assert "prompt instead" not in told(*[(RIGHT, manner)] * 5, *[(RIGHT, WRONG)] * 6).sentence


def test_a_gain_that_is_all_manner_is_told_as_all_of_it():
    """More may be won by manner than is won in all, where answers were lost: never more than all of the gain."""
    found = told(*[(RIGHT, UNREAD)] * 12, *[(WRONG, RIGHT)] * 2)
    assert "answers 10 problems more than its base, but all of them for answers that now end" in found.sentence


def test_rows_that_are_not_base_and_candidate_are_told_by_name():
    """Nothing is said of a fine-tune where the second row is not the first one's base."""
    first, second = row(*[RIGHT] * 9, of=samples.result("one")), row(*[WRONG] * 9, of=samples.result("two"))
    assert describe_comparison(first, second).sentence == "Better: one answers 9 problems more than two."
    assert describe_comparison(second, first).sentence == "Worse: two answers 9 problems fewer than one."


@pytest.mark.parametrize(
    ("pairs", "outcome", "sentence"),
    [
        (
            [(RIGHT, WRONG)] * 9,
            "system comparison: better",
            "Fine-tune: tuned answers 9 problems more than its base does under the other prompt.",
        ),
        (
            [(WRONG, RIGHT)] * 9,
            "system comparison: worse",
            "Prompt instead: without any training smollm2-135m-it answers 9 problems more than tuned.",
        ),
        (
            [(RIGHT, WRONG), (WRONG, WRONG)],
            "system comparison: inconclusive",
            "These problems do not show whether the fine-tune beats a prompt instead.",
        ),
    ],
)
def test_a_fine_tune_against_a_prompted_base_asks_if_training_was_needed(pairs, outcome, sentence):
    """It is labelled a system comparison, what differs is named, and the answer is fine-tune, prompt or neither yet."""
    found = told(*pairs, prompts="own")
    rows = dict(found.rows)
    assert (rows["outcome"], found.sentence) == (outcome, sentence)
    assert rows["besides the weights"].startswith("other prompts as token ids (")
    assert found.kind.name == "system comparison"


def test_systems_of_two_models_are_not_credited_to_weights():
    """Real rows of two models under their own prompts: one answers more, and nobody says why."""
    found = describe_comparison(real(BASE), real("gemma-3-270m-q4_k_m+lora-main-s0"))
    assert (found.outcome, found.rows[0][1]) == ("worse", "system comparison: worse")
    assert "how much of that the weights cause is unknown" in found.sentence


def test_the_same_weights_twice_show_the_noise():
    """Two real runs of one model differ on 12 items; their names are told apart by their times."""
    found = describe_comparison(real(BASE, "2026-11-22T16:37:22Z"), real(BASE, "2026-11-22T18:52:05Z"))
    assert found.title == f"{BASE} of 2026-11-22T16:37:22Z against {BASE} of 2026-11-22T18:52:05Z"
    assert found.sentence == "The same weights twice: the change of 12 problems is noise."


def test_rows_of_two_exams_have_no_numbers():
    """The reason stands where the difference would."""
    base = samples.result()
    other = replace(base, task=replace(base.task, reader="hash@v2"))
    found = describe_comparison(samples.entry(base), samples.entry(other))
    assert found.outcome == "not comparable"
    assert found.rows[0] == ("outcome", "not comparable: other readers (hash@v1, hash@v2)")
    assert len(found.rows) == 2


def test_a_p_value_is_never_zero():
    """Of 1,319 items all won it is smaller than a float can hold."""
    assert "exact McNemar < 1e-300" in dict(told(*[(RIGHT, WRONG)] * 1319).rows)["p"]


def test_format_is_explained_where_it_moved():
    """Right as before, stated otherwise; elsewhere the note is left out."""
    assert "format +1 -0 (format: right or wrong as before" in dict(told((RIGHT, LOOSE), (RIGHT, WRONG)).rows)["why"]
    assert "format" not in dict(told((RIGHT, WRONG)).rows)["why"]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            SolutionLikelihood(-1.5, 100, "s"),
            "mean log-probability -1.2500 over 100 tokens against -1.5000 over 100 tokens, ",
        ),
        (SolutionLikelihood(-1.5, 100, "s"), "in nats a token: +0.2500, likelier under the first"),
        (SolutionLikelihood(-1.5, 90, "s"), "in nats a token; in other tokens, so the two cannot be compared"),
        (None, "mean log-probability -1.2500 over 100 tokens against not measured, in nats a token"),
    ],
)
def test_the_gold_solutions_likelihood_is_told_where_it_is_known(second, said):
    """For both rows, and compared only over the same tokens; where neither has it, nothing is said."""
    one, other = row(RIGHT, WRONG), row(WRONG, WRONG)
    first = replace(one, result=replace(one.result, solutions=SolutionLikelihood(-1.25, 100, "s")))
    found = describe_comparison(first, replace(other, result=replace(other.result, solutions=second)))
    assert said in dict(found.rows)["gold solutions"]
    assert "gold solutions" not in dict(describe_comparison(one, other).rows)


def identified(*models):
    """Two entries of one task, each of a model of this identity."""
    result = samples.result()
    return [samples.entry(replace(result, model=replace(result.model, identity=one))) for one in models]


@pytest.mark.parametrize("older", [None, OLDER])
def test_two_models_known_in_part_are_said_once_and_decide_nothing(older):
    """It is a note in each format and no difference; where one is known fully, it is a difference and no note."""
    first, second = identified(older, older)
    found = describe_comparison(first, second)
    note = note_identities(first, second)
    assert [value for what, value in found.rows if what == "identity"] == [note]
    assert (found.kind.name, found.kind.differs, list_differences(first, second)) == ("comparable", (), ())
    assert render_markdown(first, second).count(note) == 1
    for twin in (identified(IDENTITY, IDENTITY), identified(older, IDENTITY)):
        assert note_identities(*twin) is None
        assert "identity" not in dict(describe_comparison(*twin).rows)


def test_a_row_is_told_with_its_own_interval():
    """Counts and shares, Wilson's interval beside exact match."""
    assert format_score(real(f"{BASE}+full-main-s0")) == (
        "5.23 % (69 of 1,319), 95 % interval 4.2 to 6.6 %; strict 5.2 %, unread 3.3 %, cut 9.2 %"
    )


def test_a_row_stands_among_its_seeds():
    """Three seeds of one recipe on one base: how this one compares, and the recipe's mean."""
    found = compare_with_seeds(real(f"{BASE}+full-main-s0"), board())
    assert found.scores == ((0, 69, 1319), (1, 71, 1319), (2, 71, 1319))
    assert (found.above, found.below) == (0, 2)
    assert describe_seeds(found) == (
        "above 0 and below 2 of 2 other seeds of its recipe (s0 5.23, s1 5.38, s2 5.38 %); the recipe's mean 5.33 %"
    )


@pytest.mark.parametrize("name", [BASE, f"{BASE}+full-socratic-s0"])
def test_fewer_than_three_seeds_say_nothing_of_a_recipe(name):
    """Nor does a row that was not trained here."""
    assert compare_with_seeds(real(name), board()) is None


def test_two_seeds_describe_no_recipe():
    """Two of the three seeds of one recipe."""
    rows = [one for one in board() if one.result.candidate != f"{BASE}+full-main-s2"]
    assert compare_with_seeds(real(f"{BASE}+full-main-s0"), rows) is None


def test_markdown_begins_with_the_outcome_and_folds_what_else_differs():
    """Numbers of both rows stand beside the comparison."""
    first, second = real(f"{BASE}+full-main-s0"), real(BASE)
    page = render_markdown(first, second, compare_with_seeds(first, board()))
    lines = page.splitlines()
    assert lines[0] == f"### `{BASE}+full-main-s0` against `{BASE}`"
    assert lines[2] == "**better.** The fine-tune helped: it answers 45 problems more than its base."
    assert "|why|unread +1 -0, stopping +9 -2, answer +55 -18|" in lines
    assert any(line.startswith("|among its seeds|above 0 and below 2") for line in lines)
    assert "<details><summary>What else differs (6)</summary>" in lines
    assert page.endswith("</details>\n")


def test_nothing_in_an_entry_breaks_the_markdown():
    """Names with bars, ticks, mentions and line breaks stay in code spans inside their cells."""
    evil = "a|b`c` @me <img>\n# d"
    first, second = row(RIGHT, of=samples.result(evil)), row(WRONG, of=samples.result("base"))
    second = replace(second, result=replace(second.result, engine=replace(second.result.engine, version=evil)))
    page = render_markdown(first, second)
    assert "**system comparison: inconclusive.**" in page
    for line in page.splitlines():
        assert not line.startswith("#") or line.startswith("### ``a|b`c` @me <img>\\u{a}# d``")
        if line.startswith("|"):
            assert line.endswith("|")
            assert line.replace("\\|", "").count("|") in (3, 4)


def test_names_are_quoted_as_asked():
    """For a terminal what could command it is spelled out."""
    first, second = row(RIGHT, of=samples.result("a\x1b[2J")), row(RIGHT, of=samples.result("b"))
    assert name_entries(first, second) == ("a\\u{1b}[2J", "b")


def test_an_outcome_has_a_symbol_and_a_colour_of_its_own_kind():
    """Green for better, red for worse, blue where the margin decides, yellow where nothing is decided."""
    shown = {name: color_outcome(name, name) for name in typing.get_args(Outcome)}
    assert all(text.plain.endswith(f" {name}") for name, text in shown.items())
    assert len({text.plain[0] for text in shown.values()}) == len(shown)
    assert {name: str(text.style).split()[-1] for name, text in shown.items()} == {
        "better": "green",
        "worse": "red",
        "equivalent": "blue",
        "non-inferior": "blue",
        "inconclusive": "yellow",
    }
