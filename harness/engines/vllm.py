"""Generate with vLLM: what can be told of it without loading it, since `import vllm` alone takes up to 20 seconds.

The engine stands in `_vllm_engine`, and runs in a process of its own that begins while the model is still looked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from baseline_bench.core.contracts import Generator
from baseline_bench.core.types import Model, Value

LIBRARIES = ("vllm", "torch", "transformers")
# A running engine can take another model of the same shape; see `baseline_bench.evaluation.engine_reuse`.
RELOADS = True
# Its memory comes back only when its process ends.
APART = True
# What stood fixed before there was an option, and stands in no entry of that time.
ABSENT: Mapping[str, Value] = {"cuda_graphs": False, "in_process": False}


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the vLLM engine.

    Attributes:
        dtype: auto (vLLM's choice: bfloat16 or float16), float32, bfloat16 or float16.
        context: tokens of prompt and completion together; none takes the model's own.
        memory: the share of a GPU's memory that vLLM may take.
        eager: compile nothing; compiling takes longer than it ever saves on a model that is scored.
        cuda_graphs: beside `eager`, record the steps that generate one token each, and replay them: two seconds of
            start, and no step waits for the processor any more. None does so where one GPU holds a model.
        tensor_parallel: GPUs that share one copy of the weights.
        prefix_caching: compute the prompts' common beginning once; none does so unless `batch_invariant`.
        adapter: a folder that PEFT wrote, put beside the weights by vLLM itself instead of being merged into them.
        in_process: schedule where the requests come from, not in one more process of vLLM's own, which takes a second
            import of it: they then wait for the first step, and every run forms the same batches. None does so where
            one GPU holds a model.
        kv_gib: memory for the key-value cache on a CPU, in GiB.
        solutions: then measure how likely the worked solutions are; none does so on a GPU.
        batch_invariant: kernels whose sums do not depend on what else is in the batch (beta in vLLM; slower).
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
            raise ValueError("memory must lie between 0 and 1")
        if self.cuda_graphs and not self.eager:
            raise ValueError("cuda_graphs=true is for eager=true; what eager=false compiles has its own graphs")
        if self.batch_invariant and self.prefix_caching:
            raise ValueError(
                "batch_invariant=true and prefix_caching=true exclude each other: what stands in the cache when a "
                "prompt arrives would change its sums"
            )
        if self.batch_invariant and self.in_process:
            raise ValueError(
                "batch_invariant=true and in_process=true exclude each other: vLLM reads the switch at every step, and "
                "in this process it is set only while the engine starts"
            )

    @property
    def caching(self) -> bool:
        """Whether the prompts' common beginning is computed once, as it was asked or as it follows."""
        return not self.batch_invariant if self.prefix_caching is None else self.prefix_caching


def resolve_options(options: Options, gpu: bool) -> Options:
    """The options with what None of `cuda_graphs` and `in_process` comes to.

    It follows from the options and the kind of device alone, never from how much there is to do: a base and its
    candidates are always served alike.

    Args:
        options: as they were asked for.
        gpu: whether there is one.
    """
    alone = gpu and options.tensor_parallel == 1 and not options.batch_invariant
    graphs = alone and options.eager if options.cuda_graphs is None else options.cuda_graphs
    return replace(options, cuda_graphs=graphs, in_process=alone if options.in_process is None else options.in_process)


def measures(options: Options) -> bool:
    """Whether the worked solutions are measured under these options."""
    if options.solutions is not None:
        return options.solutions
    import torch

    return torch.cuda.is_available()


def gpus(options: Options) -> int:
    """GPUs that one engine takes; where there are more, more engines share the questions out."""
    return options.tensor_parallel


def begin() -> None:
    """Load the library, before there is a model for it."""
    from baseline_bench.engines import _vllm_engine  # noqa: F401 (loads vllm)


def load(model: Model, options: Options) -> Generator:
    """Start vLLM on the model's folder.

    Raises:
        BenchError: too little memory, or an architecture or dtype this vLLM cannot run.
    """
    from baseline_bench.engines import _vllm_engine  # loads vllm

    return _vllm_engine.load(model, options)
