"""models.gguf_tokenizer: the tokenizer of a GGUF file, written out the same on every machine."""

import json

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.models import gguf_tokenizer
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

NORMAL, CONTROL, USER_DEFINED, BYTE = 1, 3, 4, 6
BYTES = [(letter, NORMAL) for letter in sorted(pre_tokenizers.ByteLevel.alphabet())]


def vocabulary(model, rows, **given):
    """A vocabulary out of (token, kind) rows."""
    settings = {
        "pre": "default",
        "merges": (),
        "bos": None,
        "eos": None,
        "unk": None,
        "pad": None,
        "add_bos": False,
        "chat_template": None,
        "context": 64,
        **given,
    }
    tokens, kinds = zip(*rows, strict=True)
    return gguf_tokenizer.GgufVocabulary(model=model, tokens=tokens, kinds=kinds, **settings)


def bytelevel(**given):
    """A byte-level BPE in SmolLM2's manner."""
    rows = [("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL), *BYTES, ("ĊĊ", NORMAL), ("Ġ1", NORMAL), ("ab", NORMAL)]
    settings = {"pre": "smollm", "merges": ("Ċ Ċ", "Ġ 1", "a b"), "bos": 0, "eos": 1, **given}
    return vocabulary("gpt2", rows, **settings)


def sentencepiece(**given):
    """A SentencePiece BPE in Gemma's manner; ids tell the order of merges."""
    rows = [("<pad>", CONTROL), ("<eos>", CONTROL), ("<bos>", CONTROL), ("<unk>", CONTROL), ("\n\n", USER_DEFINED)]
    rows += [("  ", USER_DEFINED), *((f"<0x{byte:02X}>", BYTE) for byte in range(256))]
    rows += [(token, NORMAL) for token in ("bc", "ab", "▁a", "a", "b", "c", "▁", "\n", "<", ">", "e", "o", "s")]
    return vocabulary("llama", rows, **{"pad": 0, "eos": 1, "bos": 2, "unk": 3, "add_bos": True, **given})


def loaded(given, folder):
    """The tokenizer as transformers loads it from the written folder."""
    gguf_tokenizer.save_tokenizer(given, folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def test_digits_stand_alone_in_the_byte_level_manner(tmp_path):
    """SmolLM2 never saw a digit in one token with anything else, and two line ends before a digit are one token."""
    tokenizer = loaded(bytelevel(), tmp_path)
    assert tokenizer.tokenize("ab\n\n1 12") == ["ab", "ĊĊ", "1", "Ġ", "1", "2"]


def test_special_tokens_are_the_file_s_own(tmp_path):
    """The end token is the one whose id the file names, and special tokens are neither cut nor printed."""
    tokenizer = loaded(bytelevel(), tmp_path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|im_start|>", "<|im_end|>", None)
    ids = tokenizer.encode("<|im_start|>ab<|im_end|>")
    assert (ids[0], ids[-1]) == (0, 1)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ab"
    assert tokenizer.model_max_length == 64


@pytest.mark.parametrize("text", ["a  b\tc", "naïve 日本 🙂", " x ", "1,234.50\n\n#### 5", "▁"])
def test_bytes_come_back_as_they_went_in(tmp_path, text):
    """A byte-level tokenizer loses nothing."""
    tokenizer = loaded(bytelevel(), tmp_path)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_merges_follow_the_order_of_ids_where_the_file_lists_none(tmp_path):
    """`bc` has a lower id than `ab` and is merged first, so that no `ab` is left."""
    tokenizer = loaded(sentencepiece(), tmp_path)
    assert tokenizer.tokenize("abc") == ["a", "bc"]
    assert tokenizer.tokenize("ab") == ["ab"]


def test_spaces_are_marked_and_unknown_letters_become_bytes(tmp_path):
    """Runs of spaces are one token although the file spells them as spaces; é is its two bytes."""
    tokenizer = loaded(sentencepiece(), tmp_path)
    assert tokenizer.tokenize("b  b é") == ["b", "▁▁", "b", "▁", "<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("b  b é", add_special_tokens=False)) == "b  b é"


def test_bos_is_added_where_the_file_says_so(tmp_path):
    """`add_bos_token` of the file decides, once and at the front."""
    assert loaded(sentencepiece(), tmp_path).encode("a")[0] == 2
    assert loaded(sentencepiece(add_bos=False), tmp_path).encode("a")[0] != 2


def test_control_tokens_are_whole_and_byte_tokens_are_not_text(tmp_path):
    """`<eos>` in a text is the token, and `<0x41>` in a text is no byte."""
    tokenizer = loaded(sentencepiece(), tmp_path)
    assert tokenizer.tokenize("a<eos>\n\na") == ["a", "<eos>", "\n\n", "a"]


@pytest.mark.parametrize("template", ["{{ messages }}", None])
def test_the_template_lies_beside_the_tokenizer(tmp_path, template):
    """A model with a template has it after loading, a base model has none."""
    assert loaded(bytelevel(chat_template=template), tmp_path).chat_template == template


def test_the_same_vocabulary_gives_the_same_bytes(tmp_path):
    """Nothing of the machine or the library's version is in the files."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        gguf_tokenizer.save_tokenizer(sentencepiece(), tmp_path / name)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "transformers" not in json.dumps(json.loads((tmp_path / "one" / "tokenizer_config.json").read_text()))


@pytest.mark.parametrize(("model", "pre"), [("gpt2", "qwen2"), ("t5", "default"), ("", "default")])
def test_an_unknown_kind_is_refused(tmp_path, model, pre):
    """A tokenizer whose splitting rules are not known here is not guessed at."""
    with pytest.raises(BenchError, match="no rules for the GGUF tokenizer"):
        gguf_tokenizer.save_tokenizer(vocabulary(model, BYTES, pre=pre), tmp_path)
