"""Bits survive their hex digits and follow from verdicts."""

import pytest
from baseline_bench.core.types import Judgement, Score
from baseline_bench.results.bits import Bits, bits_to_hex, hex_to_bits
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.booleans()))
def test_bits_survive_their_hex(bits: list[bool]) -> None:
    """Any list of bits comes back from its hex digits, four to a digit."""
    text = bits_to_hex(bits)
    assert len(text) == -(-len(bits) // 4)
    assert hex_to_bits(text, len(bits)) == tuple(bits)


def test_the_first_item_is_the_highest_bit() -> None:
    """1,319 items are 330 digits, the first item in the 8 of the first digit, the last one in the 2 of the last."""
    bits = [i in (0, 1318) for i in range(1319)]
    assert bits_to_hex(bits) == "8" + "0" * 328 + "2"


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("1", 3),
        ("01", 7),
        ("0", 5),
        ("000", 8),
        ("", 1),
        ("0", 0),
        ("G", 4),
        ("A", 4),
        ("٣", 4),
        ("-1", 8),
        ("0", 10**12),
    ],
)
def test_hex_that_is_not_of_so_many_bits_is_refused(text: str, total: int) -> None:
    """A padding bit that is set, another length, and anything but lower-case hex digits are errors."""
    with pytest.raises(ValueError, match=r"padding bit|hex digits"):
        hex_to_bits(text, total)


def test_bits_and_counts_follow_from_verdicts() -> None:
    """Correct, strict, unread (no answer read) and cut (ended by length) each have their bits, in item order."""
    verdicts = [
        Judgement("a", "1", "hash", True, True, "stop"),
        Judgement("b", "2", "last-number", True, False, "length"),
        Judgement("c", None, "none", False, False, "length"),
    ]
    assert Bits.of(verdicts) == Bits(correct="c", strict="8", unread="2", cut="6")
    assert Bits.of(verdicts).counts(3) == Score(total=3, correct=2, strict=1, unread=1, cut=2)
