"""What holds for every text: the reader never raises, never guesses, stays linear, and is exact."""

import string
from fractions import Fraction

import pytest
from baseline_bench.core.types import Completion, Problem
from baseline_bench.tasks import _answers_v1
from baseline_bench.tasks._answers import (
    EARLIER_READERS,
    LONGEST,
    READER,
    Reading,
    equal,
    grade,
    is_strict_answer,
    read_answer,
)
from hypothesis import given
from hypothesis import strategies as st

RULES = {"hash", "boxed", "cue", "last-number", "number-word"}
REFUSALS = {"no-number", "ambiguous", "malformed", "unfinished", "unclosed-think"}

PIECES = st.sampled_from([
    "#### ", "\n", "18", "-", "−", "$", "€", ",", "{,}", ".", "...", "/", ":", "=", "*", "**", "+", "^", "_",
    "%", "(", ")", "{", "}", "[", "]", "\\boxed{", "\\frac{", "\\text{", "\\$", "\\,", " or ", " and ", " to ",
    "The answer is ", "Answer:", "not ", "than ", "<think>", "</think>", "<<", ">>", "\nQuestion:", "</s>",
    "twenty-one", "one", "hundred", "million", "k", "½", "²", "٣", "３", "\u200b", "\u202f", "\u20e3", "m2",
    "x_1", "Step 3", "2. Add", "\\sqrt{", "\\pi", "^{", "\\circ", "!", "|", "x", " \\times 10^", "\\overline{",
    "\u2060",
    "\nProblem:", "\nassistant\n", "<|channel|>", "<|message|>", "x = ", " hours 20 minutes", "not 3 but ",
    "final total is ", " eggs ", " hours ", "0", "1,234", "1 234", "7:30", "1e5", "1/2", "3 1/2",
])  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join), st.text(alphabet="0123456789.,-/ $#=\n"))
NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.decimals(-(10**6), 10**6, places=3).map(lambda value: f"{value:f}"),
)
DRESSES = [
    "{}", "#### {}", "####{}.", "#### **{}**", "#### {} eggs", "9*2\n#### {}\n", "\\boxed{{{}}}", "$\\boxed{{{}}}$.",
    "\\boxed{{{} \\text{{ eggs in 2 baskets}}}}", "The answer is {}.", "The answer is: **{}** eggs in 2 baskets.",
    "**Answer:** {}", "Final answer: $${}$$", "\\text{{Answer: }} {}", "So the total is {}.", "2 * 9 = {}", "x = {}%",
    "She had 3 and now has ({}).", "<think>7 or 8</think>{}", "{}\nQuestion: 7?", "#### {}<end_of_turn>7",
]  # fmt: skip
HOSTILE = [
    "1", "1 ", "1,", "1.", "1+", "1=", "1 or ", "1,234", "1/2 ", "1½", "１", "1^{", "1e", "-", "- 1", "$-", "€ ",
    "#", "###", "#### ", "####\n", "#### 1. a\n", "#### 1 or 2\n", "####x1", "\\boxed{", "\\boxed{1", "\\boxed{}", "{",
    "}", "\\frac{1}{", "\\text{", "<", "<think>", "</think>", "<<", "<<1>>", "\nQ", "answer is ", "answer to the ",
    "Answer: by 1 ", "m2 ", "x^2", "2. a\n", "one ", "one hundred ", "not ", "1 than a ", " ", "\n", "\t", "\u2009",
    "\\frac", "\\frac{", "\\frac{1", "\\frac{{}", "\\frac{a}{", "\\sqrt{1}+", "\\sqrt[", "1^{1", "9^9", "1 x 10^",
    "0.1", "0.11", "1...", "|1",
    "|-1", "{|", "1!", "1(", "2x", "x = 1, ", "x = 1 or ", "not 1 but ", "1% of 1, ", "1 and 1/2", "final total ",
    "final total. ",
    "1 for the 1 a", "\nProblem:", "<|a|>", "<|channel|>", "unlikely ", "\u2060",
    "sqrt(", "sqrt(1", "2 pi*1", "1 choose ", "-(1)", "1! a", "1? This ", "1 is not ", "a*1", "I doubt it is ",
    "\nA: 1", "\nNext question: 1", "<reasoning>", "[/THINK]", "<|turn>", "1\ufffd",
    "\u202f1", "\u200b", "**", "(1", "1 (2*3", "1 hours ", "\\$", "\\", "٣",
]  # fmt: skip
READ = {_answers_v1.READER: _answers_v1.read_answer, READER: read_answer}
GRADE = {**EARLIER_READERS, READER: grade}
of_each_version = pytest.mark.parametrize("version", READ)


