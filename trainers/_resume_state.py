"""Save and load the state to resume a training: step, trained parameters, optimizer and random states, in one file."""

import random
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

STATE_FILE = "state.pt"
_FULL_STATE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)
_SHARDED_STATE = StateDictOptions(
    full_state_dict=True, broadcast_from_rank0=False, ignore_frozen_params=True, strict=False
)


def save_state(accelerator: Accelerator, network: Any, optimizer: Any, step: int, folder: Path) -> None:
    """Save the state after `step` in place of the previous one; only the first process writes.

    Raises:
        BenchError: the disk lacks room for it, checked before anything is written; or the disk fills up all the same.
    """
    if accelerator.is_fsdp2:
        parameters = get_model_state_dict(network, options=_FULL_STATE)
        optimizer_state = get_optimizer_state_dict(network, optimizer, options=_FULL_STATE)
    else:
        plain = accelerator.unwrap_model(network).named_parameters()
        parameters = {name: value.detach() for name, value in plain if value.requires_grad}
        optimizer_state = optimizer.state_dict()
    state = {
        "step": step,
        "network": parameters,
        "optimizer": optimizer_state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    if accelerator.is_main_process:
        path = folder / STATE_FILE
        machine.require_disk(
            folder, _count_bytes(state), "a state to resume from", "free some space, or --set checkpoint_steps=0"
        )
        draft = path.with_suffix(".draft")
        try:
            torch.save(state, draft)
            draft.replace(path)
        except (RuntimeError, OSError) as error:  # torch raises RuntimeError for every write error
            raise BenchError(f"cannot write {path}: {error}", "free some space, or --set checkpoint_steps=0") from error
        finally:
            draft.unlink(missing_ok=True)
    accelerator.wait_for_everyone()


def load_state(accelerator: Accelerator, network: Any, optimizer: Any, folder: Path) -> int:
    """Load the saved state; return the step after which it was saved, 0 if there is none."""
    path = folder / STATE_FILE
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if accelerator.is_fsdp2:
        set_model_state_dict(network, state["network"], options=_SHARDED_STATE)
        set_optimizer_state_dict(network, optimizer, state["optimizer"], options=_SHARDED_STATE)
    else:
        accelerator.unwrap_model(network).load_state_dict(state["network"], strict=False)
        optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    return int(state["step"])


def seed_randomness(number: int) -> None:
    """Seed everything random: dropout and the initial values of adapters."""
    random.seed(number)
    torch.manual_seed(number)


def _count_bytes(value: Any) -> int:
    if torch.is_tensor(value):
        return int(value.numel() * value.element_size())
    if isinstance(value, dict):
        return sum(_count_bytes(part) for part in value.values())
    return sum(_count_bytes(part) for part in value) if isinstance(value, list | tuple) else 0
