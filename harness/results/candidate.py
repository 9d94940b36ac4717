"""A candidate: what a training made, in a record that is written last and is the only mark of success."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from baseline_bench.core import records
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import BosRule, Step, Value

CANDIDATE_FILE = "candidate.json"
LOSS_FILE = "loss.jsonl"
_TRAIN_AGAIN = "train again with --again"


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """The model that a training began from. `bos` as models.toml declares it, None where it does not."""

    name: str
    source: str
    revision: str | None
    bos: BosRule | None
    weights_sha256: str
    tokenizer_sha256: str
    template_sha256: str | None


@dataclass(frozen=True, slots=True)
class DataRecord:
    """What was trained on. `sha256` is over token ids and supervised spans, in the data's order."""

    name: str
    sha256: str
    rows: int
    tokens: int
    supervised: int
    derived_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What a training took.

    Attributes:
        steps: optimizer steps.
        rows, tokens, supervised: over all steps, repeated rows counted again.
        seconds: of the steps alone, in all processes that took part in turn; not start-up, not writing.
        samples_per_second: rows a second after the first step, None for one step.
        peak_memory: bytes that the allocator held of the first process's device, or of that process on a CPU.
        device: its name as the driver tells.
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
    """Trained weights and all that made them.

    Attributes:
        created: UTC, ISO.
        recipe: its name.
        recipe_sha256: over every key of the recipe as resolved.
        values: these keys; lists are joined by commas.
        seed: of everything random.
        kind: "full" weights or an "adapter".
        weights: the folder, relative to this record's.
        weights_sha256: over its tensors.
        checkpoints: step to folder, for weights that were kept on the way.
        trainable, parameters: numbers trained, and of the whole model.
        changed: share of the base's numbers that differ from it in the weights as written; None for an adapter.
        quantised: the form in which the base was held while training, or None.
        final_loss: mean loss over the last tenth of the steps, in nats a supervised token.
        held_out_loss: of rows kept from training; None without any.
        losses_sha256: of the loss history.
        libraries: versions of what trained.
        git_commit: of the program that trained; None for older candidates, and where nobody could tell.
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


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """How an adapter became whole weights, and what that lost.

    Attributes:
        dtype: of the whole weights.
        base_sha256, adapter_sha256, merged_sha256: over the tensors of each.
        targets: tensors that were changed; others: tensors that are the base's own, bit for bit.
        rel_err: |round(W + D) - W - D| / |D| over all targets, what rounding to `dtype` took from the change D.
        quantised: the form through which the base's weights were taken first, or None.
        mean_kl: of the merged model as it is served from the unmerged one in fp32, in nats a probe position.
        greedy_agreement: share of the probe positions where both find the same token likeliest.
        positions: how many were looked at.
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


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What an entry says of how its weights were made.

    Attributes:
        candidate: the training; None for an adapter that came from elsewhere.
        step: after which of its steps the weights were kept; None for the last.
        merge: how an adapter was merged; None for whole weights.
    """

    candidate: Candidate | None
    step: int | None
    merge: MergeSummary | None

    @property
    def base_sha256(self) -> str | None:
        """Of the weights that it began from; None where nothing says which."""
        if self.candidate is not None:
            return self.candidate.base.weights_sha256
        return None if self.merge is None else self.merge.base_sha256


def build_candidate_name(base: str, recipe: str, seed: int, step: int | None) -> str:
    """What a candidate is called on boards where nobody names it; `step` is None for the last."""
    return f"{base}+{recipe}-s{seed}" + ("" if step is None else f"-step{step}")


def write_candidate(candidate: Candidate, folder: Path) -> None:
    """Write the record whole; from here on the folder is a candidate."""
    records.write_atomically(folder / CANDIDATE_FILE, records.encode_indented(candidate))


def read_candidate(folder: Path) -> Candidate:
    """The candidate in a folder.

    Raises:
        BenchError: the folder holds none: its training was never finished.
    """
    path = folder / CANDIDATE_FILE
    if not path.is_file():
        raise BenchError(
            f"{folder} is no candidate: it has no {CANDIDATE_FILE}", "finish its training with the same command"
        )
    return records.decode_record(
        Candidate, records.parse_json(path.read_bytes(), str(path), _TRAIN_AGAIN), str(path), _TRAIN_AGAIN
    )


class LossLog:
    """The loss history of a training: one step a line, written as it comes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOSS_FILE
        self._last: int | None = None

    def append(self, step: Step) -> None:
        """Add a step; of a resumed training, the lines from this step on were of the killed one and go."""
        if self._last is None:
            before = [other for other in self.read() if other.number < step.number]
            records.write_atomically(self.path, b"".join(map(_serialise_step, before)))
        with self.path.open("ab", buffering=0) as file:
            file.write(_serialise_step(step))
        self._last = step.number

    def read(self) -> list[Step]:
        """Every step so far, a torn last line dropped."""
        return parse_steps(self.path.read_bytes()) if self.path.is_file() else []


def parse_steps(lines: bytes) -> list[Step]:
    """The steps of a loss history, a torn last line dropped."""
    return [Step(**json.loads(line)) for line in lines.splitlines(keepends=True) if line.endswith(b"\n")]


def sum_seconds(steps: Sequence[Step]) -> float:
    """Seconds of all steps; a resumed training counts from 0 again, and both parts are added."""
    parts = [step.seconds for step, after in zip(steps, [*steps[1:], None], strict=True) if _ends_session(step, after)]
    return round(sum(parts), 3)


def compute_samples_per_second(steps: Sequence[Step]) -> float | None:
    """Rows a second in the last unbroken part, its first step left out: that one pays for what is set up once."""
    ends = [place for place, step in enumerate(steps[:-1]) if _ends_session(step, steps[place + 1])]
    part = steps[ends[-1] + 1 :] if ends else steps
    elapsed = part[-1].seconds - part[0].seconds if part else 0.0
    return round(sum(step.rows for step in part[1:]) / elapsed, 2) if elapsed > 0 else None


def compute_final_loss(steps: Sequence[Step]) -> float:
    """Mean loss over the last tenth of the steps, each weighted by its supervised tokens."""
    last = steps[-max(1, len(steps) // 10) :]
    return round(sum(step.loss * step.supervised for step in last) / sum(step.supervised for step in last), 6)


def _ends_session(step: Step, after: Step | None) -> bool:
    return after is None or after.seconds < step.seconds


def _serialise_step(step: Step) -> bytes:
    rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in asdict(step).items()}
    return records.encode_canonical(rounded) + b"\n"
