"""Rows of one optimizer step into padding-free batches: several rows in one sequence, each blind to the others.

Positions restart at every row, which is how transformers tells where a row begins (its masks are block-diagonal
then). Nothing is padded, and the loss is over supervised tokens alone, so that packing changes no gradient.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from baseline_bench.core.types import TrainingExample


@dataclass(frozen=True, slots=True)
class PackedPass:
    """One forward pass.

    Attributes:
        ids: [1, tokens].
        positions: [1, tokens]; 0 where a row begins.
        predict: places in the sequence whose next token is supervised.
        labels: these next tokens.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    predict: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "PackedPass":
        """The same on another device."""
        return PackedPass(
            *(part.to(device, non_blocking=True) for part in (self.ids, self.positions, self.predict, self.labels))
        )


def pack_examples(rows: Sequence[TrainingExample]) -> PackedPass:
    """Put rows one after another."""
    ids: list[int] = []
    positions: list[int] = []
    predict: list[int] = []
    labels: list[int] = []
    for row in rows:
        begin, length = len(ids), len(row.token_ids)
        ids += row.token_ids
        positions += range(length)
        predict += range(begin + row.start - 1, begin + length - 1)
        labels += row.token_ids[row.start :]
    return PackedPass(torch.tensor([ids]), torch.tensor([positions]), torch.tensor(predict), torch.tensor(labels))


def split_into_steps(
    rows: Sequence[TrainingExample], batch: int, epochs: float, seed: int
) -> list[list[TrainingExample]]:
    """The rows of every optimizer step: each epoch shuffled anew by the seed, its last window as small as it comes.

    Args:
        rows: all rows.
        batch: rows of a step.
        epochs: may be a fraction; the steps of the last, partial epoch are rounded up.
        seed: the same seed gives the same order, whatever else is random.
    """
    whole, part = int(epochs), epochs - int(epochs)
    made: list[list[TrainingExample]] = []
    for epoch in range(whole + (part > 0)):
        order = list(rows)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        if epoch == whole:
            order = order[: max(1, round(part * len(order)))]
        made += [order[start : start + batch] for start in range(0, len(order), batch)]
    return made


def pack_process_share(
    window: Sequence[TrainingExample], rank: int, processes: int, forward_tokens: int
) -> list[PackedPass]:
    """What one process computes of a step: its part of the rows, cut into forward passes.

    Rows are dealt out by length, so that every process has about as many tokens. Every process gets the same number of
    passes, since processes wait for one another in each: where rows run out, a pass has nothing to predict.

    Args:
        window: rows of the step.
        rank: of this process.
        processes: how many there are.
        forward_tokens: tokens of one pass at most; a longer row has a pass of its own.
    """
    dealt = [_deal_rows(window, each, processes) for each in range(processes)]
    groups = [_group_rows(rows, forward_tokens) for rows in dealt]
    passes = max(len(group) for group in groups)
    mine = [pack_examples(rows) for rows in groups[rank]]
    return mine + [_make_empty_pass(window)] * (passes - len(mine))


def _deal_rows(window: Sequence[TrainingExample], rank: int, processes: int) -> list[TrainingExample]:
    return sorted(window, key=lambda row: -len(row.token_ids))[rank::processes]


def _group_rows(rows: Sequence[TrainingExample], forward_tokens: int) -> list[list[TrainingExample]]:
    groups: list[list[TrainingExample]] = []
    used = 0
    for row in rows:
        if not groups or used + len(row.token_ids) > forward_tokens:
            groups.append([])
            used = 0
        groups[-1].append(row)
        used += len(row.token_ids)
    return groups


def _make_empty_pass(window: Sequence[TrainingExample]) -> PackedPass:
    """A pass that keeps a process in step with the others: two tokens, nothing supervised."""
    first = window[0].token_ids[:2]
    empty = torch.tensor([], dtype=torch.long)
    return PackedPass(torch.tensor([list(first)]), torch.tensor([list(range(len(first)))]), empty, empty)
