"""Normalise the spelling of signs, so that the rules that read an answer see no LaTeX, look-alikes or number words."""

import re

_FULL_WIDTH = {0xFF01 + offset: 0x21 + offset for offset in range(ord("#") - 0x21, ord("=") - 0x21 + 1)}
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63"), "-")
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e"))
_LINES = dict.fromkeys(map(ord, "\r\x0b\x0c\x85\u2028\u2029"), "\n")
_OTHER = {0xFFE5: "¥", 0xFFE1: "£", 0x3000: " ", 0x2044: "/", 0x2217: "×", 0x22C5: "×"}
# Nothing else is translated: NFKC would turn 10² into 102 and 3⅓ into 31/3.
_SIGNS = {**_FULL_WIDTH, **_DASHES, **_INVISIBLE, **_LINES, **_OTHER}

_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip

_LATEX = {
    "\\$": "$", "\\%": "%", "\\,": "\u2009", "\\!": "", "\\;": " ", "\\:": " ", "\\ ": " ",
    "\\dfrac": "\\frac", "\\tfrac": "\\frac",
}  # fmt: skip
_COMMANDS = {
    "times": "×", "cdot": "×", "ast": "×", "div": "÷", "approx": "≈", "pm": "±", "left": "", "right": "",
    "neq": "≠", "ne": "≠", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "quad": " ",
}  # fmt: skip
_COMMAND = re.compile(rf"\\({'|'.join(_COMMANDS)})(?![A-Za-z])")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|bf|rm)\s?\{([^{}]*+)\}")
_FRAC = re.compile(r"([0-9]?)\\frac\s?(?:\{\s?([0-9]++)\s?\}\s?\{\s?([0-9]++)\s?\}|([0-9])([0-9])(?![0-9]))")
_CALCULATOR = re.compile(r"<<[^<>\n]*+>>")
_SIGN_WORD = re.compile(r"\b(?:negative|minus)\s(?=[$€£¥₹]?[0-9])", re.IGNORECASE)
_RUPEES = re.compile(r"\bRs\.?\s?(?=[0-9])")

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * ten for ten, word in enumerate(_TENS, 2)}
_POWERS = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
NUMBER_WORD = rf"(?:{'|'.join(sorted(_VALUES, key=len, reverse=True))})"
"""Pattern of a word that begins a number; case is to be ignored."""
_ANY_WORD = re.compile(NUMBER_WORD)
_JOINED = rf"(?:[ -](?:and )?(?:{NUMBER_WORD}|{'|'.join(_POWERS)})\b)"
# "one of them", "two thirds" and "three point five" do not mean the number that they begin with.
_PHRASE = re.compile(
    rf"(?<![\w-])(?=[efmnostz])(?:(negative|minus)[ ])?({NUMBER_WORD}\b{_JOINED}*+)"
    r"(?![\w-]|[ ](?:of|point|half|halves|and a|thirds?|fifths?)\b)",
    re.IGNORECASE,
)


def normalise_signs(text: str) -> str:
    """Rewrite look-alike signs, the LaTeX of numbers and calculator marks; leave everything else unchanged."""
    text = text.replace("\r\n", "\n").replace("{,}", ",").replace("+/-", "±").translate(_SIGNS)
    if "\\" in text:
        text = _without_latex(text)
    for sign, fraction in _VULGAR.items():
        if sign in text:
            text = re.sub(rf"(?<=[0-9])\s?{sign}", f" {fraction}", text).replace(sign, fraction)
    text = _CALCULATOR.sub("", text)
    return _RUPEES.sub("₹", _SIGN_WORD.sub("-", text))


def write_numbers_as_digits(text: str) -> str:
    """Write every number that is spelled out as digits ("forty-two" becomes "42"), save a lone "one"."""
    return _PHRASE.sub(_digits, text) if _ANY_WORD.search(text.lower()) else text


def write_opening_number_as_digits(text: str) -> str | None:
    """Return `text` with its opening number as digits if that is spelled out, else None."""
    opening = _PHRASE.match(text)
    digits = None if opening is None else _digits(opening)
    return None if opening is None or digits == opening.group() else f"{digits}{text[opening.end() :]}"


def _without_latex(text: str) -> str:
    for written, meant in _LATEX.items():
        text = text.replace(written, meant)
    text = _COMMAND.sub(lambda match: _COMMANDS[match.group(1)], text)
    text = _WRAPPED.sub(r" \1 ", text)
    return _FRAC.sub(_slashed, text)


def _slashed(match: re.Match[str]) -> str:
    numerator, denominator = match.group(2) or match.group(4), match.group(3) or match.group(5)
    return f"{match.group(1)} {numerator}/{denominator}" if match.group(1) else f"{numerator}/{denominator}"


def _digits(phrase: re.Match[str]) -> str:
    words = re.findall(r"[a-z]+", phrase.group(2).lower())
    value = _value([word for word in words if word != "and"])
    if value is None or words == ["one"]:
        return phrase.group()
    return f"-{value}" if phrase.group(1) else str(value)


def _value(words: list[str]) -> int | None:
    """Add number words up as English does; None for words that are not a single number ("two three")."""
    total, below_thousand, last_power = 0, 0, 10**12
    for word in words:
        if word in _POWERS and word != "hundred":
            if not below_thousand or _POWERS[word] >= last_power:
                return None
            last_power = _POWERS[word]
            total, below_thousand = total + below_thousand * last_power, 0
        elif word == "hundred":
            if not 0 < below_thousand < 100:
                return None
            below_thousand *= 100
        else:
            value, room = _VALUES[word], below_thousand % 100
            fits = room == 0 or (0 < value < 10 and room >= 20 and room % 10 == 0)
            if not fits or (below_thousand and not value):
                return None
            below_thousand += value
    return total + below_thousand
