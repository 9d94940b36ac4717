"""The vllm engine without vLLM's own engine: what its end looks like, and which options exclude each other."""

import json
import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import tiny
import torch
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.types import Model, Request, Sampling, TrainingExample
from baseline_bench.engines import _vllm_engine
from baseline_bench.models import weights
from safetensors.torch import load_file, save_file
from vllm.v1.engine.exceptions import EngineDeadError


class Dead:
    """vLLM as far as `complete` and `logprobs` look at it, whose process ends at the first step."""

    model_config = None

    def __init__(self) -> None:
        self.llm_engine = self.model_config = self
        self.asked = []

    def get_vocab_size(self) -> int:
        """For the memory of the logits."""
        return 1

    def add_request(self, name, prompt, params, lora_request=None) -> None:
        """Note it."""
        self.asked.append(name)

    def has_unfinished_requests(self) -> bool:
        """Always."""
        return True

    def step(self):
        """The end."""
        raise EngineDeadError


class Measured:
    """vLLM as far as `require_finite` looks at it: it generates token 0 with the given log-probabilities."""

    def __init__(self, *logprobs: float) -> None:
        self.llm_engine = self.engine_core = self
        self.logprobs, self.waiting, self.ended = logprobs, [], False

    def add_request(self, name, prompt, params, lora_request=None) -> None:
        """Queue it."""
        self.waiting.append(name)

    def has_unfinished_requests(self) -> bool:
        """Whether one is queued."""
        return bool(self.waiting)

    def step(self):
        """Answer one."""
        logprobs = [{0: SimpleNamespace(logprob=value)} for value in self.logprobs]
        answer = SimpleNamespace(token_ids=[0] * len(logprobs), logprobs=logprobs)
        return [SimpleNamespace(request_id=self.waiting.pop(), finished=True, outputs=[answer])]

    def shutdown(self) -> None:
        """Note it."""
        self.ended = True


@pytest.mark.parametrize(
    ("logprobs", "finite"), [((-1.0, -2.0), True), ((-1.0, math.nan), False), ((-math.inf, -1.0), False)]
)
def test_a_model_that_computes_nan_is_refused(logprobs, finite):
    """Before it answers, and its engine is ended."""
    engine = Measured(*logprobs)
    loaded = _vllm_engine.VllmGenerator(engine, lambda text: {"input_ids": [1, 2]}, {"context": 100}, None)
    with nullcontext() if finite else pytest.raises(NotFiniteError):
        loaded.require_finite()
    assert engine.ended is not finite


def test_vllm_does_not_start_on_weights_that_give_nan(tmp_path):
    """The norm before the head holds NaN, and so does every logit."""
    folder = tiny.build(tmp_path / "model")
    tensors = load_file(folder / weights.SINGLE_FILE)
    tensors["model.norm.weight"].fill_(math.nan)
    save_file(tensors, folder / weights.SINGLE_FILE, {"format": "pt"})
    engine = plugins.load_engine("vllm")
    with pytest.raises(NotFiniteError):
        engine.load(
            Model("nan", "folder", None, folder, None, None), engine.Options(context=512, kv_gib=1, in_process=True)
        )


@pytest.mark.parametrize("poisoned", [True, False])
def test_nan_that_begins_within_an_answer_is_refused_where_vllm_counts_it(poisoned, tmp_path, monkeypatch):
    """The embedding of a token that the model generates holds it: neither the prompt nor the start does."""
    folder = tiny.build(tmp_path / "model")
    token, prompts = 290, [Request("a", (17, 52, 103))]
    tensors = load_file(folder / weights.SINGLE_FILE)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    tensors["model.embed_tokens.weight"][token].fill_(math.nan if poisoned else 0.0)
    save_file(tensors, folder / weights.SINGLE_FILE, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    monkeypatch.setenv("VLLM_COMPUTE_NANS_IN_LOGITS", "1")
    engine = plugins.load_engine("vllm")
    loaded = engine.load(
        Model("late", "folder", None, folder, None, None), engine.Options(context=512, kv_gib=1, in_process=True)
    )
    with pytest.raises(NotFiniteError) if poisoned else nullcontext():
        ((_, answer),) = loaded.complete(prompts, Sampling(8), ())
        assert answer.token_ids[0] == token


@pytest.fixture
def generator():
    """Loaded, as it seems."""
    return _vllm_engine.VllmGenerator(Dead(), None, {"context": 100}, None)


def test_vllm_that_ends_while_it_generates_is_one_clear_line(generator):
    """What happened, where the reason is, and that the same command goes on."""
    with pytest.raises(BenchError, match=r"ended while it generated: its log .*; finished answers are kept"):
        list(generator.complete([Request("a", (1, 2))], Sampling(4), ()))


def test_vllm_that_ends_while_it_measures_is_one_clear_line(generator):
    """The row can stand without."""
    with pytest.raises(BenchError, match="ended while it measured"):
        list(generator.logprobs([TrainingExample("a", (1, 2), 1)]))


def test_invariant_batches_need_a_process_of_their_own():
    """The switch is read again at every step, and in this process it is taken back once the engine is there."""
    options = plugins.load_engine("vllm").Options
    with pytest.raises(ValueError, match="in_process=true exclude each other"):
        options(batch_invariant=True, in_process=True)


def test_an_engine_takes_as_many_gpus_as_share_its_weights():
    """More engines are started where more GPUs are."""
    engine = plugins.load_engine("vllm")
    assert [engine.gpus(engine.Options()), engine.gpus(engine.Options(tensor_parallel=4))] == [1, 4]


@pytest.mark.parametrize("full", [torch.OutOfMemoryError("CUDA out of memory"), EngineDeadError()])
def test_a_gpu_that_is_full_is_one_clear_line_wherever_vllm_schedules(generator, monkeypatch, full):
    """In vLLM's own process its end is all that is seen, in ours the error itself."""

    def step():
        raise full

    monkeypatch.setattr(generator._engine, "step", step)
    with pytest.raises(BenchError, match=r"ran out of memory while vLLM generated|ended while it generated"):
        list(generator.complete([Request("a", (1, 2))], Sampling(4), ()))
