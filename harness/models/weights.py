"""Read a checkpoint's safetensors headers: is the folder complete, how large is it, and what is its digest."""

import hashlib
import importlib.util
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from baseline_bench.core import trace
from baseline_bench.core.errors import BenchError, combine_problems
from baseline_bench.core.untrusted import open_regular, parse_json, read_object
from baseline_bench.models import file_cache

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
# Of the matrices that a tied model shares: the ends of their names.
HEAD, EMBEDDINGS = "lm_head.weight", ("embed_tokens.weight", "wte.weight")
TOKENIZER_FILE_SETS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"), ("vocab.txt",))

# What torch's wrappers put into the names of weights: FSDP, torch.compile, checkpointing, DataParallel.
WRAPPER_NAME = re.compile(
    r"(?:^|\.)(_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)\.|^(?:base_model\.model\.)?(module)\."
)
# What a trainer writes for itself instead of weights: a file name's beginning, the trainer, the command that converts.
_SHARD_FORMATS = (
    ("pytorch_model_fsdp_", "FSDP", "accelerate merge-weights {0}/pytorch_model_fsdp_0 OUT"),
    ("zero_to_fp32.py", "DeepSpeed", "python {0}/zero_to_fp32.py {0} OUT --safe_serialization"),
)
_DTYPE_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
# 100,000 tensors; safetensors itself takes 100 MB, whose parsing needs a GB of memory.
_LONGEST_HEADER = 16 * 2**20
# Of a tensor's dimensions; more make the product of their sizes slow.
_MOST_DIMENSIONS, _LARGEST_NUMBER = 64, 2**48
_CHUNK = 4 * 2**20
_MAX_SHOWN = 5
_WAY_OUT = "download or save the checkpoint again"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor and the location of its bytes.

    Attributes:
        name: as in the file.
        dtype: as safetensors spells it ("BF16").
        shape: of the array; () is a scalar.
        file: the shard that holds it.
        begin: first byte, counted from the start of the file.
        size: number of bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    size: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that an engine can load.

    Attributes:
        folder: holds config.json, the weights and the tokenizer.
        tensors: of all shards, sorted by name.
    """

    folder: Path
    tensors: tuple[Tensor, ...]

    @property
    def parameters(self) -> int:
        """Number of stored parameters; tied tensors count once."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


def inspect_checkpoint(folder: Path) -> Checkpoint:
    """Check that a folder holds everything an engine loads; report every problem at once.

    Leaves it to the engine to refuse an unknown architecture or one that needs its own code.

    Raises:
        BenchError: no such folder, an adapter, weights that are missing, truncated, pickled or ambiguous, no
            config.json, no tokenizer.
    """
    _require_folder(folder)
    problems = []
    way_out = _WAY_OUT
    tensors: tuple[Tensor, ...] = ()
    try:
        tensors = read_tensors(folder)
    except BenchError as error:
        problems.append(error.what.removeprefix(f"{folder}: "))
        way_out = error.way_out or way_out
    try:
        read_object(folder / "config.json", None)
    except BenchError as error:
        is_missing = not os.path.lexists(folder / "config.json")
        problems.append("config.json is missing" if is_missing else error.what.removeprefix(f"{folder}/"))
    specials = [path.name for path in folder.iterdir() if path.exists() and not (path.is_file() or path.is_dir())]
    problems += [f"{name} is a pipe or a device, not a file" for name in sorted(specials)]
    if not has_tokenizer(folder):
        way_out = way_out if problems else "copy the tokenizer's files and the chat template of its base into it"
        problems.append("the tokenizer is missing (tokenizer.json or tokenizer.model)")
    if problems:
        raise combine_problems(problems, str(folder), way_out)
    return Checkpoint(folder, tensors)


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds all files of some kind of tokenizer."""
    return any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILE_SETS)


def read_config(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's config.json, empty if it is missing or is not a JSON object."""
    try:
        return read_object(folder / "config.json", None)
    except BenchError:
        return {}


def get_text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a config.json that describes the language model: `text_config`, or all of it without one."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def is_head_tied(folder: Path) -> bool | None:
    """Return whether the head is the embedding: by transformers if it knows the model, else by config.json, or None."""
    tied = None
    if importlib.util.find_spec("torch") is not None:
        from baseline_bench.models import tensor_check  # loads torch

        tied = tensor_check.is_head_tied(folder)
    config = read_config(folder)
    stated = {**get_text_config(config), **config}.get("tie_word_embeddings") if tied is None else tied
    return stated if isinstance(stated, bool) else None


