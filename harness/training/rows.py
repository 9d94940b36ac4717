"""Training examples into token ids: every row is checked for BOS, seam, stop token and length before training."""

from collections.abc import Sequence
from dataclasses import dataclass

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import digest
from baseline_bench.core.types import Sample, TrainingExample
from baseline_bench.models.tokens import (
    PromptFormat,
    Tokenizer,
    encode_completion,
    encode_prompt,
    has_doubled_bos,
    require_encodable,
    starts_answer,
)

_MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows and what was counted over them.

    Attributes:
        sha256: over ids and start of every row, in order.
        tokens: of all rows.
        supervised: tokens that the loss is over.
    """

    rows: tuple[TrainingExample, ...]
    sha256: str
    tokens: int
    supervised: int

    @classmethod
    def of(cls, rows: Sequence[TrainingExample]) -> "TrainingSet":
        """Count."""
        return cls(
            rows=tuple(rows),
            sha256=digest([[row.start, list(row.token_ids)] for row in rows]),
            tokens=sum(len(row.token_ids) for row in rows),
            supervised=sum(len(row.token_ids) - row.start for row in rows),
        )


def tokenise_samples(
    samples: Sequence[Sample], tokenizer: Tokenizer, how: PromptFormat, max_length: int
) -> TrainingSet:
    """One row a sample, none cut.

    Args:
        max_length: tokens of prompt and completion together, at most.

    Raises:
        BenchError: no sample, rows that are too long (truncation would eat their answers), or an empty solution.
    """
    if not samples:
        raise BenchError("there is nothing to train on", "name another split or file")
    rows = [_tokenise_sample(sample, tokenizer, how) for sample in samples]
    long = [row for row in rows if len(row.token_ids) > max_length]
    if long:
        worst = max(long, key=lambda row: len(row.token_ids))
        named = ", ".join(row.id for row in long[:_MAX_SHOWN]) + (", ..." if len(long) > _MAX_SHOWN else "")
        raise BenchError(
            f"{len(long)} of {len(rows)} rows are longer than max_length = {max_length} and would lose their answers: "
            f"{named}",
            f"--set max_length={len(worst.token_ids)} takes them all, or leave these rows out of the data",
        )
    return TrainingSet.of(rows)


def check_example(row: TrainingExample, how: PromptFormat) -> list[str]:
    """What is wrong with one row: BOS, supervision, stop token; nothing where it is sound."""
    ids, found = row.token_ids, []
    if how.bos_id is not None and ids[:1] != (how.bos_id,):
        found.append("does not begin with BOS")
    if how.bos_id is not None and how.bos_id in ids[1:]:
        found.append("holds BOS twice")
    if ids[-1] not in how.stop_ids:
        found.append("does not end with a stop token")
    if not 0 < row.start < len(ids) - 1:
        found.append("supervises nothing but its stop token" if row.start else "supervises its prompt")
    if any(token in how.stop_ids for token in ids[row.start : -1]):
        found.append("holds a stop token before its end")
    return found


def _tokenise_sample(sample: Sample, tokenizer: Tokenizer, how: PromptFormat) -> TrainingExample:
    if not sample.solution.strip():
        raise BenchError(f"{sample.id} has an empty solution", "fill it in, or leave the row out of the data")
    require_encodable(sample.id, "\n".join((*(turn.content for turn in sample.messages), sample.solution)))
    prompt = encode_prompt(tokenizer, how, sample.messages)
    written = encode_completion(tokenizer, how, sample.solution, goes_on=starts_answer(sample.messages))
    row = TrainingExample(sample.id, prompt + written, len(prompt))
    wrong = check_example(row, how)
    if how.bos_id is None and has_doubled_bos(tokenizer, prompt):
        wrong.append("begins with BOS twice")
    if wrong:
        raise BenchError(
            f"{sample.id} {'; '.join(wrong)}", "`bench check RECIPE` shows the row; mend the data or the template"
        )
    return row
