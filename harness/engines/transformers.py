"""Generate with transformers: the default engine, on cuda, mps or cpu.

Runs its own decode loop instead of `generate`: it yields a finished row at once and drops it from the batch, so that
a killed run keeps the row and no padding is computed for it.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from baseline_bench.core import machine
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Model, Request, Sampling, TokenLogprobs, TrainingExample, Value
from baseline_bench.engines import _teacher_forcing as teacher
from baseline_bench.engines import _top_p_sampling as drawing
from baseline_bench.engines._cache import (
    SharedPrefix,
    build_growing_cache,
    compact_rows,
    compute_shared_prefix,
    pad_left,
)
from baseline_bench.models import weights
from baseline_bench.models.model_config import CONFIG_ERRORS
from baseline_bench.models.tensor_check import explain_load_error
from baseline_bench.models.tokens import decode_completion, is_answer_finished
from transformers import AutoModelForCausalLM, AutoTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# The values that entries older than these options were made with.
ABSENT: Mapping[str, Value] = {"prefix_caching": False}
# This engine checks every logit that decides a token: NaN and infinity end the run.
LOGITS = True


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the transformers engine.

    Attributes:
        dtype: float32, bfloat16, float16, or auto: bfloat16 where the device computes it fast, else float32.
        device: cuda, mps, cpu, or auto: the first of these that is available.
        batch_size: rows decoded together; none means 32 on a CPU and 64 elsewhere.
        threads: CPU threads; none leaves torch's choice.
        prefix_caching: compute the prompts' common beginning once, unless a layer has a sliding window.
        solutions: also measure how likely the worked solutions are; none means yes, except on a CPU, where it is slow.
    """

    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    prefix_caching: bool = True
    threads: int | None = field(default=None, metadata={"neutral": True})
    solutions: bool | None = field(default=None, metadata={"neutral": True})

    def __post_init__(self) -> None:
        if self.dtype not in ("auto", *DTYPES):
            raise ValueError(f"dtype must be auto, {', '.join(DTYPES)}, not '{self.dtype}'")
        if self.device.partition(":")[0] not in ("auto", "cuda", "mps", "cpu"):
            raise ValueError(f"device must be auto, cuda, mps or cpu, not '{self.device}'")
        if (self.batch_size is not None and self.batch_size < 1) or (self.threads is not None and self.threads < 1):
            raise ValueError("batch_size and threads must be 1 or more")


