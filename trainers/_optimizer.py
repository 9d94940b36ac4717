"""Learning rates by step, and the recipe's optimizers; an optimizer that cannot run is refused, never replaced."""

import importlib.util
import math
from types import MethodType
from typing import Any

import torch
from accelerate import Accelerator
from baseline_bench.core.errors import BenchError, suggest_extra
from baseline_bench.trainers._options import Full

_CLIP_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


def compute_learning_rate(step: int, total: int, options: Full) -> float:
    """Compute a step's rate (1 is the first): linear warm-up from 0, then down to `final_lr` of the peak."""
    warmup_steps = math.ceil(options.warmup * total)
    if step <= warmup_steps:
        return options.lr * step / (warmup_steps + 1)
    if options.schedule == "constant":
        return options.lr
    progress = (step - warmup_steps - 1) / max(1, total - warmup_steps - 1)
    remaining = (1 + math.cos(math.pi * progress)) / 2 if options.schedule == "cosine" else 1 - progress
    return options.lr * (options.final_lr + (1 - options.final_lr) * remaining)


def build_optimizer(network: torch.nn.Module, options: Full, processes: int) -> torch.optim.Optimizer:
    """Build AdamW over the trainable parameters; weight decay applies only to matrices.

    Raises:
        BenchError: the optimizer cannot run in this sharding mode or over these weights, or its library is missing.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    settings: dict[str, Any] = {
        "params": [group for group in groups if group["params"]],
        "lr": options.lr,
        "betas": (options.beta1, options.beta2),
        "eps": options.epsilon,
    }
    if options.optimizer == "adamw":
        _require_fp32(trained)
        return torch.optim.AdamW(**settings, fused=True)
    if options.sharding == "fsdp" and processes > 1:
        what = "8-bit AdamW cannot shard its states (sharding = fsdp)"
        raise BenchError(what, "--set optimizer=adamw, or --set sharding=none")
    if importlib.util.find_spec("bitsandbytes") is None:
        what = "optimizer = adamw_8bit needs bitsandbytes"
        raise BenchError(what, f"{suggest_extra('train')}, or --set optimizer=adamw")
    return _build_eight_bit(network, settings)


def clip_gradients(network: torch.nn.Module, optimizer: Any, accelerator: Accelerator, options: Full) -> torch.Tensor:
    """Clip the gradient's L2 norm to `options.clip`, and return what it was.

    Fused AdamW divides the gradients itself as it reads them, as it does for a loss scaler: that saves reading and
    writing them all once more. Then `.grad` is clipped only after the optimizer's step.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    plain = getattr(optimizer, "optimizer", optimizer)  # without accelerate's wrapper
    if options.optimizer != "adamw" or options.sharding == "fsdp" or not options.clip:
        whole: torch.Tensor = accelerator.clip_grad_norm_(trained, options.clip or math.inf)
        return whole
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
    plain.grad_scale = ((norm + _CLIP_EPSILON) / options.clip).clamp(min=1.0)
    plain.found_inf = torch.zeros_like(norm)
    return norm


def require_full_embeddings(network: torch.nn.Module, optimizer: Any) -> None:
    """Check, after a step, that embeddings have optimizer states in fp32, whatever the others have.

    8-bit states are too coarse for a table of which each step updates a few rows (bitsandbytes' own advice).

    Raises:
        BenchError: an embedding's state is not fp32.
    """
    for weight in _find_embeddings(network):
        state = optimizer.state.get(weight, {})
        states = [value for key, value in state.items() if key in ("state1", "exp_avg") and torch.is_tensor(value)]
        if states and states[0].dtype != torch.float32:
            what = f"the optimizer keeps embeddings in {states[0].dtype}, not float32"
            raise BenchError(what, "--set optimizer=adamw, or another version of bitsandbytes")


def _require_fp32(trained: list[torch.nn.Parameter]) -> None:
    """Refuse bf16 weights: PyTorch's AdamW keeps states in their dtype, too coarse for the second moment."""
    if any(parameter.dtype != torch.float32 for parameter in trained):
        what = "optimizer = adamw keeps its states in the weights' own dtype, and weights = bf16 is too coarse for them"
        raise BenchError(what, "--set weights=fp32, or --set optimizer=adamw_8bit")


def _build_eight_bit(network: torch.nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    import bitsandbytes

    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    # The manager keeps overrides by index for the whole process: without this, another optimizer's would apply here.
    manager.initialize()
    for module in network.modules():
        if isinstance(module, torch.nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(**settings)
    optimizer.step = MethodType(_step_without_waiting, optimizer)  # type: ignore[method-assign]
    return optimizer


@torch.no_grad()
def _step_without_waiting(optimizer: Any, _closure: None = None) -> None:
    """Do bitsandbytes' step without its wait for the GPU after every tensor."""
    if not optimizer.initialized:
        optimizer.check_overrides()
        optimizer.to_gpu()
        optimizer.initialized = True
    for group_index, group in enumerate(optimizer.param_groups):
        for parameter_index, parameter in enumerate(group["params"]):
            if parameter.grad is None:
                continue
            if not optimizer.state[parameter]:
                optimizer.init_state(group, parameter, group_index, parameter_index)
            optimizer.prefetch_state(parameter)
            optimizer.update_step(group, parameter, group_index, parameter_index)


def _find_embeddings(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    weights = [module.weight for module in network.modules() if isinstance(module, torch.nn.Embedding)]
    return [weight for weight in weights if isinstance(weight, torch.nn.Parameter) and weight.requires_grad]
