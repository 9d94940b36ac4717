"""Check that a checkpoint's files hold the tensors that its configuration uses, as transformers itself loads them.

Names of tensors in files need not be names of weights in the model: transformers renames some when it loads them.

Builds the model on torch's meta device, which allocates no numbers, so a check takes a tenth of a second.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from baseline_bench.core.errors import BenchError, describe_error, first_line
from baseline_bench.core.findings import Finding, build_finding, build_unchecked
from baseline_bench.models.model_config import CONFIG_ERRORS, RESTORE_CONFIG
from baseline_bench.models.silence import silence_libraries
from baseline_bench.models.weights import WRAPPER_NAME, Tensor, read_config, read_tensors
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.pytorch_utils import Conv1D
from transformers.quantizers import AutoHfQuantizer

# Constants and causal masks (1 x 1 x n x n) of GPT-2, GPT-J and GPT-Neo that older versions of transformers saved.
_CONSTANT_NAME = re.compile(r"(^|\.)masked_bias$")
_MASK_NAME = re.compile(r"(^|\.)(attn|attention)\.bias$")
# What PEFT puts into the names of a model that it wraps.
_ADAPTER_NAME = re.compile(r"\.(lora_|base_layer\.|modules_to_save\.)")
_MAX_SHOWN = 3
_SPLIT = "transformers merges tensors that this format splits"
_NEWER = "a newer transformers may know this architecture; code from a repository is never trusted"
_UNWRAP = "names of tensors hold a wrapper of torch: unwrap the model (accelerate's unwrap_model) and save it again"


def check_tensors(folder: Path, tensors: Sequence[Tensor], engine: str) -> list[Finding]:
    """Report unused tensors, missing tensors, and quantised weights that cannot be loaded.

    Under another engine than transformers only the names of quantised tensors are compared. Reports that it is unknown
    what a network uses that transformers cannot build; only names of an adapter are found there.

    Args:
        folder: a whole checkpoint, as `weights.inspect_checkpoint` checks it.
        tensors: of that folder.
        engine: the name of the engine that would load it.
    """
    with silence_libraries():
        if (config := _load_config(folder)) is None:
            return _check_unknown(folder, tensors)
        if (excess := _find_excess(config, tensors)) is not None:
            return [_report_missing([excess])]
        if (quantisation := _read_quantisation(config)) is not None:
            if engine != "transformers":
                return _check_quantised(folder, tensors)
            if (lacking := _describe_unloadable(quantisation)) is not None:
                return [build_finding("weights-quantised", lacking)]
        try:
            network, loaded = AutoModelForCausalLM.from_pretrained(
                folder,
                device_map="meta",
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except Exception:  # noqa: BLE001  # transformers raises exceptions of any type here
            return (_check_unknown if quantisation is None else _check_quantised)(folder, tensors)
    return list(_compare_tensors(network, loaded, {tensor.name: tensor.shape for tensor in tensors}))


def is_head_tied(folder: Path) -> bool | None:
    """Return whether transformers ties a model's head to its embedding; None if it does not know the model."""
    with silence_libraries():
        if (config := _load_config(folder)) is None:
            return None
    stated = (getattr(part, "tie_word_embeddings", None) for part in (config, config.get_text_config()))
    return next((bool(tied) for tied in stated if tied is not None), None)


