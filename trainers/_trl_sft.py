"""Run TRL's SFTTrainer on token ids; `trl` copies this file and runs it in the recipe's interpreter."""

import json
import resource
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

OUTPUT_FOLDER = Path("out")


class StepTimer(TrainerCallback):  # type: ignore[misc]
    """Logs at every step the seconds since training began."""

    began = 0.0

    def on_train_begin(self, *_given: Any, **_more: Any) -> None:
        self.began = perf_counter()

    def on_log(self, _args: Any, state: Any, _control: Any, **_more: Any) -> None:
        state.log_history[-1]["seconds"] = perf_counter() - self.began


def main() -> None:
    """Train by settings.json over rows.jsonl; weights, and the history with the loss of held_out.jsonl, go to out/."""
    settings = json.loads(Path("settings.json").read_bytes())
    network = AutoModelForCausalLM.from_pretrained(
        settings["base"],
        dtype=getattr(torch, settings["dtype"]),
        attn_implementation=settings["attention"],
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    network.config.use_cache = False
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    trainer = SFTTrainer(
        model=network,
        args=SFTConfig(output_dir=str(OUTPUT_FOLDER), use_cpu=not accelerated, **settings["arguments"]),
        train_dataset=Dataset.from_list(_read_rows("rows.jsonl")),
        processing_class=AutoTokenizer.from_pretrained(
            settings["base"], local_files_only=True, trust_remote_code=False
        ),
        peft_config=LoraConfig(**settings["lora"]) if settings["lora"] else None,
        callbacks=[StepTimer()],
    )
    trainer.train()
    last = {"step": trainer.state.global_step, "peak_memory": _measure_peak_memory()}
    if held_out := _read_rows("held_out.jsonl"):
        last["eval_loss"] = _compute_loss(trainer.model, held_out)
    trainer.state.log_history.append(last)
    trainer.save_state()
    trained = trainer.model if settings["lora"] else trainer.model.to(getattr(torch, settings["output_dtype"]))
    trained.save_pretrained(OUTPUT_FOLDER / "weights")


def _read_rows(name: str) -> list[dict[str, list[int]]]:
    rows = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
    return [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]


@torch.no_grad()
def _compute_loss(network: Any, rows: list[dict[str, list[int]]]) -> float:
    network.eval()
    total, count = 0.0, 0
    for row in rows:
        supervised = sum(label >= 0 for label in row["labels"])
        inputs = {name: torch.tensor([ids], device=network.device) for name, ids in row.items()}
        total, count = total + float(network(**inputs).loss) * supervised, count + supervised
    return total / count


def _measure_peak_memory() -> int:
    used = int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else 0
    scale = 1 if sys.platform == "darwin" else 1024
    return used or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


if __name__ == "__main__":
    main()
