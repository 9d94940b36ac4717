"""Answers by transformers' own `generate`: beam search, and prompts that show pictures or play sounds.

Its classes know how a model takes pictures in and counts positions behind them; our own decode loop does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from harness.engines import _teacher as teacher
from harness.engines._drawing import require_finite
from harness.engines._shown import Processor
from harness.tokens import completion_text, ends
from harness.types import Completion, Request, Sampling


class Searching:
    """A network with what its answers are searched and read by.

    Args:
        network: a transformers model.
        tokenizer: the model's own.
        sampling: of the task's protocol.
        stop_ids: every id that ends an answer.
    """

    def __init__(self, network: Any, tokenizer: Any, sampling: Sampling, stop_ids: Sequence[int]) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._stop_ids = stop_ids

    def together(self, requests: Sequence[Request]) -> Iterator[tuple[str, Completion]]:
        """The likeliest answer that `sampling.beams` beams find, scores divided by length, for requests together.

        A beam ends at a stop token or a stop text of its own; the search ends when no running one can come to be
        better.
        """
        ids, mask, _ = teacher.padded([request.token_ids for request in requests], self._network.device)
        rows = self._generate({"input_ids": ids, "attention_mask": mask})
        for request, row in zip(requests, rows, strict=True):
            yield request.id, self._completion(row)

    def shown(self, request: Request, processor: Processor, context: int) -> Completion:
        """The answer to one request with pictures or sounds.

        Raises:
            BenchError: the model takes none, or they leave too little room in its context.
        """
        inputs = processor.inputs(request, context - self._sampling.max_tokens)
        with _drawn(self._sampling.seed_of(request.id)):
            (row,) = self._generate(processor.moved(inputs, self._network))
        return self._completion(row)

    @torch.inference_mode()
    def _generate(self, inputs: Mapping[str, Any]) -> list[list[int]]:
        sampling, begin = self._sampling, inputs["input_ids"].shape[1]
        self._network.generation_config = GenerationConfig()  # a checkpoint's own penalties are no part of a protocol
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": sampling.top_p or 1.0}
        found = self._network.generate(
            **inputs,
            generation_config=GenerationConfig(
                num_beams=sampling.beams or 1,
                max_new_tokens=sampling.max_tokens,
                eos_token_id=list(self._stop_ids) or None,
                pad_token_id=0,
                **(drawn if sampling.temperature else {"do_sample": False}),
            ),
            logits_processor=LogitsProcessorList([_Finite()]),
            stopping_criteria=StoppingCriteriaList([_Stops(self._tokenizer, sampling.stop, begin)]),
        )
        rows: list[list[int]] = found[:, begin:].tolist()
        return rows

    def _completion(self, row: Sequence[int]) -> Completion:
        length = _length(self._tokenizer, row, self._stop_ids, self._sampling.stop)
        written = tuple(row[:length])
        text = completion_text(self._tokenizer, written, self._stop_ids, self._sampling.stop)
        return Completion(text, written, "length" if length is None else "stop")


class _Finite(LogitsProcessor):  # type: ignore[misc]
    """Ends the search at logits that are not finite."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they are."""
        require_finite(scores)
        return scores


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


@contextmanager
def _drawn(seed: int | None) -> Iterator[None]:
    """Let what is drawn follow from the request's own seed, whatever was drawn before it."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _length(tokenizer: Any, row: Sequence[int], stop_ids: Sequence[int], stop: Sequence[str]) -> int | None:
    """How many tokens a row has up to where it ended, behind which it is filled up; None where it was cut."""
    return next((count for count in range(1, len(row) + 1) if ends(tokenizer, row[:count], stop_ids, stop)), None)
