"""Dice that files of lm-eval's throw: choices shuffled (GPQA), a letter guessed where none was read (MMMU, PISA)."""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED


@contextmanager
def of_a_run() -> Iterator[None]:
    """Throw the dice of `lm_eval run`, which sets these seeds before it loads a task; nobody else's are touched."""
    with _thrown(DEFAULT_RANDOM_SEED, DEFAULT_OTHER_SEED):
        yield


@contextmanager
def of_an_item(gold: str) -> Iterator[None]:
    """Throw dice that follow from the item alone, so that an answer is judged the same whenever it is."""
    seed = zlib.crc32(gold.encode())
    with _thrown(seed, seed):
        yield


@contextmanager
def _thrown(plain: int, numbers: int) -> Iterator[None]:
    before = random.getstate(), np.random.get_state()  # the very generators that those files draw from
    random.seed(plain)
    np.random.seed(numbers)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
