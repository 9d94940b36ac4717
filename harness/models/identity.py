"""Read what identifies a model besides its tensors: configuration, generation settings, tokenizer, template and more.

The same tensors give other answers under another config.json, tokenizer or template. Values are normalised, so that a
checkpoint keeps its identity when another version of transformers saves it again. Imports transformers, so other
modules import it lazily.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import transformers
from baseline_bench.core.records import digest, to_json_value
from baseline_bench.core.types import IDENTITY_PARTS, Model, ModelIdentity, Value
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import adapter, file_cache
from baseline_bench.models.model_config import CONFIG_ERRORS
from baseline_bench.models.tokenizer import list_ids
from baseline_bench.models.tokens import SAMPLE_TEXT, ModelTokenizer
from baseline_bench.models.weights import ADAPTER_CONFIG
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

# Who wrote the file, how numbers are stored, how a program runs the model: none changes an answer.
_IGNORED_KEYS = ("transformers_version", "dtype", "torch_dtype", "use_cache", "auto_map", "unsloth_version")
# What training, or a larger vocabulary, may change; together with any id of a token.
_TRAINABLE_KEYS = (
    *("architectures", "attention_dropout", "initializer_range", "max_position_embeddings"),
    *("pretraining_tp", "tie_word_embeddings", "vocab_size"),
)
# transformers 5 writes all parts of a processor into one file, transformers 4 each part into its own.
_PROCESSOR_FILES = {
    "preprocessor_config.json": "image_processor.",
    "video_preprocessor_config.json": "video_processor.",
    "processor_config.json": "",
}
_PROCESSOR_CLASSES = ("processor_class", "processor_type")
_QUANTISATION_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_QUANTISATION_KEY = "quantization_config."
_ADAPTER_KEYS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "revision")


def describe_model(model: Model, model_tokenizer: ModelTokenizer, adapter_folder: Path | None = None) -> ModelIdentity:
    """Read what identifies a model from its folder, without its weights.

    Args:
        model: a whole checkpoint.
        model_tokenizer: its tokenizer and prompt format, as loaded.
        adapter_folder: an adapter that the engine applies without merging it into the weights.
    """
    folder = model.folder
    config, defaults = _read_config(folder)
    quantisation = {name: value for name, value in config.items() if _QUANTISATION_KEY in name}
    values: tuple[Mapping[str, Value], ...] = (
        {name: value for name, value in config.items() if name not in quantisation},
        _read_generation(folder),
        {"": _digest_tokenizer(folder, model_tokenizer)},
        {"": model_tokenizer.prompt_format.template_sha256},
        _read_processor(folder),
        _read_quantisation(folder, quantisation),
        {} if adapter_folder is None else _read_adapter(adapter_folder),
    )
    parts = zip(IDENTITY_PARTS, values, strict=True)
    settings = {f"{part} {name}".rstrip(): value for part, group in parts for name, value in sorted(group.items())}
    return ModelIdentity.of(
        settings, {f"{IDENTITY_PARTS[0]} {name}": value for name, value in defaults.items()} or None
    )


def describe_base(model: Model, model_tokenizer: ModelTokenizer) -> ModelIdentity:
    """Read a base's identity as the record of a training holds it: its digests alone."""
    return replace(describe_model(model, model_tokenizer), sha256=None, settings=None, defaults=None)


def digest_config(folder: Path) -> str:
    """Digest a model's config.json without dtype and quantisation; equal for the spellings of all versions."""
    config, _ = _read_config(folder)
    return digest({name: value for name, value in config.items() if _QUANTISATION_KEY not in name})


def list_config_differences(folder: Path, base: Path) -> list[str]:
    """List what a model's config.json sets otherwise than its base's, apart from what training may change."""
    own, others = (_read_config(place)[0] for place in (folder, base))
    return [
        f"{name} is {own.get(name, 'the default')}, its base's is {others.get(name, 'the default')}"
        for name in sorted(own.keys() | others.keys())
        if own.get(name) != others.get(name) and _QUANTISATION_KEY not in name
        if not name.endswith("_token_id") and name.rpartition(".")[2] not in _TRAINABLE_KEYS
    ]


