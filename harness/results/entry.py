"""The data classes of an entry: the stored result of one run, with all that is needed to repeat and check it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import SCRIPTED_CODE
from baseline_bench.core.records import OMIT_WHEN_NONE, digest
from baseline_bench.core.types import BosRule, ModelIdentity, Sampling, Score, Value
from baseline_bench.results.bits import Bits
from baseline_bench.results.candidate import Candidate, ModelKey, TrainingRecord

# Such as lm-eval/acc,none@4a3e3581 and lm-eval/ter=50,none,less@4a3e3581.
_READER_PATTERN = re.compile(
    r"[^/]+/(?P<metric>[^=,]+)(?:=(?P<bar>[^,]+))?,(?P<filter>.+?)(?P<less>,less)?@[0-9a-f]{8}", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The task that was run. `items_sha256` is over all items of the task, whichever of them were scored."""

    name: str
    label: str
    protocol_sha256: str
    items_sha256: str
    reader: str

    @property
    def counted(self) -> re.Match[str] | None:
        """The reader's metric, threshold and filter; None for a reader that does not judge by a metric."""
        return _READER_PATTERN.fullmatch(self.reader)

    @property
    def bar(self) -> tuple[str, str] | None:
        """(metric, threshold that makes an answer right) where the reader uses a threshold; None elsewhere."""
        match = self.counted
        return (match["metric"], match["bar"]) if match and match["bar"] else None

    @property
    def measure(self) -> str:
        """The name of the share of right items: "right" under a threshold, else the name of the metric."""
        if self.bar is not None:
            return "right"
        match = self.counted
        return "exact match" if match is None or match["metric"] == "exact_match" else match["metric"]


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
    """The model and how its prompts were built.

    Attributes:
        template_sha256: of the chat template's text, with its arguments if there are any; None without a template.
        identity: None in older entries and for remote servers.
        template_name: of the chat template that the user chose; None for the model's default.
        template_arguments: the values that the user set for variables of the template, such as enable_thinking.
    """

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
    template_name: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    template_arguments: Mapping[str, Value] | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @property
    def key(self) -> ModelKey:
        """The key that identifies the model."""
        return ModelKey(self.weights_sha256, self.identity)

    @property
    def is_partly_known(self) -> bool:
        """Whether the record does not hold every setting of the model, as in older entries and behind servers."""
        return self.identity is None or self.identity.settings is None

    def unlike(self, other: "ModelRecord") -> str:
        """List what differs from another model's identity; see `ModelIdentity.unlike`."""
        return "" if self.identity is None else self.identity.unlike(other.identity)


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """The inference engine, with every setting as it was resolved."""

    name: str
    version: str
    settings: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What produced the row: program, command, libraries, machine."""

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
    """The teacher-forced log-likelihood of the task's own worked solutions, given the prompts.

    Attributes:
        mean_logprob: mean over all tokens of all scored items' solutions, in nats; nearer to 0 is likelier.
        tokens: number of these tokens.
        sha256: of the entry's companion file with one line per item.
    """

    mean_logprob: float
    tokens: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CheckResults:
    """The results of the checks before and after a run.

    Attributes:
        findings: codes of the warnings (see `baseline_bench.core.findings`), sorted.
        accepted: codes of the refusals that the user overrode with `--accept`, sorted.
        logits: "finite" where the engine checked the logits that chose each token, or measured texts; else
            "unchecked". docs/findings.md says what each engine checks.
        unfinished_thoughts: number of items of which an answer ended inside its thought; None without any thought.
    """

    findings: tuple[str, ...]
    accepted: tuple[str, ...]
    logits: Literal["finite", "unchecked"]
    unfinished_thoughts: int | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @property
    def marks(self) -> tuple[str, ...]:
        """Every code to show with the row; overridden refusals are marked."""
        return (*self.findings, *(f"{code} (accepted)" for code in self.accepted))

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """(label, value) pairs for the terminal: unfinished thoughts, codes, and whether logits were unchecked."""
        unchecked = "unchecked: nobody could see whether they were finite"
        marks = (("findings", ", ".join(self.marks)),) if self.marks else ()
        if self.unfinished_thoughts is not None:
            unfinished = f"{self.unfinished_thoughts:,} answers ended inside a thought, and are unread"
            marks = (("thoughts", unfinished), *marks)
        return (*marks, *((("logits", unchecked),) if self.logits == "unchecked" else ()))


@dataclass(frozen=True, slots=True)
class Result:
    """All of an entry but its timings, so that a resumed run and an uninterrupted one have the same digest.

    Attributes:
        solutions: None for entries older than this measurement, and for engines that cannot make it.
        checks: None for entries older than these checks.
        aggregates: results over all items together, where single items are not right or wrong; None where they are.
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
    def unfinished_thoughts(self) -> int | None:
        """Number of items of which an answer ended inside its thought; None without thoughts and in older entries."""
        return None if self.checks is None else self.checks.unfinished_thoughts

    @property
    def is_scripted(self) -> bool:
        """Whether a script gave the answers, and no model."""
        return self.engine.name == "scripted"

    @property
    def is_served(self) -> bool:
        """Whether a server gave the answers, whose weights and token ids nobody here saw."""
        return self.engine.settings.get("device") == "server"

    @property
    def marks(self) -> tuple[str, ...]:
        """The finding codes to show with the row, and the mark of answers that no model gave."""
        found = () if self.checks is None else self.checks.marks
        return (*found, SCRIPTED_CODE) if self.is_scripted else found

    def require_bits(self) -> None:
        """Raise BenchError if single items are not right or wrong, so that right items cannot be counted."""
        if self.aggregates is not None:
            message = f"{self.candidate} has results of all items of {self.task.label} together, none is right or wrong"
            raise BenchError(message, "read them on its board, or name a row of another task")

    @property
    def trained(self) -> Candidate | None:
        """The training by bench that made the weights; None for an untrained model and an adapter from elsewhere."""
        return None if self.training is None else self.training.candidate

    @property
    def step(self) -> int | None:
        """The step of its training after which the weights were kept; None for the last and for an untrained model."""
        return None if self.training is None else self.training.step

    @property
    def base(self) -> ModelKey | None:
        """The key that identifies the base; None for an untrained model and where the base is unknown."""
        return None if self.training is None else self.training.base

    @property
    def base_sha256(self) -> str | None:
        """The digest of the base's weights; None as for `base`."""
        return None if self.base is None else self.base.weights_sha256


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds by phase (prepare, load, generate, grade) and tokens; None where a server does not report them."""

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
        """Build the entry of a result and add its digest."""
        return cls(schema=1, created=created, result=result, result_sha256=digest(result), timings=timings)
