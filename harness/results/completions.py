"""The completions behind an entry, committed with it so that anybody can judge them again."""

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.records import OMIT_WHEN_NONE, digest, encode_canonical, parse_record, to_json_value
from baseline_bench.core.types import Completion, Finish, ItemEvidence, LogLikelihood, Problem
from baseline_bench.core.untrusted import read_bytes

# The text of a full run is a few MB; a small file that decompresses to more than this is a zip bomb.
MAX_BYTES = 256 * 1024 * 1024
_RESTORE_ADVICE = "restore the file from git, or give the command that made the row again"


@dataclass(frozen=True, slots=True)
class CommittedCompletion:
    """One line of the committed file: all that judging needs, and a digest of the token ids.

    Attributes:
        id: the problem's id.
        gold: the answer it was judged against.
        finish: why generation ended; "length" where any of several draws was cut.
        tokens: generated tokens including stop tokens; None where a server does not report them.
        ids_sha256: the first 16 hex digits of `digest` over the list of generated token ids, of several draws over the
            list of their lists, or None.
        text: the generated text of the first draw.
        more: the texts of further draws, where the task draws several.
        answer_starts: for each draw the index of the character where the answer begins, after the model's thought;
            None where every answer begins at 0.
        likelihoods: of the texts that were measured, in the order of the item's requests.
        asked_sha256: over the item's requests as text, where its task provides them.
        metrics: of the item, by name, where its task provides them.
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
    def draws(self) -> tuple[tuple[int, str], ...]:
        """For each draw the index where its answer begins, and its text."""
        texts = (self.text, *(self.more or ()))
        return tuple(zip(self.answer_starts or (0,) * len(texts), texts, strict=True))

    @property
    def shown(self) -> str:
        """The text, with a note on where its answer starts and on further draws, which are judged with it."""
        start = self.answer_starts[0] if self.answer_starts else 0
        text = f"{self.text[:start]}\n[the answer:]\n{self.text[start:]}" if start else self.text
        return text if self.more is None else f"{text}\n[the first of {len(self.more) + 1} draws]"


def build_committed_completion(
    problem: Problem, completion: Completion, evidence: ItemEvidence | None = None
) -> CommittedCompletion:
    """Build the line to store for a completion, with its task's evidence on the item."""
    ids = [draw.token_ids for draw in completion.draws if draw.token_ids is not None]
    has_all_ids = len(ids) == len(completion.draws)
    starts = tuple(draw.answer_start for draw in completion.draws)
    return CommittedCompletion(
        id=problem.id,
        gold=problem.answer,
        finish=completion.finish,
        tokens=sum(map(len, ids)) if has_all_ids else None,
        ids_sha256=digest(ids if completion.more else ids[0])[:16] if has_all_ids else None,
        text=completion.text,
        more=tuple(draw.text for draw in completion.more) or None,
        answer_starts=starts if any(starts) else None,
        likelihoods=completion.likelihoods or None,
        asked_sha256=None if evidence is None else evidence.asked_sha256,
        metrics=None if evidence is None else evidence.metrics,
    )


def restore_completion(line: CommittedCompletion) -> Completion:
    """Restore the completion as far as judging needs it: a line has no token ids and one finish for all draws."""
    first, *more = (Completion(text, None, line.finish, answer_start=start) for start, text in line.draws)
    return replace(first, more=tuple(more), likelihoods=line.likelihoods or ())


def serialise_completions(completions: Sequence[CommittedCompletion]) -> bytes:
    """Return the uncompressed content of the committed file: one canonical JSON object a line, in item order."""
    return b"".join(encode_canonical(to_json_value(completion)) + b"\n" for completion in completions)


def parse_completions(lines: bytes, where: str) -> tuple[CommittedCompletion, ...]:
    """Parse the uncompressed content; BenchError names the first faulty line."""
    return tuple(
        parse_record(CommittedCompletion, line, f"{where}:{number}", _RESTORE_ADVICE)
        for number, line in enumerate(lines.removesuffix(b"\n").split(b"\n"), start=1)
    )


def compress_lines(lines: bytes) -> bytes:
    """Compress with gzip without name and time, so that the same zlib gives the same bytes on every machine."""
    buffer = io.BytesIO()
    # GzipFile, since gzip.compress lets zlib write the operating system into the header.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(lines)
    return buffer.getvalue()


def decompress_file(path: Path) -> bytes:
    """Decompress a committed file; BenchError if it is damaged or larger than `MAX_BYTES`."""
    try:
        # Padding and empty members take time and give no lines: what is compressed has a limit too.
        with gzip.open(io.BytesIO(read_bytes(path, _RESTORE_ADVICE, MAX_BYTES))) as file:
            lines = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"{path.name}: cannot be decompressed ({error})", _RESTORE_ADVICE) from None
    if len(lines) > MAX_BYTES:
        raise BenchError(f"{path.name}: more than {MAX_BYTES:,} bytes when decompressed", _RESTORE_ADVICE)
    return lines


def read_completions(path: Path) -> tuple[CommittedCompletion, ...]:
    """Read a committed file of completions; BenchError if it is missing or damaged."""
    if not path.is_file():
        raise BenchError(f"{path.name} is missing", _RESTORE_ADVICE)
    return parse_completions(decompress_file(path), path.name)
