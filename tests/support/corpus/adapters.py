"""LoRA adapters that lack pairs or learned nothing, or of another base, revision or tokenizer, and sound ones.

A case builds the base in `base` and the adapter in `adapter` of its folder; the adapter names that base. A model in
`named` is what the user names as the base.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tiny
import tiny_families
import tiny_lora
from baseline_bench.models.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from safetensors.torch import load_file, save_file

from corpus.asking import look
from corpus.cases import Case

__all__ = ("CASES", "look")

COMMIT = "b" * 40
_INCOMPLETE = (("adapter-incomplete", "refuse"),)
_UNUSED = (("adapter-unused", "refuse"),)
_REVISION = (("adapter-revision", "refuse"),)
_ATTENTION = ("q_proj", "v_proj")


def made(
    lost: Sequence[str] = (),
    config: dict[str, Any] | None = None,
    build_base: Callable[[Path], Path] = tiny.build,
    **settings: Any,
) -> Any:
    """What builds a base and an adapter of it, without the pairs of `lost` and with keys of its configuration set."""

    def build(folder: Path) -> Path:
        base, adapter = build_base(folder / "base"), folder / "adapter"
        tiny_lora.build(base, adapter, size=0.05, **{"targets": _ATTENTION, **settings})
        tensors = load_file(adapter / ADAPTER_WEIGHTS)
        kept = {name: tensor for name, tensor in tensors.items() if not any(part in name for part in lost)}
        save_file(kept, adapter / ADAPTER_WEIGHTS, {"format": "pt"})
        file = adapter / ADAPTER_CONFIG
        named = {"base_model_name_or_path": str(base), **(config or {})}
        file.write_text(json.dumps(json.loads(file.read_text()) | named))
        return adapter

    return build


def snapshot(folder: Path) -> Path:
    """An adapter of the commit that its base's folder bears, as the hub's cache calls it."""
    adapter = made(config={"revision": COMMIT})(folder)
    base = folder / "models--org--base" / "snapshots" / COMMIT
    base.parent.mkdir(parents=True)
    shutil.move(folder / "base", base)
    file = adapter / ADAPTER_CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
    return adapter


def retemplated(folder: Path) -> Path:
    """An adapter that brings its base's tokenizer under another chat template."""
    adapter = made()(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / "base" / name, adapter / name)
    template = (folder / "base" / "chat_template.jinja").read_text()
    (adapter / "chat_template.jinja").write_text(template.replace("You are a tiny model that counts.", "Count."))
    return adapter


