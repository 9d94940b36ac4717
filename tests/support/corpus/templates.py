"""Chat templates and tokenizers that would ask wrongly or never stop, and sound ones that look much alike."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import tiny
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoTokenizer

from corpus.asking import look
from corpus.cases import Case, finds

__all__ = ("CASES", "look")

_USER = "<|im_start|>user\n{{ message['content'] }}<|im_end|>\n"
_ASSISTANT = "<|im_start|>assistant\n{{ message['content'] }}<|im_end|>\n"
_OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\nTHOUGHT{% endif %}"


def turns(user: str, assistant: str, end: str = "", begin: str = "") -> str:
    """A template that writes each turn in its own way."""
    loop = "{% for message in messages %}{% if message['role'] == 'user' %}" + user + "{% else %}" + assistant
    return begin + loop + "{% endif %}{% endfor %}" + end


CHATML = turns(_USER, _ASSISTANT, _OPEN.replace("THOUGHT", ""))
THINKS = turns(_USER, _ASSISTANT, _OPEN.replace("THOUGHT", "<think>\n"))
THINKS_NOT = turns(_USER, _ASSISTANT, _OPEN.replace("THOUGHT", "<think>\n\n</think>\n\n"))
# Qwen3 writes an empty thought before the words of a last turn, and none in the prompt.
QWEN3 = turns(
    _USER,
    _ASSISTANT.replace("{{", "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{"),
    _OPEN.replace("THOUGHT", ""),
)
HARMONY = turns(
    "<|start|>user<|message|>{{ message['content'] }}<|end|>",
    "<|start|>assistant<|channel|>final<|message|>{{ message['content'] }}"
    "{% if loop.last %}<|return|>{% else %}<|end|>{% endif %}",
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
)
LLAMA = turns(
    "[INST] {{ message['content'] }} [/INST]", " {{ message['content'] }} {{ eos_token }}", begin="{{ bos_token }}"
)
ZEPHYR = turns(
    "<|user|>\n{{ message['content'] }}</s>\n",
    "<|assistant|>\n{{ message['content'] }}</s>\n",
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
)
ALPACA = turns(
    "### Instruction:\n{{ message['content'] | trim }}\n\n### Response:\n", "{{ message['content'] | trim }}\n\n"
)
PHI = turns("<|user|>\n{{ message['content'] }}<|end|>\n<|assistant|>\n", "{{ message['content'] }}<|end|>\n")
# Every turn's number of all: the last turn changes how the first is written.
COUNTED = CHATML.replace("user\n", "user {{ loop.index }} of {{ messages | length }}\n")


def template(text: str, folder: Path, manner: tiny.Manner = "plain", tokens: Mapping[str, bool] | None = None) -> Path:
    """A tiny model with this template, and with tokens of its own: content, and whether each is special."""
    tiny.build(folder, manner)
    (folder / "chat_template.jinja").write_text(text)
    if tokens:
        _grow(folder, tokens)
    return folder


_ASKS = CHATML.replace("<|im_start|>user", "<|user|>")
_LAST = CHATML.replace("in messages", "in messages[-1:]")
_SPACE = turns(
    _USER, _ASSISTANT.replace("assistant\n", "assistant "), _OPEN.replace("assistant\nTHOUGHT", "assistant ")
)


def of(text: str, folder: Path) -> Path:
    """A tiny ChatML model with another template."""
    tiny.build(folder, "chatml")
    (folder / "chat_template.jinja").write_text(text)
    return folder


def instructed(folder: Path) -> Path:
    """A base model under the name of one that follows instructions."""
    return tiny.build(folder.with_name("tiny-it"), "plain")


def first_token_begins(folder: Path) -> Path:
    """A tokenizer whose BOS has the id 0, and a template that writes it once."""
    file = template(LLAMA, folder) / "tokenizer_config.json"
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][0] = tensors["model.embed_tokens.weight"][3:9].mean(0)  # it was the padding
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    file.write_text(json.dumps(json.loads(file.read_text()) | {"bos_token": "<unk>"}))
    return folder


def _grow(folder: Path, tokens: Mapping[str, bool]) -> None:
    """Add tokens to the tokenizer and rows to the matrices, as a model that was trained with them has."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(token, special=special, normalized=False) for token, special in tokens.items()])
    tokenizer.save_pretrained(folder)
    config, file = folder / "config.json", folder / "model.safetensors"
    tensors, rows = load_file(file), torch.randn(len(tokens), 128, generator=torch.Generator().manual_seed(0))
    for name in {"model.embed_tokens.weight", "lm_head.weight"} & tensors.keys():
        tensors[name] = torch.cat([tensors[name], rows])
    save_file(tensors, file, {"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": tiny.VOCABULARY + len(tokens)}))


def spoiled(rows: int, folder: Path) -> Path:
    """A ChatML model whose users' turns begin with a token of its own; its row is of zeros, or there is none."""
    file = template(_ASKS, folder, "chatml", {"<|user|>": True}) / "model.safetensors"
    tensors = load_file(file)
    tensors["model.embed_tokens.weight"][tiny.VOCABULARY :] = 0
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:rows].clone()
    save_file(tensors, file, {"format": "pt"})
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": rows}))
    return folder


def beside(held: str | None, folder: Path, *, kept: bool = True) -> Path:
    """A ChatML model with a chat_template.json, which only transformers' processors read; None holds its very own."""
    tiny.build(folder)
    own = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": own.read_text() if held is None else held}))
    if not kept:
        own.unlink()
    return folder


