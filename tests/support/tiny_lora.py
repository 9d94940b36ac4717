"""Writes real PEFT adapters over tiny models, with random numbers in place of a training."""

import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def build(base: Path, folder: Path, *, size: float = 0.02, targets=ALL, seed: int = 0, **settings) -> Path:
    """Save an adapter of `base` into `folder` and return it.

    Args:
        base: a whole checkpoint.
        folder: is made if need be.
        size: standard deviation of lora_B; lora_A begins as PEFT begins it.
        targets: as in LoraConfig.
        seed: of the numbers.
        settings: more of LoraConfig.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": list(targets), **settings})
        adapted = wrapped(get_peft_model, network, config)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if ".lora_B." in name:
                    parameter.normal_(0, size)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def wrapped(wrap, *args):
    """What PEFT's `wrap` makes of a network, without the warning that it asks transformers by an old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return wrap(*args)


def recast(base: Path, folder: Path, dtype: torch.dtype, **settings) -> Path:
    """Save a base anew in another dtype or in other shards (`max_shard_size`), beside its tokenizer."""
    AutoModelForCausalLM.from_pretrained(base, dtype=dtype).save_pretrained(folder, **settings)
    for file in base.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    for file in base.glob("*.jinja"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder
