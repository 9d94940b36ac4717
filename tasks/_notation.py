r"""Rewrite mathematical notation so that a number is written in one way and digits of algebra are no number.

Numbers: `\frac{-1}{2}`, `60^\circ`, `3 \times 10^2`, "4 and 1/2", `-(-3)`. Algebra: `2\sqrt{3}`, `4x`, `|-6|`, `2*pi`,
`log(100)`, `0.\overline{6}`.
"""

import re
from fractions import Fraction

from baseline_bench.tasks._numbers import ALGEBRA_MARK, LONGEST, equal, normalise
from baseline_bench.tasks._spelling import normalise_signs

_DIGITS = r"[0-9](?:[0-9.,]{0,30}[0-9])?"
_GROUP = r"\{(?:[^{}]{0,200}(?:\{[^{}]{0,200}\}[^{}]{0,200}){0,8})\}"

_FRACTION_COMMAND = re.compile(r"\\[cdt]frac(?![A-Za-z])")
_ARGUMENT = rf"\s?(?:\{{\s?(-?{_DIGITS})\s?\}}|([0-9]))"
_FRACTION = re.compile(rf"([0-9]?)\\frac{_ARGUMENT}{_ARGUMENT}")
_FRACTION_LEFT = re.compile(rf"\\frac\s?(?:{_GROUP}|[0-9A-Za-z])\s?(?:{_GROUP}|[0-9A-Za-z])?")
_DEGREES = re.compile(r"\s?\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![A-Za-z]))")
_ROOT_INDEX = re.compile(r"\\sqrt\s?\[[^\]\n]{0,20}\]")
_ABSOLUTE_COMMAND = re.compile(r"\\[lr]?vert(?![A-Za-z])\s?")
_POWER = re.compile(
    r"(?<![A-Za-z0-9.,)}\]^_/])(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)\s?[×xX*]\s?(10)|([0-9]{1,6}))"
    r"\^(?:\{(-?[0-9]{1,2})\}|(-?[0-9]{1,2}))(?![0-9^]|\.[0-9])"
)
_AND_FRACTION = re.compile(
    r"(?<=[0-9]) and ([0-9]{1,2})/([0-9]{1,3})(?![0-9/]| (?:of|is|are|was|were|remains?|left)\b)"
)

