"""Measure how likely a transformers network finds given ids (teacher-forced).

A pass computes the logits of the needed positions alone: those of whole rows would take gigabytes with a vocabulary of
262,144.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from baseline_bench.core.types import TokenLogprobs, TrainingExample
from baseline_bench.engines._cache import SharedPrefix, build_growing_cache, pad_left

# Logits of one pass: 256 MiB in float32, whatever the vocabulary.
MAX_LOGITS = 2**26


class SharedContext(NamedTuple):
    """Token ids, and the rows that begin with them and whose text after them is measured."""

    ids: tuple[int, ...]
    rows: list[TrainingExample]


def group_batches(rows: Sequence[TrainingExample], size: int, vocabulary: int) -> Iterator[list[SharedContext]]:
    """Batch the rows by the context before their measured text, which is computed once; longest first.

    A batch has at most `size` rows, and fewer if their logits would exceed `MAX_LOGITS`; rows of one context stay
    together if they fit.
    """
    by_context: dict[tuple[int, ...], list[TrainingExample]] = {}
    for row in sorted(rows, key=lambda row: -len(row.token_ids)):
        by_context.setdefault(row.token_ids[: row.start], []).append(row)
    batch: list[SharedContext] = []
    row_count = longest = 0
    for ids, same in by_context.items():
        for row in same:
            longest = max(longest, len(row.token_ids) - row.start)
            full = row_count >= size or (row is same[0] and row_count + len(same) > size)
            if batch and (full or (row_count + 1) * longest > MAX_LOGITS // vocabulary):
                yield batch
                batch, row_count, longest = [], 0, len(row.token_ids) - row.start
            if not batch or batch[-1].ids != ids:
                batch.append(SharedContext(ids, []))
            batch[-1].rows.append(row)
            row_count += 1
    if batch:
        yield batch


@torch.inference_mode()
def measure_batch(
    network: Any, batch: Sequence[SharedContext], shared_prefix: SharedPrefix | None = None
) -> Iterator[tuple[str, TokenLogprobs]]:
    """Yield each row's log-probabilities (nats) of its tokens from `start` on, each given all before it.

    One pass over the contexts gives every row's first token; a second pass runs the texts on copies of the contexts'
    keys and values, one for each row. So equally likely first tokens of one context come out equal.

    Args:
        batch: of similar length.
        shared_prefix: the computed prefix of all contexts.
    """
    prefix_length, device = shared_prefix.length if shared_prefix else 0, network.device
    ids, mask, positions = pad_left([context.ids[prefix_length:] for context in batch], device)
    mask, positions = torch.cat([mask.new_ones(len(mask), prefix_length), mask], dim=1), positions + prefix_length
    cache = shared_prefix.cache(network.config, len(batch)) if shared_prefix else build_growing_cache(network.config)
    first = network(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
    ).logits[:, -1:]
    rows = [row for context in batch for row in context.rows]
    owner = torch.tensor([index for index, context in enumerate(batch) for _ in context.rows], device=device)
    texts = [row.token_ids[row.start :] for row in rows]
    width = max(map(len, texts)) - 1
    rest = None
    if width:
        behind = torch.tensor([[*text[:-1], *[0] * (width + 1 - len(text))] for text in texts], device=device)
        cache.batch_select_indices(owner)
        # Padding comes after the text, and no token of the text attends to it.
        rest = network(
            input_ids=behind,
            attention_mask=torch.cat([mask[owner], torch.ones_like(behind)], dim=1),
            position_ids=positions[owner, -1:] + 1 + torch.arange(width, device=device),
            past_key_values=cache,
        ).logits
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        own = first[owner[index]]
        yield row.id, _read_logprobs(own if rest is None else torch.cat([own, rest[index, : len(text) - 1]]), text)


def _read_logprobs(logits: torch.Tensor, text: Sequence[int]) -> TokenLogprobs:
    logits, token_ids = logits.float(), torch.tensor(text, device=logits.device)
    logprobs = logits.gather(-1, token_ids[:, None])[:, 0] - logits.logsumexp(-1)
    greedy = bool((logits.argmax(-1) == token_ids).all())
    return TokenLogprobs(tuple(float(value) for value in logprobs.tolist()), greedy)
