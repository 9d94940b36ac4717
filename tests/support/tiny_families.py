"""Builds a two-layer random model of every family that the tests of loading and merging go through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch
from baseline_bench.models.weights import SINGLE_FILE
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

_SHAPE = {"vocab_size": tiny.VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
_SIZE = {"hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": tiny.CONTEXT}
_CHATML = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_GEMMA = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
_TEXT = {**_SHAPE, **_SIZE, "head_dim": 16, **_GEMMA}
_VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def _gemma3() -> Gemma3Config:
    """The multimodal one: a vision tower beside the text tower, and other names in its files than in the model."""
    vision = {**_VISION, "image_size": 28, "patch_size": 14}
    text = {**_TEXT, "sliding_window": 64}
    return Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=511, **_GEMMA)


FAMILIES: dict[str, Callable[[], Any]] = {
    "Llama": lambda: LlamaConfig(**_SHAPE, **_SIZE, **_CHATML),
    "SmolLM2": lambda: LlamaConfig(**_SHAPE, **_SIZE, **_CHATML, tie_word_embeddings=True),
    "SmolLM3": lambda: SmolLM3Config(**_SHAPE, **_SIZE, **_CHATML, no_rope_layers=[1, 0]),
    "Mistral": lambda: MistralConfig(**_SHAPE, **_SIZE, **_CHATML, sliding_window=64),
    "Qwen2": lambda: Qwen2Config(**_SHAPE, **_SIZE, **_CHATML),
    "Qwen3": lambda: Qwen3Config(**_SHAPE, **_SIZE, **_CHATML, head_dim=16),
    "Phi-3": lambda: Phi3Config(**_SHAPE, **_SIZE, **_CHATML),
    "Gemma": lambda: GemmaConfig(**_TEXT),
    "Gemma 2": lambda: Gemma2Config(**_TEXT, query_pre_attn_scalar=16, sliding_window=64),
    "Gemma 3": lambda: Gemma3TextConfig(**_TEXT, query_pre_attn_scalar=16, sliding_window=64),
    "multimodal Gemma 3": _gemma3,
}


def build(folder: Path, family: str) -> Path:
    """Write a whole checkpoint with a tiny tokenizer, always with the same numbers, and return its folder."""
    tiny.build(folder, "gemma" if "Gemma" in family else "chatml")
    (folder / SINGLE_FILE).unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(FAMILIES[family](), dtype=torch.float32).save_pretrained(folder)
    return folder
