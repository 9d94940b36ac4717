"""Folds a LoRA adapter into its base once, in the dtype it will be served in, and proves what was written."""

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import encode_indented
from baseline_bench.models import adapter as adapters
from baseline_bench.models import weights
from baseline_bench.models.adapter import Adapter
from baseline_bench.models.merge_tensors import DTYPES, TensorPlan, WriteStatistics, check_tensor, write_tensors

RECORD_FILE = "merge.json"
SAFETENSORS_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}

_WEIGHT_SUFFIXES = (
    ".safetensors",
    ".safetensors.index.json",
    ".gguf",
    ".onnx",
    ".h5",
    ".msgpack",
    *weights.PICKLE_SUFFIXES,
)
_MAX_SHOWN = 5
_MERGE_AGAIN = "merge again; should it fail again, the disk or this program is at fault"


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """How an adapter is folded.

    Attributes:
        dtype: of the merged weights: bfloat16, float16 or float32.
        quantised: "nf4" where the adapter was trained over a base in that form; merging then starts from what it held.
        double_quantization: of that form: whether its constants were quantised too.
        expected_base_sha256: of the weights that the adapter was trained on; None where nobody noted it.
    """

    dtype: str = "bfloat16"
    quantised: str | None = None
    double_quantization: bool = True
    expected_base_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in SAFETENSORS_DTYPES:
            raise ValueError(f"dtype must be {', '.join(SAFETENSORS_DTYPES)}, not '{self.dtype}'")
        if self.quantised not in (None, "nf4"):
            raise ValueError(f"quantised must be nf4 or none, not '{self.quantised}'")


@dataclass(frozen=True, slots=True)
class MergeRecord:
    """What was merged, and what the output's grid lost of it.

    Attributes:
        dtype: of the merged weights.
        quantised: "nf4" where the base was taken through that form first, else None.
        double_quantization: of that form; None without it.
        base_sha256: of the base as it lies on disk.
        adapter_sha256: of the adapter's tensors.
        merged_sha256: of the merged weights, read back from disk.
        tensors: how many the adapter targets.
        others: how many it does not.
        cast: those of the others that changed their dtype.
        dequantised: those of the others that were held in 4 bits while the adapter was trained.
        rel_err: Frobenius norm of round(W + D) - (W + D) over that of D, over all targets; W + D is summed in fp32.
        seconds: of the whole merge, proofs included.
    """

    dtype: str
    quantised: str | None
    double_quantization: bool | None
    base_sha256: str
    adapter_sha256: str
    merged_sha256: str
    tensors: int
    others: int
    cast: int
    dequantised: int
    rel_err: float
    seconds: float


def merge_adapter(base: Path, adapter: Path, out: Path, options: MergeOptions) -> MergeRecord:
    """Write the merged model into a folder that must not exist yet; it appears when everything is proved, or never.

    Tokenizer, templates and generation config are the base's, byte for byte; shards bear the base's names. Memory is a
    few blocks of 4 MiB; for a base in 4 bits a few times the largest tensor.

    Raises:
        BenchError: a base or an adapter that cannot be merged, another base than the adapter's, a missing library, too
            little disk, or a proof that failed.
    """
    began = time.monotonic()
    if out.exists():
        raise BenchError(f"{out} exists already", "remove it, or name another folder")
    if options.expected_base_sha256 is not None:
        _require_base(base, options.expected_base_sha256)
    found = adapters.read_adapter(adapter)
    parts = plan_tensors(base, found, options)
    beside = _list_other_files(base)
    needed = sum(part.size for part in parts) + sum((base / name).stat().st_size for name in beside)
    machine.require_disk(out, needed, f"merging {adapter}", "free some space, or merge to a larger disk")
    draft = out.with_name(f".{out.name}-{uuid.uuid4().hex}")
    draft.mkdir(parents=True)
    try:
        _copy_files(base, beside, draft)
        _write_index_and_config(base, draft, parts, options.dtype)
        written = write_tensors(parts, draft)
        base_sha256, merged_sha256 = _verify_and_digest(base, draft, parts, written, options)
        record = _build_record(parts, written, options, (base_sha256, found.sha256, merged_sha256), began)
        (draft / RECORD_FILE).write_bytes(encode_indented(record))
        os.rename(draft, out)  # noqa: PTH104  # Path.rename
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return record


def plan_tensors(base: Path, adapter: Adapter, options: MergeOptions) -> tuple[TensorPlan, ...]:
    """What becomes of each tensor of the base, sorted by name.

    Raises:
        BenchError: the base is broken, an adapter, held in a quantised form, or not the one that the adapter fits.
    """
    tensors = {tensor.name: tensor for tensor in weights.inspect_checkpoint(base).tensors}
    config = _read_json(base / "config.json")
    if config.get("quantization_config"):
        raise BenchError(f"{base} is held in a quantised form", "name the base that it was made from")
    adapters.require_fits_base(adapter, base, tensors, tied=bool(config.get("tie_word_embeddings")))
    pairs = {pair.target: pair for pair in adapter.pairs}
    linear: frozenset[str] = frozenset()
    if options.quantised:
        from baseline_bench.models import nf4  # loads transformers

        linear = nf4.list_quantised_weights(base)
    if unknown := sorted(linear - set(tensors)):
        raise BenchError(
            f"{base} holds no {unknown[0]}, which training held in 4 bits", "merge an adapter trained without nf4"
        )
    return tuple(
        TensorPlan(
            tensor=tensor,
            dtype=SAFETENSORS_DTYPES[options.dtype] if tensor.dtype in DTYPES else tensor.dtype,
            pair=pairs.get(name),
            double=options.double_quantization if name in linear else None,
        )
        for name, tensor in tensors.items()
    )


