"""Write a GGUF file's tokenizer as a tokenizer.json, the same on every machine.

transformers' own conversion depends on its version: 5.17 splits Gemma's words into shorter tokens than 5.23 does, and
takes SmolLM2's start token for its end token. A model's score would then change with the library.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core.errors import BenchError
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

_CONTROL, _USER_DEFINED, _BYTE = 3, 4, 6
_SPACE = "▁"
_SPLITS_DIGITS = ("smollm",)


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """The tokenizer's part of a GGUF file's metadata; ids that the file does not name are None.

    Attributes:
        model: "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE).
        pre: the pre-tokenizer, by llama.cpp's name.
        tokens: by id.
        kinds: llama.cpp's token type of each (1 normal, 3 control, 4 user-defined, 6 byte).
        merges: "left right" pairs, best first; empty if the file has none.
        bos: id of the begin-of-sequence token; likewise eos, unk and pad.
        add_bos: whether the tokenizer itself puts BOS before a text.
        chat_template: Jinja source; None for a base model.
        context: the longest sequence the model was made for.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    bos: int | None
    eos: int | None
    unk: int | None
    pad: int | None
    add_bos: bool
    chat_template: str | None
    context: int


def save_tokenizer(vocabulary: GgufVocabulary, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template, if any, as chat_template.jinja.

    Raises:
        BenchError: a tokenizer whose splitting rules are not implemented here.
    """
    if vocabulary.model == "gpt2" and vocabulary.pre in _SPLITS_DIGITS:
        tokenizer = _build_byte_level(vocabulary)
    elif vocabulary.model == "llama":
        tokenizer = _build_sentencepiece(vocabulary)
    else:
        what = f"no rules for the GGUF tokenizer {vocabulary.model!r} with pre-tokenizer {vocabulary.pre!r}"
        raise BenchError(what, "name a folder or a hub repository that holds the original tokenizer.json")
    _add_whole_tokens(tokenizer, vocabulary)
    named = {f"{role}_token": _find_token_text(vocabulary, role) for role in ("bos", "eos", "unk", "pad")}
    if vocabulary.add_bos and vocabulary.bos is not None:
        bos = vocabulary.tokens[vocabulary.bos]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, vocabulary.bos)]
        )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": vocabulary.context,
        **{name: token for name, token in named.items() if token is not None},
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if vocabulary.chat_template is not None:
        (folder / "chat_template.jinja").write_text(vocabulary.chat_template, encoding="utf-8")


def _build_byte_level(vocabulary: GgufVocabulary) -> Tokenizer:
    """Build GPT-2's BPE over bytes, with every digit a separate token."""
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in vocabulary.merges)]
    tokenizer = Tokenizer(
        BPE(vocab={token: token_id for token_id, token in enumerate(vocabulary.tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _build_sentencepiece(vocabulary: GgufVocabulary) -> Tokenizer:
    """Build BPE over characters: spaces become ▁, unknown characters bytes, and no space is put before a text."""
    # llama.cpp stores runs of spaces as spaces; the model's own vocabulary has them as ▁.
    tokens = [_SPACE * len(token) if token and not token.strip(" ") else token for token in vocabulary.tokens]
    ids = {token: token_id for token_id, token in enumerate(tokens)}
    model = BPE(
        vocab=ids,
        merges=_derive_merges(ids, vocabulary.kinds),
        unk_token=_find_token_text(vocabulary, "unk"),
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _derive_merges(ids: dict[str, int], kinds: tuple[int, ...]) -> list[tuple[str, str]]:
    """Derive the merges of a BPE vocabulary that lists none: each token's splits into two tokens, ordered by ids."""
    merges = []
    for token, token_id in ids.items():
        if kinds[token_id] in (_CONTROL, _BYTE):
            continue
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        known = [(ids[left], ids[right], left, right) for left, right in cuts if left in ids and right in ids]
        merges += [(left, right) for _, _, left, right in sorted(known)]
    return merges


def _add_whole_tokens(tokenizer: Tokenizer, vocabulary: GgufVocabulary) -> None:
    """Add control tokens (never split, never printed) and user-defined ones (never split)."""
    pairs = list(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
    control = [AddedToken(token, normalized=False, special=True) for token, kind in pairs if kind == _CONTROL]
    tokenizer.add_special_tokens(control)
    known = tokenizer.get_vocab(with_added_tokens=True)
    whole = [token for token, kind in pairs if kind == _USER_DEFINED and token in known]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in whole])


def _find_token_text(vocabulary: GgufVocabulary, role: str) -> str | None:
    token_id = getattr(vocabulary, role)
    return None if token_id is None else vocabulary.tokens[token_id]
