"""TRL's SFTTrainer as an external trainer: bench's token ids and labels, TRL's loop, the recipe's interpreter."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baseline_bench.core.types import Job
from baseline_bench.core.untrusted import read_object
from baseline_bench.models.weights import get_text_config
from baseline_bench.trainers import _foreign
from baseline_bench.trainers._options import PROJECTIONS, ExternalOptions, lora_settings, require_valid

__all__ = ["LIBRARIES", "Options", "command", "files", "weights"]

LIBRARIES = ("trl", "peft")
_SCRIPT = Path(__file__).with_name("_trl_sft.py")
_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}


@dataclass(frozen=True, slots=True)
class Options(ExternalOptions):
    """Hyper-parameters, named as in bench's own trainers; docs/foreign-trainers.md says what TRL does differently.

    Attributes:
        method: lora or full.
        forward_rows: rows of one padded forward pass; `batch` is a multiple of it.
        optimizer: adamw (fused) or adamw_8bit (bitsandbytes).
        lr, schedule, final_lr, warmup, epochs, max_steps, beta1, beta2, epsilon, weight_decay, clip, precision,
            gradient_checkpointing, attention, output_dtype: as in `_options.Full`.
        r, alpha, dropout, targets: as in `_options.Lora`.
        weights: dtype of the weights in full training; a LoRA's base is in the dtype of `precision`.
    """

    method: str = "lora"
    lr: float = 2e-4
    schedule: str = "cosine"
    final_lr: float = 0.1
    warmup: float = 0.03
    epochs: float = 1.0
    max_steps: int | None = None
    forward_rows: int = 8
    optimizer: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    precision: str = "bf16"
    weights: str = "fp32"
    gradient_checkpointing: bool = False
    attention: str = "auto"
    output_dtype: str = "bfloat16"
    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = PROJECTIONS

    def __post_init__(self) -> None:
        ExternalOptions.__post_init__(self)
        wrong = [] if self.method in ("lora", "full") else [f"method must be lora or full, not '{self.method}'"]
        if self.forward_rows < 1 or self.batch % self.forward_rows:
            wrong.append("batch must be a multiple of forward_rows")
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1 or not self.targets:
            wrong.append("r must be 1 or more, alpha above 0, dropout from 0 to below 1, targets not empty")
        require_valid(self, wrong)

    @property
    def LIBRARIES(self) -> tuple[str, ...]:  # noqa: N802
        """The libraries that bench's interpreter needs: none if another interpreter trains."""
        return LIBRARIES if self.python is None else ()


def files(job: Job) -> dict[str, str]:
    """Return the script, its settings, and the rows."""
    return {
        "train.py": _SCRIPT.read_text(encoding="utf-8"),
        "settings.json": json.dumps(_build_settings(job), indent=2) + "\n",
        "rows.jsonl": _foreign.format_jsonl(job.rows),
        "held_out.jsonl": _foreign.format_jsonl(job.held_out),
    }


def command(_job: Job) -> list[str]:
    """Return the command that runs the script."""
    return ["python", "train.py"]


def weights(_job: Job) -> str:
    """Return the folder where the script saves an adapter or a whole model."""
    return "out/weights"


def _build_settings(job: Job) -> dict[str, Any]:
    options: Options = job.options
    lora = options.method == "lora"
    half = options.precision == "bf16" if lora else options.weights == "bf16"
    return {
        "base": str(job.base.folder),
        "dtype": "bfloat16" if half else "float32",
        "attention": _choose_attention(job),
        "output_dtype": options.output_dtype,
        "arguments": {**_loop_settings(job), **_optimizer_settings(job)},
        "lora": lora_settings(options) if lora else None,
    }


def _loop_settings(job: Job) -> dict[str, Any]:
    """Return SFTTrainer's settings for rows to be used as they are: no template, truncation or packing."""
    options: Options = job.options
    return {
        "max_length": None,
        "packing": False,
        "per_device_train_batch_size": options.forward_rows,
        "gradient_accumulation_steps": options.batch // options.forward_rows,
        "num_train_epochs": options.epochs,
        "max_steps": _count_steps(job) if options.max_steps else -1,
        "bf16": options.precision == "bf16",
        "gradient_checkpointing": options.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "seed": job.seed,
        "data_seed": job.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _optimizer_settings(job: Job) -> dict[str, Any]:
    options: Options = job.options
    name, more = _schedule_settings(options)
    return {
        "learning_rate": options.lr,
        "lr_scheduler_type": name,
        "lr_scheduler_kwargs": more,
        "warmup_steps": math.ceil(options.warmup * _count_steps(job)),
        "optim": _OPTIMIZERS[options.optimizer],
        "adam_beta1": options.beta1,
        "adam_beta2": options.beta2,
        "adam_epsilon": options.epsilon,
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.clip,
    }


def _count_steps(job: Job) -> int:
    """Count all steps. transformers would repeat epochs beyond `epochs` to reach `max_steps`."""
    options: Options = job.options
    all_steps = math.ceil(options.epochs * math.ceil(len(job.rows) / options.batch))
    return min(all_steps, options.max_steps or all_steps)


def _schedule_settings(options: Options) -> tuple[str, dict[str, float]]:
    """Return (name, arguments) of transformers' schedule."""
    if options.schedule == "constant" or options.final_lr == 1:
        return "constant_with_warmup", {}
    if options.schedule == "cosine":
        return ("cosine_with_min_lr", {"min_lr_rate": options.final_lr}) if options.final_lr else ("cosine", {})
    if options.final_lr:
        return "polynomial", {"lr_end": options.lr * options.final_lr, "power": 1.0}
    return "linear", {}


def _choose_attention(job: Job) -> str:
    options: Options = job.options
    if options.attention != "auto":
        return options.attention
    config = read_object(job.base.folder / "config.json", "restore the file")
    return "eager" if get_text_config(config).get("attn_logit_softcapping") else "sdpa"
