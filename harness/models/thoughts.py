"""Thoughts: the delimiters of each model family, whether a prompt opens a thought, and where the answer starts.

A thought is what a reasoning model writes for itself before it answers. Nothing in it is ever graded. See
docs/reading-answers.md.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# How each family opens a thought and closes it, as patterns. The key names the family in `Manner.thought`; it is how
# the family closes a thought. In gpt-oss's harmony format every channel but "final" is a thought.
_FAMILIES = {
    "</think>": (r"<think(?:ing)?>", r"</think(?:ing)?>"),
    "</thought>": (r"<thought>", r"</thought>"),
    "</seed:think>": (r"<seed:think>", r"</seed:think>"),
    "◁/think▷": (r"◁think▷", r"◁/think▷"),
    "[/THINK]": (r"\[THINK\]", r"\[/THINK\]"),
    "<channel|>": (r"<\|channel>(?:thought\b)?", r"<channel\|>"),
    "<|channel|>final<|message|>": (
        r"<\|channel\|>(?!final)(?:[^<]*<\|message\|>)?",
        r"<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>",
    ),
    "<|END_THINKING|>": (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    "<|inner_suffix|>": (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
}
_NAMES = tuple(_FAMILIES)
_DELIMITER = re.compile("|".join(f"(?P<open{n}>{o})|(?P<close{n}>{c})" for n, (o, c) in enumerate(_FAMILIES.values())))


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Part of what a model wrote.

    Attributes:
        text: as the tokenizer spells it.
        special: it is one special token, which the stored text does not show.
    """

    text: str
    special: bool = False


@dataclass(frozen=True, slots=True)
class _Delimiter:
    family: str
    opens: bool
    start: int
    end: int


def is_delimiter(token: str) -> bool:
    """Whether a token alone is, or begins, one of the delimiters."""
    return _DELIMITER.match(token) is not None


def find_open_family(text: str) -> str | None:
    """The family of the thought that a text opens and does not close; None where it leaves none open."""
    return _scan_delimiters(_find_delimiters(text))[1]


def cut_before_thought(text: str) -> str:
    """The text up to the first thought that it opens."""
    return next((text[: mark.start] for mark in _find_delimiters(text) if mark.opens), text)


def find_answer_start(pieces: Sequence[TextPiece], family: str | None) -> int:
    """Where the answer starts behind the last thought, as a character of the text without special tokens.

    Delimiters in ordinary text count only for a family that the prompt or a special token brings into play: what else
    looks like a delimiter is left to the task's reader.

    Args:
        pieces: everything that the model wrote, in order.
        family: of the thought that the prompt opened, or None.

    Returns:
        0 where no family is in play; the length of the text where a thought was never closed.
    """
    places = _piece_offsets(pieces)
    special = {place for place, piece in zip(places, pieces, strict=False) if piece.special}
    marks = list(_find_delimiters("".join(piece.text for piece in pieces)))
    families = {family, *(mark.family for mark in marks if mark.start in special)}
    start, open_family = _scan_delimiters((mark for mark in marks if mark.family in families), family)
    if open_family is not None:
        start = places[-1]
    return sum(
        min(max(start - place, 0), len(piece.text))
        for place, piece in zip(places, pieces, strict=False)
        if not piece.special
    )


def _piece_offsets(pieces: Sequence[TextPiece]) -> list[int]:
    """Where each piece begins when all are written one after the other, and where the last one ends."""
    places = [0]
    for piece in pieces:
        places.append(places[-1] + len(piece.text))
    return places


def _find_delimiters(text: str) -> Iterator[_Delimiter]:
    for found in _DELIMITER.finditer(text):
        kind = found.lastgroup or ""
        number = int(kind.removeprefix("open").removeprefix("close"))
        yield _Delimiter(_NAMES[number], kind.startswith("open"), found.start(), found.end())


def _scan_delimiters(marks: Iterator[_Delimiter], family: str | None = None) -> tuple[int, str | None]:
    """(the end of the last delimiter that closed a thought, the family of the thought that is open at the end).

    A thought ends with its own family's delimiter only. One that closes what was never opened ends a thought all the
    same: some servers and templates drop its beginning.
    """
    start = 0
    for mark in marks:
        if mark.opens:
            family = family or mark.family
        elif family in (None, mark.family):
            family, start = None, mark.end
    return start, family
