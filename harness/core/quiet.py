"""Keeps the progress bars of the data-set library off the screen."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets


@contextmanager
def hide_progress_bars() -> Iterator[None]:
    """No bars meanwhile; the library's setting is then as it was."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
