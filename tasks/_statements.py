"""Decide which number a statement asserts: the result of an equation, never an operand, a bound or one of several."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from baseline_bench.tasks._numbers import ALGEBRA_MARK, Number, equal, last_runs, number_at, numbers

Relation = Literal["equals", "operator", "choice", "list", "aside", "prose"]

_LONGEST_CHAIN = 64
_LONGEST_GAP = 60

_UNIT = r"(?:[ -]?[A-Za-z/%°][A-Za-z/%°²³'.]*(?:[ -][A-Za-z/%°][A-Za-z/%°²³'.]*){0,2})?"
_CLOSE = r"[ )\]}*_\"'|&\\]*"
_OPEN = r"[ (\[{*_&\\]*"
_PATTERNS: tuple[tuple[Relation, str], ...] = (
    ("equals", rf"{_UNIT}{_CLOSE}\n?{_CLOSE}(?:=+>?|≈|-+>|→|⇒|\bequals\b|\bis equal to\b){_OPEN}"),
    ("operator", rf"(?:{_CLOSE}-|{_UNIT}{_CLOSE}(?:[+*/×÷·^±]|[xX]|\btimes\b|\bplus\b|\bminus\b|% of\b)){_OPEN}"),
    ("operator", rf"{_UNIT}{_CLOSE}(?:\b(?:divided|multiplied) by|}}\s?{{){_OPEN}|[ )]*"),
    ("choice", rf"{_UNIT}{_CLOSE},?[ (]*\b(?:or|and/or|versus|vs\.?) (?:[a-z]+ ){{0,2}}{_OPEN}|{_CLOSE}to{_OPEN}"),
    ("list", rf"{_CLOSE}(?:[,;&]|,? ?and|, and){_OPEN}"),
    ("aside", rf"{_UNIT}{_CLOSE} ?\("),
)
_RELATIONS = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)
_HEDGE = re.compile(
    r"(?:(?:\b(?:not|never|neither|nor|between|than|cannot)\b|n['’]t\b|[≠≤≥])\s*(?:[A-Za-z]+ ){0,2}[ *_$({\\]*|"
    r"\w >=? ?|<=? ?)$"
)
# In "2 hours and 30 minutes" and "5 feet 6 inches" neither number is the answer.
_COMPOUND = re.compile(
    r" ?(?:(?:hours?|hrs?|h)\b.*\b(?:minutes?|mins?|m)|(?:minutes?|mins?)\b.*\b(?:seconds?|secs?)|days?\b.*\bhours?|"
    r"weeks?\b.*\bdays?|months?\b.*\b(?:weeks?|days?)|years?\b.*\bmonths?|(?:feet|foot|ft)\b.*\b(?:inch(?:es)?|in)|"
    r"dollars?\b.*\bcents?|(?:pounds?|lbs?)\b.*\b(?:ounces?|oz))\b"
)
_JOINED = re.compile(r" ?[a-z]+(?:,| and|, and)? ?")
_LISTED = re.compile(r"[.)][ \t]+[*_]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Reading:
    """The final answer read from a text.

    Attributes:
        answer: an exact number in plain text ("70000", "-3", "2.5", "1/2"); None if none was read.
        rule: the rule that matched ("hash", "boxed", "cue", "last-number", "number-word"), or why none did:
            "no-number", "ambiguous" (several answers, or a bound), "malformed" (digits that are not one number),
            "unfinished" (arithmetic without its result), "unclosed-think".
    """

    answer: str | None
    rule: str


def read_statement(text: str, first: Number, end: int, rule: str) -> Reading:
    """Read the statement that begins with the number `first` and ends before `end`."""
    chain, gaps = [first], list[Relation]()
    for number in numbers(text, first.end, end):
        kind = _between(text, chain[-1], number)
        if kind in ("prose", "aside"):
            break
        if len(chain) == _LONGEST_CHAIN:
            return Reading(None, "ambiguous")
        gaps.append(kind)
        chain.append(number)
    if len(chain) == 1 and _is_unfinished(text, first.end, end):
        return Reading(None, "unfinished")
    return _settled(chain, gaps, rule)


def read_last_statement(text: str, rule: str) -> Reading | None:
    """Read the statement that ends with the last number of a text; None for a text without numbers."""
    spans = [span for span in last_runs(text, _LONGEST_CHAIN + 1) if not is_label(text, *span)]
    if not spans:
        spans = [span for span in last_runs(text, len(text)) if not is_label(text, *span)][-_LONGEST_CHAIN - 1 :]
    if not spans:
        return None
    chain, gaps, before = _chain_back(text, spans)
    if _is_unfinished(text, chain[-1].end, len(text)):
        return Reading(None, "unfinished")
    reading = _settled(chain, gaps, rule, at_end=True)
    if before == "aside" and reading.rule == "unfinished":
        # In "She makes $18 (9 * 2)." the bracket explains the number before it.
        chain, gaps, before = _chain_back(text, spans[: len(spans) - len(chain)])
        reading = _settled(chain, gaps, rule, at_end=True)
    # In "more than Tom has: 9 - 5 = 4" the bound does not apply to the equation's result.
    return Reading(None, "ambiguous") if len(chain) == 1 and is_hedged(text, chain[0].start) else reading


def classify_gap(gap: str, after: str = "") -> Relation:
    """Classify how the text between two numbers relates them; `after` is what follows the second one."""
    if len(gap) > _LONGEST_GAP:
        return "prose"
    gap = gap.replace("**", "").replace("$", "").replace(ALGEBRA_MARK, "")
    if _JOINED.fullmatch(gap) and _COMPOUND.match(f"{gap}{after}"):
        return "list"
    return next((kind for kind, pattern in _RELATIONS if pattern.fullmatch(gap)), "prose")


def is_hedged(text: str, start: int) -> bool:
    """Tell whether the number at `start` is denied or only a bound: "not 18", "more than 18", "between 18 and 20"."""
    lead = text[max(0, start - 40) : start]
    return _HEDGE.search(lead) is not None


def is_label(text: str, start: int, end: int) -> bool:
    """Tell whether the digits only number the parts of a text: "2. Add them", "Step 3"."""
    if end - start > 2:
        return False
    lead = text[max(0, start - 12) : start].rstrip(" \t#*_->")
    if not lead or lead.endswith("\n"):
        return _LISTED.match(text, end) is not None
    return lead[-4:].lower() == "step"


def _between(text: str, first: Number, second: Number) -> Relation:
    return classify_gap(text[first.end : second.start], text[second.end : second.end + 10])


def _is_unfinished(text: str, start: int, end: int) -> bool:
    """Tell whether an equals sign without a result follows: the text was cut before it."""
    return classify_gap(text[start : min(end, start + _LONGEST_GAP)].rstrip()) == "equals"


def _chain_back(text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[Number], list[Relation], Relation]:
    """Collect, from the last number backwards, the numbers of one statement; return also what ended it."""
    chain, gaps = [number_at(text, *spans[-1])], list[Relation]()
    for span in reversed(spans[:-1]):
        number = number_at(text, *span)
        kind = _between(text, number, chain[0])
        if kind in ("prose", "aside"):
            return chain, gaps, kind
        chain.insert(0, number)
        gaps.insert(0, kind)
    return chain, gaps, "prose"


def _settled(chain: Sequence[Number], gaps: Sequence[Relation], rule: str, *, at_end: bool = False) -> Reading:
    """Return the one answer that a chain of numbers asserts."""
    if len(chain) > _LONGEST_CHAIN:
        return Reading(None, "ambiguous")
    groups: list[list[list[Number]]] = [[[chain[0]]]]
    for number, gap in zip(chain[1:], gaps, strict=True):
        if gap == "equals":
            groups[-1].append([number])
        elif gap == "operator":
            groups[-1][-1].append(number)
        else:
            groups.append([[number]])
    # "16-3=13, 13*2=26" is a calculation in steps, whose last result counts; "16, 17, 18" are three answers.
    steps = "choice" not in gaps and len(groups[-1]) > 1
    if steps and (at_end or all(len(group) > 1 for group in groups)):
        groups = groups[-1:]
    readings = [_result(group, rule) for group in groups]
    refused = next((reading for reading in readings if reading.answer is None), None)
    answers = [reading.answer for reading in readings if reading.answer is not None]
    if refused is None and all(equal(answers[-1], answer) for answer in answers):
        return readings[-1]
    return refused if refused is not None and len(readings) == 1 else Reading(None, "ambiguous")


def _result(sides: Sequence[Sequence[Number]], rule: str) -> Reading:
    """Read one equation or one number: the last side, or the first if only the others are calculations."""
    side = sides[-1] if len(sides[-1]) == 1 or len(sides) == 1 else sides[0]
    if len(side) > 1:
        return Reading(None, "unfinished")
    answer = side[0].text
    return Reading(None, "malformed") if answer is None else Reading(answer, rule)
