"""Whole weights that are no training of the base that is named, or a wrong one, and sound trainings of it."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tiny
import torch
from baseline_bench.models.weights import SINGLE_FILE
from safetensors.torch import load_file, save_file

from corpus.asking import look
from corpus.cases import Case, finds
from corpus.entries import edit

__all__ = ("CASES", "look")
Tensors = dict[str, torch.Tensor]
_EMBEDDING = "model.embed_tokens.weight"


def _copied(folder: Path) -> Path:
    return Path(shutil.copytree(tiny.build(folder / "named"), folder / "tuned"))


def _trained(change: Callable[[Tensors], None], folder: Path) -> Path:
    """A base, and what a training made of it: every number moved a little, and then this change."""
    file, draw = _copied(folder) / SINGLE_FILE, torch.Generator().manual_seed(0)
    tensors = load_file(file)
    for name, tensor in tensors.items():
        tensors[name] = tensor + torch.randn(tensor.shape, generator=draw) * 0.01
    change(tensors)
    save_file(tensors, file, {"format": "pt"})
    return file.parent


def _reorder(tensors: Tensors) -> None:
    """Put the rows of a head's queries and keys into the order of rotary embeddings that take neighbours together."""
    for name in [name for name in tensors if name.endswith(("q_proj.weight", "k_proj.weight"))]:
        rows = tensors[name]
        tensors[name] = rows.view(-1, 2, 32, rows.shape[1]).transpose(1, 2).reshape(rows.shape).contiguous()


def _draw_anew(tensors: Tensors) -> None:
    tensors[_EMBEDDING].normal_(0, 0.08, generator=torch.Generator().manual_seed(5))


def _configured(change: Callable[[Path], None], folder: Path) -> Path:
    """A training whose configuration is changed."""
    made = _trained(lambda _: None, folder)
    change(made)
    return made


def _respell(made: Path) -> None:
    """Spell the configuration as transformers 4 does."""
    edit(made / "config.json", "rope_parameters", "dtype", rope_theta=1e4, rope_scaling=None, torch_dtype="bfloat16")


def _lose_rope(made: Path) -> None:
    """The base turns by another angle than the class's default, to which the training went back."""
    edit(made.parent / "named" / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 5e5})


def _merged(rank: int, folder: Path) -> Path:
    """A tied embedding that differs from the base's by a matrix of this rank."""
    file = _copied(folder) / SINGLE_FILE
    tensors, draw = load_file(file), torch.Generator().manual_seed(0)
    change = torch.randn(tiny.VOCABULARY, rank, generator=draw) @ torch.randn(rank, 128, generator=draw)
    save_file(tensors | {_EMBEDDING: tensors[_EMBEDDING] + change * 0.01}, file, {"format": "pt"})
    return file.parent


_UNLIKE = (("not-of-base", "warn"),)
_DIRECTION = (finds("models.weight_checks:check_direction"),)
CASES = (
    Case("a copy of its base", "a rate that was too small", _copied, (("not-of-base", "warn"),), "a training"),
    Case(
        "an adapter merged into a tied head",
        "peft#2777",
        partial(_merged, 4),
        (("embedding-merged", "warn"),),
        "a tied head that was trained",
    ),
    Case("a training", "found by hand", partial(_trained, lambda _: None), (), "a copy of its base"),
    Case(
        "rows in another order", "ooples/AiDotNet#2074", partial(_trained, _reorder), _UNLIKE, "a training", _DIRECTION
    ),
    Case(
        "an embedding drawn anew",
        "huggingface/transformers#45079",
        partial(_trained, _draw_anew),
        _UNLIKE,
        "a training",
        _DIRECTION,
    ),
    Case(
        "another angle of positions",
        "unslothai/unsloth#7028",
        partial(_configured, _lose_rope),
        (("config-not-base", "warn"),),
        "a training that transformers 4 saved",
    ),
    Case(
        "a training that transformers 4 saved",
        "found by hand",
        partial(_configured, _respell),
        (),
        "another angle of positions",
    ),
    Case(
        "a tied head that was trained", "found by hand", partial(_merged, 128), (), "an adapter merged into a tied head"
    ),
)
