"""The child process of lm-eval: its `hf` model over the prompts as they are."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from benchmarks._scoring_peers import keep, measures
from benchmarks.cpu_scoring import MOST, Peer


def run(asked: Peer) -> Mapping[str, float]:
    """`simple_evaluate` over the prompts as they are; the seconds of generating are those of `generate_until`."""
    model = Timed(pretrained=asked.model, device="cpu", dtype=asked.dtype, batch_size=asked.batch, add_bos_token=False)
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=["peer"],
        task_manager=TaskManager(include_path=asked.place, include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    answers = [sample["resps"][0][0] for sample in found["samples"]["peer"]]
    # The stop is cut from an answer: it was generated as well, but where the answer was cut short.
    counts = [min(len(model.tokenizer.encode(text, add_special_tokens=False)) + 1, MOST) for text in answers]
    return measures(model.seconds, sum(counts))


class Timed(HFLM):  # type: ignore[misc]  # lm-eval ships no types
    seconds = 0.0

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        began = time.perf_counter()
        found: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        self.seconds += time.perf_counter() - began
        return found


if __name__ == "__main__":
    given = Peer(**json.loads(sys.argv[1]))
    keep(given, run(given))
