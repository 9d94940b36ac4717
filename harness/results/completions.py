"""The completions an entry stands on, as they are committed beside it, so that anybody can grade them again."""

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import (
    OMIT_WHEN_NONE,
    decode_record,
    digest,
    encode_canonical,
    parse_json,
    to_json_value,
)
from baseline_bench.core.types import Completion, Finish, ItemEvidence, LogLikelihood, Problem

# The text of a full run is a few MB; a small file that claims to be this large is an attack on the reader.
MAX_BYTES = 256 * 1024 * 1024
_RESTORE_ADVICE = "restore the file from git, or give the command that made the row again"


@dataclass(frozen=True, slots=True)
class CommittedCompletion:
    """One line of the committed file: all that grading needs, and a trace of the token ids.

    Attributes:
        id: the problem's id.
        gold: the answer it was graded against.
        finish: why generation ended; "length" where any of several draws was cut.
        tokens: generated tokens, the stop tokens counted; None where a server does not tell.
        ids_sha256: the first 16 hex digits of `digest` over the list of generated token ids, of several draws over the
            list of their lists, or None.
        text: what the model wrote, at the first draw.
        more: what it wrote at the further ones, where the task draws several.
        answer_starts: for each draw the character of its text where the answer begins, behind the model's thought; None
            where every text is an answer from its beginning.
        likelihoods: of the texts that were measured, in the order of the item's requests.
        asked_sha256: over the item's requests as text, where its task tells.
        metrics: of the item, by name, where its task tells.
    """

    id: str
    gold: str
    finish: Finish
    tokens: int | None
    ids_sha256: str | None
    text: str
    more: tuple[str, ...] | None = field(default=None, metadata=OMIT_WHEN_NONE)
    answer_starts: tuple[int, ...] | None = field(default=None, metadata=OMIT_WHEN_NONE)
    likelihoods: tuple[LogLikelihood, ...] | None = field(default=None, metadata=OMIT_WHEN_NONE)
    asked_sha256: str | None = field(default=None, metadata=OMIT_WHEN_NONE)
    metrics: Mapping[str, float] | None = field(default=None, metadata=OMIT_WHEN_NONE)

    @property
    def shown(self) -> str:
        """The text, with a word on where its answer starts, and on further draws, which are judged with it."""
        start = self.answer_starts[0] if self.answer_starts else 0
        text = f"{self.text[:start]}\n[the answer:]\n{self.text[start:]}" if start else self.text
        return text if self.more is None else f"{text}\n[the first of {len(self.more) + 1} draws]"


def build_committed_completion(
    problem: Problem, completion: Completion, evidence: ItemEvidence | None = None
) -> CommittedCompletion:
    """What is kept of a completion beside the entry, with what its task tells of the item besides."""
    ids = [draw.token_ids for draw in completion.draws if draw.token_ids is not None]
    told = len(ids) == len(completion.draws)
    starts = tuple(draw.answer_start for draw in completion.draws)
    return CommittedCompletion(
        id=problem.id,
        gold=problem.answer,
        finish=completion.finish,
        tokens=sum(map(len, ids)) if told else None,
        ids_sha256=digest(ids if completion.more else ids[0])[:16] if told else None,
        text=completion.text,
        more=tuple(draw.text for draw in completion.more) or None,
        answer_starts=starts if any(starts) else None,
        likelihoods=completion.likelihoods or None,
        asked_sha256=None if evidence is None else evidence.asked_sha256,
        metrics=None if evidence is None else evidence.metrics,
    )


def restore_completion(line: CommittedCompletion) -> Completion:
    """The completion as far as grading needs it: a line keeps no token ids, and one end for all draws."""
    texts = (line.text, *(line.more or ()))
    starts = line.answer_starts or (0,) * len(texts)
    first, *more = (
        Completion(text, None, line.finish, answer_start=start) for text, start in zip(texts, starts, strict=True)
    )
    return replace(first, more=tuple(more), likelihoods=line.likelihoods or ())


def serialise_completions(completions: Sequence[CommittedCompletion]) -> bytes:
    """The uncompressed content of the committed file: one canonical JSON object a line, in item order."""
    return b"".join(encode_canonical(to_json_value(completion)) + b"\n" for completion in completions)


def parse_completions(lines: bytes, where: str) -> tuple[CommittedCompletion, ...]:
    """The completions in the uncompressed content; BenchError naming the first line that is none."""
    return tuple(
        decode_record(
            CommittedCompletion,
            parse_json(line, f"{where}:{number}", _RESTORE_ADVICE),
            f"{where}:{number}",
            _RESTORE_ADVICE,
        )
        for number, line in enumerate(lines.removesuffix(b"\n").split(b"\n"), start=1)
    )


def compress_lines(lines: bytes) -> bytes:
    """Gzip without name and time: the same lines give the same bytes on every machine with the same zlib."""
    buffer = io.BytesIO()
    # GzipFile rather than gzip.compress: that one lets zlib write the operating system into the header.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(lines)
    return buffer.getvalue()


def decompress_file(path: Path) -> bytes:
    """The uncompressed content of a committed file; BenchError for one that is damaged or absurdly large."""
    try:
        with gzip.open(path) as file:
            lines = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"{path.name}: cannot be decompressed ({error})", _RESTORE_ADVICE) from None
    if len(lines) > MAX_BYTES:
        raise BenchError(f"{path.name}: more than {MAX_BYTES:,} bytes when decompressed", _RESTORE_ADVICE)
    return lines


def read_completions(path: Path) -> tuple[CommittedCompletion, ...]:
    """The completions in a committed file.

    Raises:
        BenchError: the file is missing, damaged, or a line of it is none.
    """
    if not path.is_file():
        raise BenchError(f"{path.name} is missing", _RESTORE_ADVICE)
    return parse_completions(decompress_file(path), path.name)
