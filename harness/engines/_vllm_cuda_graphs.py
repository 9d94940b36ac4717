"""Check that CUDA graphs use the new weights after a reload, which only generating shows, since reading replays none.

A graph replays the memory addresses that it was recorded with. vLLM reloads into these addresses; if it ever did not,
the old weights would generate the answers while the new ones read every prompt.
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
# The drift of new weights may be up to SLACK times that of the old ones, and up to FLOOR (nats) in any case.
SLACK, FLOOR = 3.0, 1e-3


def compute_bound(before: float) -> float:
    """Return the largest drift to accept after a reload, in nats, given the drift before it."""
    return max(SLACK * before, FLOOR)


def measure_drift(
    core: Any, prompts: Sequence[Sequence[int]], read: Callable[[Sequence[Sequence[int]]], Logprobs]
) -> float:
    """Measure how far generating tokens differs from a pass that reads the same tokens.

    Args:
        prompts: token ids.
        read: returns the log-probabilities of given token ids, at every position but the first.

    Returns:
        The mean absolute difference of the generated tokens' log-probabilities, in nats.
    """
    rows = sample_tokens(core, prompts)
    logprobs, _ = read([ids for ids, _ in rows])
    differences = [
        abs(one - other)
        for (_, drawn), row in zip(rows, logprobs, strict=True)
        for one, other in zip(drawn, row[-len(drawn) :], strict=True)
    ]
    return sum(differences) / len(differences)


def sample_tokens(
    core: Any, prompts: Sequence[Sequence[int]], lora: Any = None
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Draw `SAMPLED_TOKENS` tokens after each prompt: (all token ids, log-probabilities of those drawn, in nats).

    Samples instead of taking the likeliest tokens, of which any weights are certain once a text repeats itself.
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
        core.add_request(f"step-{number}", {"prompt_token_ids": list(ids)}, params.clone(), lora_request=lora)
    drawn: dict[str, Any] = {}
    while core.has_unfinished_requests():
        drawn |= {output.request_id: output.outputs[0] for output in core.step() if output.finished}
    rows = []
    for number, ids in enumerate(prompts):
        output = drawn[f"step-{number}"]
        new_ids = tuple(int(token) for token in output.token_ids)
        drawn_logprobs = tuple(float(each[token].logprob) for token, each in zip(new_ids, output.logprobs, strict=True))
        rows.append(((*ids, *new_ids), drawn_logprobs))
    return rows
