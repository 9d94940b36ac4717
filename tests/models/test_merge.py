"""models.merge: an adapter is folded in fp32, rounded once, and nothing unproved is left behind."""

import json
import math
import shutil

import pytest
import tiny
import tiny_lora
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import decode_record
from baseline_bench.core.types import Model, Request, Sampling
from baseline_bench.engines import transformers as engine
from baseline_bench.models import adapter, merge, merge_tensors, nf4, weights
from baseline_bench.models.merge import MergeOptions
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def base(request, tmp_path_factory):
    """A tiny model of each manner in bf16; the first two tie their heads, the last does not."""
    folder = tmp_path_factory.mktemp(request.param)
    return tiny_lora.recast(tiny.build(folder / "fp32", request.param), folder / "model", torch.bfloat16)


@pytest.fixture(scope="module")
def lora(base, tmp_path_factory):
    """An adapter over every projection of it."""
    return tiny_lora.build(base, tmp_path_factory.mktemp("adapter") / "lora")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny Llama in bf16, in several shards."""
    folder = tmp_path_factory.mktemp("llama")
    whole = tiny.build(folder / "fp32")
    return tiny_lora.recast(whole, folder / "model", torch.bfloat16, max_shard_size="300KB")


@pytest.fixture(scope="module")
def query(llama, tmp_path_factory):
    """An adapter over its query projections alone."""
    return tiny_lora.build(llama, tmp_path_factory.mktemp("adapter") / "query", targets=("q_proj",))


def tensors(folder) -> dict[str, torch.Tensor]:
    """Every tensor of a folder."""
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def bits(tensor) -> bytes:
    """A tensor's bytes."""
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def merged_by_peft(network, folder) -> dict[str, torch.Tensor]:
    """What PEFT's merge_and_unload makes of a network."""
    return tiny_lora.wrapped(PeftModel.from_pretrained, network, folder).merge_and_unload().state_dict()


def refusal(base, lora, out, options=MergeOptions()) -> BenchError:  # noqa: B008  # frozen
    """The error of a merge; it has a way out, and nothing is left beside what was there."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(BenchError) as caught:
        merge.merge_adapter(base, lora, out, options)
    assert caught.value.way_out
    assert sorted(out.parent.iterdir()) == before
    return caught.value


def test_fp32_output_is_what_peft_merges(base, lora, tmp_path):
    """Within the rounding of fp32; nothing is lost; the base is cast and the record says so."""
    record = merge.merge_adapter(base, lora, tmp_path / "out", MergeOptions(dtype="float32"))
    wanted = merged_by_peft(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), lora)
    found = tensors(tmp_path / "out")
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-6, atol=1e-7)
    assert record.rel_err == 0
    assert record.base_sha256 == weights.digest_weights(base)
    assert (record.tensors, record.others, record.cast) == (14, len(found) - 14, len(found) - 14)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"


def test_bf16_output_is_the_fp32_sum_rounded_once(base, lora, tmp_path):
    """Targets equal the rounded sum bit for bit, everything else equals the base, and files beside it are copies."""
    record = merge.merge_adapter(base, lora, tmp_path / "out", MergeOptions())
    merge.merge_adapter(base, lora, tmp_path / "fp32", MergeOptions(dtype="float32"))
    found, whole, before = tensors(tmp_path / "out"), tensors(tmp_path / "fp32"), tensors(base)
    targets = {pair.target for pair in adapter.read_adapter(lora).pairs}
    assert found.keys() == before.keys()
    for name, tensor in found.items():
        assert bits(tensor) == bits(whole[name].bfloat16() if name in targets else before[name])
    assert record.cast == 0
    assert 0 < record.rel_err < 1
    copied = {file.name for file in base.iterdir() if file.suffix != ".safetensors"}
    assert {"config.json", "generation_config.json", "tokenizer.json"} < copied
    for name in copied:
        assert (tmp_path / "out" / name).read_bytes() == (base / name).read_bytes()


def test_the_head_stays_tied_or_untied(base, lora, tmp_path):
    """A head that the base does not store is not stored either."""
    merge.merge_adapter(base, lora, tmp_path / "out", MergeOptions())
    assert ("lm_head.weight" in tensors(tmp_path / "out")) == ("lm_head.weight" in tensors(base))


def test_a_merged_folder_is_a_model(base, lora, tmp_path):
    """It is inspected as whole, its digests are those of its weights, and the engine answers from it."""
    out = tmp_path / "out"
    record = merge.merge_adapter(base, lora, out, MergeOptions(expected_base_sha256=weights.digest_weights(base)))
    weights.inspect_checkpoint(out)
    assert record.merged_sha256 == weights.digest_weights(out)
    assert record.base_sha256 == weights.digest_weights(base)
    assert record.adapter_sha256 == adapter.read_adapter(lora).sha256
    told = json.loads((out / merge.RECORD_FILE).read_text())
    assert decode_record(merge.MergeRecord, told, "merge.json", "-") == record
    network = engine.load(Model("m", "folder", None, out, None, None), engine.Options(dtype="float32", device="cpu"))
    ids = tuple(AutoTokenizer.from_pretrained(out).encode("Tom has 3 apples"))
    ((_, answer),) = network.complete([Request("q", ids)], Sampling(4), [])
    assert len(answer.token_ids) == 4


def test_shards_and_index_are_the_bases(llama, query, tmp_path):
    """File names, index, headers and every byte that no target holds are the base's."""
    merge.merge_adapter(llama, query, tmp_path / "out", MergeOptions())
    shards = sorted(file.name for file in llama.glob("*.safetensors"))
    assert len(shards) > 2
    assert sorted(file.name for file in (tmp_path / "out").glob("*.safetensors")) == shards
    assert (tmp_path / "out" / weights.INDEX_FILE).read_bytes() == (llama / weights.INDEX_FILE).read_bytes()
    touched = {tensor.file.name for tensor in weights.read_tensors(llama) if "q_proj" in tensor.name}
    same = [name for name in shards if (tmp_path / "out" / name).read_bytes() == (llama / name).read_bytes()]
    assert set(same) == set(shards) - touched
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_an_index_tells_the_new_size_of_cast_shards(llama, query, tmp_path):
    """The index names the same shards and the bytes they hold now; the config's other keys stay."""
    merge.merge_adapter(llama, query, tmp_path / "out", MergeOptions(dtype="float32"))
    before, after = (json.loads((folder / weights.INDEX_FILE).read_text()) for folder in (llama, tmp_path / "out"))
    assert after["weight_map"] == before["weight_map"]
    assert after["metadata"]["total_size"] == weights.count_bytes(tmp_path / "out")
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (llama, tmp_path / "out"))
    assert after == before | {"dtype": "float32"}


