"""PEFT adapters, with checks for silent failures: missing targets, and adapters that never learn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Job
from baseline_bench.trainers import _network
from baseline_bench.trainers._options import Lora, lora_settings
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer


def attach_adapters(network: Any, job: Job) -> PeftModel:
    """Freeze the network and attach an fp32 adapter to every target.

    PEFT's default targets for Gemma are only q and v; the recipe lists its targets, and they are counted.

    Raises:
        BenchError: the model lacks a target, or the number of trained parameters does not follow from the shapes.
    """
    options: Lora = job.options
    layers = [name for name, _ in network.named_modules() if name.rpartition(".")[2] in options.targets]
    layer_names = {name.rpartition(".")[2] for name in layers}
    missing_targets = [target for target in options.targets if target not in layer_names]
    if missing_targets:
        what = f"{job.base.name} has no layers named {', '.join(missing_targets)}"
        raise BenchError(what, "correct `targets` of the recipe (bench check shows it)")
    network.requires_grad_(requires_grad=False)
    settings = lora_settings(options) | {"target_modules": _select_targets(network, layers, options)}
    adapted = get_peft_model(network, LoraConfig(**settings), autocast_adapter_dtype=True)
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            # Under autocast PEFT would cast each input to fp32, and autocast back to bf16: the same numbers, slower.
            module.cast_input_dtype_enabled = options.precision != "bf16"
    for parameter in adapted.parameters():
        if parameter.requires_grad and options.weights == "fp32":
            parameter.data = parameter.data.float()
    _require_trainable_count(adapted, options)
    return adapted


def _select_targets(network: Any, layers: Sequence[str], options: Lora) -> list[str]:
    """Return PEFT's target_modules: the options' names, or the layers of the text tower if others have such names too.

    Args:
        layers: full names of the layers that the options' targets select.
    """
    decoder, head = network.get_decoder(), network.get_output_embeddings()
    tower = next((name for name, module in network.named_modules() if module is decoder), "")
    text = [name for name in layers if name.startswith(f"{tower}.") or network.get_submodule(name) is head]
    return text if tower and text and len(text) < len(layers) else list(options.targets)


def require_gradients(network: Any) -> None:
    """Check, after the first backward pass, that every adapter's B has a gradient.

    Raises:
        BenchError: an adapter learns nothing, as under some kinds of gradient checkpointing; the first one is named.
    """
    without_gradient = [
        name
        for name, parameter in network.named_parameters()
        if ".lora_B." in name and (parameter.grad is None or not bool(torch.count_nonzero(parameter.grad)))
    ]
    if without_gradient:
        what = f"{len(without_gradient)} adapters get no gradient, {without_gradient[0]} first"
        raise BenchError(what, "--set gradient_checkpointing=false, or other targets")


def save_adapter(network: PeftModel, state: Mapping[str, torch.Tensor], folder: Path, job: Job) -> None:
    """Save the adapter as PEFT does, but record the base's name instead of its path."""
    network.peft_config["default"].base_model_name_or_path = job.base.name
    with _network.write_atomically(folder) as draft:
        network.save_pretrained(draft, state_dict=dict(state), save_embedding_layers=False)
        (draft / "README.md").unlink(missing_ok=True)


def _require_trainable_count(network: Any, options: Lora) -> None:
    layers = [module for module in network.modules() if isinstance(module, LoraLayer)]
    expected = sum(options.r * (layer.in_features + layer.out_features) for layer in layers)
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    if trained != expected or not layers:
        what = f"{trained:,} numbers would be trained, the shapes of {len(layers)} adapters give {expected:,}"
        raise BenchError(what, "another version of peft, or other targets")
