"""Reproduce the base that 4-bit training sees: which weights are quantised, and their dequantised values."""

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import tensor_check
from bitsandbytes import functional
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

BLOCK = 64


def list_quantised_weights(base: Path, names: Iterable[str]) -> frozenset[str]:
    """List which of these tensors of a base transformers quantises to 4 bits, by its own rule, without reading any.

    Raises:
        BenchError: it quantises a weight that the files do not hold.
    """
    config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    skipped = [*get_keys_to_not_convert(model), *(model._keep_in_fp32_modules or ())]
    quantised = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and should_convert_module(name, skipped)
    }
    files = {weight: name for name, weight in tensor_check.name_weights(base, names).items()}
    if unknown := sorted(quantised - files.keys()):
        what = f"{base} holds no {unknown[0]}, which training held in 4 bits"
        raise BenchError(what, "merge an adapter trained without nf4")
    return frozenset(files[weight] for weight in quantised)


def round_trip(weight: torch.Tensor, *, double: bool) -> torch.Tensor:
    """Quantise a bf16 weight matrix to NF4 in blocks of 64 and dequantise it (Dettmers et al. 2023, section 3).

    Args:
        double: quantise the blocks' constants too.
    """
    # bitsandbytes warns that a kernel for 4-bit products is missing; none is used here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    quantised, state = functional.quantize_4bit(
        weight.to(torch.bfloat16).contiguous(), blocksize=BLOCK, compress_statistics=double, quant_type="nf4"
    )
    dequantised: torch.Tensor = functional.dequantize_4bit(quantised, state)
    return dequantised
