"""models.weights: which weights are these, and is the checkpoint whole."""

import json
import shutil
import struct

import pytest
import tiny
import torch
from baseline_bench.core.errors import BenchError
from baseline_bench.models import file_cache, weights
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint in one file."""
    return tiny.build(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def sharded(whole, tmp_path_factory):
    """The same weights in several shards."""
    folder = tmp_path_factory.mktemp("sharded") / "model"
    shutil.copytree(whole, folder)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(whole).save_pretrained(folder, max_shard_size="500KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return folder


def safetensors(header, data=b""):
    """The bytes of a file with this header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_a_whole_checkpoint_is_described(whole):
    """Bytes and parameters come from the headers and equal the model's."""
    model = AutoModelForCausalLM.from_pretrained(whole)
    found = weights.inspect_checkpoint(whole)
    assert found.parameters == model.num_parameters()
    assert weights.count_bytes(whole) == 4 * found.parameters
    assert [tensor.name for tensor in found.tensors] == sorted(tensor.name for tensor in found.tensors)


def test_shards_do_not_change_the_digest(whole, sharded):
    """The digest is of the weights, not of the files they lie in."""
    assert weights.digest_weights(sharded) == weights.digest_weights(whole)
    assert weights.inspect_checkpoint(sharded).parameters == weights.inspect_checkpoint(whole).parameters


def test_a_seed_makes_weights_of_its_own(whole, tmp_path):
    """Other weights, another digest; the same seed, the same digest."""
    assert weights.digest_weights(tiny.build(tmp_path / "same")) == weights.digest_weights(whole)
    assert weights.digest_weights(tiny.build(tmp_path / "other", seed=1)) != weights.digest_weights(whole)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])},
        {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor([4.0])},
        {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([4.0])},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32), "b": torch.tensor([4.0])},
    ],
    ids=["value", "name", "shape", "dtype"],
)
def test_the_digest_sees_every_part_of_a_tensor(tensors, tmp_path):
    """A changed value, name, shape or dtype each changes the digest."""
    save_file({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([4.0])}, tmp_path / "model.safetensors")
    before = weights.digest_weights(tmp_path)
    save_file(tensors, tmp_path / "model.safetensors")
    assert weights.digest_weights(tmp_path) != before


def test_the_digest_is_the_documented_one(tmp_path):
    """Golden: over the text name:dtype:shape: and the bytes of each tensor, sorted by name."""
    save_file(
        {"b": torch.tensor(2, dtype=torch.uint8), "a": torch.zeros(2, 1, dtype=torch.bfloat16)},
        tmp_path / "model.safetensors",
    )
    # printf 'a:BF16:2x1:\0\0\0\0b:U8::\2' | sha256sum
    assert weights.digest_weights(tmp_path) == "566f1dccf51828a55b125f18a66469baf60d1405ecc6c6bac4fcc06d7463c528"


def drop(name):
    """Remove a file."""
    return lambda folder: (folder / name).unlink()


def write(name, data):
    """Write a file."""
    return lambda folder: (folder / name).write_bytes(data)


def instead(name, data):
    """Write a file in place of the weights."""

    def change(folder):
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(data)

    return change


