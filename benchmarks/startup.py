"""What starting vLLM costs, eager or compiled with CUDA graphs, and from how many tokens on compiling pays."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from baseline_bench.core import child_process, plugins
from baseline_bench.core.display import Console
from baseline_bench.core.types import Model

from benchmarks import _models, bench, generation
from benchmarks.measuring import Arm, asked, interleave, keep, timed

EAGER, EAGER_AGAIN = "eager, first start", "eager, second start"
COMPILED, COMPILED_AGAIN = "compiled, first start", "compiled, second start"
# Beside the eager one over the cache that it left: decode steps recorded, vLLM's own process spared, or both.
_OTHERS: Mapping[str, Mapping[str, bool]] = {
    "eager, in process": {"cuda_graphs": False, "in_process": True},
    "graphs": {"cuda_graphs": True, "in_process": False},
    "graphs, in process": {"cuda_graphs": True, "in_process": True},
}
# Prompts at a time, each answered with so many tokens.
_COUNTS, _TOKENS = (16, 64, 256, 1319), 128
_QUICK_COUNTS, _QUICK_TOKENS = (1, 2), 8

HOW = (
    "smollm2-135m-it-q4_1 on one GPU, a new process for each start: `import vllm`, the engine's load, then GSM8K's "
    "first 16, 64, 256 and 1,319 prompts with exactly 128 tokens an answer, the prefix cache emptied before each. A "
    "first start finds an empty folder for all that vLLM keeps, a second one what the first left: compiled code, and "
    "the memory it measured (VLLM_ENABLE_STARTUP_PLAN=1). vLLM was imported once before, so that no arm alone reads it "
    "from the disk."
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked("vLLM's start, eager against compiled.", 1, words)
    where = _models.places()
    counts, tokens = (_QUICK_COUNTS, _QUICK_TOKENS) if how.quick else (_COUNTS, _TOKENS)
    order = {
        "folder": str(_models.small(where).folder),
        "mirror": str(where.mirror) if where.mirror else None,
        "counts": counts,
        "tokens": tokens,
        "small": how.quick,
    }
    first = timed(bench.python("-c", "import vllm"))["seconds"]
    with tempfile.TemporaryDirectory() as kept:
        samples = interleave(list(_arms(order, Path(kept), quick=how.quick)), how.repeats)
    notes = [f"The first import of vLLM on this machine, as a process: {first:.1f} s."]
    for eager, compiled in ((EAGER, COMPILED), (EAGER_AGAIN, COMPILED_AGAIN), (EAGER_AGAIN, "graphs")):
        notes += pays(samples, eager, compiled, counts, tokens) if compiled in samples else []
    keep("startup", samples, [], title="Starting vLLM", how=HOW, notes=notes, results=how.results)
    return 0


def _arms(order: Mapping[str, Any], kept: Path, *, quick: bool) -> Iterator[Arm]:
    """Two starts each, then other ways; a quick one has the eager ones alone, which a CPU can run."""
    pairs = ((EAGER, EAGER_AGAIN, True), (COMPILED, COMPILED_AGAIN, False))
    for first, again, eager in pairs[:1] if quick else pairs:
        here = {
            **order,
            "options": {"eager": eager, "cuda_graphs": False, "in_process": False},
            "cache": str(kept / first.partition(",")[0]),
        }
        yield Arm(first, partial(anew, here), may_fail=not eager)
        yield Arm(again, partial(start, here), may_fail=not eager)
    for name, options in () if quick else _OTHERS.items():
        yield Arm(name, partial(start, {**order, "options": options, "cache": str(kept / "eager")}), may_fail=True)


def start(order: Mapping[str, Any]) -> Mapping[str, float]:
    """One start in a child process."""
    found: dict[str, float] = child_process.call_in_child("benchmarks.startup:work", order)
    return found


def anew(order: Mapping[str, Any]) -> Mapping[str, float]:
    """A start over an empty cache, which stays for the next arm."""
    shutil.rmtree(order["cache"], ignore_errors=True)
    return start(order)


def work(order: Mapping[str, Any], _screen: Console, _rank: int) -> dict[str, float]:
    """The child: seconds to import, to load and to answer so many prompts."""
    import vllm

    os.environ |= {"VLLM_CACHE_ROOT": order["cache"], "VLLM_ENABLE_STARTUP_PLAN": "1"}
    began = perf_counter()
    imported = perf_counter()
    model = Model("measured", "folder", None, Path(order["folder"]), None, None)
    engine = plugins.load_engine("vllm")
    small = {"kv_gib": 1, "context": 2048} if order["small"] else {}
    loaded: Any = engine.load(model, engine.Options(**order["options"], **small))
    found = {"import_seconds": imported - began, "load_seconds": perf_counter() - imported}
    prompts = _prompts(model, order["mirror"])
    params = vllm.SamplingParams(temperature=0.0, max_tokens=order["tokens"], ignore_eos=True)
    try:
        for count in order["counts"]:
            loaded._engine.reset_prefix_cache()
            began = perf_counter()
            loaded._engine.generate(prompts[:count], params, use_tqdm=False)
            found[f"answer_{count}_seconds"] = perf_counter() - began
    finally:
        loaded.close()
    return found


def break_even(counts: Sequence[int], saved: Sequence[float], extra: float) -> float | None:
    """The number of prompts from which on a slower start has paid.

    Args:
        counts: prompts that were tried, rising.
        saved: seconds that the compiled engine answered each of them faster.
        extra: seconds that its start took longer.

    Returns:
        Between two counts along the line through them, above the last along the line from nothing through it; None
        where it saves nothing there.
    """
    points = [(0.0, 0.0), *zip(map(float, counts), saved, strict=True)]
    if extra <= 0:
        return 0.0
    for (low, less), (high, more) in pairwise(points):
        if less < extra <= more:
            return low + (high - low) * (extra - less) / (more - less)
    last, most = points[-1]
    return last * extra / most if most > 0 else None


def pays(
    samples: Mapping[str, Sequence[Mapping[str, float]]],
    eager: str,
    compiled: str,
    counts: Sequence[int],
    tokens: int,
) -> list[str]:
    """From how many prompts on the compiled engine has paid for its start, in words."""

    def saved(measure: str) -> float:
        return median(each[measure] for each in samples[eager]) - median(each[measure] for each in samples[compiled])

    extra = -saved("load_seconds")
    if extra <= 0:
        return [f"{compiled}: no longer to load than {eager} ({-extra:.1f} s less)."]
    found = break_even(counts, [saved(f"answer_{count}_seconds") for count in counts], extra)
    if found is None:
        return [f"{compiled}: {extra:.1f} s more to load than {eager}, and nothing gained by it."]
    return [
        f"{compiled}: {extra:.1f} s more to load than {eager}; it pays from {found:,.0f} prompts of {tokens} tokens "
        f"on, {found * tokens:,.0f} tokens in all."
    ]


def _prompts(model: Model, mirror: str | None) -> list[dict[str, list[int]]]:
    where = _models.Places(Path(), None if mirror is None else Path(mirror))
    prepared, _ = generation.examination(model, where, quick=False)
    return [{"prompt_token_ids": list(request.token_ids)} for request in prepared.requests]


if __name__ == "__main__":
    raise SystemExit(main())
