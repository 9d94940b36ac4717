"""The hyper-parameters that recipes set, one frozen class a trainer; imports no torch, so recipes are read quickly."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CHOICES = {
    "schedule": ("cosine", "linear", "constant"),
    "optimizer": ("adamw", "adamw_8bit"),
    "precision": ("bf16", "fp32"),
    "weights": ("fp32", "bf16"),
    "attention": ("auto", "sdpa", "eager", "flex_attention", "flash_attention_2"),
    "sharding": ("none", "fsdp"),
    "output_dtype": ("bfloat16", "float16", "float32"),
}
_VALID_RANGES: tuple[tuple[tuple[str, ...], float, float, str], ...] = (
    (("lr", "epochs", "epsilon", "time_limit"), 1e-30, inf, "above 0"),
    (("batch", "forward_tokens", "max_steps"), 1, inf, "1 or more"),
    (("final_lr", "warmup", "beta1", "beta2"), 0, 1, "from 0 to 1"),
    (("clip", "weight_decay", "checkpoint_steps"), 0, inf, "0 or more"),
)


@dataclass(frozen=True, slots=True)
class Full:
    """Full supervised fine-tuning.

    Attributes:
        LIBRARIES: what must be installed; checked before anything else.
        lr: peak learning rate.
        schedule: cosine, linear or constant, after the warm-up.
        final_lr: learning rate at the end of the schedule, as a share of `lr`.
        warmup: share of the steps over which the learning rate rises from 0.
        epochs: passes over the rows.
        max_steps: stop after this many steps; the schedule ends there too.
        batch: rows of one optimizer step, over all GPUs.
        optimizer: adamw (fused, states in fp32) or adamw_8bit (bitsandbytes; embeddings keep fp32 states).
        beta1, beta2, epsilon, weight_decay: of AdamW.
        clip: the gradient's L2 norm is clipped to this; 0 never clips.
        precision: bf16 computes under autocast, fp32 does not.
        weights: dtype of the weights being trained. fp32 is a master copy under autocast; bf16 has none, and at small
            learning rates most of its updates round to nothing.
        gradient_checkpointing: compute activations twice to save memory.
        forward_tokens: most tokens of one forward pass; a step with more is split into several passes.
        cuda_graph: replay passes as CUDA graphs, if one GPU trains without checkpointing and dropout; results are
            the same up to rounding.
        fused_kernels: on a GPU, compute norms, rotary embedding and MLP by liger-kernel if it is installed and knows
            the model; results are the same up to rounding.
        attention: auto uses eager for models with soft-capped attention, else sdpa.
        sharding: over several GPUs: none copies the model to each (DDP), fsdp shards it (FSDP2).
        checkpoint_steps: steps between two saved states to resume from; 0 saves none.
        output_dtype: of the saved weights, as they are scored.
    """

    LIBRARIES: ClassVar[tuple[str, ...]] = ("torch", "accelerate")

    lr: float = 1e-5
    schedule: str = "cosine"
    final_lr: float = 0.1
    warmup: float = 0.03
    epochs: float = 1.0
    max_steps: int | None = None
    batch: int = 8
    optimizer: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    precision: str = "bf16"
    weights: str = "fp32"
    gradient_checkpointing: bool = False
    forward_tokens: int = 8192
    cuda_graph: bool = True
    fused_kernels: bool = True
    attention: str = "auto"
    sharding: str = "none"
    checkpoint_steps: int = 200
    output_dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        require_valid(self)


@dataclass(frozen=True, slots=True)
class Lora(Full):
    """Low-rank adapters on frozen weights (Hu et al. 2021, arXiv:2106.09685); the adapters are trained in fp32.

    Attributes:
        r: rank.
        alpha: the update is scaled by alpha / r.
        dropout: on the adapter's input.
        targets: names of the linear layers that get an adapter.
    """

    LIBRARIES: ClassVar[tuple[str, ...]] = (*Full.LIBRARIES, "peft")

    lr: float = 2e-4
    optimizer: str = "adamw"
    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = PROJECTIONS

    def __post_init__(self) -> None:
        Full.__post_init__(self)
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1 or not self.targets:
            raise ValueError("r must be 1 or more, alpha above 0, dropout from 0 to below 1, targets not empty")


@dataclass(frozen=True, slots=True)
class Qlora(Lora):
    """LoRA on a base quantised to 4 bits (Dettmers et al. 2023, arXiv:2305.14314).

    Attributes:
        double_quantization: quantise the quantisation constants too.
    """

    LIBRARIES: ClassVar[tuple[str, ...]] = (*Lora.LIBRARIES, "bitsandbytes")

    double_quantization: bool = True


@dataclass(frozen=True, slots=True)
class ExternalOptions:
    """The options that every external trainer has first.

    Attributes:
        python: the interpreter to train in, a path or a name on the PATH; None is bench's own.
        time_limit: seconds after which the training is stopped.
        batch: rows of one optimizer step.
    """

    python: str | None = None
    time_limit: float = 86_400.0
    batch: int = 8

    def __post_init__(self) -> None:
        require_valid(self)


def lora_settings(options: Any) -> dict[str, Any]:
    """Return the arguments of PEFT's LoraConfig for the options r, alpha, dropout and targets."""
    return {
        "r": options.r,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        "target_modules": list(options.targets),
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }


def require_valid(options: Any, wrong: Sequence[str] = ()) -> None:
    """Check every option that has a known range or set of choices.

    Args:
        options: any trainer's; names unknown here are the trainer's own and are not checked.
        wrong: problems that the caller has already found.

    Raises:
        ValueError: naming all problems.
    """
    values_by_name = {key: getattr(options, key) for key in options.__dataclass_fields__}
    problems = [
        f"{key} must be {', '.join(choices)}, not '{values_by_name[key]}'"
        for key, choices in CHOICES.items()
        if key in values_by_name and values_by_name[key] not in choices
    ]
    for keys, least, most, range_text in _VALID_RANGES:
        values = {key: values_by_name[key] for key in keys if values_by_name.get(key) is not None}
        problems += [f"{key} must be {range_text}" for key, value in values.items() if not least <= value <= most]
    if problems := [*problems, *wrong]:
        raise ValueError("; ".join(problems))