@of_each_version
@given(text=TEXTS)
def test_any_text_gives_an_answer_or_a_reason(version, text):
    """The reader never raises; an answer comes with a rule, no answer with a reason."""
    reading = READ[version](text)
    assert reading.rule in (REFUSALS if reading.answer is None else RULES)


@of_each_version
@given(text=TEXTS)
def test_an_answer_reads_as_itself(version, text):
    """What was read is a plain number: it equals itself and is read as itself."""
    read_answer = READ[version]
    answer = read_answer(text).answer
    if answer is not None:
        assert equal(answer, answer)
        assert read_answer(answer).answer == answer
        assert read_answer(f"#### {answer}").answer == answer


@of_each_version
@given(text=TEXTS, gold=NUMBERS)
def test_strict_implies_correct(version, text, gold):
    """No completion is in GSM8K's format with the right number and yet wrong."""
    for written in (text, f"{text}\n#### {gold}", f"#### {gold}\n{text}"):
        verdict = GRADE[version](Problem("p", "How many?", gold, ""), Completion(written, None, "length"))
        assert verdict.correct or not verdict.strict
        assert verdict.rule == "hash" or not verdict.strict
        assert verdict.finish == "length"


@pytest.mark.parametrize("dress", DRESSES)
@given(number=NUMBERS, grouped=st.booleans())
def test_a_number_comes_back_from_every_dress(dress, number, grouped):
    """A number with or without thousands commas is read from each dress as exactly that number."""
    value = Fraction(number)
    whole, point, rest = number.lstrip("-").partition(".")
    written = ("-" if value < 0 else "") + (f"{int(whole):,}" if grouped else whole) + point + rest
    answer = read_answer(dress.format(written)).answer
    assert answer is not None
    assert equal(answer, number)


@pytest.mark.parametrize("dress", DRESSES)
@given(gold=st.integers(1, 10**9).map(str), digit=st.sampled_from(string.digits))
def test_a_digit_more_is_another_number(dress, gold, digit):
    """A further digit behind the gold answer, a nonzero one before it, or another sign is never accepted."""
    for wrong in (f"{gold}{digit}", f"7{gold}", f"-{gold}", f"{gold}.{digit}1", f"0.{gold}1"):
        answer = read_answer(dress.format(wrong)).answer
        assert answer is None or not equal(answer, gold)


@given(
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.sampled_from([" or ", ", ", " and ", "-", "–", " to ", " * ", "/1/"]),
)
def test_several_numbers_are_no_answer(one, other, between):
    """Alternatives, lists, ranges and calculations without result are unread, whatever the numbers."""
    if one != other:
        for dress in ("#### {}", "\\boxed{{{}}}", "The answer is {}.", "It is {}."):
            assert read_answer(dress.format(f"{one}{between}{other}")).answer is None


@given(NUMBERS, NUMBERS)
def test_equality_is_that_of_exact_fractions(one, other):
    """Two written numbers are equal exactly when their fractions are."""
    assert equal(one, other) == (Fraction(one) == Fraction(other))


@pytest.mark.parametrize(
    ("one", "other"), [("18", "18.00"), ("18", "36/2"), ("1/2", "0.5"), ("-0.50", "-1/2"), ("0", "-0")]
)
def test_one_number_written_in_two_ways_is_equal(one, other):
    """Trailing zeros and unreduced fractions do not matter."""
    assert equal(one, other)
    assert equal(other, one)


