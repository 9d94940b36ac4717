"""Sentences of our own words with names from outside in them, spelled for plain text, Markdown and HTML alike."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from baseline_bench.core.markup import code, visible


@dataclass(frozen=True, slots=True)
class Name:
    """A text from outside: a candidate, a model, a task. It may hold anything."""

    text: str


@dataclass(frozen=True, slots=True)
class Prose:
    """Words from a file that people wrote and reviewed, such as a hypothesis; shown as words and no markup."""

    text: str


# Parts that follow one another; a str is written by us and holds no markup.
Part = str | Name | Prose
Sentence = tuple[Part, ...]
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~$&!{}@]|(?<=:)//|(?<=www)[.])")


def plain(sentence: Sentence) -> str:
    """For SVG titles and other places that know no markup; controls are spelled out."""
    return "".join(part if isinstance(part, str) else visible(part.text) for part in sentence)


def markdown(sentence: Sentence) -> str:
    """For a page: names as code spans, which nothing inside can end; other words with every sign of markup escaped."""
    return "".join(_markdown(part) for part in sentence)


def _markdown(part: Part) -> str:
    if isinstance(part, str):
        return part
    return code(part.text) if isinstance(part, Name) else _MARKUP.sub(r"\\\1", visible(part.text))


def html(sentence: Sentence) -> str:
    """For a page of HTML: everything escaped, names as code."""
    return "".join(_html(part) for part in sentence)


def _html(part: Part) -> str:
    text = escape(part if isinstance(part, str) else visible(part.text))
    return f"<code>{text}</code>" if isinstance(part, Name) else text


def listed(names: Sequence[str]) -> Sentence:
    """`a, b and c`."""
    parts: list[Part] = []
    for place, name in enumerate(names):
        if place:
            parts.append(" and " if place == len(names) - 1 else ", ")
        parts.append(Name(name))
    return tuple(parts)


def number(count: int, one: str, many: str | None = None) -> str:
    """`1 row`, `1,319 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def probability(p: float) -> str:
    """A p value with as many digits as a reader needs."""
    return "< .0001" if p < 0.0001 else f"{p:.4f}".removeprefix("0")
