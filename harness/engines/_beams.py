"""Beam search by transformers' own `generate`, where a task's protocol asks for it."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from harness.engines import _teacher as teacher
from harness.tokens import completion_text, ends
from harness.types import Completion, Request, Sampling


@torch.inference_mode()
def search(
    network: Any, tokenizer: Any, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
) -> Iterator[tuple[str, Completion]]:
    """The likeliest answer that `sampling.beams` beams find, scores divided by length, for requests together.

    A beam ends at a stop token or a stop text of its own; the search ends when no running one can come to be better.
    """
    ids, mask, _ = teacher.padded([request.token_ids for request in requests], network.device)
    network.generation_config = GenerationConfig()  # a checkpoint's own penalties are no part of a protocol
    found = network.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=GenerationConfig(
            num_beams=sampling.beams,
            do_sample=False,
            max_new_tokens=sampling.max_tokens,
            eos_token_id=list(stop_ids) or None,
            pad_token_id=0,
        ),
        stopping_criteria=StoppingCriteriaList([_Stops(tokenizer, sampling.stop, ids.shape[1])]),
    )
    for request, row in zip(requests, found[:, ids.shape[1] :].tolist(), strict=True):
        length = _length(tokenizer, row, stop_ids, sampling.stop)
        written = tuple(row[:length])
        text = completion_text(tokenizer, written, stop_ids, sampling.stop)
        yield request.id, Completion(text, written, "length" if length is None else "stop")


class _Stops(StoppingCriteria):  # type: ignore[misc]
    """Ends a beam at a stop text; transformers' own criterion would find one that the prompt's end begins."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], begin: int) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._begin = begin

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """One truth a beam."""
        rows = input_ids[:, self._begin :].tolist() if self._stop else [()] * len(input_ids)
        ended = [bool(row) and ends(self._tokenizer, row, (), self._stop) for row in rows]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


def _length(tokenizer: Any, row: Sequence[int], stop_ids: Sequence[int], stop: Sequence[str]) -> int | None:
    """How many tokens a row has up to where it ended, behind which it is filled up; None where it was cut."""
    return next((count for count in range(1, len(row) + 1) if ends(tokenizer, row[:count], stop_ids, stop)), None)
