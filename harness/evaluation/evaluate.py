"""Run a task on a loaded model: ask what is not yet answered, keep each answer as it comes, judge them all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from baseline_bench.core.contracts import Generator, LogprobGenerator, Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Judgement, Problem, Request, Sampling, Score, Split, TrainingExample
from baseline_bench.evaluation import protocol
from baseline_bench.evaluation.multi_sample import SampleCollector
from baseline_bench.evaluation.runs import Run
from baseline_bench.models.tokens import (
    AnswerLocator,
    ModelTokenizer,
    build_requests,
    find_open_thought,
    require_encodable,
)


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """A task made ready for one model: the chosen items and the requests that ask them, in item order.

    Attributes:
        total: items of the whole task; more than `len(problems)` for a partial run.
        protocol_sha256: over the whole task, not the selection.
    """

    task: Task
    problems: tuple[Problem, ...]
    requests: tuple[Request, ...]
    total: int
    limit: int | None
    seed: int | None
    protocol_sha256: str
    items_sha256: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: requests answered and wanted, tokens generated in this process."""

    done: int
    wanted: int
    tokens: int


def select_problems(task: Task, split: Split, limit: int | None, seed: int) -> tuple[list[Problem], list[Problem]]:
    """(every item of the split, the chosen ones).

    Raises:
        BenchError: the task is empty, repeats an id or has one that is no text, or the limit is out of range.
    """
    everything = list(task.problems(split))
    if not everything:
        raise BenchError(f"{task.LABEL} has no problems in its {split.name} split", "check the data set")
    ids = [problem.id for problem in everything]
    if len(set(ids)) != len(ids):
        double = next(i for i in ids if ids.count(i) > 1)
        raise BenchError(f"{task.LABEL} gives the id '{double}' twice", "make ids unique in its problems()")
    for name in ids:
        require_encodable(f"{task.LABEL}: the id {name!r}", name)
    return everything, protocol.select_problems(everything, limit, seed)


def prepare_task(
    task: Task, problems: tuple[list[Problem], list[Problem]], speech: ModelTokenizer, seed: int
) -> PreparedTask:
    """Turn the chosen items into token ids and fix the protocol's digest."""
    everything, chosen = problems
    partial = len(chosen) < len(everything)
    return PreparedTask(
        task=task,
        problems=tuple(chosen),
        requests=tuple(request for p in chosen for request in build_requests(speech, task, p)),
        total=len(everything),
        limit=len(chosen) if partial else None,
        seed=seed if partial else None,
        protocol_sha256=protocol.digest_protocol(task, everything),
        items_sha256=protocol.digest_items(everything),
    )


def require_context(exam: PreparedTask, context: int) -> None:
    """Refuse prompts that leave less room than the protocol's max_tokens: a silent score limit otherwise.

    A text that is measured needs room for one more token, which vLLM always generates.

    Raises:
        BenchError: naming the longest prompt.
    """

    def more(request: Request) -> int:
        return exam.task.SAMPLING.max_tokens if request.start is None else 1

    long = [r for r in exam.requests if len(r.token_ids) + more(r) > context]
    if long:
        worst = max(long, key=lambda r: len(r.token_ids))
        raise BenchError(
            f"{len(long)} prompts are too long: {worst.id} has {len(worst.token_ids)} tokens, and "
            f"{more(worst)} more must fit into a context of {context}",
            "score a model with a longer context, or raise the engine's context (-o context=N) where the model allows",
        )


def generate_completions(
    exam: PreparedTask, generator: Generator, run: Run, speech: ModelTokenizer, report: Callable[[Progress], None]
) -> int:
    """Generate what the run lacks; each answer is kept, with the place where it starts, before the next is counted.

    Returns:
        The tokens generated in this process.

    Raises:
        BenchError: the engine ended without answering every request.
    """
    sampling = exam.task.SAMPLING
    draws = SampleCollector(
        (r for r in exam.requests if r.problem_id not in run.finished), sampling.draws or 1, run.kept
    )
    problems, answers = {problem.id: problem for problem in exam.problems}, AnswerLocator(speech, sampling.stop)

    def keep(name: str, written: Completion) -> None:
        run.append(name, answers.started(written, find_open_thought(speech.manner, exam.task, problems[name])))

    for ready in draws.ready:
        keep(*ready)
    wanted = len(exam.requests) * (sampling.draws or 1)
    done, tokens = wanted - len(draws.requests), 0
    report(Progress(done, wanted, tokens))
    for request, completion in stream_completions(draws.requests, generator, sampling, speech.manner.stop_ids):
        tokens += len(completion.token_ids or ())
        done += 1
        if draws.several(request):
            run.keep(request, completion)
        if whole := draws.add(request, completion):
            keep(*whole)
        report(Progress(done, wanted, tokens))
    if draws.waiting:
        raise BenchError(
            f"the engine left {draws.waiting} of {len(exam.problems)} questions unanswered",
            "give the same command again: finished answers are kept",
        )
    return tokens


def stream_completions(
    asked: Sequence[Request], generator: Generator, sampling: Sampling, stop_ids: Sequence[int]
) -> Iterator[tuple[str, Completion]]:
    """What the engine measures, then what it generates.

    Raises:
        BenchError: the engine cannot measure, or finds a text impossible.
    """
    measured = [TrainingExample(each.id, each.token_ids, each.start) for each in asked if each.start is not None]
    if measured:
        if not isinstance(generator, LogprobGenerator):
            raise BenchError(f"{generator.version} measures no likelihoods", "give --engine vllm or transformers")
        for name, found in generator.logprobs(measured):
            try:
                likelihoods = (found.likelihood,)
            except ValueError as error:
                raise BenchError(f"{name}: {error}", "look at the weights, or take -o dtype=float32") from error
            yield name, Completion("", (), "stop", likelihoods=likelihoods)
    generated = [each for each in asked if each.start is None]
    if generated:
        yield from generator.complete(generated, sampling, stop_ids)


def judge_completions(
    task: Task, problems: Sequence[Problem], completions: Mapping[str, Completion]
) -> list[Judgement]:
    """One verdict a problem, in item order. A missing completion is an error and never a zero.

    Raises:
        BenchError: naming how many answers are missing.
    """
    missing = [p.id for p in problems if p.id not in completions]
    if missing:
        raise BenchError(
            f"{len(missing)} of {len(problems)} answers are missing, {missing[0]} first",
            "finish the run by giving its command again",
        )
    return [judge_completion(task, problem, completions[problem.id]) for problem in problems]


def judge_completion(task: Task, problem: Problem, completion: Completion) -> Judgement:
    """The task's verdict on the answer; thoughts are never graded. The completion says why generation ended."""
    return replace(task.grade(problem, completion.answer), finish=completion.finish)


def count_judgements(verdicts: Sequence[Judgement]) -> Score:
    """Count."""
    return Score(
        total=len(verdicts),
        correct=sum(v.correct for v in verdicts),
        strict=sum(v.strict for v in verdicts),
        unread=sum(v.answer is None for v in verdicts),
        cut=sum(v.finish == "length" for v in verdicts),
    )
