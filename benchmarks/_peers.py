"""What people train with, a few steps in a child process: a plain padded loop, and TRL's SFTTrainer."""

import tempfile
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from baseline_bench.core.display import Console
from baseline_bench.core.types import TrainingExample
from baseline_bench.trainers._packing import split_into_steps
from baseline_bench.training import recipes
from peft import LoraConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks._trainings import measures, rows

_IGNORED = -100
_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def plain(asked: Mapping[str, Any], _screen: Console, _rank: int) -> dict[str, float]:
    """The obvious loop: `asked["per_device"]` padded rows a pass, as many passes a step as the recipe's batch needs."""
    options = recipes.read_recipe(asked["recipe"], asked["sets"], asked["folder"]).options
    network = _network(asked, options, options.weights)
    if options.gradient_checkpointing:
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        network.enable_input_require_grads()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = _optimizer(trained, options)
    count, began = 0, 0.0
    for number, window in enumerate(split_into_steps(rows(asked), options.batch, 1, asked["seed"])[: asked["steps"]]):
        if number == asked["skip"]:
            _wait()
            count, began = 0, perf_counter()
        for first in range(0, len(window), asked["per_device"]):
            part = window[first : first + asked["per_device"]]
            with torch.autocast(_DEVICE, torch.bfloat16):
                loss = network(**_padded(part), use_cache=False).loss
            (loss * len(part) / len(window)).backward()
        torch.nn.utils.clip_grad_norm_(trained, options.clip)
        optimizer.step()
        optimizer.zero_grad()
        count += len(window)
    _wait()
    return _measured(asked, perf_counter() - began, count, network)


def trl(asked: Mapping[str, Any], _screen: Console, _rank: int) -> dict[str, float]:
    """SFTTrainer over the same token ids, `asked["per_device"]` rows a pass, padded or (padding_free) in one row."""
    import trl as library

    options = recipes.read_recipe(asked["recipe"], asked["sets"], asked["folder"]).options
    table = [
        {"input_ids": list(row.token_ids), "completion_mask": _supervised(row)}
        for window in split_into_steps(rows(asked), options.batch, 1, asked["seed"])
        for row in window
    ]
    clock = _Clock(asked["skip"])
    network = _network(asked, options, options.weights)
    with tempfile.TemporaryDirectory() as place:
        import datasets

        trainer = library.SFTTrainer(
            model=network,
            args=library.SFTConfig(
                output_dir=place,
                per_device_train_batch_size=asked["per_device"],
                gradient_accumulation_steps=options.batch // asked["per_device"],
                max_steps=asked["steps"],
                learning_rate=options.lr,
                lr_scheduler_type="constant",
                max_grad_norm=options.clip,
                optim="adamw_8bit" if options.optimizer == "adamw_8bit" else "adamw_torch_fused",
                bf16=True,
                use_cpu=_DEVICE == "cpu",
                gradient_checkpointing=options.gradient_checkpointing,
                completion_only_loss=True,
                max_length=None,
                padding_free=asked["padding_free"],
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=datasets.Dataset.from_list(table),
            processing_class=AutoTokenizer.from_pretrained(asked["folder"], local_files_only=True),
            callbacks=[clock],
        )
        trainer.train()
    _wait()
    count = (asked["steps"] - asked["skip"]) * options.batch
    return _measured(asked, perf_counter() - clock.began, count, network)


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Takes the time at the end of the last step that does not count."""

    def __init__(self, skip: int) -> None:
        self.began = 0.0
        self._skip = skip

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_more: Any) -> None:
        if state.global_step == self._skip:
            _wait()
            self.began = perf_counter()


def _network(asked: Mapping[str, Any], options: Any, weights: str) -> Any:
    adapted = hasattr(options, "targets")
    dtype = torch.float32 if weights == "fp32" and not adapted else torch.bfloat16
    network = AutoModelForCausalLM.from_pretrained(asked["folder"], dtype=dtype, attn_implementation="sdpa")
    if adapted:
        config = LoraConfig(
            r=options.r, lora_alpha=options.alpha, target_modules=list(options.targets), task_type="CAUSAL_LM"
        )
        network = get_peft_model(network, config)
    return network.to(_DEVICE).train()


def _optimizer(trained: Sequence[torch.nn.Parameter], options: Any) -> Any:
    if options.optimizer == "adamw_8bit":
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(trained, lr=options.lr)
    return torch.optim.AdamW(trained, lr=options.lr, fused=True)


def _padded(part: Sequence[TrainingExample]) -> dict[str, torch.Tensor]:
    ids = [torch.tensor(row.token_ids) for row in part]
    labels = [torch.tensor([_IGNORED] * row.start + list(row.token_ids[row.start :])) for row in part]
    made = {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=_IGNORED),
    }
    return {name: tensor.to(_DEVICE) for name, tensor in made.items()}


def _supervised(row: TrainingExample) -> list[int]:
    return [0] * row.start + [1] * (len(row.token_ids) - row.start)


def _measured(asked: Mapping[str, Any], seconds: float, count: int, network: Any) -> dict[str, float]:
    numbers = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    trainable = sum(size for size, learns in numbers if learns)
    return measures(asked, seconds, count, parameters=sum(size for size, _ in numbers), trainable=trainable)


def _wait() -> None:
    if _DEVICE == "cuda":
        torch.cuda.synchronize()
