"""Run vLLM: put every prompt in flight at once, and yield each answer as soon as it is finished.

Steps the engine itself, since `LLM.generate` returns only after the last answer, and a killed run would lose them all.
Sets every sampling parameter, so that no model's generation_config affects a score.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import vllm
from baseline_bench.core.contracts import Logprobs
from baseline_bench.core.errors import BenchError, NotFiniteError, first_line
from baseline_bench.core.types import Completion, Model, Request, Sampling, TokenLogprobs, TrainingExample, Value
from baseline_bench.engines import _vllm_cuda_graphs as recorded
from baseline_bench.engines import _vllm_requirements as needs
from baseline_bench.engines.vllm import Options, resolve_options
from baseline_bench.models import adapter, weights
from baseline_bench.models.tokens import decode_completion
from transformers import AutoTokenizer
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind

# Rows per recorded step; vLLM pads another number of rows to the next of these.
CUDA_GRAPH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
# Rows in flight while measuring: vLLM keeps the log-probabilities of a row in memory until the row is done.
MAX_IN_FLIGHT = 256


class VllmGenerator:
    """A model loaded by vLLM."""

    version = f"vllm {vllm.__version__}"

    def __init__(self, engine: LLM, tokenizer: Any, settings: dict[str, Value], adapter_folder: str | None) -> None:
        self._engine: LLM | None = engine
        self._beside = (
            None if adapter_folder is None else LoRARequest("adapter", 1, str(Path(adapter_folder).resolve()))
        )
        self._tokenizer = tokenizer
        self.settings: Mapping[str, Value] = settings
        self.context = int(settings["context"] or 0)

    @property
    def _open_engine(self) -> LLM:
        if self._engine is None:
            raise ValueError("the engine is closed")
        return self._engine

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Put every request in flight and yield each answer at the step that finishes it.

        Raises:
            BenchError: vLLM ended an answer neither at a stop nor at the limit, or its process ended.
        """
        core = self._open_engine.llm_engine
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p or 1.0,
            top_k=0,
            min_p=0.0,
            repetition_penalty=1.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            max_tokens=sampling.max_tokens,
            stop=list(sampling.stop),
            stop_token_ids=list(stop_ids),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        with needs.explain_dead_engine(
            "generated", "finished answers are kept, and the same command goes on with the rest"
        ):
            for request in requests:
                prompt = {"prompt_token_ids": list(request.token_ids)}
                request_params = params.clone()
                request_params.seed = sampling.seed_of(request.id)
                core.add_request(request.id, prompt, request_params, lora_request=self._beside)
            while core.has_unfinished_requests():
                for output in core.step():
                    if output.finished:
                        yield output.request_id, self._completion(output.outputs[0], sampling, stop_ids)

    def reload(self, model: Model) -> None:
        """Read another model's weights into the running engine; architecture and tokenizer must be the same.

        vLLM does not report whether it replaced every weight (its CPU build keeps old copies):
        `harness/evaluation/engine_pool.py` verifies it.

        Raises:
            BenchError: the prefix cache cannot be cleared, or recorded steps still use the old weights.
        """
        bound = recorded.compute_bound(self.drift()) if self.settings.get("cuda_graphs") else None
        with needs.explain_dead_engine("reloaded", "give the same command again"):
            self._open_engine.collective_rpc("reload_weights", kwargs={"weights_path": str(model.folder)})
            cleared = self._open_engine.reset_prefix_cache()
        if not cleared:
            raise BenchError("vLLM could not clear its prefix cache", "restart the engine for the next model")
        if bound is not None and not (drift := self.drift()) <= bound:
            what = f"recorded steps write {drift:.4f} nats from what the new weights read, {bound:.4f} at most allowed"
            raise BenchError(what, "restart the engine for the next model, or use -o cuda_graphs=false")

    def drift(self) -> float:
        """Return how far generating is from reading: the mean absolute difference of log-probabilities, in nats.

        It stays small if a reload reached the recorded steps, since both then use the same weights.
        """
        prompts = [self._tokenizer(text)["input_ids"] for text in recorded.PROBE_TEXTS]
        with needs.explain_dead_engine("was probed", "give the same command again"):
            return recorded.measure_drift(self._open_engine.llm_engine, prompts, self.prompt_logprobs)

    def require_finite(self) -> None:
        """Generate a few tokens and check their log-probabilities: vLLM itself takes some token where logits are NaN.

        Raises:
            NotFiniteError: one is NaN or infinite; the engine is closed.
        """
        prompt = self._tokenizer(recorded.PROBE_TEXTS[0])["input_ids"][:8]
        with needs.explain_dead_engine("was probed", "give the same command again"):
            ((_, logprobs),) = recorded.sample_tokens(self._open_engine.llm_engine, [prompt], self._beside)
        if not all(map(math.isfinite, logprobs)):
            self.close()
            raise NotFiniteError("the model's log-probabilities are NaN or infinite")

    def prompt_logprobs(self, sequences: Sequence[Sequence[int]]) -> Logprobs:
        """Measure given token ids under the loaded weights.

        Returns:
            For each sequence and each position but the first: the log-probability (nats) of the token there, given
            those before, and in the second tuple the id of the likeliest token. vLLM skips the prefix cache for such
            requests.
        """
        core = self._open_engine.llm_engine
        params = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=1, output_kind=RequestOutputKind.FINAL_ONLY
        )
        logprobs_by_id: dict[str, list[dict[int, Any]]] = {}
        with needs.explain_dead_engine("was probed", "give the same command again"):
            for number, ids in enumerate(sequences):
                core.add_request(f"probe-{number}", {"prompt_token_ids": list(ids)}, params.clone())
            while core.has_unfinished_requests():
                for output in core.step():
                    if output.finished:
                        logprobs_by_id[output.request_id] = output.prompt_logprobs[1:]
        rows = [logprobs_by_id[f"probe-{number}"] for number in range(len(sequences))]
        likeliest = tuple(tuple(min(tokens, key=lambda i: tokens[i].rank) for tokens in row) for row in rows)
        pairs = (zip(ids[1:], row, strict=True) for ids, row in zip(sequences, rows, strict=True))
        return tuple(tuple(float(tokens[token].logprob) for token, tokens in row) for row in pairs), likeliest

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """Send whole rows as prompts, a few in flight at a time, in the given order.

        Does not read the prefix cache, and writes to it with a salt, so that no answer ever uses these entries.

        Raises:
            BenchError: the GPU lacks the memory for the longest row's logits, or vLLM's process ended.
        """
        core = self._open_engine.llm_engine
        needs.require_logits_memory(max(len(row.token_ids) for row in rows), int(core.model_config.get_vocab_size()))
        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=1,  # the given token and the likeliest one
            flat_logprobs=True,  # avoids one object per token
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        with needs.explain_dead_engine("measured", "lower -o memory if it was memory"):
            remaining, flight = iter(rows), dict[str, TrainingExample]()
            while True:
                for row in islice(remaining, MAX_IN_FLIGHT - len(flight)):
                    flight[f"measured-{row.id}"] = row
                    prompt = {"prompt_token_ids": list(row.token_ids), "cache_salt": "measured"}
                    core.add_request(f"measured-{row.id}", prompt, params.clone(), lora_request=self._beside)
                if not flight:
                    return
                for output in core.step():
                    if output.finished:
                        row = flight.pop(output.request_id)
                        logprobs = output.prompt_logprobs[row.start :]  # one item per position; the first is None
                        position_logprobs = (
                            {name: float(each.logprob) for name, each in position.items()} for position in logprobs
                        )
                        yield row.id, TokenLogprobs.of(row.token_ids[row.start :], position_logprobs)

    def close(self) -> None:
        """End vLLM's engine process and free its memory."""
        if self._engine is not None:
            self._engine.llm_engine.engine_core.shutdown()
            self._engine = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _completion(self, output: Any, sampling: Sampling, stop_ids: Sequence[int]) -> Completion:
        ids = tuple(int(token) for token in output.token_ids)
        if output.finish_reason not in ("stop", "length"):
            raise BenchError(f"vLLM ended an answer with '{output.finish_reason}'", "give the same command again")
        return Completion(decode_completion(self._tokenizer, ids, stop_ids, sampling.stop), ids, output.finish_reason)


