"""The rules of `final-number@v1`, frozen: they judge the rows that name it, and version 2 builds on them.

Nothing here, in `_numbers`, `_spelling` or `_statements` may change what version 1 reads: a test compares a digest of
its readings of every committed completion.
"""

import re

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

READER = "final-number@v1"
"""Name of these rules in a protocol."""
# No protocol generates this many characters; of longer texts only the end is read, so megabytes cost milliseconds.
LONGEST = 50_000
"""Characters at the end of a text that are read."""

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
    visible = visible_text(text)
    if visible is None:
        return Reading(None, "unclosed-think")
    visible = normalise_signs(visible[-LONGEST:])
    for rule in (read_hash, read_box, read_cue, read_last):
        reading = rule(visible)
        if reading is not None:
            return reading
    return Reading(None, "no-number")


def is_strict_answer(text: str, gold: str) -> bool:
    """Tell whether the answer is in the format of the data set; see `matches_format`."""
    return matches_format(visible_text(text), gold, read_answer(text))


def matches_format(visible: str | None, gold: str, reading: Reading) -> bool:
    """Tell whether the last `####` line is GSM8K's own `#### N`, a number alone on its line, and equals `gold`.

    The format of the data set's paper (Cobbe et al. 2021, arXiv:2110.14168) and of every published solution. `reading`
    is what a reader read from the text: it must be the same number, or an answer could be strict but wrong.
    """
    if visible is None or "####" not in visible:
        return False
    line = visible[visible.rfind("\n", 0, visible.rfind("####")) + 1 :].partition("\n")[0]
    match = _STRICT.match(line)
    answer = None if match is None else normalise(match.group(1))
    return answer is not None and equal(answer, gold) and reading == Reading(answer, "hash")


def visible_text(text: str, end_of_turn: re.Pattern[str] = _END_OF_TURN, marks: re.Pattern[str] = _MARK) -> str | None:
    """Drop text after the model's turn and its thoughts; None if a thought was never closed.

    Args:
        text: of the model.
        end_of_turn: ends the turn wherever it matches.
        marks: the delimiters of thoughts, whose closing ones have the group `close`, and lines that open a new turn.
    """
    end = end_of_turn.search(text)
    text = text if end is None else text[: end.start()]
    parts, start, thinking = list[str](), 0, False
    for mark in marks.finditer(text):
        if mark["close"]:
            # A template may open the thought in the prompt: a lone end tag then closes everything before it.
            parts, start, thinking = parts if thinking else [], mark.end(), False
        elif not mark.group().startswith("\n"):
            if not thinking:
                parts.append(text[start : mark.start()])
            thinking = True
        elif not thinking:
            return "".join(parts) + text[start : mark.start()]
    return None if thinking else "".join(parts) + text[start:]


def read_hash(shown: str) -> Reading | None:
    """Read the last `####` line that opens with a number; None if there is none."""
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


def read_box(shown: str) -> Reading | None:
    r"""Read the last closed `\boxed{}` that holds a digit; None if there is none."""
    boxes = find_boxes(shown)
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


def find_boxes(shown: str) -> list[tuple[int, int, int]]:
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


def read_cue(shown: str) -> Reading | None:
    """Read the number after the last "the answer is", "Answer:" or the like; None if there is none."""
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


def read_last(shown: str) -> Reading | None:
    """Read the last number, or in a text without digits the last number word; None if there is none."""
    if _DIGIT.search(shown):
        return read_last_statement(shown, "last-number")
    return read_last_statement(write_numbers_as_digits(shown), "number-word")
