"""Recognise numbers as people and models format them, exactly: digits that do not form one number are malformed."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 1000
"""Characters in one number at most, written or read; Python itself refuses to convert more than 4,300 digits."""

ALGEBRA_MARK = "\u2060"
"""Behind digits: they belong to algebra and are no number. `normalise_signs` removes it from what a model wrote."""

_WINDOW = 100_000
_CURRENCY = "$€£¥₹¢"
# Code points from here on include scripts without spaces, such as Chinese, where a number may follow a letter.
_UNSPACED = "\u0530"
_SIGNS = "-+±"
_SPACES = " \u00a0\u2007\u2009\u202f"
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12} | {"k": 3, "m": 6, "b": 9, "bn": 9}

# A run of digits with everything that joins further digits to it, so that no part of it can be read as a number.
# It never begins after an ASCII letter ("m2", "x^2") or inside such a name ("m2.5"); `_in_name` covers rarer cases.
_RUN = re.compile(
    r"(?<![A-Za-z0-9])(?<![0-9][.,:'’_/^])(?<![A-Za-z]\^)"
    r"(?:(?<![A-Za-z0-9.)\]])\.)?[0-9]++(?:"
    r"(?:[.,:'’_/]|\^\{?|[eE][-+]?|[xXh])[0-9]++"
    rf"|(?<![0-9]{{4}})[{_SPACES}][0-9]{{3}}(?![0-9])"
    r"|[ ][0-9]{1,9}/[0-9]++"
    r")*+"
)
_DECIMAL = re.compile(r"(?=[.0-9])([0-9]*)(?:\.([0-9]+))?")
_GROUPED = re.compile(rf"[1-9][0-9]{{0,2}}(?:(?:,[0-9]{{3}})+|(?:[{_SPACES}][0-9]{{3}})+)(?:\.[0-9]+)?")
_FRACTION = re.compile(r"(?:([0-9]+)[ ])?([0-9]+)/([0-9]+)")
_SCALE = re.compile(r"(?:[\s-]?((?i:hundred|thousand|million|billion|trillion))s?|([kKMB]|bn))\b")
_PART = re.compile(
    r"\s?(?:and|&)\s(?:a|one)[\s-](?:half|third|quarter|fourth)|"
    r"[\s-]?(?:third|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s\b"
)
_VALUE = re.compile(r"-?[0-9]+(?:\.[0-9]+|/0*[1-9][0-9]*)?")


@dataclass(frozen=True, slots=True)
class Number:
    """A number and its position in a text.

    Attributes:
        start: index of its first character, sign and currency mark included.
        end: index after its last character, a scale word included.
        text: the normalised value ("70000", "-3", "2.5", "1/2"); None for digits that do not form one number.
    """

    start: int
    end: int
    text: str | None


def numbers(text: str, start: int = 0, end: int | None = None) -> Iterator[Number]:
    """Yield the numbers of `text[start:end]` in order, without digits inside names (`m2`, `x_1`, `m^2`).

    `start` also counts as the beginning of a field: a lone minus there ("#### - 5") is a sign.
    """
    for run in _RUN.finditer(text, start, len(text) if end is None else end):
        if not _in_name(text, run.start()):
            yield number_at(text, run.start(), run.end(), start)


def last_runs(text: str, most: int) -> list[tuple[int, int]]:
    """Return the spans of the last `most` runs of digits, not yet parsed and without names."""
    spans = _runs(text, max(0, len(text) - _WINDOW))
    # The window may open inside a run, so its first run is not trusted; with too few runs the whole text is searched.
    if len(spans) <= most and len(text) > _WINDOW:
        spans = _runs(text, 0)
    return spans[-most:]


def _runs(text: str, start: int) -> list[tuple[int, int]]:
    return [run.span() for run in _RUN.finditer(text, start) if not _in_name(text, run.start())]


def number_at(text: str, start: int, end: int, field: int = -1) -> Number:
    """Parse the run of digits at `text[start:end]` with its sign, currency mark and scale word."""
    first, sign = _sign(text, start, field)
    scale = _SCALE.match(text, end)
    shift = 0
    last = end
    if scale is not None:
        shift = _SCALES[(scale.group(1) or scale.group(2)).lower()]
        last = scale.end()
    if sign == "±" or _glued(text, start, end) or _PART.match(text, last) or (shift and _SCALE.match(text, last)):
        return Number(first, last, None)
    value = _normalised(text[start:end], shift)
    if value is not None and len(value) > LONGEST:
        value = None
    if value is None or sign != "-" or value == "0":
        return Number(first, last, value)
    return Number(first, last, "-" + value)


def equal(answer: str, gold: str) -> bool:
    """Tell whether two normalised numbers are exactly equal: 18 = 18.00 = 36/2, and 18 is not 18.000001.

    Text that is not such a number, or is longer than `LONGEST`, equals nothing.
    """
    if max(len(answer), len(gold)) > LONGEST + 1 or not (_VALUE.fullmatch(answer) and _VALUE.fullmatch(gold)):
        return False
    return Fraction(answer) == Fraction(gold)


def normalise(text: str) -> str | None:
    """Normalise a text that is one number, such as a published "70,000"; None if it is not one."""
    sign = "-" if text.startswith("-") else ""
    value = _normalised(text[len(sign) :], 0)
    return value if value in (None, "0") else f"{sign}{value}"


def _normalised(run: str, shift: int) -> str | None:
    """Read an unsigned run of digits; `shift` is the power of ten that a scale word adds."""
    if len(run) > LONGEST:
        return None
    if _GROUPED.fullmatch(run):
        run = "".join(char for char in run if char not in "," + _SPACES)
    decimal = _DECIMAL.fullmatch(run)
    if decimal is not None:
        part = decimal.group(2) or ""
        digits = decimal.group(1) + part.ljust(shift, "0")
        point = len(decimal.group(1)) + shift
        whole, fraction_digits = digits[:point].lstrip("0") or "0", digits[point:].rstrip("0")
        return f"{whole}.{fraction_digits}" if fraction_digits else whole
    fraction = _FRACTION.fullmatch(run)
    if fraction is None or shift or int(fraction.group(3)) == 0:
        return None
    whole_part, numerator, denominator = (int(part or 0) for part in fraction.groups())
    # str() of a Fraction is reduced: "36/2" becomes "18", "2 1/2" becomes "5/2".
    return str(whole_part + Fraction(numerator, denominator))


def _in_name(text: str, start: int) -> bool:
    """Tell whether the digit at `start` belongs to a name or to the exponent of one: `m2`, `x_1`, `cm^2`, `m^{2}`."""
    base = text[start - 1] if start else ""
    if base and base in "^_{":
        before = text[max(0, start - 4) : start]
        base = before.rstrip("{")[:-1].rstrip(" })")[-1:] if before.endswith(("^", "_", "^{", "_{")) else ""
    return base.isalpha() and base < _UNSPACED


def _glued(text: str, start: int, end: int) -> bool:
    """Tell whether a neighbour makes the digits part of another number: 10², x.5, ١٨, 10^2, --5."""
    before, after = text[max(0, start - 3) : start], text[end : end + 1]
    # Deliberately not translated: superscripts, digits of other scripts, keycaps and strike-through change a number.
    if any(char.isnumeric() or unicodedata.category(char).startswith("M") for char in (before[-1:], after) if char):
        return True
    if text.startswith(("^", ALGEBRA_MARK), end):
        return True
    return before.endswith(("--", "+-", "-+", "^", "^{")) or (before.endswith(".") and not before.endswith(".."))


def _sign(text: str, start: int, field: int) -> tuple[int, str]:
    """Find sign and currency mark before the digits, in either order; return where they start and the sign."""
    floor = max(field, 0)
    first, signed = start, -1
    if first > floor and text[first - 1] in _SIGNS:
        first = signed = first - 1
    mark = _unspaced(text, first, floor)
    # More than one mark is LaTeX: "$$-5$$".
    while mark > floor and text[mark - 1] in _CURRENCY:
        first = mark = mark - 1
    if signed < 0:
        tight = _unbold(text, first, floor)
        mark = _unspaced(text, first, floor)
        if mark > floor and text[mark - 1] in _SIGNS and (mark == tight or _opens(text, mark - 1, field)):
            first = signed = mark - 1
    # In "16-3", "(a)-3" and "12-hour" the dash joins or subtracts and is not a sign.
    if signed >= 0 and first > floor and (text[first - 1].isalnum() or text[first - 1] in ")]}%"):
        return signed + 1, ""
    return first, "" if signed < 0 else text[signed]


def _unbold(text: str, index: int, floor: int) -> int:
    """Step back over the stars of bold print."""
    return index - 2 if index - 2 >= floor and text[index - 2 : index] == "**" else index


def _unspaced(text: str, index: int, floor: int) -> int:
    """Step back over bold print and one space, in either order."""
    index = _unbold(text, index, floor)
    if index > floor and text[index - 1] == " ":
        index = _unbold(text, index - 1, floor)
    return index


def _opens(text: str, index: int, field: int) -> bool:
    """Tell whether only an opening comes before a lone minus: "= - 5" is negative, "9 - 5" is not."""
    before = text[max(0, field, index - 8) : index].rstrip(" *($[{\\")
    return before.endswith(("=", ":")) or (field >= 0 and not before and index - field < 8)
