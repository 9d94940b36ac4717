"""models.adapter: a plain, whole, trained LoRA is read; everything else is refused with the way out."""

import hashlib
import json
import shutil

import pytest
import tiny
import tiny_lora
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import adapter
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

QUERY = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny Llama."""
    return tiny.build(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def sound(base, tmp_path_factory):
    """An adapter over every projection."""
    return tiny_lora.build(base, tmp_path_factory.mktemp("adapter") / "lora")


@pytest.fixture
def copy(sound, tmp_path):
    """The same adapter, to be spoilt."""
    return shutil.copytree(sound, tmp_path / "lora")


def configure(folder, **keys):
    """Change keys of the adapter's configuration."""
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def replace(folder, change):
    """Change the tensors of an adapter in place."""
    tensors = load_file(folder / adapter.WEIGHTS)
    change(tensors)
    save_file(tensors, folder / adapter.WEIGHTS)


def refusal(folder) -> BenchError:
    """The error of reading a folder; it always has a way out."""
    with pytest.raises(BenchError) as caught:
        adapter.read_adapter(folder)
    assert caught.value.way_out
    return caught.value


def test_an_adapter_is_read(sound, base):
    """Targets are the base's tensor names; rank, alpha, scale and shape are each module's."""
    found = adapter.read_adapter(sound)
    assert adapter.is_adapter(sound)
    assert not adapter.is_adapter(base)
    assert found.base == str(base)
    assert len(found.pairs) == 14
    first = found.pairs[0]
    assert (first.target, first.shape) == ("model.layers.0.mlp.down_proj.weight", (128, 256))
    assert (first.rank, first.alpha, first.scale) == (4, 8.0, 2.0)


def test_scales_are_those_of_peft(base, tmp_path):
    """Rank patterns, alpha patterns and rank-stabilised scales come out as PEFT computes them."""
    settings = {
        "rank_pattern": {"layers.1.self_attn.q_proj": 8, "v_proj": 2},
        "alpha_pattern": {r".*\.down_proj": 3},
        "use_rslora": True,
    }
    folder = tiny_lora.build(base, tmp_path / "lora", **settings)
    network = tiny_lora.wrapped(PeftModel.from_pretrained, AutoModelForCausalLM.from_pretrained(base), folder)
    for pair in adapter.read_adapter(folder).pairs:
        module = network.base_model.model.get_submodule(pair.target.removesuffix(".weight"))
        assert pair.scale == pytest.approx(module.scaling["default"])
        assert pair.rank == module.r["default"]


