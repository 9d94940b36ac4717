"""Read a LoRA adapter that PEFT wrote, from its files alone, and refuse any that cannot be merged exactly."""

import hashlib
import importlib.util
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from baseline_bench.core.bounded import BoundedFunction
from baseline_bench.core.errors import BenchError, combine_problems, keep_first
from baseline_bench.core.untrusted import read_object
from baseline_bench.models.weights import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    HEAD,
    PICKLE_SUFFIXES,
    WRAPPER_NAME,
    Tensor,
    describe_quantisation,
    is_head_tied,
    read_header,
)

WEIGHTS = ADAPTER_WEIGHTS
SAFETENSORS_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}

_TENSOR_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_NUMPY_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Keys that describe how an adapter was made, or that are read below; any other key that is set changes its output.
_ORIGIN_KEYS = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")
_TARGET_KEYS = ("exclude_modules", "layers_pattern", "layers_to_transform", "megatron_core", "target_modules")
_INITIALISATION_KEYS = (
    "init_lora_weights",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "velora_config",
)
_SHAPE_KEYS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "bias", "peft_type")
_UNUSED_KEYS = ("qalora_group_size", "runtime_config", "ensure_weight_tying")
_HARMLESS_KEYS = frozenset((*_ORIGIN_KEYS, *_TARGET_KEYS, *_INITIALISATION_KEYS, *_SHAPE_KEYS, *_UNUSED_KEYS))
_PATTERN_KEYS = ("rank_pattern", "alpha_pattern", "layers_pattern")
_BASE_CHANGING_INITS = ("pissa", "olora", "loftq", "corda", "lora_ga")
_SAVE_AGAIN = "save the adapter again with PEFT's save_pretrained"
# PEFT adds an adapter of a tied head or embedding to the one matrix that is both.
_MERGE_WITH_PEFT = (
    "merge it with PEFT's merge_and_unload and name the merged folder; if it holds the head or the embedding and these "
    "are tied, train it again over a base whose head is untied"
)


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The update of one tensor of the base: `scale * B @ A`.

    Attributes:
        target: the tensor's name in the base, such as "model.layers.0.self_attn.q_proj.weight".
        a: lora_A, of shape rank x inputs.
        b: lora_B, of shape outputs x rank.
        alpha: numerator of the scale.
        scale: alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA (arXiv:2312.03732).
    """

    target: str
    a: Tensor
    b: Tensor
    alpha: float
    scale: float

    @property
    def rank(self) -> int:
        """The inner dimension of B @ A."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the target must have."""
        return self.b.shape[0], self.a.shape[1]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that can be merged.

    Attributes:
        folder: holds adapter_config.json and adapter_model.safetensors.
        base: the model that its configuration names as its base, or None.
        revision: of that model, or None.
        pairs: sorted by target.
        places: the configuration keys that select its layers (`_TARGET_KEYS`).
    """

    folder: Path
    base: str | None
    revision: str | None
    pairs: tuple[LoraPair, ...]
    places: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """SHA-256 of the tensors, as `weights.digest_weights`: sorted by name, `name:dtype:shape:` and then bytes."""
        digest = hashlib.sha256()
        for tensor in sorted(_iterate_sides(self.pairs), key=lambda tensor: tensor.name):
            shape = "x".join(map(str, tensor.shape))
            digest.update(f"{tensor.name}:{tensor.dtype}:{shape}:".encode())
            digest.update(_read_stored(tensor).tobytes())
        return digest.hexdigest()

    def compare_pairs(self, layers: Mapping[str, bool], paired: Collection[str]) -> tuple[list[str], list[str]]:
        """List, sorted, the layers that the configuration selects without a pair, and the pairs of other layers.

        Args:
            layers: the base's linear layers by transformers' names, and whether each is the head.
        """
        selected = set(_match_patterns(self.folder, self.places, _list_selected, layers))
        return sorted(selected.difference(paired)), sorted(set(paired) - selected)


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """Options of a merge, and of measuring its effect.

    Attributes:
        dtype: of the merged weights: bfloat16, float16 or float32.
        quantised: "nf4" if the adapter was trained over a base in NF4; merging then starts from the dequantised base.
        double_quantization: whether that form's constants were quantised too.
        expected_base_sha256: of the weights that the adapter was trained on; None if unknown.
    """

    dtype: str = "bfloat16"
    quantised: str | None = None
    double_quantization: bool = True
    expected_base_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in SAFETENSORS_DTYPES:
            raise ValueError(f"dtype must be {', '.join(SAFETENSORS_DTYPES)}, not '{self.dtype}'")
        if self.quantised not in (None, "nf4"):
            raise ValueError(f"quantised must be nf4 or none, not '{self.quantised}'")


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds a PEFT adapter's configuration."""
    return (folder / ADAPTER_CONFIG).is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter and check that it is a plain, complete, trained LoRA.

    Raises:
        BenchError: no adapter, a pickled one, another kind than plain LoRA on linear layers, tensors that do not fit
            together, numbers that are not finite, or an untrained adapter.
    """
    if not is_adapter(folder):
        state = f"holds no {ADAPTER_CONFIG}" if folder.is_dir() else "is no folder"
        raise BenchError(f"{folder} {state}", "name the folder that PEFT's save_pretrained wrote")
    config = read_object(folder / ADAPTER_CONFIG, _SAVE_AGAIN)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise BenchError(f"{folder} is an adapter of the kind {kind}, and only LORA is folded here", _MERGE_WITH_PEFT)
    if problems := _find_unsupported(config):
        raise combine_problems(problems, str(folder), _MERGE_WITH_PEFT)
    if problems := _find_malformed(config):
        raise combine_problems(problems, f"{folder / ADAPTER_CONFIG}", _SAVE_AGAIN)
    pairs = _read_pairs(folder, config)
    _require_trained(folder, pairs)
    named = (config.get(key) for key in ("base_model_name_or_path", "revision"))
    base, revision = (text if isinstance(text, str) and text else None for text in named)
    return Adapter(folder, base, revision, pairs, {key: config.get(key) for key in _TARGET_KEYS})


def fit_to_base(adapter: Adapter, base: Path, tensors: Mapping[str, Tensor]) -> Adapter:
    """Return the adapter with targets named as in the base's files, which must hold each in the right shape.

    Raises:
        BenchError: the base is quantised, lacks a target, holds it in another shape, or ties it to another tensor.
    """
    if (quantisation := describe_quantisation(base)) is not None:
        what = f"{base} is quantised ({quantisation}), and an adapter is added to unquantised weights"
        raise BenchError(what, "give the model that it was quantised from with --base")
    pairs, problems = _locate_targets(adapter.pairs, base, tensors), []
    tied = is_head_tied(base) if any(pair.target.endswith(HEAD) for pair in pairs) else None
    for pair in pairs:
        base_tensor = tensors.get(pair.target)
        if pair.target.endswith(HEAD) and (tied or base_tensor is None):
            problems.append(f"{HEAD} is tied to the embedding, and what is added to one would change both")
        elif base_tensor is None:
            problems.append(f"the base has no {pair.target}")
        elif base_tensor.shape != pair.shape:
            problems.append(f"{pair.target} is {base_tensor.shape} in the base and {pair.shape} in the adapter")
        elif base_tensor.dtype not in _NUMPY_DTYPES:
            problems.append(f"{pair.target} is held in {base_tensor.dtype}")
    if problems:
        raise combine_problems(
            keep_first(problems), f"{adapter.folder} does not fit {base}", _suggest_fix(adapter, base)
        )
    return replace(adapter, pairs=pairs)


def _locate_targets(pairs: tuple[LoraPair, ...], base: Path, tensors: Mapping[str, Tensor]) -> tuple[LoraPair, ...]:
    """Name each target as the base's files do: PEFT writes transformers' names, and files may spell them otherwise."""
    if all(pair.target in tensors for pair in pairs) or importlib.util.find_spec("torch") is None:
        return pairs
    from baseline_bench.models import tensor_check  # loads torch

    names = tensor_check.name_weights(base, [*tensors, *(pair.target for pair in pairs)])
    files = {names[name]: name for name in tensors if name in names}
    return tuple(replace(pair, target=files.get(names.get(pair.target, ""), pair.target)) for pair in pairs)


def _suggest_fix(adapter: Adapter, base: Path) -> str:
    """Suggest what helps an adapter that does not fit its base, by the likeliest cause."""
    if any(pair.target.endswith(HEAD) for pair in adapter.pairs):
        return "train without lm_head in target_modules, or over a base whose head is untied"
    if adapter.base is None or Path(adapter.base).name in (base.name, base.resolve().name):
        return "give the model that it was trained on with --base"
    return f"it says that it was trained on {adapter.base}: give that with --base"


def selects_layer(target_config: Mapping[str, Any], layer: str, *, is_head: bool = False) -> bool:
    """Return whether an adapter's configuration selects a linear layer, by the rules of `peft.tuners.tuners_utils`.

    See `check_target_module_exists` and `_maybe_include_all_linear_layers` there.

    Args:
        target_config: the values of the configuration's `_TARGET_KEYS`.
        layer: the layer's name in transformers' model.
        is_head: whether it computes the logits: "all-linear" leaves it out.
    """
    targets = target_config.get("target_modules")
    if _matches_name(target_config.get("exclude_modules"), layer):
        return False
    if isinstance(targets, str):
        return not is_head if targets.lower() == "all-linear" else _matches_name(targets, layer)
    if isinstance(targets, list) and layer in targets:  # for a full name PEFT ignores layers_to_transform
        return True
    return _matches_name(targets, layer) and _is_selected_block(target_config, layer)


def _list_selected(target_config: Mapping[str, Any], layers: Mapping[str, bool]) -> list[str]:
    return [name for name, is_head in layers.items() if selects_layer(target_config, name, is_head=is_head)]


def _matches_name(names: object, layer: str) -> bool:
    """Return whether a regular expression matches a layer's full name, or one of several names is its end."""
    if isinstance(names, str):
        return re.fullmatch(names, layer) is not None
    return isinstance(names, list) and any(layer == name or layer.endswith(f".{name}") for name in names)


