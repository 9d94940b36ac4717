"""The record of a trained candidate. It is written last, so a folder with this record holds a finished training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from baseline_bench.core import records, untrusted
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import BosRule, ModelIdentity, Step, Value

CANDIDATE_FILE = "candidate.json"
LOSS_FILE = "loss.jsonl"
_TRAIN_AGAIN = "train again with --again"


@dataclass(frozen=True, slots=True)
class ModelKey:
    """Identifies a model: by the digest of its tensors and its identity, each None where unknown."""

    weights_sha256: str | None
    identity: ModelIdentity | None

    def matches(self, other: "ModelKey") -> bool:
        """Tell whether both are one model: equal tensors, and an equal identity as far as both are known.

        The chat template does not count: a user may choose another, and the prompts as token ids show it.
        """
        if self.weights_sha256 is None or self.weights_sha256 != other.weights_sha256:
            return False
        return self.identity is None or self.identity.compare(other.identity).keys() <= {"chat template"}


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """The model that a training started from.

    Attributes:
        bos: as models.toml declares it, None where it does not.
        identity: its digests alone; None in older records.
    """

    name: str
    source: str
    revision: str | None
    bos: BosRule | None
    weights_sha256: str
    tokenizer_sha256: str
    template_sha256: str | None
    identity: ModelIdentity | None = field(default=None, metadata=records.OMIT_WHEN_NONE)

    @property
    def key(self) -> ModelKey:
        """The key that identifies the base."""
        return ModelKey(self.weights_sha256, self.identity)


@dataclass(frozen=True, slots=True)
class DataRecord:
    """The training data. `sha256` is over token ids and supervised spans, in the data's order."""

    name: str
    sha256: str
    rows: int
    tokens: int
    supervised: int
    derived_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What a training cost.

    Attributes:
        steps: optimizer steps.
        rows, tokens, supervised: over all steps; repeated rows count again.
        seconds: of the steps alone, summed over resumed sessions, without start-up and writing.
        samples_per_second: rows a second after the first step; None for one step.
        peak_memory: bytes held by the allocator on the first process's device, or by that process on a CPU.
        device: its name as the driver reports it.
        gpus: processes that shared the work.
    """

    steps: int
    rows: int
    tokens: int
    supervised: int
    seconds: float
    samples_per_second: float | None
    peak_memory: int
    device: str
    gpus: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """Trained weights and everything that determined them.

    Attributes:
        created: UTC, ISO.
        recipe: its name.
        recipe_sha256: over every key of the recipe as resolved.
        values: these keys; lists are joined by commas.
        seed: of everything random.
        kind: "full" weights or an "adapter".
        weights: the folder, relative to this record's.
        weights_sha256: over its tensors.
        checkpoints: step to folder, for weights that were kept during training.
        trainable, parameters: parameter counts, trained and of the whole model.
        changed: share of parameters that differ from the base in the written weights; None for an adapter.
        quantised: the quantised format of the base during training, or None.
        final_loss: mean loss over the last tenth of the steps, in nats a supervised token.
        held_out_loss: of rows held out from training; None without any.
        losses_sha256: of the loss history.
        libraries: versions of the training libraries.
        git_commit: of bench when it trained; None for older candidates and where it is unknown.
        trainer_sha256: of a trainer that is a file; None for others and in older candidates.
        begun: when the training was first started, before any interruption, UTC; None in older candidates.
    """

    schema: Literal[1]
    created: str
    recipe: str
    recipe_sha256: str
    values: Mapping[str, Value]
    seed: int
    base: BaseRecord
    data: DataRecord
    kind: Literal["full", "adapter"]
    weights: str
    weights_sha256: str
    checkpoints: Mapping[str, str]
    trainable: int
    parameters: int
    changed: float | None
    quantised: str | None
    final_loss: float
    held_out_loss: float | None
    losses_sha256: str
    cost: TrainingCost
    libraries: Mapping[str, str]
    git_commit: str | None = field(default=None, metadata=records.OMIT_WHEN_NONE)
    trainer_sha256: str | None = field(default=None, metadata=records.OMIT_WHEN_NONE)
    begun: str | None = field(default=None, metadata=records.OMIT_WHEN_NONE)


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """How an adapter was merged into whole weights, and the error of the merge.

    Attributes:
        dtype: of the whole weights.
        base_sha256, adapter_sha256, merged_sha256: over the tensors of each.
        targets: tensors that were changed; others: tensors equal to the base's, bit for bit.
        rel_err: |round(W + D) - W - D| / |D| over all targets, the share of the change D lost by rounding to `dtype`.
        quantised: the format to which the base's weights were quantised and back first, or None.
        mean_kl: of the merged model as served from the unmerged one in fp32, in nats a probe position.
        greedy_agreement: share of the probe positions where both have the same most likely token.
        positions: number of probe positions.
        base_identity: the base's digests besides `base_sha256`; None in older records.
    """

    dtype: str
    base_sha256: str
    adapter_sha256: str
    merged_sha256: str
    targets: int
    others: int
    rel_err: float
    quantised: str | None
    mean_kl: float
    greedy_agreement: float
    positions: int
    base_identity: ModelIdentity | None = field(default=None, metadata=records.OMIT_WHEN_NONE)


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What an entry records of how its weights were made.

    Attributes:
        candidate: the training; None for an adapter that was trained elsewhere.
        step: the step after which the weights were saved; None for the last.
        merge: how an adapter was merged; None for whole weights.
    """

    candidate: Candidate | None
    step: int | None
    merge: MergeSummary | None

    @property
    def base(self) -> ModelKey | None:
        """The key that identifies the base; None where the base is unknown."""
        if self.candidate is not None:
            return self.candidate.base.key
        return None if self.merge is None else ModelKey(self.merge.base_sha256, self.merge.base_identity)