def test_the_digest_is_the_documented_one(sound, copy):
    """Golden: over name:dtype:shape: and the bytes of each tensor, sorted by name; one number moves it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(sound / adapter.WEIGHTS).items()):
        digest.update(f"{name}:F32:{'x'.join(map(str, tensor.shape))}:".encode() + tensor.numpy().tobytes())
    assert adapter.read_adapter(sound).sha256 == digest.hexdigest()
    replace(copy, lambda tensors: tensors[QUERY.format("A")].view(-1)[0].add_(1))
    assert adapter.read_adapter(copy).sha256 != digest.hexdigest()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read(copy, dtype):
    """Adapters are stored in bf16 and fp16 too, and their NaNs are found there."""
    replace(copy, lambda tensors: tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()}))
    assert len(adapter.read_adapter(copy).pairs) == 14
    replace(copy, lambda tensors: tensors[QUERY.format("B")].view(-1)[0].fill_(float("nan")))
    assert "not finite" in refusal(copy).what


def test_what_is_no_adapter_is_refused(base, tmp_path):
    """A missing folder and a whole model are told apart."""
    assert "is no folder" in refusal(tmp_path / "nowhere").what
    assert "adapter_config.json" in refusal(base).what


def test_pickled_weights_are_refused(copy):
    """adapter_model.bin runs code when it is loaded."""
    (copy / adapter.WEIGHTS).rename(copy / "adapter_model.bin")
    assert "pickled" in refusal(copy).what


def test_missing_and_broken_files_are_refused(copy):
    """No weights, truncated weights, and a configuration that is not JSON or no object."""
    data = (copy / adapter.WEIGHTS).read_bytes()
    (copy / adapter.WEIGHTS).write_bytes(data[:-5])
    assert "truncated" in refusal(copy).what
    (copy / adapter.WEIGHTS).unlink()
    assert "is missing" in refusal(copy).what
    (copy / "adapter_config.json").write_text("[]")
    assert "not a JSON object" in refusal(copy).what
    (copy / "adapter_config.json").write_text("{")
    assert "not JSON" in refusal(copy).what


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"peft_type": None}, "kind None"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias = all"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"init_lora_weights": "loftq"}, "loftq"),
        ({"some_new_way": {"of": "adapting"}}, "some_new_way"),
        ({"r": 0}, "r must be"),
        ({"r": True}, "r must be"),
        ({"lora_alpha": "8"}, "lora_alpha must be"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern"),
        ({"rank_pattern": {"[[a]": 2}}, "rank_pattern"),  # Python warns of it
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern"),
        ({"alpha_pattern": [3]}, "alpha_pattern"),
        ({"alpha_pattern": {"q_proj": "3"}}, "alpha_pattern"),
        ({"lora_alpha": 2.0**64}, "lora_alpha must be"),
        ({"lora_alpha": -(2.0**64)}, "lora_alpha must be"),
        ({"target_modules": "("}, "target_modules is not"),
        ({"exclude_modules": "("}, "exclude_modules is not"),
        ({"layers_to_transform": ["1"]}, "layers_to_transform must"),
        ({"layers_to_transform": True}, "layers_to_transform must"),
        ({"layers_to_transform": ""}, "layers_to_transform must"),
        ({"layers_pattern": "("}, "layers_pattern must"),
        ({"layers_pattern": ["layers", 1]}, "layers_pattern must"),
        ({"r": 5}, "has rank 4, and adapter_config.json says 5"),
    ],
)
def test_another_kind_of_adapter_is_refused(copy, keys, told):
    """Whatever `scale * B @ A` would leave out is named, unknown settings of a newer PEFT included."""
    configure(copy, **keys)
    assert told in refusal(copy).what


def test_every_default_of_peft_is_understood(sound, copy):
    """The file that this PEFT writes by default, with all its keys, is a plain LoRA of the same scales."""
    LoraConfig(r=4, lora_alpha=8).save_pretrained(copy)
    written = json.loads((copy / "adapter_config.json").read_text())
    assert written.keys() == LoraConfig().to_dict().keys()
    scales = [[(p.target, p.rank, p.scale) for p in adapter.read_adapter(each).pairs] for each in (sound, copy)]
    assert scales[0] == scales[1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop(QUERY.format("A")), "lora_B alone"),
        (lambda tensors: tensors.pop(QUERY.format("B")), "lora_A alone"),
        (lambda tensors: tensors.update({QUERY.format("B"): torch.ones(128, 3)}), "does not fit its lora_A"),
        (lambda tensors: tensors.update({QUERY.format("A"): torch.ones(4, 1, 1, 128)}), "does not fit its lora_A"),
        (lambda tensors: tensors.update({QUERY.format("A"): torch.ones(4, 128).double()}), "held in F64"),
        (lambda tensors: tensors.update({"base_model.model.lm_head.weight": torch.ones(2)}), "lm_head.weight is no"),
        (
            lambda tensors: tensors.update({"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(2)}),
            "lora_embedding_A is no",
        ),
        (
            lambda tensors: tensors.update({QUERY.format("magnitude_vector"): torch.ones(2)}),
            "lora_magnitude_vector.weight is no",
        ),
        (lambda tensors: tensors[QUERY.format("A")].view(-1)[3].fill_(float("inf")), "not finite"),
        (lambda tensors: [t.zero_() for name, t in tensors.items() if ".lora_B." in name], "every lora_B is zero"),
        (lambda tensors: tensors.clear(), "holds no lora_A"),
    ],
)
def test_tensors_that_make_no_adapter_are_refused(copy, change, told):
    """Halves, shapes, strangers, numbers that are not finite, and an adapter that was never trained."""
    replace(copy, change)
    assert told in refusal(copy).what


@pytest.mark.parametrize(
    ("old", "new", "wrapper"),
    [
        ("layers.1.", "layers.1._fsdp_wrapped_module.", "_fsdp_wrapped_module"),
        ("base_model.model.", "base_model.model._orig_mod.", "_orig_mod"),
        ("base_model.", "_orig_mod.base_model.", "_orig_mod"),
        (".mlp.", "._checkpoint_wrapped_module.mlp.", "_checkpoint_wrapped_module"),
        ("base_model.model.", "base_model.model.module.", "model.module."),
    ],
)
def test_names_of_a_wrapper_are_the_cause_that_is_named(copy, old, new, wrapper):
    """Not a base that lacks them."""
    tensors = load_file(copy / adapter.WEIGHTS)
    save_file({name.replace(old, new, 1): t for name, t in tensors.items()}, copy / adapter.WEIGHTS)
    told = refusal(copy)
    assert wrapper in told.what
    assert "unwrap" in told.way_out


def test_one_untrained_module_is_not_the_readers_affair(copy):
    """An adapter of which one lora_B is zero is read; merging then finds the target that did not change."""
    replace(copy, lambda tensors: tensors[QUERY.format("B")].zero_())
    assert len(adapter.read_adapter(copy).pairs) == 14


def test_many_problems_are_counted_not_listed(copy):
    """The first five problems are named and the rest counted."""
    replace(copy, lambda tensors: [tensors.pop(name) for name in list(tensors) if ".lora_A." in name])
    assert "and 9 more" in refusal(copy).what
