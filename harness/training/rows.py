"""Tokenise training examples, and check every row for BOS, seam, stop token and length before training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.parallel import map_in_processes
from baseline_bench.core.records import digest
from baseline_bench.core.types import Sample, TrainingExample
from baseline_bench.models.tokens import (
    PromptFormat,
    Tokenizer,
    collect_control_tokens,
    encode_completion,
    encode_prompt,
    has_doubled_bos,
    require_encodable,
    starts_answer,
)

_ROWS_PER_PROCESS = 500  # half a second of work


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Rows to train on, with their digest and token counts.

    Attributes:
        sha256: digest of ids and start of every row, in order.
        supervised: number of tokens in the loss.
    """

    rows: tuple[TrainingExample, ...]
    sha256: str
    tokens: int
    supervised: int

    @classmethod
    def of(cls, rows: Sequence[TrainingExample]) -> "TrainingSet":
        """Count the tokens of the rows and digest them."""
        return cls(
            rows=tuple(rows),
            sha256=digest([[row.start, list(row.token_ids)] for row in rows]),
            tokens=sum(len(row.token_ids) for row in rows),
            supervised=sum(len(row.token_ids) - row.start for row in rows),
        )


def tokenise_samples(
    samples: Sequence[Sample], tokenizer: Tokenizer, prompt_format: PromptFormat, max_length: int
) -> TrainingSet:
    """Turn each sample into one row and cut none.

    Args:
        max_length: maximum tokens of prompt and completion together.

    Raises:
        BenchError: no sample, rows that are too long (truncation would cut their answers), or an empty solution.
    """
    if not samples:
        raise BenchError("there is nothing to train on", "name another split or file")
    control = collect_control_tokens(tokenizer, prompt_format)
    tokenise = partial(_tokenise_sample, tokenizer=tokenizer, prompt_format=prompt_format, control=control)
    rows = map_in_processes(tokenise, samples, _ROWS_PER_PROCESS)
    too_long = [row for row in rows if len(row.token_ids) > max_length]
    if too_long:
        longest = max(too_long, key=lambda row: len(row.token_ids))
        listed = list_first([row.id for row in too_long])
        raise BenchError(
            f"{len(too_long)} of {len(rows)} rows are longer than max_length = {max_length} and would lose their "
            f"answers: {listed}",
            f"--set max_length={len(longest.token_ids)} takes them all, or leave these rows out of the data",
        )
    return TrainingSet.of(rows)


def check_example(row: TrainingExample, prompt_format: PromptFormat) -> list[str]:
    """Return what is wrong with one row: BOS, supervision, stop token; an empty list if it is sound."""
    ids, problems = row.token_ids, []
    if prompt_format.bos_id is not None and ids[:1] != (prompt_format.bos_id,):
        problems.append("does not begin with BOS")
    if prompt_format.bos_id is not None and prompt_format.bos_id in ids[1:]:
        problems.append("holds BOS twice")
    if ids[-1] not in prompt_format.stop_ids:
        problems.append("does not end with a stop token")
    if not 0 < row.start < len(ids) - 1:
        problems.append("supervises nothing but its stop token" if row.start else "supervises its prompt")
    if any(token in prompt_format.stop_ids for token in ids[row.start : -1]):
        problems.append("holds a stop token before its end")
    return problems


def _tokenise_sample(
    sample: Sample, tokenizer: Tokenizer, prompt_format: PromptFormat, control: Mapping[int, str]
) -> TrainingExample:
    if not sample.solution.strip():
        raise BenchError(f"{sample.id} has an empty solution", "fill it in, or leave the row out of the data")
    require_encodable(sample.id, "\n".join((*(turn.content for turn in sample.messages), sample.solution)))
    prompt = encode_prompt(tokenizer, prompt_format, sample.messages)
    completion = encode_completion(tokenizer, prompt_format, sample.solution, goes_on=starts_answer(sample.messages))
    row = TrainingExample(sample.id, prompt + completion, len(prompt))
    problems = check_example(row, prompt_format)
    if prompt_format.bos_id is None and has_doubled_bos(tokenizer, prompt):
        problems.append("begins with BOS twice")
    if problems := problems or _find_control_tokens(sample, tokenizer, control):
        what = f"{sample.id} {'; '.join(problems)}"
        raise BenchError(what, "`bench check RECIPE` shows the row; correct the data or the template")
    return row


def _find_control_tokens(sample: Sample, tokenizer: Tokenizer, control: Mapping[int, str]) -> list[str]:
    """Return what is wrong with texts that spell a token between turns: the model would read it as one."""
    for text in (*(turn.content for turn in sample.messages), sample.solution):
        spelled = [token for token in control.values() if token and token in text]
        if any(i in control for i in (tokenizer.encode(text, add_special_tokens=False) if spelled else ())):
            return [f"spells {spelled[0]!r}, which is read as a token between turns"]
    return []
