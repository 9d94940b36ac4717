"""A part of the train data held out to choose hyper-parameters by: the split, and the exam made of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from baseline_bench.core import plugins, records
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Problem, Request, Sample, Split
from baseline_bench.evaluation import evaluate, protocol
from baseline_bench.evaluation.evaluate import Exam
from baseline_bench.models.tokens import prompt_ids
from baseline_bench.training import recipes
from baseline_bench.training.rows import Rows
from baseline_bench.training.train import Plan

MOST = 256


def split(plan: Plan, samples: Sequence[Sample], held_out: int | None, fraction: float) -> Plan:
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
    rows, asked = plan.rows.rows, {sample.id: _question(sample) for sample in samples}
    held, rest = _divided([row.id for row in rows], held_out, plan.order.seed)
    taken = {asked[name] for name in held}
    rest = [name for name in rest if asked[name] not in taken]
    if not rest:
        raise BenchError("every row left to train on asks a held-out question", "lower --held-out, or mend the data")
    kept = set(rest[: max(1, round(fraction * len(rest)))])
    return replace(
        plan,
        rows=Rows.of([row for row in rows if row.id in kept]),
        held_out=tuple(row for row in rows if row.id in held),
    )


def exam(plan: Plan, samples: Sequence[Sample]) -> Exam:
    """The held-out rows as problems of the recipe's task, asked in the task's own way; an unread gold answer is empty.

    Raises:
        BenchError: a prompt leaves too little of the model's context.
    """
    task = plugins.task(recipes.place(plan.recipe, "task"))
    by_id = {sample.id: sample for sample in samples}
    problems = _problems(task, plan, [by_id[row.id] for row in plan.held_out])
    speech, items = plan.speech, protocol.items_sha256(problems)
    asked = [(p.id, prompt_ids(speech.tokenizer, speech.manner, task.messages(p))) for p in problems]
    made = Exam(
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
        evaluate.fits(made, speech.context)
    return made


def _problems(task: Task, plan: Plan, held_out: Sequence[Sample]) -> list[Problem]:
    """The task's own train problems where the data is theirs, else made of the samples."""
    recipe = plan.recipe
    own = (recipe.task, recipes.place(recipe, "task"), getattr(task, "REPOSITORY", None))
    if recipes.place(recipe, "data") in own:
        train = Split("train", recipe.config or "main", plan.order.mirror)
        by_id = {problem.id: problem for problem in task.problems(train)}
        return [by_id[sample.id] for sample in held_out]
    made = [Problem(each.id, each.messages[-1].content, "0", each.solution) for each in held_out]
    read = [task.grade(problem, Completion(problem.solution, None, "stop")).answer for problem in made]
    return [replace(problem, answer=answer or "") for problem, answer in zip(made, read, strict=True)]


def _divided(names: Sequence[str], held_out: int | None, seed: int) -> tuple[set[str], list[str]]:
    """(ids held out, the others in the order in which they are taken to train on).

    Ids are ranked by a hash with the seed, as `protocol.select` does, so that a smaller part lies in a larger one.
    """
    many = held_out if held_out is not None else max(1, min(MOST, len(names) // 10))
    if not 1 <= many < len(names):
        raise BenchError(f"--held-out {many} of {len(names)} rows is out of range", f"give 1 to {len(names) - 1}")
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return set(ranked[:many]), ranked[many:]


def _question(sample: Sample) -> str:
    return " ".join(word for message in sample.messages for word in message.content.lower().split())