def test_a_base_of_mixed_dtypes_becomes_one_of_a_single_dtype(llama, query, tmp_path):
    """One tensor that is cast is enough for config and index to change."""
    base = shutil.copytree(llama, tmp_path / "base")
    shard = next(tensor.file for tensor in weights.read_tensors(base) if tensor.name == "model.norm.weight")
    held = load_file(shard)
    save_file(held | {"model.norm.weight": held["model.norm.weight"].float()}, shard, metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    assert merge.merge_adapter(base, query, tmp_path / "out", MergeOptions()).cast == 1
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == config | {"dtype": "bfloat16"}
    index = json.loads((tmp_path / "out" / weights.INDEX_FILE).read_text())
    assert index["metadata"]["total_size"] == weights.count_bytes(llama) == weights.count_bytes(tmp_path / "out")


def test_a_shard_that_is_cut_while_it_is_merged_is_an_error(llama, query, tmp_path):
    """It was whole when the merge was planned: a disk that fails, or another process."""
    base = shutil.copytree(llama, tmp_path / "base")
    plans = merge.plan_tensors(base, adapter.read_adapter(query), MergeOptions())
    shard = plans[0].tensor.file
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(BenchError, match=f"{shard.name} ended while it was read"):
        merge_tensors.write_tensors(plans, tmp_path)


def test_a_base_without_a_layer_that_was_in_4_bits_is_refused(llama, query, tmp_path):
    """What training held in 4 bits must be there to be merged; without 4 bits only the targets must."""
    base = shutil.copytree(llama, tmp_path / "base")
    name = "model.layers.0.mlp.up_proj.weight"
    shard = next(tensor.file for tensor in weights.read_tensors(base) if tensor.name == name)
    held = load_file(shard)
    save_file({key: tensor for key, tensor in held.items() if key != name}, shard, metadata={"format": "pt"})
    index = json.loads((base / weights.INDEX_FILE).read_text())
    del index["weight_map"][name]
    (base / weights.INDEX_FILE).write_text(json.dumps(index))
    assert f"holds no {name}" in refusal(base, query, tmp_path / "out", MergeOptions(quantised="nf4")).what
    assert merge.merge_adapter(base, query, tmp_path / "out", MergeOptions()).tensors == 2


@pytest.mark.parametrize(("dtype", "least", "most"), [("bfloat16", 0.27, 0.37), ("float16", 0.03, 0.05)])
def test_golden_what_a_grid_loses(dtype, least, most):
    """Deltas of 1e-4 on weights of 0.02 lose about 32 % in bf16 and 4 % in fp16."""
    generator = torch.Generator().manual_seed(0)
    base = (torch.randn(1000, 1000, generator=generator) * 0.02).bfloat16()
    delta = torch.randn(1000, 1000, generator=generator) * 1e-4
    _, lost, moved = merge_tensors.fold_delta(base, delta, DTYPES[dtype])
    assert least < math.sqrt(lost / moved) < most


def test_golden_fp32_loses_nothing():
    """The sum itself is what is written."""
    out, lost, moved = merge_tensors.fold_delta(
        torch.full((4, 4), 0.02).bfloat16(), torch.full((4, 4), 1e-4), torch.float32
    )
    assert lost == 0
    assert moved == pytest.approx(16e-8)
    assert torch.equal(out, torch.full((4, 4), 0.02).bfloat16().float() + 1e-4)


def test_blocks_do_not_show(base, lora, tmp_path, monkeypatch):
    """Work in blocks of one row gives the same bits as in one block."""
    merge.merge_adapter(base, lora, tmp_path / "one", MergeOptions())
    monkeypatch.setattr(merge_tensors, "_BLOCK", 100)
    merge.merge_adapter(base, lora, tmp_path / "many", MergeOptions())
    one, many = tensors(tmp_path / "one"), tensors(tmp_path / "many")
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, many[name], rtol=2**-7, atol=0)


