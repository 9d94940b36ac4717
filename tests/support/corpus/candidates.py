"""Whole weights whose files and configuration do not fit, and sound ones that look much like them."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tiny
import tiny_families
import torch
from baseline_bench.models.weights import SINGLE_FILE
from safetensors.torch import load_file, save_file
from transformers import (
    AddedToken,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from corpus.asking import look
from corpus.cases import Case, finds

__all__ = ("CASES", "look")

Tensors = dict[str, torch.Tensor]

_EMBEDDING = "model.embed_tokens.weight"
_LAYER = "model.layers.0.self_attn.q_proj"
_REFUSED = {
    "unused": (("weights-unused", "refuse"),),
    "missing": (("weights-missing", "refuse"),),
    "not finite": (("weights-not-finite", "refuse"),),
    "dropped": (("head-dropped", "refuse"),),
    "quantised": (("weights-quantised", "refuse"),),
    "wrapped": (("weights-unused", "refuse"), ("weights-missing", "refuse")),
}
_SHAPE = {"vocab_size": tiny.VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
_SIZE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32, "max_position_embeddings": tiny.CONTEXT}


def changed(change: Callable[[Tensors], None] | None = None, manner: tiny.Manner = "chatml", **config: Any) -> Any:
    """What builds a tiny model, changes its tensors and sets keys of its configuration."""

    def build(folder: Path) -> Path:
        tiny.build(folder, manner)
        if change is not None:
            tensors = load_file(folder / SINGLE_FILE)
            change(tensors)
            save_file(tensors, folder / SINGLE_FILE, {"format": "pt"})
        if config:
            file = folder / "config.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | config))
        return folder

    return build


def saved(
    make: Callable[[], Any],
    change: Callable[[Tensors], None] | None = None,
    manner: tiny.Manner = "chatml",
    **config: Any,
) -> Any:
    """What saves another architecture with a tiny model's tokenizer, and changes its tensors."""

    def build(folder: Path) -> Path:
        tiny.build(folder, manner)
        (folder / SINGLE_FILE).unlink()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = make()
        network.save_pretrained(folder)
        if change is not None:
            tensors = load_file(folder / SINGLE_FILE)
            change(tensors)
            save_file(tensors, folder / SINGLE_FILE, {"format": "pt"})
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
        return folder

    return build


