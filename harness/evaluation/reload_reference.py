"""A few fixed sequences, and what transformers makes of them: the reference that a warm engine is held to.

`work` runs in a process of its own before the engine starts, so that the engine finds the GPU empty.
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


def measure_in_child(spec: dict[str, Any], _screen: Console, _rank: int) -> dict[str, Any]:
    """The same for a process of its own: what goes in and what comes out has a JSON form.

    Args:
        spec: {"folders": [...], "sequences": [[...], ...], "dtype": "bfloat16"}.

    Returns:
        {"references": [{"logprobs": [[...], ...], "likeliest": [[...], ...]}, ...]}, one for each folder in their
        order; `Reference.of(**row)` takes each.
    """
    found = measure_references([Path(folder) for folder in spec["folders"]], spec["sequences"], spec["dtype"])
    return {
        "references": [
            {"logprobs": [list(row) for row in one.logprobs], "likeliest": [list(row) for row in one.likeliest]}
            for one in found
        ]
    }


def measure_references(
    folders: Sequence[Path], sequences: Sequence[Sequence[int]], dtype: str
) -> list[ReferenceLogprobs]:
    """One reference for each folder of weights, on the best device there is.

    Args:
        folders: whole checkpoints that share a tokenizer.
        sequences: token ids, BOS included, two or more each.
        dtype: float32, bfloat16 or float16; the engine's own makes the difference to it smallest.

    Raises:
        BenchError: no memory, an architecture that transformers does not know, or weights that give no numbers.
    """
    import torch
    import transformers

    if dtype not in DTYPES:
        raise ValueError(f"dtype must be {', '.join(DTYPES)}, not '{dtype}'")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    there = (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True))
    device = torch.device(next(name for name, present in there if present))
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
        # Only the plain implementation caps the attention's logits.
        attn_implementation="eager" if capped else None,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )


def _measure_sequence(network: Any, ids: Sequence[int]) -> tuple[list[float], list[int]]:
    """Log-probabilities of the last tokens of one sequence, and the likeliest token at each place."""
    import torch

    wanted = torch.tensor(ids[-POSITIONS:] if len(ids) > POSITIONS else ids[1:], device=network.device)
    sequence = torch.tensor([list(ids)], device=network.device)
    with torch.inference_mode():
        logits = network(input_ids=sequence, logits_to_keep=len(wanted) + 1, use_cache=False).logits[0, :-1].float()
    own = logits.log_softmax(-1).gather(-1, wanted[:, None])[:, 0]
    if not own.isfinite().all():
        raise BenchError("the weights give probabilities that are no numbers", "train or download the model anew")
    return [float(value) for value in own.tolist()], [int(token) for token in logits.argmax(-1).tolist()]


if TYPE_CHECKING:
    import torch

PROBE_TASK = "word-problems"
PROBE_COUNT = 4


def build_probe_sequences(speech: ModelTokenizer) -> tuple[tuple[int, ...], ...]:
    """The first test problems of the embedded task with their solutions, as this model is prompted and answers."""
    task = plugins.load_task(PROBE_TASK)
    return tuple(
        encode_prompt(speech.tokenizer, speech.manner, task.messages(problem))
        + encode_completion(speech.tokenizer, speech.manner, problem.solution)
        for problem in task.problems(Split("test"))[:PROBE_COUNT]
    )
