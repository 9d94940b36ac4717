"""`bench grade`: run the answer reader alone, on completions from stdin or a file."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.command_options import option
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Problem
from baseline_bench.core.untrusted import DATA_LIMIT, parse_json, read_bytes, split_lines
from baseline_bench.evaluation import stored_answers


@dataclass(frozen=True, kw_only=True)
class Options:
    """One completion on stdin and its gold answer, or a file of cases."""

    gold: str | None = option("--gold", "judge the completion on stdin against this answer", "N", one_of="input!")
    cases: Path | None = option("--cases", "judge a JSONL file of {completion, gold} lines", "FILE", one_of="input!")


def run(options: Options, console: Console) -> int:
    """Judge completions with the answer reader alone: print one line of JSON for each completion, in order.

    Raises:
        BenchError: a line of the file is not {"completion", "gold"}.
    """
    task = plugins.load_task("word-problems")
    if options.cases is None:
        completion = sys.stdin.buffer.read().decode("utf-8", "replace")
        console.write(_grade_as_json(task, completion, _parse_gold(task, str(options.gold))))
        return 0
    if not options.cases.is_file():
        raise BenchError(f"no file {options.cases}", 'give a JSONL file of {"completion": "...", "gold": "..."} lines')
    cases = []
    way_out = 'write {"completion": "...", "gold": "..."}'
    for number, line in split_lines(read_bytes(options.cases, way_out, DATA_LIMIT)):
        where = f"{options.cases}, line {number} is not a case"
        value = parse_json(line, where, way_out, surrogates=True)
        if not isinstance(value, dict) or not {"completion", "gold"} <= value.keys():
            raise BenchError(where, way_out)
        cases.append((str(value["completion"]), _parse_gold(task, str(value["gold"]))))
    console.write("".join(_grade_as_json(task, completion, gold) for completion, gold in cases))
    return 0


def _parse_gold(task: Task, text: str) -> str:
    """Parse the gold answer into the reader's own spelling, so that the user may give 70,000 or $5."""
    number = stored_answers.parse_number(task, text)
    if number is None:
        raise BenchError(f"the gold answer '{text}' is no number", "give one, such as 18, 70,000 or 2.5")
    return number


def _grade_as_json(task: Task, completion: str, gold: str) -> str:
    judgement = task.grade(Problem("stdin", "", gold, ""), Completion(completion, None, "stop"))
    value = {
        "answer": judgement.answer,
        "correct": judgement.correct,
        "strict": judgement.strict,
        "rule": judgement.rule,
    }
    return json.dumps(value, ensure_ascii=False) + "\n"
