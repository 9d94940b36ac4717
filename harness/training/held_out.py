"""Hold out a part of the train data to choose hyper-parameters by: the split, and the task made of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from baseline_bench.core import plugins, records
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Problem, Request, Sample, Split
from baseline_bench.evaluation import evaluate, protocol
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models import diagnose
from baseline_bench.models.tokens import encode_prompt
from baseline_bench.training import recipes
from baseline_bench.training.rows import TrainingSet
from baseline_bench.training.train import TrainingPlan

MAX_HELD_OUT = 256


def split_held_out(
    plan: TrainingPlan, samples: Sequence[Sample], held_out: int | None, fraction: float
) -> TrainingPlan:
    """Return the plan with some rows held out and a part of the others to train on, both in the data's order.

    The seed is the training's. A row that repeats a held-out question belongs to neither part.

    Args:
        held_out: number of rows; None takes 256, and a tenth of the data at most.
        fraction: share of the remaining rows, above 0 and at most 1.

    Raises:
        BenchError: a part would be empty.
    """
    rows, questions = plan.rows.rows, {sample.id: _normalise_question(sample) for sample in samples}
    held_out_ids, other_ids = _divide_ids([row.id for row in rows], held_out, plan.options.seed)
    held_out_questions = {questions[name] for name in held_out_ids}
    other_ids = [name for name in other_ids if questions[name] not in held_out_questions]
    if not other_ids:
        raise BenchError("every row left to train on asks a held-out question", "lower --held-out, or correct the data")
    training_ids = set(other_ids[: max(1, round(fraction * len(other_ids)))])
    return replace(
        plan,
        rows=TrainingSet.of([row for row in rows if row.id in training_ids]),
        held_out=tuple(row for row in rows if row.id in held_out_ids),
    )


def prepare_held_out_task(plan: TrainingPlan, samples: Sequence[Sample]) -> PreparedTask:
    """Turn the held-out rows into problems of the recipe's task; a gold answer that cannot be read is empty."""
    task = plugins.load_task(recipes.resolve_path(plan.recipe, "task"))
    by_id = {sample.id: sample for sample in samples}
    problems = _build_problems(task, plan, [by_id[row.id] for row in plan.held_out])
    model_tokenizer, items = plan.model_tokenizer, protocol.digest_items(problems)
    prompts = [
        (p.id, encode_prompt(model_tokenizer.tokenizer, model_tokenizer.prompt_format, task.messages(p)))
        for p in problems
    ]
    prepared = PreparedTask(
        task=task,
        problems=tuple(problems),
        requests=tuple(Request(*prompt) for prompt in prompts),
        total=len(problems),
        limit=None,
        seed=None,
        protocol_sha256=records.digest(["held out", task.LABEL, task.READER, items]),
        items_sha256=items,
    )
    diagnose.require_readable(plan.model, prepared.requests)
    evaluate.require_context(prepared, model_tokenizer.context)
    return prepared


def _build_problems(task: Task, plan: TrainingPlan, held_out: Sequence[Sample]) -> list[Problem]:
    """Return the task's own train problems if the data is the task's, else build them from the samples."""
    recipe = plan.recipe
    task_names = (recipe.task, recipes.resolve_path(recipe, "task"), getattr(task, "REPOSITORY", None))
    if recipes.resolve_path(recipe, "data") in task_names:
        train = Split("train", recipe.config or "main", plan.options.mirror)
        by_id = {problem.id: problem for problem in task.problems(train)}
        return [by_id[sample.id] for sample in held_out]
    problems = [Problem(row.id, row.messages[-1].content, "0", row.solution) for row in held_out]
    answers = [task.grade(problem, Completion(problem.solution, None, "stop")).answer for problem in problems]
    return [replace(problem, answer=answer or "") for problem, answer in zip(problems, answers, strict=True)]


def _divide_ids(names: Sequence[str], held_out: int | None, seed: int) -> tuple[set[str], list[str]]:
    """Return (held-out ids, the other ids in the order in which they are taken to train on).

    A hash with the seed ranks the ids, as in `protocol.select_problems`, so that a larger part includes a smaller one.
    """
    count = held_out if held_out is not None else max(1, min(MAX_HELD_OUT, len(names) // 10))
    if not 1 <= count < len(names):
        raise BenchError(f"--held-out {count} of {len(names)} rows is out of range", f"give 1 to {len(names) - 1}")
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return set(ranked[:count]), ranked[count:]


def _normalise_question(sample: Sample) -> str:
    return " ".join(word for message in sample.messages for word in message.content.lower().split())
