"""Pack the rows of an optimizer step into padding-free passes: several rows in one sequence, blind to one another.

Positions restart at every row, by which transformers finds where a row begins (its masks are then block-diagonal).
Nothing is padded, and the loss is only over supervised tokens, so packing changes no gradient.
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
        predict: indices in the sequence whose next token is supervised.
        labels: these next tokens.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    predict: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "PackedPass":
        """Copy the pass to another device."""
        return PackedPass(
            *(part.to(device, non_blocking=True) for part in (self.ids, self.positions, self.predict, self.labels))
        )


def count_tokens(rows: Sequence[TrainingExample]) -> tuple[int, int]:
    """Count (all tokens, predicted tokens) of the pass that rows make."""
    tokens = sum(len(row.token_ids) for row in rows)
    return tokens, tokens - sum(row.start for row in rows)


def pack_examples(rows: Sequence[TrainingExample]) -> PackedPass:
    """Pack rows one after another."""
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
    """Split the rows into optimizer steps: each epoch has its own seeded shuffle, its last step may be smaller.

    Args:
        epochs: may be a fraction; the steps of the last, partial epoch are rounded up.
        seed: the same seed gives the same order, whatever else is random.
    """
    whole_epochs, fraction = int(epochs), epochs - int(epochs)
    steps: list[list[TrainingExample]] = []
    for epoch in range(whole_epochs + (fraction > 0)):
        order = list(rows)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        if epoch == whole_epochs:
            order = order[: max(1, round(fraction * len(order)))]
        steps += [order[start : start + batch] for start in range(0, len(order), batch)]
    return steps


def pack_process_share(
    window: Sequence[TrainingExample], rank: int, processes: int, forward_tokens: int
) -> list[PackedPass]:
    """Pack one process's share of a step: its part of the rows, split into forward passes.

    Rows are dealt out by length, so that processes have about equally many tokens. Every process gets the same number
    of passes, since processes wait for one another in each: where rows run out, a pass has nothing to predict.

    Args:
        forward_tokens: most tokens of one pass; a longer row has a pass of its own.
    """
    groups = [group_rows(window, other, processes, forward_tokens) for other in range(processes)]
    pass_count = max(len(group) for group in groups)
    own_passes = [pack_examples(rows) for rows in groups[rank]]
    return own_passes + [_make_empty_pass(window)] * (pass_count - len(own_passes))


def group_rows(
    window: Sequence[TrainingExample], rank: int, processes: int, forward_tokens: int
) -> list[list[TrainingExample]]:
    """Split one process's share of a step into the rows of each of its forward passes; see `pack_process_share`."""
    groups: list[list[TrainingExample]] = []
    token_count = 0
    for row in sorted(window, key=lambda row: -len(row.token_ids))[rank::processes]:
        if not groups or token_count + len(row.token_ids) > forward_tokens:
            groups.append([])
            token_count = 0
        groups[-1].append(row)
        token_count += len(row.token_ids)
    return groups


def _make_empty_pass(window: Sequence[TrainingExample]) -> PackedPass:
    """Make a pass that keeps a process in step with the others: two tokens, nothing supervised."""
    first = window[0].token_ids[:2]
    empty = torch.tensor([], dtype=torch.long)
    return PackedPass(torch.tensor([list(first)]), torch.tensor([list(range(len(first)))]), empty, empty)
