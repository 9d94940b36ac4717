"""The real vLLM finds given solutions as likely as transformers does, and no answer changes because it was asked."""

import importlib
import sys
from pathlib import Path

import pytest
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Request, Sampling, TrainingExample

sys.path.append(str(Path(__file__).parent.parent))
tiny = importlib.import_module("tiny")

# Nats a token; float32 sums in another order, over two layers.
NEAR = 1e-4
# More than are in flight at once, with a beginning in common that is longer than a block of the prefix cache.
SHOT = tuple((5 * i * i + 3) % 500 + 5 for i in range(150))
ROWS = [
    TrainingExample(f"q{i}", (*SHOT, *((7 * k * k + i) % 500 + 5 for k in range(9 + i % 40))), len(SHOT) + 3 + i % 5)
    for i in range(70)
]
ASKED = [Request(row.id, row.token_ids[: row.start]) for row in ROWS[:8]]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    """A tiny Llama."""
    folder = tiny.build(tmp_path_factory.mktemp("models") / "plain", "plain")
    return Model("tiny", "folder", None, folder, None, None)


def loaded(name, model, **options):
    """A generator in float32."""
    engine = plugins.load_engine(name)
    return engine.load(model, engine.Options(dtype="float32", **options))


def answers(generator) -> dict[str, tuple[int, ...]]:
    """Greedy token ids by question."""
    return {name: answer.token_ids for name, answer in generator.complete(ASKED, Sampling(16), ())}


def test_solutions_are_as_likely_as_transformers_finds_them_and_answers_stay(model):
    """Every token of 70 rows within the bound; eight answers before and after are equal, prefix cache on."""
    plain = dict(loaded("transformers", model, device="cpu").logprobs(ROWS))
    generator = loaded("vllm", model, context=512, kv_gib=1, in_process=True)
    try:
        before = answers(generator)
        found = dict(generator.logprobs(ROWS))
        assert answers(generator) == before
    finally:
        generator.close()
    assert generator.settings["prefix_caching"] is True
    assert generator.settings["batch_invariant"] is False
    assert {name: len(measured.logprobs) for name, measured in found.items()} == {
        row.id: len(row.token_ids) - row.start for row in ROWS
    }
    apart = max(abs(a - b) for row in ROWS for a, b in zip(found[row.id].logprobs, plain[row.id].logprobs, strict=True))
    assert apart < NEAR, apart


def test_batch_invariance_is_refused_where_no_kernel_honours_it(model):
    """A CPU build would take the switch and say nothing."""
    with pytest.raises(BenchError, match="does not honour it"):
        loaded("vllm", model, batch_invariant=True)


def test_solutions_are_measured_on_a_cpu_where_that_is_asked_for():
    """A pass over every prompt takes long there."""
    engine = plugins.load_engine("vllm")
    measured = [engine.measures(engine.Options(solutions=asked)) for asked in (None, True, False)]
    assert measured == [False, True, False]


def test_batch_invariance_turns_prefix_caching_off():
    """By itself, and not against what was asked."""
    options = plugins.load_engine("vllm").Options
    assert options(batch_invariant=True).caching is False
    assert options().caching is options(prefix_caching=True).caching is True
    with pytest.raises(ValueError, match="exclude each other"):
        options(batch_invariant=True, prefix_caching=True)
