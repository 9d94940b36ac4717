"""QLoRA: LoRA on a base quantised to 4 bits, NF4 (Dettmers et al. 2023, arXiv:2305.14314)."""

from typing import Any

import torch
from baseline_bench.core.types import Job, TrainingResult
from baseline_bench.trainers import _adapter, _network, _sft
from baseline_bench.trainers._options import Qlora as Options
from transformers import BitsAndBytesConfig

__all__ = ["Options", "train"]


def train(job: Job) -> TrainingResult:
    """Train adapters on the quantised base; see `_sft.run_training`."""
    return _sft.run_training(
        job, _sft.TrainingMethod("adapter", _build_network, _adapter.save_adapter, _adapter.require_gradients, "nf4")
    )


def _build_network(job: Job, device: torch.device) -> Any:
    dtype = torch.bfloat16 if job.options.precision == "bf16" else torch.float32
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=job.options.double_quantization,
    )
    network = _network.load_base(job, dtype, quantization_config=quantisation, device_map={"": device})
    return _adapter.attach_adapters(network, job)
