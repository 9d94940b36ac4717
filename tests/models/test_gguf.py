"""models.gguf: a GGUF file becomes a folder that engines load."""

import gguf
import pytest
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import gguf as checkpoint
from baseline_bench.models import weights
from gguf_file import HEADS, WIDTH, tensors
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


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


@pytest.mark.parametrize(("name", "own"), [("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v")])
def test_queries_and_keys_keep_their_heads(name, own, file, tmp_path):
    """The format turns neighbours together, transformers halves, in each of four heads and of two heads of keys."""
    checkpoint.convert_to_safetensors(file, tmp_path / "toy")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "toy")
    stored = torch.from_numpy(tensors()[f"blk.1.{own}.weight"]).to(torch.bfloat16)
    if name != "v_proj":
        stored = stored.view(-1, WIDTH // HEADS // 2, 2, WIDTH).transpose(1, 2).reshape(stored.shape)
    assert torch.equal(model.get_submodule(f"model.layers.1.self_attn.{name}").weight, stored)


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
