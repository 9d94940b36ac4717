"""Attention masks of packed rows: each row sees itself alone, and no further back than its layer's window.

transformers can work these masks out of the positions, but asks the device while it does so, which stalls a GPU at
every pass and cannot be recorded in a CUDA graph.
"""

from typing import Any

import torch

SUPPORTED_ATTENTION = ("sdpa", "eager")


def build_masks(
    config: Any, positions: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor] | None:
    """What a model of transformers takes as its attention mask.

    Args:
        config: of the model; layer_types and sliding_window are read.
        positions: [1, tokens], 0 where a row begins.
        dtype: in which attention is computed.

    Returns:
        Added to the attention's scores: [1, 1, tokens, tokens] of 0 and the dtype's lowest number; one for each type of
        layer where the model has several; None for attention that finds the rows by itself.
    """
    text = config.get_text_config()
    if text._attn_implementation not in SUPPORTED_ATTENTION:
        return None
    window = getattr(text, "sliding_window", None)
    types = getattr(text, "layer_types", None)
    if types is None:
        return _build_mask(positions, dtype, window)
    return {kind: _build_mask(positions, dtype, window if kind == "sliding_attention" else None) for kind in set(types)}


def _build_mask(positions: torch.Tensor, dtype: torch.dtype, window: int | None) -> torch.Tensor:
    places = torch.arange(positions.shape[1], device=positions.device)
    rows = (positions[0] == 0).cumsum(0)
    back = places[:, None] - places[None, :]
    seen = (rows[:, None] == rows[None, :]) & (back >= 0)
    if window is not None:
        seen &= back < window
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=positions.device)
    return torch.where(seen, torch.zeros((), dtype=dtype, device=positions.device), hidden)[None, None]
