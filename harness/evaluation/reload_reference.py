"""Measure log-probabilities of a few fixed sequences with transformers: the reference that verifies a reload.

`measure_in_child` runs in a process of its own before the engine starts, so that the engine finds the GPU empty.
"""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split
from baseline_bench.evaluation.engine_reuse import POSITIONS, ReferenceLogprobs
from baseline_bench.models.tokens import ModelTokenizer, encode_completion, encode_prompt

DTYPES = ("float32", "bfloat16", "float16")


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
        network = _load_network(folder, dtype).to(device).eval()
        rows = [_measure_sequence(network, ids) for ids in sequences]
    except torch.OutOfMemoryError as error:
        raise BenchError(f"{folder} does not fit on {device}", "free the GPU or take a smaller model") from error
    except (ValueError, OSError, KeyError) as error:
        raise BenchError(
            f"transformers {transformers.__version__} cannot load {folder}: {str(error).strip().splitlines()[0]}",
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
        raise BenchError("the weights give probabilities that are no numbers", "train or download the model again")
    return [float(value) for value in target_logprobs.tolist()], [int(token) for token in logits.argmax(-1).tolist()]


if TYPE_CHECKING:
    import torch

PROBE_TASK = "word-problems"
PROBE_COUNT = 4


def build_probe_sequences(model_tokenizer: ModelTokenizer) -> tuple[tuple[int, ...], ...]:
    """Tokenize the first test problems of the embedded task with their solutions, as prompts and answers."""
    task = plugins.load_task(PROBE_TASK)
    return tuple(
        encode_prompt(model_tokenizer.tokenizer, model_tokenizer.manner, task.messages(problem))
        + encode_completion(model_tokenizer.tokenizer, model_tokenizer.manner, problem.solution)
        for problem in task.problems(Split("test"))[:PROBE_COUNT]
    )