def describe_quantisation(folder: Path) -> str | None:
    """Return the method and bits of quantised weights, such as "gptq 4-bit", as config.json states them, or None."""
    config = read_config(folder)
    stated = config.get("quantization_config") or get_text_config(config).get("quantization_config")
    if not isinstance(stated, dict):
        return None if stated is None else "unknown"
    method, loaded = stated.get("quant_method"), next((n for n in (4, 8) if stated.get(f"load_in_{n}bit")), None)
    bits = stated.get("bits") or stated.get("w_bit") or loaded
    known = isinstance(method, str) and re.fullmatch(r"[\w-]{1,30}", method) is not None
    return f"{method if known else 'unknown'}{f' {bits}-bit' if isinstance(bits, int) else ''}"


def describe_quantisation_settings(folder: Path) -> dict[str, str]:
    """Return what an engine's settings say of quantised weights; empty for weights that are not quantised."""
    quantisation = describe_quantisation(folder)
    return {} if quantisation is None else {"quantised": quantisation}


def digest_weights(folder: Path) -> str:
    """Return one SHA-256 for a set of weights, independent of how it is split into shards.

    Hashes the tensors sorted by name; each adds the UTF-8 text `name:dtype:shape:` (shape as `576x49152`, empty for a
    scalar) and then its bytes as stored. Memory is constant and 1 GB takes about a second. Within one process, files
    that have not changed are read only once.

    Raises:
        BenchError: the weights are missing or broken.
    """
    tensors = tuple(read_tensors(folder))
    return file_cache.compute_once(
        sorted({tensor.file for tensor in tensors}), tensors, lambda: _digest_tensors(tensors)
    )


def _digest_tensors(tensors: Sequence[Tensor]) -> str:
    digest = hashlib.sha256()
    with trace.span("digest weights"), ExitStack() as stack:
        opened: dict[Path, FileIO] = {}
        for tensor in tensors:
            if tensor.file not in opened:
                opened[tensor.file] = stack.enter_context(tensor.file.open("rb", buffering=0))
            shape = "x".join(map(str, tensor.shape))
            digest.update(f"{tensor.name}:{tensor.dtype}:{shape}:".encode())
            for chunk in _read_chunks(opened[tensor.file], tensor):
                digest.update(chunk)
    return digest.hexdigest()


def count_bytes(folder: Path) -> int:
    """Return the bytes of all tensors of a folder, from the headers alone.

    Raises:
        BenchError: the weights are missing or broken.
    """
    return sum(tensor.size for tensor in read_tensors(folder))


def read_tensors(folder: Path) -> tuple[Tensor, ...]:
    """Return every tensor of a folder's weights, sorted by name; needs neither tokenizer nor config.

    Raises:
        BenchError: no such folder, an adapter, weights that are missing, truncated, pickled or ambiguous.
    """
    _require_folder(folder)
    names = sorted(entry.name for entry in folder.iterdir())
    claimed = read_weight_map(folder) if choose_weights_file(names, str(folder)) == INDEX_FILE else {}
    shards = sorted(set(claimed.values())) or [SINGLE_FILE]
    problems = [f"{name} is missing" for name in shards if name not in names]
    strays = [name for name in names if name.endswith(".safetensors") and name not in shards]
    problems += [f"{name} is not part of the model, yet some engines would load it: move it away" for name in strays]
    tensors: dict[str, Tensor] = {}
    for name in [shard for shard in shards if shard in names]:
        try:
            for tensor in read_header(folder / name):
                if tensors.setdefault(tensor.name, tensor) is not tensor:
                    problems.append(f"{tensor.name} is in two shards")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror})")
        except ValueError as error:
            problems.append(f"{name} {error}")
    if not problems:
        problems = [f"{name} is not in {claimed[name]}" for name in sorted(set(claimed) - set(tensors))]
    if problems:
        more = [f"and {len(problems) - _MAX_SHOWN} more"] if len(problems) > _MAX_SHOWN else []
        raise combine_problems(problems[:_MAX_SHOWN] + more, str(folder), _WAY_OUT)
    return tuple(tensors[name] for name in sorted(tensors))


