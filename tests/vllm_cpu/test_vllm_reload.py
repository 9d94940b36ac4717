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


def warm(models, lines, in_process) -> EnginePool:
    """An engine in float32 over both, with a reference for each; vLLM's worker is this process or another one."""
    found = reload_reference.measure_references([model.folder for model in models], SEQUENCES, "float32")
    engine = plugins.load_engine("vllm")
    options = engine.Options(dtype="float32", context=512, kv_gib=1, in_process=in_process)
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
    engine = warm(models, lines, in_process=True)
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


def test_a_head_of_its_own_is_reloaded_and_proved(tmp_path, lines):
    """The running engine takes the new weights and nothing of the prefix cache survives."""
    models = build(tmp_path, "plain")
    engine = warm(models, lines, in_process=False)
    try:
        first, _ = engine.load(models[0])
        assert answers(first) == own_answers(models[0])
        second, how = engine.load(models[1])
        assert second is first
        assert (how.path, how.load, how.found.agree_new) == ("reloaded", None, 1.0)
        assert how.found.to_new < 1e-4 < how.found.to_old
        assert answers(second) == own_answers(models[1]) != own_answers(models[0])
        assert lines == []
    finally:
        engine.close()


def test_recorded_steps_of_old_weights_refuse_a_reload(tmp_path, monkeypatch):
    """A CPU records no steps: a setting says that it does, and stale ones are what other weights sampled."""
    models = build(tmp_path, "plain")
    engine = plugins.load_engine("vllm")
    generator = engine.load(models[0], engine.Options(dtype="float32", context=512, kv_gib=1, in_process=True))
    try:
        generator.settings["cuda_graphs"] = True
        assert generator.drift() < 1e-4
        generator.reload(models[1])
        prompts = [[5 + number, 80, 9, 33, 200] for number in range(4)]
        stale = _vllm_cuda_graphs.sample_tokens(generator._engine.llm_engine, prompts)
        assert [len(ids) for ids, _ in stale] == [5 + _vllm_cuda_graphs.SAMPLED_TOKENS] * 4

        generator.settings["cuda_graphs"] = False
        generator.reload(models[0])
        monkeypatch.setattr(_vllm_cuda_graphs, "sample_tokens", lambda _core, _prompts: stale)
        assert generator.drift() > 0.1
        generator.reload(models[1])  # whose own samples these are
        generator.settings["cuda_graphs"] = True
        with pytest.raises(BenchError, match="recorded steps"):
            generator.reload(models[0])
    finally:
        generator.close()
