"""Generating GSM8K's answers through `bench`, every one written as it comes, against raw `LLM.generate`."""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Generator, Task
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Split
from baseline_bench.evaluation import evaluate, runs
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models.tokens import ModelTokenizer

from benchmarks import _models
from benchmarks._models import Places
from benchmarks.measuring import Arm, Target, asked, interleave, keep

# A quick run has the first alone: graphs need a GPU, compiling a compiler that a machine may lack.
KINDS: Mapping[str, Mapping[str, bool]] = {
    "eager": {"cuda_graphs": False, "in_process": False},
    "graphs": {"cuda_graphs": True, "in_process": False},
    "graphs, in process": {"cuda_graphs": True, "in_process": True},
    "compiled": {"eager": False, "in_process": False},
}
_QUICK, _QUICK_TOKENS = 4, 16

HOW = (
    "All of GSM8K's test questions, one shot, greedy, 512 tokens at most. One engine in one process answers the same "
    "token ids under the same sampling in turns: once through the loop of `bench`, which writes every answer to a "
    "run's folder as it is finished, once through LLM.generate; the prefix cache is emptied before each. Four "
    "engines stand beside each other with 0.2 of the memory: eager, with recorded decode steps, the same without "
    "vLLM's own process (what `bench` does where nobody says), and compiled. The first round is not counted."
)


def shortened(task: Task, max_tokens: int) -> Any:
    """The same task with fewer tokens an answer."""
    kept = {name: getattr(task, name) for name in plugins.REQUIRED_MEMBERS["task"]}
    return SimpleNamespace(**kept | {"SAMPLING": replace(task.SAMPLING, max_tokens=max_tokens)})


Answers = dict[str, tuple[int, ...]]


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and keep what came out."""
    how = asked("The generation phase against raw LLM.generate.", 3, words)
    where = _models.places()
    model = _models.small(where)
    prepared, model_tokenizer = examination(model, where, quick=how.quick)
    pairs: list[tuple[Side, Side]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as place, ExitStack() as open_engines:
        for kind in ("eager",) if how.quick else KINDS:
            try:
                engine = _engine(model, KINDS[kind], quick=how.quick)
            except BenchError as error:
                notes.append(f"The {kind} engine did not start here: {error}")
                continue
            open_engines.callback(engine.close)
            pairs.append(sides(kind, engine, prepared, model_tokenizer, Path(place)))
        arms = [side.arm for pair in pairs for side in pair]
        samples = interleave(arms, how.repeats, warmups=0 if how.quick else 1)
    targets = [Target("tokens_per_second", ours.arm.name, raw.arm.name, at_least=0.97) for ours, raw in pairs]
    notes += [
        f"{ours.arm.name}: {_equal(ours.answers, raw.answers):,} of {len(prepared.requests):,} answers of the last "
        f"round equal those of {raw.arm.name} in every token; batches form by timing, in either arm."
        for ours, raw in pairs
    ]
    title = "Generating 1,319 answers"
    keep("generation", samples, targets, title=title, how=HOW, notes=notes, results=how.results)
    return 0


@dataclass(frozen=True, slots=True)
class Side:
    """An arm and the answers of its last turn, by problem id."""

    arm: Arm
    answers: Answers


def sides(
    kind: str, engine: Any, prepared: PreparedTask, model_tokenizer: ModelTokenizer, place: Path
) -> tuple[Side, Side]:
    """Ours and raw vLLM's over one engine."""
    mine: Answers = {}
    theirs: Answers = {}
    llm = engine._engine

    def ours() -> Mapping[str, float]:
        mine.clear()
        return through_bench(engine, prepared, model_tokenizer, place, mine)

    def raw() -> Mapping[str, float]:
        theirs.clear()
        return through_vllm(llm, prepared, model_tokenizer.prompt_format.stop_ids, theirs)

    return (
        Side(Arm(f"bench, {kind}", _emptied(llm, ours)), mine),
        Side(Arm(f"LLM.generate, {kind}", _emptied(llm, raw)), theirs),
    )


def through_bench(
    engine: Generator, prepared: PreparedTask, model_tokenizer: ModelTokenizer, place: Path, answers: Answers
) -> Mapping[str, float]:
    """The generation phase of a command: every answer on the disk."""
    console = Console(sys.stdout, sys.stderr)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        began = perf_counter()
        with runs.Run(Path(folder) / "run", {}) as run, console.progress("bench", len(prepared.requests)) as bar:
            tokens = evaluate.generate_completions(prepared, engine, run, model_tokenizer, bar)
        seconds = perf_counter() - began
    answers.update({name: completion.token_ids or () for name, completion in run.finished.items()})
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds}


def through_vllm(llm: Any, prepared: PreparedTask, stop_ids: Sequence[int], answers: Answers) -> Mapping[str, float]:
    """`LLM.generate` with the sampling of `baseline_bench.engines.vllm`."""
    import vllm

    sampling = prepared.task.SAMPLING
    params = vllm.SamplingParams(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        stop=list(sampling.stop),
        stop_token_ids=list(stop_ids),
        seed=sampling.seed,
    )
    began = perf_counter()
    told = llm.generate(
        [{"prompt_token_ids": list(request.token_ids)} for request in prepared.requests], params, use_tqdm=False
    )
    seconds = perf_counter() - began
    found = [tuple(int(token) for token in each.outputs[0].token_ids) for each in told]
    answers.update({request.id: ids for request, ids in zip(prepared.requests, found, strict=True)})
    tokens = sum(map(len, found))
    return {"seconds": seconds, "tokens": tokens, "tokens_per_second": tokens / seconds}


def examination(model: Model, where: Places, *, quick: bool) -> tuple[PreparedTask, ModelTokenizer]:
    """Every test question as token ids; a few and short answers where it is quick."""
    from baseline_bench.models import tokenizer  # loads transformers

    task = plugins.load_task("gsm8k")
    model_tokenizer = tokenizer.load_tokenizer(model)
    chosen = evaluate.select_problems(task, Split("test", mirror=where.mirror), _QUICK if quick else None, 0)
    prepared = evaluate.prepare_task(task, chosen, model_tokenizer, 0)
    return replace(prepared, task=shortened(task, _QUICK_TOKENS)) if quick else prepared, model_tokenizer


def _engine(model: Model, kind: Mapping[str, bool], *, quick: bool) -> Any:
    vllm = plugins.load_engine("vllm")
    small = {"kv_gib": 1, "context": 2048} if quick else {}
    return vllm.load(model, vllm.Options(memory=0.2, **kind, **small))


def _emptied(llm: Any, run: Callable[[], Mapping[str, float]]) -> Callable[[], Mapping[str, float]]:
    def anew() -> Mapping[str, float]:
        if not llm.reset_prefix_cache():
            raise RuntimeError("vLLM could not clear its prefix cache")
        return run()

    return anew


def _equal(left: Answers, right: Answers) -> int:
    return sum(left[name] == right[name] for name in left)


if __name__ == "__main__":
    raise SystemExit(main())
