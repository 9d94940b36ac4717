"""Files that would hang a program, fill its memory or break it, and sound ones that look much alike.

They have no codes: a hostile input is refused in one line that names its file, and its sound twin is scored.
"""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fuzzers
import pytest
import tiny
import tiny_lora
from baseline_bench.core import bounded
from baseline_bench.models.weights import ADAPTER_CONFIG, SINGLE_FILE

from corpus.cases import REFUSED, Case, Check, Found, Run, finds

Change = Callable[[Path], object]
_TEMPLATE, _CONFIG = "chat_template.jinja", "config.json"
_BOM = b"\xef\xbb\xbf"


def look(candidate: Path, run: Run) -> list[Found]:
    """Score it: one line and no row, or a row; nothing that a terminal would obey is printed."""
    base = candidate.parent / "base"
    words = ("score", str(candidate), "--task", "word-problems", "--limit", "2", "--engine", "scripted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded, "SECONDS", 0.3)
        patch.setattr(bounded, "MEMORY", 2**27)
        status, out, err = run(candidate.parent, *words, *(("--base", str(base)) if base.is_dir() else ()))
    for line in (out + err).splitlines():
        fuzzers.require_harmless(line)
    assert bool(list(candidate.parent.glob("leaderboards/*/*.json"))) == (status == 0)
    assert status == 0 or err.splitlines()[-1].startswith("bench: ")
    return list(REFUSED) if status else []


def changed(change: Change, folder: Path) -> Path:
    """A tiny model after one change of its files."""
    tiny.build(folder)
    change(folder)
    return folder


def written(name: str, data: bytes) -> Change:
    """Replaces a file."""
    return lambda folder: (folder / name).write_bytes(data)


def begun(name: str, data: bytes) -> Change:
    """Puts bytes before a file's own."""
    return lambda folder: (folder / name).write_bytes(data + (folder / name).read_bytes())


def special(name: str, make: Change) -> Change:
    """Puts something else in a file's place."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def configured(**values: Any) -> Change:
    """Sets keys of config.json."""

    def change(folder: Path) -> None:
        file = folder / _CONFIG
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def doubling(times: int, part: str, letter: str = "e") -> Change:
    """Makes the tokenizer double a letter in every text and in an added token."""
    replace = {"type": "Replace", "pattern": {"String": letter}, "content": letter * 2}

    def change(folder: Path) -> None:
        file = folder / "tokenizer.json"
        parts = json.loads(file.read_text())
        steps = [one for one in (parts[part],) if one] + [replace] * times
        parts[part] = {"type": "Sequence", f"{part}s": steps}
        added = {"id": tiny.VOCABULARY, "content": f"{letter}x", "normalized": True, "special": False}
        parts["added_tokens"].append(added | dict.fromkeys(("single_word", "lstrip", "rstrip"), False))
        file.write_text(json.dumps(parts))

    return change


def prefixed(prefix: str) -> Change:
    """Lets the parts of a word begin with a prefix, which the tokenizer cuts off when it reads their merges."""

    def change(folder: Path) -> None:
        file = folder / "tokenizer.json"
        parts = json.loads(file.read_text())
        parts["model"]["continuing_subword_prefix"] = prefix
        file.write_text(json.dumps(parts))

    return change


def linked(folder: Path) -> None:
    """Moves every file away and puts links in their places, as the hub's cache does."""
    blobs = folder.with_name("blobs")
    blobs.mkdir()
    for file in list(folder.iterdir()):
        shutil.move(file, blobs / file.name)
        file.symlink_to(blobs / file.name)


def to_zero(place: Path) -> None:
    """A link to a device without end."""
    place.symlink_to("/dev/zero")


def adapted(config: dict[str, Any], folder: Path) -> Path:
    """An adapter with these keys in its configuration."""
    base, adapter = tiny.build(folder / "base"), folder / "adapter"
    tiny_lora.build(base, adapter, size=0.05, targets=("q_proj", "v_proj"))
    file = adapter / ADAPTER_CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)} | config))
    return adapter


_DEEP = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
_LOOP = b"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
_DOUBLE = b"{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
_SHORT = b"{% set n = namespace(s='a') %}{% for i in range(9) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
_LATER = b"{% if messages[-1].content | length > 30 %}{{ 1 // 0 }}{% endif %}"
_HEADER = (99_000_000).to_bytes(8, "little") + b" " * 100
_ENDLESS = r"(.*)*.(a+)+(.*)*x$"
_PLAIN = "a chat template is a program, and so is a tokenizer"
_NUMBERS = Check("core.untrusted:_DECODER", json.JSONDecoder())
_TENSORS = finds("models.tensor_check:check_tensors")
_LIMIT = "without its limit it never ends, or it fills the memory"
_TWICE = "whatever reads it next refuses it too"


