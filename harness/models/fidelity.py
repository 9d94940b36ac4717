"""Measure how merging changed a model's predictions: the merged model as served against base plus adapter in fp32."""

import gc
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError, first_line, suggest_extra
from baseline_bench.models import weights
from baseline_bench.models.adapter import MergeOptions
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

# Positions compared at the end of each sequence.
LAST_POSITIONS = 64

_NARROW_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16}
_MATRIX = 2
_KL_ROWS = 8
_PROBES_A_BATCH = 4
_BLOCK = 2**26  # numbers: 256 MiB in fp32


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The effect of merging.

    Attributes:
        mean_kl: KL(unmerged || merged) of the next token, in nats, mean over the positions.
        greedy_agreement: share of positions where both have the same likeliest token.
        positions: number of positions compared.
    """

    mean_kl: float
    greedy_agreement: float
    positions: int


def measure_fidelity(
    base: Path, adapter: Path, merged: Path, sequences: Sequence[Sequence[int]], options: MergeOptions
) -> Fidelity:
    """Compare both, teacher-forced, over the last positions of each sequence, with one model in memory at a time.

    Args:
        merged: the folder that `baseline_bench.models.merge.merge_adapter` wrote.
        sequences: token ids as the models would see them, BOS included.
        options: of that merge; the merged model is served in its dtype.

    Raises:
        BenchError: no sequence, a model that cannot be loaded, a missing library, or too little memory.
    """
    probes = [list(ids) for ids in sequences if ids]
    if not probes:
        raise BenchError("there is no probe to compare the merged model on", "give at least one prompt")
    device = _choose_device()
    positions = sum(min(len(ids), LAST_POSITIONS) for ids in probes)
    vocabulary = (
        AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False).get_text_config().vocab_size
    )
    machine.require_memory(4 * positions * vocabulary, f"comparing {positions} positions over {vocabulary} tokens")
    try:
        references = list(_compute_logits(_load_unmerged(base, adapter, device, options), probes, LAST_POSITIONS))
        gc.collect()  # adapted layers and their model refer to each other
        divergence, agreed = 0.0, 0
        for reference, served in zip(
            references, _compute_logits(_load_merged(merged, device, options), probes, LAST_POSITIONS), strict=True
        ):
            parts = zip(torch.split(reference, _KL_ROWS), torch.split(served, _KL_ROWS), strict=True)
            divergence += sum(float(_compute_kl(*part).sum()) for part in parts)
            agreed += int((reference.argmax(-1) == served.argmax(-1)).sum())
    except torch.OutOfMemoryError as error:
        what = f"comparing the merged model does not fit on {device}"
        raise BenchError(what, "give fewer or shorter probes") from error
    except (ValueError, OSError, ImportError) as error:
        what = f"the merged model cannot be compared: {first_line(error)}"
        raise BenchError(what, f"{suggest_extra('train')} brings what adapters need") from error
    return Fidelity(divergence / positions, agreed / positions, positions)


def _choose_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load_unmerged(base: Path, adapter: Path, device: torch.device, options: MergeOptions) -> Any:
    """Load the base in fp32 with its adapter, unmerged; quantise and dequantise a 4-bit base first."""
    if options.quantised is None:
        network = compute_in_fp32(
            _load_network(base, device, dtype=_find_stored_dtype(base)), _build_without_weights(base)
        )
    else:
        quantisation = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=options.double_quantization
        )
        quantised = _load_network(
            base, device, dtype=torch.bfloat16, device_map={"": str(device)}, quantization_config=quantisation
        )
        network = quantised.dequantize().float()  # kernels for 4-bit products round on their own
    with warnings.catch_warnings():
        # peft uses transformers' old name for this
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return PeftModel.from_pretrained(network, adapter).to(device).eval()


def compute_in_fp32(network: Any, wide: Any) -> Any:
    """Make a network with 16-bit weights compute in fp32, by widening one layer's weights at a time.

    Widening is exact, so each product equals that of fp32 weights; a vocabulary's is computed in blocks of rows, which
    fp32 may round differently in the last bit. Needs the memory of the 16-bit weights and of one fp32 layer.

    Args:
        network: loaded in the dtype that its weights are stored in.
        wide: the same network in fp32 without weights, whose buffers replace the network's computed ones.
    """
    stored = network.state_dict().keys()
    for name, buffer in wide.named_buffers():
        if name not in stored:
            module, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(module), leaf, buffer.to(network.device))
    for parameter in network.parameters():
        if parameter.ndim < _MATRIX:
            parameter.data = parameter.data.float()
    for module in network.modules():
        narrow = [each for each in module.parameters(recurse=False) if each.dtype != torch.float32]
        if narrow and type(module) is torch.nn.Linear and module.weight.numel() > _BLOCK:
            module.forward = partial(_multiply_in_blocks, module)  # type: ignore[method-assign]  # hooks cannot replace it
        elif narrow:
            widen = _select_embedding_rows if isinstance(module, torch.nn.Embedding) else _widen_weights
            module.register_forward_pre_hook(widen)
            put_back = partial(
                _restore_weights, narrow, [each.data for each in narrow], getattr(module, "padding_idx", None)
            )
            module.register_forward_hook(put_back, always_call=True)
    return network


def _multiply_in_blocks(layer: torch.nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    """Compute a large layer's product, a block of outputs at a time."""
    blocks = torch.split(layer.weight, max(1, _BLOCK // layer.in_features))
    outputs = torch.cat([torch.nn.functional.linear(inputs, rows.float()) for rows in blocks], -1)
    return outputs if layer.bias is None else outputs + layer.bias


def _widen_weights(module: torch.nn.Module, _inputs: Any) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.float()


def _select_embedding_rows(module: torch.nn.Embedding, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Widen only the embedding rows that the inputs need, and map the input ids to them."""
    token_ids, row_indices = torch.unique(inputs[0], return_inverse=True)
    module.weight.data = module.weight.data[token_ids].float()
    module.padding_idx = None  # an id of the whole vocabulary; only training uses it
    return row_indices, *inputs[1:]


def _restore_weights(
    narrow: Sequence[torch.nn.Parameter],
    stored: Sequence[torch.Tensor],
    padding: int | None,
    module: torch.nn.Module,
    *_hook_arguments: Any,
) -> None:
    for parameter, values in zip(narrow, stored, strict=True):
        parameter.data = values
    if isinstance(module, torch.nn.Embedding):
        module.padding_idx = padding


def _build_without_weights(base: Path) -> Any:
    """Build a base's network in fp32 with its computed buffers and without weights."""
    with init_empty_weights(include_buffers=False):
        config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)


def _find_stored_dtype(base: Path) -> torch.dtype:
    """Return the 16-bit dtype if all of a base's numbers are stored in it, else fp32, so that loading never rounds."""
    dtypes = {tensor.dtype for tensor in weights.read_tensors(base)}
    return _NARROW_DTYPES.get(min(dtypes), torch.float32) if len(dtypes) == 1 else torch.float32


def _load_merged(folder: Path, device: torch.device, options: MergeOptions) -> Any:
    """Load the merged model; on a CPU without fast bf16 it computes in fp32 from the rounded weights."""
    network = _load_network(folder, device, dtype=DTYPES[options.dtype]).eval()
    if options.dtype == "float32" or device.type != "cpu" or machine.cpu_computes_bf16():
        return network
    return compute_in_fp32(network, _build_without_weights(folder))


def _load_network(folder: Path, device: torch.device, **load_options: Any) -> Any:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None:
        load_options["attn_implementation"] = "eager"  # other implementations ignore the cap
    network = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, **load_options
    )
    return network if "device_map" in load_options else network.to(device)


@torch.inference_mode()
def _compute_logits(network: Any, probes: Sequence[list[int]], last: int) -> Iterator[torch.Tensor]:
    """Yield each probe's logits at its last positions, in fp32 in main memory: positions x vocabulary.

    Batches a few probes, so that weights are widened and read once for all of them. Pads on the right, which earlier
    positions do not attend to.
    """
    for start in range(0, len(probes), _PROBES_A_BATCH):
        batch = probes[start : start + _PROBES_A_BATCH]
        width = max(map(len, batch))
        first = min(max(0, len(ids) - last) for ids in batch)
        padded_ids = torch.tensor([[*ids, *[ids[-1]] * (width - len(ids))] for ids in batch], device=network.device)
        logits = network(input_ids=padded_ids, logits_to_keep=width - first, use_cache=False).logits
        for row, ids in zip(logits, batch, strict=True):
            yield row[max(0, len(ids) - last) - first : len(ids) - first].float().cpu()


def _compute_kl(reference: torch.Tensor, served: torch.Tensor) -> torch.Tensor:
    """Compute KL(reference || served) per position in nats, from logits; fp64 keeps rounding far below any effect."""
    reference_logprobs, served_logprobs = reference.double().log_softmax(-1), served.double().log_softmax(-1)
    return (reference_logprobs.exp() * (reference_logprobs - served_logprobs)).sum(-1).clamp(min=0)
