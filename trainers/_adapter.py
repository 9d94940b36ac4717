"""Adapters by PEFT, with what goes wrong silently checked: targets that are missing, adapters that never learn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job
from baseline_bench.trainers import _network
from baseline_bench.trainers._options import Lora
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer


def attach_adapters(network: Any, job: Job) -> PeftModel:
    """Freeze the network and put an fp32 adapter beside every target.

    PEFT's own targets of Gemma are q and v alone; the recipe's are spelled out, and counted.

    Raises:
        BenchError: a target that the model does not have, or a count that does not follow from the shapes.
    """
    options: Lora = job.options
    leaves = {name.rpartition(".")[2] for name, _ in network.named_modules()}
    absent = [target for target in options.targets if target not in leaves]
    if absent:
        raise BenchError(
            f"{job.base.name} has no layers named {', '.join(absent)}",
            "mend `targets` of the recipe (bench check shows it)",
        )
    network.requires_grad_(requires_grad=False)
    config = LoraConfig(
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(options.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    made = get_peft_model(network, config, autocast_adapter_dtype=True)
    for parameter in made.parameters():
        if parameter.requires_grad and options.weights == "fp32":
            parameter.data = parameter.data.float()
    _require_trainable_count(made, options)
    return made


def require_gradients(network: Any) -> None:
    """After the first backward pass: every adapter's B has a gradient.

    Raises:
        BenchError: naming adapters that learn nothing, as under some ways of gradient checkpointing.
    """
    still = [
        name
        for name, parameter in network.named_parameters()
        if ".lora_B." in name and (parameter.grad is None or not bool(torch.count_nonzero(parameter.grad)))
    ]
    if still:
        raise BenchError(
            f"{len(still)} adapters get no gradient, {still[0]} first",
            "--set gradient_checkpointing=false, or other targets",
        )


def save_adapter(network: PeftModel, state: Mapping[str, torch.Tensor], folder: Path, job: Job) -> None:
    """Write the adapter as PEFT does, naming the base by its name and not by where it lies."""
    network.peft_config["default"].base_model_name_or_path = job.base.name
    with _network.write_atomically(folder) as draft:
        network.save_pretrained(draft, state_dict=dict(state), save_embedding_layers=False)
        (draft / "README.md").unlink(missing_ok=True)


def _require_trainable_count(network: Any, options: Lora) -> None:
    layers = [module for module in network.modules() if isinstance(module, LoraLayer)]
    wanted = sum(options.r * (layer.in_features + layer.out_features) for layer in layers)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    if trained != wanted or not layers:
        raise BenchError(
            f"{trained:,} numbers would be trained, the shapes of {len(layers)} adapters give {wanted:,}",
            "another version of peft, or other targets",
        )
