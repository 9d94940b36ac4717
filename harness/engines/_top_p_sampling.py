"""Which token is written next: the likeliest, or one drawn by a seed and a problem's name, whatever is in its batch."""

from collections.abc import Sequence

import torch
from baseline_bench.core.errors import NotFiniteError
from baseline_bench.core.types import Sampling


def build_generator(sampling: Sampling, row: str) -> torch.Generator | None:
    """What draws one row's tokens; None where nothing is drawn."""
    seed = sampling.seed_of(row)
    # The CPU generator looks at 32 bits of its seed only.
    return None if seed is None else torch.Generator().manual_seed(seed)


def choose_tokens(logits: torch.Tensor, sampling: Sampling, draws: Sequence[torch.Generator | None]) -> list[int]:
    """One token a row.

    Args:
        logits: (rows, vocabulary).
        sampling: greedy, or a temperature with or without top_p.
        draws: `generator`'s, a row each.

    Raises:
        BenchError: see `require_finite`.
    """
    likeliest = find_likeliest(logits)
    if sampling.temperature == 0:
        return [int(token) for token in likeliest.tolist()]
    odds = (logits.float() / sampling.temperature).softmax(-1).cpu()
    if sampling.top_p is not None:
        odds = apply_top_p(odds, sampling.top_p)
    return [int(torch.multinomial(row, 1, generator=draw)) for row, draw in zip(odds, draws, strict=True)]


def find_likeliest(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest token of each row.

    Args:
        logits: (rows, vocabulary); minus infinity rules a token out, and is not a fault.

    Raises:
        BenchError: a row's largest logit, for which NaN counts, is not finite.
    """
    largest, likeliest = logits.max(-1)
    if not bool(largest.isfinite().all()):
        raise NotFiniteError("the model's logits")
    return likeliest


def apply_top_p(odds: torch.Tensor, share: float) -> torch.Tensor:
    """The odds of the fewest likeliest tokens that reach `share` together, and 0 for the others.

    Holtzman, Buys, Du, Forbes and Choi, The Curious Case of Neural Text Degeneration, ICLR 2020.

    Args:
        odds: (rows, vocabulary), each row adding up to 1.
        share: above 0 and at most 1.
    """
    ranked, order = odds.sort(-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    return torch.zeros_like(odds).scatter(-1, order, ranked.where(before < share, 0.0))
