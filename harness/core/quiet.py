"""Hide the progress bars of the data-set library."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets


@contextmanager
def hide_progress_bars() -> Iterator[None]:
    """Disable the bars inside the context and restore the library's setting after it."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
