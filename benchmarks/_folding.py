"""The child processes of the merge: an adapter of random numbers, what people do with PEFT, and our fold alone."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from baseline_bench.models import merge, weights
from baseline_bench.models.adapter import MergeOptions
from peft import PeftModel
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

RANK, ALPHA = 16, 32
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SIZE = 0.01


def adapter(base: Path, out: Path) -> None:
    """A LoRA over every linear layer of a base, lora_A as PEFT begins it, lora_B as a training might leave it."""
    draws = np.random.default_rng(0)
    tensors = {}
    for tensor in weights.read_tensors(base):
        module = tensor.name.removesuffix(".weight")
        if not module.endswith(TARGETS):
            continue
        outputs, inputs = tensor.shape
        bound = inputs**-0.5
        a = draws.uniform(-bound, bound, (RANK, inputs))
        b = draws.normal(0, SIZE, (outputs, RANK))
        for side, numbers in (("A", a), ("B", b)):
            tensors[f"base_model.model.{module}.lora_{side}.weight"] = numbers.astype(np.float32)
    out.mkdir(parents=True)
    save_file(tensors, out / "adapter_model.safetensors", {"format": "pt"})
    config = {"r": RANK, "lora_alpha": ALPHA, "target_modules": list(TARGETS), "base_model_name_or_path": str(base)}
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "lora_dropout": 0.0, "bias": "none", **config}
    (out / "adapter_config.json").write_text(json.dumps(told, indent=2), encoding="utf-8")


def peft(base: Path, out: Path, lora: Path) -> None:
    """`merge_and_unload` and `save_pretrained`, in the base's own dtype."""
    network = AutoModelForCausalLM.from_pretrained(base, dtype="auto", local_files_only=True)
    whole = PeftModel.from_pretrained(network, lora).merge_and_unload()
    whole.save_pretrained(out)
    AutoTokenizer.from_pretrained(base, local_files_only=True).save_pretrained(out)


def fold(base: Path, out: Path, lora: Path) -> None:
    """Our fold with its proofs, without looking at its effect on predictions."""
    merge.merge_adapter(base, lora, out, MergeOptions())


WAYS: Mapping[str, Callable[..., None]] = {"adapter": adapter, "peft": peft, "fold": fold}

if __name__ == "__main__":
    WAYS[sys.argv[1]](*map(Path, sys.argv[2:]))
