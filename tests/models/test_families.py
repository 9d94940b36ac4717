"""Every family that users bring: it scores without a finding, and LoRA adapters of it merge as PEFT merges them."""

from pathlib import Path

import pytest
import tiny_families
import tiny_lora
import torch
from baseline_bench.core.types import Model, Request, Sampling
from baseline_bench.engines import transformers as engine
from baseline_bench.models import diagnose, merge, tokenizer, weights
from baseline_bench.models.merge import MergeOptions
from peft import PeftModel
from transformers import AutoModelForCausalLM

_NAMES = ("q_proj", "qkv_proj", "o_proj", "down_proj")
_LAYERS = r".*\.layers\.\d+\.(self_attn\.(q|qkv|o)|mlp\.down)_proj"
# What PEFT's configuration can say about where and how strong an adapter is, in as few adapters as hold it all.
ADAPTERS = {
    "names, ranks and strengths by pattern": {
        "targets": _NAMES,
        "rank_pattern": {"o_proj": 2, r"layers\.1\.mlp\.down_proj": 3},
        "alpha_pattern": {"down_proj": 5},
    },
    "an expression but for one layer": {"target_modules": _LAYERS, "exclude_modules": r".*\.1\..*o_proj"},
    "all linear layers, rank-stabilised": {"target_modules": "all-linear", "use_rslora": True},
    "one block": {
        "targets": _NAMES,
        "layers_to_transform": [1],
        "layers_pattern": "layers",
        "exclude_modules": ["o_proj"],
    },
}


# Every family goes through these two; Llama and the one with a second tower through all.
_EVERYWHERE = ("names, ranks and strengths by pattern", "all linear layers, rank-stabilised")
CASES = [
    (family, name)
    for family in tiny_families.FAMILIES
    for name in ADAPTERS
    if name in _EVERYWHERE or family in ("Llama", "multimodal Gemma 3")
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    """A model of each family."""
    folder = tmp_path_factory.mktemp("families")
    return {family: tiny_families.build(folder / family.replace(" ", "-"), family) for family in tiny_families.FAMILIES}


def model(folder: Path) -> Model:
    """A folder of weights as a model."""
    return Model("m", "folder", None, folder, None, None)


@pytest.mark.parametrize("family", tiny_families.FAMILIES)
def test_it_scores_without_a_finding(bases, family):
    """Nothing is found in its files, and it generates."""
    base = bases[family]
    model_tokenizer = tokenizer.load_tokenizer(model(base))
    assert diagnose.diagnose_model(model(base), model_tokenizer, "transformers") == []
    generator = engine.load(model(base), engine.Options(dtype="float32", device="cpu"))
    ((_, answer),) = generator.complete(
        [Request("q", tuple(model_tokenizer.tokenizer.encode("Tom has 3")))], Sampling(4), []
    )
    assert len(answer.token_ids) == 4


@pytest.mark.parametrize(("family", "name"), CASES)
def test_an_adapter_is_merged_as_peft_merges_it(bases, family, name, tmp_path):
    """Without a finding, and bit for bit in fp32: every weight, by its name in transformers' model."""
    base = bases[family]
    lora = tiny_lora.build(base, tmp_path / "lora", **ADAPTERS[name])
    assert diagnose.check_adapter(lora, model(base)) == []
    merge.merge_adapter(base, lora, tmp_path / "out", MergeOptions(dtype="float32"))
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = tiny_lora.wrapped(PeftModel.from_pretrained, network, lora).merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).state_dict()
    assert found.keys() == wanted.keys()
    assert [weight for weight in wanted if not torch.equal(found[weight], wanted[weight])] == []
    assert diagnose.check_weights(tmp_path / "out", "transformers") == []
    assert {t.name for t in weights.read_tensors(tmp_path / "out")} == {t.name for t in weights.read_tensors(base)}
