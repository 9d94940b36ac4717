"""What merging did to a model's predictions: the merged model as it is served against base plus adapter in fp32."""

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
from baseline_bench.core.errors import BenchError
from baseline_bench.models import weights
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

_NARROW_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16}
_MATRIX = 2
_KL_ROWS = 8
_PROBES_A_BATCH = 4
_BLOCK = 2**26  # numbers: 256 MiB in fp32


@dataclass(frozen=True, slots=True)
class FidelityOptions:
    """How two models are compared.

    Attributes:
        dtype: in which the merged model is served.
        quantised: "nf4" where the adapter was trained over a base in that form.
        double_quantization: of that form: whether its constants were quantised too.
        last: positions of each sequence at most, counted from its end.
        device: cuda or cpu; None takes cuda where it is there.
    """

    dtype: str = "bfloat16"
    quantised: str | None = None
    double_quantization: bool = True
    last: int = 64
    device: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be {', '.join(DTYPES)}, not '{self.dtype}'")
        if self.quantised not in (None, "nf4"):
            raise ValueError(f"quantised must be nf4 or none, not '{self.quantised}'")
        if self.last < 1:
            raise ValueError("last must be 1 or more")


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The effect of merging.

    Attributes:
        mean_kl: KL(unmerged || merged) of the next token, in nats, mean over the positions.
        greedy_agreement: share of positions where both find the same token likeliest.
        positions: how many were compared.
    """

    mean_kl: float
    greedy_agreement: float
    positions: int


def measure_fidelity(
    base: Path, adapter: Path, merged: Path, sequences: Sequence[Sequence[int]], options: FidelityOptions
) -> Fidelity:
    """Compare, teacher-forced, over the last positions of each sequence; one model is in memory at a time.

    Args:
        base: the adapter's base.
        adapter: a PEFT folder.
        merged: what `baseline_bench.models.merge.merge_adapter` made of them.
        sequences: token ids as the models would see them, BOS included.
        options: how.

    Raises:
        BenchError: no sequence, a model that cannot be loaded, a missing library, or too little memory.
    """
    probes = [list(ids) for ids in sequences if ids]
    if not probes:
        raise BenchError("there is no probe to compare the merged model on", "give at least one prompt")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    positions = sum(min(len(ids), options.last) for ids in probes)
    words = AutoConfig.from_pretrained(base, local_files_only=True).get_text_config().vocab_size
    machine.require_memory(4 * positions * words, f"comparing {positions} positions over {words} tokens")
    try:
        before = list(_compute_logits(_load_unmerged(base, adapter, device, options), probes, options.last))
        gc.collect()  # adapted layers and their model refer to each other
        divergence, agreed = 0.0, 0
        for wanted, found in zip(
            before, _compute_logits(_load_merged(merged, device, options), probes, options.last), strict=True
        ):
            parts = zip(torch.split(wanted, _KL_ROWS), torch.split(found, _KL_ROWS), strict=True)
            divergence += sum(float(_compute_kl(*part).sum()) for part in parts)
            agreed += int((wanted.argmax(-1) == found.argmax(-1)).sum())
    except torch.OutOfMemoryError as error:
        raise BenchError(
            f"comparing the merged model does not fit on {device}", "give fewer or shorter probes"
        ) from error
    except (ValueError, OSError, ImportError) as error:
        raise BenchError(
            f"the merged model cannot be compared: {str(error).splitlines()[0]}",
            "pip install 'baseline-bench[train]' brings what adapters need",
        ) from error
    return Fidelity(divergence / positions, agreed / positions, positions)


def _load_unmerged(base: Path, adapter: Path, device: torch.device, options: FidelityOptions) -> Any:
    """Base and adapter side by side in fp32; a base in 4 bits as transformers loads it, taken out again."""
    if options.quantised is None:
        network = compute_in_fp32(
            _load_network(base, device, dtype=_find_stored_dtype(base)), _build_without_weights(base)
        )
    else:
        how = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=options.double_quantization,
        )
        held = _load_network(base, device, dtype=torch.bfloat16, device_map={"": str(device)}, quantization_config=how)
        network = held.dequantize().float()  # kernels for 4-bit products round on their own
    with warnings.catch_warnings():
        # peft asks transformers for this by its old name
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return PeftModel.from_pretrained(network, adapter).to(device).eval()


def compute_in_fp32(network: Any, wide: Any) -> Any:
    """Let a network whose weights are narrow compute as if all were fp32, one layer's weights wide at a time.

    Widening is exact, so each product is the one that fp32 weights give; a vocabulary's is made in blocks of rows,
    which fp32 may round otherwise in the last bit. Memory is that of the narrow weights and of one layer.

    Args:
        network: loaded in the dtype that its weights are stored in.
        wide: the same in fp32, with buffers and without weights: what is worked out is worked out in fp32.
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