def _read_generation(folder: Path) -> dict[str, Value]:
    """Read what ends an answer: the task decides how tokens are drawn, and neither bench nor an engine reads the rest.

    vLLM reads these ids even under `generation_config="vllm"`.
    """
    ids = list_ids(_read_json(folder / "generation_config.json").get("eos_token_id"))
    return _flatten({"eos_token_id": sorted({*ids}) or None})


def _read_processor(folder: Path) -> dict[str, Value]:
    """Read the settings of a multimodal checkpoint's processor, without the names of its classes."""
    values: dict[str, Value] = {}
    for file, prefix in _PROCESSOR_FILES.items():
        values |= _flatten(_read_json(folder / file), prefix)
    return {name: value for name, value in values.items() if not name.endswith(_PROCESSOR_CLASSES)}


def _read_quantisation(folder: Path, stated: Mapping[str, Value]) -> dict[str, Value]:
    """Read how the weights are quantised, as config.json (`stated`) and the quantisers' own files say."""
    values = {name.replace(_QUANTISATION_KEY, ""): value for name, value in stated.items()}
    for file in _QUANTISATION_FILES:
        values |= _flatten(_read_json(folder / file))
    return values


def _read_adapter(folder: Path) -> dict[str, Value]:
    """Read an adapter's scale, the revision of its base, and the digest of its tensors."""
    config = _read_json(folder / ADAPTER_CONFIG)
    return {
        **_flatten({key: config[key] for key in _ADAPTER_KEYS if config.get(key)}),
        "tensors": adapter.read_adapter(folder).sha256,
    }


def _read_config(folder: Path) -> tuple[dict[str, Value], dict[str, Value]]:
    """Read config.json by dotted names: (values that differ from its class's defaults, the class's other values)."""
    transformers.utils.logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return _drop_defaults(config)
    except CONFIG_ERRORS:  # an architecture that this transformers does not know
        return _flatten(_with_rope_parameters(_read_json(folder / "config.json"))), {}


def _drop_defaults(config: Any) -> tuple[dict[str, Value], dict[str, Value]]:
    """Split a configuration into what differs from its class's defaults and the defaults that remain.

    What differs has None for a removed default, and always the model's type. Without the defaults, a key that a newer
    transformers adds changes nothing. `architectures` counts if it is not what transformers loads for this type,
    because vLLM follows it.
    """
    default_config = type(config)()
    values, defaults, own = config.to_dict(), default_config.to_dict(), default_config.to_diff_dict()
    if (
        "head_dim" in values.keys() - defaults
        and values["head_dim"] == config.hidden_size // config.num_attention_heads
    ):
        del values["head_dim"]  # what such a class computes itself
    inner = {key: part for key, part in vars(config).items() if isinstance(part, PreTrainedConfig)}
    defaults["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)]
    values["architectures"] = values.get("architectures") or defaults["architectures"]
    flat_values, flat_defaults, flat_own = (
        _flatten({key: value for key, value in side.items() if key not in inner}) for side in (values, defaults, own)
    )
    changed = {
        name: flat_values.get(name)
        for name in {**flat_values, **flat_defaults}
        if flat_values.get(name) != flat_defaults.get(name)
    }
    changed["model_type"] = str(type(config).model_type)
    unchanged = {name: value for name, value in flat_own.items() if name not in changed}
    for key, part in inner.items():
        for flat, inner_values in zip((changed, unchanged), _drop_defaults(part), strict=True):
            flat |= {f"{key}.{name}": value for name, value in inner_values.items()}
    return changed, unchanged


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
    absent. A list of one end id is that id, and "type" an older name of "rope_type".
    """
    flat: dict[str, Value] = {}
    ignored = {*_IGNORED_KEYS, *(("type",) if "rope_type" in values else ())}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if value is None or str(key).startswith("_") or key in ignored:
            continue
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            is_one_id = key == "eos_token_id" and len(value) == 1 and isinstance(value[0], int)
            flat[name] = value[0] if is_one_id else json.dumps(value)
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
    sample = tokenizer.encode(SAMPLE_TEXT, add_special_tokens=True)
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
