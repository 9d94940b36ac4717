"""An engine for tests of fleets: it answers from one number, and one of its processes can be made to fail."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.types import Completion, Model, Request, Sampling, TokenLogprobs, TrainingExample, Value

WAIT = "import threading; threading.Event().wait()"
EVERY = "every"


def neutral() -> dict[str, bool]:
    """Of an option that changes no answer."""
    return {"neutral": True}


@dataclass(frozen=True, slots=True)
class Options:
    """Which process (by its CUDA_VISIBLE_DEVICES, or "every") does what.

    Attributes:
        pipe: a named pipe that this process, and one that it starts, hold as long as they live.
        killed: ends itself as a system without memory would, after `after` answers.
        overflows: computes NaN after `after` answers.
        refuses: says after `after` answers that its engine has ended.
        stale: keeps its old weights at a reload.
        odd: comes out with another setting.
        unloadable: cannot load.
    """

    pipe: str | None = field(default=None, metadata=neutral())
    killed: str | None = field(default=None, metadata=neutral())
    refuses: str | None = field(default=None, metadata=neutral())
    overflows: str | None = field(default=None, metadata=neutral())
    after: int = field(default=2, metadata=neutral())
    stale: str | None = field(default=None, metadata=neutral())
    odd: str | None = field(default=None, metadata=neutral())
    unloadable: str | None = field(default=None, metadata=neutral())


class Number:
    """A model whose only weight is the number in its folder."""

    version = "number 1"
    context = 1_000_000

    def __init__(self, model: Model, options: Options) -> None:
        self.options = options
        self.weight = read(model)
        self.settings: dict[str, Value] = {"device": "cpu", **({"odd": True} if here(options.odd) else {})}
        self.answered = 0

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """The weight plus the sum of the prompt's ids."""
        for request in requests:
            self.fail()
            text = f"#### {self.weight + sum(request.token_ids)}"
            yield request.id, Completion(text, tuple(text.encode()), "stop")

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """The same for rows."""
        for row in rows:
            self.fail()
            yield (
                row.id,
                TokenLogprobs(tuple(-float(self.weight + i) for i in row.token_ids[row.start :]), greedy=False),
            )

    def reload(self, model: Model) -> None:
        """Take the other number, where the options let it."""
        if not here(self.options.stale):
            self.weight = read(model)

    def prompt_logprobs(self, sequences):
        """A table that another weight fills otherwise."""
        rows = [[(7 * a + 13 * b + 29 * self.weight) % 97 for a, b in pairwise(ids)] for ids in sequences]
        return [[-value / 20 for value in row] for row in rows], rows

    def close(self) -> None:
        """Nothing to give back."""

    def fail(self) -> None:
        """Where it is this process's turn."""
        self.answered += 1
        if self.answered > self.options.after:
            if here(self.options.killed):
                os.kill(os.getpid(), signal.SIGKILL)
            if here(self.options.refuses):
                raise BenchError("its engine has ended", "see its log")
            if here(self.options.overflows):
                raise NotFiniteError("its logits are NaN or infinite")


def here(which: str | None) -> bool:
    """Whether this process is meant."""
    return which is not None and which in (EVERY, os.environ.get("CUDA_VISIBLE_DEVICES"))


def read(model: Model) -> int:
    """A stand-in for reading weights."""
    path = model.folder / "number"
    return int(path.read_text()) if path.is_file() else 0


def load(model: Model, options: Options) -> Number:
    """As engines do; an engine may have processes of its own."""
    if here(options.unloadable):
        raise BenchError("no memory for it", "free the GPU")
    if options.pipe is not None:
        held = os.open(options.pipe, os.O_WRONLY)
        subprocess.Popen([sys.executable, "-c", WAIT], pass_fds=(held,))
        os.write(held, b"!")
    return Number(model, options)
