"""A key-value cache that grows in place: transformers' own copies all of it for every token that is written."""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Places that are added when the room is used up.
ROOM = 64


class Growing(DynamicLayer):  # type: ignore[misc]
    """A layer of the cache with room ahead; `keys` and `values` are views of what is written."""

    _room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new states behind the old ones: (all keys, all values)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        length = before + key_states.shape[-2]
        if self._room is None or length > self._room[0].shape[-2]:
            self._room = (
                self._wider(key_states, before, length),
                self._wider(value_states, before, length, values=True),
            )
        keys, values = self._room
        keys[..., before:length, :] = key_states
        values[..., before:length, :] = value_states
        self.keys, self.values = keys[..., :length, :], values[..., :length, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows."""
        if self._room is not None:
            length = self.get_seq_length()
            keys, values = self._room[0][indices], self._room[1][indices]
            self._room = (keys, values)
            self.keys, self.values = keys[..., :length, :], values[..., :length, :]

    def _wider(self, states: torch.Tensor, before: int, length: int, *, values: bool = False) -> torch.Tensor:
        """Room for more, with what is written copied."""
        wide = states.new_empty((*states.shape[:-2], length + ROOM, states.shape[-1]))
        if before:
            wide[..., :before, :] = self.values if values else self.keys
        return wide


def growing(config: Any) -> DynamicCache:
    """The model's own kind of cache, whose full-attention layers grow in place.

    Args:
        config: of the model; sliding and other layers stay transformers' own.
    """
    cache = DynamicCache(config=config)
    cache.layers = [Growing() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
