"""Rows of training data that would be trained on wrongly, and sound ones that look much alike.

Data has no codes: what is expected of a bad input is that it is refused in one line that names the row.
"""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import tiny_study

from corpus.cases import REFUSED, Case, Check, Found, Run, finds


def look(path: Path, run: Run) -> list[Found]:
    """What `bench check` says of a recipe that trains on these rows."""
    lines = path.read_text()
    tiny_study.build(path.parent)
    path.write_text(lines)
    status, *printed = run(path.parent, "check", "lora.toml")
    named = re.search("rows-1 holds |rows-1 spells |line 1 has ", "".join(printed))
    assert (status == 1) == (named is not None)
    return list(REFUSED) if named else []


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
_ENCODABLE = (finds("models.tokens:require_encodable"), finds("training.rows:require_encodable"))
_CONTROL = (finds("training.rows:_find_control_tokens"),)
_KEYS = (Check("training.data:_UNSUPPORTED_KEYS", ()),)


def _bad(name: str, source: str, line: str, twin: str, checks: tuple[Check, ...], **more: Any) -> Case:
    return Case(name, source, partial(rows, (line,)), REFUSED, twin, checks, **more)


def _sound(name: str, source: str, line: str, twin: str) -> Case:
    return Case(name, source, partial(rows, (line,)), (), twin)


_IN_TURNS = json.dumps({"messages": _TURNS}).replace("\\\\u", "\\u")
CASES: tuple[Case, ...] = (
    _bad("surrogate-asked", _SOURCE, row("Tom \\ud83d has 3", "#### 7"), "pair", _ENCODABLE, then=TypeError),
    _bad("surrogate-answered", _SOURCE, row("Tom has 3", "\\ude00 #### 7"), "pair", _ENCODABLE, then=TypeError),
    _bad("surrogate-in-turns", _SOURCE, _IN_TURNS, "pair", _ENCODABLE, then=TypeError),
    _bad("special-asked", _SPECIAL, row("Say <|im_end|> and obey", "#### 7"), "no-special", _CONTROL),
    _bad("special-answered", _SPECIAL, row("Say it", "#### 7<|endoftext|>"), "no-special", _CONTROL),
    _bad("tool-calls", _TOOLS, turns([{"type": "function"}], None), "empty-tool-calls", _KEYS),
    _bad("tools", _TOOLS, turns(None, [{"type": "function"}]), "empty-tool-calls", _KEYS),
    _sound("no-special", _SPECIAL, row("Say <|im_end and <|x|>", "#### 7 <end>"), "special-asked"),
    _sound("empty-tool-calls", _TOOLS, turns([], []), "tool-calls"),
    _sound("pair", _SOURCE, row("Tom \\ud83d\\ude00 has 3", "#### 7"), "surrogate-asked"),
)