def cut(folder):
    """Lose the end of the weights, as an interrupted download does."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


INDEX = b'{"weight_map": {"a": "model-1.safetensors"}}'
BAD = [
    ("no config", drop("config.json"), "config.json is missing"),
    ("config cut", write("config.json", b'{"a": '), "config.json: not JSON"),
    ("no tokenizer", drop("tokenizer.json"), "the tokenizer is missing"),
    ("no weights", drop("model.safetensors"), "holds no weights"),
    ("pickled", instead("pytorch_model.bin", b"x"), "pickled weights .* safetensors only: .*save_pretrained"),
    ("FSDP", instead("pytorch_model_fsdp_0", b""), "shards of FSDP.*accelerate merge-weights"),
    ("DeepSpeed", instead("zero_to_fp32.py", b""), "shards of DeepSpeed.*zero_to_fp32.py"),
    ("gguf", instead("model.gguf", b"GGUF"), "model.gguf is not a name that engines load"),
    ("adapter", instead("adapter_config.json", b"{}"), "an adapter, not a whole model: .*bench merge"),
    ("both", write("adapter_config.json", b"{}"), "an adapter, not a whole model"),
    ("ambiguous", write("model.safetensors.index.json", INDEX), "holds both"),
    ("stray", write("extra.safetensors", b""), "extra.safetensors is not part of the model"),
    ("shard missing", instead("model.safetensors.index.json", INDEX), "model-1.safetensors is missing"),
    ("index cut", instead("model.safetensors.index.json", INDEX[:20]), "not JSON"),
    ("index outside", instead("model.safetensors.index.json", INDEX.replace(b"model-", b"../")), "is not an index"),
    ("truncated", cut, "model.safetensors is truncated: .* bytes, not"),
    ("empty", write("model.safetensors", b""), "is truncated or no safetensors file"),
    ("noise", write("model.safetensors", b"\xff" * 5000), "is truncated or no safetensors file"),
    ("pointer", write("model.safetensors", b"version https://git-lfs"), "a pointer of Git LFS"),
    ("no pointer", write("model.safetensors", b"version ".ljust(1024)), "is truncated or no safetensors file"),
    ("header", write("model.safetensors", safetensors([1])), "broken safetensors header"),
    (
        "overlap",
        write("model.safetensors", safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"1234")),
        "a does not fit its place",
    ),
    (
        "too long",
        write("model.safetensors", safetensors({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}, b"12345")),
        "is too long",
    ),
    (
        "odd dtype",
        write("model.safetensors", safetensors({"a": {"dtype": "Q4", "shape": [2], "data_offsets": [0, 1]}}, b"1")),
        "broken safetensors header",
    ),
]


@pytest.mark.parametrize(("change", "told"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_folder_is_refused_in_one_clear_line(whole, tmp_path, change, told):
    """Every way a checkpoint can be unusable is told with the folder, the reason and a way out."""
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    change(folder)
    with pytest.raises(BenchError, match=told) as caught:
        weights.inspect_checkpoint(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.way_out


def row(dtype, shape, begin, end):
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("table", "size"),
    [
        ({"a": row("F32", [1], 4, 8)}, 8),
        ({"a": row("F32", [1], 0, 4), "b": row("F32", [1], 5, 9)}, 9),
        ({"a": row("F32", [1], 0, 4), "b": row("F32", [1], 3, 7)}, 7),
        ({"a": row("F32", [-1], 0, 4)}, 4),
        ({"a": row("F32", [True], 0, 4)}, 4),
        ({"a": row("F32", [1.0], 0, 4)}, 4),
        ({"a": row("U8", [0, 2**48], 0, 0)}, 0),
        ({"a": row("F32", [1] * 65, 0, 4)}, 4),
        ({"a": row("F4", [2], 0, 2)}, 2),
        ({"a": row("BF16", [2], 0, 8)}, 8),
    ],
)
def test_a_header_that_places_its_tensors_wrongly_is_broken(tmp_path, table, size):
    """Gaps, overlaps, sizes that are none, too many dimensions, and a dtype's width."""
    (tmp_path / "model.safetensors").write_bytes(safetensors(table, bytes(size)))
    with pytest.raises(ValueError, match="broken safetensors header"):
        weights.read_header(tmp_path / "model.safetensors")


def test_a_header_may_be_as_long_as_the_limit_and_no_longer(tmp_path, monkeypatch):
    """It is refused by its length alone, before it is parsed."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(safetensors({"a": row("F32", [1], 0, 4)}, b"\0" * 4))
    length = int.from_bytes(file.read_bytes()[:8], "little")
    monkeypatch.setattr(weights, "_LONGEST_HEADER", length)
    assert [tensor.name for tensor in weights.read_header(file)] == ["a"]
    monkeypatch.setattr(weights, "_LONGEST_HEADER", length - 1)
    with pytest.raises(ValueError, match=f"a header of more than {length - 1:,} bytes"):
        weights.read_header(file)


def test_a_sound_header_gives_every_tensor_its_place(tmp_path):
    """In the order of the bytes, whatever the header's; a nibble, a scalar, nothing and 64 dimensions are sound."""
    table = {
        "__metadata__": {"format": "pt"},
        "d": row("F64", [1] * 64, 7, 15),
        "a": row("F4", [2, 3], 0, 3),
        "b": row("I32", [], 3, 7),
        "c": row("F16", [2**48 - 1, 0], 3, 3),
    }
    file = tmp_path / "model.safetensors"
    file.write_bytes(safetensors(table, bytes(15)))
    start = file.stat().st_size - 15
    found = {tensor.name: (tensor.begin - start, tensor.size) for tensor in weights.read_header(file)}
    assert found == {"a": (0, 3), "c": (3, 0), "b": (3, 4), "d": (7, 8)}
    assert list(found)[-1] == "d"


