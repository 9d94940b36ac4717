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

import tiny
import tiny_lora
from baseline_bench.models.weights import ADAPTER_CONFIG, SINGLE_FILE

from corpus.cases import Case

Change = Callable[[Path], object]
REFUSED = (("refused", "refuse"),)
_TEMPLATE, _CONFIG = "chat_template.jinja", "config.json"
_BOM = b"\xef\xbb\xbf"


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
CASES = (
    Case("an endless template", _PLAIN, partial(changed, begun(_TEMPLATE, _LOOP)), REFUSED, "a short loop"),
    Case("a doubling template", _PLAIN, partial(changed, begun(_TEMPLATE, _DOUBLE)), REFUSED, "a short loop"),
    Case("a template that fails later", _PLAIN, partial(changed, begun(_TEMPLATE, _LATER)), REFUSED, "a short loop"),
    Case("a short loop", _PLAIN, partial(changed, begun(_TEMPLATE, _SHORT)), (), "an endless template"),
    Case("a doubling normalizer", _PLAIN, partial(changed, doubling(40, "normalizer")), REFUSED, "one doubling"),
    Case("a doubling decoder", _PLAIN, partial(changed, doubling(40, "decoder")), REFUSED, "one doubling back"),
    Case("a doubling load", _PLAIN, partial(changed, doubling(40, "normalizer", "\xe9")), REFUSED, "one doubling"),
    Case("one doubling", _PLAIN, partial(changed, doubling(1, "normalizer")), (), "a doubling normalizer"),
    Case("one doubling back", _PLAIN, partial(changed, doubling(1, "decoder")), (), "a doubling decoder"),
    Case("a pipe for config", "found by hand", partial(changed, special(_CONFIG, os.mkfifo)), REFUSED, "links"),
    Case("a pipe for weights", "found by hand", partial(changed, special(SINGLE_FILE, os.mkfifo)), REFUSED, "links"),
    Case("a pipe for a template", "found by hand", partial(changed, special(_TEMPLATE, os.mkfifo)), REFUSED, "links"),
    Case("a device for config", "found by hand", partial(changed, special(_CONFIG, to_zero)), REFUSED, "links"),
    Case("a device for weights", "found by hand", partial(changed, special(SINGLE_FILE, to_zero)), REFUSED, "links"),
    Case("links", "the hub's cache", partial(changed, linked), (), "a pipe for config"),
    Case("deep JSON", "found by hand", partial(changed, written(_CONFIG, _DEEP)), REFUSED, "some nesting"),
    Case("some nesting", "found by hand", partial(changed, configured(a=[[[[1]]]])), (), "deep JSON"),
    Case("no number", "json.dumps", partial(changed, configured(a=float("nan"))), REFUSED, "some nesting"),
    Case("a byte order mark", "Windows", partial(changed, begun("generation_config.json", _BOM)), (), "deep JSON"),
    Case("10^9 layers", "by hand", partial(changed, configured(num_hidden_layers=10**9)), REFUSED, "two layers"),
    Case("-1 layers", "by hand", partial(changed, configured(num_hidden_layers=-1)), REFUSED, "two layers"),
    Case("10^12 tokens", "by hand", partial(changed, configured(vocab_size=10**12)), REFUSED, "two layers"),
    Case("two layers", "by hand", partial(changed, configured(num_hidden_layers=2)), (), "10^9 layers"),
    Case("99 MB of header", "safetensors", partial(changed, written(SINGLE_FILE, _HEADER)), REFUSED, "two layers"),
    Case("an endless rank", "re", partial(adapted, {"rank_pattern": {_ENDLESS: 4}}), REFUSED, "ranks by name"),
    Case("an endless target", "re", partial(adapted, {"target_modules": _ENDLESS}), REFUSED, "ranks by name"),
    Case("ranks by name", "PEFT", partial(adapted, {"rank_pattern": {"q_proj": 4}}), (), "an endless rank"),
)