def verify_merge(parts: Sequence[TensorPlan], written: Mapping[str, WriteStatistics], folder: Path) -> None:
    """Read a merged model back from disk and compare it with its base.

    Raises:
        BenchError: other names, shapes or dtypes than planned, numbers that are not finite, a target that did not
            change or is not as far away as the adapter moves it, or another tensor that changed.
    """
    there = {tensor.name: tensor for tensor in weights.inspect_checkpoint(folder).tensors}
    planned = [(part.tensor.name, part.dtype, part.tensor.shape) for part in parts]
    if planned != [(tensor.name, tensor.dtype, tensor.shape) for tensor in there.values()]:
        raise BenchError("the merged weights differ from the base's in names, shapes or dtypes", _MERGE_AGAIN)
    read = {part: check_tensor(part, written[part.tensor.name], there[part.tensor.name]) for part in parts}
    findings = (
        (
            [part for part in parts if not read[part].finite],
            "hold numbers that are not finite",
            "merge into bfloat16 or float32",
        ),
        (
            [part for part in parts if not part.pair and not read[part].same],
            "changed, though the adapter does not target them",
            _MERGE_AGAIN,
        ),
        (
            [part for part in parts if part.pair and read[part].same],
            "did not change, though the adapter targets them",
            "the adapter is hardly trained there: train longer, or merge into float32",
        ),
        ([part for part in parts if not read[part].near], "are not where the adapter moves them", _MERGE_AGAIN),
    )
    for found, what, way_out in findings:
        if found:
            names = ", ".join(part.tensor.name for part in found[:_MAX_SHOWN]) + (", ..." if found[_MAX_SHOWN:] else "")
            raise BenchError(f"{len(found)} merged tensors {what}: {names}", way_out)


def _require_base(base: Path, expected: str) -> None:
    found = weights.digest_weights(base)
    if found != expected:
        raise BenchError(
            f"{base} is not what the adapter was trained on: its weights are {found[:12]}, not {expected[:12]}",
            "name that base, in the same revision and dtype",
        )


def _verify_and_digest(
    base: Path, draft: Path, parts: Sequence[TensorPlan], written: Mapping[str, WriteStatistics], options: MergeOptions
) -> tuple[str, str]:
    """The digests of base and merged weights, taken beside the proofs: hashing leaves the interpreter free."""
    with ThreadPoolExecutor(2) as pool:
        merged = pool.submit(weights.digest_weights, draft)
        known = options.expected_base_sha256
        before = pool.submit(weights.digest_weights, base) if known is None else None
        verify_merge(parts, written, draft)
    return (before.result() if before else str(known)), merged.result()


def _build_record(
    parts: Sequence[TensorPlan],
    written: Mapping[str, WriteStatistics],
    options: MergeOptions,
    digests: tuple[str, str, str],
    began: float,
) -> MergeRecord:
    others = [part for part in parts if part.pair is None]
    lost, moved = (math.fsum(getattr(told, key) for told in written.values()) for key in ("lost", "moved"))
    return MergeRecord(
        dtype=options.dtype,
        quantised=options.quantised,
        double_quantization=options.double_quantization if options.quantised else None,
        base_sha256=digests[0],
        adapter_sha256=digests[1],
        merged_sha256=digests[2],
        tensors=len(parts) - len(others),
        others=len(others),
        cast=sum(part.dtype != part.tensor.dtype for part in others),
        dequantised=sum(part.double is not None for part in others),
        rel_err=math.sqrt(lost / moved),
        seconds=time.monotonic() - began,
    )


def _list_other_files(base: Path) -> list[Path]:
    """Every file of a model that holds no weights, relative to its folder; hidden ones are not the model's."""
    names = (file.relative_to(base) for file in sorted(base.rglob("*")) if file.is_file())
    return [
        name
        for name in names
        if not (
            name.name.endswith(_WEIGHT_SUFFIXES)
            or str(name) == RECORD_FILE
            or any(part[0] == "." for part in name.parts)
        )
    ]


def _copy_files(base: Path, names: Sequence[Path], draft: Path) -> None:
    for name in names:
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base / name, draft / name)


def _write_index_and_config(base: Path, draft: Path, parts: Sequence[TensorPlan], dtype: str) -> None:
    """Write the index, and let config.json name the dtype where it is another than the base's."""
    cast = any(part.dtype != part.tensor.dtype for part in parts)
    if cast:
        _write_json(draft / "config.json", _with_dtype(_read_json(base / "config.json"), dtype))
    if (base / weights.INDEX_FILE).is_file():
        shutil.copyfile(base / weights.INDEX_FILE, draft / weights.INDEX_FILE)
        index = _read_json(base / weights.INDEX_FILE)
        if cast and "total_size" in index.get("metadata", {}):
            index["metadata"]["total_size"] = sum(part.size for part in parts)
            _write_json(draft / weights.INDEX_FILE, index)


def _with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """A configuration that names another dtype wherever it names one, parts of a larger model included."""
    return {
        key: dtype
        if key in ("dtype", "torch_dtype") and value is not None
        else (_with_dtype(value, dtype) if isinstance(value, dict) else value)
        for key, value in config.items()
    }


def _read_json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
