"""Several requests for one question, where a task makes them: asked one by one, kept and judged together."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from baseline_bench.core.types import Completion, Request


class SampleCollector:
    """The requests for some questions, and the answers as they come in.

    Args:
        questions: what is asked, the requests of one problem one after the other.
        count: answers wanted to each request that generates; their order is that of the requests, whatever order they
            are finished in.
        kept: the answers, by request, of an earlier process; they are not asked again.

    Attributes:
        requests: all that an engine is to answer.
        ready: the problems that `kept` answers whole.
    """

    def __init__(self, questions: Iterable[Request], count: int, kept: Mapping[str, Completion] | None = None) -> None:
        self.requests: list[Request] = []
        self.ready: list[tuple[str, Completion]] = []
        self._problem: dict[str, str] = {}
        self._answers: dict[str, dict[str, Completion | None]] = {}
        for question in questions:
            for number in range(count if question.start is None else 1):
                # The first draw bears the question's name, and is what it would be if it were the only one.
                name = question.id if number == 0 else f"{question.id}, draw {number + 1}"
                self._problem[name] = question.problem_id
                self._answers.setdefault(question.problem_id, {})[name] = None
                self.requests.append(replace(question, id=name))
        for name in [name for name in kept or {} if name in self._problem]:
            if whole := self.add(name, (kept or {})[name]):
                self.ready.append(whole)
        self.requests = [request for request in self.requests if request.id in self._problem]

    def several(self, request: str) -> bool:
        """Whether the request's problem has others, so that its answer must be kept until they are there too."""
        return len(self._answers[self._problem[request]]) > 1

    def add(self, request: str, answer: Completion) -> tuple[str, Completion] | None:
        """Take one answer.

        Returns:
            The problem and all of its answers once this was the last of them; else None.
        """
        problem = self._problem.pop(request)
        answers = self._answers[problem]
        answers[request] = answer
        found = [each for each in answers.values() if each is not None]
        if len(found) < len(answers):
            return None
        del self._answers[problem]
        return problem, _join_samples(found)

    @property
    def waiting(self) -> int:
        """Questions that lack an answer."""
        return len(self._answers)


def _join_samples(answers: Iterable[Completion]) -> Completion:
    """The answers to one problem as one: the texts in their order, and what was measured in its order."""
    parts = list(answers)
    texts = [part for part in parts if not part.likelihoods]
    measured = tuple(one for part in parts for one in part.likelihoods)
    first, *more = texts or [Completion("", (), "stop")]
    return replace(first, more=tuple(more), likelihoods=measured)
