"""Batches of rows for a key-value cache, and the cache: it grows in place and can share a prefix.

transformers copies its own cache for every token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Positions to add when the buffer is full.
SPARE_POSITIONS = 64
# A shorter shared prefix is not worth a separate pass.
MIN_PREFIX = 16


def pad_left(
    sequences: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad on the left: return (ids, mask, positions), each sequence at the right end of its row."""
    width = max(len(ids) for ids in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    for row_index, sequence in enumerate(sequences):
        ids[row_index, width - len(sequence) :] = torch.tensor(sequence)
        mask[row_index, width - len(sequence) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer with a larger buffer (`_room`); `keys` and `values` are views of its written part."""

    _room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new states to the old ones; return (all keys, all values)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old_length = self.get_seq_length()
        length = old_length + key_states.shape[-2]
        if self._room is None or length > self._room[0].shape[-2]:
            self._room = (
                self._wider(key_states, old_length, length),
                self._wider(value_states, old_length, length, values=True),
            )
        keys, values = self._room
        keys[..., old_length:length, :] = key_states
        values[..., old_length:length, :] = value_states
        self.keys, self.values = keys[..., :length, :], values[..., :length, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows, in this order; in an order from `compact_rows`, copy only a few, in place."""
        if self._room is not None:
            length, kept_rows = self.get_seq_length(), indices.tolist()
            moved = [(index, row) for index, row in enumerate(kept_rows) if row != index]
            if all(row >= len(kept_rows) for _, row in moved):
                for index, row in moved:
                    for states in self._room:
                        states[index, :, :length] = states[row, :, :length]
                keys, values = (states[: len(kept_rows)] for states in self._room)
            else:
                keys, values = (states[indices] for states in self._room)
            self._room = (keys, values)
            self.keys, self.values = keys[..., :length, :], values[..., :length, :]

    def _wider(self, states: torch.Tensor, old_length: int, length: int, *, values: bool = False) -> torch.Tensor:
        """Return a larger buffer that starts with a copy of the written part."""
        wide = states.new_empty((*states.shape[:-2], length + SPARE_POSITIONS, states.shape[-1]))
        if old_length:
            wide[..., :old_length, :] = self.values if values else self.keys
        return wide


def compact_rows(row_indices: Sequence[int]) -> list[int]:
    """Return an order of the kept rows (ascending indices) that moves few: the last ones fill the gaps."""
    count = len(row_indices)
    staying, behind = {row for row in row_indices if row < count}, (row for row in row_indices if row >= count)
    return [row if row in staying else next(behind) for row in range(count)]


def build_growing_cache(config: Any) -> DynamicCache:
    """Build the model's kind of cache: full-attention layers grow in place, others stay transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The network's states for the token ids that all prompts begin with.

    Attributes:
        length: number of these ids.
        states: keys and values of each layer, for one row.
    """

    length: int
    states: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self, config: Any, rows: int) -> DynamicCache:
        """Build a cache whose `rows` rows all begin with this prefix."""
        cache = build_growing_cache(config)
        for layer, (keys, values) in zip(cache.layers, self.states, strict=True):
            layer.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
        return cache


@torch.inference_mode()
def compute_shared_prefix(network: Any, prompts: Sequence[Sequence[int]]) -> SharedPrefix | None:
    """Compute the prefix that all prompts share; None if it is short, or some layer does not keep all of it.

    A sliding window counts positions, and would count the padding between prefix and prompt too.

    Args:
        prompts: token ids; the prefix leaves at least one id of each.
    """
    shortest = min(len(prompt) for prompt in prompts) - 1
    same = sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, zip(*prompts, strict=False)))
    length, cache = min(shortest, same), build_growing_cache(network.config)
    if len(prompts) < 2 or length < MIN_PREFIX or not all(isinstance(layer, GrowingLayer) for layer in cache.layers):
        return None
    ids = torch.tensor([list(prompts[0][:length])], device=network.device)
    network(input_ids=ids, past_key_values=cache, logits_to_keep=1)
    return SharedPrefix(length, tuple((layer.keys, layer.values) for layer in cache.layers))