_COMMAND = (
    r"(?:sqrt|pi|theta|alpha|beta|gamma|delta|lambda|mu|phi|omega|sigma|epsilon|infty|sin|cos|tan|log|ln|exp|overline|bar|"
    r"dot|binom|frac)"
)
_VARIABLE = r"[xyzn](?![A-Za-z0-9'’])"
# Functions and constants in plain text. "They log 100 hours" and "15 min" are none.
_ROOT = r"(?<![A-Za-z\\])(?:sqrt|cbrt)"
_FUNCTION = (
    rf"(?:{_ROOT}|(?<![A-Za-z\\])(?:log(?:_?[0-9]{{1,2}})?|ln|exp|sin|cos|tan|abs|floor|ceil|round|factorial))\("
)
_PI = r"(?<![A-Za-z\\])pi(?![A-Za-z])"
_CALL = re.compile(rf"{_FUNCTION}\(?[^()\n]{{0,80}}")
_MATH_END = r"(?=[})$]|\\[)\]]|[ ]?[-+*/×÷^=≈])"
_LENGTH = r"(?:(?:centi|kilo|milli)?met|feet|foot|inch|yard|mile|unit|cm|km|mm|m\b|ft)"
_OPERAND = r"(?:[ ]?[-+*/×÷][ ]?[0-9]{1,9})"
_AFTER_DIGITS = re.compile(
    r"(?<=[0-9])(?="
    rf"[ ]?(?:\.|[-+*/×÷±][ ]?)?(?:\\{_COMMAND}(?![A-Za-z])|(?!μ[A-Za-z])[√∞α-ω]|pi(?![A-Za-z])|{_ROOT}\b|{_FUNCTION})|"
    r"\([0-9.]{1,9}\)|(?:ft|hrs?|min)[0-9]|"
    rf"[ ](?:(?:squared|cubed)\b(?! {_LENGTH})|factorial\b|to the [a-z]{{4,7}} power\b)|"
    r"[aejr](?![A-Za-z0-9'’]|\.m\b)|(?:\*| [*×] )(?:[b-z]|a(?! [a-z]))(?![A-Za-z0-9'’*])|"
    r"(?:[inquvwyz]|x(?! (?:as|more|less|the|larger|bigger|longer|faster|older|times)\b)|[xyz]{2})(?![A-Za-z0-9'’])|"
    rf"[abet]{_MATH_END}|[ \u2009][xyz](?:[}})]|\\[)\]]|\$(?![0-9]))|\u2009[xyz](?![A-Za-z0-9])|[CP][0-9]|⁻|"
    rf"\((?:[a-z][ ]?[-+*/^]|[0-9]{{1,9}}(?:[ ]?[-+*/^][ ]?[a-z]|{_OPERAND}{{1,9}})\))|"
    rf"[ ]?[-+*×^][ ]?{_VARIABLE}|/(?:{_VARIABLE}|[abkpqrt](?:[}})$]|\\[)\]]))|"
    rf"\.\([0-9]|!(?:[ ]?[}}$=]|[ ]?[-+*/×÷][ ]?[(0-9]|[ ][a-z]|\\[)\]]))"
)
# "half of 36" is not 36.
_SHARE = r"\b(?:[Hh]alf|thirds?|quarters?|fourths?|fifths?)"
# "$5.55..." is an amount of money, "0.55..." repeats.
_CENTS = r"(?!(?:(?<=\$[0-9]\.)|(?<=\$[0-9]{2}\.)|(?<=\$[0-9]{3}\.))[0-9]{2}(?:\.\.\.|…))"
_WITH_DIGITS = re.compile(
    rf"(?:{_ROOT}\s?|{_PI}[ ]?[-+*/×÷^][ ]?|"
    rf"(?:\b(?:square|cube) root|\b(?:absolute value|factorial|log)|{_SHARE}) of (?:the )?[$€£]?|"
    r"(?<![A-Za-z0-9'’*])[a-z](?:\*| [*×] )|"
    rf"\\{_COMMAND}(?![A-Za-z])\s?\{{?\s?|√\s?\(?|(?<={ALGEBRA_MARK})\.\(|(?<![A-Za-z0-9\\])[fg]\((?=[0-9.]+\))|"
    r"\\log\s?_(?:\{[0-9a-z]{1,9}\}|[0-9a-z])[ ({]{0,3}|\\l(?:floor|ceil)\s?|"
    rf"(?:(?<![A-Za-z0-9])[xyzn]|[√∞α-ω]|\\{_COMMAND}(?:\s?\{{[^{{}}]{{0,40}}\}}|(?![A-Za-z])))[ ]?[-+*/×÷±][ ]?)"
    rf"-?{_DIGITS}|"
    rf"(?<=[0-9]\.){_CENTS}[0-9]{{0,30}}?([0-9]{{0,5}}[1-9][0-9]{{0,5}})\1(?=\.\.\.|…)"
)
# What follows a number of algebra before the sign of its result: "5! = 120", "10π ≈ 31.4".
_BEFORE_RESULT = re.compile(
    rf"(?<={ALGEBRA_MARK})[ ]?(?:[*×][ ]?)?(?:!|[√∞α-ω]|\\[a-z]{{1,9}}|[a-z]{{1,2}}|squared|cubed|factorial)[ ]?"
    r"(?=[=≈])"
)
_ROW = r"^[ \t]*\|(?:[^|\n]*\|){2,}[ \t]*$"
_BARS = re.compile(rf"(?P<row>{_ROW})|(?<=[{{$=])\s?\|[^|\n{{}}]{{1,40}}\||\|-{_DIGITS}\|", re.MULTILINE)
_NUMERAL = re.compile(_DIGITS)

