"""Builds real models of two layers that take pictures or sounds, in a second each, and small data sets of such."""

from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import tiny
import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    SiglipVisionConfig,
    WhisperFeatureExtractor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

Family = Literal["llava", "gemma3", "qwen2_audio"]

_PIXELS = 28
# What a family's tokenizer has beside the tiny one's: the place of a picture or sound, and its borders.
_TOKENS = {
    "llava": {"image_token": "<image>"},
    "gemma3": {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
    },
    "qwen2_audio": {
        "audio_token": "<|AUDIO|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    },
}
_SHOWN = {"llava": "<image>", "gemma3": "<start_of_image>", "qwen2_audio": "<|audio_bos|><|AUDIO|><|audio_eos|>"}
_PARTS = """\
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{{ part['text'] if part['type'] == 'text' else 'SHOWN' }}{% endfor %}{% endif %}"""


def build(folder: Path, family: Family, seed: int = 0) -> Path:
    """Write a whole checkpoint with its processor, the same for the same seed, and return its folder."""
    bare = tiny._tokenizer("chatml")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare.backend_tokenizer,
        **{role: getattr(bare, role) for role in ("bos_token", "eos_token", "pad_token")},
        extra_special_tokens=_TOKENS[family],
        chat_template=bare.chat_template.replace("{{ message['content'] }}", _PARTS.replace("SHOWN", _SHOWN[family])),
        model_max_length=tiny.CONTEXT,
    )
    place, *borders = (tokenizer.convert_tokens_to_ids(token) for token in _TOKENS[family].values())
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = {"llava": _llava, "gemma3": _gemma3, "qwen2_audio": _qwen2_audio}[family]
        model, processor = made(tokenizer, place, borders, ids)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _text(ids):
    return {
        "vocab_size": 520,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": tiny.CONTEXT,
        "initializer_range": 0.08,
        "dtype": "float32",
        **ids,
    }


def _eye():
    return {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": _PIXELS,
        "patch_size": 14,
        "initializer_range": 0.2,
    }


def _llava(tokenizer, place, _borders, ids):
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_eye()), text_config=LlamaConfig(**_text(ids)), image_token_id=place
    )
    square = {"height": _PIXELS, "width": _PIXELS}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=square, crop_size=square),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
    )
    return LlavaForConditionalGeneration(config), processor


def _gemma3(tokenizer, place, borders, ids):
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**_eye(), vision_use_head=False),
        text_config=Gemma3TextConfig(**_text(ids), query_pre_attn_scalar=64, sliding_window=256),
        image_token_id=place,
        boi_token_id=borders[0],
        eoi_token_id=borders[1],
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
    )
    square = {"height": _PIXELS, "width": _PIXELS}
    model = Gemma3ForConditionalGeneration(config)
    # Made of zeros, it would let nothing be seen.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.5)
    return model, Gemma3Processor(Gemma3ImageProcessorPil(size=square), tokenizer, image_seq_length=4)


def _qwen2_audio(tokenizer, place, _borders, ids):
    ear = Qwen2AudioEncoderConfig(
        num_mel_bins=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=128,
        d_model=64,
        max_source_positions=150,
        init_std=0.2,
    )
    text = Qwen2Config(**{key: value for key, value in _text(ids).items() if key != "head_dim"})
    config = Qwen2AudioConfig(audio_config=ear, text_config=text, audio_token_id=place)
    heard = WhisperFeatureExtractor(feature_size=16, chunk_length=3)
    return Qwen2AudioForConditionalGeneration(config), Qwen2AudioProcessor(heard, tokenizer)


def picture(seed: int, size: tuple[int, int] = (40, 60), mode: str = "RGB") -> Image.Image:
    """A picture of random colours."""
    colours = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(colours).convert(mode)


def hub_folder(place: Path, repository: str, config: str, splits: dict[str, list[dict]]) -> None:
    """A data set in the hub's layout: one config, and the rows of each split, pictures as the hub keeps them."""
    folder = place / repository / config
    folder.mkdir(parents=True)
    files = "  data_files:\n"
    for split, rows in splits.items():
        datasets.Dataset.from_list(rows).to_parquet(folder / f"{split}.parquet")
        files += f"  - split: {split}\n    path: {config}/{split}.parquet\n"
    (place / repository / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n{files}---\n")
