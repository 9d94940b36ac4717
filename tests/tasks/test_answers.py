"""What the reader takes for the final answer, case by case: the shared cases and a wider set of our own."""

import json
from hashlib import sha256

import pytest
from baseline_bench.core.types import Completion, Problem
from baseline_bench.results.completions import read_completions
from baseline_bench.tasks import _answers_v1
from baseline_bench.tasks._answers import LONGEST, equal, grade, is_strict_answer, read_answer
from baseline_bench.tasks._numbers import Number, numbers
from paths import DATA, ROOT

SHARED = [json.loads(line) for line in (DATA / "answer_cases.jsonl").read_text(encoding="utf-8").splitlines()]
# Policy cases that docs/reading-answers.md decides otherwise.
OTHERWISE = {"t2-more-7"}
# Their prompt opened a thought that the completion never closes, which a run knows from its token ids.
INSIDE_A_THOUGHT = {"t2-fa15-cut-thought-opened-by-the-prompt"}

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
    ("18 <think>hm</think>", "18"),
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
    ("#### 2 hundred", "200"),
    ("#### 3 thousand", "3000"),
    ("#### 2 billion", "2000000000"),
    ("#### 3 trillion", "3000000000000"),
    ("$5M", "5000000"),
    ("$5B", "5000000000"),
    ("$5bn", "5000000000"),
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
    ("#### (a)-3", "3"),
    ("option-7", "7"),
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
# (what a model wrote, version 1's answer, version 2's)
CHANGED = [
    ("10^2", None, "100"),
    ("\\boxed{2^{10}}", None, "1024"),
    ("\\boxed{2^n}", None, None),
    ("\\boxed{\\frac{1}{2}^2}", None, None),
    ("The answer is 3 \\times 10^2.", None, "300"),
    ("The answer is 3.5 × 10^{-2}.", None, "0.035"),
    ("\\boxed{\\frac{1}{-2}}", None, "-1/2"),
    ("\\boxed{\\frac{2.5}{5}}", None, "1/2"),
    ("\\boxed{12\\tfrac{1}{2}}", "25/2", "25/2"),
    ("\\boxed{2\\frac{-1}{2}}", "2", None),
    ("\\boxed{\\frac{1}{0}}", None, None),
    ("\\boxed{\\frac{\\sqrt{3}}{2}}", None, None),
    ("\\boxed{\\frac{2}{3}\\pi}", "2/3", None),
    ("the angle is $60^\\circ$.", None, "60"),
    ("\\boxed{4 \\pm \\sqrt{3}}", "4", None),
    ("\\boxed{2\\sqrt{3} + 4}", "2", None),
    ("So it is 2√3 + 4", None, None),
    ("\\boxed{\\sqrt[3]{8}}", "3", None),
    ("\\boxed{x + 3}", "3", None),
    ("\\boxed{3 - n}", "3", None),
    ("\\boxed{2(x+1)}", "2", None),
    ("2(x+1)", "1", None),
    ("4x = 20", "20", "20"),
    ("2x + 3 = 11, so x = 4", "4", "4"),
    ("So the sides are 4n", "4", None),
    ("She is 5m tall", "5", "5"),
    ("\\boxed{5!}", "5", None),
    ("$5!$", "5", None),
    ("5! = 120", "120", "120"),
    ("The answer is 18!", "18", "18"),
    ("The answer is $|-6|$.", "-6", None),
    ("\\boxed{\\left|-6\\right|}", "-6", None),
    ("\\boxed{\\lvert 6 \\rvert}", "6", None),
    ("| total | -6 |", "-6", "-6"),
    ("The answer is 0.333...", "0.333", None),
    ("The answer is 0.1818…", "0.1818", None),
    ("She pays $18.00...", "18", "18"),
    ("\\boxed{0.\\overline{3}}", "0", None),
    ("0.(3)", "3", None),
    ("\\boxed{20}. Wait. The final answer is 18.", "20", "18"),
    ("\\boxed{18}. No, the answer is not 18.", "18", None),
    ("\\boxed{18}. So the answer is 9*2", "18", "18"),
    ("The answer is 18, so \\boxed{18}", "18", "18"),
    ("The final total is 18 eggs in 2 baskets.", "18", "18"),
    ("The final amount is $18. She works 7 days.", "18", "18"),
    ("The final amount is $20. So 20 - 2 = 18 are left.", "20", "18"),
    ("\\boxed{2 \\text{ hours } 20 \\text{ minutes}}", "2", None),
    ("2 hrs. 20 min.", "20", None),
    ("x = 4 or x = 9", "9", None),
    ("The answer is x = 4 or x = 9.", "9", None),
    ("\\boxed{x = 4 \\text{ or } x = 9}", "4", None),
    ("\\boxed{x = 4, y = 9}", "4", None),
    ("x = 5, y = 3*5 = 15", "15", "15"),
    ("It is unlikely that the answer is 18.", "18", None),
    ("The answer is not $20 but $18.", None, "18"),
    ("The answer is 3 and 1/4.", None, "13/4"),
    ("The answer is 3 and 5/4.", None, None),
    ("The answer is 50% of 36, which is 18.", None, "18"),
    # A share of a number is not that number; its result may follow.
    ("The answer is half of 36.", "36", None),
    ("#### a third of $36", "36", None),
    ("Half of the 36 eggs is 18.", "18", "18"),
    ("The answer is 18, half of 36.", "18", "18"),
    ("The answer is half of 36, which is 18.", "36", "18"),
    ("The answer is 3/4 of 24 apples, which is 18.", "3/4", "18"),
    ("The answer is 3/4 of 24 apples.", "3/4", None),
    # A special token was dropped behind a minus; between two words it takes nothing away.
    ("The answer is -\ufffd18.", "18", None),
    ("The answer is -18.\ufffdYes", "-18", "-18"),
    ("She pays \ufffd18", "18", "18"),
    ("She fills 7 bags for the 40 children", "40", "7"),
    ("18\n### Instruction:\nAdd 3 and 4.\n### Response:\n7", "7", "18"),
    ("18\n\nProblem: 3+4\n7", "7", "18"),
    ("18\n**Question 2:** 3+4\n7", "7", "18"),
    ("18\nassistant\n7", "7", "18"),
    ("18\n model \n7", "7", "18"),
    ("18<|assistant|>7", "7", "18"),
    ("18<|END_OF_TURN_TOKEN|>7", "7", "18"),
    ("18<end_of_utterance>7", "7", "18"),
    ("The plan.\n**Problem:** 3 eggs.\nSo 18", "18", "18"),
    ("<|im_start|>assistant\n#### 18<|im_end|>", None, "18"),
    ("<thought>20</thought>18", "18", "18"),
    ("<thought>is it 18", "18", None),
    ("<|channel|>analysis<|message|>is it 18?", "18", None),
    ("<|channel|>final <|constrain|>json<|message|>18", "18", "18"),
    ("1\u20608", "18", "18"),
    # "final total" is a step only where the last sentence concludes another number.
    ("The final amount is $30. So Tom spent $30 on 3 shirts.", "30", "30"),
    ("Final total: 30\nThus the 3 kids share 30 apples among the 5 of them.", "30", "30"),
    ("The final amount is $30. So Tom spent 3 * 10 = $30 in 2 weeks.", "30", "30"),
    ("The final total is 30. So there are 10 left.", "30", "10"),
    ("The final amount comes to $30.\nShe has 40 - 30 = 10 left.\nA: 10", "30", "10"),
    ("The final total is 30.\nA: 10", "30", "10"),
    ("The final answer is 30.\nA: 10", "30", "30"),
    ("The final amount is 30 for all of the shops.\nA: 10, B: 20", "30", "30"),
    ("The final amount is 30 for all.\nA: 10\nB: 20", "30", "30"),
    ("The final amount comes to $30.\nIt rose by 10.", "30", "30"),
    ("The final amount comes to $30.\nA: 30 dollars", "30", "30"),
    ("The final total is 30 = 30. So there are 10 left.", "30", "10"),
    ("The final total is 30. So = 30 there are 10 left.", "30", "30"),
    ("The final total is unknown. So there are 10 left.", "10", "10"),
    ("Final total: 30\n(Each: 30 / 3 = 10)", "30", "30"),
    ("<|channel|>final<|message|>20<|channel|>final<|message|>18", "18", "18"),
    ("\\boxed{18}answer: 12.", "18", "12"),
    # Openings cut only behind an answer.
    ("Problem 1: Eggs? The answer is 9.\nProblem 2: Dollars? The answer is 18.", "18", "18"),
    ("Let me think.\nNext question: how much? It is 18 dollars", "18", "18"),
    ("How many eggs? 9\nNext question: how much? 18 dollars", "18", "18"),
    ("9 eggs are left.\nNext question: how much?\n\\boxed{18}", "18", "18"),
    ("9 eggs are left.\nNext question:answer: 18", "18", "18"),
    ("Question 1: Eggs? The answer is 18.\nProblem: 3+4? The answer is 7.", "7", "18"),
    ("Question 1: Eggs?\nInput: 3 eggs. The answer is 9.\nQuestion 2: Dollars? The answer is 18.", "18", "18"),
    ("We have 2 parts.\n\nProblem: how many?\n\n\\boxed{5}", "5", "5"),
    ("1. Read.\nProblem: how much?\nAnswer: 18", "18", "18"),
    ("Here are 3 facts.\nInput: 16 eggs\nOutput: 18 dollars", "18", "18"),
    ("16 eggs.\nQuestion 1: How many are left? 9\nQuestion 2: How much is it? 9*2 = 18", "18", "18"),
    ("Question 1: Eggs? The answer is 9.\nQuestion 2: Dollars? The answer is 18.", "18", "18"),
    ("Question 1: Eggs? 9\n#### 18\nQuestion 2: 3+4?\n#### 7", "7", "18"),
    ("#### 18\n### Question\n3+4?\n#### 7", "7", "18"),
    ("#### 18\n## Question 2\n3+4?\n#### 7", "7", "18"),
    ("The answer is 18.\n\nProblem 2\n3+4? The answer is 7.", "7", "18"),
    ("The answer is 18.\nuser: 3+4?\nassistant: 7", "18", "18"),
    ("\\boxed{18}\nassistant: \\boxed{7}", "7", "18"),
    ("\\boxed{18}\n[Question]\n\\boxed{7}", "7", "18"),
    ("\\boxed{18}\n### Next problem\n\\boxed{7}", "7", "18"),
    ("The answer is 18.\nTask: 3+4\nThe answer is 7.", "7", "18"),
    ("<pad><pad>18", "18", "18"),
    # Only a whole statement of another answer overrides a box.
    ("\\boxed{18}\n\nThis answer is the result of 9 eggs at $2.", "18", "18"),
    ("\\boxed{18}\n\nNote: the answer is 2 times the number of eggs, 9.", "18", "18"),
    ("\\boxed{18}\n\nIf the price doubled, the answer would be $36.", "18", "18"),
    ("\\boxed{18}\n\nA common wrong answer is 26.", "18", "18"),
    ("\\boxed{18}\n\nThe final answer is 1", "18", "18"),
    ("\\boxed{18}. The answer is 3 + 4.", "18", "18"),
    # A doubt counts over 200 characters.
    ("\\boxed{18}\nIf " + "word " * 37 + "and yes the answer is 12.", "18", "18"),
    ("\\boxed{18}\nIf " + "word " * 37 + "and then the answer is 12.", "18", "12"),
    ("\\boxed{18}\n\nExplanation of the answer:\n1. Janet has 16 eggs.\n2. She uses 7.", "18", "18"),
    ("\\boxed{20}. Wait.\n\nFinal answer: $18$", "20", "18"),
    ("\\boxed{20}. Wait.\n\nAnswer:\n18 eggs", "20", "18"),
    # A known quantity follows one noun; a fraction behind "and" may begin a clause.
    ("In total 2 boys paid for the 40 children", "40", "40"),
    ("After 3 weeks there is food for the 12 dogs", "12", "12"),
    ("The answer is 3 and 1/4 remains.", None, None),
    ("The answer is 14, not 15 but 16 minus 2.", "14", "14"),
    # Clear numbers next to letters, bars and signs.
    ("| item | $ |\n|---|---|\n| Total $ | 20 |", "20", "20"),
    ("| Total = | 20 |", "20", "20"),
    ("|net|-5|", "-5", "-5"),
    ("$|-5|$", "-5", None),
    ("Tom has 3x as many.", "3", "3"),
    ("Tom has 20x more.", "20", "20"),
    ("Answer: 5b", "5", "5"),
    ("Answer: 5a.m.", "5", "5"),
    ("Answer: 20 μm", "20", "20"),
    ("He pays $5.55...", "5.55", "5.55"),
    ("There are 120! + thanks", "120", "120"),
    # The result of an equation, whatever its left side.
    ("\\boxed{5! = 120}", "5", "120"),
    ("The answer is $10\\pi \\approx 31.4$", "10", "31.4"),
    ("\\boxed{2(3 + 4) = 14}", "2", "14"),
    ("#### 25 eggs - 5 eggs = 20 eggs", "25", "20"),
    ("\\boxed{25 \\text{ eggs} - 5 \\text{ eggs} = 20 \\text{ eggs}}", "25", "20"),
    ("Answer: 25 eggs − 5 = 20", "25", "20"),
    ("Answer: $10 (shoes) + $10 (socks) = $20", "10", "20"),
    ("Answer: 20 eggs - 10 per hen and 2 * 10 = 20", "20", "20"),
    # No digit of algebra.
    ("\\boxed{18/k}", "18", None),
    ("\\boxed{3t}", "3", None),
    ("\\boxed{2e}", "2", None),
    ("\\boxed{5b}", "5", None),
    ("\\boxed{2(3+4)}", "2", None),
    ("The answer is f(3).", "3", None),
    ("The answer is f(3) = 12.", "12", "12"),
    ("\\boxed{3 y}", "3", None),
    ("3 y", "3", "3"),
    ("\\boxed{3\\,x}", "3", None),
    ("3 x 5 = 15", "15", "15"),
    ("The answer is 7C3.", "7", None),
    ("\\boxed{\\log_{2}8}", "8", None),
    ("\\lfloor 3.7 \\rfloor", "3.7", None),
    ("10⁻³", "10", None),
]
NEWER = {text: newer for text, _, newer in CHANGED}


