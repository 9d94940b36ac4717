"""Rows of training data that no tokenizer takes, and sound ones that look much alike.

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
    Case("pair", _SOURCE, partial(rows, (row("Tom \\ud83d\\ude00 has 3", "#### 7"),)), (), "surrogate-asked"),
)
