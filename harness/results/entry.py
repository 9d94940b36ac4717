"""An entry's nouns: one row of a board and all it takes to repeat and to check it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import OMIT_WHEN_NONE, digest
from baseline_bench.core.types import BosRule, ModelIdentity, Sampling, Score, Value
from baseline_bench.results.bits import Bits
from baseline_bench.results.candidate import TrainingRecord

# Such as lm-eval/acc,none@4a3e3581 and lm-eval/ter=50,none,less@4a3e3581.
_READER_PATTERN = re.compile(
    r"[^/]+/(?P<metric>[^=,]+)(?:=(?P<bar>[^,]+))?,(?P<filter>.+?)(?P<less>,less)?@[0-9a-f]{8}", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What was asked. `items_sha256` is over all items of the task, whichever of them were scored."""

    name: str
    label: str
    protocol_sha256: str
    items_sha256: str
    reader: str

    @property
    def counted(self) -> re.Match[str] | None:
        """The metric, bar and filter of a reader that says right and wrong by them; None for another reader."""
        return _READER_PATTERN.fullmatch(self.reader)

    @property
    def bar(self) -> tuple[str, str] | None:
        """(metric, degree that an answer must reach to be right) where the reader judges by degrees; None elsewhere."""
        found = self.counted
        return (found["metric"], found["bar"]) if found and found["bar"] else None

    @property
    def measure(self) -> str:
        """What the share of right items is called; a bar says by itself what is right, another metric its name."""
        if self.bar is not None:
            return "right"
        found = self.counted
        return "exact match" if found is None or found["metric"] == "exact_match" else found["metric"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which items were scored. `limit` and `seed` are None for all; `ids_sha256` is `digest` over the list of ids."""

    total: int
    scored: int
    limit: int | None
    seed: int | None
    ids_sha256: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Who answered, and how its prompts were made. `identity` is None in older entries, and behind a server."""

    name: str
    source: str
    revision: str | None
    weights_sha256: str | None
    tokenizer_sha256: str | None
    template_sha256: str | None
    prompt_style: Literal["template", "text"]
    bos: BosRule
    stop_ids: tuple[int, ...]
    identity: ModelIdentity | None = field(default=None, metadata=OMIT_WHEN_NONE)

    def unlike(self, other: "ModelRecord") -> str:
        """The parts of the identity that differ from another model's; see `Identity.unlike`."""
        return "" if self.identity is None else self.identity.unlike(other.identity)


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What generated, with every setting as it was resolved."""

    name: str
    version: str
    settings: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the row comes from: program, command, libraries, machine."""

    bench: str
    git_commit: str | None
    git_dirty: bool | None
    command: str
    python: str
    libraries: Mapping[str, str]
    device: str
    driver: str | None


@dataclass(frozen=True, slots=True)
class SolutionLikelihood:
    """How likely the model finds the task's own worked solutions, token by token (teacher-forced), given the prompts.

    Attributes:
        mean_logprob: over all tokens of all scored items' solutions, in nats; nearer to 0 is likelier.
        tokens: how many.
        sha256: of the lines beside the entry that hold it item by item.
    """

    mean_logprob: float
    tokens: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CheckResults:
    """What the checks before and after a run noticed.

    Attributes:
        findings: codes of the warnings (see `baseline_bench.core.findings`), sorted.
        accepted: codes of the refusals that the user overrode with `--accept`, sorted.
        logits: "finite" where the engine looked at every logit or log-probability that it chose by; "unchecked" where
            nobody could.
    """

    findings: tuple[str, ...]
    accepted: tuple[str, ...]
    logits: Literal["finite", "unchecked"]

    @property
    def marks(self) -> tuple[str, ...]:
        """Every code that a reader of the row should see, overridden refusals marked."""
        return (*self.findings, *(f"{code} (accepted)" for code in self.accepted))

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """(what, value) for a person at a terminal: the codes, and that nobody could look at the logits."""
        unseen = "unchecked: nobody could see whether they were finite"
        found = (("findings", ", ".join(self.marks)),) if self.marks else ()
        return (*found, *((("logits", unseen),) if self.logits == "unchecked" else ()))


@dataclass(frozen=True, slots=True)
class Result:
    """All of a row but its timings, so that a resumed run and an unbroken one have the same digest.

    Attributes:
        solutions: None for entries older than this measurement, and for engines that cannot make it.
        checks: None for entries older than these checks.
        aggregates: the results of all items together, where an item is neither right nor wrong; None where each is.
    """

    candidate: str
    task: TaskRecord
    selection: Selection
    model: ModelRecord
    prompts_sha256: str
    engine: EngineRecord
    sampling: Sampling
    training: TrainingRecord | None
    bits: Bits
    counts: Score
    completions_sha256: str
    provenance: Provenance
    solutions: SolutionLikelihood | None = field(default=None, metadata=OMIT_WHEN_NONE)
    checks: CheckResults | None = field(default=None, metadata=OMIT_WHEN_NONE)
    aggregates: Mapping[str, float] | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @property
    def marks(self) -> tuple[str, ...]:
        """The codes of the findings that a reader of the row should see; none for entries older than the checks."""
        return () if self.checks is None else self.checks.marks

    def require_bits(self) -> None:
        """Refuse what counts items that are right; BenchError where an item is neither right nor wrong."""
        if self.aggregates is not None:
            what = f"{self.candidate} has results of all items of {self.task.label} together, none is right or wrong"
            raise BenchError(what, "read them on its board, or name a row of another task")

    @property
    def base_sha256(self) -> str | None:
        """Of the weights that these were trained from; None for what was not trained, or nobody knows from what."""
        return None if self.training is None else self.training.base_sha256


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by phase (prepare, load, generate, grade) and tokens; None where a server does not tell."""

    phases: Mapping[str, float]
    generated_tokens: int | None
    prompt_tokens: int | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a board. `created` is UTC as 2026-11-22T12:00:00Z."""

    schema: Literal[1]
    created: str
    result: Result
    result_sha256: str
    timings: Timings

    @classmethod
    def of(cls, result: Result, created: str, timings: Timings) -> Self:
        """The entry of a result, its digest added."""
        return cls(schema=1, created=created, result=result, result_sha256=digest(result), timings=timings)
