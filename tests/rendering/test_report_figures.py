"""Figures say what the data say: smoothing, labels and takeaways, whatever names stand in them."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from baseline_bench.commands.report import draw_figures
from baseline_bench.rendering.report import axes, bar_charts, data, line_charts
from baseline_bench.rendering.report.axes import AxisRange, spread_labels
from baseline_bench.rendering.report.line_charts import choose_window, smooth_losses
from baseline_bench.rendering.report.safe_text import to_plain_text
from hypothesis import given
from hypothesis import strategies as st
from report_samples import base, steps, tuned

HOSTILE = "</text><script>alert(1)</script> & \"q\" 'x' ]]> \u202e\x00 `$x$"
LOSSES = st.lists(st.floats(0.01, 12), min_size=1, max_size=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board with a base, a training that helped and one that did not."""
    board = tmp_path / "leaderboards" / "counting"
    base(board, 5)
    tuned(board, 20, "full")
    tuned(board, 6, "lora", end=0.8)
    return board.parent


def study(folder: Path) -> data.Study:
    """Its rows."""
    return data.gather_study(folder, "counting", "tiny", None, ())


@given(losses=LOSSES)
def test_a_smoothed_curve_stays_within_its_losses(losses: list[float]) -> None:
    """A mean is never outside what it is the mean of, and every whole window has its point."""
    history = steps(losses)
    points = smooth_losses(history)
    assert len(points) == len(losses) - choose_window(history) + 1
    assert all(min(losses) - 1e-9 <= value <= max(losses) + 1e-9 for _, value in points)
    assert [step for step, _ in points] == sorted(step for step, _ in points)


def test_smoothing_weighs_by_supervised_tokens() -> None:
    """Forty steps have windows of two; a step with three times the tokens counts three times."""
    history = steps([1.0, 2.0] * 20, [100, 300] * 20)
    assert choose_window(history) == 2
    assert smooth_losses(history)[0] == (1.5, 1.75)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_labels_keep_their_order_and_their_distance(places: list[float]) -> None:
    """Labels beside one another are as far apart as their height, in the order of their curves."""
    found = spread_labels(places, 10, 0, 100)
    ordered = [place for _, place in sorted(zip(places, found, strict=True))]
    assert all(after - before >= 10 - 1e-6 for before, after in pairwise(ordered))


def test_a_range_never_is_empty() -> None:
    """One value, even 0, has a field around it; from zero starts at zero."""
    assert AxisRange.around([0.0]).low < 0 < AxisRange.around([0.0]).high
    assert AxisRange.around([3.0, 4.0], zero=True).low == 0


def test_the_takeaway_of_accuracy_counts_outcomes(folder: Path) -> None:
    """One candidate is above its base; the other's lead of one item is not called one."""
    figure = bar_charts.draw_accuracy(study(folder))
    assert to_plain_text(figure.takeaway) == "Of 2 candidates compared with their base: 1 better, 1 inconclusive"
    assert 'class="better thick"' in figure.svg
    assert 'class="muted thick"' in figure.svg
    assert 'class="worse' not in figure.svg


def test_a_worse_candidate_is_said_first(tmp_path: Path) -> None:
    """The order is worse, better, inconclusive, and its colour is that of worse."""
    board = tmp_path / "leaderboards" / "counting"
    base(board, 18)
    tuned(board, 2, "broken")
    tuned(board, 37, "full")
    tuned(board, 19, "lora")
    figure = bar_charts.draw_accuracy(study(board.parent))
    told = "1 worse, 1 better, 1 inconclusive"
    assert to_plain_text(figure.takeaway) == f"Of 3 candidates compared with their base: {told}"
    assert 'class="worse thick"' in figure.svg


def test_loss_against_score_is_counted_and_not_claimed(folder: Path) -> None:
    """Two candidates are one pair, and its note says that nothing was tested."""
    figure = bar_charts.draw_loss_and_score(study(folder))
    assert figure is not None
    assert to_plain_text(figure.takeaway) == (
        "In 1 of 1 pair of candidates on the same base the one with the lower loss scored higher, in 0 it scored lower"
    )
    assert to_plain_text(figure.note).startswith("Counted, not tested")


def speed(line: data.ReportRow, samples_per_second: float) -> data.ReportRow:
    """The same row, its training at another speed."""
    training = line.entry.result.training
    assert training is not None
    assert training.candidate is not None
    cost = replace(training.candidate.cost, samples_per_second=samples_per_second)
    made = replace(training, candidate=replace(training.candidate, cost=cost))
    entry = replace(line.entry, result=replace(line.entry.result, training=made))
    return replace(line, row=replace(line.row, entry=entry))


