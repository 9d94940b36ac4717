"""Several answers to one question, where a task draws them: asked for one by one, kept and judged together."""

from collections.abc import Iterable
from dataclasses import replace

from harness.types import Completion, Request


class Draws:
    """The requests for some questions, and the answers as they come in.

    Args:
        questions: a request each.
        count: answers wanted to each; their order is that of the requests, whatever order they are finished in.
    """

    def __init__(self, questions: Iterable[Request], count: int) -> None:
        self.requests: list[Request] = []
        self._places: dict[str, tuple[str, int]] = {}
        self._found: dict[str, dict[int, Completion]] = {}
        self._count = count
        for question in questions:
            self._found[question.id] = {}
            for number in range(count):
                # The first draw bears the question's name, and is what it would be if it were the only one.
                name = question.id if number == 0 else f"{question.id}, draw {number + 1}"
                self._places[name] = question.id, number
                self.requests.append(replace(question, id=name))

    def add(self, request: str, completion: Completion) -> tuple[str, Completion] | None:
        """Take one answer.

        Returns:
            The question and all of its answers once this was the last of them; else None.
        """
        question, number = self._places.pop(request)
        found = self._found[question]
        found[number] = completion
        if len(found) < self._count:
            return None
        del self._found[question]
        first, *others = (found[place] for place in range(self._count))
        return question, replace(first, more=tuple(others))

    @property
    def waiting(self) -> int:
        """Questions that lack an answer."""
        return len(self._found)
