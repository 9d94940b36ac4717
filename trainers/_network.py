"""Load a base model for training, and save trained weights."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from baseline_bench.core import machine, trace
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import weights
from baseline_bench.models.model_config import CONFIG_ERRORS
from baseline_bench.models.tensor_check import explain_load_error
from baseline_bench.trainers._options import Full
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
SHARD_SIZE = "5GB"


def load_base(job: Job, dtype: torch.dtype, **extra: Any) -> Any:
    """Load the base as a causal language model on the CPU, in `dtype`, every tensor from its files.

    Args:
        job: its base and options are used.
        dtype: of the weights in memory; by default transformers 5 takes the checkpoint's own.
        extra: further arguments of `from_pretrained`.

    Raises:
        BenchError: an architecture unknown to this transformers, weights that do not fit it, or too little memory.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = job.base.folder
    parameter_count = sum(math.prod(tensor.shape) for tensor in weights.read_tensors(folder))
    machine.require_memory(parameter_count * dtype.itemsize * job.processes, job.base.name)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        network, loading_info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=choose_attention(job.options, config),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **extra,
        )
    except CONFIG_ERRORS as error:
        way_out = "check `attention` of the recipe; a newer transformers may know this architecture"
        raise explain_load_error(folder, error, way_out) from error
    absent = [*loading_info["missing_keys"], *loading_info["mismatched_keys"]]
    if absent:
        raise BenchError(f"{job.base.name} lacks weights: {', '.join(map(str, absent[:3]))}", "fetch the model again")
    network.config.use_cache = False
    return network


def choose_attention(options: Full, config: Any) -> str:
    """Return the recipe's attention; auto avoids sdpa for Gemma 2, whose soft-capping it would leave out."""
    if options.attention != "auto":
        return options.attention
    text = config.get_text_config()
    return "eager" if getattr(text, "attn_logit_softcapping", None) else "sdpa"


def count_parameters(network: Any) -> int:
    """Count the model's parameters; tied ones once, quantised ones by their original number."""
    return sum(_parameter_size(parameter) for parameter in network.parameters())


def _parameter_size(parameter: Any) -> int:
    """Return the original size of a parameter; bitsandbytes packs two values into a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(torch.Size(state.shape).numel()) if state is not None else int(parameter.numel())


def save_weights(network: Any, state: Mapping[str, torch.Tensor], folder: Path, job: Job) -> None:
    """Save whole weights in the recipe's output dtype; all other files are the base's, byte for byte.

    Only the dtype in config.json may differ from the base's.
    """
    with write_atomically(folder) as draft:
        network.save_pretrained(
            draft, state_dict=_cast_state(state, DTYPES[job.options.output_dtype]), max_shard_size=SHARD_SIZE
        )
        for file in [path for path in draft.iterdir() if not path.name.endswith((".safetensors", weights.INDEX_FILE))]:
            file.unlink()
        copy_companion_files(draft, job, job.options.output_dtype)


def copy_companion_files(folder: Path, job: Job, dtype: str | None) -> None:
    """Copy all files of the base that are not weights, changing only the dtype in config.json."""
    for file in job.base.folder.iterdir():
        if file.is_file() and not file.name.endswith(
            (".safetensors", weights.INDEX_FILE, *weights.PICKLE_SUFFIXES, ".gguf")
        ):
            shutil.copyfile(file, folder / file.name)
    if dtype is not None:
        _set_config_dtype(folder / "config.json", dtype)


@contextmanager
def write_atomically(folder: Path) -> Iterator[Path]:
    """Yield a draft folder that replaces `folder` once all is written; BenchError if it cannot be written."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with trace.span("save weights"):
            yield draft
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except (SafetensorError, OSError) as error:
        raise BenchError(f"cannot write {folder}: {error}", "free some space, then give the command again") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _cast_state(state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Cast the state to another dtype on the CPU; tensors that share memory (tied weights) still share it."""
    cast_tensors: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for tensor in state.values():
        cast_tensors.setdefault(
            (tensor.data_ptr(), tensor.shape), tensor.to("cpu", dtype if tensor.is_floating_point() else None)
        )
    return {name: cast_tensors[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}


def _set_config_dtype(path: Path, dtype: str) -> None:
    config = read_object(path, "restore the file")
    stated = {key: dtype for key in ("dtype", "torch_dtype") if config.get(key) not in (None, dtype)}
    if stated:
        path.write_text(json.dumps({**config, **stated}, indent=2) + "\n", encoding="utf-8")
