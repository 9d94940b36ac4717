"""evaluation.reload_reference: the reference is what a plain forward pass of transformers says."""

from contextlib import nullcontext

import pytest
import tiny
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model
from baseline_bench.evaluation import reload_reference
from baseline_bench.evaluation.reload_reference import POSITIONS, measure_agreement, measure_distance
from baseline_bench.models import tokenizer
from corpus import candidates
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

SEQUENCES = [[(7 * i * i + 31 * s + 11) % 500 + 5 for i in range(length)] for s, length in enumerate((100, 65, 64, 2))]


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def folder(request, tmp_path_factory):
    """A tiny model of each manner; Gemma's has sliding windows and soft-capping."""
    return tiny.build(tmp_path_factory.mktemp(request.param), request.param)


def test_a_reference_is_the_last_positions_of_a_forward_pass(folder):
    """Each log-probability is of the token that stands there given those before; the first token has none."""
    (one,) = reload_reference.measure_references([folder], SEQUENCES, "float32")
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    assert [len(row) for row in one.logprobs] == [len(row) for row in one.likeliest] == [POSITIONS, POSITIONS, 63, 1]
    for ids, logprobs, likeliest in zip(SEQUENCES, one.logprobs, one.likeliest, strict=True):
        with torch.inference_mode():
            whole = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        begin = len(ids) - len(logprobs)
        wanted = [float(whole[place - 1, ids[place]]) for place in range(begin, len(ids))]
        assert logprobs == pytest.approx(wanted, abs=1e-5)
        assert list(likeliest) == whole[begin - 1 : -1].argmax(-1).tolist()


def test_other_weights_are_further_away_than_another_dtype(tmp_path):
    """What bfloat16 costs is small beside the distance of two models."""
    folders = [tiny.build(tmp_path / str(seed), "plain", seed) for seed in (0, 1)]
    one, other = reload_reference.measure_references(folders, SEQUENCES, "float32")
    rounded = reload_reference.measure_references(folders[:1], SEQUENCES, "bfloat16")[0]
    assert 10 * measure_distance(one, rounded) < measure_distance(one, other)
    assert measure_agreement(one, rounded) > 0.8 + measure_agreement(one, other)


def test_weights_that_give_no_numbers_have_no_reference(tmp_path):
    """NaN could be near to nothing."""
    folder = tiny.build(tmp_path, "plain")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        tensors | {"model.norm.weight": tensors["model.norm.weight"] * float("nan")}, folder / "model.safetensors"
    )
    with pytest.raises(BenchError, match="NaN or infinite"):
        reload_reference.measure_references([folder], SEQUENCES, "float32")


def test_a_model_that_cannot_read_the_probes_is_refused(tmp_path):
    """Before it is loaded; one with unused ids beyond its embedding is none."""
    short = candidates.changed(candidates.shorten, vocab_size=400)(tmp_path / "short")
    spare = candidates.reserve_ids(tmp_path / "spare")
    for folder, refusal in ((short, pytest.raises(BenchError, match="is refused")), (spare, nullcontext())):
        model = Model("m", "folder", None, folder, None, None)
        with refusal:
            assert reload_reference.build_probe_sequences(model, tokenizer.load_tokenizer(model))


def test_a_folder_that_transformers_cannot_load_is_named(tmp_path):
    """The error says which and why."""
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(BenchError, match="cannot load") as told:
        reload_reference.measure_references([tmp_path], SEQUENCES, "float32")
    assert str(tmp_path) in str(told.value)