def test_speeds_of_one_recipe_that_differ_are_the_takeaway(folder: Path) -> None:
    """Where runs of one recipe disagree, the figure says so before anybody compares recipes by speed."""
    tuned(folder / "counting", 21, "full", seed=1)
    of = study(folder)
    figure = bar_charts.draw_cost(of)
    assert figure is not None
    assert to_plain_text(figure.takeaway) == "Trainings made between 12.5 and 12.5 samples a second"
    assert "Trained on CPU." in to_plain_text(figure.note)
    lines = tuple(speed(line, 40.0) if line.name == "base+full-s1" else line for line in of.lines)
    slower = bar_charts.draw_cost(replace(of, lines=lines))
    assert slower is not None
    assert to_plain_text(slower.takeaway) == (
        "Speeds depend on more than the recipe: runs of base+full made between 12.5 and 40.0 samples a second"
    )


def test_accuracy_by_checkpoint_needs_scored_weights_of_the_way(folder: Path) -> None:
    """Without them there is no figure; with them accuracy and loss share an axis of steps, the base at step 0."""
    assert line_charts.draw_checkpoints(study(folder)) is None
    tuned(folder / "counting", 30, "full", step=20)
    figure = line_charts.draw_checkpoints(study(folder))
    assert figure is not None
    assert to_plain_text(figure.takeaway) == (
        "base+full-s0 scored highest, 75.0 %, at step 20: better than its last step's 50.0 % (95 % interval of the "
        "difference +11.20 to +42.60 points)"
    )
    marks = [mark for mark in ElementTree.fromstring(figure.svg).iter() if mark.tag.endswith("circle")]
    assert len(marks) == 3
    losses = line_charts.draw_losses(study(folder))
    assert losses is not None
    assert losses.svg.count("<polyline") == 2  # weights of the way are no curve of their own


def test_rows_without_training_have_accuracy_alone(tmp_path: Path) -> None:
    """A board of models that nobody trained has no empty figures."""
    board = tmp_path / "leaderboards" / "counting"
    base(board, 5)
    base(board, 7, "other")
    assert [figure.file for figure in draw_figures(study(board.parent))] == ["accuracy.svg"]


def test_no_name_breaks_a_figure(folder: Path) -> None:
    """Every figure stays one XML document without a script, whatever a candidate or its recipe is called."""
    board = folder / "counting"
    tuned(board, 9, HOSTILE, candidate=HOSTILE)
    tuned(board, 8, "x" * 500, seed=1, step=10)
    figures = draw_figures(study(folder))
    assert len(figures) == 6
    for figure in figures:
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(figure.svg).iter()}
        assert tags <= {"svg", "title", "desc", "style", "rect", "line", "circle", "polyline", "polygon", "text"}


def test_the_same_rows_give_the_same_figures(folder: Path) -> None:
    """A figure has no date, no place and no chance in it."""
    assert [figure.svg for figure in draw_figures(study(folder))] == [
        figure.svg for figure in draw_figures(study(folder))
    ]


def labels(figure: axes.Figure) -> list[str]:
    """Every text of a figure, in the order in which it was drawn."""
    return [mark.text or "" for mark in ElementTree.fromstring(figure.svg).iter() if mark.tag.endswith("text")]


def test_a_word_says_each_outcome(tmp_path: Path) -> None:
    """Next to the score, and none next to the base's."""
    board = tmp_path / "leaderboards" / "counting"
    base(board, 18)
    for recipe, right in (("broken", 2), ("full", 37), ("lora", 19)):
        tuned(board, right, recipe)
    told = labels(bar_charts.draw_accuracy(study(board.parent)))
    assert {"45.00", "5.00 worse", "92.50 better", "47.50 inconclusive"} <= set(told)


def test_of_many_curves_the_highest_score_alone_is_thick_and_named(tmp_path: Path) -> None:
    """Twelve runs of six recipes: eleven are thin and grey, with a label a recipe; the twelfth is drawn over them."""
    board = tmp_path / "leaderboards" / "counting"
    base(board, 2)
    for place in range(12):
        tuned(board, 30 if place == 5 else 3, f"recipe-{place % 6}", seed=place // 6, end=0.5 + place / 20)
    figure = line_charts.draw_losses(study(board.parent))
    assert figure is not None
    curves = [mark for mark in ElementTree.fromstring(figure.svg).iter() if mark.tag.endswith("polyline")]
    assert [curve.attrib["class"] for curve in curves] == [*["muted thin"] * 11, "better thick"]
    told = labels(figure)
    assert "recipe-5-s0 better" in told
    assert "recipe-5" in told
    assert [f"recipe-{place} (2 runs)" in told for place in range(6)] == [True] * 5 + [False]


def test_loss_and_score_go_from_the_lowest_loss_to_the_highest(folder: Path) -> None:
    """Each candidate has its name, its loss and its score with its outcome."""
    tuned(folder / "counting", 7, "early", end=0.6)
    figure = bar_charts.draw_loss_and_score(study(folder))
    assert figure is not None
    told = labels(figure)
    assert [text for text in told if text.endswith("-s0")] == ["full-s0", "early-s0", "lora-s0"]
