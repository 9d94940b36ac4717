"""Per-item log-likelihoods of the task's own worked solutions, in a companion file of the entry."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from baseline_bench.core.errors import BenchError, NotFiniteError
from baseline_bench.core.records import encode_canonical
from baseline_bench.core.untrusted import parse_json
from baseline_bench.results.entry import SolutionLikelihood

SOLUTIONS_FILE = "solutions.jsonl"
# Decimals of an item's sum: a thousandth of a nat is far below the effect of another batch in half precision, and far
# above the effect of another order of addition in single precision.
LOGPROB_DECIMALS = 3
_MEAN_DECIMALS = 6
_RESTORE_ADVICE = "restore the file from git, or give the command that made the row again"


@dataclass(frozen=True, slots=True)
class ItemLikelihood:
    """One item's worked solution, given its prompt.

    Attributes:
        tokens: of the solution, including the stop token that ends it.
        logprob: the sum of their log-probabilities in nats, rounded to `LOGPROB_DECIMALS`.
    """

    id: str
    tokens: int
    logprob: float


def build_item_likelihood(problem_id: str, logprobs: Sequence[float]) -> ItemLikelihood:
    """Build an item from the log-probabilities of its solution's tokens, in nats.

    Raises:
        NotFiniteError: a token has no finite log-probability.
        BenchError: there is no token.
    """
    if not logprobs:
        raise BenchError(f"the solution of {problem_id} has no tokens")
    if not all(map(math.isfinite, logprobs)):
        raise NotFiniteError(f"log-probabilities of the solution of {problem_id} are NaN or infinite")
    total = math.fsum(logprobs)
    # A certain token's log-probability is sometimes computed as +1e-7.
    return ItemLikelihood(problem_id, len(logprobs), min(0.0, round(total, LOGPROB_DECIMALS)))


def serialise_likelihoods(items: Sequence[ItemLikelihood]) -> bytes:
    """Return the uncompressed content of the file: `[id, tokens, sum]` a line, in item order."""
    return b"".join(encode_canonical([item.id, item.tokens, item.logprob]) + b"\n" for item in items)


def parse_likelihoods(lines: bytes, where: str) -> tuple[ItemLikelihood, ...]:
    """Parse the uncompressed content; BenchError names the first faulty line."""
    return tuple(
        _parse_item(parse_json(line, f"{where}:{number}", _RESTORE_ADVICE, surrogates=True), f"{where}:{number}")
        for number, line in enumerate(lines.removesuffix(b"\n").split(b"\n"), start=1)
    )


def summarise_likelihoods(lines: bytes, where: str) -> SolutionLikelihood:
    """Summarise the lines for the entry; errors as in `parse_likelihoods`."""
    items = parse_likelihoods(lines, where)
    tokens = sum(item.tokens for item in items)
    mean = round(math.fsum(item.logprob for item in items) / tokens, _MEAN_DECIMALS)
    return SolutionLikelihood(mean_logprob=mean, tokens=tokens, sha256=hashlib.sha256(lines).hexdigest())


def _parse_item(value: object, where: str) -> ItemLikelihood:
    match value:
        case [str(name), int(tokens), int() | float() as logprob] if tokens > 0 and not isinstance(logprob, bool):
            if not isinstance(tokens, bool) and -math.inf < logprob <= 0:
                return ItemLikelihood(name, tokens, logprob)
    raise BenchError(f"{where}: not [id, tokens, log-probability]", _RESTORE_ADVICE)
