"""Attention masks of packed rows: each row sees only itself, and no further back than its layer's window.

transformers can derive these masks from the positions, but synchronises with the device to do so, which stalls a GPU
at every pass and cannot be recorded in a CUDA graph.
"""

from typing import Any

import torch

SUPPORTED_ATTENTION = ("sdpa", "eager")


def build_masks(
    config: Any, positions: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor] | None:
    """Build the attention mask in the form that a transformers model takes.

    Args:
        config: of the model; its layer_types and sliding_window are used.
        positions: [1, tokens], 0 where a row begins.
        dtype: of the attention computation.

    Returns:
        A mask to add to attention scores: [1, 1, tokens, tokens] of 0 and the dtype's lowest number; one per layer type
        if the model has several; None for an attention implementation that finds the rows by itself.
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
    indices = torch.arange(positions.shape[1], device=positions.device)
    rows = (positions[0] == 0).cumsum(0)
    distance = indices[:, None] - indices[None, :]
    visible = (rows[:, None] == rows[None, :]) & (distance >= 0)
    if window is not None:
        visible &= distance < window
    masked = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=positions.device)
    return torch.where(visible, torch.zeros((), dtype=dtype, device=positions.device), masked)[None, None]
