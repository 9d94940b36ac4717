"""Repeat one model's evaluation in child processes that rebuild their parent's plan, and store the results."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from baseline_bench.core.contracts import Generator
from baseline_bench.core.display import Console
from baseline_bench.core.types import Completion, Problem, Request, Sampling
from baseline_bench.evaluation import evaluate, pipeline, protocol, runs
from baseline_bench.evaluation.engine_pool import EnginePool, LoadInfo
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions, plan_model

SECONDS_FILE = "seconds.json"
ALL, SHUFFLED = "all", "shuffled"


def build_request(plan: EvaluationPlan, **more: Any) -> dict[str, Any]:
    """Build a child's request: what it needs to rebuild the plan, and `more`."""
    shared = {field.name: getattr(plan.options, field.name) for field in fields(ScoringOptions)}
    return {"options": ScoringOptions(**{**shared, "engine": plan.engine.name}), "model": plan.model, **more}


def generate_in_child(request: Mapping[str, Any], console: Console, _rank: int) -> None:
    """Generate, in a child process, one run's missing answers."""
    plan = plan_model(request["options"], console, request["model"], None)
    with EnginePool(plan.engine, console) as engines:
        _complete_run(plan, request["folder"], engines, console)


def generate_passes_in_child(request: Mapping[str, Any], console: Console, _rank: int) -> None:
    """Run, in a child process, all passes one after the other on one engine."""
    plan = select_subset(plan_model(request["options"], console, request["model"], None), request["items"])
    with _SingleEnginePool(plan.engine, console, most=1) as engine:  # several would split a batch
        generator, _ = engine.generator(plan)
        # The engine's setup at its first answer does not count in the time of any pass.
        sampling, stop_ids = plan.prepared_task.task.SAMPLING, plan.model_tokenizer.prompt_format.stop_ids
        list(evaluate.stream_completions(plan.prepared_task.requests[:1], generator, sampling, stop_ids))
        for pass_name, folder in request["passes"]:
            engine.size = int(pass_name.partition(" ")[2]) if pass_name.startswith("batch ") else None
            requests = _shuffle_requests(plan) if pass_name == SHUFFLED else plan.prepared_task.requests
            settings = {**plan.settings, "pass": pass_name, "items": request["items"]}
            prepared = replace(plan.prepared_task, requests=requests)
            _complete_run(replace(plan, prepared_task=prepared, settings=settings), folder, engine, console)


def _complete_run(plan: EvaluationPlan, folder: Path, engine: EnginePool, console: Console) -> None:
    """Generate a run's missing answers; store the seconds if this process generated all of them."""
    with runs.Run(folder, plan.settings) as run:
        nothing_done_before = not run.finished
        runs.write_problems(folder, plan.prepared_task.problems)
        _, timed = pipeline.generate_completions(plan, run, engine, console)
        if nothing_done_before:
            runs.write_json(folder / SECONDS_FILE, round(timed["generate"], 3))


class _SingleEnginePool(EnginePool):
    """One engine for all passes, started once; it gets `size` prompts at a time, None gives all at once."""

    size: int | None = None
    _once: tuple[Generator, LoadInfo] | None = None

    def generator(self, plan: EvaluationPlan) -> tuple[Generator, LoadInfo]:
        """Return the same generator each time, with the current batch size."""
        if self._once is None:
            self._once = super().generator(plan)
        generator, load_info = self._once
        return _BatchedGenerator(generator, self.size), load_info


class _BatchedGenerator:
    """A generator that gets `size` prompts at a time, and the next ones when all of these are answered."""

    def __init__(self, generator: Generator, size: int | None) -> None:
        self._generator = generator
        self._size = size
        self.version = generator.version
        self.settings = generator.settings
        self.context = generator.context

    def __getattr__(self, name: str) -> Any:
        """Forward everything else, such as measuring, to the generator."""
        return getattr(self._generator, name)

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Yield the generator's completions, group by group."""
        size = self._size or len(requests)
        for start in range(0, len(requests), size):
            yield from self._generator.complete(requests[start : start + size], sampling, stop_ids)

    def close(self) -> None:
        """Close the generator."""
        self._generator.close()


def select_subset(plan: EvaluationPlan, items: int) -> EvaluationPlan:
    """Return the same plan on a seeded subset of its items."""
    prepared = plan.prepared_task
    chosen = protocol.select_problems(prepared.problems, min(items, len(prepared.problems)), plan.options.seed)
    selected_ids = {problem.id for problem in chosen}
    requests = tuple(request for request in prepared.requests if request.problem_id in selected_ids)
    partial = len(chosen) < prepared.total
    limit, seed = (len(chosen), plan.options.seed) if partial else (None, None)
    return replace(
        plan, prepared_task=replace(prepared, problems=tuple(chosen), requests=requests, limit=limit, seed=seed)
    )


def _shuffle_requests(plan: EvaluationPlan) -> tuple[Request, ...]:
    """Return the requests in a shuffled order that is the same on every machine."""
    return tuple(
        sorted(plan.prepared_task.requests, key=lambda request: hashlib.sha256(f"order:{request.id}".encode()).digest())
    )


def is_complete(folder: Path, problems: Sequence[Problem]) -> bool:
    """Return whether a run's folder answers exactly these items."""
    if not (folder / "completions.jsonl").is_file():
        return False
    return set(runs.read_completions(folder)) == {problem.id for problem in problems}
