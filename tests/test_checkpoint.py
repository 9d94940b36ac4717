"""models.gguf: a GGUF file becomes a folder that engines load."""

import gguf
import numpy as np
import pytest
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import gguf as checkpoint
from baseline_bench.models import weights
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

WIDTH, WIDE, LAYERS = 64, 128, 2
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]


def tensors():
    """Random weights under the names of the format."""
    random = np.random.default_rng(0)
    shapes = {"token_embd.weight": (len(TOKENS), WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        block = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
        block |= {"ffn_gate": (WIDE, WIDTH), "ffn_up": (WIDE, WIDTH), "ffn_down": (WIDTH, WIDE)}
        block |= {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A Llama of two layers in SmolLM2's manner, stored in 32 bits."""
    path = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3, *[1] * (len(TOKENS) - 3)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    for name, data in tensors().items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_folder_holds_the_file_s_weights_and_tokenizer(file, tmp_path):
    """Weights are the file's in bf16, special tokens and template are the file's."""
    folder = tmp_path / "checkpoints" / "toy"
    checkpoint.convert_to_safetensors(file, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    stored = torch.from_numpy(tensors()["token_embd.weight"]).to(torch.bfloat16)
    assert torch.equal(model.get_input_embeddings().weight, stored)
    assert model.dtype == torch.bfloat16
    assert model.config.eos_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi<|im_end|>"
    assert weights.inspect_checkpoint(folder).parameters == model.num_parameters()
    assert list(folder.parent.iterdir()) == [folder]


def test_nothing_is_printed_and_every_setting_is_put_back(file, tmp_path, capfd):
    """Bars and warnings of the libraries stay away, for the time of the call only."""
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled(), gguf.GGUFReader, gguf.get_tensor_name_map)
    checkpoint.convert_to_safetensors(file, tmp_path / "toy")
    assert capfd.readouterr() == ("", "")
    after = (logging.get_verbosity(), logging.is_progress_bar_enabled(), gguf.GGUFReader, gguf.get_tensor_name_map)
    assert after == before


def test_the_slower_of_two_processes_keeps_the_other_s_folder(file, tmp_path):
    """A folder that appeared meanwhile is checked and kept, and no draft is left."""
    folder = tmp_path / "toy"
    checkpoint.convert_to_safetensors(file, folder)
    (folder / "mark").touch()
    checkpoint.convert_to_safetensors(file, folder)
    assert (folder / "mark").exists()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("length", [0, 3, 100, 5000, -10])
def test_a_file_that_is_no_gguf_or_is_cut_leaves_nothing(file, tmp_path, length):
    """Broken files are told by name, and no half folder can be taken for a whole one."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(file.read_bytes()[:length])
    with pytest.raises(BenchError, match=r"broken\.gguf cannot be read as GGUF"):
        checkpoint.convert_to_safetensors(broken, tmp_path / "toy")
    assert list(tmp_path.iterdir()) == [broken]


def test_an_architecture_that_nobody_knows_is_told(file, tmp_path):
    """The message names the file and the way out."""
    other = tmp_path / "other.gguf"
    other.write_bytes(file.read_bytes().replace(b"llama", b"lllll"))
    with pytest.raises(BenchError, match=r"cannot unpack .*other\.gguf.*newer transformers"):
        checkpoint.convert_to_safetensors(other, tmp_path / "toy")