def _bad(name: str, source: str, change: Change, twin: str, *checks: Check, kept: str = "") -> Case:
    return Case(name, source, partial(changed, change), REFUSED, twin, checks, kept=kept)


def _sound(name: str, source: str, change: Change, twin: str) -> Case:
    return Case(name, source, partial(changed, change), (), twin)


_HAND = "found by hand"
_RANK = partial(adapted, {"rank_pattern": {_ENDLESS: 4}})
_TARGET = partial(adapted, {"target_modules": _ENDLESS})
CASES = (
    _bad("an endless template", _PLAIN, begun(_TEMPLATE, _LOOP), "a short loop", kept=_LIMIT),
    _bad("a doubling template", _PLAIN, begun(_TEMPLATE, _DOUBLE), "a short loop", kept=_LIMIT),
    _bad("a template that fails later", _PLAIN, begun(_TEMPLATE, _LATER), "a short loop", kept=_TWICE),
    _sound("a short loop", _PLAIN, begun(_TEMPLATE, _SHORT), "an endless template"),
    _bad("a doubling normalizer", _PLAIN, doubling(40, "normalizer"), "one doubling", kept=_LIMIT),
    _bad("a doubling decoder", _PLAIN, doubling(40, "decoder"), "one doubling back", kept=_LIMIT),
    Case(
        "a prefix longer than the tokens",
        "the fuzzers: tokenizers panics",
        partial(changed, prefixed("x" * 5000)),
        REFUSED,
        "an empty prefix",
        (Check("models.tokenizer:_PANIC", ""),),
        then=BaseException,
    ),
    _sound("an empty prefix", _PLAIN, prefixed(""), "a prefix longer than the tokens"),
    _bad("a doubling load", _PLAIN, doubling(40, "normalizer", "\xe9"), "one doubling", kept=_LIMIT),
    _sound("one doubling", _PLAIN, doubling(1, "normalizer"), "a doubling normalizer"),
    _sound("one doubling back", _PLAIN, doubling(1, "decoder"), "a doubling decoder"),
    _bad("a pipe for config", _HAND, special(_CONFIG, os.mkfifo), "links", kept=_TWICE),
    _bad("a pipe for weights", _HAND, special(SINGLE_FILE, os.mkfifo), "links", kept=_TWICE),
    _bad("a pipe for a template", _HAND, special(_TEMPLATE, os.mkfifo), "links", kept=_LIMIT),
    _bad("a device for config", _HAND, special(_CONFIG, to_zero), "links", kept=_LIMIT),
    _bad("a device for weights", _HAND, special(SINGLE_FILE, to_zero), "links", kept=_LIMIT),
    _sound("links", "the hub's cache", linked, "a pipe for config"),
    _bad("deep JSON", _HAND, written(_CONFIG, _DEEP), "some nesting", kept=_TWICE),
    _sound("some nesting", _HAND, configured(a=[[[[1]]]]), "deep JSON"),
    _bad("no number", "json.dumps", configured(a=float("nan")), "some nesting", _NUMBERS),
    _sound("a byte order mark", "Windows", begun("generation_config.json", _BOM), "deep JSON"),
    _bad("10^9 layers", _HAND, configured(num_hidden_layers=10**9), "two layers", _TENSORS),
    _bad("-1 layers", _HAND, configured(num_hidden_layers=-1), "two layers", _TENSORS),
    _bad("a head of 10^9", "the fuzzers: it filled 6 GB", configured(head_dim=10**9), "two layers", _TENSORS),
    _bad("10^12 tokens", _HAND, configured(vocab_size=10**12), "two layers", _TENSORS),
    _sound("two layers", _HAND, configured(num_hidden_layers=2), "10^9 layers"),
    _bad("text for a number", _HAND, configured(rms_norm_eps="x"), "another number", kept=_TWICE),
    _bad("no heads", _HAND, configured(num_attention_heads=0), "another number", kept=_TWICE),
    _sound("another number", _HAND, configured(rms_norm_eps=1e-5), "text for a number"),
    _bad("99 MB of header", "safetensors", written(SINGLE_FILE, _HEADER), "two layers", kept=_TWICE),
    Case(
        "an endless rank",
        "re",
        partial(adapted, {"rank_pattern": {_ENDLESS: 4}}),
        REFUSED,
        "ranks by name",
        kept=_LIMIT,
    ),
    Case(
        "an endless target", "re", partial(adapted, {"target_modules": _ENDLESS}), REFUSED, "ranks by name", kept=_LIMIT
    ),
    Case("ranks by name", "PEFT", partial(adapted, {"rank_pattern": {"q_proj": 4}}), (), "an endless rank"),
)
