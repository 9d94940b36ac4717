"""Sentences of our own words with names from outside in them, spelled for plain text, Markdown and HTML alike."""

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
    """Words from a file that people wrote and reviewed, such as a hypothesis; shown as words and no markup."""

    text: str


# Parts that follow one another; a str is written by us and holds no markup.
SentencePart = str | ExternalName | ReviewedText
Sentence = tuple[SentencePart, ...]
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~$&!{}@]|(?<=:)//|(?<=www)[.])")


def to_plain_text(sentence: Sentence) -> str:
    """For SVG titles and other places that know no markup; controls are spelled out."""
    return "".join(part if isinstance(part, str) else make_visible(part.text) for part in sentence)


def to_markdown(sentence: Sentence) -> str:
    """For a page: names as code spans, which nothing inside can end; other words with every sign of markup escaped."""
    return "".join(_part_to_markdown(part) for part in sentence)


def _part_to_markdown(part: SentencePart) -> str:
    if isinstance(part, str):
        return part
    return code_span(part.text) if isinstance(part, ExternalName) else _MARKUP.sub(r"\\\1", make_visible(part.text))


def to_html(sentence: Sentence) -> str:
    """For a page of HTML: everything escaped, names as code."""
    return "".join(_part_to_html(part) for part in sentence)


def _part_to_html(part: SentencePart) -> str:
    text = escape(part if isinstance(part, str) else make_visible(part.text))
    return f"<code>{text}</code>" if isinstance(part, ExternalName) else text


def join_names(names: Sequence[str]) -> Sentence:
    """`a, b and c`."""
    parts: list[SentencePart] = []
    for place, name in enumerate(names):
        if place:
            parts.append(" and " if place == len(names) - 1 else ", ")
        parts.append(ExternalName(name))
    return tuple(parts)


def format_count(count: int, one: str, many: str | None = None) -> str:
    """`1 row`, `1,319 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def format_p_value(p: float) -> str:
    """A p value with as many digits as a reader needs."""
    return "< .0001" if p < 0.0001 else f"{p:.4f}".removeprefix("0")
