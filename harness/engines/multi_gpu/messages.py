"""What a fleet and its workers say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baseline_bench.core.types import Value


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """What a worker is to do: load, complete, logprobs, reload, prompt_logprobs or close."""

    what: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemAnswered:
    """One answer of those that were asked for together."""

    id: str
    value: Any


@dataclass(frozen=True, slots=True)
class RequestDone:
    """All of what was asked is done; `value` is what it came to where it is one thing."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The BenchError that a worker met."""

    what: str
    way_out: str | None


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The worker is no more."""


@dataclass(frozen=True, slots=True)
class EngineReady:
    """A loaded generator, as it tells of itself, and whether it is Reloading and Measuring."""

    version: str
    settings: Mapping[str, Value]
    context: int
    reloads: bool
    measures: bool
