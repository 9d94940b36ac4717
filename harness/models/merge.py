"""Merge a LoRA adapter into its base, in the dtype to serve, and verify the written weights."""

import glob
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

from baseline_bench.core import machine, trace
from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.records import encode_indented
from baseline_bench.core.untrusted import read_object
from baseline_bench.models import adapter as adapters
from baseline_bench.models import weights
from baseline_bench.models.adapter import SAFETENSORS_DTYPES, Adapter, MergeOptions
from baseline_bench.models.merge_tensors import DTYPES, TensorPlan, WriteStatistics, check_tensor, write_tensors

RECORD_FILE = "merge.json"

_WEIGHT_SUFFIXES = (
    ".safetensors",
    ".safetensors.index.json",
    ".gguf",
    ".onnx",
    ".h5",
    ".msgpack",
    *weights.PICKLE_SUFFIXES,
)
_MERGE_AGAIN = "merge again; should it fail again, the disk or this program is at fault"


@dataclass(frozen=True, slots=True)
class MergeRecord:
    """A record of what was merged, and of how much rounding to the output dtype lost.

    Attributes:
        dtype: of the merged weights.
        quantised: "nf4" if the base was quantised and dequantised first, else None.
        double_quantization: whether the constants were quantised too; None without quantisation.
        base_sha256: of the base as stored on disk.
        adapter_sha256: of the adapter's tensors.
        merged_sha256: of the merged weights, read back from disk.
        tensors: number of tensors that the adapter targets.
        others: number of tensors that it does not.
        cast: how many of the others changed their dtype.
        dequantised: how many of the others were held in 4 bits during training.
        rel_err: Frobenius norm of round(W + D) - (W + D) over that of D, over all targets; W + D is summed in fp32.
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
    """Write the merged model into a folder that must not exist yet; it appears only after everything is verified.

    Copies the base's tokenizer, templates and generation config unchanged, and keeps its shard names. Uses a few blocks
    of 4 MiB of memory; for a base in 4 bits a few times the largest tensor.

    Raises:
        BenchError: a base or an adapter that cannot be merged, another base than the adapter's, a missing library, too
            little disk, or a failed verification.
    """
    start_time = time.monotonic()
    if out.exists():
        raise BenchError(f"{out} exists already", "remove it, or name another folder")
    if options.expected_base_sha256 is not None:
        _require_base(base, options.expected_base_sha256)
    lora = adapters.read_adapter(adapter)
    plans = plan_tensors(base, lora, options)
    other_files = _list_other_files(base)
    needed = sum(plan.size for plan in plans) + sum((base / name).stat().st_size for name in other_files)
    machine.require_disk(out, needed, f"merging {adapter}", "free some space, or merge to a larger disk")
    draft = name_draft(out)
    draft.mkdir(parents=True)
    try:
        _copy_files(base, other_files, draft)
        _write_index_and_config(base, draft, plans, options.dtype)
        written = write_tensors(plans, draft)
        base_sha256, merged_sha256 = _verify_and_digest(base, draft, plans, written, options)
        record = _build_record(plans, written, options, (base_sha256, lora.sha256, merged_sha256), start_time)
        (draft / RECORD_FILE).write_bytes(encode_indented(record))
        os.rename(draft, out)  # noqa: PTH104  # Path.rename
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return record


def name_draft(out: Path) -> Path:
    """Return a new hidden name next to a folder of merged weights, for one that is not complete."""
    return out.with_name(f".{out.name}-{uuid.uuid4().hex}")


def sweep_drafts(out: Path) -> None:
    """Delete the drafts that killed merges left; only for a process that has locked `out` against other merges."""
    for draft in out.parent.glob(f".{glob.escape(out.name)}-{'[0-9a-f]' * 32}"):
        shutil.rmtree(draft, ignore_errors=True)


def plan_tensors(base: Path, adapter: Adapter, options: MergeOptions) -> tuple[TensorPlan, ...]:
    """Plan the merge of each tensor, sorted by name; BenchError if base and adapter do not fit or cannot be merged."""
    tensors = {tensor.name: tensor for tensor in weights.inspect_checkpoint(base).tensors}
    pairs = {pair.target: pair for pair in adapters.fit_to_base(adapter, base, tensors).pairs}
    linear: frozenset[str] = frozenset()
    if options.quantised:
        from baseline_bench.models import nf4  # loads transformers

        linear = nf4.list_quantised_weights(base, tensors)
    return tuple(
        TensorPlan(
            tensor=tensor,
            dtype=SAFETENSORS_DTYPES[options.dtype] if tensor.dtype in DTYPES else tensor.dtype,
            pair=pairs.get(name),
            double=options.double_quantization if name in linear else None,
        )
        for name, tensor in tensors.items()
    )


def verify_merge(plans: Sequence[TensorPlan], written: Mapping[str, WriteStatistics], folder: Path) -> None:
    """Read a merged model back from disk and compare it with its base.

    Raises:
        BenchError: other names, shapes or dtypes than planned, numbers that are not finite, a target that did not
            change or changed by another amount than the adapter's, or a change in a tensor that is no target.
    """
    merged_tensors = {tensor.name: tensor for tensor in weights.inspect_checkpoint(folder).tensors}
    planned = [(plan.tensor.name, plan.dtype, plan.tensor.shape) for plan in plans]
    if planned != [(tensor.name, tensor.dtype, tensor.shape) for tensor in merged_tensors.values()]:
        raise BenchError("the merged weights differ from the base's in names, shapes or dtypes", _MERGE_AGAIN)
    checks = {plan: check_tensor(plan, written[plan.tensor.name], merged_tensors[plan.tensor.name]) for plan in plans}
    findings = (
        (
            [plan for plan in plans if not checks[plan].finite],
            "hold numbers that are not finite",
            "merge into bfloat16 or float32",
        ),
        (
            [plan for plan in plans if not plan.pair and not checks[plan].same],
            "changed, though the adapter does not target them",
            _MERGE_AGAIN,
        ),
        (
            [plan for plan in plans if plan.pair and checks[plan].same],
            "did not change, though the adapter targets them",
            "the adapter is hardly trained there: train longer, or merge into float32",
        ),
        ([plan for plan in plans if not checks[plan].near], "are not where the adapter moves them", _MERGE_AGAIN),
    )
    for failing, what, way_out in findings:
        if failing:
            names = list_first([plan.tensor.name for plan in failing])
            raise BenchError(f"{len(failing)} merged tensors {what}: {names}", way_out)


def _require_base(base: Path, expected: str) -> None:
    digest = weights.digest_weights(base)
    if digest != expected:
        what = f"{base} is not what the adapter was trained on: its weights are {digest[:12]}, not {expected[:12]}"
        raise BenchError(what, "name that base, in the same revision and dtype")


def _verify_and_digest(
    base: Path, draft: Path, plans: Sequence[TensorPlan], written: Mapping[str, WriteStatistics], options: MergeOptions
) -> tuple[str, str]:
    """Verify the merge, and meanwhile digest base and merged weights in threads (hashing releases the GIL)."""
    with trace.span("check merge"), ThreadPoolExecutor(2) as pool:
        merged_digest = pool.submit(weights.digest_weights, draft)
        known_digest = options.expected_base_sha256
        base_digest = pool.submit(weights.digest_weights, base) if known_digest is None else None
        verify_merge(plans, written, draft)
    return (base_digest.result() if base_digest else str(known_digest)), merged_digest.result()


def _build_record(
    plans: Sequence[TensorPlan],
    written: Mapping[str, WriteStatistics],
    options: MergeOptions,
    digests: tuple[str, str, str],
    start_time: float,
) -> MergeRecord:
    others = [plan for plan in plans if plan.pair is None]
    lost_squares, moved_squares = (
        math.fsum(getattr(statistics, key) for statistics in written.values()) for key in ("lost", "moved")
    )
    return MergeRecord(
        dtype=options.dtype,
        quantised=options.quantised,
        double_quantization=options.double_quantization if options.quantised else None,
        base_sha256=digests[0],
        adapter_sha256=digests[1],
        merged_sha256=digests[2],
        tensors=len(plans) - len(others),
        others=len(others),
        cast=sum(plan.dtype != plan.tensor.dtype for plan in others),
        dequantised=sum(plan.double is not None for plan in others),
        rel_err=math.sqrt(lost_squares / moved_squares),
        seconds=time.monotonic() - start_time,
    )


def _list_other_files(base: Path) -> list[Path]:
    """List a model's files that hold no weights, relative to its folder, without hidden ones."""
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


def _write_index_and_config(base: Path, draft: Path, plans: Sequence[TensorPlan], dtype: str) -> None:
    """Write the index, and update the dtype in config.json if the merge changes it."""
    cast = any(plan.dtype != plan.tensor.dtype for plan in plans)
    if cast:
        _write_json(draft / "config.json", _with_dtype(read_object(base / "config.json", "restore the file"), dtype))
    if (base / weights.INDEX_FILE).is_file():
        shutil.copyfile(base / weights.INDEX_FILE, draft / weights.INDEX_FILE)
        index = read_object(base / weights.INDEX_FILE, "restore the file")
        if cast and "total_size" in index.get("metadata", {}):
            index["metadata"]["total_size"] = sum(plan.size for plan in plans)
            _write_json(draft / weights.INDEX_FILE, index)


def _with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Replace the dtype wherever a configuration names one, nested configurations included."""
    return {
        key: dtype
        if key in ("dtype", "torch_dtype") and value is not None
        else (_with_dtype(value, dtype) if isinstance(value, dict) else value)
        for key, value in config.items()
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
