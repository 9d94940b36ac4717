"""One bit an item: answered right, strictly, not at all, or cut; so that two rows can be paired item by item."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from baseline_bench.core.types import Judgement, Score


def bits_to_hex(bits: Sequence[bool]) -> str:
    """One bit an item, the first item in the highest bit of the first digit, zero bits up to a whole digit."""
    width = -(-len(bits) // 4)
    number = int("".join("1" if bit else "0" for bit in bits).ljust(4 * width, "0") or "0", 2)
    return f"{number:0{width}x}" if width else ""


def hex_to_bits(text: str, total: int) -> tuple[bool, ...]:
    """The bits of `total` items; ValueError for another length, a digit that is none or a padding bit that is set."""
    number = _parse_bits(text, total)
    return tuple(digit == "1" for digit in f"{number:0{total}b}") if total else ()


def _parse_bits(text: str, total: int) -> int:
    """The bits as one integer, the last item lowest."""
    width = -(-total // 4)
    if len(text) != width or not re.fullmatch("[0-9a-f]*", text):
        raise ValueError(f"{total} items are {width} lower-case hex digits")
    number, padding = int(text or "0", 16), 4 * width - total
    if number & ((1 << padding) - 1):
        raise ValueError("a padding bit is set")
    return number >> padding


@dataclass(frozen=True, slots=True)
class Bits:
    """One bit an item, as `bits_to_hex` writes them."""

    correct: str
    strict: str
    unread: str
    cut: str

    @classmethod
    def of(cls, verdicts: Sequence[Judgement]) -> Self:
        """The bits of verdicts in item order."""
        return cls(
            correct=bits_to_hex([verdict.correct for verdict in verdicts]),
            strict=bits_to_hex([verdict.strict for verdict in verdicts]),
            unread=bits_to_hex([verdict.answer is None for verdict in verdicts]),
            cut=bits_to_hex([verdict.finish == "length" for verdict in verdicts]),
        )

    def counts(self, total: int) -> Score:
        """The counts that follow; ValueError for bits that are not those of `total` items."""
        correct, strict, unread, cut = (
            _parse_bits(text, total).bit_count() for text in (self.correct, self.strict, self.unread, self.cut)
        )
        return Score(total=total, correct=correct, strict=strict, unread=unread, cut=cut)
