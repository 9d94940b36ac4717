"""Likelihoods that lm-eval measures beside an answer: none is measured here, so no number may depend on one."""

from collections.abc import Iterator
from math import inf

# What lm-eval's models say of a text: how likely it is (the logarithm), and whether it is the likeliest one.
Likelihood = tuple[float, bool]
CERTAIN: Likelihood = (0.0, True)
IMPOSSIBLE: Likelihood = (-inf, False)


def extremes(count: int) -> Iterator[list[Likelihood]]:
    """So many likelihoods, each certain or impossible: all the same, and so that of any two each is once the greater.

    A number that stays the same under all of these looks neither at how likely a text is nor at which of two is
    likelier.

    Args:
        count: of likelihoods; for none there is one empty list.
    """
    if count == 0:
        yield []
        return
    bits = (count - 1).bit_length()
    masks = [[True] * count, *([bool(place >> bit & 1) for place in range(count)] for bit in range(bits))]
    for mask in masks:
        for certain in (True, False):
            yield [CERTAIN if chosen == certain else IMPOSSIBLE for chosen in mask]
