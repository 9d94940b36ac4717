"""The contracts: a *task* says what is asked and judges answers, an *engine* generates, a *trainer* makes candidates.

Each is a module that satisfies a Protocol below; nothing is registered, the folder is the list.
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

# For each sequence the log-probability (nats) of the token at each place, and the id of the likeliest one there.
Logprobs = tuple[Sequence[Sequence[float]], Sequence[Sequence[int]]]


class Task(Protocol):
    """A module `tasks/<name>.py`, or a user's own file.

    Attributes:
        LABEL: name, prompt manner and version, such as "gsm8k-1shot@v1". One label means one protocol for ever.
        READER: name and version of the rules that read an answer; part of the protocol.
        SAMPLING: how answers are drawn.
        text: optional; `text(problem) -> str` is the whole prompt for a model without a chat template. Without it the
            conversation is written as `Question: ...` and `Answer: ...`.
        choices: optional; `choices(problem) -> Sequence[str]` are possible answers, of which the likeliest one is
            judged. See `tasks/_choices.py`.
        requests: optional; `requests(problem, speech) -> Sequence[Request]` is all that is asked of a model for one
            problem, where that is not its conversation.
        asked_sha256: optional; `asked_sha256(problem) -> str` is over all of that, and a part of the protocol.
        MEASURES: optional; whether its requests measure how likely given texts are, which not every engine can.
        evidence: optional; `evidence(problem, completion, style) -> Evidence` is what else an entry keeps of an item.
        aggregates: optional; `aggregates(problems, completions) -> Mapping[str, float] | None` are the results of all
            items together, where an item is neither right nor wrong; None where each is.
        REPOSITORY: optional; the data set of the hub that holds the items, where the task does not bring them.
        LIBRARIES: optional; what `problems` needs installed and grading does not.
        MADE_WITH: optional; package and version that make the items, a part of the protocol.
        SPLITS: optional; the splits it has, where that is not both.
        DERIVED_FROM: optional; by split, the tasks whose test items its own were made from. A candidate is refused on a
            task where its training data goes back to the same items.
    """

    LABEL: str
    READER: str
    SAMPLING: Sampling

    def problems(self, split: Split) -> Sequence[Problem]:
        """Every problem of the split, in the order that fixes the bits of an entry."""
        ...

    def messages(self, problem: Problem) -> tuple[Message, ...]:
        """The conversation that asks this problem, worked examples included; it ends with the user's turn.

        A last turn of the assistant's is what the answer begins with, and `Problem.solution` goes on from there. A
        system turn may open it, which some models' templates refuse.
        """
        ...

    def grade(self, problem: Problem, completion: Completion) -> Judgement:
        """Judge one completion. Never raises for anything a model can write."""
        ...


class Generator(Protocol):
    """A model loaded by an engine.

    Attributes:
        version: the engine's library and version, such as "vllm 0.26.0".
        settings: every setting as it was resolved (dtype, device, ...); enters the entry.
        context: the longest prompt plus completion in tokens.
    """

    version: str
    settings: Mapping[str, Value]
    context: int

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Yield (request id, completion) as each is finished, in any order, each request once."""
        ...

    def close(self) -> None:
        """Give back memory and processes; may be called twice."""
        ...


@runtime_checkable
class LogprobGenerator(Protocol):
    """A generator that also measures how likely it finds given token ids; optional, see `Engine.measures`."""

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """Yield (row id, what it measures of `token_ids[start:]`), in any order, each row once.

        Each token is given all those before it. Answers that are generated later are what they would have been.

        Raises:
            BenchError: it cannot measure these, and why; the row of the board then stands without.
        """
        ...


@runtime_checkable
class ReloadableGenerator(Protocol):
    """A generator that can take another model's weights while it runs; optional, proved by `engine_reuse`."""

    def reload(self, model: Model) -> None:
        """Read the model's weights into the running engine and drop every cache of the old ones."""
        ...

    def prompt_logprobs(self, sequences: Sequence[Sequence[int]]) -> Logprobs:
        """What it makes of given token ids, at every position but the first."""
        ...


@runtime_checkable
class ReloadableGeneratorGroup(ReloadableGenerator, Protocol):
    """A generator behind which several engines stand, each of which must be proved."""

    def prompt_logprobs_of_each(self, sequences: Sequence[Sequence[int]]) -> Sequence[Logprobs]:
        """What `prompt_logprobs` tells, of every engine."""
        ...


class Engine(Protocol):
    """A module `harness/engines/<name>.py`, or a package's own.

    Attributes:
        Options: a frozen dataclass of the engine's settings with defaults; `-o key=value` sets them.
        measures: optional; an engine that has it loads what is `Measuring`. `measures(options) -> bool` says whether
            worked solutions are measured. Tasks that compare likelihoods are refused with engines that have none.
        gpus: optional; `gpus(options) -> int` says how many GPUs one process of it takes. Where there are more, as many
            processes share the questions out as fit; without it there is one, unless `--gpus` asks for more.
        APART: optional; whether it runs in a process of its own even where it is the only one.
        begin: optional; `begin()` loads its libraries, in that process, before there is a model for it.
        LIBRARIES: optional; what it needs installed and does not import itself.
        ABSENT: optional; options that came later, with what an entry from before them was made under.
    """

    Options: type[Any]

    def load(self, model: Model, options: Any) -> Generator:
        """Load the model. A missing library, too little memory or unusable weights raise BenchError."""
        ...


class Trainer(Protocol):
    """A module `trainers/<name>.py`, or a user's own file.

    Attributes:
        Options: a frozen dataclass of hyper-parameters with defaults; a recipe's keys set them.
    """

    Options: type[Any]

    def train(self, job: Job) -> TrainingResult:
        """Train and write weights under `job.folder`. What cannot run or went wrong raises BenchError."""
        ...


class ExternalTrainer(Protocol):
    """A trainer that is another program: three functions in place of `train`; the harness does the rest.

    Its command runs in a folder of its own below the run's, empty but for its files, under the recipe's time limit.
    Paths that these functions give start there. It leaves weights as save_pretrained writes them, an adapter's or the
    whole model's, and a trainer_state.json with the loss of every step.

    Attributes:
        Options: as a trainer's, with `python`, `time_limit` and `batch`: a subclass of that in `trainers/_options.py`.
        LIBRARIES: optional; what must be installed in the interpreter that the recipe names.
    """

    Options: type[Any]

    def files(self, job: Job) -> Mapping[str, str | bytes]:
        """Name to content of what the command reads: data from `job.rows`, and a configuration."""
        ...

    def command(self, job: Job) -> Sequence[str]:
        """The words to run. "python" is the recipe's interpreter; other programs are looked for beside it first."""
        ...

    def weights(self, job: Job) -> str | Path:
        """The folder that holds the weights when the command has ended."""
        ...
