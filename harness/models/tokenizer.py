"""Load a model's tokenizer and work out its manner; needs transformers, so only scoring loads it, by name."""

import hashlib
import json
from typing import Any

import transformers
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Model
from baseline_bench.models.tokens import ModelTokenizer, detect_prompt_format, render_prompt
from transformers import AutoTokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")


# All that a tokenizer's class is chosen and made by, as any version of transformers names it.
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
_CACHE: dict[str, ModelTokenizer] = {}


def load_tokenizer(model: Model) -> ModelTokenizer:
    """Read tokenizer and configuration from the model's folder; no weights are loaded.

    Folders with the same bytes in all of these files, such as a base and what was trained from it, share one.

    Raises:
        BenchError: the folder holds no tokenizer that transformers can load without trusting code, or a template that
            cannot write a conversation.
    """
    said = _digest_files(model)
    if said not in _CACHE:
        _CACHE[said] = _read_tokenizer(model)
    return _CACHE[said]


def _digest_files(model: Model) -> str:
    """A digest of every file that `_read` or transformers looks into."""
    digest = hashlib.sha256(repr(model.bos).encode())
    for path in sorted({path for pattern in _FILE_PATTERNS for path in model.folder.glob(pattern) if path.is_file()}):
        digest.update(f"\0{path.relative_to(model.folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _read_tokenizer(model: Model) -> ModelTokenizer:
    transformers.utils.logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # libraries raise any kind for files that others wrote
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        way_out = "copy tokenizer.json and tokenizer_config.json of the base model into it"
        raise BenchError(f"no usable tokenizer in {model.folder}: {said}", way_out) from error
    tokenizer.chat_template = _choose_template(model, tokenizer.chat_template)
    config = _read_json(model, "config.json")
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    eos = [
        _read_json(model, "generation_config.json").get("eos_token_id"),
        text.get("eos_token_id", config.get("eos_token_id")),
    ]
    try:
        how = detect_prompt_format(
            tokenizer, model.bos, [i for value in eos for i in _list_ids(value)], str(text.get("model_type", ""))
        )
        render_prompt(tokenizer, (Message("user", "a"), Message("assistant", "b"), Message("user", "c")))
    except BenchError:
        raise
    except Exception as error:  # a template is a program that others wrote
        what = f"the chat template in {model.folder} cannot write a conversation: {str(error) or type(error).__name__}"
        raise BenchError(what, "restore it from its model") from error
    digest = hashlib.sha256()
    for name in TOKENIZER_FILES:
        if (model.folder / name).is_file():
            digest.update(name.encode() + b"\0" + (model.folder / name).read_bytes())
    return ModelTokenizer(tokenizer, how, text.get("max_position_embeddings"), digest.hexdigest())


def _choose_template(model: Model, found: object) -> str | None:
    """The one chat template that asks; of several with names the one called "default", as transformers takes it.

    Raises:
        BenchError: none of them is called so.
    """
    if found is None or isinstance(found, str):
        return found
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise BenchError(f"the chat template in {model.folder} is not a text", "restore it from its model")
    if "default" not in found:
        raise BenchError(
            f"the chat templates in {model.folder} are named {', '.join(sorted(found))}, and none is named default",
            "save the one to ask with as chat_template.jinja",
        )
    return str(found["default"])


def _read_json(model: Model, name: str) -> dict[str, Any]:
    path = model.folder / name
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not JSON: {error}", "restore the file") from error
    return value if isinstance(value, dict) else {}


def _list_ids(value: object) -> list[int]:
    if isinstance(value, list):
        return [i for i in value if isinstance(i, int)]
    return [value] if isinstance(value, int) else []