class TransformersGenerator:
    """A model loaded by transformers."""

    version = f"transformers {transformers.__version__}"

    def __init__(self, network: Any, tokenizer: Any, settings: dict[str, Value]) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self.settings = settings
        self.context = int(network.config.get_text_config().max_position_embeddings)

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Decode in batches of similar length, longest first, so that a lack of memory shows early.

        Raises:
            BenchError: the device runs out of memory, or the logits are not finite.
        """
        ordered = sorted(requests, key=lambda r: -len(r.token_ids))
        size = int(self.settings["batch_size"] or 1)
        caching = self.settings["prefix_caching"] and ordered
        shared_prefix = (
            compute_shared_prefix(self._network, [request.token_ids for request in ordered]) if caching else None
        )
        for start in range(0, len(ordered), size):
            part = ordered[start : start + size]
            with self._memory(size):
                yield from _DecodingBatch(self._network, self._tokenizer, part, shared_prefix).decode(
                    sampling, frozenset(stop_ids)
                )

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """Measure in batches of similar length, longest first, and compute only the needed logits.

        Computes what several rows share before the measured text once, and so the common beginning of all rows.

        Raises:
            BenchError: the device runs out of memory.
        """
        vocabulary = int(self._network.config.get_text_config().vocab_size)
        shared = {row.token_ids[: row.start] for row in rows} if self.settings["prefix_caching"] else ()
        shared_prefix = compute_shared_prefix(self._network, list(shared)) if shared else None
        for batch in teacher.group_batches(rows, int(self.settings["batch_size"] or 1), vocabulary):
            with self._memory(sum(len(context.rows) for context in batch)):
                measured = list(teacher.measure_batch(self._network, batch, shared_prefix))
            yield from measured

    @contextmanager
    def _memory(self, size: int) -> Iterator[None]:
        """Turn an out-of-memory error over `size` rows into a BenchError that suggests a smaller batch."""
        try:
            yield
        except RuntimeError as error:  # the base of torch.OutOfMemoryError; mps and cpu raise it directly
            if not machine.is_out_of_memory(error):
                raise
            raise BenchError(
                f"out of memory on {self.settings['device']} with {size} rows together",
                f"start again with a smaller batch: -o batch_size={max(1, size // 2)} --again",
            ) from error

    def close(self) -> None:
        """Drop the weights."""
        self._network = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _DecodingBatch:
    """A batch of rows that are decoded together; `rows` shrinks as they finish."""

    def __init__(
        self, network: Any, tokenizer: Any, requests: Sequence[Request], shared_prefix: SharedPrefix | None
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.begun = shared_prefix
        self.rows = list(requests)
        self.written: dict[str, list[int]] = {request.id: [] for request in requests}

    @torch.inference_mode()
    def decode(self, sampling: Sampling, stop_ids: frozenset[int]) -> Iterator[tuple[str, Completion]]:
        device = self.network.device
        prefix_length = self.begun.length if self.begun else 0
        ids, mask, positions = pad_left([row.token_ids[prefix_length:] for row in self.rows], device)
        mask, positions = torch.cat([mask.new_ones(len(mask), prefix_length), mask], dim=1), positions + prefix_length
        config = self.network.config
        cache = self.begun.cache(config, len(self.rows)) if self.begun else build_growing_cache(config)
        draws = {row.id: drawing.build_generator(sampling, row.id) for row in self.rows}
        while True:
            logits = self.network(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
            ).logits[:, -1]
            chosen = drawing.choose_tokens(logits, sampling, [draws[row.id] for row in self.rows])
            unfinished = []
            for row_index, (row, token) in enumerate(zip(list(self.rows), chosen, strict=True)):
                finish = self._advance(row.id, token, sampling, stop_ids)
                if finish is None:
                    unfinished.append(row_index)
                else:
                    written = tuple(self.written[row.id])
                    text = decode_completion(self.tokenizer, written, sorted(stop_ids), sampling.stop)
                    yield row.id, Completion(text, written, finish)
            if not unfinished:
                return
            ids = torch.tensor([[token] for token in chosen], device=device)
            positions = positions[:, -1:] + 1
            if len(unfinished) < len(self.rows):
                order = compact_rows(unfinished)
                index = torch.tensor(order, device=device)
                self.rows = [self.rows[row_index] for row_index in order]
                cache.batch_select_indices(index)
                ids, mask, positions = ids[index], mask[index], positions[index]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)

    def _advance(self, row: str, token: int, sampling: Sampling, stop_ids: frozenset[int]) -> Any:
        """Append one token to a row; return why the row ends here, or None."""
        written = self.written[row]
        written.append(token)
        if is_answer_finished(self.tokenizer, written, stop_ids, sampling.stop):
            return "stop"
        return "length" if len(written) >= sampling.max_tokens else None


def measures(options: Options) -> bool:
    """Return whether to measure the worked solutions; raise a BenchError if the device is not available."""
    return _choose_device(options.device).type != "cpu" if options.solutions is None else options.solutions


def load(model: Model, options: Options) -> TransformersGenerator:
    """Load weights and tokenizer from the model's folder.

    Raises:
        BenchError: no such device, too little memory, a model that needs its own code, or an unknown architecture.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns at every product of 8-bit weights
    torch.set_num_threads(options.threads or torch.get_num_threads())
    device = _choose_device(options.device)
    dtype = _choose_dtype(options.dtype, device)
    _require_memory(model, device, dtype)
    network, tokenizer = _load_network(model, device, dtype)
    settings: dict[str, Value] = {
        "dtype": dtype,
        "device": device.type,
        "batch_size": options.batch_size or (32 if device.type == "cpu" else 64),
        "attention": str(network.config._attn_implementation),
        "prefix_caching": options.prefix_caching,
        **weights.describe_quantisation_settings(model.folder),
    }
    return TransformersGenerator(network, tokenizer, settings)


def _load_network(model: Model, device: torch.device, dtype: str) -> tuple[Any, Any]:
    """Load the network, in evaluation mode on the device, and the tokenizer."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True, trust_remote_code=False)
        network, loading_info = AutoModelForCausalLM.from_pretrained(
            model.folder,
            dtype=DTYPES[dtype],
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        _require_all_weights(model, loading_info)
        return network.to(device).eval(), tokenizer
    except torch.OutOfMemoryError as error:
        raise BenchError(f"{model.name} does not fit on {device}", "use a smaller model or -o device=cpu") from error
    except CONFIG_ERRORS as error:
        raise explain_load_error(model.folder, error) from error


def _require_all_weights(model: Model, loading_info: dict[str, Any]) -> None:
    """Refuse a model whose missing weights transformers would fill with random numbers, even if the user accepts it."""
    lacking = sorted([*loading_info["missing_keys"], *(key for key, *_ in loading_info["mismatched_keys"])])
    if lacking:
        raise BenchError(
            f"config.json of {model.folder} asks for {len(lacking)} tensors that its weights lack or hold in another "
            f"shape, {lacking[0]} first",
            "restore config.json and weights of one and the same checkpoint",
        )


def _choose_device(wanted: str) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, present in available.items() if present))
    if not available[wanted.partition(":")[0]]:
        usable = ", ".join(name for name, present in available.items() if present)
        raise BenchError(f"this machine's torch sees no {wanted}", f"give -o device= one of: {usable}")
    try:
        return torch.device(wanted)
    except RuntimeError as error:
        raise BenchError(f"'{wanted}' is no device", "give -o device= such as cpu, cuda or cuda:0") from error


def _choose_dtype(wanted: str, device: torch.device) -> str:
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if device.type == "cpu" and machine.cpu_computes_bf16() else "float32"


def _require_memory(model: Model, device: torch.device, dtype: str) -> None:
    needed = sum(math.prod(tensor.shape) for tensor in weights.read_tensors(model.folder)) * DTYPES[dtype].itemsize
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if needed > free:
            what = f"{model.name} needs {needed / 2**30:.1f} GiB in {dtype}, the GPU has {free / 2**30:.1f} GiB free"
            raise BenchError(what, "use -o dtype=bfloat16, a smaller model, or free the GPU")
        return
    machine.require_memory(needed, f"the weights of {model.name} in {dtype}")
