"""Learning rates by step, and the optimizers that a recipe names; what cannot run is refused, never swapped."""

import importlib.util
import math
from types import MethodType
from typing import Any

import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.trainers._options import Full


def compute_learning_rate(step: int, total: int, options: Full) -> float:
    """The rate of one step: a linear warm-up from 0, then the schedule down to `final_lr` of the peak.

    Args:
        step: counted from 1.
        total: steps of the whole training.
        options: lr, warmup, schedule and final_lr are read.
    """
    warm = math.ceil(options.warmup * total)
    if step <= warm:
        return options.lr * step / (warm + 1)
    if options.schedule == "constant":
        return options.lr
    done = (step - warm - 1) / max(1, total - warm - 1)
    left = (1 + math.cos(math.pi * done)) / 2 if options.schedule == "cosine" else 1 - done
    return options.lr * (options.final_lr + (1 - options.final_lr) * left)


def build_optimizer(network: torch.nn.Module, options: Full, processes: int) -> torch.optim.Optimizer:
    """AdamW over what is trainable; weight decay falls on matrices alone.

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
        raise BenchError(
            "8-bit AdamW cannot shard its states (sharding = fsdp)", "--set optimizer=adamw, or --set sharding=none"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BenchError(
            "optimizer = adamw_8bit needs bitsandbytes",
            "pip install 'baseline-bench[train]', or --set optimizer=adamw",
        )
    return _build_eight_bit(network, settings)


def require_full_embeddings(network: torch.nn.Module, optimizer: Any) -> None:
    """After a step: embeddings keep optimizer states in fp32, whatever the others have.

    8-bit states of a table of which each step touches a few rows are too coarse (bitsandbytes' own advice).

    Raises:
        BenchError: an embedding's state is not fp32.
    """
    for weight in _find_embeddings(network):
        state = optimizer.state.get(weight, {})
        kept = [value for key, value in state.items() if key in ("state1", "exp_avg") and torch.is_tensor(value)]
        if kept and kept[0].dtype != torch.float32:
            raise BenchError(
                f"the optimizer keeps embeddings in {kept[0].dtype}, not float32",
                "--set optimizer=adamw, or another version of bitsandbytes",
            )


def _require_fp32(trained: list[torch.nn.Parameter]) -> None:
    """PyTorch's AdamW keeps states in the dtype of the weights, and in bf16 the second moment stands still."""
    if any(parameter.dtype != torch.float32 for parameter in trained):
        raise BenchError(
            "optimizer = adamw keeps its states in the weights' own dtype, and weights = bf16 is too coarse for them",
            "--set weights=fp32, or --set optimizer=adamw_8bit",
        )


def _build_eight_bit(network: torch.nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    import bitsandbytes

    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    # It keeps overrides by place and for the whole process: another optimizer's would hold for this one, too.
    manager.initialize()
    for module in network.modules():
        if isinstance(module, torch.nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
    made: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(**settings)
    made.step = MethodType(_step_without_waiting, made)  # type: ignore[method-assign]
    return made


@torch.no_grad()
def _step_without_waiting(optimizer: Any, _closure: None = None) -> None:
    """The step of bitsandbytes less its wait for the GPU after every single tensor."""
    if not optimizer.initialized:
        optimizer.check_overrides()
        optimizer.to_gpu()
        optimizer.initialized = True
    for place, group in enumerate(optimizer.param_groups):
        for number, parameter in enumerate(group["params"]):
            if parameter.grad is None:
                continue
            if not optimizer.state[parameter]:
                optimizer.init_state(group, parameter, place, number)
            optimizer.prefetch_state(parameter)
            optimizer.update_step(group, parameter, place, number)


def _find_embeddings(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    weights = [module.weight for module in network.modules() if isinstance(module, torch.nn.Embedding)]
    return [weight for weight in weights if isinstance(weight, torch.nn.Parameter) and weight.requires_grad]
