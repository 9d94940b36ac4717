"""The child process that makes a shape: random weights in bf16, and a tokenizer of GSM8K's own words."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.types import Split
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, GemmaConfig, GenerationConfig, PreTrainedTokenizerFast

_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
_PAD, _EOS, _BOS = range(3)
_CONTEXT = 8192
# How Gemma's own template writes a conversation.
_TEMPLATE = """\
{{ bos_token }}{% for message in messages %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' \
else message['role'] }}
{{ message['content'] | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""


def work(asked: Mapping[str, Any], _screen: Console, _rank: int) -> None:
    """Write `asked["shape"]` to `asked["folder"]`, which appears whole."""
    folder, shape = Path(asked["folder"]), asked["shape"]
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    mirror = Path(asked["mirror"]) if asked["mirror"] else None
    _tokenizer(mirror, shape["words"]).save_pretrained(draft)
    _network(shape).save_pretrained(draft, max_shard_size="5GB")
    draft.rename(folder)


def _tokenizer(mirror: Path | None, words: int) -> PreTrainedTokenizerFast:
    backend = Tokenizer(BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=words,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    problems = plugins.load_task("gsm8k").problems(Split("train", mirror=mirror))
    backend.train_from_iterator((f"{each.question}\n{each.solution}" for each in problems), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat_template=_TEMPLATE,
        model_max_length=_CONTEXT,
    )


def config(shape: Mapping[str, Any]) -> GemmaConfig:
    """The configuration of a shape."""
    return GemmaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["hidden"],
        intermediate_size=shape["intermediate"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=1,
        head_dim=shape["head_dim"],
        hidden_activation="gelu_pytorch_tanh",
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=_PAD,
        eos_token_id=_EOS,
        bos_token_id=_BOS,
    )


def _network(shape: Mapping[str, Any]) -> Any:
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        made = AutoModelForCausalLM.from_config(config(shape), dtype=torch.bfloat16)
    made.generation_config = GenerationConfig(pad_token_id=_PAD, eos_token_id=_EOS, bos_token_id=_BOS)
    return made