def build_candidate_name(base: str, recipe: str, seed: int, step: int | None) -> str:
    """Build a candidate's default name on boards; `step` is None for the last."""
    return f"{base}+{recipe}-s{seed}" + ("" if step is None else f"-step{step}")


def write_candidate(candidate: Candidate, folder: Path) -> None:
    """Write the record atomically; from here on the folder counts as a candidate."""
    records.write_atomically(folder / CANDIDATE_FILE, records.encode_indented(candidate))


def read_candidate(folder: Path) -> Candidate:
    """Read the candidate in a folder; BenchError if it has no record, since its training was never finished."""
    path = folder / CANDIDATE_FILE
    if not path.is_file():
        what = f"{folder} is no candidate: it has no {CANDIDATE_FILE}"
        raise BenchError(what, "finish its training with the same command")
    return records.read_record(Candidate, path, _TRAIN_AGAIN)


class LossLog:
    """The loss history of a training, one step a line, appended after each step."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOSS_FILE
        self._last: int | None = None

    def append(self, step: Step) -> None:
        """Add a step; a resumed training first drops the lines of the interrupted run from this step on."""
        if self._last is None:
            previous_steps = [other for other in self.read() if other.number < step.number]
            records.write_atomically(self.path, b"".join(map(_serialise_step, previous_steps)))
        with self.path.open("ab", buffering=0) as file:
            file.write(_serialise_step(step))
        self._last = step.number

    def read(self) -> list[Step]:
        """Read every step so far, without a truncated last line."""
        return parse_steps(self.path.read_bytes()) if self.path.is_file() else []


def parse_steps(lines: bytes) -> list[Step]:
    """Parse a loss history, without a truncated last line."""
    return [
        records.decode_record(Step, untrusted.parse_json(line, f"line {number}", None), f"line {number}", _TRAIN_AGAIN)
        for number, line in enumerate(lines.split(b"\n")[:-1], 1)
    ]


def sum_seconds(steps: Sequence[Step]) -> float:
    """Sum the seconds of all steps; a resumed training counts from 0 again, and all sessions are added."""
    parts = [step.seconds for step, after in zip(steps, [*steps[1:], None], strict=True) if _ends_session(step, after)]
    return round(sum(parts), 3)


def compute_samples_per_second(steps: Sequence[Step]) -> float | None:
    """Compute rows a second in the last session, without its first step, which includes one-time set-up."""
    ends = [index for index, step in enumerate(steps[:-1]) if _ends_session(step, steps[index + 1])]
    session_steps = steps[ends[-1] + 1 :] if ends else steps
    elapsed = session_steps[-1].seconds - session_steps[0].seconds if session_steps else 0.0
    return round(sum(step.rows for step in session_steps[1:]) / elapsed, 2) if elapsed > 0 else None


def compute_final_loss(steps: Sequence[Step]) -> float:
    """Compute the mean loss over the last tenth of the steps, weighted by supervised tokens."""
    last_steps = steps[-max(1, len(steps) // 10) :]
    return round(
        sum(step.loss * step.supervised for step in last_steps) / sum(step.supervised for step in last_steps), 6
    )


def _ends_session(step: Step, after: Step | None) -> bool:
    return after is None or after.seconds < step.seconds


def _serialise_step(step: Step) -> bytes:
    rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in asdict(step).items()}
    return records.encode_canonical(rounded) + b"\n"
