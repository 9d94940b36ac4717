"""Full supervised fine-tuning: trains every parameter, over an fp32 master copy unless the recipe says otherwise."""

from typing import Any

import torch
from baseline_bench.core.types import Job, TrainingResult
from baseline_bench.trainers import _network, _sft
from baseline_bench.trainers._options import Full as Options

__all__ = ["Options", "train"]


def train(job: Job) -> TrainingResult:
    """Train every parameter of the base; see `_sft.run_training`."""
    return _sft.run_training(job, _sft.TrainingMethod("full", _build_network, _network.save_weights))


def _build_network(job: Job, _device: torch.device) -> Any:
    return _network.load_base(job, torch.float32 if job.options.weights == "fp32" else torch.bfloat16)
