"""Collect the answers of problems that take several requests: they are generated separately and judged together."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from baseline_bench.core.types import Completion, Request


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
        """Add one answer.

        Returns:
            The problem and all of its answers if this was the last of them; else None.
        """
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
