"""models.fidelity: the effect of merging on predictions, 0 where nothing was lost."""

import math
import shutil

import pytest
import tiny
import tiny_lora
import torch
from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError
from baseline_bench.models import fidelity, merge
from baseline_bench.models.merge import MergeOptions
from safetensors.torch import load_file, save_file

PROBES = [[1, *range(20, 60)], [1, *range(90, 100)], [5]]


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    """Compare where the merge itself runs."""
    monkeypatch.setattr(fidelity, "_choose_device", lambda: torch.device("cpu"))


@pytest.fixture(scope="module", params=["chatml", "gemma"])
def pair(request, tmp_path_factory):
    """A tiny model in bf16 and an adapter over it."""
    folder = tmp_path_factory.mktemp(request.param)
    base = tiny_lora.recast(tiny.build(folder / "fp32", request.param), folder / "model", torch.bfloat16)
    return base, tiny_lora.build(base, folder / "lora")


def effect(pair, folder, dtype, quantised=None):
    """Merge and compare."""
    base, lora = pair
    options = MergeOptions(dtype=dtype, quantised=quantised)
    merge.merge_adapter(base, lora, folder, options)
    return fidelity.measure_fidelity(base, lora, folder, PROBES, options)


@pytest.mark.parametrize("quantised", [None, "nf4"])
def test_nothing_is_lost_in_fp32(pair, tmp_path, quantised):
    """No divergence beyond rounding and every greedy token the same, over a base in 4 bits too."""
    found = effect(pair, tmp_path / "out", "float32", quantised)
    assert found.mean_kl < 1e-7
    assert found.greedy_agreement == 1.0
    assert found.positions == 41 + 11 + 1


def test_bf16_loses_a_little(pair, tmp_path):
    """Above zero, below a hundredth of a nat for a tiny model, and greedy tokens mostly agree."""
    found = effect(pair, tmp_path / "out", "bfloat16")
    assert 1e-7 < found.mean_kl < 1e-2
    assert found.greedy_agreement > 0.8


@pytest.mark.parametrize("block", [fidelity._BLOCK, 1000])
def test_narrow_weights_compute_as_wide_ones(pair, monkeypatch, block):
    """Base plus adapter over bf16 weights gives the logits of fp32 weights; its weights are narrow again after it."""
    monkeypatch.setattr(fidelity, "_BLOCK", block)
    base, lora = pair
    device, options = torch.device("cpu"), MergeOptions()
    narrow = fidelity._load_unmerged(base, lora, device, options)
    with monkeypatch.context() as patched:
        patched.setattr(fidelity, "_find_stored_dtype", lambda _base: torch.float32)
        wide = fidelity._load_unmerged(base, lora, device, options)
    for found, wanted in zip(*(fidelity._compute_logits(each, PROBES, 64) for each in (narrow, wide)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    matrices = [each for name, each in narrow.named_parameters() if each.ndim > 1 and "lora_" not in name]
    assert {each.dtype for each in matrices} == {torch.bfloat16}


def test_a_cpu_without_bf16_computes_the_merged_model_in_fp32(pair, monkeypatch):
    """Its weights stay bf16, so the logits are those of the rounded weights in fp32."""
    folder, device = pair[0], torch.device("cpu")
    monkeypatch.setattr(machine, "cpu_computes_bf16", lambda: False)
    merged = fidelity._load_merged(folder, device, MergeOptions())
    wide = fidelity._load_merged(folder, device, MergeOptions(dtype="float32"))
    for found, wanted in zip(*(fidelity._compute_logits(each, PROBES, 64) for each in (merged, wide)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert {each.dtype for each in merged.parameters() if each.ndim > 1} == {torch.bfloat16}


def test_probes_that_go_together_are_seen_as_alone(pair):
    """What fills a shorter one up changes none of its logits, nor where they are taken."""
    network = fidelity._load_merged(pair[0], torch.device("cpu"), MergeOptions(dtype="float32"))
    for last in (2, 64):
        together = list(fidelity._compute_logits(network, PROBES, last))
        alone = [logits for probe in PROBES for logits in fidelity._compute_logits(network, [probe], last)]
        assert [len(logits) for logits in together] == [min(len(probe), last) for probe in PROBES]
        for found, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_base_of_several_dtypes_is_loaded_wide(pair, tmp_path):
    """Narrowing any of its numbers would round them."""
    base, _ = pair
    assert fidelity._find_stored_dtype(base) == torch.bfloat16
    shutil.copytree(base, tmp_path / "mixed")
    tensors = load_file(base / "model.safetensors")
    first = min(tensors)
    save_file({**tensors, first: tensors[first].float()}, tmp_path / "mixed" / "model.safetensors", {"format": "pt"})
    assert fidelity._find_stored_dtype(tmp_path / "mixed") == torch.float32


def test_a_base_that_forgot_its_4_bits_shows(pair, tmp_path):
    """Merging into the whole base what was trained over its 4-bit form moves the predictions visibly."""
    base, lora = pair
    merge.merge_adapter(base, lora, tmp_path / "out", MergeOptions(dtype="float32"))
    options = MergeOptions(dtype="float32", quantised="nf4")
    assert fidelity.measure_fidelity(base, lora, tmp_path / "out", PROBES, options).mean_kl > 1e-3


def test_another_model_disagrees(pair, tmp_path):
    """The base in place of the merged model is far away."""
    base, lora = pair
    found = fidelity.measure_fidelity(base, lora, base, PROBES, MergeOptions())
    assert found.mean_kl > 1e-3


def test_only_the_last_positions_count(pair, tmp_path, monkeypatch):
    """At most so many of each sequence."""
    monkeypatch.setattr(fidelity, "LAST_POSITIONS", 8)
    assert effect(pair, tmp_path / "out", "float32").positions == 8 + 8 + 1


def test_the_divergence_is_kullback_and_leiblers():
    """Golden: KL of (1/2, 1/2) from (1/4, 3/4) is ln(2/sqrt(3)); never below zero."""
    wanted, found = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert float(fidelity._compute_kl(wanted, found)) == pytest.approx(math.log(2 / math.sqrt(3)), rel=1e-6)
    assert float(fidelity._compute_kl(wanted, wanted + 1e-9)) == 0


def test_what_cannot_be_compared_is_refused(pair, tmp_path):
    """No probe, and a folder that holds no model."""
    base, lora = pair
    with pytest.raises(BenchError, match="no probe"):
        fidelity.measure_fidelity(base, lora, base, [[]], MergeOptions())
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="cannot be compared"):
        fidelity.measure_fidelity(base, lora, tmp_path / "empty", PROBES, MergeOptions())
