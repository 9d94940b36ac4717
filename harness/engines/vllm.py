"""Generate with vLLM: the options, without importing vllm, which alone takes up to 20 seconds.

`_vllm_engine` holds the engine. It runs in a separate process, which starts while bench is still resolving the model.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from baseline_bench.core.contracts import Generator
from baseline_bench.core.types import Model, Value

LIBRARIES = ("vllm", "torch", "transformers")
# A running engine can load another model of the same architecture; see `baseline_bench.evaluation.engine_pool`.
RELOADS = True
# vLLM frees its memory only when its process ends.
APART = True
# The fixed values before these options existed, which entries of that time do not record.
ABSENT: Mapping[str, Value] = {"cuda_graphs": False, "in_process": False}
# vLLM reads them when it is imported: count NaN in the logits at every step, and keep from one start to the next how
# much memory the cache may take on this GPU with this model.
_ENVIRONMENT = {"VLLM_COMPUTE_NANS_IN_LOGITS": "1", "VLLM_ENABLE_STARTUP_PLAN": "1"}


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the vLLM engine.

    Attributes:
        dtype: auto (vLLM's choice: bfloat16 or float16), float32, bfloat16 or float16.
        context: tokens of prompt and completion together; none takes the model's limit.
        memory: the share of a GPU's memory that vLLM may take.
        eager: compile nothing; compiling takes longer than it saves in a scoring.
        cuda_graphs: with `eager`, record the decoding steps as CUDA graphs and replay them: costs two seconds at the
            start, and then no step waits for the CPU. None means yes if one GPU holds the model.
        tensor_parallel: GPUs that share one copy of the weights.
        prefix_caching: compute the prompts' common beginning once; none means yes unless `batch_invariant`.
        adapter: a PEFT folder that vLLM applies at run time instead of merging it into the weights.
        in_process: run vLLM's scheduler in this process, not in another one, which would import vllm again. All
            requests are queued before the first step, so every run forms the same batches. None means yes if one GPU
            holds the model.
        kv_gib: memory for the key-value cache on a CPU, in GiB.
        solutions: also measure how likely the worked solutions are; none means yes on a GPU.
        batch_invariant: use kernels whose sums do not depend on the rest of the batch (beta in vLLM; slower).
    """

    dtype: str = "auto"
    context: int | None = None
    memory: float = 0.9
    eager: bool = True
    cuda_graphs: bool | None = None
    tensor_parallel: int = 1
    prefix_caching: bool | None = None
    adapter: str | None = None
    in_process: bool | None = None
    kv_gib: int = 2
    solutions: bool | None = field(default=None, metadata={"neutral": True})
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, not '{self.dtype}'")
        if not 0 < self.memory <= 1:
            raise ValueError("memory must be between 0 and 1")
        if self.cuda_graphs and not self.eager:
            raise ValueError("cuda_graphs=true is for eager=true; what eager=false compiles has its own graphs")
        if self.batch_invariant and self.prefix_caching:
            raise ValueError(
                "batch_invariant=true and prefix_caching=true exclude each other: what is in the cache when a "
                "prompt arrives would change its sums"
            )
        if self.batch_invariant and self.in_process:
            raise ValueError(
                "batch_invariant=true and in_process=true exclude each other: vLLM reads the switch at every step, and "
                "in this process it is set only while the engine starts"
            )

    @property
    def caching(self) -> bool:
        """Whether to compute the prompts' common beginning once: `prefix_caching`, or its default."""
        return not self.batch_invariant if self.prefix_caching is None else self.prefix_caching


def resolve_options(options: Options, gpu: bool) -> Options:
    """Replace None in `cuda_graphs` and `in_process` by the default.

    Depends on the options and the kind of device alone, never on the amount of work, so that a base and its candidates
    always run alike.
    """
    owns_gpu = gpu and options.tensor_parallel == 1 and not options.batch_invariant
    graphs = owns_gpu and options.eager if options.cuda_graphs is None else options.cuda_graphs
    return replace(
        options, cuda_graphs=graphs, in_process=owns_gpu if options.in_process is None else options.in_process
    )


def measures(options: Options) -> bool:
    """Return whether to measure the worked solutions under these options."""
    if options.solutions is not None:
        return options.solutions
    import torch

    return torch.cuda.is_available()


def gpus(options: Options) -> int:
    """Return the GPUs that one engine takes; on more GPUs, several engines share the problems."""
    return options.tensor_parallel


def begin() -> None:
    """Import vllm early, before the model is known; a variable that the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from baseline_bench.engines import _vllm_engine  # noqa: F401 (loads vllm)


def load(model: Model, options: Options) -> Generator:
    """Start vLLM on the model's folder; errors as in `_vllm_engine.load`."""
    begin()
    from baseline_bench.engines import _vllm_engine

    return _vllm_engine.load(model, options)
