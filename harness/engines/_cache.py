"""A key-value cache that grows in place (transformers' own is copied for every token) and may begin with a prefix."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Places that are added when the room is used up.
SPARE_POSITIONS = 64
# A shorter beginning that prompts share is not worth a pass of its own.
MIN_PREFIX = 16


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
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
        """Keep these rows, in this order; in one that `closed_up` made few are copied, in place."""
        if self._room is not None:
            length, wanted = self.get_seq_length(), indices.tolist()
            moved = [(place, row) for place, row in enumerate(wanted) if row != place]
            if all(row >= len(wanted) for _, row in moved):
                for place, row in moved:
                    for states in self._room:
                        states[place, :, :length] = states[row, :, :length]
                keys, values = (states[: len(wanted)] for states in self._room)
            else:
                keys, values = (states[indices] for states in self._room)
            self._room = (keys, values)
            self.keys, self.values = keys[..., :length, :], values[..., :length, :]

    def _wider(self, states: torch.Tensor, before: int, length: int, *, values: bool = False) -> torch.Tensor:
        """Room for more, with what is written copied."""
        wide = states.new_empty((*states.shape[:-2], length + SPARE_POSITIONS, states.shape[-1]))
        if before:
            wide[..., :before, :] = self.values if values else self.keys
        return wide


def compact_rows(places: Sequence[int]) -> list[int]:
    """The order in which to keep some rows of many: those behind fill the gaps before them, the others stay.

    Args:
        places: of the rows to keep, ascending.
    """
    count = len(places)
    staying, behind = {place for place in places if place < count}, (place for place in places if place >= count)
    return [place if place in staying else next(behind) for place in range(count)]


def build_growing_cache(config: Any) -> DynamicCache:
    """The model's own kind of cache, whose full-attention layers grow in place.

    Args:
        config: of the model; sliding and other layers stay transformers' own.
    """
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """What the network made of the token ids that all prompts begin with.

    Attributes:
        length: of them.
        states: keys and values of each layer, of one row.
    """

    length: int
    states: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self, config: Any, rows: int) -> DynamicCache:
        """A cache of so many rows that begin with it."""
        cache = build_growing_cache(config)
        for layer, (keys, values) in zip(cache.layers, self.states, strict=True):
            layer.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
        return cache


@torch.inference_mode()
def compute_shared_prefix(network: Any, prompts: Sequence[Sequence[int]]) -> SharedPrefix | None:
    """Compute the beginning that all prompts share once; None where it is short, or some layer does not keep it whole.

    A sliding window counts places, and the padding between prefix and prompt would be counted with them.

    Args:
        network: a causal language model.
        prompts: token ids; of each one at least is left to be computed.
    """
    shortest = min(len(prompt) for prompt in prompts) - 1
    same = sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, zip(*prompts, strict=False)))
    length, cache = min(shortest, same), build_growing_cache(network.config)
    if len(prompts) < 2 or length < MIN_PREFIX or not all(isinstance(layer, GrowingLayer) for layer in cache.layers):
        return None
    ids = torch.tensor([list(prompts[0][:length])], device=network.device)
    network(input_ids=ids, past_key_values=cache, logits_to_keep=1)
    return SharedPrefix(length, tuple((layer.keys, layer.values) for layer in cache.layers))
