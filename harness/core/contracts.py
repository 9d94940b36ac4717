"""The plug-in contracts: a *task* asks problems and judges answers, an *engine* generates, a *trainer* trains.

A plug-in is a module that satisfies a Protocol below. There is no registry: the files of a folder are the list.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from baseline_bench.core.types import (
    Completion,
    Job,
    Judgement,
    Message,
    Model,
    Problem,
    Request,
    Sampling,
    Split,
    TokenLogprobs,
    TrainingExample,
    TrainingResult,
    Value,
)

# For each sequence: the log-probability (nats) of the token at each position, and the id of the likeliest token there.
Logprobs = tuple[Sequence[Sequence[float]], Sequence[Sequence[int]]]


class Task(Protocol):
    """A module `tasks/<name>.py`, or a user's own file.

    Attributes:
        LABEL: name, prompt style and version, such as "gsm8k-1shot@v1". One label means one protocol for ever.
        READER: name and version of the rules that read an answer; part of the protocol.
        SAMPLING: the sampling settings; part of the protocol.
        text: optional; `text(problem) -> str` is the whole prompt for a model without a chat template. Without it the
            conversation is written as `Question: ...` and `Answer: ...`.
        choices: optional; `choices(problem) -> Sequence[str]` are possible answers; the likeliest one is judged. See
            `tasks/_choices.py`.
        requests: optional; `requests(problem, model_tokenizer) -> Sequence[Request]` are all requests for one
            problem, if they are not simply its conversation.
        asked_sha256: optional; `asked_sha256(problem) -> str` digests these requests; part of the protocol.
        MEASURES: optional; whether its requests measure how likely given texts are, which not every engine can.
        evidence: optional; `evidence(problem, completion, style) -> ItemEvidence` is what an entry adds to an item.
        aggregates: optional; `aggregates(problems, completions) -> Mapping[str, float] | None` are results over all
            items together, for tasks whose single items are neither right nor wrong; None for all others.
        REPOSITORY: optional; the data set on the hub that holds the items, if the task does not bring them.
        LIBRARIES: optional; libraries that `problems` needs and grading does not.
        MADE_WITH: optional; package and version that generate the items; part of the protocol.
        SPLITS: optional; the splits that the task has, if not both.
        DERIVED_FROM: optional; by split, the tasks whose test items this task's items were derived from. A candidate is
            refused on a task if its training data derives from the same items.
    """

    LABEL: str
    READER: str
    SAMPLING: Sampling

    def problems(self, split: Split) -> Sequence[Problem]:
        """Return every problem of the split, in the order of the bits of an entry."""
        ...

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """Return the conversation that asks this problem, worked examples included; it ends with the user's turn.

        If it ends with an assistant's turn, the answer begins with that text, and `Problem.solution` continues it. It
        may open with a system turn, which some models' templates refuse.
        """
        ...

    def grade(self, problem: Problem, completion: Completion) -> Judgement:
        """Judge one completion. Never raises for anything a model can write."""
        ...


class Generator(Protocol):
    """A model loaded by an engine.

    Attributes:
        version: the engine's library and version, such as "vllm 0.26.0".
        settings: every setting as resolved (dtype, device, ...); stored in the entry.
        context: the maximum length of prompt plus completion in tokens.
    """

    version: str
    settings: Mapping[str, Value]
    context: int

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Yield (request id, completion) as each finishes, in any order, each request once."""
        ...

    def close(self) -> None:
        """Release memory and processes; may be called twice."""
        ...


@runtime_checkable
class LogprobGenerator(Protocol):
    """A generator that also measures how likely it finds given token ids; optional, see `Engine.measures`."""

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """Yield (row id, log-probabilities of `token_ids[start:]`), in any order, each row once.

        Each token is conditioned on all those before it. Measuring does not change answers that are generated later.

        Raises:
            BenchError: why it cannot measure these; the entry is then stored without them.
        """
        ...


@runtime_checkable
class ReloadableGenerator(Protocol):
    """A generator that can load another model's weights while it runs; optional, verified by `engine_pool`."""

    def reload(self, model: Model) -> None:
        """Read the model's weights into the running engine and drop every cache of the old ones."""
        ...

    def prompt_logprobs(self, sequences: Sequence[Sequence[int]]) -> Logprobs:
        """Return the log-probabilities of given token ids, at every position but the first."""
        ...


@runtime_checkable
class ReloadableGeneratorGroup(ReloadableGenerator, Protocol):
    """A generator that drives several engines, each of which must be verified after a reload."""

    def prompt_logprobs_of_each(self, sequences: Sequence[Sequence[int]]) -> Sequence[Logprobs]:
        """Return what `prompt_logprobs` returns, for every engine."""
        ...


class Engine(Protocol):
    """A module `harness/engines/<name>.py`, or a package's own.

    Attributes:
        Options: a frozen dataclass of the engine's settings with defaults; `-o key=value` sets them.
        measures: optional; an engine that has it loads a `LogprobGenerator`. `measures(options) -> bool` says whether
            worked solutions are measured. Without it, tasks that compare likelihoods are refused.
        gpus: optional; `gpus(options) -> int` says how many GPUs one process takes. If there are more, as many
            processes as fit share the questions; without it there is one process, unless `--gpus` asks for more.
        APART: optional; whether the engine runs in a process of its own even if it is the only one.
        begin: optional; `begin()` loads the engine's libraries, in that process, before the model is known.
        LIBRARIES: optional; libraries that it needs and does not import itself.
        ABSENT: optional; options added later, each with the value that applied to entries from before.
    """

    Options: type[Any]

    def load(self, model: Model, options: Any) -> Generator:
        """Load the model; raise BenchError for a missing library, too little memory or unusable weights."""
        ...


class Trainer(Protocol):
    """A module `trainers/<name>.py`, or a user's own file.

    Attributes:
        Options: a frozen dataclass of hyper-parameters with defaults; a recipe's keys set them.
    """

    Options: type[Any]

    def train(self, job: Job) -> TrainingResult:
        """Train and write weights under `job.folder`; raise BenchError if the training cannot run or fails."""
        ...


class ExternalTrainer(Protocol):
    """A trainer that is another program: three functions in place of `train`; bench does the rest.

    Its command runs under the recipe's time limit, in a folder below the run's with only its own files. Paths that
    these functions return are relative to that folder. The program must write weights as save_pretrained does, of an
    adapter or the whole model, and a trainer_state.json with the loss of every step.

    Attributes:
        Options: as a trainer's, with `python`, `time_limit` and `batch`: a subclass of `_options.ExternalOptions`.
        LIBRARIES: optional; libraries that the interpreter named in the recipe needs.
    """

    Options: type[Any]

    def files(self, job: Job) -> Mapping[str, str | bytes]:
        """Return name to content of the command's input files: data from `job.rows`, and a configuration."""
        ...

    def command(self, job: Job) -> Sequence[str]:
        """Return the words to run; "python" is the recipe's interpreter; others are searched in its folder first."""
        ...

    def weights(self, job: Job) -> str | Path:
        """Return the folder that holds the weights after the command ends."""
        ...
