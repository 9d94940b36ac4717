"""Whether recorded steps took new weights: the proof of a reload reads prompts, and only writing replays a graph.

A graph replays the addresses that it was recorded with. vLLM reloads into these addresses; should it ever not, answers
would be written by the old weights while every prompt is read by the new ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

from baseline_bench.core.contracts import Logprobs
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

PROBE_TEXTS = (
    "Sam has 3 boxes with 4 pens in each. He gives 5 pens away. How many pens are left? Sam has",
    "A train needs 2 hours to the sea and 3 hours back. It leaves at 9 and stays for 4 hours. It is back at",
    "Mia reads 12 pages a day. Her book has 156 pages, and she has read a quarter of it. She still needs",
    "The garden is 8 meters long and half as wide. A meter of fence costs 6 dollars. The whole fence costs",
)
SAMPLED_TOKENS = 24
# New weights may write three times as far from what they read as the old ones did, and this far (nats) where that was
# next to nothing.
SLACK, FLOOR = 3.0, 1e-3


def compute_bound(before: float) -> float:
    """The most that `drift` may be after a reload, in nats.

    Args:
        before: what it was under the weights that the steps were recorded with.
    """
    return max(SLACK * before, FLOOR)


def measure_drift(
    core: Any, prompts: Sequence[Sequence[int]], read: Callable[[Sequence[Sequence[int]]], Logprobs]
) -> float:
    """How far the steps that write tokens are from a pass that reads the same tokens.

    Args:
        core: vLLM's engine.
        prompts: token ids.
        read: log-probabilities of given token ids, at every position but the first.

    Returns:
        The mean absolute difference of the written tokens' log-probabilities, in nats.
    """
    rows = sample_tokens(core, prompts)
    found, _ = read([ids for ids, _ in rows])
    apart = [
        abs(one - other)
        for (_, told), row in zip(rows, found, strict=True)
        for one, other in zip(told, row[-len(told) :], strict=True)
    ]
    return sum(apart) / len(apart)


def sample_tokens(core: Any, prompts: Sequence[Sequence[int]]) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Draw `TOKENS` tokens after each prompt: (all token ids, log-probabilities of those drawn, in nats).

    They are drawn by their probability and not the likeliest ones, which any weights are sure of once a text repeats.
    """
    params = SamplingParams(
        temperature=1.0,
        seed=0,
        max_tokens=SAMPLED_TOKENS,
        ignore_eos=True,
        logprobs=0,  # the drawn token alone
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    for number, ids in enumerate(prompts):
        core.add_request(f"step-{number}", {"prompt_token_ids": list(ids)}, params.clone())
    drawn: dict[str, Any] = {}
    while core.has_unfinished_requests():
        drawn |= {output.request_id: output.outputs[0] for output in core.step() if output.finished}
    rows = []
    for number, ids in enumerate(prompts):
        told = drawn[f"step-{number}"]
        new = tuple(int(token) for token in told.token_ids)
        chances = tuple(float(each[token].logprob) for token, each in zip(new, told.logprobs, strict=True))
        rows.append(((*ids, *new), chances))
    return rows
