"""What the reader takes for the final answer, case by case: the shared cases and a wider set of our own."""

import json

import pytest
from baseline_bench.core.types import Completion, Problem
from baseline_bench.tasks._answers import equal, grade, read_answer
from paths import DATA

SHARED = [json.loads(line) for line in (DATA / "answer_cases.jsonl").read_text(encoding="utf-8").splitlines()]

# (what a model wrote, the answer that is read; None is unread)
HASH = [
    ("#### 18", "18"),
    ("####18", "18"),
    ("####  **18**", "18"),
    ("#### **$18**", "18"),
    ("#### $\\boxed{18}$", "18"),
    ("#### Answer: 18", "18"),
    ("#### The answer is 18", "18"),
    ("#### x = 18", "18"),
    ("#### eighteen", "18"),
    ("#### 18, 2 per basket", None),
    ("#### 18 eggs, 2 per basket", "18"),
    ("#### 18 eggs and 2 baskets", "18"),
    ("#### 18 or 20", None),
    ("#### 18 and 20", None),
    ("#### 10-12", None),
    ("#### 10–12", None),
    ("#### 10 to 12", None),
    ("#### between 10 and 12", None),
    ("#### <18", None),
    ("#### 18 dollars and 50 cents", None),
    ("#### 2 hours 30 minutes", None),
    ("#### 5 ft 6 in", None),
    ("#### 9*2", None),
    ("#### 9 * 2 = 18", "18"),
    ("#### 18 = 9*2", "18"),
    ("#### 16-3-4=9, 9*2=18", "18"),
    ("#### 50% of 36", None),
    ("#### 50% of 36 = 18", "18"),
    ("#### <<9*2=18>>18", "18"),
    ("#### 20\nNo, I forgot the eggs.\n#### 18", "18"),
    ("#### 20\nwait\n####\n18", "18"),
    ("#### 20\n＃＃＃＃ 18", "18"),
    ("#### 18\n#### Explanation\nShe sells 9 at $2.", "18"),
    ("#### Step 3: Add 5\nThe answer is 20.", "20"),
    ("#### 3. Add the eggs\nShe has 20.", "20"),
    ("#### 18. She is rich", "18"),
    ("#### ", None),
    ("#### ...", None),
]
TURNS_AND_THOUGHTS = [
    ("#### 18\nQuestion: What is 3+4?\n#### 7", "18"),
    ("#### 18\n\n**Question:** What is 3+4?\n#### 7", "18"),
    ("#### 18\nQ: 3+4?\n#### 7", "18"),
    ("#### 18\n\nUser: 3+4?\n\n#### 7", "18"),
    ("#### 18\nuser\n3+4?\nmodel\n#### 7", "18"),
    ("#### 18<|im_end|>\n<|im_start|>user\n7", "18"),
    ("#### 18</s>#### 7", "18"),
    ("<think>20</think>#### 18", "18"),
    ("<think>\nUser: asks\n20</think>#### 18", "18"),
    ("<think>a<think>7</think>8</think>18", "18"),
    ("20</think>#### 18", "18"),
    ("#### 18</think>", None),
    ("#### 18 <think>or is it 7", None),
]
BOXED = [
    ("\\boxed{\\frac{1}{2}}", "1/2"),
    ("\\boxed{-\\frac{1}{2}}", "-1/2"),
    ("\\boxed{2\\frac{1}{2}}", "5/2"),
    ("\\boxed{\\frac12}", "1/2"),
    ("\\boxed{\\dfrac{36}{2}}", "18"),
    ("\\boxed{\\$1{,}234.50}", "1234.5"),
    ("\\boxed{12\\,500}", "12500"),
    ("\\boxed{18\\%}", "18"),
    ("\\boxed{18 \\text{ cm}^2}", "18"),
    ("\\boxed{18\\text{ m}^{2}}", "18"),
    ("\\boxed{x_1 = 5}", "5"),
    ("\\boxed{9 \\times 2 = 18}", "18"),
    ("\\boxed{9 \\times 2}", None),
    ("\\boxed{18, 20}", None),
    ("\\boxed{x > 18}", None),
    ("\\boxed{x \\ge 18}", None),
    ("\\boxed{18} or \\boxed{20}", None),
    ("\\boxed{18} or \\boxed{18.0}", "18"),
    ("\\boxed{3}, so we get \\boxed{18}", "18"),
    ("\\boxed{\\boxed{18}}", "18"),
    ("\\boxed{18", "18"),
    ("Use \\boxed{}.\n#### 18", "18"),
]
CUES = [
    ("answer is: 18 eggs in 2 baskets", "18"),
    ("The answer is 18, not 20.", "18"),
    ("The answer is that Janet makes $18 per day from 9 eggs.", "18"),
    ("The answer is 9*2=18", "18"),
    ("The answer is 9 * 2 = $18.", "18"),
    ("The answer is found by adding 9 and 9, which is 18.", "18"),
    ("The answer is the sum of 5 and 3, which is 8.", "8"),
    ("The answer is clear. She has 18 left.", "18"),
    ("The answer is ... wait. She has 5 eggs and 18 hens.", "18"),
    ("The answer is in step 3. She has 20.", "20"),
    ("The answer to question 2 is 18, for 3 days.", "18"),
    ("The answer is\n\n$$18$$", "18"),
    ("The answer is \\(18\\).", "18"),
    ('The answer is "-5".', "-5"),
    ("The answer is minus 5.", "-5"),
    ("The answer is twenty-one eggs in 2 baskets", "21"),
    ("9 eggs at 2 dollars. The answer is eighteen.", "18"),
    ("The answer is not 18.", None),
    ("The answer isn't 18.", None),
    ("The answer is more than 18", None),
    ("The answer is between 10 and 12.", None),
    ("The answer is 18 dollars or 1800 cents.", None),
    ("The answer is 18 or $18.", "18"),
    ("The answer is 18 ± 2", None),
    ("The answer is 2 and a half.", None),
    ("Answer: Janet sells 16 - 3 - 4 = 9 eggs. She makes 9 * 2 = $18.", "18"),
    ("Answer:\n\n1. First 16-3=13\n2. Then 13*2=26", "26"),
    ("**Final Answer**\n\n18", "18"),
    ("**Answer:** 18", "18"),
    ("\\text{Answer: } -\\$18", "-18"),
    ("<answer>18</answer> of 20", "18"),
    ("Answer: 20\nI was wrong.\nAnswer: 18", "18"),
]
NUMBERS = [
    ("18.", "18"),
    ("18)", "18"),
    ("$18/day", "18"),
    ("180", "180"),
    ("1.000", "1"),
    ("$.50", "0.5"),
    ("...18...", "18"),
    ("007", "7"),
    ("-0", "0"),
    ("8,000", "8000"),
    ("#### 12,500", "12500"),
    ("1 234 567", "1234567"),
    ("12\u202f500", "12500"),
    ("12\u00a0500.5", "12500.5"),
    ("1,23,456", None),
    ("1234,567", None),
    ("0,500", None),
    ("2,5", None),
    ("16,17,18", None),
    ("12 50", None),
    ("1.234.567", None),
    ("1.000,50", None),
    ("1'000", None),
    ("1_000", None),
    ("3⅓", "10/3"),
    ("2 1/2", "5/2"),
    ("36/2", "18"),
    ("1/0", None),
    ("12/25/2020", None),
    ("10²", None),
    ("10^2", None),
    ("2**3", None),
    ("1e5", None),
    ("2h30m", None),
    ("7:30", None),
    ("eggs.5", None),
    ("１８", "18"),
    ("#### １，２００", "1200"),
    ("1\u200b8", "18"),
    ("١٨", None),
    ("1٨", None),
    ("1️⃣8️⃣", None),
    ("答案是18。", "18"),
    ("3万", None),
    ("#### 2 million", "2000000"),
    ("$1.5 million", "1500000"),
    ("$70k", "70000"),
    ("$5M", "5000000"),
    ("5km", "5"),
    ("200%", "200"),
    ("0.2%", "0.2"),
    ("Rs.500", "500"),
    ("US$18", "18"),
    ("<b>-18</b>", "-18"),
    ("*18*", "18"),
    ("_18_", "18"),
    ("`18`", "18"),
    ("≈ 18", "18"),
    ("H2O and R2D2 and x_1 and m2.5", None),
    ("The area is 18 m^2.", "18"),
    ("The area is 18 cm²", "18"),
]
SIGNS = [
    ("#### -5", "-5"),
    ("#### - 5", "-5"),
    ("#### $-5", "-5"),
    ("#### -$5", "-5"),
    ("#### −$5", "-5"),
    ("#### - $5", "-5"),
    ("#### –5", "-5"),
    ("#### -**5**", "-5"),
    ("#### --5", None),
    ("#### ±5", None),
    ("Answer: -eighteen", "-18"),
    ("So 5 - 8 = - 3", "-3"),
    ("So 5 - 8 =–3", "-3"),
    ("9 minus 5 = 4", "4"),
    ("negative 5", "-5"),
    ("It rose by +18", "18"),
    ("- 18 eggs", "18"),
    ("a 12-hour trip", "12"),
    ("5 -3", None),
]
LAST_NUMBERS = [
    ("She has 9 * 2", None),
    ("She has 9 * 2 =", None),
    ("She makes $18 (9 * 2).", "18"),
    ("9*2=<<9*2=18>>18", "18"),
    ("It's either 18 or 20.", None),
    ("Tom has more than Ann by 9 - 5 = 4", "4"),
    ("Tom has more than 18", None),
    ("She worked for 2 hours, 30 minutes.", None),
    ("In 7 days, 126 eggs are laid.", "126"),
    ("1. Add\n2. Subtract", None),
    ("Step 1: 9 eggs\nStep 2", "9"),
    ("Total:\n18", "18"),
    ("18 20", None),
    ("It takes forty-two days", "42"),
    ("She has one hundred and five eggs", "105"),
    ("She has two or three", None),
    ("two thirds", None),
    ("No one knows", None),
    ("", None),
]
OWN = [*HASH, *TURNS_AND_THOUGHTS, *BOXED, *CUES, *NUMBERS, *SIGNS, *LAST_NUMBERS]


