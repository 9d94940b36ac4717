"""One model asked again: what a child process does, sitting the same exam as its parent, and what both keep."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from baseline_bench.core.contracts import Generator
from baseline_bench.core.display import Console
from baseline_bench.core.types import Completion, Model, Problem, Request, Sampling
from baseline_bench.evaluation import evaluate, pipeline, plan, protocol, runs
from baseline_bench.evaluation.engine_reuse import LoadInfo
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions

SECONDS_FILE = "seconds.json"
ALL, SHUFFLED = "all", "shuffled"


def serialise_plan(seat: EvaluationPlan) -> dict[str, Any]:
    """All that a child needs to sit the same exam, as JSON; the model lies here by now and is not looked for again."""
    plain = {field.name: getattr(seat.options, field.name) for field in fields(ScoringOptions)} | {
        "engine": seat.engine
    }
    model = {field.name: getattr(seat.model, field.name) for field in fields(Model)}
    return {what: {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
            for what, values in (("order", plain), ("model", model))}  # fmt: skip


def _restore_plan(told: Mapping[str, Any], console: Console) -> EvaluationPlan:
    """The exam that `asked` tells of, in the child."""
    options = told["order"]
    places = {
        key: Path(options[key]) for key in ("leaderboards", "runs", "mirror", "cache") if options[key] is not None
    }
    model = Model(**{**told["model"], "folder": Path(told["model"]["folder"])})
    return plan.plan_model(ScoringOptions(**{**options, **places}), console, model, None)


def generate_in_child(told: Mapping[str, Any], console: Console, _rank: int) -> None:
    """In a child process: answer all that one run lacks."""
    seat = _restore_plan(told, console)
    engine = pipeline.EnginePool([seat], console)
    try:
        _complete_run(seat, Path(told["folder"]), engine, console)
    finally:
        engine.close()


def generate_passes_in_child(told: Mapping[str, Any], console: Console, _rank: int) -> None:
    """In a child process: one engine, every pass after the other."""
    seat = select_subset(_restore_plan(told, console), told["items"])
    engine = _SingleEnginePool([seat], console)
    try:
        generator, _ = engine.generator(seat)
        # What an engine makes at its first answer is no part of any pass's time.
        list(
            evaluate.stream_completions(
                seat.exam.requests[:1], generator, seat.exam.task.SAMPLING, seat.speech.manner.stop_ids
            )
        )
        for manner, folder in told["passes"]:
            engine.size = int(manner.partition(" ")[2]) if manner.startswith("batch ") else None
            requests = _shuffle_requests(seat) if manner == SHUFFLED else seat.exam.requests
            settings = {**seat.settings, "pass": manner, "items": told["items"]}
            _complete_run(
                replace(seat, exam=replace(seat.exam, requests=requests), settings=settings),
                Path(folder),
                engine,
                console,
            )
    finally:
        engine.close()


def _complete_run(seat: EvaluationPlan, folder: Path, engine: pipeline.EnginePool, console: Console) -> None:
    """Answer what a run lacks; its seconds are kept where this process answered all of it."""
    with runs.Run(folder, seat.settings) as held:
        whole = not held.finished
        runs.write_problems(folder, seat.exam.problems)
        _, timed = pipeline.generate_completions(seat, held, engine, console)
        if whole:
            runs.write_json(folder / SECONDS_FILE, round(timed["generate"], 3))


class _SingleEnginePool(pipeline.EnginePool):
    """One engine for every pass, started once; `size` prompts are handed to it at a time, None for all at once."""

    most = 1  # a batch of a size is one engine's
    size: int | None = None
    _once: tuple[Generator, LoadInfo] | None = None

    def generator(self, seat: EvaluationPlan) -> tuple[Generator, LoadInfo]:
        """The same generator each time, asked in the manner of the moment."""
        if self._once is None:
            self._once = super().generator(seat)
        generator, how = self._once
        return _BatchedGenerator(generator, self.size), how


class _BatchedGenerator:
    """A generator that is handed so many prompts at a time, and the next ones when all of these are answered."""

    def __init__(self, generator: Generator, size: int | None) -> None:
        self._generator = generator
        self._size = size
        self.version = generator.version
        self.settings = generator.settings
        self.context = generator.context

    def __getattr__(self, name: str) -> Any:
        """What else the generator can do, such as measuring, in its own manner."""
        return getattr(self._generator, name)

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """What the generator yields, group by group."""
        size = self._size or len(requests)
        for start in range(0, len(requests), size):
            yield from self._generator.complete(requests[start : start + size], sampling, stop_ids)

    def close(self) -> None:
        """Close the generator."""
        self._generator.close()


def select_subset(seat: EvaluationPlan, items: int) -> EvaluationPlan:
    """The same seat before a seeded subset of its items."""
    exam = seat.exam
    chosen = protocol.select_problems(exam.problems, min(items, len(exam.problems)), seat.options.seed)
    asked = {problem.id for problem in chosen}
    requests = tuple(request for request in exam.requests if request.problem_id in asked)
    partial = len(chosen) < exam.total
    limit, seed = (len(chosen), seat.options.seed) if partial else (None, None)
    return replace(seat, exam=replace(exam, problems=tuple(chosen), requests=requests, limit=limit, seed=seed))


def _shuffle_requests(seat: EvaluationPlan) -> tuple[Request, ...]:
    """Another order, the same on every machine."""
    return tuple(
        sorted(seat.exam.requests, key=lambda request: hashlib.sha256(f"order:{request.id}".encode()).digest())
    )


def is_complete(folder: Path, problems: Sequence[Problem]) -> bool:
    """Every one of these items, and nothing else, is answered in a run's folder."""
    if not (folder / "completions.jsonl").is_file():
        return False
    return set(runs.read_completions(folder)) == {problem.id for problem in problems}
