"""Escape untrusted text for pages, so that it cannot break a table, make a link, mention a person or run."""

import re

_MAX_LENGTH = 100
# Controls, surrogates, and characters that are invisible or change the text direction. A list of our own, because the
# categories of `unicodedata` differ between Python versions, and a page may not.
_INVISIBLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\xa0\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2000-\\u200f\\u2028-\\u202f"
    "\\u205f-\\u206f\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\uffff\\ud800-\\udfff\\U000e0000-\\U000e0fff]"
)
UNKNOWN_MARK = "–"


def make_visible(text: str) -> str:
    """Return the text on one line, with every control, invisible or direction-changing character spelled out."""
    return _INVISIBLE.sub(lambda match: f"\\u{{{ord(match[0]):x}}}", text)


def code_span(text: str) -> str:
    """Return a Markdown code span of `text`, cut at 100 characters; a dash if it is empty.

    Backslashes do not stop GitHub from linking `@name` or `#12`, nor `$` from opening LaTeX; a code span does.
    """
    shown = make_visible(text)
    if not shown:
        return UNKNOWN_MARK
    if len(shown) > _MAX_LENGTH:
        shown = shown[: _MAX_LENGTH - 1] + "…"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    # CommonMark removes one space from both ends if both have one and the text is not all spaces.
    spaced = shown[0] == shown[-1] == " " and shown.strip(" ") != ""
    pad = " " if spaced or "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def table_cell(text: str) -> str:
    """Return a code span for a table cell, with bars escaped: even in code an unescaped bar ends the cell."""
    return code_span(text).replace("|", "\\|")


def csv_cell(text: str) -> str:
    """Return the text on one line, with an apostrophe before anything a spreadsheet reads as a formula (OWASP)."""
    shown = make_visible(text)
    return f"'{shown}" if shown.lstrip().startswith(tuple("=+-@＝＋－＠'")) else shown