@pytest.mark.parametrize("case", SHARED, ids=[case["id"] for case in SHARED])
def test_shared_case(case):
    """Each shared case is graded as it says, save the policy cases that the documentation decides otherwise."""
    text = case["completion"]
    completion = Completion(text, None, "stop", answer_start=len(text) if case["id"] in INSIDE_A_THOUGHT else 0)
    correct = grade(Problem(case["id"], "How many?", case["gold"], ""), completion.answer).correct
    assert correct == (case["expected"] != (case["id"] in OTHERWISE))


@pytest.mark.parametrize(("text", "answer"), OWN, ids=[repr(text) for text, _ in OWN])
def test_own_case(text, answer):
    """Each text gives exactly this answer under both versions; what is no single finished number gives none."""
    assert _answers_v1.read_answer(text).answer == answer
    assert read_answer(text).answer == NEWER.get(text, answer)


@pytest.mark.parametrize(("text", "older", "newer"), CHANGED, ids=[repr(text) for text, _, _ in CHANGED])
def test_what_version_2_changes(text, older, newer):
    """Algebra, thoughts, further problems and corrections are read otherwise than by version 1, their twins alike."""
    assert (_answers_v1.read_answer(text).answer, read_answer(text).answer) == (older, newer)


def test_a_grade_says_by_what_rule_and_in_what_form():
    """Nothing was written is no unclosed thought; a number is whole where the model ended; the rest is read."""

    def graded(text, finish="stop", *more):
        further = tuple(Completion(draw, None, "stop") for draw in more)
        verdict = grade(Problem("p", "How many?", "18", ""), Completion(text, None, finish, further))
        return verdict.answer, verdict.rule, verdict.correct, verdict.strict

    assert graded("") == (None, "no-number", False, False)
    assert graded("#### 18") == ("18", "hash", True, True)
    assert graded("The answer is 18.") == ("18", "cue", True, False)
    assert graded("#### 12") == ("12", "hash", False, False)
    corrected = "\\boxed{12}\n\nThe final answer is 18"
    assert (graded(corrected)[0], graded(corrected, "length")[0]) == ("18", "12")
    # Of several draws the most frequent answer, the first of equally frequent ones; an unread draw is no vote.
    assert graded("#### 12", "stop", "#### 18", "It is 18.") == ("18", "hash", True, True)
    assert graded("#### 12", "stop", "#### 18") == ("12", "hash", False, False)
    assert graded("?", "stop", "?", "#### 18") == ("18", "hash", True, True)


