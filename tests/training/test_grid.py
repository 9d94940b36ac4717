"""training.grid: every combination is tried, and what wins is told with the rule that decided."""

from dataclasses import dataclass

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Judgement
from baseline_bench.training import grid, recipes
from baseline_bench.training.grid import TrialResult

RECIPE = "quickstart-lora"


@dataclass(frozen=True)
class Made:
    """A candidate as far as a choice looks at it."""

    held_out_loss: float | None


def tries(*texts, sets=()):
    """The tries of the quickstart's recipe."""
    return grid.expand_grid(RECIPE, sets, None, texts)


def outcome(tried, loss=None, right=None, failure=None):
    """A try with its held-out loss, and a text of 1 and 0 for right and wrong answers."""
    verdicts = None
    if right is not None:
        verdicts = tuple(Judgement(str(i), "1", "hash", mark == "1", True, "stop") for i, mark in enumerate(right))
    return TrialResult(tried, None if failure else Made(loss), verdicts, failure)


def outcomes(*told):
    """One outcome a (loss, right) at learning rates of 1, 2, 3, ..."""
    made = tries("lr=" + ",".join(str(number) for number in range(1, len(told) + 1)))
    return [outcome(each, *values) for each, values in zip(made, told, strict=True)]


def test_every_combination_is_a_recipe():
    """The last key changes fastest; what is set for all is set in each."""
    made = tries("lr=1e-4, 2e-4", "r=8,16", sets=["batch=4"])
    assert [each.sets for each in made] == [
        ("lr=1e-4", "r=8"),
        ("lr=1e-4", "r=16"),
        ("lr=2e-4", "r=8"),
        ("lr=2e-4", "r=16"),
    ]
    assert [(each.recipe.options.lr, each.recipe.options.r) for each in made] == [
        (1e-4, 8),
        (1e-4, 16),
        (2e-4, 8),
        (2e-4, 16),
    ]
    assert {each.recipe.options.batch for each in made} == {4}
    assert made[1].recipe == recipes.read_recipe(RECIPE, ["batch=4", "lr=1e-4", "r=16"])


@pytest.mark.parametrize(
    ("texts", "sets", "told"),
    [
        (["lr"], [], "'lr' is not key=value,value"),
        (["lr=1e-4,,2e-4"], [], "is not key=value,value"),
        (["=1,2"], [], "is not key=value,value"),
        ([], [], "--grid: is empty"),
        (["lrr=1e-4"], [], r"no key 'lrr' \(did you mean 'lr'\?\)"),
        (["lr=fast,slow"], [], "lr takes a number, not 'fast'"),
        (["lr=-1,1"], [], "lr must be above 0"),
        (["lr=1e-4", "lr=2e-4"], [], "lr is named twice"),
        (["lr=1e-4,2e-4"], ["lr=1e-3"], "lr is named twice"),
        (["lr=1e-4,0.0001"], [], "lr=1e-4 and lr=0.0001 are the same"),
        (["shots=0,1"], [], "cannot sweep shots: all tries share base, rows and lists: it takes lr, "),
        (["targets=q_proj,v_proj"], [], "cannot sweep targets"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused_in_one_line(texts, sets, told):
    """Before a base is looked for: what is wrong, and a way out."""
    with pytest.raises(BenchError, match=told) as caught:
        tries(*texts, sets=sets)
    assert "\n" not in str(caught.value)
    assert caught.value.way_out


def test_the_lowest_loss_wins_among_scores_that_cannot_be_told_apart():
    """Five items more decide nothing, so the loss decides."""
    told = outcomes((1.0, "00000" + "1" * 15), (1.2, "1" * 20), (1.1, "00000" + "1" * 15))
    winner, rule = grid.choose_winner(told)
    assert winner is told[0]
    assert rule.startswith("by the lowest held-out loss among the 3 of 3 tries")


def test_a_score_that_the_best_is_better_than_cannot_win():
    """Six items outweigh any loss."""
    told = outcomes((0.1, "0" * 6 + "1" * 14), (1.3, "1" * 20), (1.2, "0" * 5 + "1" * 15))
    winner, rule = grid.choose_winner(told)
    assert winner is told[2]
    assert "the 2 of 3 tries" in rule
    winner, rule = grid.choose_winner(told[:2])
    assert winner is told[1]
    assert rule.startswith("by its score")


def test_equal_losses_are_decided_by_the_score():
    """Nothing is left to the order of the grid that the measures can decide."""
    told = outcomes((1.0, "0011"), (1.0, "0111"))
    assert grid.choose_winner(told)[0] is told[1]


def test_without_scores_the_loss_alone_decides():
    """And the rule says so."""
    told = outcomes((1.2,), (1.1,), (1.3,))
    winner, rule = grid.choose_winner(told)
    assert winner is told[1]
    assert "held-out loss alone" in rule


def test_without_losses_the_score_alone_decides():
    """A trainer need not tell a held-out loss; without a score either there is no choice."""
    told = outcomes((None, "0011"), (None, "0111"))
    winner, rule = grid.choose_winner(told)
    assert winner is told[1]
    assert "held-out score alone" in rule
    with pytest.raises(BenchError, match="neither score nor held-out loss"):
        grid.choose_winner(outcomes((None,), (None,)))


def test_a_failed_try_cannot_win():
    """The others are judged without it; where all failed, the error names each with its reason."""
    first, second = tries("lr=1,2")
    failed = outcome(first, failure="the loss became nan")
    good = outcome(second, 3.0, "01")
    assert grid.choose_winner([failed, good])[0] is good
    with pytest.raises(BenchError, match="every try failed: lr=1: the loss became nan; lr=2: no memory"):
        grid.choose_winner([failed, outcome(second, failure="no memory")])


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (0, ["the best lr is the smallest tried (1e-4): widen the grid"]),
        (1, []),
        (2, ["the best lr is the largest tried (3e-4): widen the grid"]),
    ],
)
def test_a_winner_at_the_end_of_an_axis_is_told(place, told):
    """What lies beyond was not tried; the order of the values does not matter."""
    made = tries("lr=2e-4,1e-4,3e-4")
    made = sorted(made, key=lambda each: each.recipe.options.lr)
    assert list(grid.describe_grid_edges(made, made[place])) == told


def test_axes_without_ends_are_not_told():
    """One value is no axis; words and switches have no order."""
    made = tries("optimizer=adamw,adamw_8bit", "gradient_checkpointing=true,false", "r=8")
    assert list(grid.describe_grid_edges(made, made[0])) == []