def test_files_that_are_no_weights_come_along(llama, query, tmp_path):
    """Folders below too; hidden files, weights in other formats and an older record stay behind."""
    base = shutil.copytree(llama, tmp_path / "base")
    for name in ("additional_chat_templates/tool.jinja", "original/w.pth", ".cache/x", "merge.json", "LICENSE"):
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text("{}")
    merge.merge_adapter(base, query, tmp_path / "out", MergeOptions())
    assert (tmp_path / "out" / "additional_chat_templates" / "tool.jinja").read_text() == "{}"
    assert (tmp_path / "out" / "LICENSE").is_file()
    assert not (tmp_path / "out" / "original").exists()
    assert not (tmp_path / "out" / ".cache").exists()
    assert json.loads((tmp_path / "out" / "merge.json").read_text())["tensors"] == 2


def test_another_base_is_refused_by_its_digest(llama, query, tmp_path):
    """Before anything is read of the adapter or written."""
    told = refusal(llama, tmp_path / "no adapter", tmp_path / "out", MergeOptions(expected_base_sha256="0" * 64))
    assert "is not what the adapter was trained on" in told.what


def test_another_base_is_refused_by_names_and_shapes(base, query, llama, tmp_path):
    """Tensors that the base lacks or holds in another shape; the adapter's own base is named."""
    deep = tiny.build(tmp_path / "deep")
    config = json.loads((deep / "config.json").read_text()) | {"num_attention_heads": 4}
    (deep / "config.json").write_text(json.dumps(config))
    kept = tensors(deep)
    name = "model.layers.0.self_attn.q_proj.weight"
    kept[name] = torch.zeros(256, 128)
    save_file(kept, deep / weights.SINGLE_FILE)
    told = refusal(deep, query, tmp_path / "out")
    assert f"{name} is (256, 128) in the base and (128, 128) in the adapter" in told.what
    assert str(llama) in told.way_out
    del kept[name]
    save_file(kept, deep / weights.SINGLE_FILE)
    assert f"the base has no {name}" in refusal(deep, query, tmp_path / "out").what
    kept[name] = torch.zeros(128, 128, dtype=torch.int8)
    save_file(kept, deep / weights.SINGLE_FILE)
    assert f"{name} is held in I8" in refusal(deep, query, tmp_path / "out").what


