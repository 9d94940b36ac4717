"""Load a model's tokenizer and detect its prompt format. Imports transformers, so other modules import it lazily."""

import hashlib
import json
import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from baseline_bench.core import trace
from baseline_bench.core.bounded import BoundedFunction
from baseline_bench.core.errors import BenchError, first_line
from baseline_bench.core.types import Message, Model
from baseline_bench.core.untrusted import read_json, read_object
from baseline_bench.models.model_config import RESTORE_CONFIG, find_config_fault
from baseline_bench.models.template_choice import TemplateChoice
from baseline_bench.models.tokens import (
    SAMPLE_TEXT,
    ModelTokenizer,
    TemplateError,
    detect_prompt_format,
    record_template_choice,
    render_prompt,
)
from baseline_bench.models.weights import get_text_config
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")


# Every file from which any version of transformers chooses and builds a tokenizer.
_FILE_PATTERNS = (
    "*token*",
    "vocab*",
    "merges*",
    "*.model",
    "*.tiktoken",
    "*chat_template*",
    "*chat_template*/*",
    "*config*.json",
)
# Texts that the rules of known families split differently.
_SPLIT_TEXT = f"{SAMPLE_TEXT} 2023 650841823 <think>\nOkay"
_PANIC = "PanicException"  # of a library in Rust; it is no Exception, and no module exports it
_EMPTY = {"type": "BPE", "vocab": {}, "merges": []}
_CACHE: dict[str, ModelTokenizer] = {}


def load_tokenizer(model: Model, choice: TemplateChoice | None = None) -> ModelTokenizer:
    """Read tokenizer and configuration from the model's folder, without its weights.

    Folders whose tokenizer files are identical, such as a base and a model trained from it, share one.

    Args:
        choice: the chat template and its arguments; None is the model's default.

    Raises:
        BenchError: the folder holds no tokenizer that transformers can load without trusting code, or a template that
            cannot render a conversation.
    """
    choice = choice or TemplateChoice()
    key = f"{_digest_files(model)} {choice}"
    if key not in _CACHE:
        _CACHE[key] = _read_tokenizer(model, choice)
    return _CACHE[key]


def _digest_files(model: Model) -> str:
    """Digest every file that `_read_tokenizer` or transformers reads."""
    digest = hashlib.sha256(repr(model.bos).encode())
    for path in sorted({path for pattern in _FILE_PATTERNS for path in model.folder.glob(pattern) if path.is_file()}):
        with path.open("rb") as file:
            digest.update(
                os.fsencode(path.relative_to(model.folder)) + b"\0" + hashlib.file_digest(file, "sha256").digest()
            )
    return digest.hexdigest()


def _read_tokenizer(model: Model, choice: TemplateChoice) -> ModelTokenizer:
    transformers.utils.logging.set_verbosity_error()
    with trace.span("load tokenizer"), _explaining_faults(model.folder):
        _require_bounded(model)
        tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True, trust_remote_code=False)
        if not _follows_file(tokenizer, model.folder / "tokenizer.json"):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(model.folder, local_files_only=True)
    tokenizer.chat_template = choice.choose(tokenizer.chat_template, model.folder)
    choice.bind(tokenizer)
    if tokenizer.chat_template is not None:
        tokenizer.apply_chat_template = BoundedFunction(
            tokenizer.apply_chat_template, f"the chat template in {model.folder}", "restore it from its model"
        )
    config = _read_json(model, "config.json")
    text = get_text_config(config)
    eos = [
        _read_json(model, "generation_config.json").get("eos_token_id"),
        text.get("eos_token_id", config.get("eos_token_id")),
    ]
    with trace.span("load tokenizer"), _explaining_faults(model.folder):
        prompt_format = detect_prompt_format(
            tokenizer, model.bos, [i for value in eos for i in list_ids(value)], str(text.get("model_type", ""))
        )
        prompt_format = record_template_choice(prompt_format, choice)
        render_prompt(tokenizer, (Message("user", "a"), Message("assistant", "b"), Message("user", "c")))
    digest = hashlib.sha256()
    for name in TOKENIZER_FILES:
        if (model.folder / name).is_file():
            digest.update(name.encode() + b"\0" + (model.folder / name).read_bytes())
    context = text.get("max_position_embeddings")
    is_length = type(context) is int and context > 0
    return ModelTokenizer(tokenizer, prompt_format, context if is_length else None, digest.hexdigest())


def _follows_file(tokenizer: Any, path: Path) -> bool:
    """Return whether a tokenizer splits text as tokenizer.json says: GPT-2's class puts rules of its own in."""
    if not path.is_file():
        return True
    split = tokenizer.encode(_SPLIT_TEXT, add_special_tokens=False)
    return bool(split == Tokenizer.from_file(str(path)).encode(_SPLIT_TEXT, add_special_tokens=False).ids)


@contextmanager
def _explaining_faults(folder: Path) -> Iterator[None]:
    """Raise as BenchError, with the folder's name, whatever its tokenizer and chat template raise."""
    try:
        yield
    except TemplateError as error:
        raise BenchError(f"{folder}: {error.what}", error.way_out) from error
    except BenchError:
        raise
    except BaseException as error:  # libraries raise exceptions of any type for a broken file
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        if (fault := find_config_fault(folder)) is not None:
            raise BenchError(f"{folder / 'config.json'}: {fault}", RESTORE_CONFIG) from error
        way_out = "copy tokenizer.json and tokenizer_config.json of the base model into it"
        raise BenchError(f"no usable tokenizer in {folder}: {first_line(error)}", way_out) from error


def _require_bounded(model: Model) -> None:
    """Try an untrusted tokenizer.json on a text, within limits: it may, say, double a letter forty times."""
    path, way_out = model.folder / "tokenizer.json", "copy it from the base model"
    if path.is_file():
        parts = {**read_object(path, way_out), "model": _EMPTY, "post_processor": None}
        BoundedFunction(_try_parts, str(path), way_out)(json.dumps(parts))


def _try_parts(parts: str) -> None:
    try:
        tokenizer = Tokenizer.from_str(parts)
        tokenizer.encode(string.printable)
        tokenizer.decoder.decode([string.printable])
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # tokenizers raises bare Exception; AutoTokenizer reports the fault
        return


def _read_json(model: Model, name: str) -> dict[str, Any]:
    path = model.folder / name
    if not path.is_file():
        return {}
    value = read_json(path, "restore the file")
    return value if isinstance(value, dict) else {}


def list_ids(value: object) -> list[int]:
    """Return the token ids in a value of a configuration: one id, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return [i for i in values if type(i) is int and 0 <= i < 2**31]
