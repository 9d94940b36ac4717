"""Verify that an engine holds the weights that it reloaded: compare its log-probabilities with a reference.

A reload may silently leave old weights behind, so it counts only if the log-probabilities of a few fixed sequences
match the new weights and clearly not the old ones. `measure_in_child` measures the references with transformers, in a
process of its own before the engine starts, so that the engine finds the GPU empty.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baseline_bench.core import plugins, trace
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, first_line
from baseline_bench.core.types import Model, Request, Split
from baseline_bench.models import diagnose
from baseline_bench.models.tokens import ModelTokenizer, encode_completion, encode_prompt

if TYPE_CHECKING:
    import torch

REFERENCE_FUNCTION = "baseline_bench.evaluation.reload_reference:measure_in_child"
DTYPES = ("float32", "bfloat16", "float16")
PROBE_TASK = "word-problems"
PROBE_COUNT = 4
POSITIONS = 64
# Correct weights may be three times as far from their reference as the first load's weights were from theirs, and at
# least this far (nats) if that distance was almost zero.
SLACK = 3.0
MIN_BOUND = 1e-3
# The old weights must be this many times as far away as the new ones.
MIN_SEPARATION = 3.0
# A lean of this share towards the old weights means that old weights were left behind.
MAX_OLD_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class ReferenceLogprobs:
    """A model's log-probabilities of the probe's sequences, each position given the true tokens before it.

    Attributes:
        logprobs: for each sequence, the log-probability (nats) of each of its last tokens, at most `POSITIONS`.
        likeliest: for the same positions, the id of the likeliest token.
    """

    logprobs: tuple[tuple[float, ...], ...]
    likeliest: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, logprobs: Sequence[Sequence[float]], likeliest: Sequence[Sequence[int]]) -> "ReferenceLogprobs":
        """Keep the last positions of each sequence, the same for every engine."""
        return cls(
            tuple(tuple(row[-POSITIONS:]) for row in logprobs), tuple(tuple(row[-POSITIONS:]) for row in likeliest)
        )


@dataclass(frozen=True, slots=True)
class ReloadCheck:
    """How close a reloaded generator is to the new weights and to the old ones.

    Attributes:
        bound: the maximum of `to_new`; this and the distances are mean absolute differences of log-probabilities.
        to_new: distance from the new weights' reference.
        to_old: distance from the old weights' reference.
        apart: distance between the two references.
        lean: the generator's position on the way from the new weights to the old: 0 is new, 1 is old.
        agree_new: share of positions where the likeliest token is the new reference's.
        agree_old: share of positions where it is the old reference's.
        flaw: why the check failed; None if the generator holds the new weights.
    """

    bound: float
    to_new: float
    to_old: float
    apart: float
    lean: float
    agree_new: float
    agree_old: float
    flaw: str | None


def measure_distance(first: ReferenceLogprobs, second: ReferenceLogprobs) -> float:
    """Return the mean absolute difference of the log-probabilities, in nats."""
    pairs = list(zip(chain.from_iterable(first.logprobs), chain.from_iterable(second.logprobs), strict=True))
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def measure_agreement(first: ReferenceLogprobs, second: ReferenceLogprobs) -> float:
    """Return the share of positions with the same likeliest token."""
    pairs = list(zip(chain.from_iterable(first.likeliest), chain.from_iterable(second.likeliest), strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def compute_bound(noise: float) -> float:
    """Return how many nats correct weights may be from their reference, given that distance right after a load."""
    return max(SLACK * noise, MIN_BOUND)


def check_reload(
    observed: ReferenceLogprobs, new: ReferenceLogprobs, old: ReferenceLogprobs, noise: float
) -> ReloadCheck:
    """Check whether the weights that gave `observed` are the new ones.

    Old weights whose effect is smaller than the engine's noise stay undetected: bfloat16 (noise 0.01 nats) hides more
    than float32 (1e-6).

    Args:
        observed: measured with the generator after its reload.
        noise: distance of this engine from its own reference right after a load, in nats.
    """
    bound, separation = compute_bound(noise), measure_distance(new, old)
    to_new, to_old = measure_distance(observed, new), measure_distance(observed, old)
    agree_new, agree_old = measure_agreement(observed, new), measure_agreement(observed, old)
    old_share = _compute_old_share(observed, new, old)
    flaw = None
    # Written so that a NaN is a flaw.
    if not separation > bound:
        flaw = describe_too_similar(separation, bound)
    elif not to_new <= bound:
        flaw = f"the reloaded weights are {to_new:.4f} nats from the new model, {bound:.4f} at most allowed"
    elif not to_old >= MIN_SEPARATION * to_new:
        flaw = f"the reloaded weights are {to_new:.4f} nats from the new model and {to_old:.4f} from the old one"
    elif not abs(old_share) <= MAX_OLD_SHARE:
        flaw = f"the reloaded weights lean by {old_share:.0%} to the old model"
    elif agree_new < agree_old:
        flaw = f"the reloaded weights agree with the new model at {agree_new:.0%}, with the old one at {agree_old:.0%}"
    return ReloadCheck(bound, to_new, to_old, separation, old_share, agree_new, agree_old, flaw)


def begin() -> None:
    """Import what measuring takes."""
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: F401


def measure_in_child(
    arguments: tuple[Sequence[Path], Sequence[Sequence[int]], str], _console: Console, _rank: int
) -> list[ReferenceLogprobs]:
    """Call `measure_references` with these arguments in a child process."""
    return measure_references(*arguments)


def measure_references(
    folders: Sequence[Path], sequences: Sequence[Sequence[int]], dtype: str
) -> list[ReferenceLogprobs]:
    """Measure one reference for each folder of weights, on the best available device.

    Args:
        folders: whole checkpoints that share a tokenizer.
        sequences: token ids, BOS included, two or more each.
        dtype: float32, bfloat16 or float16; the engine's own dtype gives the smallest difference to it.

    Raises:
        BenchError: out of memory, an architecture unknown to transformers, or weights that give NaN or infinity.
    """
    import torch
    import transformers

    if dtype not in DTYPES:
        raise ValueError(f"dtype must be {', '.join(DTYPES)}, not '{dtype}'")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    devices = (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True))
    device = torch.device(next(name for name, present in devices if present))
    return [_measure_reference(folder, sequences, getattr(torch, dtype), device) for folder in folders]


def _measure_reference(
    folder: Path, sequences: Sequence[Sequence[int]], dtype: "torch.dtype", device: "torch.device"
) -> ReferenceLogprobs:
    import torch
    import transformers

    try:
        with trace.span("reference log-probabilities"):
            network = _load_network(folder, dtype).to(device).eval()
            rows = [_measure_sequence(network, ids) for ids in sequences]
    except torch.OutOfMemoryError as error:
        raise BenchError(f"{folder} does not fit on {device}", "free the GPU or take a smaller model") from error
    except (ValueError, OSError, KeyError) as error:
        raise BenchError(
            f"transformers {transformers.__version__} cannot load {folder}: {first_line(error)}",
            "a newer transformers may know this architecture; code from a repository is never trusted",
        ) from error
    del network
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return ReferenceLogprobs.of([row for row, _ in rows], [row for _, row in rows])


def _load_network(folder: Path, dtype: "torch.dtype") -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        # Only the eager implementation caps the attention's logits.
        attn_implementation="eager" if capped else None,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )


def _measure_sequence(network: Any, ids: Sequence[int]) -> tuple[list[float], list[int]]:
    """Return the log-probabilities of one sequence's last tokens, and the likeliest token at each position."""
    import torch

    target_ids = torch.tensor(ids[-POSITIONS:] if len(ids) > POSITIONS else ids[1:], device=network.device)
    sequence = torch.tensor([list(ids)], device=network.device)
    with torch.inference_mode():
        logits = network(input_ids=sequence, logits_to_keep=len(target_ids) + 1, use_cache=False).logits[0, :-1].float()
    target_logprobs = logits.log_softmax(-1).gather(-1, target_ids[:, None])[:, 0]
    if not target_logprobs.isfinite().all():
        raise BenchError("the weights give probabilities that are NaN or infinite", "train or download the model again")
    return [float(value) for value in target_logprobs.tolist()], [int(token) for token in logits.argmax(-1).tolist()]


