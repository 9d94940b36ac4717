"""Find thoughts in prompts and completions: each model family's delimiters, and where the answer starts.

A thought is what a reasoning model writes before its answer. It is never graded. See docs/reading-answers.md.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# The patterns that open and close each family's thoughts. The key, the closing delimiter, names the family in
# `PromptFormat.thought`. In gpt-oss's harmony format every channel but "final" is a thought.
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
_HEADERS = ("assistant", "model")  # the words that some templates write between the tokens that open a turn
_DELIMITER = re.compile("|".join(f"(?P<open{n}>{o})|(?P<close{n}>{c})" for n, (o, c) in enumerate(_FAMILIES.values())))


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Part of what a model wrote.

    Attributes:
        text: as the tokenizer decodes it.
        special: whether it is one special token, which the stored text leaves out.
        ends: whether this token ends a text or a turn, or begins the next one.
    """

    text: str
    special: bool = False
    ends: bool = False


@dataclass(frozen=True, slots=True)
class _Delimiter:
    family: str
    opens: bool
    start: int
    end: int


def is_delimiter(token: str) -> bool:
    """Return whether a token by itself is, or begins, a delimiter."""
    return _DELIMITER.match(token) is not None


def find_open_family(text: str) -> str | None:
    """Return the family of the thought that a text opens and does not close, or None."""
    family: str | None = None
    for mark in _find_delimiters(text):
        family, _ = _pass_delimiter(mark, family, 0)
    return family


def has_delimiter(text: str) -> bool:
    """Return whether a delimiter is anywhere in a text."""
    return _DELIMITER.search(text) is not None


def begins_with_thought(text: str) -> bool:
    """Return whether a text begins, after blanks, with an opening delimiter."""
    mark = next(_find_delimiters(text), None)
    return mark is not None and mark.opens and not text[: mark.start].strip()


def cut_before_thought(text: str) -> str:
    """Return the text up to the first thought that it opens."""
    return next((text[: mark.start] for mark in _find_delimiters(text) if mark.opens), text)


def find_answer(pieces: Sequence[TextPiece], family: str | None) -> tuple[int, int]:
    """Return where the answer starts, after the last thought, and ends: indices into the text without special tokens.

    The answer ends before the first token that ends a text or a turn, outside a thought and after the first word of
    an answer. Delimiters in ordinary text count only for a family that the prompt, a special token or the text's very
    beginning has introduced; the task's reader handles anything else that looks like a delimiter.

    Args:
        pieces: everything that the model wrote, in order.
        family: of the thought that the prompt opened, or None.

    Returns:
        0 and the length of the text without any such family or token; an empty answer if a thought was never closed.
    """
    offsets = _piece_offsets(pieces)
    special = {offset for offset, piece in zip(offsets, pieces, strict=False) if piece.special}
    text = "".join(piece.text for piece in pieces)
    marks = list(_find_delimiters(text))
    families = {family, *(mark.family for mark in marks if mark.start in special)}
    families |= {mark.family for mark in marks[:1] if begins_with_thought(text)}
    start, end = _scan_pieces(pieces, offsets, [mark for mark in marks if mark.family in families], family)
    first, last = (
        sum(
            min(max(index - offset, 0), len(piece.text))
            for offset, piece in zip(offsets, pieces, strict=False)
            if not piece.special
        )
        for index in (start, end)
    )
    return first, last


def _scan_pieces(
    pieces: Sequence[TextPiece], offsets: Sequence[int], marks: Sequence[_Delimiter], family: str | None
) -> tuple[int, int]:
    """Return start and end of the answer as indices into the text with special tokens."""
    start = written = passed = 0
    for offset, piece in zip(offsets, pieces, strict=False):
        while passed < len(marks) and marks[passed].end <= offset:
            family, start = _pass_delimiter(marks[passed], family, start)
            passed += 1
        in_delimiter = passed < len(marks) and marks[passed].start <= offset
        if piece.ends and family is None and written > start and not in_delimiter:
            return start, offset
        if not piece.special and piece.text.strip() not in ("", *_HEADERS):
            written = offset + len(piece.text.rstrip())
    for mark in marks[passed:]:
        family, start = _pass_delimiter(mark, family, start)
    return (start if family is None else offsets[-1]), offsets[-1]


def _piece_offsets(pieces: Sequence[TextPiece]) -> list[int]:
    """Return the offset of each piece in their concatenation, and the end of the last."""
    offsets = [0]
    for piece in pieces:
        offsets.append(offsets[-1] + len(piece.text))
    return offsets


def _find_delimiters(text: str) -> Iterator[_Delimiter]:
    for match in _DELIMITER.finditer(text):
        kind = match.lastgroup or ""
        number = int(kind.removeprefix("open").removeprefix("close"))
        yield _Delimiter(_NAMES[number], kind.startswith("open"), match.start(), match.end())


def _pass_delimiter(mark: _Delimiter, family: str | None, start: int) -> tuple[str | None, int]:
    """Return (the family of the thought that is open behind a delimiter, where an answer starts then).

    A thought ends only with its own family's delimiter. A closing delimiter counts without an opening one, because
    some servers and templates drop the beginning.
    """
    if mark.opens:
        return family or mark.family, start
    return (None, mark.end) if family in (None, mark.family) else (family, start)