def _multiply_in_blocks(layer: torch.nn.Linear, given: torch.Tensor) -> torch.Tensor:
    """A wide layer's product, a block of outputs at a time."""
    blocks = torch.split(layer.weight, max(1, _BLOCK // layer.in_features))
    found = torch.cat([torch.nn.functional.linear(given, rows.float()) for rows in blocks], -1)
    return found if layer.bias is None else found + layer.bias


def _widen_weights(module: torch.nn.Module, _given: Any) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.float()


def _select_embedding_rows(module: torch.nn.Embedding, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Of an embedding the rows that are asked for, and the ids that find them there."""
    wanted, places = torch.unique(given[0], return_inverse=True)
    module.weight.data = module.weight.data[wanted].float()
    module.padding_idx = None  # of the whole vocabulary; training alone looks at it
    return places, *given[1:]


def _restore_weights(
    narrow: Sequence[torch.nn.Parameter],
    stored: Sequence[torch.Tensor],
    padding: int | None,
    module: torch.nn.Module,
    *_told: Any,
) -> None:
    for parameter, before in zip(narrow, stored, strict=True):
        parameter.data = before
    if isinstance(module, torch.nn.Embedding):
        module.padding_idx = padding


def _build_without_weights(base: Path) -> Any:
    """A base's network in fp32 with the buffers that it works out itself, its weights left out."""
    with init_empty_weights(include_buffers=False):
        return AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(base, local_files_only=True), dtype=torch.float32
        )


def _find_stored_dtype(base: Path) -> torch.dtype:
    """The one narrow dtype that all of a base's numbers are stored in, else fp32: no rounding on the way."""
    dtypes = {tensor.dtype for tensor in weights.read_tensors(base)}
    return _NARROW_DTYPES.get(min(dtypes), torch.float32) if len(dtypes) == 1 else torch.float32


def _load_merged(folder: Path, device: torch.device, options: FidelityOptions) -> Any:
    return _load_network(folder, device, dtype=DTYPES[options.dtype]).eval()


def _load_network(folder: Path, device: torch.device, **how: Any) -> Any:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None:
        how["attn_implementation"] = "eager"  # others leave the cap out
    network = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True, **how)
    return network if "device_map" in how else network.to(device)


@torch.inference_mode()
def _compute_logits(network: Any, probes: Sequence[list[int]], last: int) -> Iterator[torch.Tensor]:
    """Per probe the logits of its last positions, in fp32 in main memory: positions x vocabulary.

    A few probes go together, so that weights are widened and read once for all; they are filled up at their ends, which
    no position before looks at.
    """
    for start in range(0, len(probes), _PROBES_A_BATCH):
        batch = probes[start : start + _PROBES_A_BATCH]
        width = max(map(len, batch))
        first = min(max(0, len(ids) - last) for ids in batch)
        given = torch.tensor([[*ids, *[ids[-1]] * (width - len(ids))] for ids in batch], device=network.device)
        logits = network(input_ids=given, logits_to_keep=width - first, use_cache=False).logits
        for row, ids in zip(logits, batch, strict=True):
            yield row[max(0, len(ids) - last) - first : len(ids) - first].float().cpu()


def _compute_kl(wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL(wanted || found) per position in nats, from logits; in fp64, where rounding is far below any effect."""
    before, after = wanted.double().log_softmax(-1), found.double().log_softmax(-1)
    return (before.exp() * (before - after)).sum(-1).clamp(min=0)