def test_what_is_no_base_is_refused(llama, query, tmp_path):
    """An adapter, a quantised base, a folder that exists already."""
    assert "an adapter, not a whole model" in refusal(query, query, tmp_path / "out").what
    base = shutil.copytree(llama, tmp_path / "base")
    config = json.loads((base / "config.json").read_text()) | {"quantization_config": {"quant_method": "gptq"}}
    (base / "config.json").write_text(json.dumps(config))
    assert "quantised (gptq)" in refusal(base, query, tmp_path / "out").what
    assert "exists already" in refusal(llama, query, tmp_path).what


def test_a_tied_head_is_no_target(tmp_path):
    """An adapter on an untied head is folded; on a tied one, stored or not, it is refused."""
    untied = tiny.build(tmp_path / "untied", "plain")
    head = tiny_lora.build(untied, tmp_path / "head", targets=("q_proj", "lm_head"))
    file = head / adapter.WEIGHTS
    save_file({k: t for k, t in load_file(file).items() if "lora_" in k}, file)
    assert merge.merge_adapter(untied, head, tmp_path / "out", MergeOptions()).tensors == 3
    tied = tiny.build(tmp_path / "tied")
    assert "lm_head.weight is tied" in refusal(tied, head, tmp_path / "second").what
    config = json.loads((untied / "config.json").read_text()) | {"tie_word_embeddings": True}
    (untied / "config.json").write_text(json.dumps(config))
    assert "lm_head.weight is tied" in refusal(untied, head, tmp_path / "third").what


def test_too_little_disk_is_told_at_once(llama, query, tmp_path, monkeypatch):
    """Before anything is written: weights and the files that come along, and not a byte more."""
    beside = [file for file in llama.iterdir() if not file.name.endswith((".safetensors", ".index.json"))]
    needed = weights.count_bytes(llama) + sum(file.stat().st_size for file in beside)
    monkeypatch.setattr("baseline_bench.core.machine.free_disk", lambda path: needed - 1)
    assert "of disk" in refusal(llama, query, tmp_path / "out").what
    monkeypatch.setattr("baseline_bench.core.machine.free_disk", lambda path: needed)
    merge.merge_adapter(llama, query, tmp_path / "out", MergeOptions())


def test_a_target_that_does_not_move_is_caught(llama, tmp_path):
    """Deltas below half a step of bf16 leave weights as they were; fp32 shows them."""
    faint = tiny_lora.build(llama, tmp_path / "faint", size=1e-9)
    assert "14 merged tensors did not change" in refusal(llama, faint, tmp_path / "out").what
    merge.merge_adapter(llama, faint, tmp_path / "out", MergeOptions(dtype="float32"))


def test_numbers_out_of_range_are_caught(llama, tmp_path):
    """A sum beyond fp16's greatest number is no weight."""
    wild = tiny_lora.build(llama, tmp_path / "wild", size=1e7)
    told = refusal(llama, wild, tmp_path / "out", MergeOptions(dtype="float16"))
    assert "not finite" in told.what
    assert "bfloat16" in told.way_out


