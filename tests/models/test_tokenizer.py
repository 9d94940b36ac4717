"""models.tokenizer: text is split as the model's own file says, whatever class transformers chooses."""

import json

import pytest
import tiny
from baseline_bench.core.types import Model
from baseline_bench.models import tokenizer
from tokenizers import Tokenizer

_TEXTS = ("He has 2023 eggs.", "\n\n  1/2 of 20", "20<|im_end|>\n")


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "LlamaTokenizer"])
def test_text_is_split_as_the_file_says(name, tmp_path):
    """GPT-2's class of transformers 5 drops the rule that digits stand alone: other ids, and no word of it."""
    folder = tiny.build(tmp_path / "model")
    file, config = folder / "tokenizer.json", folder / "tokenizer_config.json"
    whole = json.loads(file.read_text())
    vocabulary = whole["model"]["vocab"]
    vocabulary["20"] = vocabulary.pop(whole_last := max(vocabulary, key=vocabulary.get))
    merges = [merge for merge in whole["model"]["merges"] if "".join(merge) != whole_last]
    whole["model"]["merges"] = [*merges, ["2", "0"]]
    file.write_text(json.dumps(whole))
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tokenizer_class": name}))
    loaded = tokenizer.load_tokenizer(Model("tiny", "folder", None, folder, None, None)).tokenizer
    own = Tokenizer.from_file(str(file))
    for text in _TEXTS:
        assert loaded.encode(text, add_special_tokens=False) == own.encode(text, add_special_tokens=False).ids
    assert (loaded.eos_token, loaded.chat_template is None) == ("<|im_end|>", False)