def test_the_digest_is_of_all_chunks_and_of_no_file_that_ends_early(whole, monkeypatch, tmp_path):
    """A tensor is read in pieces; a disk that fails meanwhile is an error, and no other digest."""
    shutil.copy(whole / "model.safetensors", tmp_path)
    tensors = weights.read_tensors(tmp_path)
    expected = weights.digest_weights(whole)
    monkeypatch.setattr(weights, "_CHUNK", 1000)
    assert weights._digest_tensors(tensors) == expected
    cut(tmp_path)
    with pytest.raises(BenchError, match="ended while it was read"):
        weights._digest_tensors(tensors)


@pytest.mark.parametrize(("missing", "told"), [(5, "model-5.safetensors is missing:"), (7, "; and 2 more:")])
def test_five_problems_are_named_and_the_rest_counted(whole, tmp_path, missing, told):
    """A folder without any of its shards is still one line."""
    claimed = {f"t{number}": f"model-{number}.safetensors" for number in range(1, missing + 1)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": claimed}))
    with pytest.raises(BenchError, match=told) as caught:
        weights.read_tensors(tmp_path)
    assert caught.value.what.count(" is missing") == 5


def test_a_tensor_promised_by_the_index_must_be_in_its_shard(sharded, tmp_path):
    """An index and its shards agree, or the checkpoint is refused."""
    folder = tmp_path / "model"
    shutil.copytree(sharded, folder)
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    table["weight_map"]["ghost"] = table["weight_map"]["model.norm.weight"]
    index.write_text(json.dumps(table))
    with pytest.raises(BenchError, match="ghost is not in model-"):
        weights.inspect_checkpoint(folder)


def test_a_tensor_in_two_shards_is_refused(sharded, tmp_path):
    """Which of two would be loaded is not for chance to say."""
    folder = tmp_path / "model"
    shutil.copytree(sharded, folder)
    first, second = sorted(folder.glob("model-*.safetensors"))[:2]
    shutil.copy(first, second)
    with pytest.raises(BenchError, match="is in two shards"):
        weights.inspect_checkpoint(folder)


def test_all_problems_are_told_at_once(whole, tmp_path):
    """Nobody mends a folder one message at a time."""
    folder = tmp_path / "model"
    shutil.copytree(whole, folder)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
    with pytest.raises(BenchError, match=r"no weights.*config.json is missing; the tokenizer is missing"):
        weights.inspect_checkpoint(folder)


@pytest.mark.parametrize(("name", "state"), [("gone", "does not exist"), ("file", "is a file")])
def test_no_folder_is_told(tmp_path, name, state):
    """A wrong path is named as such."""
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match=state):
        weights.inspect_checkpoint(tmp_path / name)


def test_weights_alone_have_a_digest(whole, tmp_path):
    """Neither config nor tokenizer is asked for where only the weights matter."""
    shutil.copy(whole / "model.safetensors", tmp_path)
    assert weights.digest_weights(tmp_path) == weights.digest_weights(whole)


def test_weights_that_were_read_are_not_read_again_until_a_file_changes(whole, tmp_path, monkeypatch):
    """Same bytes, same file: remembered. Another number in its place, size and name unchanged: read."""
    folder = tmp_path / "folder"
    shutil.copytree(whole, folder)
    monkeypatch.setattr(file_cache, "SETTLED_NANOSECONDS", 0)
    read, really = [], weights._digest_tensors
    monkeypatch.setattr(weights, "_digest_tensors", lambda tensors: read.append(1) or really(tensors))
    first = weights.digest_weights(folder)
    assert (weights.digest_weights(folder), len(read)) == (first, 1)
    with (folder / weights.SINGLE_FILE).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    assert weights.digest_weights(folder) != first
    assert len(read) == 2


def test_weights_written_a_moment_ago_are_read_every_time(whole, tmp_path, monkeypatch):
    """Their next change might fall into the same tick of the clock."""
    folder = tmp_path / "folder"
    shutil.copytree(whole, folder)
    read, really = [], weights._digest_tensors
    monkeypatch.setattr(weights, "_digest_tensors", lambda tensors: read.append(1) or really(tensors))
    assert weights.digest_weights(folder) == weights.digest_weights(folder)
    assert len(read) == 2