def named(names: tuple[str, ...], folder: Path) -> Path:
    """A ChatML model whose templates have names."""
    tiny.build(folder)
    own = folder / "chat_template.jinja"
    text, config = own.read_text(), folder / "tokenizer_config.json"
    own.unlink()
    held = {"chat_template": [{"name": name, "template": text} for name in names]}
    config.write_text(json.dumps(json.loads(config.read_text()) | held))
    return folder


def doubled(folder: Path) -> Path:
    """Gemma's template with one more BOS at its beginning."""
    text = (tiny.build(folder, "gemma") / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text("{{ bos_token }}" + text)
    return folder


def adds(folder: Path) -> Path:
    """Gemma's tokenizer adds a BOS and its template writes one; a prompt is tokenised without the tokenizer's."""
    return tiny.build(folder, "gemma")


def _sound(name: str, source: str, build: Callable[[Path], Path], twin: str) -> Case:
    return Case(name, source, build, (), twin)


_UNREAD = "transformers#33957"
_HARMONY = dict.fromkeys(("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"), True)
_BOS, _ENDS = "deepseek-ai/DeepSeek-R1#151", "gemma-2b-it, phi-3"
_DROPS = (("template-drops-turn", "warn"), ("template-drops-turn", "warn"), ("template-not-prefix", "warn"))
CASES: tuple[Case, ...] = (
    Case("bos-doubled", _BOS, doubled, (("template-bos-doubled", "refuse"),), "bos-written-and-added"),
    Case("drops-turns", "by hand", partial(of, _LAST), _DROPS, "bos-written-and-added"),
    Case("ends-with-space", "by hand", partial(of, _SPACE), (("prompt-trailing-space", "warn"),), "read-twice"),
    Case(
        "role-untrained",
        "unslothai/unsloth#915",
        partial(spoiled, tiny.VOCABULARY + 1),
        (("prompt-token-untrained", "warn"),),
        "role-trained",
    ),
    Case(
        "role-beyond-embedding",
        "huggingface/transformers#12763",
        partial(spoiled, tiny.VOCABULARY),
        (("unusable", "refuse"),),
        "role-trained",
        (finds("models.diagnose:check_token_ids"),),
    ),
    _sound(
        "role-trained",
        "by hand",
        partial(template, _ASKS, manner="chatml", tokens={"<|user|>": True}),
        "role-untrained",
    ),
    Case("no-template", "by hand", instructed, (("template-missing", "warn"),), "no-template-and-no-such-name"),
    _sound("no-template-and-no-such-name", "by hand", partial(tiny.build, manner="plain"), "no-template"),
    _sound("bos-id-zero", "deepseek-ai/DeepSeek-V3", first_token_begins, "bos-doubled"),
    _sound("bos-written-and-added", "google/gemma-2-2b-it", adds, "bos-doubled"),
    Case(
        "bos-doubled-by-template",
        _BOS,
        partial(template, "{{ bos_token }}" + LLAMA),
        (("template-bos-doubled", "refuse"),),
        "bos-once",
    ),
    _sound(
        "bos-once",
        "mistralai/Mistral-7B-Instruct-v0.2, transformers#28355",
        partial(template, LLAMA),
        "bos-doubled-by-template",
    ),
    Case(
        "no-generation-prompt",
        "instructlab/training#233",
        partial(template, turns(_USER, _ASSISTANT), manner="chatml"),
        (("template-no-generation-prompt", "warn"),),
        "opened-by-question",
    ),
    _sound("opened-by-question", "alpaca", partial(template, ALPACA), "no-generation-prompt"),
    _sound(
        "opened-by-user-turn",
        "microsoft/Phi-3-mini",
        partial(template, PHI, tokens={"<|end|>": True}),
        "no-generation-prompt",
    ),
    _sound("opens-channel", "openai/gpt-oss-20b", partial(template, HARMONY, tokens=_HARMONY), "no-generation-prompt"),
    _sound("empty-thought", "Qwen/Qwen3-8B", partial(template, QWEN3, manner="chatml"), "no-generation-prompt"),
    Case(
        "not-prefix",
        "a template that numbers its turns",
        partial(template, COUNTED, manner="chatml"),
        (("template-not-prefix", "warn"),),
        "opens-thought",
    ),
    _sound("opens-thought", "deepseek-ai/DeepSeek-R1", partial(template, THINKS, manner="chatml"), "not-prefix"),
    _sound(
        "closes-thought",
        "Qwen/Qwen3-8B, enable_thinking=False",
        partial(template, THINKS_NOT, manner="chatml"),
        "not-prefix",
    ),
    Case("unread", _UNREAD, partial(beside, CHATML), (("template-unread", "refuse"),), "read-twice"),
    Case("unread-alone", _UNREAD, partial(beside, CHATML, kept=False), (("template-unread", "refuse"),), "read-twice"),
    _sound("read-twice", "a processor saved beside its tokenizer", partial(beside, None), "unread"),
    Case(
        "end-in-pieces",
        "a template of another model's: its <|eot|> is no token here",
        partial(template, CHATML.replace("<|im_end|>", "<|eot|>"), manner="chatml"),
        (("end-of-turn-not-token", "warn"),),
        "end-not-special",
    ),
    _sound("end-not-special", _ENDS, partial(template, PHI, tokens={"<|end|>": False}), "end-in-pieces"),
    _sound("end-is-eos", "HuggingFaceH4/zephyr-7b-beta", partial(template, ZEPHYR), "end-in-pieces"),
    _sound("named", "CohereForAI/c4ai-command-r-v01", partial(named, ("default", "tool_use")), "unread"),
)
