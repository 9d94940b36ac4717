"""A few steps of a training in a child process: our own trainers, and what each way of training is measured by."""

import resource
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from baseline_bench.core.display import Console
from baseline_bench.core.types import Job, Model, Step, TrainingExample
from baseline_bench.trainers import _adapter, _sft, full, lora
from baseline_bench.training import recipes
from transformers import AutoConfig

_GIB = 2**30
# Dense bf16 FLOP/s as NVIDIA states them for the SXM boards, without sparsity.
_PEAK = {"H100": 989e12, "H200": 989e12}


def work(
    asked: Mapping[str, Any], _screen: Console, rank: int, follow: Callable[[Step], None] = lambda _step: None
) -> dict[str, float]:
    """Train `asked["steps"]` steps by one of our trainers as a recipe has it, and write no weights."""
    recipe = recipes.read_recipe(asked["recipe"], asked["sets"], asked["folder"])
    steps: list[Step] = []

    def report(step: Step) -> None:
        steps.append(step)
        follow(step)

    with tempfile.TemporaryDirectory() as place:
        job = Job(
            base=Model("measured", "folder", None, Path(asked["folder"]), None, None),
            rows=rows(asked),
            held_out=(),
            options=recipe.options,
            seed=asked["seed"],
            folder=Path(place),
            checkpoints=0,
            processes=asked["gpus"],
            report=report,
        )
        trained = _sft.run_training(job, _METHODS[recipe.trainer])
    if rank > 0:
        return {}  # the first process alone is told of steps
    timed, before = steps[asked["skip"] :], steps[asked["skip"] - 1]
    seconds = timed[-1].seconds - before.seconds
    return measures(
        asked, seconds, sum(step.rows for step in timed), parameters=trained.parameters, trainable=trained.trainable
    )


def rows(asked: Mapping[str, Any]) -> tuple[TrainingExample, ...]:
    """The rows that were handed over."""
    return tuple(TrainingExample(name, tuple(ids), start) for name, start, ids in asked["rows"])


def measures(
    asked: Mapping[str, Any], seconds: float, trained_on: int, *, parameters: int, trainable: int
) -> dict[str, float]:
    """What a training is measured by.

    Args:
        asked: as it was handed over.
        seconds: of the steps that count.
        trained_on: rows of these steps, over all processes.
        parameters: of the whole model, adapters among them, tied ones counted once.
        trainable: those of them that are trained.

    Returns:
        Samples and tokens a second, GiB at the peak (of the first GPU, else of the process), and on a GPU whose peak is
        known the model's FLOP/s as a share of it ("mfu").
    """
    lengths = [len(row.token_ids) for row in rows(asked)]
    rate = trained_on / seconds
    found = {
        "samples_per_second": rate,
        "tokens_per_second": rate * sum(lengths) / len(lengths),
        "seconds_a_step": seconds / (asked["steps"] - asked["skip"]),
        "peak_gib": _peak() / _GIB,
    }
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    most = next((peak for part, peak in _PEAK.items() if part in name), None)
    if most is not None:
        work_a_row = flops(Path(asked["folder"]), lengths, parameters - trainable, trainable) / len(lengths)
        found["mfu"] = rate * work_a_row / (most * asked["gpus"])
    return found


def flops(folder: Path, lengths: Sequence[int], frozen: int, trained: int) -> float:
    """What a training must compute for rows of these lengths, recomputation and padding left out.

    6 a trained number and token (2 forward, 4 backward) and 4 a frozen one, which gets no gradient of its own; the
    embedding counts once, as the head. Causal attention adds 6 x layers x heads x head_dim x length^2 a row.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 6 * config.num_hidden_layers * config.num_attention_heads * width
    return float((4 * frozen + 6 * trained) * sum(lengths) + attention * sum(length**2 for length in lengths))


def _peak() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _drop(_network: Any, _state: Mapping[str, torch.Tensor], _folder: Path, _job: Job) -> None:
    """Weights of a few steps are for nobody."""


_METHODS = {
    "full": _sft.TrainingMethod("full", full._build_network, _drop),
    "lora": _sft.TrainingMethod("adapter", lora._build_network, _drop, _adapter.require_gradients),
}