def load(model: Model, options: Options) -> VllmGenerator:
    """Start vLLM on the model's folder.

    Raises:
        BenchError: too little memory, an architecture or dtype this vLLM cannot run, or NaN in what it computes.
    """
    gpu = torch.cuda.is_available()
    options = resolve_options(options, gpu)
    needs.require_resources(model, options, gpu)
    lora = None if options.adapter is None else adapter.read_adapter(Path(options.adapter))
    try:
        with needs.set_environment(options):
            engine = LLM(
                model=str(model.folder),
                dtype=options.dtype,
                max_model_len=options.context,
                gpu_memory_utilization=options.memory,
                enforce_eager=options.eager and not options.cuda_graphs,
                tensor_parallel_size=options.tensor_parallel,
                enable_prefix_caching=options.caching,
                generation_config="vllm",
                trust_remote_code=False,
                disable_log_stats=True,
                seed=0,
                **_build_extra_arguments(options, lora, gpu),
            )
            settings = _collect_settings(engine, options, gpu) | weights.describe_quantisation_settings(model.folder)
    except torch.OutOfMemoryError as error:
        raise BenchError(f"{model.name} does not fit on the GPU", needs.LOWER_MEMORY) from error
    except (ValueError, RuntimeError) as error:
        what = f"vLLM {vllm.__version__} cannot start {model.name}: {first_line(error)}"
        raise BenchError(what, needs.LOWER_MEMORY) from error
    if lora is not None:
        settings["adapter"] = lora.sha256
    tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True, trust_remote_code=False)
    generator = VllmGenerator(engine, tokenizer, settings, options.adapter)
    generator.require_finite()
    _refuse_counted_nans(engine.llm_engine.engine_core)
    return generator


