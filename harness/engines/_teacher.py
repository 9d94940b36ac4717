"""Batches of token ids through a transformers network: padding, and how likely it finds what is given (teacher-forced).

A pass makes the logits of the wanted positions alone: those of whole rows would take gigabytes with a vocabulary of
262,144.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from harness.types import Row

# Logits of one pass: 256 MiB in float32, whatever the vocabulary.
LOGITS = 2**26


def padded(sequences: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, mask, positions), each sequence at the right end of its row."""
    width = max(len(ids) for ids in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    for place, sequence in enumerate(sequences):
        ids[place, width - len(sequence) :] = torch.tensor(sequence)
        mask[place, width - len(sequence) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def batches(rows: Sequence[Row], size: int, vocabulary: int) -> Iterator[list[Row]]:
    """Rows of like length, longest first, at most `size` together, and only one where two need more than `LOGITS`."""
    positions = LOGITS // vocabulary
    batch: list[Row] = []
    keep = 0
    for row in sorted(rows, key=lambda row: -len(row.token_ids)):
        keep = max(keep, _keep(row))
        if batch and (len(batch) == size or (len(batch) + 1) * keep > positions):
            yield batch
            batch, keep = [], _keep(row)
        batch.append(row)
    if batch:
        yield batch


def _keep(row: Row) -> int:
    """How many last positions tell of the tokens from `start` on; what the very last one foretells goes unused."""
    return len(row.token_ids) - row.start + 1


@torch.inference_mode()
def logprobs(network: Any, rows: Sequence[Row]) -> list[tuple[float, ...]]:
    """Of each row the log-probabilities (nats) of its tokens from `start` on, each given all before it."""
    ids, mask, positions = padded([row.token_ids for row in rows], network.device)
    logits = network(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=max(_keep(row) for row in rows),
    ).logits
    found = []
    for row, own in zip(rows, logits, strict=True):
        wanted = torch.tensor(row.token_ids[row.start :], device=own.device)
        before = own[-_keep(row) : -1].float()
        own_logprobs = before.gather(-1, wanted[:, None])[:, 0] - before.logsumexp(-1)
        found.append(tuple(float(value) for value in own_logprobs.tolist()))
    return found
