"""Samples a second of training on gemma-2b's shape: ours, the study's settings, one padded pass, TRL."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from baseline_bench.core import child_process
from baseline_bench.core.types import Model
from baseline_bench.training import recipes
from baseline_bench.training.rows import tokenise_samples

from benchmarks import _models
from benchmarks._models import GEMMA_2B, TINY, Places
from benchmarks.measuring import Arm, Asked, Target, asked, interleave, keep

BATCH = 8
_FULL, _LORA = "bench, full", "bench, LoRA"
# Ours reads the clock at every tenth step on a GPU.
STEPS = 40
_OURS, _THEIRS = (STEPS, 10), (14, 4)
_QUICK = (4, 2)

HOW = (
    "GSM8K main without a shot, effective batch 8, each arm in a process of its own; the first {skip} of our {steps} "
    "steps and the first 4 of the others' 14 are not counted. Memory is the most that the allocator held of the GPU's. "
    "MFU counts 6 FLOPs for every trained number and token and 4 for every frozen one, plus 6 x layers x heads x head "
    "size x length² a row for causal attention, real tokens only, against 989 TFLOP/s of dense bf16; what a way of "
    "training computes twice or pads does not count. Plain loops and TRL use sdpa, and the same rows in the same order "
    "but for TRL's own shuffling."
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to train.

    Attributes:
        name: of the arm.
        work: the child's function.
        recipe: whose settings it trains with.
        per_device: rows of a pass; ours packs by tokens.
        padding_free: of TRL alone.
        sets: other values for keys of the recipe.
    """

    name: str
    work: str
    recipe: str
    per_device: int = BATCH
    padding_free: bool = False
    sets: tuple[str, ...] = ()


OUR_WORK = ("benchmarks._trainings:work", "benchmarks._profiles:work")
OURS = (
    Way(_FULL, OUR_WORK[0], "full-main"),
    Way(_LORA, OUR_WORK[0], "lora-main"),
)
EIGHT_BIT = Way("bench, full, 8-bit optimizer", OUR_WORK[0], "full-main", sets=("optimizer=adamw_8bit",))
PADDED = (
    Way("one padded pass of 8, full", "benchmarks._peers:plain", "full-main"),
    Way("one padded pass of 8, LoRA", "benchmarks._peers:plain", "lora-main"),
)
STUDY = (
    Way("the study's settings, full", "benchmarks._peers:plain", "seeds-full-main", 1),
    Way("the study's settings, LoRA", "benchmarks._peers:plain", "seeds-lora-main", 1),
)
TRL = (
    Way("TRL, full", "benchmarks._peers:trl", "full-main"),
    Way("TRL, LoRA", "benchmarks._peers:trl", "lora-main"),
    Way("TRL padding-free, full", "benchmarks._peers:trl", "full-main", padding_free=True),
)
TARGETS = (
    Target("samples_per_second", _FULL, None, at_least=60),
    Target("samples_per_second", _LORA, None, at_least=80),
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked("Training on gemma-2b's shape.", 1, words)
    where = _models.places()
    model = _models.shaped(TINY if how.quick else GEMMA_2B, where)
    measure("training", "Training on gemma-2b's shape", how, model, (*OURS, EIGHT_BIT, *PADDED, *STUDY, *TRL))
    return 0


def measure(
    question: str,
    title: str,
    how: Asked,
    model: Model,
    ways: Sequence[Way],
    targets: Sequence[Target] = TARGETS,
) -> None:
    """Run the ways that can run here, in turns, and keep what came out."""
    there = [way for way in ways if way.work != TRL[0].work or importlib.util.find_spec("trl") is not None]
    rows = taken(model, _models.places(), (_QUICK if how.quick else _OURS)[0] * BATCH)
    arms = [Arm(way.name, partial(once, way, model, rows, quick=how.quick), may_fail=way in TRL) for way in there]
    samples = interleave(arms, how.repeats)
    tokens = sum(len(row[2]) for row in rows) / len(rows)
    notes = [f"A row has {tokens:.1f} tokens on average."]
    if len(there) < len(ways):
        notes.append("trl is not installed here: its arms are missing.")
    notes += [f"{way.name} failed here." for way in there if way.name not in samples]
    steps, skip = _OURS
    keep(
        question,
        samples,
        targets,
        title=title,
        how=HOW.format(steps=steps, skip=skip),
        notes=notes,
        results=how.results,
    )


def once(way: Way, model: Model, rows: Sequence[Sequence[Any]], *, quick: bool, gpus: int = 1) -> Mapping[str, float]:
    """One training in a child process.

    Args:
        way: to train.
        model: to start from.
        rows: (id, first supervised place, token ids) each, enough for every step.
        quick: a few steps by an optimizer that any machine has.
        gpus: that share a batch so many times as large.
    """
    ours = way.work in OUR_WORK
    steps, skip = _QUICK if quick else _OURS if ours else _THEIRS
    spent = steps * BATCH * gpus
    sets = [f"max_steps={steps}", f"batch={BATCH * gpus}", "checkpoint_steps=0", *way.sets]
    order = {
        "recipe": way.recipe,
        "sets": sets,
        "folder": str(model.folder),
        "rows": rows[:spent],
        "steps": steps,
        "skip": skip,
        "seed": 0,
        "gpus": gpus,
        "per_device": way.per_device,
        "padding_free": way.padding_free,
    }
    found: dict[str, float] = child_process.call_in_child(way.work, order, gpus)
    return found


def taken(model: Model, where: Places, count: int) -> list[tuple[str, int, tuple[int, ...]]]:
    """The first rows of GSM8K's train split as a training sees them."""
    from baseline_bench.models import tokenizer  # loads transformers
    from baseline_bench.training import data  # loads datasets

    recipe = recipes.read_recipe("full-main", (), str(model.folder))
    samples = data.load_samples(recipe, where.mirror)[:count]
    model_tokenizer = tokenizer.load_tokenizer(model)
    made = tokenise_samples(samples, model_tokenizer.tokenizer, model_tokenizer.prompt_format, recipe.max_length).rows
    return [(row.id, row.start, row.token_ids) for row in made]


if __name__ == "__main__":
    raise SystemExit(main())
