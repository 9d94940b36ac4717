"""Define the messages between the parent and its worker processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baseline_bench.core.types import Value


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """A request to a worker: load, complete, logprobs, reload, prompt_logprobs or close."""

    what: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemAnswered:
    """The answer to one item of a request."""

    id: str
    value: Any


@dataclass(frozen=True, slots=True)
class RequestDone:
    """The end of a request; `value` is its result if it has a single one."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The BenchError that a worker raised."""

    what: str
    way_out: str | None


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The end of a worker process."""


@dataclass(frozen=True, slots=True)
class EngineReady:
    """A loaded generator's description; `reloads` and `measures`: is it a ReloadableGenerator, a LogprobGenerator."""

    version: str
    settings: Mapping[str, Value]
    context: int
    reloads: bool
    measures: bool
