"""Build the entry of a finished run: everything a reviewer needs to repeat and check it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import digest
from baseline_bench.core.types import Completion, Judgement, Problem, Value
from baseline_bench.evaluation import provenance, runs
from baseline_bench.evaluation.evaluate import PreparedTask, count_judgements
from baseline_bench.evaluation.plan import EvaluationPlan
from baseline_bench.models.tokens import digest_prompts
from baseline_bench.results.answers import count_unfinished_thoughts
from baseline_bench.results.bits import Bits
from baseline_bench.results.completions import (
    CommittedCompletion,
    build_committed_completion,
    restore_completion,
    serialise_completions,
)
from baseline_bench.results.entry import (
    CheckResults,
    EngineRecord,
    Entry,
    ModelRecord,
    Result,
    Selection,
    SolutionLikelihood,
    TaskRecord,
    Timings,
)


def build_entry(result: Result, timings: Timings) -> Entry:
    """Build the entry, dated now."""
    return Entry.of(result, runs.current_time(), timings)


def build_result(
    plan: EvaluationPlan,
    judgements: Sequence[Judgement],
    committed: Sequence[CommittedCompletion],
    resolved: Mapping[str, Value],
    solutions: SolutionLikelihood | None = None,
) -> Result:
    """Build all of an entry except its timings."""
    prepared = plan.exam
    settings = {key.removeprefix("setting "): value for key, value in resolved.items() if key.startswith("setting ")}
    libraries = {
        key.removeprefix("library "): str(value) for key, value in resolved.items() if key.startswith("library ")
    }
    return Result(
        candidate=plan.model.name,
        task=_build_task_record(plan),
        selection=Selection(
            total=prepared.total,
            scored=len(prepared.problems),
            limit=prepared.limit,
            seed=prepared.seed,
            ids_sha256=digest([problem.id for problem in prepared.problems]),
        ),
        model=_build_model_record(plan, served=settings.get("device") == "server"),
        prompts_sha256=digest_prompts(prepared.requests),
        engine=EngineRecord(plan.engine, str(resolved["version"]), settings),
        sampling=prepared.task.SAMPLING,
        training=plan.training,
        bits=Bits.of(judgements),
        counts=count_judgements(judgements),
        completions_sha256=hashlib.sha256(serialise_completions(committed)).hexdigest(),
        provenance=provenance.describe_program(
            plan.options.words, plan.options.commit, str(resolved["hardware"]), resolved["driver"], libraries
        ),
        solutions=solutions,
        checks=_build_checks(plan, solutions, committed),
        aggregates=_compute_aggregates(prepared, committed),
    )


def _build_checks(
    plan: EvaluationPlan, solutions: SolutionLikelihood | None, committed: Sequence[CommittedCompletion]
) -> CheckResults:
    """Collect the findings' codes; values count as checked if the engine exposes logits or texts were measured."""
    codes = {
        severity: {finding.code for finding in plan.findings if finding.severity == severity}
        for severity in ("warn", "refuse")
    }
    measured = solutions is not None or all(line.likelihoods for line in committed)
    logits_checked = measured or getattr(plugins.load_engine(plan.engine), "LOGITS", False)
    return CheckResults(
        tuple(sorted(codes["warn"])),
        tuple(sorted(codes["refuse"])),
        "finite" if logits_checked else "unchecked",
        count_unfinished_thoughts(committed),
    )


def _build_task_record(plan: EvaluationPlan) -> TaskRecord:
    prepared = plan.exam
    return TaskRecord(
        name=board_name(plan.options.task_name),
        label=prepared.task.LABEL,
        protocol_sha256=prepared.protocol_sha256,
        items_sha256=prepared.items_sha256,
        reader=prepared.task.READER,
    )


def _compute_aggregates(prepared: PreparedTask, committed: Sequence[CommittedCompletion]) -> Mapping[str, float] | None:
    """Compute the task's results over all items; None if its items have results of their own."""
    aggregate = getattr(prepared.task, "aggregates", None)
    return None if aggregate is None else aggregate(prepared.problems, [restore_completion(line) for line in committed])


def _build_model_record(plan: EvaluationPlan, *, served: bool) -> ModelRecord:
    """Build the record of the model that answered; `served` if a server holds the weights."""
    return ModelRecord(
        name=plan.model.name,
        source=plan.model.source,
        revision=plan.model.revision,
        # bench has not read the weights that a server holds.
        weights_sha256=None if served else plan.model.weights_sha256,
        tokenizer_sha256=plan.speech.tokenizer_sha256,
        template_sha256=plan.speech.manner.template_sha256,
        prompt_style=plan.speech.manner.style,
        bos=plan.speech.manner.bos,
        stop_ids=plan.speech.manner.stop_ids,
        identity=None if served else plan.identity,
        template_name=plan.speech.manner.template_name,
        template_arguments=plan.speech.manner.template_arguments,
    )


def commit_completions(
    problems: Sequence[Problem], completions: Mapping[str, Completion], plan: EvaluationPlan | None = None
) -> list[CommittedCompletion]:
    """Build the completions as committed with the entry, in item order.

    Args:
        problems: the chosen items.
        completions: an answer to each, by id.
        plan: its task may add evidence to each item; None stores the answers only.
    """
    extract_evidence = None if plan is None else getattr(plan.exam.task, "evidence", None)
    if plan is None or extract_evidence is None:
        return [build_committed_completion(problem, completions[problem.id]) for problem in problems]
    style = plan.speech.manner.style
    return [
        build_committed_completion(
            problem, completions[problem.id], extract_evidence(problem, completions[problem.id], style)
        )
        for problem in problems
    ]


def rejudge_entry(old_entry: Entry, task: Task, judgements: Sequence[Judgement]) -> Entry:
    """Return a new entry with these judgements, dated now; return the old one if no judgement changed.

    Raises:
        BenchError: the task now has another version, whose protocol this run did not follow.
    """
    old = old_entry.result.task
    if (old.label, old.reader) != (task.LABEL, task.READER):
        raise BenchError(
            f"the run was made under {old.label} read by {old.reader}, the task is now {task.LABEL} by {task.READER}",
            "score the model again under the task's new version",
        )
    judged = replace(old_entry.result, bits=Bits.of(judgements), counts=count_judgements(judgements))
    if judged == old_entry.result:
        return old_entry
    return Entry.of(judged, runs.current_time(), old_entry.timings)


def build_timings(
    prepared: PreparedTask, committed: Sequence[CommittedCompletion], phases: Mapping[str, float], tokens: int
) -> Timings:
    """Build the timings: seconds by phase of the process that finished the run, and tokens of the whole run.

    Args:
        tokens: generated by this process, for tokens per second; earlier processes of a resumed run do not count.
    """
    counts = [line.tokens for line in committed]
    known = [count for count in counts if count is not None]
    seconds = phases.get("generate")
    return Timings(
        phases={name: round(value, 3) for name, value in phases.items()},
        generated_tokens=sum(known) if len(known) == len(counts) else None,
        prompt_tokens=sum(len(request.token_ids) for request in prepared.requests),
        tokens_per_second=round(tokens / seconds, 1) if seconds and tokens else None,
    )


def board_name(task: str) -> str:
    """Return the name of a task's board: the task's name, or its file's, in characters that suit a file name."""
    task, limit = plugins.split_token_limit(task)
    library, colon, file = task.rpartition(":")
    name = f"{library}{colon}{Path(file).stem}" if file.endswith((".py", ".yaml", ".yml")) else task
    name = plugins.add_token_limit(name, limit)
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower().replace("_", "-")).strip("-_") or "task"
