"""Run a task on a loaded model: generate the missing answers, store each as it arrives, judge them all."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from baseline_bench.core.contracts import Generator, LogprobGenerator, Task
from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.core.types import Completion, Judgement, Problem, Request, Sampling, Score, Split, TrainingExample
from baseline_bench.evaluation import protocol
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
    """A task prepared for one model: the chosen items and their requests, in item order.

    Attributes:
        total: the number of items of the whole task; more than `len(problems)` for a partial run.
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


def select_problems(task: Task, split: Split, limit: int | None, seed: int) -> tuple[list[Problem], list[Problem]]:
    """Return (every item of the split, the chosen ones).

    Raises:
        BenchError: the task is empty, an id is repeated or cannot be encoded as UTF-8, or the limit is out of range.
    """
    everything = list(task.problems(split))
    if not everything:
        raise BenchError(f"{task.LABEL} has no problems in its {split.name} split", "check the data set")
    ids = [problem.id for problem in everything]
    if len(set(ids)) != len(ids):
        repeated_id = next(i for i in ids if ids.count(i) > 1)
        raise BenchError(f"{task.LABEL} gives the id '{repeated_id}' twice", "make ids unique in its problems()")
    for name in ids:
        require_encodable(f"{task.LABEL}: the id {name!r}", name)
    return everything, protocol.select_problems(everything, limit, seed)


def prepare_task(
    task: Task, problems: tuple[list[Problem], list[Problem]], model_tokenizer: ModelTokenizer, seed: int
) -> PreparedTask:
    """Tokenize the chosen items and compute the protocol's digest."""
    everything, chosen = problems
    partial = len(chosen) < len(everything)
    return PreparedTask(
        task=task,
        problems=tuple(chosen),
        requests=tuple(request for p in chosen for request in build_requests(model_tokenizer, task, p)),
        total=len(everything),
        limit=len(chosen) if partial else None,
        seed=seed if partial else None,
        protocol_sha256=protocol.digest_protocol(task, everything),
        items_sha256=protocol.digest_items(everything),
    )


def check_shots(task: Task, problems: Sequence[Problem]) -> list[Finding]:
    """Check that no question is, with its answer, among its own worked examples."""
    asked = ([turn.content for turn in task.messages(problem) if turn.role == "user"] for problem in problems)
    leaks = [
        problem.id for problem, turns in zip(problems, asked, strict=True) if turns[-1:] and turns[-1] in turns[:-1]
    ]
    if not leaks:
        return []
    message = (
        f"{len(leaks)} of {len(problems)} questions of {task.LABEL} are among their own worked examples: "
        f"{list_first(leaks)}; draw the examples from another split (fewshot_split of lm-eval)"
    )
    return [build_finding("shots-leak", message)]


def require_context(prepared: PreparedTask, context: int | None) -> None:
    """Refuse prompts that leave less room than the protocol's max_tokens, which would silently limit the score.

    A text that is measured needs room for one more token, which vLLM always generates. None is no limit.

    Raises:
        BenchError: names the longest prompt.
    """

    def tokens_after(request: Request) -> int:
        return prepared.task.SAMPLING.max_tokens if request.start is None else 1

    long = [r for r in prepared.requests if context is not None and len(r.token_ids) + tokens_after(r) > context]
    if long:
        worst = max(long, key=lambda r: len(r.token_ids))
        raise BenchError(
            f"{len(long)} prompts are too long: {worst.id} has {len(worst.token_ids)} tokens, and "
            f"{tokens_after(worst)} more must fit into a context of {context}",
            "score a model with a longer context, or raise the engine's context (-o context=N) where the model allows",
        )


def generate_completions(
    prepared: PreparedTask,
    generator: Generator,
    run: Run,
    model_tokenizer: ModelTokenizer,
    report: Callable[[int, int], None],
) -> int:
    """Generate the run's missing answers, store each as it arrives, and return the number of tokens generated here.

    Calls `report` with the requests answered so far, and the tokens generated here.

    Raises:
        BenchError: the engine ended without answering every request.
    """
    sampling, stop_ids = prepared.task.SAMPLING, model_tokenizer.prompt_format.stop_ids
    unanswered = (r for r in prepared.requests if r.problem_id not in run.finished)
    collector = SampleCollector(unanswered, sampling.draws or 1, run.kept)
    problems = {problem.id: problem for problem in prepared.problems}
    answers = AnswerLocator(model_tokenizer, sampling.stop)

    def keep(name: str, written: Completion) -> None:
        thought = find_open_thought(model_tokenizer.prompt_format, prepared.task, problems[name])
        run.append(name, answers.started(written, thought))

    for ready in collector.ready:
        keep(*ready)
    done, tokens = len(prepared.requests) * (sampling.draws or 1) - len(collector.requests), 0
    report(done, tokens)
    for request, completion in stream_completions(collector.requests, generator, sampling, stop_ids):
        tokens += len(completion.token_ids or ())
        done += 1
        if collector.several(request):
            run.keep(request, completion)
        if finished := collector.add(request, completion):
            keep(*finished)
        report(done, tokens)
    if collector.waiting:
        what = f"the engine left {collector.waiting} of {len(prepared.problems)} questions unanswered"
        raise BenchError(what, "give the same command again: finished answers are kept")
    return tokens


