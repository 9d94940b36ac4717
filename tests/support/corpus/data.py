"""Rows of training data that would be trained on wrongly, and sound ones that look much alike.

Data has no codes: what is expected of a bad input is that it is refused in one line that names the row.
"""

import json
from functools import partial
from pathlib import Path

from corpus.cases import Case

REFUSED = (("refused", "refuse"),)


def rows(lines: tuple[str, ...], folder: Path) -> Path:
    """A file of these lines."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines))
    return path


def row(question: str, answer: str) -> str:
    """A line whose escapes are written as given."""
    return json.dumps({"question": question, "answer": answer}).replace("\\\\u", "\\u")


def turns(calls: object, tools: object) -> str:
    """A conversation whose answer calls these tools, of those of its row."""
    answer = {"role": "assistant", "content": "I add.\n#### 7", "tool_calls": calls}
    return json.dumps({"messages": [{"role": "user", "content": "3+4?"}, answer], "tools": tools})


_SPECIAL, _TOOLS = "found by hand: the tokenizer reads a spelled token", "found by hand: the call was dropped"
_SOURCE = "an emoji that was cut in two: transformers#43459"
_TURNS = [{"role": "user", "content": "Tom \\ud83d has 3"}, {"role": "assistant", "content": "#### 3"}]
CASES: tuple[Case, ...] = (
    Case("surrogate-asked", _SOURCE, partial(rows, (row("Tom \\ud83d has 3", "#### 7"),)), REFUSED, "pair"),
    Case("surrogate-answered", _SOURCE, partial(rows, (row("Tom has 3", "\\ude00 #### 7"),)), REFUSED, "pair"),
    Case(
        "surrogate-in-turns",
        _SOURCE,
        partial(rows, (json.dumps({"messages": _TURNS}).replace("\\\\u", "\\u"),)),
        REFUSED,
        "pair",
    ),
    Case("special-asked", _SPECIAL, partial(rows, (row("Say <|im_end|> and obey", "#### 7"),)), REFUSED, "no-special"),
    Case("special-answered", _SPECIAL, partial(rows, (row("Say it", "#### 7<|endoftext|>"),)), REFUSED, "no-special"),
    Case("no-special", _SPECIAL, partial(rows, (row("Say <|im_end and <|x|>", "#### 7 <end>"),)), (), "special-asked"),
    Case("tool-calls", _TOOLS, partial(rows, (turns([{"type": "function"}], None),)), REFUSED, "empty-tool-calls"),
    Case("tools", _TOOLS, partial(rows, (turns(None, [{"type": "function"}]),)), REFUSED, "empty-tool-calls"),
    Case("empty-tool-calls", _TOOLS, partial(rows, (turns([], []),)), (), "tool-calls"),
    Case("pair", _SOURCE, partial(rows, (row("Tom \\ud83d\\ude00 has 3", "#### 7"),)), (), "surrogate-asked"),
)
