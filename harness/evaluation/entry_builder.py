"""Build the entry of a finished run: everything a reviewer needs to repeat the row and to check it."""

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
from baseline_bench.results.bits import Bits
from baseline_bench.results.completions import CommittedCompletion, build_committed_completion, serialise_completions
from baseline_bench.results.completions import restore_completion as completion_of
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
    """The entry, dated now."""
    return Entry.of(result, runs.current_time(), timings)


def build_result(
    seat: EvaluationPlan,
    verdicts: Sequence[Judgement],
    committed: Sequence[CommittedCompletion],
    resolved: Mapping[str, Value],
    solutions: SolutionLikelihood | None = None,
) -> Result:
    """All of a row but its timings."""
    exam = seat.exam
    settings = {key.removeprefix("setting "): value for key, value in resolved.items() if key.startswith("setting ")}
    met = {key.removeprefix("library "): str(value) for key, value in resolved.items() if key.startswith("library ")}
    return Result(
        candidate=seat.model.name,
        task=_build_task_record(seat),
        selection=Selection(
            total=exam.total,
            scored=len(exam.problems),
            limit=exam.limit,
            seed=exam.seed,
            ids_sha256=digest([problem.id for problem in exam.problems]),
        ),
        model=_build_model_record(seat, served=settings.get("device") == "server"),
        prompts_sha256=digest_prompts(exam.requests),
        engine=EngineRecord(seat.engine, str(resolved["version"]), settings),
        sampling=exam.task.SAMPLING,
        training=seat.training,
        bits=Bits.of(verdicts),
        counts=count_judgements(verdicts),
        completions_sha256=hashlib.sha256(serialise_completions(committed)).hexdigest(),
        provenance=provenance.describe_program(
            seat.options.words, seat.options.commit, str(resolved["hardware"]), resolved["driver"], met
        ),
        solutions=solutions,
        checks=_build_checks(seat, solutions, committed),
        aggregates=_compute_aggregates(exam, committed),
    )


def _build_checks(
    seat: EvaluationPlan, solutions: SolutionLikelihood | None, committed: Sequence[CommittedCompletion]
) -> CheckResults:
    """What was noticed, by code. Measured solutions show an engine's log-probabilities where it hides its logits."""
    codes = {
        severity: {one.code for one in seat.findings if one.severity == severity} for severity in ("warn", "refuse")
    }
    measured = solutions is not None or all(line.likelihoods for line in committed)
    seen = measured or getattr(plugins.load_engine(seat.engine), "LOGITS", False)
    return CheckResults(tuple(sorted(codes["warn"])), tuple(sorted(codes["refuse"])), "finite" if seen else "unchecked")


def _build_task_record(seat: EvaluationPlan) -> TaskRecord:
    exam = seat.exam
    return TaskRecord(
        name=board_name(seat.options.task),
        label=exam.task.LABEL,
        protocol_sha256=exam.protocol_sha256,
        items_sha256=exam.items_sha256,
        reader=exam.task.READER,
    )


def _compute_aggregates(exam: PreparedTask, committed: Sequence[CommittedCompletion]) -> Mapping[str, float] | None:
    """The results of all items together, where the task says that an item has none of its own."""
    told = getattr(exam.task, "aggregates", None)
    return None if told is None else told(exam.problems, [completion_of(line) for line in committed])


def _build_model_record(seat: EvaluationPlan, *, served: bool) -> ModelRecord:
    """Who answered; `served` where a server holds the weights."""
    return ModelRecord(
        name=seat.model.name,
        source=seat.model.source,
        revision=seat.model.revision,
        # Nobody here has seen the weights that a server holds.
        weights_sha256=None if served else seat.model.weights_sha256,
        tokenizer_sha256=seat.speech.tokenizer_sha256,
        template_sha256=seat.speech.manner.template_sha256,
        prompt_style=seat.speech.manner.style,
        bos=seat.speech.manner.bos,
        stop_ids=seat.speech.manner.stop_ids,
        identity=None if served else seat.identity,
    )


def commit_completions(
    problems: Sequence[Problem], written: Mapping[str, Completion], seat: EvaluationPlan | None = None
) -> list[CommittedCompletion]:
    """The completions as they are committed beside the entry, in item order.

    Args:
        problems: that were asked.
        written: an answer to each.
        seat: whose task may tell more of an item; None keeps the answers alone.
    """
    told = None if seat is None else getattr(seat.exam.task, "evidence", None)
    if seat is None or told is None:
        return [build_committed_completion(problem, written[problem.id]) for problem in problems]
    style = seat.speech.manner.style
    return [
        build_committed_completion(each, written[each.id], told(each, written[each.id], style)) for each in problems
    ]


def rejudge_entry(before: Entry, task: Task, verdicts: Sequence[Judgement]) -> Entry:
    """The same run with new verdicts: a new entry, dated now, or the old one where no verdict is new.

    Raises:
        BenchError: the task has moved on to another version, whose protocol this run did not follow.
    """
    then = before.result.task
    if (then.label, then.reader) != (task.LABEL, task.READER):
        raise BenchError(
            f"the run was made under {then.label} read by {then.reader}, the task is now {task.LABEL} by {task.READER}",
            "score the model again under the task's new version",
        )
    judged = replace(before.result, bits=Bits.of(verdicts), counts=count_judgements(verdicts))
    if judged == before.result:
        return before
    return Entry.of(judged, runs.current_time(), before.timings)


def build_timings(
    exam: PreparedTask, committed: Sequence[CommittedCompletion], phases: Mapping[str, float], tokens: int
) -> Timings:
    """Seconds by phase of the process that ended the run, and tokens of the whole run.

    Args:
        tokens: generated by this very process, for tokens a second; a resumed run generated others before.
    """
    counts = [line.tokens for line in committed]
    known = [count for count in counts if count is not None]
    seconds = phases.get("generate")
    return Timings(
        phases={name: round(value, 3) for name, value in phases.items()},
        generated_tokens=sum(known) if len(known) == len(counts) else None,
        prompt_tokens=sum(len(request.token_ids) for request in exam.requests),
        tokens_per_second=round(tokens / seconds, 1) if seconds and tokens else None,
    )


def board_name(task: str) -> str:
    """The board a task's rows go to: its name, or that of its file, in characters that suit a file name."""
    library, colon, file = task.rpartition(":")
    name = f"{library}{colon}{Path(file).stem}" if file.endswith((".py", ".yaml", ".yml")) else task
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower().replace("_", "-")).strip("-_") or "task"