def _is_selected_block(target_config: Mapping[str, Any], layer: str) -> bool:
    """Return whether a layer is in one of the blocks that `layers_to_transform` numbers."""
    block_numbers = target_config.get("layers_to_transform")
    patterns = target_config.get("layers_pattern") or [r"(?<=\.)[^.]*"]  # as in PEFT, never the first name
    if block_numbers is None or block_numbers == []:
        return True
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if matched := re.match(rf"(?:^|.*?\.){pattern}\.(?P<number>\d+)\.", layer):
            return int(matched["number"]) in ([block_numbers] if isinstance(block_numbers, int) else block_numbers)
    return False


def _find_unsupported(config: Mapping[str, Any]) -> list[str]:
    """List the settings that `scale * B @ A` on linear layers does not reproduce."""
    unsupported = [f"sets {key}" for key, value in config.items() if value and key not in _HARMLESS_KEYS]
    if config.get("bias", "none") != "none":
        unsupported.append(f"trains biases (bias = {config['bias']})")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_BASE_CHANGING_INITS):
        unsupported.append(f"began with {start}, which changes the base's own weights")
    return unsupported


def _find_malformed(config: Mapping[str, Any]) -> list[str]:
    problems = []
    if not _is_rank(config.get("r")):
        problems.append("r must be an integer above 0")
    if not _is_number(config.get("lora_alpha")):
        problems.append("lora_alpha must be a number")
    patterns = [key for key in ("target_modules", "exclude_modules") if isinstance(config.get(key), str)]
    problems += [f"{key} is not a regular expression" for key in patterns if not _is_pattern(config[key])]
    for key, sound in (("rank_pattern", _is_rank), ("alpha_pattern", _is_number)):
        table = config.get(key) or {}
        if not isinstance(table, dict) or not all(_is_pattern(k) and sound(v) for k, v in table.items()):
            problems.append(f"{key} must give a number for each pattern")
    if not all(type(number) is int for number in _as_list(config.get("layers_to_transform"))):
        problems.append("layers_to_transform must number layers")
    if not all(isinstance(pattern, str) and _is_pattern(pattern) for pattern in _as_list(config.get("layers_pattern"))):
        problems.append("layers_pattern must be regular expressions")
    return problems


