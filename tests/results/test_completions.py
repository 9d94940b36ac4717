"""Committed completions come back exactly, from bytes that are the same everywhere."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Problem
from baseline_bench.results.completions import (
    CommittedCompletion,
    build_committed_completion,
    compress_lines,
    decompress_file,
    parse_completions,
    serialise_completions,
)
from samples import answers


def test_compression_is_deterministic() -> None:
    """The gzip header holds no time, no name and no operating system."""
    packed = compress_lines(b"text")
    assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    assert gzip.decompress(packed) == b"text"


def test_what_a_model_wrote_is_kept_exactly() -> None:
    """Line ends, controls, half characters and every script come back from the committed lines."""
    odd = [
        replace(item, text=text) for item, text in zip(answers(), ["\r\n\u2028", "\x00\ud83d", "٣ 十 🧮"], strict=False)
    ]
    assert list(parse_completions(serialise_completions(odd), "here")) == odd


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at a limit far above any run."""
    monkeypatch.setattr("baseline_bench.results.completions.MAX_BYTES", 1000)
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(compress_lines(b"0" * 100_000))
    with pytest.raises(BenchError, match="more than 1,000 bytes"):
        decompress_file(path)


def test_what_is_committed_of_a_completion() -> None:
    """Id, gold answer, end, number of tokens and text; of the token ids a digest, or null where no server told them."""
    problem = Problem(id="test-1", question="1 + 1?", answer="2", solution="It is 2.")
    kept = build_committed_completion(problem, Completion(text="#### 2", token_ids=(5, 6), finish_reason="stop"))
    assert kept == CommittedCompletion("test-1", "2", "stop", 2, hashlib.sha256(b"[5,6]").hexdigest()[:16], "#### 2")
    assert build_committed_completion(problem, Completion("", None, "length")) == CommittedCompletion(
        "test-1", "2", "length", None, None, ""
    )
    assert serialise_completions([kept]).endswith(b'"text":"#### 2","tokens":2}\n')


def test_a_bad_line_is_named_by_its_number() -> None:
    """The first line that is no completion is pointed at."""
    with pytest.raises(BenchError, match="here:2: not JSON"):
        parse_completions(serialise_completions(answers(total=1)) + b"{\n", "here")