def build_probe_sequences(model: Model, model_tokenizer: ModelTokenizer) -> tuple[tuple[int, ...], ...]:
    """Tokenize the first test problems of the embedded task with their solutions, as prompts and answers.

    Raises:
        BenchError: the model cannot read them.
    """
    task = plugins.load_task(PROBE_TASK)
    tokenizer, prompt_format = model_tokenizer.tokenizer, model_tokenizer.prompt_format
    probes = [
        Request(
            problem.id,
            encode_prompt(tokenizer, prompt_format, task.messages(problem))
            + encode_completion(tokenizer, prompt_format, problem.solution),
        )
        for problem in task.problems(Split("test"))[:PROBE_COUNT]
    ]
    diagnose.require_readable(model, probes)
    return tuple(probe.token_ids for probe in probes)


def _compute_old_share(observed: ReferenceLogprobs, new: ReferenceLogprobs, old: ReferenceLogprobs) -> float:
    """Return the least-squares share of the way from new to old: noise cancels over positions, old weights do not."""
    observed_values, new_values, old_values = (
        list(chain.from_iterable(reference.logprobs)) for reference in (observed, new, old)
    )
    squared_distance = sum((b - a) ** 2 for a, b in zip(new_values, old_values, strict=True))
    projection = sum((x - a) * (b - a) for x, a, b in zip(observed_values, new_values, old_values, strict=True))
    return projection / squared_distance if squared_distance else float("nan")


def describe_too_similar(separation: float, bound: float) -> str:
    """Say why a reload between two models cannot be verified."""
    return f"the two models are {separation:.4f} nats apart, too near to tell which one is loaded ({bound:.4f} needed)"
