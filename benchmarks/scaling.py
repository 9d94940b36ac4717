"""The generation phase on 1, 2 and 4 GPUs, one engine process each; and training, its batch growing with the GPUs."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from baseline_bench.core import child_process, plugins
from baseline_bench.core.contracts import Generator
from baseline_bench.core.display import Console
from baseline_bench.core.types import Model, Request
from baseline_bench.engines.multi_gpu import distributed, gpus
from baseline_bench.evaluation import evaluate, runs
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models.tokens import ModelTokenizer

from benchmarks import _models, generation, training
from benchmarks._models import GEMMA_2B, TINY
from benchmarks.measuring import Arm, Target, asked, interleave, keep

GPUS = (1, 2, 4)
AT_LEAST = {2: 1.8, 4: 3.4}
_COPIES, _TOKENS = 8, 256
_QUICK_COPIES, _QUICK_TOKENS = 1, 4

HOW = (
    "gemma-2b's shape with random weights, bfloat16. Generation: GSM8K's test questions, one shot, eight times over, "
    "256 tokens an answer (no stop token but the model's own, which random weights all but never write), vLLM with a "
    "process a GPU and without the prefix cache, so that copies of a prompt cost what they are; every answer is "
    "written to the disk as it comes. Starting the engines is load_seconds and not in the rate. Training: `full-main`, "
    "eight rows a GPU and step (weak scaling), passes that are no CUDA graphs where there are several GPUs."
)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    import torch

    how = asked("Generation and training on several GPUs.", 1, words)
    where = _models.places()
    model = _models.shaped(TINY if how.quick else GEMMA_2B, where)
    here = GPUS[:2] if how.quick else [count for count in GPUS if count <= torch.cuda.device_count()]
    order = {
        "folder": str(model.folder),
        "mirror": str(where.mirror) if where.mirror else None,
        "copies": _QUICK_COPIES if how.quick else _COPIES,
        "tokens": _QUICK_TOKENS if how.quick else _TOKENS,
        "quick": how.quick,
    }
    arms = [Arm(_called(count), partial(generated, order, count)) for count in here]
    rows = training.taken(model, where, training.STEPS * training.BATCH * max(here))
    way = training.OURS[0]
    arms += [
        Arm(f"training, {_called(count)}", partial(training.once, way, model, rows, quick=how.quick, gpus=count))
        for count in here
    ]
    samples = interleave(arms, how.repeats)
    targets = [Target("tokens_per_second", _called(count), _called(1), at_least=AT_LEAST[count]) for count in here[1:]]
    keep("scaling", samples, targets, title="Several GPUs", how=HOW, results=how.results)
    return 0


def generated(order: Mapping[str, Any], count: int) -> Mapping[str, float]:
    """The generation phase in a child process, which holds the engines' processes."""
    found: dict[str, float] = child_process.call_in_child("benchmarks.scaling:work", {**order, "gpus": count})
    return found


def work(order: Mapping[str, Any], console: Console, _rank: int) -> dict[str, float]:
    """The child: start the engines, then write every answer."""
    model = Model("measured", "folder", None, Path(order["folder"]), None, None)
    prepared, model_tokenizer = _many(order, model)
    began = perf_counter()
    engine = _engine(model, order["gpus"], console, quick=order["quick"])
    loaded = perf_counter() - began
    try:
        with tempfile.TemporaryDirectory() as place, runs.Run(Path(place) / "run", {}) as run:
            began = perf_counter()
            tokens = evaluate.generate_completions(prepared, engine, run, model_tokenizer, lambda _done, _tokens: None)
            seconds = perf_counter() - began
    finally:
        engine.close()
    return {"tokens_per_second": tokens / seconds, "seconds": seconds, "tokens": tokens, "load_seconds": loaded}


def _many(order: Mapping[str, Any], model: Model) -> tuple[PreparedTask, ModelTokenizer]:
    """The task several times over, and a prompt format in which answers are ended by their length alone."""
    where = _models.Places(Path(), None if order["mirror"] is None else Path(order["mirror"]))
    prepared, model_tokenizer = generation.examination(model, where, quick=order["quick"])
    task = generation.shortened(prepared.task, order["tokens"])
    task.SAMPLING = replace(task.SAMPLING, stop=())
    copies = [f"-{copy}" for copy in range(order["copies"])]
    problems = tuple(replace(each, id=each.id + copy) for copy in copies for each in prepared.problems)
    requests = tuple(Request(each.id + copy, each.token_ids) for copy in copies for each in prepared.requests)
    endless = replace(model_tokenizer, prompt_format=replace(model_tokenizer.prompt_format, stop_ids=()))
    return replace(prepared, task=task, problems=problems, requests=requests), endless


def _engine(model: Model, count: int, console: Console, *, quick: bool) -> Generator:
    """A process a GPU, as `bench` has them; on a CPU the transformers engine stands in."""
    name = "transformers" if quick else "vllm"
    engine = plugins.load_engine(name)
    chosen = engine.Options(dtype="float32") if quick else engine.Options(prefix_caching=False)
    if quick and count == 1:
        return engine.load(model, chosen)
    devices = (None,) * count if quick else gpus.assign_gpus(engine, chosen, count)
    return distributed.MultiGpuStarter(name, devices, console.warn).load(model, chosen)


def _called(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


if __name__ == "__main__":
    raise SystemExit(main())