def _refuse_counted_nans(core: Any) -> None:
    """Raise NotFiniteError at the first step with NaN that vLLM counts, if VLLM_COMPUTE_NANS_IN_LOGITS=1 is set."""
    get_output = core.get_output

    def get_checked_output() -> Any:
        outputs = get_output()
        if any(output.num_nans_in_logits for output in outputs.outputs):
            raise NotFiniteError("the model's logits are NaN or infinite")
        return outputs

    core.get_output = get_checked_output


def _build_extra_arguments(options: Options, lora: adapter.Adapter | None, gpu: bool) -> dict[str, Any]:
    """Build the arguments that only some machines and options need."""
    extra: dict[str, Any] = {} if gpu else {"kv_cache_memory_bytes": options.kv_gib * needs.GIB}
    if options.cuda_graphs:
        recorded = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": list(CUDA_GRAPH_SIZES)}
        # vLLM does not replay steps that use cascade attention for a shared prefix.
        extra |= {"compilation_config": recorded, "disable_cascade_attn": True}
    if lora is not None:
        extra |= {"enable_lora": True, "max_lora_rank": needs.choose_kernel_rank(lora)}
    return extra


def _collect_settings(engine: LLM, options: Options, gpu: bool) -> dict[str, Value]:
    """Collect the settings that vLLM chose from the options."""
    config = engine.llm_engine.model_config
    return {
        "dtype": str(config.dtype).removeprefix("torch."),
        "device": "cuda" if gpu else "cpu",
        "context": int(config.max_model_len),
        "eager": options.eager,
        "tensor_parallel": options.tensor_parallel,
        "prefix_caching": options.caching,
        "batch_invariant": bool(vllm.envs.VLLM_BATCH_INVARIANT),
        **({"cuda_graphs": True} if options.cuda_graphs else {}),
        **({"in_process": True} if options.in_process else {}),
    }
