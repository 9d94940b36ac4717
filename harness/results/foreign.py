"""Results of other harnesses: stored with a board's rows and shown apart from them.

bench cannot check their weights, prompt ids or answer reader, so it compares them with nothing. Each file is in
`foreign/` inside its board's folder, is named by its content, and never changes again.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from baseline_bench.core import records
from baseline_bench.results.bits import hex_to_bits
from baseline_bench.results.entries import slugify

FOLDER = "foreign"
_RESTORE_ADVICE = "restore the file from git, or read it with the version of bench that wrote it"


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """One result of another harness; what the harness does not report is None.

    Attributes:
        created: UTC as 2026-11-22T12:00:00Z.
        candidate: its name on this board.
        tool: the harness and its version, such as "lm-eval 0.4.13".
        task, version: of the task, as that harness calls them.
        metric, filter: which of its scores, such as "exact_match" and "flexible-extract".
        shots: number of worked examples in the prompt.
        total: items of the whole task.
        items: how many of them were scored.
        correct: one bit an item in the order of its ids, as in an entry.
        ids_sha256: `digest` over the list of these ids.
        engine, dtype, device: what generated, in which number format and on which device.
        template_sha256: of the chat template of its prompts.
        max_tokens: limit of generated tokens.
        results_sha256, samples_sha256: of the files from which it was imported.
    """

    schema: Literal[1]
    created: str
    candidate: str
    tool: str
    task: str
    version: str | None
    metric: str
    filter: str
    shots: int | None
    total: int | None
    items: int
    correct: str
    ids_sha256: str
    engine: str | None
    dtype: str | None
    device: str | None
    template_sha256: str | None
    max_tokens: int | None
    results_sha256: str
    samples_sha256: str

    @property
    def right(self) -> int:
        """Number of items answered right."""
        return sum(hex_to_bits(self.correct, self.items))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of what is unknown: the fields that the harness did not report, and what no harness's files contain."""
        reported = {
            "shots": self.shots,
            "dtype": self.dtype,
            "device": self.device,
            "chat template": self.template_sha256,
            "token limit": self.max_tokens,
        }
        return ("weights", "prompt ids", *(name for name, value in reported.items() if value is None))


def write_record(record: ExternalResult, board: Path) -> Path:
    """Add a record to a board's folder, once; ValueError, and nothing is written, if its parts contradict."""
    if problems := check_record(record):
        raise ValueError("; ".join(problems))
    return records.write_if_changed(board / record_path(record), records.encode_indented(record))


def record_path(record: ExternalResult) -> str:
    """Return its path in the board's folder."""
    return f"{FOLDER}/{build_record_name(record)}"


def build_record_name(record: ExternalResult) -> str:
    """Build the file name `<date>-<candidate>-<12 hex of the file's sha256>.json`."""
    digest = hashlib.sha256(records.encode_indented(record)).hexdigest()[:12]
    return f"{record.created[:10]}-{slugify(record.candidate)}-{digest}.json"


def list_files(board: Path) -> list[Path]:
    """Return the files of a board's external results, sorted."""
    return sorted(board.glob(f"{FOLDER}/*.json"))


def read_records(board: Path) -> tuple[ExternalResult, ...]:
    """Read every external result of a board, sorted by candidate, then by time.

    Raises:
        BenchError: a file is not such a record, is faulty, or has a name that does not follow from its content.
    """
    found = (
        records.read_named_record(ExternalResult, path, _RESTORE_ADVICE, check_record, build_record_name)
        for path in list_files(board)
    )
    return tuple(sorted(found, key=lambda record: (record.candidate, record.created)))


def check_record(record: ExternalResult) -> list[str]:
    """List the faults of a record: malformed digests, bits of other items, impossible counts."""
    problems = [] if records.parse_time(record.created) else [f"created is no UTC time: {record.created!r:.60}"]
    names = ("ids_sha256", "results_sha256", "samples_sha256")  # that of the template is lm-eval's own
    problems += records.find_malformed_digests({name: getattr(record, name) for name in names})
    if record.items < 1 or (record.total is not None and record.items > record.total):
        problems.append(f"{record.items} of {record.total} items cannot be")
    try:
        hex_to_bits(record.correct, record.items)
    except ValueError as error:
        problems.append(f"correct: {error}")
    return problems
