"""The CPU build of vLLM reloads all weights but a tied head's packed copy, and the proof tells the two cases apart."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Request, Sampling
from baseline_bench.engines import _vllm_cuda_graphs
from baseline_bench.evaluation import reload_reference
from baseline_bench.evaluation.engine_pool import EnginePool
from baseline_bench.evaluation.plan import ResolvedEngine
from baseline_bench.models import weights

sys.path.append(str(Path(__file__).parent.parent))
tiny = importlib.import_module("tiny")

SEQUENCES = [[(7 * i * i + 31 * s + 11) % 500 + 5 for i in range(80)] for s in range(4)]
# Longer than a block of the prefix cache and alike at the start, so that answers from old keys would be seen.
ASKED = [Request(f"q{s}", tuple([(5 * i * i + 3) % 500 + 5 for i in range(300)] + [s + 9, s + 30])) for s in range(4)]


@pytest.fixture
def lines():
    """What the user was told."""
    return []


def build(folder, manner) -> list[Model]:
    """Two models of one shape; "chatml" ties its head to its embedding, "plain" does not."""
    folders = [tiny.build(folder / f"{manner}{seed}", manner, seed) for seed in (0, 1)]
    return [Model(f.name, "folder", None, f, None, weights.digest_weights(f)) for f in folders]


def warm(models, lines) -> EnginePool:
    """An engine in float32 over both, with a reference for each."""
    found = reload_reference.measure_references([model.folder for model in models], SEQUENCES, "float32")
    engine = plugins.load_engine("vllm")
    options = engine.Options(dtype="float32", context=512, kv_gib=1)
    pool = EnginePool(ResolvedEngine("vllm", engine, options), SimpleNamespace(say=lines.append, warn=lines.append))
    pool.references = {model.weights_sha256: one for model, one in zip(models, found, strict=True)}
    pool.sequences = SEQUENCES
    return pool


def answers(generator) -> dict[str, tuple[int, ...]]:
    """Greedy token ids by question."""
    return {i: answer.token_ids for i, answer in generator.complete(ASKED, Sampling(16), ())}


def own_answers(model) -> dict[str, tuple[int, ...]]:
    """What the same weights write through transformers."""
    engine = plugins.load_engine("transformers")
    return answers(engine.load(model, engine.Options(dtype="float32", device="cpu")))


def test_a_tied_head_left_behind_costs_a_restart(tmp_path, lines):
    """The plain reload gives neither model, the proof says so, and the engine that starts anew is the new model."""
    models = build(tmp_path, "chatml")
    engine = warm(models, lines)
    try:
        first, how = engine.load(models[0])
        assert how.path == "loaded"
        assert how.noise < 1e-4
        assert answers(first) == own_answers(models[0])
        second, how = engine.load(models[1])
        assert how.path == "restarted"
        assert how.found.to_new > 100 * how.found.bound
        assert how.noise < 1e-4
        assert lines == [f"the engine restarts for chatml1: {how.found.flaw}"]
        assert answers(second) == own_answers(models[1]) != own_answers(models[0])
    finally:
        engine.close()


def test_a_head_of_its_own_is_reloaded_and_proved(tmp_path, lines, monkeypatch):
    """The running engine takes the new weights and nothing of the prefix cache survives.

    A CPU records no steps: that they are held to what is read is shown as if it did, and that stale ones are refused by
    what other weights wrote.
    """
    models = build(tmp_path, "plain")
    engine = warm(models, lines)
    try:
        first, _ = engine.load(models[0])
        assert answers(first) == own_answers(models[0])
        second, how = engine.load(models[1])
        assert second is first
        assert (how.path, how.load, how.found.agree_new) == ("reloaded", None, 1.0)
        assert how.found.to_new < 1e-4 < how.found.to_old
        assert answers(second) == own_answers(models[1]) != own_answers(models[0])
        assert lines == []

        second.settings["cuda_graphs"] = True
        assert second.drift() < 1e-4
        again, how = engine.load(models[0])
        assert (again is second, how.path, lines) == (True, "reloaded", [])
        steps = _vllm_cuda_graphs
        prompts = [[5 + number, 80, 9, 33, 200] for number in range(4)]
        stale = steps.written(again._engine.llm_engine, prompts)
        assert [len(ids) for ids, _ in stale] == [5 + steps.TOKENS] * 4
        again.reload(models[1])
        monkeypatch.setattr(steps, "written", lambda _core, _prompts: stale)
        assert again.drift() > 0.1
        again.settings["cuda_graphs"] = False
        again.reload(models[0])
        again.settings["cuda_graphs"] = True
        with pytest.raises(BenchError, match="recorded steps write"):
            again.reload(models[1])
    finally:
        engine.close()