def name_weights(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return transformers' name of each weight by its name in a file; leave out weights that it converts to others.

    Args:
        folder: a whole checkpoint; names do not change if transformers cannot build its model.
        names: of tensors, as that checkpoint or an adapter of it spells them.
    """
    network, _ = _build_network(folder)
    if network is None:
        return {name: name for name in names}
    return _rename(network, names)


def _rename(network: Any, names: Iterable[str]) -> dict[str, str]:
    renamings, converters = _list_conversions(network)
    prefix, expected = network.base_model_prefix, network.state_dict()
    renamed = {name: rename_source_key(name, renamings, converters, prefix, expected) for name in names}
    return {name: new_name for name, (new_name, converted) in renamed.items() if converted is None}


def _list_conversions(network: Any) -> tuple[list[WeightRenaming], list[WeightConverter]]:
    """List how transformers renames tensors of files, and how it converts several of them to one weight."""
    conversions = get_model_conversion_mapping(network)
    renamings = [conversion for conversion in conversions if isinstance(conversion, WeightRenaming)]
    return renamings, [conversion for conversion in conversions if isinstance(conversion, WeightConverter)]


def list_linear_layers(folder: Path) -> dict[str, bool]:
    """Return a model's linear layers by name, and whether each is the head; empty if transformers cannot build it."""
    network, _ = _build_network(folder)
    if network is None:
        return {}
    head, modules = network.get_output_embeddings(), network.named_modules()
    return {name: module is head for name, module in modules if isinstance(module, torch.nn.Linear | Conv1D)}


def explain_load_error(folder: Path, error: BaseException, way_out: str = _NEWER) -> BenchError:
    """Say why transformers cannot load a model: its config.json, if that alone builds no network, else the error."""
    _, fault = _build_network(folder)
    what, reason = (folder, first_line(error)) if fault is None else (folder / "config.json", fault)
    way_out = way_out if fault is None else f"{RESTORE_CONFIG}; {_NEWER}"
    return BenchError(f"transformers {transformers.__version__} cannot load {what}: {reason}", way_out)


def _build_network(folder: Path) -> tuple[Any, str | None]:
    """Build a model on torch's meta device, without weights; None if transformers cannot, and its error."""
    with silence_libraries():
        try:
            config = _load_valid_config(folder)
            if _find_excess(config, read_tensors(folder)) is not None:
                return None, None
            with torch.device("meta"):
                return AutoModelForCausalLM.from_config(config, trust_remote_code=False), None
        except Exception as error:  # noqa: BLE001  # as above
            return None, describe_error(error)


def _load_config(folder: Path) -> Any:
    """Load a checkpoint's configuration; None if transformers cannot."""
    try:
        return _load_valid_config(folder)
    except CONFIG_ERRORS:
        return None


def _load_valid_config(folder: Path) -> Any:
    """Load config.json, with one text model in it; raises one of `CONFIG_ERRORS`."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    config.get_text_config().to_dict()  # several of them are a ValueError, what is no configuration an AttributeError
    return config


def _find_excess(config: Any, tensors: Sequence[Tensor]) -> str | None:
    """Name a layer or a size that needs more tensors or numbers than the files hold; None if there is none.

    transformers would take hours to build 10^9 layers, and gigabytes for the tables of a head of 10^9.
    """
    sizes = {key: value for key, value in vars(config.get_text_config()).items() if isinstance(value, int)}
    if (layers := sizes.get("num_hidden_layers", 0)) > len(tensors):
        return f"a layer {layers - 1}"
    held = sum(math.prod(tensor.shape) for tensor in tensors)
    excess = (key for key, value in sizes.items() if value > held and key.endswith(("_dim", "_size")))
    return next((f"a {key} of {sizes[key]}" for key in excess), None)


def _compare_tensors(network: Any, loaded: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Finding]:
    buffers = [name for name, _ in network.named_buffers()]
    unused = sorted(name for name in loaded["unexpected_keys"] if not _is_derived(name, shapes.get(name, ()), buffers))
    if unused:
        yield _report_unused(unused)
    missing = sorted([*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])])
    if missing:
        yield _report_missing(missing, unused)


def _check_quantised(folder: Path, tensors: Sequence[Tensor]) -> list[Finding]:
    """Compare the names of quantised tensors with the modules of the model, each of which a format may give more."""
    network, _ = _build_network(folder)
    if network is None or _list_conversions(network)[1]:  # several tensors become one: formats do it differently
        return _check_unknown(folder, tensors)
    names, weights = _rename(network, (tensor.name for tensor in tensors)), dict(network.named_parameters())
    expected = network.state_dict().keys()
    known = {*expected, *(name for name, _ in network.named_modules())} - {""}
    ignored = [re.compile(pattern) for pattern in network._keys_to_ignore_on_load_unexpected or ()]

    def is_used(tensor: Tensor) -> bool:
        parent, _, leaf = names[tensor.name].rpartition(".")
        if leaf == "bias" and parent in known and _is_zero(tensor):  # GPTQ's of layers that have none
            return True
        near = {parent, parent.rpartition(".")[0]}  # such as q_proj.weight.absmax and attn.k_scale
        fits = leaf not in ("weight", "bias") and not near.isdisjoint(known)
        return fits or names[tensor.name] in expected or any(pattern.search(tensor.name) for pattern in ignored)

    held = {*names.values(), *(name.rpartition(".")[0] for name in names.values() if not name.endswith(".bias"))}
    loaded = {
        "unexpected_keys": [tensor.name for tensor in tensors if not is_used(tensor)],
        "missing_keys": [name for name in weights if held.isdisjoint((name, name.rpartition(".")[0]))],
        "mismatched_keys": (),
    }
    return list(_compare_tensors(network, loaded, {tensor.name: tensor.shape for tensor in tensors}))


def _is_zero(tensor: Tensor) -> bool:
    with tensor.file.open("rb") as file:
        file.seek(tensor.begin)
        return not any(file.read(tensor.size))


def _check_unknown(folder: Path, tensors: Sequence[Tensor]) -> list[Finding]:
    """Report tensors of an adapter, unless config.json names adapters of its own, and that the rest is unchecked."""
    own = any(key.endswith("_lora") for key in read_config(folder))
    unused = [] if own else sorted(tensor.name for tensor in tensors if _ADAPTER_NAME.search(tensor.name))
    _, fault = _build_network(folder)
    reason = f"transformers builds no network of its config.json ({fault})" if fault else _SPLIT
    return [*([_report_unused(unused)] if unused else []), build_unchecked(reason)]


def _suggest_way_out(unused: Sequence[str]) -> str:
    """Suggest what helps against tensors that are not used, by the likeliest cause."""
    if any(WRAPPER_NAME.search(name) for name in unused):
        return _UNWRAP
    if any(_ADAPTER_NAME.search(name) for name in unused):
        return "merge the adapter with PEFT's merge_and_unload and save the model again"
    return "restore the config.json that the weights were saved with, or save the model again"


def _report_unused(names: Sequence[str]) -> Finding:
    shown = f"the files hold {len(names)} tensors that config.json does not use ({_shorten_names(names)})"
    return build_finding("weights-unused", f"{shown}: {_suggest_way_out(names)}")


def _report_missing(names: Sequence[str], unused: Sequence[str] = ()) -> Finding:
    wrapped = any(WRAPPER_NAME.search(name) for name in unused)
    message = (
        f"config.json asks for {len(names)} tensors that the files lack or hold in another shape "
        f"({_shorten_names(names)}): "
        + (_UNWRAP if wrapped else "restore config.json and weights of one and the same checkpoint")
    )
    return build_finding("weights-missing", message)


def _is_derived(name: str, shape: tuple[int, ...], buffers: Sequence[str]) -> bool:
    """Return whether the model computes a saved tensor itself, such as a causal mask or a table of positions."""
    is_mask = len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3] and _MASK_NAME.search(name) is not None
    computed = any(buffer == name or buffer.endswith(f".{name}") for buffer in buffers)
    return is_mask or computed or _CONSTANT_NAME.search(name) is not None


def _read_quantisation(config: Any) -> Any:
    """Return the quantisation settings of config.json, or None."""
    inner = config.get_text_config(decoder=True)
    return getattr(config, "quantization_config", None) or getattr(inner, "quantization_config", None)


def _describe_unloadable(quantisation: Any) -> str | None:
    """Explain why transformers cannot load a quantised checkpoint on this machine; None if it can."""
    method = (
        quantisation.get("quant_method")
        if isinstance(quantisation, dict)
        else getattr(quantisation, "quant_method", None)
    )
    try:
        if isinstance(quantisation, dict) and not AutoHfQuantizer.supports_quant_method(quantisation):
            return f"the weights are quantised by {method}, which transformers {transformers.__version__} does not know"
        AutoHfQuantizer.from_config(quantisation, pre_quantized=True).validate_environment(device_map=None)
    except (ImportError, RuntimeError, ValueError, TypeError) as error:
        reason = first_line(error)
        return f"the weights are quantised by {method}, and transformers cannot load them here: {reason}"
    except CONFIG_ERRORS:  # damaged settings, which the engine refuses itself
        return None
    return None


def _shorten_names(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_SHOWN]) + (", …" if len(names) > _MAX_SHOWN else "")