def _match_patterns(
    folder: Path, config: Mapping[str, Any], function: Callable[[Mapping[str, Any], Any], Any], names: object
) -> Any:
    """Call a function that matches an adapter's regular expressions, which may never end, within limits.

    Raises:
        BenchError: it takes too long, or an expression is valid only by itself.
    """
    texts = [config.get(key) for key in ("target_modules", "exclude_modules")]
    if not any(config.get(key) for key in _PATTERN_KEYS) and not any(isinstance(text, str) for text in texts):
        return function(config, names)
    whose = f"a regular expression in {folder / ADAPTER_CONFIG}"
    try:
        return BoundedFunction(function, whose, _SAVE_AGAIN)(config, names)
    except re.error as error:
        raise BenchError(f"{whose} cannot be used ({error})", _SAVE_AGAIN) from None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -(2.0**64) < value < 2.0**64


def _is_pattern(text: str) -> bool:
    try:
        with warnings.catch_warnings(action="error", category=FutureWarning):  # of a set that later means another
            re.compile(text)
    except (re.error, RecursionError, OverflowError, FutureWarning):
        return False
    return True


def _read_pairs(folder: Path, config: Mapping[str, Any]) -> tuple[LoraPair, ...]:
    sides: dict[str, dict[str, Tensor]] = {}
    problems = []
    tensors = _read_tensors(folder)
    if wrapped := next((tensor.name for tensor in tensors if WRAPPER_NAME.search(tensor.name)), None):
        what = f"{folder}: {WEIGHTS} holds names of a wrapper of torch, which PEFT does not load: {wrapped}"
        raise BenchError(what, "unwrap the model (accelerate's unwrap_model) and save the adapter again")
    for tensor in tensors:
        matched = _TENSOR_NAME.fullmatch(tensor.name)
        if matched is None:
            problems.append(f"{tensor.name} is no lora_A or lora_B of a linear layer")
        elif tensor.dtype not in _NUMPY_DTYPES:
            problems.append(f"{tensor.name} is held in {tensor.dtype}")
        else:
            sides.setdefault(matched["module"], {})[matched["side"]] = tensor
    pairs = []
    modules = sorted(sides)
    scales = _match_patterns(folder, config, _look_up_scales, modules)
    for module, (rank, alpha) in zip(modules, scales, strict=True):
        try:
            pairs.append(
                _build_pair(module, sides[module], (rank, alpha), rank_stabilised=bool(config.get("use_rslora")))
            )
        except ValueError as error:
            problems.append(f"{module} {error}")
    if problems:
        raise combine_problems(keep_first(problems), str(folder), f"{_MERGE_WITH_PEFT}, or {_SAVE_AGAIN}")
    if not pairs:
        raise BenchError(f"{folder}: {WEIGHTS} holds no lora_A and lora_B", _SAVE_AGAIN)
    return tuple(pairs)