def gptq(method: str) -> Any:
    """What builds a checkpoint in 4 bits as GPTQ and AWQ pack it: integers, zeros and scales of each linear layer."""

    def pack(tensors: Tensors) -> None:
        for name in [name for name in tensors if "_proj.weight" in name]:
            outputs, inputs = tensors.pop(name).shape
            stem = name.removesuffix("weight")
            tensors[f"{stem}qweight"] = torch.zeros(inputs // 8, outputs, dtype=torch.int32)
            tensors[f"{stem}qzeros"] = torch.zeros(1, outputs // 8, dtype=torch.int32)
            tensors[f"{stem}scales"] = torch.ones(1, outputs, dtype=torch.float16)

    return changed(pack, quantization_config={"quant_method": method, "bits": 4, "group_size": 128})


def bitsandbytes(folder: Path) -> Path:
    """A checkpoint in 4 bits, which the library at hand loads."""
    tiny.build(folder)
    quantisation = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    network = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantisation, device_map="cpu")
    network.save_pretrained(folder)
    return folder


def renamed(folder: Path, names: Mapping[str, str]) -> Path:
    """A checkpoint whose tensors have other names."""
    tensors = load_file(folder / SINGLE_FILE)
    save_file({names[name]: tensor for name, tensor in tensors.items()}, folder / SINGLE_FILE, {"format": "pt"})
    return folder


def _wrapped(folder: Path) -> Path:
    """Weights as torch.compile names them."""
    return renamed(tiny.build(folder), {name: f"_orig_mod.{name}" for name in load_file(folder / SINGLE_FILE)})


def shorten(tensors: Tensors, rows: int = 400) -> None:
    """Leave so many rows of embedding and head."""
    for name in {_EMBEDDING, "lm_head.weight"} & tensors.keys():
        tensors[name] = tensors[name][:rows].clone()


def reserve_ids(folder: Path) -> Path:
    """A tokenizer with ids beyond the embedding that no prompt holds."""
    tokenizer = AutoTokenizer.from_pretrained(tiny.build(folder))
    tokenizer.add_tokens([AddedToken(f"<|unused_{number}|>", special=number % 2 == 0) for number in range(8)])
    tokenizer.save_pretrained(folder)
    return folder


def _add_lora(tensors: Tensors) -> None:
    for side, shape in (("A", (4, 128)), ("B", (128, 4))):
        tensors[f"{_LAYER}.lora_{side}.default.weight"] = torch.ones(shape)


def _add_biases(tensors: Tensors) -> None:
    tensors[f"{_LAYER}.bias"] = torch.ones(128)


def _add_scale(tensors: Tensors) -> None:
    tensors[f"{_LAYER}.weight_scale"] = torch.ones(1)


def _to_fp8(number: float) -> Callable[[Tensors], None]:
    """Stores a tensor of which one number is this in 8 bits; only E5M2 has infinity."""

    def change(tensors: Tensors) -> None:
        whole = tensors[f"{_LAYER}.weight"].float()
        whole[0, 0] = number
        tensors[f"{_LAYER}.weight"] = whole.to(torch.float8_e5m2 if number == math.inf else torch.float8_e4m3fn)

    return change


def _to_eight_bits(scale: bool, suffix: str | None, but: str = "none") -> Callable[[Tensors], None]:
    """Stores every matrix of a layer in 8 bits, over their whole range if scaled, with scales but for one kind."""

    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if "_proj.weight" in name]:
            whole = tensors[name].float()
            size = whole.abs().max() / 448 if scale else torch.tensor(1.0)
            tensors[name] = (whole / size).to(torch.float8_e4m3fn)
            if suffix is not None and but not in name:
                blocks = [-(-side // 128) for side in whole.shape]
                tensors[f"{name}{suffix}"] = torch.full(blocks, float(size))

    return change


def _add_rotary(tensors: Tensors) -> None:
    for layer in range(2):
        tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(32)


def _add_masks(tensors: Tensors) -> None:
    for layer in range(2):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e9)


def _reshape(tensors: Tensors) -> None:
    tensors["model.layers.1.self_attn.k_proj.weight"] = torch.ones(128, 128)


def _spoil(tensors: Tensors) -> None:
    tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")


def _enlarge(tensors: Tensors) -> None:
    tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = 1e4


def _save_head(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = tensors[_EMBEDDING].clone()


def _train_head(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = tensors[_EMBEDDING] + 1


def _train_head_of_gpt2(tensors: Tensors) -> None:
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1


def _tied_by_default(folder: Path) -> Path:
    """A Gemma whose config.json leaves the tie to its class, with a head of its own."""
    file = changed(_train_head, "gemma")(folder) / "config.json"
    values = json.loads(file.read_text())
    values.pop("tie_word_embeddings", None)
    file.write_text(json.dumps(values))
    return folder


def _lose_head(tensors: Tensors) -> None:
    del tensors["lm_head.weight"]


def _gemma3(folder: Path) -> Path:
    return tiny_families.build(folder, "multimodal Gemma 3")


def _gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=512, n_embd=64, n_layer=2, n_head=2, n_positions=tiny.CONTEXT))


def _mixture() -> Any:
    """A mixture of experts, whose tensors transformers merges when it loads them."""
    return MixtralForCausalLM(MixtralConfig(**_SHAPE, **_SIZE, num_local_experts=2))


def _scale_experts(tensors: Tensors) -> None:
    for name in [name for name in tensors if ".experts." in name]:
        tensors[f"{name}_scale"] = torch.ones(1)


def _sharded(folder: Path) -> Path:
    tiny.build(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    (folder / SINGLE_FILE).unlink()
    network.save_pretrained(folder, max_shard_size="200KB")
    return folder


_SOURCE = "transformers 5 saves it"
_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
_SCALES = (finds("models.diagnose:_check_scales"),)
CASES = (
    Case(
        "unmerged LoRA", "Chinese-LLaMA-Alpaca#438", changed(_add_lora), _REFUSED["unused"], "rotary frequencies saved"
    ),
    Case(
        "biases that the configuration lacks",
        "transformers#5403",
        changed(_add_biases),
        _REFUSED["unused"],
        "biases that it has",
    ),
    Case("a scale of lost fp8", "found by hand", changed(_add_scale), _REFUSED["unused"], "rotary frequencies saved"),
    Case(
        "a layer too many",
        "found by hand",
        changed(num_hidden_layers=1, layer_types=None),
        _REFUSED["unused"],
        "as it was saved",
    ),
    Case(
        "a layer too few",
        "found by hand",
        changed(num_hidden_layers=3, layer_types=None),
        _REFUSED["missing"],
        "as it was saved",
    ),
    Case(
        "a thousand million layers",
        "found by hand",
        changed(num_hidden_layers=10**9, layer_types=None),
        _REFUSED["missing"],
        "as it was saved",
    ),
    Case("another shape", "found by hand", changed(_reshape), _REFUSED["missing"], "as it was saved"),
    Case("no head", "found by hand", changed(_lose_head, "plain"), _REFUSED["missing"], "an untied head"),
    Case("no fp8 number", "E4M3", changed(_to_fp8(math.nan)), _REFUSED["not finite"], "the largest in fp8"),
    Case("infinite in fp8", "E5M2", changed(_to_fp8(math.inf)), _REFUSED["not finite"], "the largest in fp8"),
    Case(
        "8 bits without their scales",
        "kekzl/imp#1450",
        changed(_to_eight_bits(True, None)),
        _REFUSED["missing"],
        "8 bits that need no scales",
        _SCALES,
    ),
    Case(
        "8 bits, one kind without its scales",
        "unslothai/unsloth#6978",
        changed(_to_eight_bits(True, "_scale_inv", "gate_proj"), quantization_config=_FP8),
        _REFUSED["missing"],
        "8 bits with their scales",
        _SCALES,
    ),
    Case(
        "8 bits with scales of another name",
        "wuwangzhang1216/abliterix#93",
        changed(_to_eight_bits(True, ".scale")),
        _REFUSED["unused"],
        "8 bits with their scales",
    ),
    Case(
        "8 bits with their scales",
        "transformers' fp8",
        changed(_to_eight_bits(True, "_scale_inv"), quantization_config=_FP8),
        (),
        "8 bits, one kind without its scales",
    ),
    Case(
        "8 bits that need no scales",
        "a cast of bf16",
        changed(_to_eight_bits(False, None)),
        (),
        "8 bits without their scales",
    ),
    Case("the largest in fp8", "E4M3", changed(_to_fp8(448.0)), (), "no fp8 number"),
    Case("not a number", "lm-evaluation-harness#1340", changed(_spoil), _REFUSED["not finite"], "a large number"),
    Case(
        "a tied head with numbers of its own",
        "peft#2777",
        changed(_train_head),
        _REFUSED["dropped"],
        "a tied head saved too",
    ),
    Case("GPTQ", "found by hand", gptq("gptq"), _REFUSED["quantised"], "bitsandbytes"),
    Case("AWQ", "found by hand", gptq("awq"), _REFUSED["quantised"], "bitsandbytes"),
    Case("an unknown quantisation", "found by hand", gptq("modelopt"), _REFUSED["quantised"], "a null quantisation"),
    Case("names of torch.compile", "found by hand", _wrapped, _REFUSED["wrapped"], "as it was saved"),
    Case("bitsandbytes", "transformers saves it", bitsandbytes, (), "GPTQ"),
    Case("as it was saved", _SOURCE, changed(), (), "a layer too many"),
    Case("a null quantisation", "found by hand", changed(quantization_config=None), (), "GPTQ"),
    Case("rotary frequencies saved", "Llama 1 and 2 have them", changed(_add_rotary), (), "unmerged LoRA"),
    Case("causal masks saved", "GPT-2 has them", saved(_gpt2, _add_masks), (), "biases that the configuration lacks"),
    Case(
        "a head tied by default with numbers of its own",
        "found by hand",
        _tied_by_default,
        _REFUSED["dropped"],
        "a tied head saved too",
    ),
    Case(
        "a head of GPT-2 with numbers of its own",
        "found by hand",
        saved(_gpt2, _train_head_of_gpt2),
        _REFUSED["dropped"],
        "a tied head saved too",
    ),
    Case(
        "an end of turn that was never trained",
        "found by hand",
        changed(lambda tensors: tensors[_EMBEDDING][2].zero_()),
        (("end-token-untrained", "warn"),),
        "a tied head saved too",
    ),
    Case(
        "a tokenizer of another model with more tokens",
        "review: an IndexError inside the engine",
        changed(shorten, vocab_size=400),
        (("unusable", "refuse"),),
        "unused ids beyond the embedding",
        (finds("models.diagnose:check_token_ids"),),
    ),
    Case(
        "unused ids beyond the embedding",
        "tokenizers reserve tokens",
        reserve_ids,
        (),
        "a tokenizer of another model with more tokens",
    ),
    Case("a tied head saved too", "found by hand", changed(_save_head), (), "a tied head with numbers of its own"),
    Case("an untied head", _SOURCE, changed(manner="plain"), (), "no head"),
    Case("a large number", "found by hand", changed(_enlarge), (), "not a number"),
    Case("sharded", _SOURCE, _sharded, (), "a layer too few"),
    Case("Gemma 2", _SOURCE, changed(manner="gemma"), (), "a layer too few"),
    Case(
        "biases that it has",
        _SOURCE,
        saved(lambda: Qwen2ForCausalLM(Qwen2Config(**_SHAPE, hidden_size=64, intermediate_size=128))),
        (),
        "biases that the configuration lacks",
    ),
    Case(
        "Mistral",
        _SOURCE,
        saved(lambda: MistralForCausalLM(MistralConfig(**_SHAPE, **_SIZE))),
        (),
        "a layer too few",
    ),
    Case("a mixture of experts", _SOURCE, saved(_mixture), (), "unmerged LoRA"),
    Case(
        "an architecture that transformers does not know",
        "found by hand",
        changed(model_type="nobody-knows", architectures=["Nobody"]),
        (("tensors-unchecked", "warn"),),
        "as it was saved",
    ),
    Case("multimodal Gemma 3", _SOURCE, _gemma3, (), "a layer too few"),
)