def tokenised(merges: int | None, folder: Path) -> Path:
    """An adapter that brings its base's tokenizer and template, with so many of its merges."""
    adapter = made()(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(folder / "base" / name, adapter / name)
    file = adapter / "tokenizer.json"
    whole = json.loads(file.read_text())
    whole["model"]["merges"] = whole["model"]["merges"][:merges]
    file.write_text(json.dumps(whole))
    return adapter


def renamed(folder: Path) -> Path:
    """An adapter whose user names another base than it does."""
    tiny.build(folder / "named", seed=1)
    return made()(folder)


def with_tokens(folder: Path) -> Path:
    """An adapter with a tokenizer of another family."""
    adapter = made()(folder)
    family = tiny.build(folder / "family", "gemma")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(family / name, adapter / name)
    return adapter


def unlearned(folder: Path) -> Path:
    """An adapter as PEFT begins it."""
    adapter = made()(folder)
    tensors = load_file(adapter / ADAPTER_WEIGHTS)
    zeros = {name: tensor * 0 if "lora_B" in name else tensor for name, tensor in tensors.items()}
    save_file(zeros, adapter / ADAPTER_WEIGHTS, {"format": "pt"})
    return adapter


def _gemma3(folder: Path) -> Path:
    return tiny_families.build(folder, "multimodal Gemma 3")


_TEXT_TOWER = {"target_modules": r".*language_model.*\.(q|v)_proj"}
_REGEX = r".*\.layers\.\d+\.self_attn\.(q|v)_proj"
_HALF = ("layers.1.",)
EDITED = "review: PEFT loads none of the pairs that the configuration does not select"
# What adapter_config.json says of an adapter with pairs for more: (case, keys, more of LoraConfig, twin).
_UNSELECTED: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    ("pairs of a kind that is not named", {"target_modules": ["q_proj"]}, {}, "every layer"),
    ("pairs beyond a regular expression", {"target_modules": r".*\.0\..*\.(q|v)_proj"}, {}, "a regular expression"),
    ("the head beside all linear layers", {"target_modules": "all-linear"},
     {"targets": (*tiny_lora.ALL, "lm_head"), "build_base": partial(tiny.build, manner="plain")}, "all linear layers"),
    ("pairs of another layer", {"layers_to_transform": [0]}, {}, "one layer, as it says"),
    ("pairs of another layer than its pattern's", {"layers_to_transform": 1, "layers_pattern": "layers"}, {},
     "one layer by its pattern"),
    ("pairs of a kind that is excluded", {"exclude_modules": ["v_proj"]}, {}, "an excluded kind"),
    ("pairs of a layer that is excluded", {"exclude_modules": r".*layers\.1\..*"}, {}, "an excluded layer"),
    ("pairs and nothing that is selected", {"target_modules": []}, {}, "every layer"),
    ("pairs of another tower's names", {"target_modules": r".*language_model.*\.q_proj"},
     {"build_base": _gemma3, **_TEXT_TOWER}, "the text tower of a multimodal model"),
)  # fmt: skip
CASES = (
    *(Case(name, EDITED, made(config=config, **more), _UNUSED, twin) for name, config, more, twin in _UNSELECTED),
    Case("another template", "found by hand", retemplated, (("template-not-base", "warn"),), "one layer, as it says"),
    Case("another base is named", "found by hand", renamed, (("other-base", "warn"),), "every layer"),
    Case(
        "tokens of its own",
        "found by hand",
        with_tokens,
        (("template-not-base", "warn"), ("tokenizer-not-base", "warn")),
        "every layer",
    ),
    Case(
        "a tokenizer that lost merges",
        "generative-computing/mellea#947",
        partial(tokenised, 20),
        (("tokenizer-not-base", "warn"),),
        "the base's own tokenizer",
    ),
    Case("the base's own tokenizer", "PEFT saves it", partial(tokenised, None), (), "a tokenizer that lost merges"),
    Case("nothing learned", "a rate of 0", unlearned, (("unusable", "refuse"),), "every layer"),
    Case("half of the layers", "peft#2566", made(_HALF), _INCOMPLETE, "one layer, as it says"),
    Case(
        "half of the layers by a regular expression",
        "peft#2566",
        made(_HALF, {"target_modules": _REGEX}),
        _INCOMPLETE,
        "a regular expression",
    ),
    Case("one kind of layer is lost", "peft#2566", made(("v_proj",)), _INCOMPLETE, "an excluded kind"),
    Case(
        "all linear layers but one",
        "peft#2566",
        made(("layers.1.mlp.up_proj",), {"target_modules": "all-linear"}, targets=tiny_lora.ALL),
        _INCOMPLETE,
        "all linear layers",
    ),
    Case(
        "a commit that is not at hand", "peft#1567", made(config={"revision": COMMIT}), _REVISION, "the commit at hand"
    ),
    Case(
        "half of the text tower",
        "peft#2566",
        made(_HALF, build_base=_gemma3, **_TEXT_TOWER),
        _INCOMPLETE,
        "the text tower of a multimodal model",
    ),
    Case(
        "the text tower of a multimodal model",
        "transformers names its weights otherwise than its files",
        made(build_base=_gemma3, **_TEXT_TOWER),
        (),
        "half of the text tower",
    ),
    Case("every layer", "PEFT saves it", made(), (), "half of the layers"),
    Case("one layer, as it says", "PEFT saves it", made(layers_to_transform=[0]), (), "half of the layers"),
    Case(
        "one layer by its pattern",
        "PEFT saves it",
        made(layers_to_transform=1, layers_pattern="layers"),
        (),
        "half of the layers",
    ),
    Case(
        "an excluded kind",
        "PEFT saves it",
        made(exclude_modules=["v_proj"]),
        (),
        "one kind of layer is lost",
    ),
    Case(
        "an excluded layer",
        "PEFT saves it",
        made(exclude_modules=r".*layers\.1\..*"),
        (),
        "half of the layers",
    ),
    Case(
        "a regular expression",
        "PEFT saves it",
        made(config={"target_modules": _REGEX}),
        (),
        "half of the layers by a regular expression",
    ),
    Case(
        "all linear layers",
        "PEFT selects all but the head",
        made(config={"target_modules": "all-linear"}, targets=tiny_lora.ALL),
        (),
        "all linear layers but one",
    ),
    Case("ranks by pattern", "PEFT saves it", made(rank_pattern={"q_proj": 2}), (), "half of the layers"),
    Case("the main branch", "PEFT saves it", made(config={"revision": "main"}), (), "a commit that is not at hand"),
    Case("an empty revision", "found by hand", made(config={"revision": ""}), (), "a commit that is not at hand"),
    Case("the commit at hand", "the hub's cache names folders so", snapshot, (), "a commit that is not at hand"),
)