def _build_pair(
    module: str, by_side: Mapping[str, Tensor], rank_and_alpha: tuple[int, float], *, rank_stabilised: bool
) -> LoraPair:
    """Build one module's pair of its two sides; a ValueError's text completes a sentence about the module."""
    if len(by_side) < 2:
        raise ValueError(f"has a lora_{next(iter(by_side))} alone")
    a, b = by_side["A"], by_side["B"]
    if not len(a.shape) == len(b.shape) == 2 or a.shape[0] != b.shape[1]:
        raise ValueError(f"has a lora_B of {b.shape} that does not fit its lora_A of {a.shape}")
    rank, alpha = rank_and_alpha
    if a.shape[0] != rank:
        raise ValueError(f"has rank {a.shape[0]}, and {ADAPTER_CONFIG} says {rank}")
    scale = alpha / (math.sqrt(rank) if rank_stabilised else rank)
    return LoraPair(f"{module}.weight", a, b, alpha, scale)


def _look_up_scales(config: Mapping[str, Any], modules: Sequence[str]) -> list[tuple[int, float]]:
    """Return the rank and the alpha of each module."""
    return [
        (
            _look_up_pattern(config.get("rank_pattern"), module, config["r"]),
            float(_look_up_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])),
        )
        for module in modules
    ]


def _look_up_pattern(table: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """Return the value of the first pattern that matches the end of a module's name, as in PEFT."""
    fitting = (value for key, value in (table or {}).items() if re.match(rf"(.*\.)?({key})$", module))
    return next(fitting, default)


def _read_tensors(folder: Path) -> tuple[Tensor, ...]:
    file = folder / WEIGHTS
    if not file.is_file():
        pickled = next((entry.name for entry in sorted(folder.iterdir()) if entry.name.endswith(PICKLE_SUFFIXES)), None)
        if pickled is not None:
            raise BenchError(
                f"{folder}: pickled weights ({pickled}) run code when they are loaded: safetensors only",
                "where you trust them, load them with PEFT and write them again with save_pretrained",
            )
        raise BenchError(f"{folder}: {WEIGHTS} is missing", _SAVE_AGAIN)
    try:
        return tuple(read_header(file))
    except ValueError as error:
        raise BenchError(f"{file} {error}", _SAVE_AGAIN) from None


def _require_trained(folder: Path, pairs: tuple[LoraPair, ...]) -> None:
    wrong = [tensor.name for tensor in _iterate_sides(pairs) if not np.isfinite(_read_values(tensor)).all()]
    if wrong:
        what = f"{folder}: {len(wrong)} tensors hold numbers that are not finite, {wrong[0]} first"
        raise BenchError(what, "the training went wrong: train again with a lower learning rate")
    if not any(_read_values(pair.b).any() for pair in pairs):
        what = f"{folder}: every lora_B is zero, so that the adapter changes nothing"
        raise BenchError(what, "it was never trained: train it")


def _iterate_sides(pairs: tuple[LoraPair, ...]) -> Iterator[Tensor]:
    for pair in pairs:
        yield from (pair.a, pair.b)


def _read_stored(tensor: Tensor) -> npt.NDArray[Any]:
    """Read the numbers in their stored dtype; bf16, which numpy lacks, as 16-bit integers."""
    kind = np.dtype(_NUMPY_DTYPES[tensor.dtype])
    return np.fromfile(tensor.file, kind, tensor.size // kind.itemsize, offset=tensor.begin)


def _read_values(tensor: Tensor) -> npt.NDArray[Any]:
    stored = _read_stored(tensor)
    return (stored.astype("<u4") << 16).view("<f4") if tensor.dtype == "BF16" else stored
