"""Read the final number from a model's text and judge it, whatever the formatting of a right or wrong answer.

docs/reading-answers.md lists the rules in order and every choice of policy.
"""

import re
from collections import Counter

from baseline_bench.core.types import Completion, Judgement, Problem
from baseline_bench.tasks._numbers import Number, equal, normalise, numbers
from baseline_bench.tasks._spelling import (
    NUMBER_WORD,
    normalise_signs,
    write_numbers_as_digits,
    write_opening_number_as_digits,
)
from baseline_bench.tasks._statements import (
    Reading,
    classify_gap,
    is_hedged,
    is_label,
    read_last_statement,
    read_statement,
)

__all__ = ["READER", "Reading", "equal", "grade", "is_strict_answer", "read_answer"]

READER = "final-number@v1"
# No protocol generates this many characters; of longer texts only the end is read, so megabytes cost milliseconds.
LONGEST = 50_000

_REACH = 2000

_END_OF_TURN = re.compile(
    r"<(?:/s|eos|(?:end|start)_of_turn|[|｜]end▁of▁sentence[|｜]|"
    r"\|(?:im_end|im_start|endoftext|end_of_text|eot_id|eom_id|start_header_id|end|user|return)\|)>|\[/?INST\]"
)
_MARK = re.compile(
    r"(?i:<(?P<close>/)?think(?:ing)?>)|"
    r"\n[ \t]{0,3}(?:#{1,6} )?(?:\*\*)?(?:Question|QUESTION|Q|Human|HUMAN|User|USER)(?:\*\*)?:|\n(?:user|human)\n"
)
_STRICT = re.compile(r"^#### (-?[0-9][0-9,]*(?:\.[0-9]+)?)[ \t\r]*$")
_BRACE = re.compile(r"\\boxed\s{0,3}\{|\\[{}]|[{}]")

# What may come between a marker and its number: punctuation, filler words, "x =".
_DRESS = r"[\s:*_`~≈$€£¥₹(\[{\\\"'}>=|&+±-]"
_SOFT = r"(?:so|thus|therefore|hence|that|then|simply|just|only|exactly|about|approximately|equal to|a total of|is)\b"
_LEAD = rf"(?:{_DRESS}|{_SOFT}|[A-Za-z]\w? *=)*+"
_HASH_LEAD = rf"{_DRESS}*+(?:(?:(?:the |my |final |correct )*+answer\b)?{_LEAD})"
_SENTENCE = rf"{_DRESS}*+(?:[A-Za-z'’]+,?[ ]+){{0,6}}+{_DRESS}*+"
_NUMBER = rf"(?:\.{{0,3}}[0-9]|{NUMBER_WORD}\b)"
_HASH = re.compile(rf"(?<!#)#{{4,}}+(?={_HASH_LEAD}{_NUMBER})(\s*+(?:[^#\n]++|#(?!###))*+)", re.IGNORECASE)
_CUE = re.compile(
    r"(?:\b(?:answer|final (?:result|total|amount|value))\b[*_\"')\]}]{0,6}"
    r"(?: (?:to|for|of)(?: [^ .:=\n]{1,20}){1,6}?)?[ *_]{0,4}"
    r"(?:(?P<verb>(?:is|was|would be|will be|must be|should be|becomes|equals|comes to)\b)|[:=]|\n)|<answer>)"
    rf"(?={_LEAD}{_NUMBER}|{_SENTENCE}\.{{0,3}}[0-9])",
    re.IGNORECASE,
)
# A numbered Markdown heading, not an answer: "#### 2. Add the eggs", and then some text.
_HEADING = re.compile(rf"{_HASH_LEAD}[0-9]{{1,2}}[.)][ \t]+[*_]*[A-Za-z]", re.IGNORECASE)
_OPENS_HASH, _OPENS, _OPENS_SENTENCE = (re.compile(lead, re.IGNORECASE) for lead in (_HASH_LEAD, _LEAD, _SENTENCE))
_WORKING = re.compile(
    r"\b(?:by|from|sum|product|difference|add\w*|subtract\w*|multipl\w*|divid\w*|find|found|calculat\w*|obtain\w*|"
    r"comput\w*|if|when|because|since|first|after|need|let|step|part|question|problem|option|choice)\b",
    re.IGNORECASE,
)
_STARTS = re.compile(r"\.{0,3}[0-9]")
_DIGIT = re.compile(r"[0-9]")


def read_answer(text: str) -> Reading:
    r"""Read the final answer.

    The first rule that matches: the last `####` line that opens with a number, the last `\boxed{}`, the last "the
    answer is" or "Answer:" with the first number after it, the last number; number words only in a text without digits.
    Runs in linear time on the last `LONGEST` characters, evaluates nothing and never raises.
    """
    visible_text = _visible(text)
    if visible_text is None:
        return Reading(None, "unclosed-think")
    visible_text = normalise_signs(visible_text[-LONGEST:])
    for rule in (_hash, _boxed, _cue, _last):
        reading = rule(visible_text)
        if reading is not None:
            return reading
    return Reading(None, "no-number")


def is_strict_answer(text: str, gold: str) -> bool:
    """Tell whether the last `####` line is GSM8K's own `#### N`, a number alone on its line, and equals `gold`.

    The format of the data set's paper (Cobbe et al. 2021, arXiv:2110.14168) and of every published solution.
    """
    visible_text = _visible(text)
    if visible_text is None or "####" not in visible_text:
        return False
    line = visible_text[visible_text.rfind("\n", 0, visible_text.rfind("####")) + 1 :].partition("\n")[0]
    match = _STRICT.match(line)
    answer = None if match is None else normalise(match.group(1))
    # The formatted number and the number read must be equal, or an answer could be strict but wrong.
    return answer is not None and equal(answer, gold) and read_answer(text) == Reading(answer, "hash")


