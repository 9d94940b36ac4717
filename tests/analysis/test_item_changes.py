"""analysis.item_changes: both answers to the questions on which two rows differ, and a page that they cannot break."""

import re
from dataclasses import replace

import pytest
import samples
from baseline_bench.analysis.compare import ItemChange
from baseline_bench.analysis.item_changes import (
    CompletionPair,
    EntryCompletions,
    JudgedCompletion,
    describe_judgement,
    fence_text,
    iterate_changed_items,
    render_markdown,
)
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Judgement, Problem
from baseline_bench.results import entries
from baseline_bench.results.companions import load_completions
from baseline_bench.results.completions import compress_lines, serialise_completions
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.one_of(st.characters(), st.sampled_from("`~#|<>/\n\r\t @$*_[]\u202e\u200b")), max_size=60)


def grade(problem: Problem, completion: Completion) -> Judgement:
    """A reader of `#### N`, as the samples'."""
    read = completion.text.removeprefix("#### ") if completion.text.startswith("#### ") else None
    right = read == problem.answer
    return Judgement(problem.id, read, "hash" if read else "none", right, right, completion.finish_reason)


def sides(*rights: int) -> list[EntryCompletions]:
    """Rows of twelve items with so many right ones each."""
    made = []
    for right in rights:
        lines = samples.answers(right=right)
        made.append(EntryCompletions(samples.entry(samples.result(f"row {right}", lines)), lines))
    return made


def test_the_items_that_changed_sides_are_given_in_order():
    """With both answers, what was read by which rule, and the question where it is known."""
    found = list(iterate_changed_items(*sides(5, 3), grade, {"test-3": "How many?"}))
    assert [(item.id, item.question, item.gold) for item in found] == [
        ("test-3", "How many?", "3"),
        ("test-4", None, "4"),
    ]
    assert found[0].move == ItemChange(3, "answer", True)
    assert found[0].first == JudgedCompletion("#### 3", "stop", "3", "hash", True)
    assert found[0].second == JudgedCompletion("#### -1", "stop", "-1", "hash", False)


def test_exchanged_rows_exchange_the_answers():
    """What was won is lost."""
    back = list(iterate_changed_items(*sides(3, 5), grade, {}))
    assert [item.move.won for item in back] == [False, False]
    assert [item.second.correct for item in back] == [True, True]


def test_without_the_task_only_right_and_wrong_are_known():
    """They stand in the entry; what was read does not."""
    found = list(iterate_changed_items(*sides(5, 4), None, {}))
    assert describe_judgement(found[0].first, "4") == "right: gold 4, its reader is not here, stopped by itself"
    assert found[0].first.correct
    assert not found[0].second.correct


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (JudgedCompletion("x", "stop", "18", "cue", True), "right: gold 18, read 18 by cue, stopped by itself"),
        (
            JudgedCompletion("x", "length", None, "unfinished", False),
            "wrong: gold 18, read nothing by unfinished, cut at the token limit",
        ),
        (JudgedCompletion("x", "stop", None, None, False), "wrong: gold 18, nothing read, stopped by itself"),
    ],
)
def test_a_judgement_says_gold_reading_rule_and_end(answer, said):
    """In one line."""
    assert describe_judgement(answer, "18") == said


def test_completions_are_those_the_entry_was_made_from(tmp_path):
    """Missing ones and others are refused; a swapped file would show answers that nobody scored."""
    path = samples.add(tmp_path)
    entry = entries.read_entry(path)
    assert load_completions(path, entry) == samples.answers()
    beside = entries.completions_path(path)
    beside.write_bytes(compress_lines(serialise_completions(samples.answers(right=6))))
    with pytest.raises(BenchError, match="not the completions that its entry was made from"):
        load_completions(path, entry)
    beside.unlink()
    with pytest.raises(BenchError, match="no completions"):
        load_completions(path, entry)


def test_rows_of_two_exams_have_no_flips():
    """Items are paired by place only where they are the same."""
    one, other = sides(5, 4)
    selection = replace(other.entry.result.selection, ids_sha256=samples.sha("other"))
    other = replace(other, entry=samples.entry(replace(other.entry.result, selection=selection)))
    with pytest.raises(BenchError, match="not comparable"):
        list(iterate_changed_items(one, other, grade, {}))


@given(TEXT)
def test_no_text_leaves_its_fence(text):
    """The opening fence is longer than any run of backticks inside, and nothing is invisible or turned around."""
    first, *inside, last = fence_text(text).split("\n")
    assert first == f"{last}text"
    assert re.fullmatch("`{3,}", last)
    assert all(len(run) < len(last) for run in re.findall("`+", "\n".join(inside)))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]", "\n".join(inside))


@given(TEXT, TEXT, TEXT, TEXT)
def test_no_text_breaks_the_page(name, question, first, second):
    """Outside the fences stand our own tags alone, each opened and closed; names and ids are inert."""
    item = CompletionPair(
        name,
        question,
        second,
        ItemChange(0, "answer", True),
        JudgedCompletion(first, "stop", second, "hash", True),
        JudgedCompletion(second, "length", None, "none", False),
    )
    page, outside, fence = render_markdown([item], name, second), [], None
    for line in page.split("\n"):
        if fence is None and (opened := re.fullmatch("(`{3,})text", line)):
            fence = opened[1]
        elif fence is not None:
            fence = None if line == fence else fence
        else:
            outside.append(line)
    assert fence is None
    tags = re.findall("<[^>]*>", "\n".join(outside))
    assert tags == [
        "<details>", "<summary>", "<code>", "</code>", "</summary>", *["<code>", "</code>"] * 4, "</details>"
    ]  # fmt: skip
    assert not re.search(r"[@`$|*_\[\]]", "".join(outside))
