"""soundness: what a trainer wrote is a candidate only where it is whole, finite and not the base again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import tiny_lora
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import weight_checks, weights
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

NORM = "model.norm.weight"
EMBEDDING = "model.embed_tokens.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tiny real model."""
    return tiny.build(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def folder(base, tmp_path) -> Path:
    """A copy of the base, to be changed."""
    return shutil.copytree(base, tmp_path / "weights")


def change(folder: Path, of: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """Change the tensors of a folder."""
    tensors = load_file(folder / weights.SINGLE_FILE)
    of(tensors)
    save_file(tensors, folder / weights.SINGLE_FILE, {"format": "pt"})
    return folder


def test_trained_weights_are_sound_and_their_share_is_told(base, folder):
    """One of 128 numbers of one tensor changed: the share is over every number of the model."""
    change(folder, lambda tensors: tensors[NORM][:64].add_(1))
    found = weight_checks.check_full_weights(folder, base)
    total = sum(tensor.numel() for tensor in load_file(base / weights.SINGLE_FILE).values())
    assert found.sha256 == weights.digest_weights(folder) != weights.digest_weights(base)
    assert found.changed == round(64 / total, 6) > 0


def test_rounding_alone_is_no_change(base, folder):
    """Weights that are only cast to another dtype were not trained."""
    change(folder, lambda tensors: tensors.update({name: t.bfloat16() for name, t in tensors.items()}))
    with pytest.raises(BenchError, match="training changed no weight"):
        weight_checks.check_full_weights(folder, base)


def test_a_change_below_the_dtype_s_grid_is_not_counted(base, folder):
    """Only what differs in the dtype that is scored has been learned."""
    sizes = {name: tensor.numel() for name, tensor in load_file(base / weights.SINGLE_FILE).items()}

    def train(tensors):
        tensors[NORM].add_(1e-5)
        tensors[DOWN].add_(1)
        tensors.update({name: tensor.bfloat16() for name, tensor in tensors.items()})

    found = weight_checks.check_full_weights(change(folder, train), base)
    assert found.changed == pytest.approx(sizes[DOWN] / sum(sizes.values()), rel=1e-3)


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (lambda tensors: None, "training changed no weight: raise the learning rate"),
        (lambda tensors: tensors[DOWN][3].fill_(float("nan")), f"{DOWN} of .* holds NaN or infinity: lower the"),
        (lambda tensors: tensors[DOWN][3].fill_(float("inf")), f"{DOWN} of .* holds NaN or infinity: lower the"),
        (lambda tensors: tensors.pop(DOWN), f"does not hold the tensors of its base: {DOWN}: "),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), "does not hold the tensors of its base: extra: "),
        (lambda tensors: tensors.update({NORM: torch.ones(64)}), rf"{NORM} is \(64,\), its base's \(128,\)"),
        (lambda tensors: tensors.update({DOWN: tensors[DOWN].T.contiguous()}), f"{DOWN} is .*, its base's"),
    ],
    ids=["nothing changed", "NaN", "infinity", "missing", "extra", "short", "transposed"],
)
def test_what_is_no_training_s_result_is_refused(base, folder, of, told):
    """Each with the tensor that shows it and the way out."""
    change(folder, of)
    with pytest.raises(BenchError, match=told) as caught:
        weight_checks.check_full_weights(folder, base)
    assert caught.value.way_out


def test_a_head_that_was_untied_is_compared_with_the_embedding(base, folder):
    """It began as the tied base's embedding."""
    change(folder, lambda tensors: tensors.update({"lm_head.weight": tensors[EMBEDDING] + 1}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    assert weight_checks.check_full_weights(folder, base).changed > 0
    assert weight_checks.check_tied_embedding(folder, base) == []


def test_a_head_that_was_untied_is_compared_with_gpt_2_s_embedding(tmp_path):
    """Its name is another than llama's."""
    for name, tied in (("base", True), ("untied", False)):
        config = GPT2Config(
            n_layer=1, n_embd=8, n_head=2, n_positions=8, vocab_size=16, tie_word_embeddings=tied, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        GPT2LMHeadModel(config).save_pretrained(tmp_path / name)
    pairs = weight_checks.pair_tensors(tmp_path / "untied", tmp_path / "base")
    assert ("lm_head.weight", "transformer.wte.weight") in {(new.name, old.name) for new, old in pairs}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rank", "found"), [(4, ["embedding-merged"]), (128, [])])
def test_an_adapter_merged_into_a_tied_head_is_found_in_the_embedding(base, folder, rank, found, dtype):
    """Its change has the adapter's rank; that of a training has every direction."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        delta = torch.randn(tiny.VOCABULARY, rank) @ torch.randn(rank, 128) * 0.01
    change(folder, lambda tensors: tensors.update({EMBEDDING: (tensors[EMBEDDING] + delta).to(dtype)}))
    assert [one.code for one in weight_checks.check_tied_embedding(folder, base)] == found


def test_weights_cut_short_are_refused(base, folder):
    """A disk that became full leaves no candidate."""
    file = folder / weights.SINGLE_FILE
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BenchError, match="truncated"):
        weight_checks.check_full_weights(folder, base)


def test_an_adapter_is_sound_where_it_learned(base, tmp_path):
    """Its digest is over its tensors; a share of changed numbers means nothing for it."""
    folder = tiny_lora.build(base, tmp_path / "adapter")
    found = weight_checks.check_adapter(folder)
    assert len(found.sha256) == 64
    assert found.changed is None


@pytest.mark.parametrize("value", [0.0, float("nan")], ids=["as it began", "NaN"])
def test_an_adapter_that_learned_nothing_or_broke_is_refused(base, tmp_path, value):
    """Zeros in every lora_B are the base again, silently."""
    folder = tiny_lora.build(base, tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    drawn = {name: tensor.fill_(value) if "lora_B" in name else tensor for name, tensor in tensors.items()}
    save_file(drawn, file, {"format": "pt"})
    with pytest.raises(BenchError):
        weight_checks.check_adapter(folder)
