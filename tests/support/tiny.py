"""Builds real models of two layers, one for each way in which a family wants to be spoken to, in a second each."""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

Manner = Literal["chatml", "gemma", "plain"]

VOCABULARY = 512
CONTEXT = 4096

_TEXT = """\
Question: Tom has 12 red apples and buys 7 more. Each apple costs $2. How much did he pay in total, and how many
apples does he have now? Let us think step by step. Answer: He buys 7 apples at 2 dollars each, so he pays
7 * 2 = 14 dollars. Together with the 12 apples from before there are 12 + 7 = 19 apples. #### 19
Question: Anna reads 25 pages every day for 4 days of the week. How many pages are left of a book with 180 pages?
Answer: She reads 25 * 4 = 100 pages, therefore 180 - 100 = 80 pages are left. The final answer is 80. #### 80
system You are a helpful assistant. user model assistant Question: A farmer sells 3/4 of his 60 eggs for 50 cents.
How much money does the farmer make? Answer: Three quarters of 60 is 45. Since 45 * 0.50 = 22.50, the farmer makes
$22.50 this morning. #### 22.5
Question: There were twice as many birds on the first tree as on the second. Then nine flew away and six were left
over. How many birds sat on each tree at first? Answer: Altogether there were 9 + 6 = 15 birds, which makes three
equal shares of 5. The second tree had 5 birds and the first one had 5 + 5 = 10 birds. #### 10
"""

_CHATML = """\
{% if messages[0]['role'] != 'system' %}<|im_start|>system
You are a tiny model that counts.<|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

_GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}\
{% for message in messages %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}
{{ message['content'] | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

# Special tokens in the order of their ids: pad, eos and bos by their own names, then the template's.
_SPECIAL: dict[str, dict[str, str]] = {
    "chatml": {"pad": "<|endoftext|>", "bos": "<|im_start|>", "eos": "<|im_end|>"},
    "gemma": {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>", "start": "<start_of_turn>", "end": "<end_of_turn>"},
    "plain": {"pad": "<unk>", "bos": "<s>", "eos": "</s>"},
}


def build(folder: Path, manner: Manner = "chatml", seed: int = 0) -> Path:
    """Write a whole checkpoint, the same for the same seed, and return its folder.

    Args:
        folder: is made if need be.
        manner: "chatml" (a Llama whose BOS opens every turn, like SmolLM2), "gemma" (a Gemma 2 with a separate BOS that
            the tokenizer adds, and an end of turn that no configuration names) or "plain" (a Llama base model: no
            template, and a tokenizer that adds no BOS).
        seed: of the weights; the tokenizer is always the same.
    """
    shutil.copytree(_made(manner, seed).name, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
    return folder


@cache
def _made(manner: Manner, seed: int) -> "tempfile.TemporaryDirectory[str]":
    """The checkpoint, made once a process and removed at its end."""
    place = tempfile.TemporaryDirectory(prefix="tiny-", ignore_cleanup_errors=True)
    folder = Path(place.name)
    tokenizer = _tokenizer(manner)
    tokenizer.save_pretrained(folder)
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = _config(manner, ids)
        model = Gemma2ForCausalLM(config) if manner == "gemma" else LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(folder)
    return place


def _tokenizer(manner: Manner) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the text above, digits one by one."""
    special = _SPECIAL[manner]
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(special.values()), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([_TEXT], trainer)
    if manner == "gemma":
        bos = special["bos"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=special["bos"],
        eos_token=special["eos"],
        pad_token=special["pad"],
        chat_template={"chatml": _CHATML, "gemma": _GEMMA}.get(manner),
        model_max_length=CONTEXT,
    )


def _config(manner: Manner, ids: dict[str, int]) -> PreTrainedConfig:
    """Heads of 64, the least that every engine's attention kernels take."""
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.08,  # wide enough that greedy answers vary
        "dtype": "float32",
        **ids,
    }
    if manner == "gemma":
        return Gemma2Config(**shape, query_pre_attn_scalar=64, sliding_window=256)
    return LlamaConfig(**shape, tie_word_embeddings=manner == "chatml")
