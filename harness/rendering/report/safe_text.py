"""Sentences that mix bench's own words with names from outside, rendered safely as plain text, Markdown or HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from baseline_bench.core.markup import code_span, make_visible


@dataclass(frozen=True, slots=True)
class ExternalName:
    """A text from outside: a candidate, a model, a task. It may hold anything."""

    text: str


@dataclass(frozen=True, slots=True)
class ReviewedText:
    """Text from a file that people wrote and reviewed, such as a hypothesis; shown as text, never as markup."""

    text: str


# A sentence is a tuple of parts; a str is text of bench itself and holds no markup.
SentencePart = str | ExternalName | ReviewedText
Sentence = tuple[SentencePart, ...]
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~$&!{}@]|(?<=:)//|(?<=www)[.])")


def to_plain_text(sentence: Sentence) -> str:
    """Render for SVG titles and other places without markup; control characters are spelled out."""
    return "".join(part if isinstance(part, str) else make_visible(part.text) for part in sentence)


def to_markdown(sentence: Sentence) -> str:
    """Render for Markdown: names as code spans that their text cannot end, reviewed text with all markup escaped."""
    return "".join(_part_to_markdown(part) for part in sentence)


def _part_to_markdown(part: SentencePart) -> str:
    if isinstance(part, str):
        return part
    return code_span(part.text) if isinstance(part, ExternalName) else _MARKUP.sub(r"\\\1", make_visible(part.text))


def to_html(sentence: Sentence) -> str:
    """Render for HTML: everything escaped, names as code."""
    return "".join(_part_to_html(part) for part in sentence)


def _part_to_html(part: SentencePart) -> str:
    text = escape(part if isinstance(part, str) else make_visible(part.text))
    return f"<code>{text}</code>" if isinstance(part, ExternalName) else text


def join_names(names: Sequence[str]) -> Sentence:
    """Join names as `a, b and c`."""
    parts: list[SentencePart] = []
    for index, name in enumerate(names):
        if index:
            parts.append(" and " if index == len(names) - 1 else ", ")
        parts.append(ExternalName(name))
    return tuple(parts)


def format_count(count: int, one: str, many: str | None = None) -> str:
    """Format a count as `1 row` or `1,319 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def format_p_value(p: float) -> str:
    """Format a p value with four decimals, or as below .0001."""
    return "< .0001" if p < 0.0001 else f"{p:.4f}".removeprefix("0")
