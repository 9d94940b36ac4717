"""Digest what identifies a model besides its tensors: configuration, generation settings, tokenizer and template.

The same tensors give other answers under another config.json, tokenizer or template. Values are normalised, so that a
checkpoint keeps its digests when another version of transformers saves it again. Imports transformers, so other
modules import it lazily.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from baseline_bench.core.records import digest, to_json_value
from baseline_bench.core.types import Model, ModelIdentity, Value
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import file_cache
from baseline_bench.models.tokens import ModelTokenizer
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

# Who wrote the file, how numbers are stored, how a program runs the model: none changes an answer.
_IGNORED_KEYS = ("transformers_version", "dtype", "torch_dtype", "use_cache", "auto_map", "unsloth_version")
# What transformers raises for a config.json that it does not know or accept.
CONFIG_ERRORS = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    StrictDataclassError,
)
# Spaces, digits, accents and apostrophes, where tokenizer classes differ that read the same tokenizer.json.
_SAMPLE_TEXT = "Tom's 12 eggs cost 3.5 € each.\n\n  1/2 of them?\tÄpfel, 你好 ; don't"


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A description of a model besides its tensors, as digests and as values.

    Attributes:
        identity: the digests, as an entry stores them.
        settings: the values by name, for a run's record; "config.json rope_parameters.rope_theta" is one.
    """

    identity: ModelIdentity
    settings: Mapping[str, Value]


def describe_model(model: Model, model_tokenizer: ModelTokenizer) -> ModelDescription:
    """Read what identifies a model from its folder, without its weights.

    Args:
        model: a whole checkpoint.
        model_tokenizer: its tokenizer and prompt format, as loaded.
    """
    config = _read_config(model.folder)
    generation = _flatten(_read_json(model.folder / "generation_config.json"))
    identity = ModelIdentity(
        config_sha256=digest(config),
        generation_sha256=digest(generation),
        tokenizer_sha256=_digest_tokenizer(model.folder, model_tokenizer),
        template_sha256=model_tokenizer.manner.template_sha256,
    )
    names = [name for name, _ in identity.parts]
    values = [{f" {key}": value for key, value in sorted(part.items())} for part in (config, generation)]
    values += [{"": identity.tokenizer_sha256}, {"": identity.template_sha256}]
    settings = {name + key: value for name, part in zip(names, values, strict=True) for key, value in part.items()}
    return ModelDescription(identity, settings)


def _read_config(folder: Path) -> dict[str, Value]:
    """Read the values of config.json that differ from its class's defaults, by dotted names."""
    transformers.utils.logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return _drop_defaults(config)
    except CONFIG_ERRORS:  # an architecture that this transformers does not know
        return _flatten(_with_rope_parameters(_read_json(folder / "config.json")))


def _drop_defaults(config: Any) -> dict[str, Value]:
    """Return what differs from the class's defaults (None for a removed default), and always the model's type.

    Without the defaults, a key that a newer transformers adds changes nothing. `architectures` counts if it is not
    what transformers loads for this type, because vLLM follows it.
    """
    values, defaults = config.to_dict(), type(config)().to_dict()
    inner = {key: part for key, part in vars(config).items() if isinstance(part, PreTrainedConfig)}
    defaults["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)]
    values["architectures"] = values.get("architectures") or defaults["architectures"]
    flat_values, flat_defaults = (
        _flatten({key: value for key, value in side.items() if key not in inner}) for side in (values, defaults)
    )
    changed = {
        name: flat_values.get(name)
        for name in {**flat_values, **flat_defaults}
        if flat_values.get(name) != flat_defaults.get(name)
    }
    for key, part in inner.items():
        changed |= {f"{key}.{name}": value for name, value in _drop_defaults(part).items()}
    return {**changed, "model_type": str(config.model_type)}


def _with_rope_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """Spell the rotary values of an unknown architecture as transformers 5 does."""
    rope = {"rope_type": "default", "rope_theta": config.get("rope_theta")}
    for spelled in ("rope_scaling", "rope_parameters"):
        if isinstance(values := config.get(spelled), dict):
            rope |= {"rope_type" if key == "type" else key: value for key, value in values.items()}
    others = {key: value for key, value in config.items() if key not in ("rope_scaling", "rope_theta")}
    return {**others, "rope_parameters": rope}


def _flatten(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Value]:
    """Flatten nested values to dotted names, lists to JSON; drop `_IGNORED_KEYS`, private keys and None, which equals
    absent.
    """
    flat: dict[str, Value] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if value is None or str(key).startswith("_") or key in _IGNORED_KEYS:
            continue
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            flat[name] = json.dumps(value)
        else:
            flat[name] = str(value) if isinstance(value, float) and not math.isfinite(value) else to_json_value(value)
    return flat


def _digest_tokenizer(folder: Path, model_tokenizer: ModelTokenizer) -> str:
    """Digest the vocabulary's file and the behaviour of the loaded tokenizer.

    Leaves out padding, truncation and the tokens put around a text: prompts are encoded without them, and the sample
    shows whether BOS is added.
    """
    file, tokenizer = folder / "tokenizer.json", model_tokenizer.tokenizer
    vocabulary = (
        file_cache.compute_once([file], "identity", lambda: _digest_vocabulary(file)) if file.is_file() else None
    )
    flags = ("special", "lstrip", "rstrip", "normalized", "single_word")
    added = {
        str(token_id): [str(token), *(bool(getattr(token, flag, False)) for flag in flags)]
        for token_id, token in tokenizer.added_tokens_decoder.items()
    }
    sample = tokenizer.encode(_SAMPLE_TEXT, add_special_tokens=True)
    return digest(
        {
            "vocabulary": vocabulary or model_tokenizer.tokenizer_sha256,
            "ids": [getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "unk")],
            "added": added,
            "clean_up": bool(getattr(tokenizer, "clean_up_tokenization_spaces", False)),
            "sample": [sample, tokenizer.decode(sample, skip_special_tokens=True)],
        }
    )


def _digest_vocabulary(file: Path) -> str:
    """Digest tokenizer.json independently of key order and of how merges and defaults are spelled."""
    whole = _read_json(file)
    model = whole.get("model")
    if isinstance(model, dict):
        model = {key: value for key, value in model.items() if not (value is None or value is False or value == "")}
        if isinstance(merges := model.get("merges"), list):
            model["merges"] = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    rules = {key: whole.get(key) for key in ("normalizer", "pre_tokenizer", "decoder")}
    return hashlib.sha256(json.dumps({**rules, "model": model}, sort_keys=True).encode()).hexdigest()


def _read_json(file: Path) -> dict[str, Any]:
    """Read a file's JSON object, empty without a file; the tokenizer's loader has already refused invalid JSON."""
    return read_object(file, "restore the file") if file.is_file() else {}
