"""One bit an item (right, strictly right, unread, cut), so that two rows can be paired item by item."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from baseline_bench.core.types import Judgement, Score


def bits_to_hex(bits: Sequence[bool]) -> str:
    """Encode one bit an item: the first item is the highest bit of the first digit, padded with zero bits."""
    width = -(-len(bits) // 4)
    number = int("".join("1" if bit else "0" for bit in bits).ljust(4 * width, "0") or "0", 2)
    return f"{number:0{width}x}" if width else ""


def hex_to_bits(text: str, total: int) -> tuple[bool, ...]:
    """Decode the bits of `total` items; ValueError for a wrong length, a wrong digit or a set padding bit."""
    number = _parse_bits(text, total)
    return tuple(digit == "1" for digit in f"{number:0{total}b}") if total else ()


def _parse_bits(text: str, total: int) -> int:
    """Parse the bits as one integer, the last item lowest."""
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
    def of(cls, judgements: Sequence[Judgement]) -> Self:
        """Build the bits of judgements in item order."""
        return cls(
            correct=bits_to_hex([judgement.correct for judgement in judgements]),
            strict=bits_to_hex([judgement.strict for judgement in judgements]),
            unread=bits_to_hex([judgement.answer is None for judgement in judgements]),
            cut=bits_to_hex([judgement.finish == "length" for judgement in judgements]),
        )

    def counts(self, total: int) -> Score:
        """Count the set bits of each kind; ValueError for bits that are not those of `total` items."""
        correct, strict, unread, cut = (
            _parse_bits(text, total).bit_count() for text in (self.correct, self.strict, self.unread, self.cut)
        )
        return Score(total=total, correct=correct, strict=strict, unread=unread, cut=cut)
