"""Hostile files and servers end in one line within limits; their sound twins are scored and imported."""

import json
import os
from pathlib import Path

import fuzzers
import pytest
import samples
from baseline_bench.cli import main
from baseline_bench.core import bounded
from baseline_bench.results import foreign
from baseline_bench.results.bits import hex_to_bits
from corpus import hostile
from corpus.cases import Case
from tiny_study import bench

BY_NAME = {case.name: case for case in hostile.CASES}


@pytest.mark.parametrize("case", hostile.CASES, ids=lambda case: case.name)
def test_a_hostile_model_is_refused_in_one_line(case: Case, tmp_path, capfd, monkeypatch):
    """Exit 1 and no row; of the sound twin a row. Nothing that a terminal would obey is printed."""
    monkeypatch.setattr(bounded, "SECONDS", 0.3)
    monkeypatch.setattr(bounded, "MEMORY", 2**27)
    candidate = case.build(tmp_path / "candidate")
    capfd.readouterr()
    base = candidate.parent / "base"
    words = ("score", candidate, "--task", "word-problems", "--limit", "2", "--engine", "scripted")
    status = bench(tmp_path, *words, *(("--base", base) if base.is_dir() else ()))
    printed = capfd.readouterr()
    for line in (printed.out + printed.err).splitlines():
        fuzzers.require_harmless(line)
    assert status == (1 if case.expected else 0), printed.err
    assert bool(list(tmp_path.glob("leaderboards/*/*.json"))) != bool(case.expected)
    assert not case.expected or printed.err.splitlines()[-1].startswith("bench: ")


@pytest.mark.parametrize("case", [case for case in hostile.CASES if case.expected], ids=lambda case: case.name)
def test_every_hostile_input_has_a_sound_twin(case: Case):
    """The twin is in the corpus and is scored."""
    assert BY_NAME[case.twin].expected == ()


# Four items under two filters, as lm-eval 0.4.2 wrote them: no filter is named, one's items follow the other's.
_RIGHT = {"strict-match": (1.0, 0.0, 0.0, 1.0), "flexible-extract": (1.0, 0.0, 1.0, 1.0)}
_RESULTS = {
    "results": {"sums": {f"exact_match,{name}": sum(right) / 4 for name, right in _RIGHT.items()}},
    "date": 1716000000.12,
    "config": {"model": "hf", "model_args": "pretrained=x"},
}


def _lines(named: bool) -> str:
    lines = [
        {"doc_id": number, "doc": {"question": "a"}, "exact_match": score} | ({"filter": name} if named else {})
        for name, right in _RIGHT.items()
        for number, score in enumerate(right)
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _kept(text: str) -> str:
    return text


IMPORTS = {
    "filters by name": (_kept, _lines(True), 0),
    "filters by order": (_kept, _lines(False), 0),
    "one filter without its name": (_kept, "".join(_lines(False).splitlines(keepends=True)[4:]), 0),
    "separators in a text": (_kept, _lines(True).replace('"a"', '"\u2028\u0085"'), 0),
    "a byte order mark": (lambda text: f"\ufeff{text}", _lines(True), 0),
    "a score that is no number": (lambda text: text.replace("0.75", "NaN"), _lines(True), 1),
    "a score as a text": (lambda text: text.replace("0.75", '"N/A"'), _lines(True), 1),
    "a date beyond all years": (lambda text: text.replace("1716000000.12", "1e300"), _lines(True), 1),
    "the other filter's score": (lambda text: text.replace("0.75", "0.5"), _lines(False), 1),
    "deeply nested": (lambda _: "[" * 100_000, _lines(True), 1),
    "an item beyond all numbers": (_kept, _lines(True).replace('"doc_id": 0', '"doc_id": 1e999'), 1),
    "half a line": (_kept, _lines(True)[:-20], 1),
    "half a filter": (_kept, "".join(_lines(False).splitlines(keepends=True)[:6]), 1),
}


@pytest.mark.parametrize(("change", "lines", "status"), IMPORTS.values(), ids=IMPORTS.keys())
def test_logs_of_lm_eval_are_imported_or_refused_in_one_line(change, lines, status, tmp_path, capfd, monkeypatch):
    """Valid files of every version are imported with the right items; the others leave nothing."""
    monkeypatch.chdir(tmp_path)
    samples.add(tmp_path / "leaderboards" / "gsm8k")
    Path("results.json").write_text(change(json.dumps(_RESULTS)))
    Path("samples.jsonl").write_text(lines)
    words = ["import", "lm-eval", "results.json", "--samples", "samples.jsonl"]
    assert main([*words, "--metric", "exact_match,flexible-extract"]) == status
    assert len(capfd.readouterr().err.splitlines()) == 1
    records = foreign.read_records(tmp_path / "leaderboards" / "gsm8k")
    assert [hex_to_bits(record.correct, 4) for record in records] == [(True, False, True, True)] * (1 - status)


@pytest.mark.parametrize("words", ["grade --cases", "import lm-eval", "show recipe"])
def test_a_pipe_is_no_file_of_data(words, tmp_path, capfd):
    """Commands that read a named file do not wait for a writer."""
    pipe = tmp_path / "rows.toml"
    os.mkfifo(pipe)
    assert main([*words.split(), str(pipe)]) == 1
    assert len(capfd.readouterr().err.splitlines()) == 1
