"""Whole weights that are no training of the base that is named, or a wrong one, and sound trainings of it."""

import shutil
from functools import partial
from pathlib import Path

import tiny
import torch
from baseline_bench.models.weights import SINGLE_FILE
from safetensors.torch import load_file, save_file

from corpus.asking import look
from corpus.cases import Case

__all__ = ("CASES", "look")
_EMBEDDING = "model.embed_tokens.weight"


def _copied(folder: Path) -> Path:
    return Path(shutil.copytree(tiny.build(folder / "named"), folder / "tuned"))


def _trained(folder: Path) -> Path:
    tiny.build(folder / "named")
    return tiny.build(folder / "tuned", seed=2)


def _merged(rank: int, folder: Path) -> Path:
    """A tied embedding that differs from the base's by a matrix of this rank."""
    file = _copied(folder) / SINGLE_FILE
    tensors, draw = load_file(file), torch.Generator().manual_seed(0)
    change = torch.randn(tiny.VOCABULARY, rank, generator=draw) @ torch.randn(rank, 128, generator=draw)
    save_file(tensors | {_EMBEDDING: tensors[_EMBEDDING] + change * 0.01}, file, {"format": "pt"})
    return file.parent


CASES = (
    Case("a copy of its base", "a rate that was too small", _copied, (("not-of-base", "warn"),), "a training"),
    Case(
        "an adapter merged into a tied head",
        "peft#2777",
        partial(_merged, 4),
        (("embedding-merged", "warn"),),
        "a tied head that was trained",
    ),
    Case("a training", "found by hand", _trained, (), "a copy of its base"),
    Case(
        "a tied head that was trained", "found by hand", partial(_merged, 128), (), "an adapter merged into a tied head"
    ),
)
