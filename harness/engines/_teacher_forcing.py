"""Batches of token ids through a transformers network: padding, and how likely it finds what is given (teacher-forced).

A pass makes the logits of the wanted positions alone: those of whole rows would take gigabytes with a vocabulary of
262,144.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from baseline_bench.core.types import TokenLogprobs, TrainingExample
from baseline_bench.engines._cache import SharedPrefix, build_growing_cache

# Logits of one pass: 256 MiB in float32, whatever the vocabulary.
MAX_LOGITS = 2**26


def pad_left(
    sequences: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, mask, positions), each sequence at the right end of its row."""
    width = max(len(ids) for ids in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    for place, sequence in enumerate(sequences):
        ids[place, width - len(sequence) :] = torch.tensor(sequence)
        mask[place, width - len(sequence) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


class SharedContext(NamedTuple):
    """Token ids, and the rows that begin with them and are measured behind them."""

    ids: tuple[int, ...]
    rows: list[TrainingExample]


def group_batches(rows: Sequence[TrainingExample], size: int, vocabulary: int) -> Iterator[list[SharedContext]]:
    """Rows by what stands before the measured text, which is computed once for all of them; longest first.

    At most `size` rows together, fewer where their logits would take more than `LOGITS`; those of one context stay
    together where they fit.
    """
    found: dict[tuple[int, ...], list[TrainingExample]] = {}
    for row in sorted(rows, key=lambda row: -len(row.token_ids)):
        found.setdefault(row.token_ids[: row.start], []).append(row)
    batch: list[SharedContext] = []
    held = longest = 0
    for ids, same in found.items():
        for row in same:
            longest = max(longest, len(row.token_ids) - row.start)
            full = held >= size or (row is same[0] and held + len(same) > size)
            if batch and (full or (held + 1) * longest > MAX_LOGITS // vocabulary):
                yield batch
                batch, held, longest = [], 0, len(row.token_ids) - row.start
            if not batch or batch[-1].ids != ids:
                batch.append(SharedContext(ids, []))
            batch[-1].rows.append(row)
            held += 1
    if batch:
        yield batch


@torch.inference_mode()
def measure_batch(
    network: Any, batch: Sequence[SharedContext], begun: SharedPrefix | None = None
) -> Iterator[tuple[str, TokenLogprobs]]:
    """Of each row the log-probabilities (nats) of its tokens from `start` on, each given all before it.

    The contexts are one pass, which tells of every row's first token; the texts behind them are another one over the
    contexts' keys and values, a copy for each row. So equally likely first tokens of one context come out equal.

    Args:
        network: a causal language model.
        batch: of like length.
        begun: what all contexts begin with, computed before.
    """
    before, device = begun.length if begun else 0, network.device
    ids, mask, positions = pad_left([context.ids[before:] for context in batch], device)
    mask, positions = torch.cat([mask.new_ones(len(mask), before), mask], dim=1), positions + before
    cache = begun.cache(network.config, len(batch)) if begun else build_growing_cache(network.config)
    first = network(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
    ).logits[:, -1:]
    rows = [row for context in batch for row in context.rows]
    owner = torch.tensor([place for place, context in enumerate(batch) for _ in context.rows], device=device)
    texts = [row.token_ids[row.start :] for row in rows]
    width = max(map(len, texts)) - 1
    rest = None
    if width:
        behind = torch.tensor([[*text[:-1], *[0] * (width + 1 - len(text))] for text in texts], device=device)
        cache.batch_select_indices(owner)
        # What fills a text up comes after it, where no token of it looks.
        rest = network(
            input_ids=behind,
            attention_mask=torch.cat([mask[owner], torch.ones_like(behind)], dim=1),
            position_ids=positions[owner, -1:] + 1 + torch.arange(width, device=device),
            past_key_values=cache,
        ).logits
    for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
        own = first[owner[place]]
        yield row.id, _read_logprobs(own if rest is None else torch.cat([own, rest[place, : len(text) - 1]]), text)


def _read_logprobs(logits: torch.Tensor, text: Sequence[int]) -> TokenLogprobs:
    """What (tokens, vocabulary) logits say of a text."""
    logits, wanted = logits.float(), torch.tensor(text, device=logits.device)
    logprobs = logits.gather(-1, wanted[:, None])[:, 0] - logits.logsumexp(-1)
    greedy = bool((logits.argmax(-1) == wanted).all())
    return TokenLogprobs(tuple(float(value) for value in logprobs.tolist()), greedy)
