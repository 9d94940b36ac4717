"""models.nf4: what is left of a weight held in 4 bits, and which weights are held so."""

import pytest
import tiny
import torch
from baseline_bench.models import nf4, weights
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


@pytest.mark.parametrize("manner", ["chatml", "gemma", "plain"])
def test_the_linear_layers_are_those_that_transformers_holds_in_4_bits(manner, tmp_path):
    """Tied or untied, with or without caps: the list equals the layers of a model loaded so, the head never is one."""
    base = tiny.build(tmp_path / "model", manner)
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    held = AutoModelForCausalLM.from_pretrained(base, quantization_config=how, device_map={"": "cpu"})
    wanted = {f"{name}.weight" for name, module in held.named_modules() if isinstance(module, Linear4bit)}
    assert nf4.list_quantised_weights(base, (tensor.name for tensor in weights.read_tensors(base))) == wanted
    assert len(wanted) == 14


@pytest.mark.parametrize("double", [True, False])
def test_a_round_trip_leaves_sixteen_values_a_block(double):
    """Each block of 64 holds at most 16 values of bf16, about a tenth away; fp32 is rounded to bf16 first."""
    weight = torch.randn(32, 128, generator=torch.Generator().manual_seed(0)) * 0.02
    found = nf4.round_trip(weight, double=double)
    assert found.dtype == torch.bfloat16
    assert found.shape == weight.shape
    assert max(len(block.unique()) for block in found.view(-1, 64)) <= 16
    assert 0.05 < float((found.float() - weight).norm() / weight.norm()) < 0.15
    assert torch.equal(found, nf4.round_trip(weight.bfloat16(), double=double))
