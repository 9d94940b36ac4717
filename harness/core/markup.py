"""Text from outside on a page: shown as it is, and unable to break a table, make a link, call a person or run."""

import re

_MAX_LENGTH = 100
# Controls, surrogates, and what is invisible or turns the direction of the text around it. A list of our own: the
# categories of `unicodedata` differ between Python versions, and a page may not.
_INVISIBLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\xa0\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u2000-\\u200f\\u2028-\\u202f"
    "\\u205f-\\u206f\\u3000\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\uffff\\ud800-\\udfff\\U000e0000-\\U000e0fff]"
)
UNKNOWN_MARK = "–"


def make_visible(text: str) -> str:
    """The text on one line, every control, invisible or direction-turning character spelled out."""
    return _INVISIBLE.sub(lambda match: f"\\u{{{ord(match[0]):x}}}", text)


def code_span(text: str) -> str:
    """A Markdown code span that shows `text`, cut at 100 characters; a dash for an empty one.

    Backslashes do not stop GitHub from linking `@name` or `#12`, nor `$` from opening LaTeX; a code span does.
    """
    shown = make_visible(text)
    if not shown:
        return UNKNOWN_MARK
    if len(shown) > _MAX_LENGTH:
        shown = shown[: _MAX_LENGTH - 1] + "…"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    # CommonMark takes one space off either end where both have one and something stands between.
    spaced = shown[0] == shown[-1] == " " and shown.strip(" ") != ""
    pad = " " if spaced or "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def table_cell(text: str) -> str:
    """A code span that stays inside its cell of a table, where a backslash keeps a bar from ending it even in code."""
    return code_span(text).replace("|", "\\|")


def csv_cell(text: str) -> str:
    """The text on one line, with an apostrophe before what a spreadsheet would take for a formula (OWASP)."""
    shown = make_visible(text)
    return f"'{shown}" if shown.lstrip().startswith(tuple("=+-@＝＋－＠'")) else shown