def write_and_tamper(llama, query, folder, name, change, options=MergeOptions()):  # noqa: B008  # frozen
    """A merge whose tensor `name` is changed on disk before the proofs are asked."""
    parts = merge.plan_tensors(llama, adapter.read_adapter(query), options)
    shutil.copytree(llama, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    written = merge_tensors.write_tensors(parts, folder)
    merge.verify_merge(parts, written, folder)
    place = next(tensor.file for tensor in weights.read_tensors(folder) if tensor.name == name)
    held = load_file(place)
    held[name] = change(held[name])
    save_file(held, place, metadata={"format": "pt"})
    with pytest.raises(BenchError) as caught:
        merge.verify_merge(parts, written, folder)
    return caught.value.what


@pytest.mark.parametrize("quantised", [None, "nf4"])
def test_a_tampered_result_is_caught(llama, query, tmp_path, quantised):
    """A target as the base has it, another tensor with one bit changed, zeros, another shape, and NaN."""
    options = MergeOptions(quantised=quantised)
    target, other = (f"model.layers.1.self_attn.{name}_proj.weight" for name in "qk")
    alone = tensors(llama)
    if quantised:
        alone = {name: nf4.round_trip(t, double=True) if "proj" in name else t for name, t in alone.items()}

    def flip(tensor):
        tensor.view(torch.int16).view(-1)[-1] ^= 1
        return tensor

    def told(case, name, change):
        return write_and_tamper(llama, query, tmp_path / case, name, change, options)

    assert f"1 merged tensors did not change, though the adapter targets them: {target}" in told(
        "still", target, lambda _: alone[target]
    )
    assert f"1 merged tensors changed, though the adapter does not target them: {other}" in told("flip", other, flip)
    assert "changed, though" in told("norm", "model.norm.weight", flip)
    assert "names, shapes or dtypes" in told("shape", other, lambda tensor: tensor[:1].clone())
    assert "names, shapes or dtypes" in told("dtype", other, lambda tensor: tensor.float())
    if not quantised:
        assert "not where the adapter moves them" in told("zero", target, torch.zeros_like)
    assert "not finite" in told("nan", other, lambda tensor: tensor.index_fill(0, torch.tensor([3]), math.nan))
    assert "not finite" in told("inf", target, lambda tensor: tensor.index_fill(0, torch.tensor([3]), -math.inf))


def test_a_tampered_block_and_a_wrong_scale_are_caught(llama, query, tmp_path, monkeypatch):
    """Whichever block of a tensor holds the fault; an update added twice or by half is not the adapter's."""
    monkeypatch.setattr(merge_tensors, "_BLOCK", 1024)
    target, other = (f"model.layers.1.self_attn.{name}_proj.weight" for name in "qk")
    before = tensors(llama)[target].float()

    def first(value):
        def change(tensor):
            tensor.view(-1)[0] = value
            return tensor

        return change

    def told(case, name, change):
        return write_and_tamper(llama, query, tmp_path / case, name, change, MergeOptions(dtype="float32"))

    assert "changed, though" in told("flip", other, first(7.0))
    assert "not finite" in told("nan", other, first(math.nan))
    for share in (2.0, 0.5, 0.99):
        assert "not where" in told(str(share), target, lambda tensor, share=share: before + share * (tensor - before))


@pytest.mark.parametrize("double", [True, False])
def test_a_base_in_4_bits_is_merged_as_it_was_trained_over(base, lora, tmp_path, double):
    """The merged fp32 weights are PEFT's over the dequantised weights of the model that transformers loads so."""
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double)
    held = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=how, dtype=torch.bfloat16, device_map={"": "cpu"}
    )
    wanted = merged_by_peft(held.dequantize().float(), lora)
    options = MergeOptions(dtype="float32", quantised="nf4", double_quantization=double)
    record = merge.merge_adapter(base, lora, tmp_path / "out", options)
    for name, tensor in tensors(tmp_path / "out").items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-6, atol=1e-7)
    assert (record.quantised, record.double_quantization, record.dequantised) == ("nf4", double, 0)


def test_layers_beside_the_targets_were_in_4_bits_too(llama, query, tmp_path):
    """Every linear layer but the head is dequantised and counted; embeddings and norms stay as they are."""
    record = merge.merge_adapter(llama, query, tmp_path / "out", MergeOptions(quantised="nf4"))
    before, after = tensors(llama), tensors(tmp_path / "out")
    for name, tensor in before.items():
        if "proj" not in name:
            assert bits(after[name]) == bits(tensor)
        elif "q_proj" not in name:
            assert bits(after[name]) == bits(nf4.round_trip(tensor, double=True))
            assert bits(after[name]) != bits(tensor)
    assert (record.tensors, record.dequantised) == (2, 12)
    assert record.rel_err > 0


def test_options_are_checked():
    """Unknown dtypes and quantised forms are named."""
    with pytest.raises(ValueError, match="bfloat16, float16, float32"):
        MergeOptions(dtype="int8")
    with pytest.raises(ValueError, match="nf4"):
        MergeOptions(quantised="fp4")


def test_the_size_of_blocks_changes_no_bit(base, lora, tmp_path, monkeypatch):
    """Blocks are as large as a processor's cache likes; every row is summed and rounded by itself."""
    merge.merge_adapter(base, lora, tmp_path / "whole", MergeOptions())
    monkeypatch.setattr(merge_tensors, "_BLOCK", 1024)
    merge.merge_adapter(base, lora, tmp_path / "blocks", MergeOptions())
    whole, blocks = tensors(tmp_path / "whole"), tensors(tmp_path / "blocks")
    assert {name: bits(tensor) for name, tensor in whole.items()} == {n: bits(t) for n, t in blocks.items()}