@pytest.mark.parametrize(
    "text", ["", "x", "1/0", "1e3", "nan", "inf", "1_0", " 1", "１", "1" * 10**6, "0." + "3" * 10**6]
)
def test_what_is_no_number_equals_nothing(text):
    """Neither words nor a million digits raise, and they do not even equal themselves."""
    assert not equal(text, text)
    assert not equal(text, "1")


@given(st.text(), st.text())
def test_equality_never_raises(one, other):
    """Any two texts may be compared."""
    assert equal(one, other) in (True, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9*2 = 18\n#### 18", True),
        ("#### 18\nThat is all.", True),
        ("#### 118", False),
        ("#### 18.0", True),
        ("#### 18  \r\n", True),
        ("#### 20\n#### 18", True),
        ("#### 18\n#### 20", False),
        ("#### 18\nQuestion: 3+4?\n#### 7", True),
        ("####18", False),
        ("so #### 18", False),
        ("#### $18", False),
        ("#### 18.", False),
        ("#### 18 eggs", False),
        ("#### 18 or 20", False),
        ("##### 18", False),
        ("#### 18\n＃＃＃＃ 20", False),
        ("The answer is 18", False),
        ("<think>#### 18", False),
        ("", False),
    ],
)
def test_strict_is_the_format_of_the_data_set(text, expected):
    """Strict asks for the last `####` line to be `#### N` and nothing else; thousands commas may stand in N."""
    assert is_strict_answer(text, "18") == expected
    assert is_strict_answer(text.replace("18", "1,800"), "1800") == expected


def test_the_longest_number_is_a_thousand_characters():
    """A number of 1,000 digits is read and compared; with one more it is malformed, whatever scale word follows."""
    assert read_answer("#### " + "9" * 1000) == Reading("9" * 1000, "hash")
    assert equal("9" * 1000, "9" * 1000)
    assert read_answer("#### " + "9" * 1001) == Reading(None, "malformed")
    assert read_answer("#### " + "9" * 1000 + " million") == Reading(None, "malformed")


@given(
    text=st.lists(PIECES).map("".join), algebra=st.sampled_from(["{}\\sqrt{{3}}", "{}x", "{}\\pi", "\\frac{{{}}}{{n}}"])
)
def test_no_digit_is_read_out_of_algebra(text, algebra):
    """Whatever comes before it, a box with an algebraic term is not read as a number."""
    answer = read_answer(f"{text}\n\\boxed{{{algebra.format(7919)}}}").answer
    assert answer is None or "7919" not in answer


@pytest.mark.parametrize("piece", HOSTILE, ids=map(repr, HOSTILE))
def test_half_a_million_hostile_characters_are_read(piece):
    """A text built to make a reader backtrack ends like any other; with quadratic work this test would take hours."""
    text = piece * (500_000 // len(piece))
    problem = Problem("p", "How many?", "18", "")
    verdict = grade(problem, Completion(text, None, "length"))
    assert verdict.rule in RULES | REFUSALS
    assert verdict.correct or not verdict.strict


@pytest.mark.parametrize("opened", ["\\boxed{", "\\boxed{1", "\\boxed{x1", "{"])
def test_a_hundred_thousand_nested_braces_are_matched(opened):
    """Nested boxes that all close are matched in one pass."""
    assert read_answer(opened * 100_000 + "}" * 100_000).answer in (None, "1")


@pytest.mark.parametrize("filler", ["m2 ", "eggs ", "3 eggs, ", "2 * "])
def test_a_long_line_ends_like_a_short_one(filler):
    """What stands a hundred thousand characters before the last number does not change how that is read."""
    short, long = filler * 50, filler * 60_000
    assert read_answer(f"{long}so 18") == read_answer(f"{short}so 18") == Reading("18", "last-number")
    assert read_answer(f"She has 18 eggs. {'m2 ' * 10_000}") == Reading("18", "last-number")


def test_of_a_text_longer_than_any_answer_the_end_is_read():
    """Megabytes cost milliseconds: what stands further from the end than LONGEST characters is not looked at."""
    far = "She has 18 eggs. " + "eggs " * (LONGEST // 5)
    assert read_answer(far) == Reading(None, "no-number")
    assert read_answer(far + "#### 7") == Reading("7", "hash")