_SPACES = re.compile(r"(?<=[A-Za-z])[ ]{2,}|(?<! )[ ]{2,}+(?=[A-Za-z])")
_ABBREVIATION = re.compile(r"\b(hrs?|mins?|secs?|ft|lbs?|oz)\.(?=[ ]?[0-9])")
_IT_IS = r"(?:the (?:final |correct )?answer|it|this|that)(?:['’]s| (?:is|was|(?:will|could|would|can) be))"
_UNLIKELY = re.compile(
    rf"\b(?:unlikely|improbable|impossible)\b(?: to be| that(?: {_IT_IS})?)?|"
    rf"\b(?:(?:false|wrong|incorrect|untrue) that|(?:I|we|you)(?: [a-z]+ly)? doubt(?: that| if| whether)?) {_IT_IS}|"
    r"(?:\bnot|n['’]t)(?: [a-z]+)? (?:going|meant|supposed|likely) to be\b|\b(?:anything but|nowhere near)\b"
)
_WRONG = (
    r"(?:incorrect|wrong|false|not (?:right|correct|true|the (?:right |correct |final )?answer))\b"
    r"(?! (?:to|that|away|at first|of|for|I|if|[a-z]+ (?:to|that)\b))"
)
_DENIED = re.compile(
    r"(?<=[0-9])(?=[*_$)}\"'\]]{0,4}(?: [a-z%]{1,15}){0,2}"
    r"(?:[.?!]{1,2}[*_)\"']{0,2}\s{1,2}(?:[Bb]ut |[Nn]o, )?(?:[Tt]his|[Tt]hat|[Ii]t)(?: answer)?|,? which)?"
    rf"(?:['’]s| is| was)(?: [a-z]+ly)? {_WRONG})"
)
_CORRECTED = re.compile(
    rf"(?<![0-9], )\bnot [$€£]?{_DIGITS}(?: [a-z]+)?,? but(?: rather| instead)? (?=[-$€£]{{0,2}}[0-9])"
)
# "12 mod 5" is a calculation, and so is its like.
_WORD_OPERATOR = re.compile(
    r"(?<=[0-9])[ ]\(?(?:mod(?:ulo)?|choose|(?:in )?base|(?:raised )?to the power(?: of)?|"
    r"to the(?= [0-9]{1,2}(?:st|nd|rd|th) power))[ ](?=[0-9])|(?<=[0-9]/[0-9]) of (?=[$€£]?[0-9])"
)
_MINUS_BRACKET = re.compile(rf"-\((-?)([$€£]?{_DIGITS}(?:/[0-9]{{1,9}})?)\)")
_BARE_FACTORIAL = re.compile(r"^((?:#{4}[ ]?)?[0-9]{1,9})(?=![ ]*$)", re.MULTILINE)
# A special token was dropped between two digits.
_TORN = re.compile(r"(?<=[0-9])[.,/:]?\ufffd[.,/:]?(?=[0-9])")
_TORN_SIGN = re.compile(r"-\ufffd(?=[0-9])")
_PERCENT_OF = re.compile(
    rf"((?:%|[0-9]/[0-9]{{1,3}}|{_SHARE}) of [$€£]?{_DIGITS}(?: [a-z]{{1,20}})?),? "
    r"(?:i\.e\.|that is|which is|or),? (?=[-$€£]{0,2}[0-9])"
)
_UNKNOWNS = re.compile(rf"\b([A-Za-z])[ ]?=[ ]?(-?{_DIGITS})(,? or|,| and|, and) [A-Za-z][ ]?=[ ]?(?=-?[0-9])")

# A unit inside a sum with its result: "25 eggs - 5 eggs = 20", "$10 (shoes) + $10 (socks) = $20".
_UNIT = r"[ ]?/?[A-Za-z]{1,20}(?:[ /][A-Za-z]{1,20}){0,2}"
_LABEL = r"[ ]?\([A-Za-z ]{1,30}\)"
_SUM = rf"(?:[ ]?[-+*/×÷][ ]?[$€£]?{_DIGITS}(?:{_UNIT}|{_LABEL})?)"
_RESULT = r"[ ]?=[ ]?-?[$€£]?[0-9]"
_UNIT_IN_SUM = re.compile(rf"(?<=[0-9])(?:{_UNIT}(?={_SUM}{{1,5}}{_RESULT})|{_LABEL}(?={_SUM}{{0,5}}{_RESULT}))")
# In "2(3 + 4) = 14" the bracket is a factor.
_FACTOR = re.compile(rf"(?<=[0-9])\((?=[0-9]{{1,9}}{_OPERAND}{{0,9}}\)[ ]?[=≈])")


