"""Rows, jobs and options to train tiny models with: fp32 on one thread, so that equal means equal."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
import torch
from baseline_bench.core import plugins
from baseline_bench.core.types import Job, Message, Model, Sample, Step, TrainingExample, TrainingResult
from baseline_bench.models import tokenizer, weights
from baseline_bench.trainers import _network, _sft
from baseline_bench.trainers._options import Full, Lora, Qlora
from baseline_bench.trainers._packing import PackedPass, pack_examples
from baseline_bench.training.rows import tokenise_samples
from transformers import AutoModelForCausalLM

QUESTION = "Tom has {0} red apples and buys {1} more. How many apples does he have now?"
SOLUTION = "He buys {1} apples, so he has {0} + {1} = {2} apples.\n#### {2}"
LONGER = "There were {0} birds on the first tree.\nTogether there are {0} + {1} = {2} birds.\n#### {2}"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished training and every step that it reported."""

    trained: TrainingResult
    steps: list[Step]

    @property
    def losses(self) -> list[float]:
        """The loss of every step."""
        return [step.loss for step in self.steps]

    @property
    def norms(self) -> list[float]:
        """The gradient's norm of every step."""
        return [step.grad_norm for step in self.steps]


def model(folder: Path, manner: tiny.Manner = "chatml") -> Model:
    """A tiny base as a trainer is given it."""
    tiny.build(folder, manner)
    return at(folder)


def at(folder: Path) -> Model:
    """A folder of weights as a base."""
    return Model("tiny", "folder", None, folder, None, weights.digest_weights(folder))


def samples(count: int) -> list[Sample]:
    """Questions and solutions of several lengths."""
    made = []
    for number in range(1, count + 1):
        numbers = (number, 7 * number, 8 * number)
        text = LONGER if number % 3 == 0 else SOLUTION
        question = " ".join([QUESTION.format(*numbers)] * (1 + number % 2))
        made.append(Sample(f"train-{number}", (Message("user", question),), text.format(*numbers)))
    return made


def rows(base: Model, count: int) -> tuple[TrainingExample, ...]:
    """The same as checked token ids."""
    model_tokenizer = tokenizer.load_tokenizer(base)
    return tokenise_samples(samples(count), model_tokenizer.tokenizer, model_tokenizer.prompt_format, 4096).rows


def full(**over: Any) -> Full:
    """Options of an exact full training."""
    return Full(**(_EXACT | over))


def lora(**over: Any) -> Lora:
    """Options of an exact LoRA."""
    return Lora(**(_EXACT | {"r": 4, "alpha": 8} | over))


def qlora(**over: Any) -> Qlora:
    """Options of a LoRA over 4 bits."""
    return Qlora(**(_EXACT | {"r": 4, "alpha": 8} | over))


_EXACT: dict[str, Any] = {
    "lr": 1e-3,
    "optimizer": "adamw",
    "precision": "fp32",
    "output_dtype": "float32",
    "checkpoint_steps": 0,
}


def job(base: Model, rows: Sequence[TrainingExample], folder: Path, options: Any, **over: Any) -> Job:
    """What a trainer is given; reports go nowhere unless told."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"held_out": (), "seed": 0, "checkpoints": 0, "processes": 1, "report": _nowhere}
    return Job(base=base, rows=rows, options=options, folder=folder, **(given | over))


def run(train: Any, base: Model, rows: Sequence[TrainingExample], folder: Path, options: Any, **over: Any) -> Run:
    """Train on one thread; a `report` gets the steps too."""
    steps: list[Step] = []
    told = over.pop("report", _nowhere)

    def report(step: Step) -> None:
        steps.append(step)
        told(step)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return Run(train(job(base, rows, folder, options, report=report, **over)), steps)
    finally:
        torch.set_num_threads(threads)


def loaded(job: Job, _device: torch.device) -> Any:
    """The base in fp32, as a method builds it."""
    return _network.load_base(job, torch.float32)


def changed(change: Callable[[Any], Any]) -> Callable[[Job], TrainingResult]:
    """A full trainer whose network was changed."""

    def build(job: Job, device: torch.device) -> Any:
        return change(loaded(job, device))

    return lambda job: _sft.run_training(job, _sft.TrainingMethod("full", build, _network.save_weights))


def plain(folder: Path, attention: str = "eager") -> Any:
    """The network as transformers alone loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)


def summed_loss(network: Any, row: TrainingExample) -> torch.Tensor:
    """The loss of one row alone over its supervised tokens, by transformers' own loss."""
    labels = [-100] * row.start + list(row.token_ids[row.start :])
    loss = network(input_ids=torch.tensor([row.token_ids]), labels=torch.tensor([labels])).loss
    return loss * (len(row.token_ids) - row.start)


def supervised(rows: Sequence[TrainingExample]) -> int:
    """How many tokens the loss is over."""
    return sum(len(row.token_ids) - row.start for row in rows)


def packed_loss(network: Any, rows: Sequence[TrainingExample]) -> torch.Tensor:
    """The summed loss of rows in one padding-free pass."""
    return pass_loss(network, pack_examples(rows))


def pass_loss(network: Any, packed: PackedPass) -> torch.Tensor:
    """The summed loss of one pass; a network that fills a cache takes packed rows for one."""
    logits = network(
        input_ids=packed.ids, position_ids=packed.positions, logits_to_keep=packed.predict, use_cache=False
    ).logits[0]
    return torch.nn.functional.cross_entropy(logits, packed.labels, reduction="sum")


def _nowhere(step: Step) -> None:
    """Nobody listens."""


def until(number: int | None) -> Callable[[Step], None]:
    """A report that ends its process without a word after this step."""

    def report(step: Step) -> None:
        if step.number == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return report


def work(asked: dict[str, Any], _screen: Any, rank: int) -> list[Any]:
    """Several trainings in child processes, one after another; the steps of each, as JSON.

    Args:
        asked: the base's folder, how many rows, processes, and trainer, folder and options of every training; and
            perhaps the step after which to be killed.
    """
    base = at(Path(asked["base"]))
    told = []
    for name, folder, options in asked["trainings"]:
        trainer = plugins.load_trainer(name)
        settings = trainer.Options(**(_EXACT | options))
        given = {"processes": asked["processes"], "held_out": rows(base, 3), "report": until(asked.get("killed"))}
        made = run(trainer.train, base, rows(base, asked["rows"]), Path(folder), settings, **given)
        told.append([made.losses, made.norms, made.trained.held_out_loss, made.trained.trainable])
    return told
