"""Answer from a script: for rehearsals without a model, and for tests that need predictable answers.

Reads answers from a JSONL file of {"id": ..., "text": ...} lines; without a file it answers every problem with a number
that depends on its id alone.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Finish, Model, Request, Sampling, Value
from baseline_bench.core.untrusted import DATA_LIMIT, parse_json, read_bytes, split_lines


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the scripted engine.

    Attributes:
        script: a JSONL file of {"id", "text"} lines; it must hold every requested id.
        pace: seconds to wait before each answer, to rehearse progress and interruption.
    """

    script: str | None = None
    pace: float = field(default=0.0, metadata={"neutral": True})

    def __post_init__(self) -> None:
        if not 0 <= self.pace < 3600:
            raise ValueError("pace must be between 0 and 3600 seconds")


class ScriptedGenerator:
    """A generator that answers from a script."""

    version = "scripted 1"
    context = 1_000_000

    def __init__(self, answers: Mapping[str, str] | None, options: Options) -> None:
        self._answers = answers
        self._options = options
        digest = None if answers is None else hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()
        self.settings: dict[str, Value] = {"script_sha256": digest}

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Yield the scripted answers in the order asked; the token ids are the text's UTF-8 bytes."""
        for request in requests:
            if self._options.pace:
                time.sleep(self._options.pace)
            text = self._answer(request.id)
            ids = tuple(text.encode("utf-8", "surrogatepass"))  # a script may hold a server's earlier answers
            finish: Finish = "length" if len(ids) > sampling.max_tokens else "stop"
            yield request.id, Completion(text, ids[: sampling.max_tokens], finish)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""

    def _answer(self, request_id: str) -> str:
        if self._answers is None:
            return f"#### {hashlib.sha256(request_id.encode()).digest()[0]}"
        if request_id not in self._answers:
            what = f"{self._options.script} has no line for {request_id}"
            raise BenchError(what, 'add {"id": "...", "text": "..."} for it')
        return self._answers[request_id]


def load(model: Model, options: Options) -> ScriptedGenerator:
    """Read the script and ignore the model; BenchError if it is absent or a line is not {"id", "text"}."""
    if options.script is None:
        return ScriptedGenerator(None, options)
    path = Path(options.script).expanduser()
    if not path.is_file():
        raise BenchError(f"no script {path}", 'give a JSONL file of {"id": "...", "text": "..."} lines')
    answers = {}
    way_out = 'write {"id": "...", "text": "..."}'
    for number, line in split_lines(read_bytes(path, way_out, DATA_LIMIT)):
        value = parse_json(line, f"{path}, line {number} is not a scripted answer", way_out, surrogates=True)
        if not isinstance(value, dict) or not {"id", "text"} <= value.keys():
            raise BenchError(f"{path}, line {number} is not a scripted answer", way_out)
        answers[str(value["id"])] = str(value["text"])
    return ScriptedGenerator(answers, options)