@pytest.mark.parametrize("case", SHARED, ids=[case["id"] for case in SHARED])
def test_shared_case(case):
    """Each shared case is graded as it says, policy cases included."""
    problem = Problem(case["id"], "How many?", case["gold"], "")
    assert grade(problem, Completion(case["completion"], None, "stop")).correct == case["expected"]


@pytest.mark.parametrize(("text", "answer"), OWN, ids=[repr(text) for text, _ in OWN])
def test_own_case(text, answer):
    """Each text gives exactly this answer; what is no single finished number gives none."""
    assert read_answer(text).answer == answer


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        ("#### 18", "18", "hash"),
        ("\\boxed{18}", "18", "boxed"),
        ("The answer is 18.", "18", "cue"),
        ("She has 18 eggs.", "18", "last-number"),
        ("She has eighteen eggs.", "18", "number-word"),
        ("I do not know.", None, "no-number"),
        ("18 or 20", None, "ambiguous"),
        ("1,23,456", None, "malformed"),
        ("9 * 2 =", None, "unfinished"),
        ("<think>18", None, "unclosed-think"),
        ("#### 1 The answer is 2. \\boxed{3} 4", "1", "hash"),
        ("\\boxed{3}. The answer is 2. 4", "3", "boxed"),
        ("The answer is 2. 4", "2", "cue"),
    ],
)
def test_the_rule_that_fired_is_recorded(text, answer, rule):
    """`####` comes before a box, a box before a cue, a cue before the last number; a refusal says why."""
    reading = read_answer(text)
    assert (reading.answer, reading.rule) == (answer, rule)


@pytest.mark.parametrize(
    ("wrong", "gold"),
    [
        ("#### 180", "18"),
        ("#### 8,000", "0"),
        ("#### 8,000", "8"),
        ("#### 123457", "123456"),
        ("#### 0.18", "18"),
        ("#### 18%", "0.18"),
        ("#### 18\n#### 20", "18"),
        ("...", "0"),
        ("#### 18.000000000000000000001", "18"),
        ("#### 100000000000000000000000001", "100000000000000000000000000"),
        ("#### 1e2", "1"),
        ("#### 10²", "102"),
        ("#### 3⅓", "31/3"),
        ("#### 5", "-5"),
        ("__import__('os').system('true') or 18 + 0", "18"),
    ],
)
def test_slips_of_other_readers(wrong, gold):
    """No prefix, no tail, no rounding, no hundredfold, no first `####`, no dots, no NFKC, no lost sign, no code."""
    reading = read_answer(wrong)
    assert reading.answer is None or not equal(reading.answer, gold)
