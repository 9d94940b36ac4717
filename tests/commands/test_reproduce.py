"""commands.reproduce: where an entry's weights are looked for, and where two answers part."""

from dataclasses import replace

import pytest
from baseline_bench.commands import reproduce
from baseline_bench.core.errors import BenchError
from baseline_bench.results import entries
from paths import ROOT

BOARD = ROOT / "leaderboards" / "gsm8k"


def test_weights_are_looked_for_where_the_entry_says_they_come_from():
    """A listed name, a commit of the hub; a training's weights have no public name, and the way out is told."""
    source = next(iter(sorted(BOARD.glob("2026-11-22-smollm2-135m-it-q4_1-full-main-s0-*.json"))))
    entry = entries.read_entry(source)
    with pytest.raises(BenchError, match=r"have no public name: give --model"):
        reproduce._find_public_name(entry)
    listed = replace(entry.result.model, name="smollm2-135m-it-q4_1")
    assert reproduce._find_public_name(replace(entry, result=replace(entry.result, model=listed))) == listed.name
    hub = replace(listed, name="mine", source="hub:org/name", revision="abc")
    assert reproduce._find_public_name(replace(entry, result=replace(entry.result, model=hub))) == "org/name@abc"


def test_the_engine_is_asked_for_what_the_entry_had():
    """Every setting that the engine takes, then what the command line says instead; an adapter has to be given."""
    source = next(iter(sorted(BOARD.glob("2026-11-22-smollm2-135m-it-q4_1-bf66*.json"))))
    entry = entries.read_entry(source)
    assert entry.result.engine.name == "transformers"
    words = reproduce._combine_engine_options(entry, ["batch_size=7"])
    assert words[-1] == "batch_size=7"
    assert {"dtype=bfloat16", "device=cpu"} <= set(words)
    assert not any(word.startswith("attention") for word in words)
    engine = replace(entry.result.engine, settings={**entry.result.engine.settings, "adapter": "0" * 64})
    with pytest.raises(BenchError, match=r"give -o adapter=FOLDER"):
        reproduce._combine_engine_options(replace(entry, result=replace(entry.result, engine=engine)), [])


def test_an_option_that_came_later_is_what_it_then_was_without_a_name(monkeypatch):
    """Today's default is another one; what the entry names, and then the command line, win."""
    from baseline_bench.engines import vllm  # what it tells of itself, without vLLM

    monkeypatch.setattr(reproduce.plugins, "load_engine", {"vllm": vllm}.__getitem__)
    entry = entries.read_entry(next(iter(sorted(BOARD.glob("2026-11-22-smollm2-135m-it-q4_1-full-main-s0-*.json")))))
    assert not {"cuda_graphs", "in_process"} & set(entry.result.engine.settings)
    words = reproduce._combine_engine_options(entry, [])
    assert {"cuda_graphs=false", "in_process=false", "eager=true"} <= set(words)
    engine = replace(entry.result.engine, settings={**entry.result.engine.settings, "cuda_graphs": True})
    words = reproduce._combine_engine_options(
        replace(entry, result=replace(entry.result, engine=engine)), ["in_process=true"]
    )
    assert {"cuda_graphs=true", "in_process=false"} <= set(words)
    assert words[-1] == "in_process=true"


def test_where_two_answers_part_is_read_off_their_texts():
    """The first token that leaves the other text; the last one for an answer that only ends earlier; None for none."""
    say = lambda ids: bytes(ids).decode(errors="replace")  # noqa: E731 - one decoder for all three lines
    assert reproduce.find_divergence(say, list(b"12 eggs"), "12 apples") == 4
    assert reproduce.find_divergence(say, list(b"12"), "12 apples") == 2
    assert reproduce.find_divergence(say, list("é!".encode()), "é?") == 3
    assert reproduce.find_divergence(say, list(b"12"), "12") is None
