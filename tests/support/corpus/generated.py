"""Models whose every answer is known and wrong in itself, and one that writes a word and ends.

The layers add nothing, so that a token alone decides about the next one.
"""

import json
from functools import partial
from pathlib import Path

import tiny
import torch
from baseline_bench.models.weights import SINGLE_FILE
from safetensors.torch import load_file, save_file

from corpus.asking import diagnose
from corpus.cases import Case, Found, Run, finds

TASK = '''"""Sums, in four tokens."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums@v1", Sampling(max_tokens=4)
def problems(split):
    return [Problem("test-1", "What is 1+3?", "4", "#### 4")]
def messages(problem):
    return (Message("user", problem.question),)
'''


def look(model: Path, run: Run) -> list[Found]:
    """What doctor finds in one answer."""
    (model.parent / "sums.py").write_text(TASK)
    engine = ("--engine", "transformers", "-o", "dtype=float32")
    return diagnose(model, run, "--task", "./sums.py", "--answers", "1", *engine)


def _writes(first: str, second: str, folder: Path) -> Path:
    """A model that writes the first token after any other, and after the first one the second."""
    file = tiny.build(folder / "model", "plain") / SINGLE_FILE
    ids = json.loads((file.parent / "tokenizer.json").read_text())["model"]["vocab"]
    tensors = load_file(file)
    for name in tensors:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensors[name].zero_()
    embedding, head = torch.zeros(tiny.VOCABULARY, 128), tensors["lm_head.weight"] * 0.01
    embedding[:, 0] = 1
    embedding[ids[first]] = torch.eye(128)[1]
    head[ids[first], 0] = head[ids[second], 1] = 1
    save_file(tensors | {"model.embed_tokens.weight": embedding, "lm_head.weight": head}, file, {"format": "pt"})
    return file.parent


_ENDLESS, _SPECIAL = ("answers-endless", "warn"), ("answers-special-tokens", "warn")
CASES = (
    Case("never ends", "padding that is the end of a turn", partial(_writes, "a", "b"), (_ENDLESS,), "ends"),
    Case(
        "special tokens inside an answer",
        "a token that ends turns is not among the stop ids",
        partial(_writes, "<s>", "a"),
        (_ENDLESS, _SPECIAL),
        "ends",
    ),
    Case(
        "ends at once",
        "a prompt that ends with an odd token",
        partial(_writes, "</s>", "a"),
        (("answers-empty", "warn"),),
        "ends",
        (finds("commands.doctor:_find_strange_answers"),),
    ),
    Case("ends", "found by hand", partial(_writes, "a", "</s>"), (), "never ends"),
)
