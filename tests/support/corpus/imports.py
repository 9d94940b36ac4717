"""Logs of lm-eval that are damaged or of another run, and sound ones of every version that look much alike.

A log has no codes: what is not whole is refused in one line, and leaves nothing on the board.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import samples
from announced import unannounced
from baseline_bench.results import foreign
from baseline_bench.results.bits import hex_to_bits

from corpus.cases import REFUSED, Case, Check, Found, Run, finds

Change = Callable[[str], str]
# Four items under two filters, as lm-eval 0.4.2 wrote them: no filter is named, one's items follow the other's.
_RIGHT = {"strict-match": (1.0, 0.0, 0.0, 1.0), "flexible-extract": (1.0, 0.0, 1.0, 1.0)}
_RESULTS = {
    "results": {"sums": {f"exact_match,{name}": sum(right) / 4 for name, right in _RIGHT.items()}},
    "date": 1716000000.12,
    "config": {"model": "hf", "model_args": "pretrained=x"},
}
_WORDS = ("import", "lm-eval", "results.json", "--samples", "samples.jsonl", "--metric", "exact_match,flexible-extract")


def look(folder: Path, run: Run) -> list[Found]:
    """Import the log to a board of one row; its items are those that the second filter read right."""
    board = folder / "leaderboards" / "gsm8k"
    samples.add(board)
    status, _, err = run(folder, *_WORDS)
    records = foreign.read_records(board)
    assert (len(unannounced(err)), len(records)) == (1, 1 - status)
    if status == 1:
        return list(REFUSED)
    right = hex_to_bits(records[0].correct, records[0].items)
    return [] if right == tuple(map(bool, _RIGHT["flexible-extract"])) else [("other-items", "fault")]


def _kept(text: str) -> str:
    return text


def _lines(*, named: bool) -> str:
    lines = [
        {"doc_id": number, "doc": {"question": "a"}, "exact_match": score} | ({"filter": name} if named else {})
        for name, right in _RIGHT.items()
        for number, score in enumerate(right)
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _written(results: Change, lines: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(results(json.dumps(_RESULTS)))
    (folder / "samples.jsonl").write_text(lines)
    return folder


class _Anything:
    """A bound that no number exceeds, NaN included."""

    def __ge__(self, other: object) -> bool:
        return True


def _parse(data: bytes, *_: object, **__: object) -> Any:
    return json.loads(data.decode())


def _split_everywhere(data: bytes) -> Any:
    return ((number, line.encode()) for number, line in enumerate(data.decode().splitlines(), 1))


_IMPORT = "commands.import_lm_eval:"
_JSON = Check(_IMPORT + "parse_json", _parse)
_SCORE = Check(_IMPORT + "_SCORE_TOLERANCE", _Anything())
_DATE = Check(_IMPORT + "_LATEST_TIME", float("inf"))
_FILE = Check(_IMPORT + "_parse_results", _parse)
_LOGS = "interop.sample_logs:"
_LINE_JSON = Check(_LOGS + "parse_json", _parse)
_LINES = finds(_LOGS + "_are_lm_eval_samples", True)
_CHOSEN = Check(_LOGS + "_choose_measure", lambda measures, *_: measures[-1])
_BIT = finds(_LOGS + "_parse_score", True)
_BY_NAME, _BY_ORDER = _lines(named=True), _lines(named=False)
_HALF = "".join(_BY_ORDER.splitlines(keepends=True)[:6])
_OLD, _HAND = "lm-evaluation-harness 0.4.2 named no filters", "found by hand"


def _bad(name: str, results: Change, lines: str, twin: str, *checks: Check, source: str = _HAND, **more: Any) -> Case:
    return Case(name, source, partial(_written, results, lines), REFUSED, twin, checks, **more)


def _sound(name: str, results: Change, lines: str, twin: str, *checks: Check, source: str = _HAND, **more: Any) -> Case:
    return Case(name, source, partial(_written, results, lines), (), twin, checks, **more)


def _swapped(old: str, new: str) -> Change:
    return lambda text: text.replace(old, new)


CASES = (
    _bad("a score that is no number", _swapped("0.75", "NaN"), _BY_NAME, "filters by name", _JSON, _SCORE,
         source="abs(x - nan) > limit is False"),
    _bad("a score as a text", _swapped("0.75", '"N/A"'), _BY_NAME, "filters by name",
         kept="a number is asked for in the expression that compares it"),
    _bad("the other filter's score", _swapped("0.75", "0.5"), _BY_ORDER, "filters by order", _SCORE, source=_OLD),
    _bad("another run's samples", _kept, _BY_NAME.replace("1.0", "0.0"), "filters by name", _SCORE),
    _bad("half a score", _kept, _BY_NAME.replace("1.0", "0.5"), "filters by name", _BIT, _SCORE),
    _bad("a date beyond all years", _swapped("1716000000.12", "1e300"), _BY_NAME, "filters by name", _DATE,
         then=OverflowError),
    _bad("no date", _swapped('"date"', '"day"'), _BY_NAME, "filters by name", _FILE, then=KeyError),
    _bad("no scores", _swapped('"results"', '"scores"'), _BY_NAME, "filters by name", _FILE, then=KeyError),
    _bad("a list of scores", lambda text: f"[{text}]", _BY_NAME, "filters by name", _FILE, then=TypeError),
    _bad("deeply nested", lambda _: "[" * 100_000, _BY_NAME, "filters by name", _FILE, then=RecursionError),
    _bad("no numbers of items", _kept, _BY_NAME.replace("doc_id", "id"), "filters by name", _LINES, then=KeyError),
    _bad("an item beyond all numbers", _kept, _BY_NAME.replace('"doc_id": 0', '"doc_id": 1e999'), "filters by name",
         _LINES, _LINE_JSON, then=ValueError),
    _bad("an item twice", _kept, _BY_NAME.replace('"doc_id": 1', '"doc_id": 0'), "filters by name",
         kept="items are kept by their numbers: one of two would be lost without it"),
    _bad("no score of an item", _kept, _BY_NAME.replace("exact_match", "acc"), "filters by name", _CHOSEN, _SCORE),
    _bad("half a line", _kept, _BY_NAME[:-20], "separators in a text", _LINE_JSON, then=json.JSONDecodeError),
    _bad("half a filter", _kept, _HALF, "one filter without its name", source=_OLD,
         kept="a filter without an item is found where its items are counted"),
    _sound("filters by name", _kept, _BY_NAME, "a score that is no number"),
    _sound("filters by order", _kept, _BY_ORDER, "the other filter's score", source=_OLD),
    _sound("one filter without its name", _kept, "".join(_BY_ORDER.splitlines(keepends=True)[4:]), "half a filter",
           source=_OLD),
    _sound("separators in a text", _kept, _BY_NAME.replace('"a"', '"\u2028\u0085"'), "half a line",
           Check(_LOGS + "split_lines", _split_everywhere), source="str.splitlines splits at U+2028 and U+0085"),
    _sound("a byte order mark", lambda text: f"\ufeff{text}", _BY_NAME, "deeply nested", _JSON,
           source="Windows", then=json.JSONDecodeError),
)  # fmt: skip