def choose_weights_file(names: Sequence[str], where: str) -> str:
    """Return which file locates a checkpoint's weights: `SINGLE_FILE` or `INDEX_FILE`.

    Args:
        names: the file names of a folder, or of the top level of a hub repository.
        where: the folder or repository, with which an error begins.

    Raises:
        BenchError: neither or both are present, or the weights are an adapter or pickled.
    """
    if ADAPTER_CONFIG in names:
        raise BenchError(f"{where}: an adapter, not a whole model", "merge it into its base with `bench merge` first")
    if SINGLE_FILE in names and INDEX_FILE in names:
        raise BenchError(
            f"{where}: holds both {SINGLE_FILE} and {INDEX_FILE}, and engines differ in which they load", "remove one"
        )
    if SINGLE_FILE in names or INDEX_FILE in names:
        return SINGLE_FILE if SINGLE_FILE in names else INDEX_FILE
    for beginning, trainer, command in _SHARD_FORMATS:
        if any(name.startswith(beginning) for name in names):
            way_out = f"{command.format(where)} writes {SINGLE_FILE}"
            raise BenchError(f"{where}: holds shards of {trainer}, which no engine loads", way_out)
    pickles = [name for name in names if name.endswith(PICKLE_SUFFIXES) and not name.startswith("optimizer.")]
    if pickles:
        raise BenchError(
            f"{where}: pickled weights ({pickles[0]}) run code when they are loaded: safetensors only",
            "where you trust them, load them with AutoModelForCausalLM.from_pretrained and write them again with "
            "save_pretrained",
        )
    other = [name for name in names if name.endswith((".safetensors", ".gguf"))]
    other_note = f"; {other[0]} is not a name that engines load" if other else ""
    raise BenchError(
        f"{where}: holds no weights ({SINGLE_FILE} or {INDEX_FILE}){other_note}",
        "name a folder that save_pretrained wrote",
    )


def read_weight_map(folder: Path) -> dict[str, str]:
    """Read tensor name -> shard from a folder's index; refuse shards with a path, which could leave the folder.

    Raises:
        BenchError: the index is missing or malformed.
    """
    try:
        claimed = read_object(folder / INDEX_FILE, _WAY_OUT)["weight_map"]
        sound = bool(claimed) and all(Path(shard).name == shard for shard in claimed.values())
    except (KeyError, TypeError, AttributeError, ValueError):
        sound = False
    if not sound:
        raise BenchError(f"{folder}: {INDEX_FILE} is not an index of shards", _WAY_OUT)
    return dict(claimed)


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise BenchError(f"{folder} {state}", "name the folder that holds config.json, *.safetensors and the tokenizer")


def read_header(file: Path) -> list[Tensor]:
    """Return the tensors of one file in the order of their bytes, checked against its length.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        ValueError: the file is broken; the text ends the sentence that begins with its name.
    """
    with open_regular(file) as stream:
        length = os.fstat(stream.fileno()).st_size
        opening = stream.read(8)
        if length < 1024 and opening == b"version ":
            raise ValueError("is a pointer of Git LFS, not the weights (`git lfs pull` fetches them)")
        size = int.from_bytes(opening, "little")
        if len(opening) < 8 or size > length - 8:
            raise ValueError("is truncated or no safetensors file")
        if size > _LONGEST_HEADER:
            raise ValueError(f"has a header of more than {_LONGEST_HEADER:,} bytes")
        header = stream.read(size)
    try:
        table = parse_json(header, "", None)
        rows = [(name, _parse_header_row(row)) for name, row in table.items() if name != "__metadata__"]
    except (BenchError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("has a broken safetensors header") from None
    rows.sort(key=lambda row: row[1][2:])  # an empty tensor begins where the next one does
    expected = 0
    for name, (dtype, shape, begin, end) in rows:
        if begin != expected or _DTYPE_BITS[dtype] * math.prod(shape) != 8 * (end - begin):
            raise ValueError(f"has a broken safetensors header ({name} does not fit its place)")
        expected = end
    data = 8 + size
    if data + expected != length:
        raise ValueError(
            f"is {'truncated' if length < data + expected else 'too long'}: {length} bytes, not {data + expected}"
        )
    return [Tensor(name, dtype, shape, file, data + begin, end - begin) for name, (dtype, shape, begin, end) in rows]


def _parse_header_row(row: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Return dtype, shape, begin and end of one tensor of a header."""
    begin, end = row["data_offsets"]
    dtype, shape = row["dtype"], tuple(row["shape"])
    numbers = (*shape, begin, end)
    if dtype not in _DTYPE_BITS or len(shape) > _MOST_DIMENSIONS:
        raise ValueError
    if not all(type(number) is int and 0 <= number < _LARGEST_NUMBER for number in numbers):
        raise ValueError
    return dtype, shape, begin, end


def _read_chunks(stream: FileIO, tensor: Tensor) -> Iterator[memoryview]:
    """Yield a tensor's bytes, a few MiB at a time, in one buffer that each step overwrites."""
    buffer = memoryview(bytearray(min(_CHUNK, tensor.size)))
    stream.seek(tensor.begin)
    remaining = tensor.size
    while remaining:
        count = stream.readinto(buffer[: min(remaining, len(buffer))])
        if not count:
            raise BenchError(f"{tensor.file} ended while it was read", _WAY_OUT)
        yield buffer[:count]
        remaining -= count