def test_the_last_characters_of_a_long_text_are_read():
    """A number that begins there is whole."""
    end = " x" * ((LONGEST - 2) // 2)
    assert len("18" + end) == LONGEST
    assert read_answer("7" + "18" + end).answer == "18"


def test_a_number_begins_with_its_sign_or_first_digit():
    """A bracket before the digits is not part of it; a minus there subtracts."""
    assert list(numbers("(a)5 (b)-3 -7")) == [Number(3, 4, "5"), Number(9, 10, "3"), Number(11, 13, "-7")]


@pytest.mark.parametrize("is_strict", [_answers_v1.is_strict_answer, is_strict_answer], ids=["v1", "v2"])
def test_a_turn_that_ends_behind_the_number_is_strict(is_strict):
    """The end of the turn is no part of the line, and a number cut short there is not the gold one."""
    assert is_strict("#### 18<|im_end|>", "18")
    assert not is_strict("#### 18<|im_end|>", "1")


@pytest.mark.parametrize(
    ("entry", "digest"),
    [
        (
            "2026-11-22-gemma-3-270m-q4_k_m-111eb2df8297",
            "01145018ada7680e3f06052ca080ced6fa496febcea8ddfce13d4eb380535680",
        ),
        (
            "2026-11-22-smollm2-135m-it-q4_1-full-socratic-s0-c18651192968",
            "052f5a546136a35a17314aa1f2bbe6bb7372e9af6c9121a10337ee6708e33406",
        ),
    ],
)
def test_version_1_never_changes(entry, digest):
    """Every third committed completion of a base and of a candidate is read as when its row was made."""
    lines = read_completions(ROOT / "leaderboards" / "gsm8k" / f"{entry}.jsonl.gz")[::3]
    readings = [f"{line.id} {_answers_v1.read_answer(line.text)}\n" for line in lines]
    assert sha256("".join(readings).encode()).hexdigest() == digest


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
        ("The answer is 2. \\boxed{3}. 4", "3", "boxed"),
        ("\\boxed{3}. The answer is 2. 4", "2", "cue"),
        ("The answer is 2. 4", "2", "cue"),
    ],
)
def test_the_rule_that_fired_is_recorded(text, answer, rule):
    """`####` comes first, then the later of box and cue, then the last number; a refusal says why."""
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


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("First: 16-7 = 9\nNext question: How much money?\n9 * 2 = 18\n#### 18", "18"),
        ("First problem: 9 eggs.\nNext problem: 9 * 2 = 18. The answer is 18.", "18"),
        ("9 eggs are left.\n\n**Follow-up:** 9 eggs x $2 = **$18**\n\n\\boxed{18}", "18"),
        ("Follow up: How many?\nIntermediate answer: 9 eggs.\nFollow up: How much?\nSo the final answer is: 18", "18"),
        ("She has 18 eggs.\nFollow-up question: 3+4?\n7", "18"),
        ("\\boxed{18}. It is not true that she sells all 16 eggs.", "18"),
        ("The answer is 18. It is wrong to assume that she sells all the eggs.", "18"),
        ("18? This is incorrect.", None),
        ("She gains 18 exp (experience points).", "18"),
        ("The answer is 2 sqrt(3)", None),
        ("The answer is 1.\ufffd5", None),
        ("The answer is 1,\ufffd234", None),
        # A cue between two boxes overrides neither; "if" counts within 200 characters before one.
        ("\\boxed{18}\nThe answer is 20.\n\\boxed{16}", "16"),
        (f"\\boxed{{20}}\nIf {'she sells all eggs and ' * 9}pays, the answer is 18.\n", "18"),
        (f"\\boxed{{20}}\nIf {'she sells all eggs and ' * 2}pays, the answer is 18.\n", "20"),
    ],
)
def test_steps_and_remarks_are_neither_other_problems_nor_denials(text, answer):
    """A question that leads to the final answer is a step; a remark behind an answer may call something else wrong."""
    assert read_answer(text).answer == answer
