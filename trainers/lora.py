"""LoRA: trains low-rank fp32 adapters on top of frozen weights (Hu et al. 2021, arXiv:2106.09685)."""

from typing import Any

import torch
from baseline_bench.core.types import Job, TrainingResult
from baseline_bench.trainers import _adapter, _network, _sft
from baseline_bench.trainers._options import Lora as Options

__all__ = ["Options", "train"]


def train(job: Job) -> TrainingResult:
    """Train adapters on the frozen base; see `_sft.run_training`."""
    return _sft.run_training(
        job, _sft.TrainingMethod("adapter", _build_network, _adapter.save_adapter, _adapter.require_gradients)
    )


def _build_network(job: Job, _device: torch.device) -> Any:
    half = job.options.precision == "bf16" or job.options.weights == "bf16"
    return _adapter.attach_adapters(_network.load_base(job, torch.bfloat16 if half else torch.float32), job)
