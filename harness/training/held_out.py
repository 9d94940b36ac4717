"""A part of the train data held out to choose hyper-parameters by: the split, and the exam made of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from baseline_bench.core import plugins, records
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Problem, Request, Sample, Split
from baseline_bench.evaluation import evaluate, protocol
from baseline_bench.evaluation.evaluate import PreparedTask
from baseline_bench.models.tokens import encode_prompt
from baseline_bench.training import recipes
from baseline_bench.training.rows import TrainingSet
from baseline_bench.training.train import TrainingPlan

MAX_HELD_OUT = 256


def split_held_out(
    plan: TrainingPlan, samples: Sequence[Sample], held_out: int | None, fraction: float
) -> TrainingPlan:
    """The plan with some rows held out and a part of the others to train on, both in the data's order.

    The seed is the training's. A row that asks a held-out question again belongs to neither.

    Args:
        plan: of the whole data.
        samples: the same data as text.
        held_out: rows; None takes 256, and a tenth of the data at most.
        fraction: of the rows that are left, above 0 and at most 1.

    Raises:
        BenchError: a part would be empty.
    """
    rows, asked = plan.rows.rows, {sample.id: _normalise_question(sample) for sample in samples}
    held, rest = _divide_ids([row.id for row in rows], held_out, plan.options.seed)
    taken = {asked[name] for name in held}
    rest = [name for name in rest if asked[name] not in taken]
    if not rest:
        raise BenchError("every row left to train on asks a held-out question", "lower --held-out, or mend the data")
    kept = set(rest[: max(1, round(fraction * len(rest)))])
    return replace(
        plan,
        rows=TrainingSet.of([row for row in rows if row.id in kept]),
        held_out=tuple(row for row in rows if row.id in held),
    )


def prepare_held_out_task(plan: TrainingPlan, samples: Sequence[Sample]) -> PreparedTask:
    """The held-out rows as problems of the recipe's task, asked in the task's own way; an unread gold answer is empty.

    Raises:
        BenchError: a prompt leaves too little of the model's context.
    """
    task = plugins.load_task(recipes.resolve_path(plan.recipe, "task"))
    by_id = {sample.id: sample for sample in samples}
    problems = _build_problems(task, plan, [by_id[row.id] for row in plan.held_out])
    speech, items = plan.speech, protocol.digest_items(problems)
    asked = [(p.id, encode_prompt(speech.tokenizer, speech.manner, task.messages(p))) for p in problems]
    made = PreparedTask(
        task=task,
        problems=tuple(problems),
        requests=tuple(Request(*each) for each in asked),
        total=len(problems),
        limit=None,
        seed=None,
        protocol_sha256=records.digest(["held out", task.LABEL, task.READER, items]),
        items_sha256=items,
    )
    if speech.context is not None:
        evaluate.require_context(made, speech.context)
    return made


def _build_problems(task: Task, plan: TrainingPlan, held_out: Sequence[Sample]) -> list[Problem]:
    """The task's own train problems where the data is theirs, else made of the samples."""
    recipe = plan.recipe
    own = (recipe.task, recipes.resolve_path(recipe, "task"), getattr(task, "REPOSITORY", None))
    if recipes.resolve_path(recipe, "data") in own:
        train = Split("train", recipe.config or "main", plan.options.mirror)
        by_id = {problem.id: problem for problem in task.problems(train)}
        return [by_id[sample.id] for sample in held_out]
    made = [Problem(each.id, each.messages[-1].content, "0", each.solution) for each in held_out]
    read = [task.grade(problem, Completion(problem.solution, None, "stop")).answer for problem in made]
    return [replace(problem, answer=answer or "") for problem, answer in zip(made, read, strict=True)]


def _divide_ids(names: Sequence[str], held_out: int | None, seed: int) -> tuple[set[str], list[str]]:
    """(ids held out, the others in the order in which they are taken to train on).

    Ids are ranked by a hash with the seed, as `protocol.select` does, so that a smaller part lies in a larger one.
    """
    many = held_out if held_out is not None else max(1, min(MAX_HELD_OUT, len(names) // 10))
    if not 1 <= many < len(names):
        raise BenchError(f"--held-out {many} of {len(names)} rows is out of range", f"give 1 to {len(names) - 1}")
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return set(ranked[:many]), ranked[many:]


def _normalise_question(sample: Sample) -> str:
    return " ".join(word for message in sample.messages for word in message.content.lower().split())