def grade(problem: Problem, completion: Completion) -> Judgement:
    """Judge one completion against the problem's gold answer; never raises for anything a model can write.

    Of several draws the most frequent answer counts, the earliest of equally frequent ones (self-consistency, Wang et
    al. 2023, arXiv:2203.11171); rule and format are those of the first draw with that answer.
    """
    readings = [read_answer(draw.text) for draw in completion.draws]
    votes = Counter(reading.answer for reading in readings if reading.answer)
    chosen = max(range(len(readings)), key=lambda number: votes[readings[number].answer or ""])  # the first of ties
    reading = readings[chosen]
    correct = reading.answer is not None and equal(reading.answer, problem.answer)
    return Judgement(
        problem_id=problem.id,
        answer=reading.answer,
        rule=reading.rule,
        correct=correct,
        strict=correct and is_strict_answer(completion.draws[chosen].text, problem.answer),
        finish=completion.finish,
    )


def _visible(text: str) -> str | None:
    """Drop text after the model's turn and its thoughts; None if a thought was never closed."""
    end = _END_OF_TURN.search(text)
    text = text if end is None else text[: end.start()]
    parts, start, thinking = list[str](), 0, False
    for mark in _MARK.finditer(text):
        if mark["close"]:
            # A template may open the thought in the prompt: a lone end tag then closes everything before it.
            parts, start, thinking = parts if thinking else [], mark.end(), False
        elif mark.group().startswith("<"):
            if not thinking:
                parts.append(text[start : mark.start()])
            thinking = True
        elif not thinking:
            return "".join(parts) + text[start : mark.start()]
    return None if thinking else "".join(parts) + text[start:]


def _hash(shown: str) -> Reading | None:
    end = len(shown.rstrip())
    for line in reversed(list(_HASH.finditer(shown))):
        if line.end() < end and _HEADING.match(shown, line.start(1), line.end()):
            continue
        opening = _opening(shown, line.start(1), line.end(), _OPENS_HASH)
        if opening is not None:
            field, number = opening
            return read_statement(field, number, len(field), "hash")
    return None


def _opening(shown: str, start: int, end: int, lead: re.Pattern[str]) -> tuple[str, Number] | None:
    """Return a field, at most `_REACH` long, and the number that opens it after `lead`; None if there is none."""
    lead_match = lead.match(shown, start, end)
    number_start = start if lead_match is None else lead_match.end()
    field: str | None = shown[start : min(end, start + _REACH)]
    if not _STARTS.match(shown, number_start, end):
        spelled = write_opening_number_as_digits(shown[number_start : min(end, start + _REACH)])
        field = None if spelled is None else shown[start:number_start] + spelled
    number = None if field is None else next(numbers(field), None)
    return None if field is None or number is None else (field, number)


def _boxed(shown: str) -> Reading | None:
    boxes = _boxes(shown)
    if not boxes:
        return None
    readings = [_content(shown, start, end) for _, start, end in boxes]
    if len(boxes) == 2 and classify_gap(shown[boxes[0][2] + 1 : boxes[1][0]]) in ("choice", "list"):
        answers = [reading.answer for reading in readings if reading is not None and reading.answer is not None]
        return readings[1] if len(answers) == 2 and equal(*answers) else Reading(None, "ambiguous")
    return readings[-1]


def _content(shown: str, start: int, end: int) -> Reading | None:
    end = min(end, start + _REACH)
    number = next(numbers(shown, start, end), None)
    if number is None:
        return None
    return Reading(None, "ambiguous") if is_hedged(shown, number.start) else read_statement(shown, number, end, "boxed")


def _boxes(shown: str) -> list[tuple[int, int, int]]:
    """Return the spans of the last two closed boxes with a digit: start, start of the content, end."""
    if "\\boxed" not in shown:
        return []
    boxes, opened = list[tuple[int, int, int]](), list[re.Match[str]]()
    for brace in _BRACE.finditer(shown):
        sign = brace.group()
        if sign == "}" and opened:
            opening = opened.pop()
            if opening.group() != "{":
                boxes.append((opening.start(), opening.end(), brace.start()))
        elif sign == "{" or sign.startswith("\\boxed"):
            opened.append(brace)
    boxes_with_digit, searched, digit = list[tuple[int, int, int]](), len(shown), len(shown)
    # Boxes nest: searching only what no inner box has searched keeps this linear.
    for box in sorted(boxes, reverse=True):
        digit_match = _DIGIT.search(shown, box[1], searched)
        searched, digit = box[1], digit if digit_match is None else digit_match.start()
        if digit < box[2] and len(boxes_with_digit) < 2:
            boxes_with_digit.insert(0, box)
    return boxes_with_digit


def _cue(shown: str) -> Reading | None:
    for cue in reversed(list(_CUE.finditer(shown))):
        start = cue.end()
        opening = _opening(shown, start, len(shown), _OPENS)
        if opening is None and cue["verb"]:
            lead = _OPENS_SENTENCE.match(shown, start)
            if lead is not None and not _WORKING.search(shown, start, lead.end()):
                opening = _opening(shown, start, len(shown), _OPENS_SENTENCE)
        if opening is None:
            continue
        field, number = opening
        if "\n" in field[: number.start] and is_label(field, number.start, number.end):
            continue
        end = field.find("\n", number.start)
        hedged = is_hedged(field, number.start)
        return (
            Reading(None, "ambiguous")
            if hedged
            else read_statement(field, number, len(field) if end < 0 else end, "cue")
        )
    return None


def _last(shown: str) -> Reading | None:
    if _DIGIT.search(shown):
        return read_last_statement(shown, "last-number")
    return read_last_statement(write_numbers_as_digits(shown), "number-word")