def rewrite_notation(text: str) -> str:
    """Normalise signs and notation; mark digits that belong to algebra, so that no rule reads them as a number."""
    text = text.replace("{,}", ",")
    if "\\" in text:
        text = _FRACTION_COMMAND.sub(r"\\frac", text)
        text = _ABSOLUTE_COMMAND.sub("|", _DEGREES.sub("°", _FRACTION.sub(_divide, text)))
        text = _ROOT_INDEX.sub(r"\\sqrt", text)
    text = _SPACES.sub(" ", normalise_signs(text))
    for pattern, meant in (
        (_ABBREVIATION, r"\1"),
        (_TORN, "_"),
        (_TORN_SIGN, "--"),
        (_DENIED, ALGEBRA_MARK),
        (_UNLIKELY, " not"),
        (_CORRECTED, ""),
        (_PERCENT_OF, r"\1 = "),
        (_UNKNOWNS, r"\1 = \2\3 "),
        (_UNIT_IN_SUM, ""),
        (_FACTOR, " × ("),
        (_WORD_OPERATOR, " × "),
        (_BARE_FACTORIAL, rf"\1{ALGEBRA_MARK}"),
    ):
        text = pattern.sub(meant, text)
    text = _CALL.sub(_mark_all, _MINUS_BRACKET.sub(_join_sign, text))
    text = _POWER.sub(_raise_power, _AND_FRACTION.sub(_join_fraction, text))
    text = _WITH_DIGITS.sub(rf"\g<0>{ALGEBRA_MARK}", _AFTER_DIGITS.sub(ALGEBRA_MARK, text))
    text = _BEFORE_RESULT.sub(" ", text)
    return _FRACTION_LEFT.sub(_mark_all, _BARS.sub(lambda bars: bars[0] if bars["row"] else _mark_all(bars), text))


def _mark_all(match: re.Match[str]) -> str:
    return _NUMERAL.sub(rf"\g<0>{ALGEBRA_MARK}", match.group())


def _join_sign(match: re.Match[str]) -> str:
    """Write `-(-3)` as 3 and `-(3)` as -3, unless the minus subtracts."""
    before = match.string[max(0, match.start() - 3) : match.start()]
    if before[-1:].isalpha() or re.search(r"[0-9)\]}%]\s*$", before):
        return match.group()
    return match.group(2) if match.group(1) else f"-{match.group(2)}"


def _divide(match: re.Match[str]) -> str:
    r"""Write `\frac` of two numbers as one fraction; leave digits that are not two numbers unchanged."""
    first, second = (normalise(match.group(one) or match.group(other)) for one, other in ((2, 3), (4, 5)))
    if first is None or second is None or equal(second, "0") or (match.group(1) and "-" in first + second):
        return match.group()
    quotient = Fraction(first) / Fraction(second)
    return f"{match.group(1)}{' ' if match.group(1) else ''}{quotient.numerator}/{quotient.denominator}"


def _raise_power(match: re.Match[str]) -> str:
    factor, base = Fraction(match.group(1) or 1), int(match.group(2) or match.group(3))
    exponent = int(match.group(4) or match.group(5))
    if exponent < 0 and base != 10:
        return match.group()
    value = factor * Fraction(base) ** exponent
    if value.denominator == 1:
        written = str(value.numerator)
    else:  # of a power of ten
        written = f"{value.numerator * 10**120 // value.denominator:0121d}"
        written = f"{written[:-120]}.{written[-120:].rstrip('0')}"
    return written if len(written) <= LONGEST else match.group()


def _join_fraction(match: re.Match[str]) -> str:
    return f" {match.group(1)}/{match.group(2)}" if int(match.group(1)) < int(match.group(2)) else match.group()