class SampleCollector:
    """The open requests of several problems, and their answers as they arrive.

    Args:
        questions: the requests, those of one problem one after the other.
        count: the number of answers to each request that generates; they are joined in the order of the requests,
            whatever order they finish in.
        previous_completions: the answers, by request, of an earlier process; they are not generated again.

    Attributes:
        requests: all requests that an engine must answer.
        ready: the problems that `previous_completions` answers completely.
    """

    def __init__(
        self, questions: Iterable[Request], count: int, previous_completions: Mapping[str, Completion] | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.ready: list[tuple[str, Completion]] = []
        self._problem: dict[str, str] = {}
        self._answers: dict[str, dict[str, Completion | None]] = {}
        for question in questions:
            for number in range(count if question.start is None else 1):
                # The first draw keeps the request's id, so that it is the same as without further draws.
                name = question.id if number == 0 else f"{question.id}, draw {number + 1}"
                self._problem[name] = question.problem_id
                self._answers.setdefault(question.problem_id, {})[name] = None
                self.requests.append(replace(question, id=name))
        for name in [name for name in previous_completions or {} if name in self._problem]:
            if joined := self.add(name, (previous_completions or {})[name]):
                self.ready.append(joined)
        self.requests = [request for request in self.requests if request.id in self._problem]

    def several(self, request: str) -> bool:
        """Return whether the request's problem has other requests, so that its answer must wait for theirs."""
        return len(self._answers[self._problem[request]]) > 1

    def add(self, request: str, answer: Completion) -> tuple[str, Completion] | None:
        """Add one answer; return the problem and all of its answers if this was the last of them, else None."""
        problem = self._problem.pop(request)
        answers = self._answers[problem]
        answers[request] = answer
        completions = [completion for completion in answers.values() if completion is not None]
        if len(completions) < len(answers):
            return None
        del self._answers[problem]
        return problem, _join_samples(completions)

    @property
    def waiting(self) -> int:
        """Return the number of problems that lack an answer."""
        return len(self._answers)


def _join_samples(answers: Iterable[Completion]) -> Completion:
    """Join the answers to one problem into one completion: texts in order, then measured likelihoods in order."""
    parts = list(answers)
    texts = [part for part in parts if not part.likelihoods]
    measured = tuple(likelihood for part in parts for likelihood in part.likelihoods)
    first, *more = texts or [Completion("", (), "stop")]
    return replace(first, more=tuple(more), likelihoods=measured)


def stream_completions(
    requests: Sequence[Request], generator: Generator, sampling: Sampling, stop_ids: Sequence[int]
) -> Iterator[tuple[str, Completion]]:
    """Yield (request id, completion) of every request: first those to measure, then those to generate.

    Raises:
        BenchError: the engine cannot measure, or a text's log-probability is not finite.
    """
    measured = [
        TrainingExample(request.id, request.token_ids, request.start)
        for request in requests
        if request.start is not None
    ]
    if measured:
        if not isinstance(generator, LogprobGenerator):
            raise BenchError(f"{generator.version} measures no likelihoods", "give --engine vllm or transformers")
        for name, token_logprobs in generator.logprobs(measured):
            try:
                likelihoods = (token_logprobs.likelihood,)
            except ValueError as error:
                raise BenchError(f"{name}: {error}", "look at the weights, or take -o dtype=float32") from error
            yield name, Completion("", (), "stop", likelihoods=likelihoods)
    generated = [request for request in requests if request.start is None]
    if generated:
        yield from generator.complete(generated, sampling, stop_ids)


def judge_completions(
    task: Task, problems: Sequence[Problem], completions: Mapping[str, Completion]
) -> list[Judgement]:
    """Return one judgement per problem, in item order; a missing completion is a BenchError and never a zero."""
    missing = [p.id for p in problems if p.id not in completions]
    if missing:
        what = f"{len(missing)} of {len(problems)} answers are missing, {missing[0]} first"
        raise BenchError(what, "finish the run by giving its command again")
    return [judge_completion(task, problem, completions[problem.id]) for problem in problems]


def judge_completion(task: Task, problem: Problem, completion: Completion) -> Judgement:
    """Judge one answer without its thoughts, and add why its generation ended."""
    return replace(task.grade(problem, completion.answer), finish=completion.finish)


def count_judgements(judgements: Sequence[Judgement]) -> Score:
    """Count correct, strict, unread and cut answers."""
    return Score(
        total=len(judgements),
        correct=sum(v.correct for v in judgements),
        strict=sum(v.strict for v in judgements),
        unread=sum(v.answer is None for v in judgements),
        cut=sum(v.finish == "length" for v in judgements),
    )
