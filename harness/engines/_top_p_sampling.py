"""Choose the next token: the likeliest, or one drawn by a seed and the problem's id, independent of the batch."""

from collections.abc import Sequence

import torch
from baseline_bench.core.errors import NotFiniteError
from baseline_bench.core.types import Sampling


def build_generator(sampling: Sampling, row: str) -> torch.Generator | None:
    """Return the random generator that draws one row's tokens; None for greedy decoding."""
    seed = sampling.seed_of(row)
    # The CPU generator uses only 32 bits of its seed.
    return None if seed is None else torch.Generator().manual_seed(seed)


def choose_tokens(logits: torch.Tensor, sampling: Sampling, draws: Sequence[torch.Generator | None]) -> list[int]:
    """Choose one token per row.

    Args:
        logits: (rows, vocabulary).
        sampling: greedy, or a temperature with or without top_p.
        draws: one per row, from `build_generator`.

    Raises:
        BenchError: see `find_likeliest`.
    """
    likeliest = find_likeliest(logits)
    if sampling.temperature == 0:
        return [int(token) for token in likeliest.tolist()]
    odds = (logits.float() / sampling.temperature).softmax(-1).cpu()
    if sampling.top_p is not None:
        odds = apply_top_p(odds, sampling.top_p)
    return [int(torch.multinomial(row, 1, generator=draw)) for row, draw in zip(odds, draws, strict=True)]


def find_likeliest(logits: torch.Tensor) -> torch.Tensor:
    """Return the likeliest token of each row.

    Args:
        logits: (rows, vocabulary); minus infinity excludes a token, and is not an error.

    Raises:
        BenchError: a row's largest logit is not finite (NaN counts as largest).
    """
    largest, likeliest = logits.max(-1)
    if not bool(largest.isfinite().all()):
        raise NotFiniteError("the model's logits are NaN or infinite")
    return likeliest


def apply_top_p(odds: torch.Tensor, share: float) -> torch.Tensor:
    """Keep the odds of the fewest likeliest tokens that together reach `share`; set the others to 0.

    Holtzman, Buys, Du, Forbes and Choi, The Curious Case of Neural Text Degeneration, ICLR 2020.

    Args:
        odds: (rows, vocabulary), each row adding up to 1.
        share: above 0 and at most 1.
    """
    ranked, order = odds.sort(-1, descending=True)
    preceding = ranked.cumsum(-1) - ranked
    return torch.zeros_like(odds).scatter(-1, order, ranked.where(preceding < share, 0.0))
