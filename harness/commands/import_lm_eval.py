"""`bench import lm-eval`: a result of lm-eval comes in as a record beside a board's rows, unverified, with its bits."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from baseline_bench.core.command_options import argument, leaderboards_option, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, suggest_name
from baseline_bench.core.records import digest
from baseline_bench.evaluation import runs
from baseline_bench.rendering import leaderboard
from baseline_bench.results import foreign
from baseline_bench.results.bits import bits_to_hex
from baseline_bench.results.foreign import ExternalResult

_FILE_ADVICE = "give a results_*.json that `lm_eval run --log_samples --output_path` wrote"
# Its share is printed in full, so that the two differ by less than any item could make them.
_SCORE_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which result to import, and beside which rows it is shown."""

    file: Path = argument("a results_*.json of lm-eval", "FILE")
    samples: Path | None = option("--samples", "its samples (default: those in the same folder)", "FILE")
    of_task: str | None = option("--task", "which of its tasks (default: the only one)", "NAME")
    metric: str | None = option(
        "--metric", "which of its scores, as exact_match,strict-match (default: the only one)", "METRIC,FILTER"
    )
    name: str | None = option("--name", "the name of its line (default: the model's name)", "NAME")
    board: str = option("--board", "the board that shows it (default: %(default)s)", "NAME", "gsm8k")
    leaderboards: Path = leaderboards_option()


def run(options: Options, console: Console) -> int:
    """Write the record and render the pages, naming every file that changed, and say what is not known.

    Raises:
        BenchError: files that are not lm-eval's, samples that do not give the score, or no such board.
    """
    known = leaderboard.list_boards(options.leaderboards)
    if options.board not in known:
        way_out = suggest_name(options.board, known, "score a model first, for a board is made of rows")
        raise BenchError(f"no board '{options.board}' in {options.leaderboards}", way_out)
    record = _build_result(options)
    with runs.explaining_write_errors(options.leaderboards):
        written = foreign.write_record(record, options.leaderboards / options.board)
        changed = leaderboard.update_pages(options.leaderboards)
    console.write("".join(f"{file}\n" for file in (written, *changed)))
    console.warn(
        f"{record.candidate} is not verified and compared with nothing; not known: {', '.join(record.unknown)}"
    )
    return 0


def _build_result(options: Options) -> ExternalResult:
    found = _read_results(options.file)
    task = _choose_one(options.of_task, list(found["results"]), f"{options.file} holds several tasks", "--task")
    scores, config = found["results"][task], found.get("configs", {}).get(task, {})
    names = [name for name in scores if "," in name and not name.partition(",")[0].endswith("_stderr")]
    metric = _choose_one(options.metric, names, f"{task} has several scores", "--metric")
    path = options.samples or _find_samples_file(options.file, task)
    lines = _read_samples(path, *metric.split(",", 1))
    right = [_parse_bit(line[metric.partition(",")[0]], path) for line in lines]
    if abs(sum(right) / len(right) - float(scores[metric])) > _SCORE_TOLERANCE:
        raise BenchError(
            f"{path} gives {sum(right)} of {len(right)} right, {options.file} says {scores[metric]}",
            "give the samples of that very run with --samples FILE",
        )
    counts, settings = found.get("n-samples", {}).get(task, {}), found.get("config", {})
    arguments = settings.get("model_args")
    return ExternalResult(
        schema=1,
        created=datetime.fromtimestamp(int(found["date"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        candidate=options.name or _find_model_name(found),
        tool=f"lm-eval {found.get('lm_eval_version') or 'of an unknown version'}",
        task=task,
        version=_text_or_none(found.get("versions", {}).get(task)),
        metric=metric.partition(",")[0],
        filter=metric.partition(",")[2],
        shots=_count_or_none(found.get("n-shot", {}).get(task)),
        total=_count_or_none(counts.get("original")),
        items=len(right),
        correct=bits_to_hex(right),
        ids_sha256=digest([line["doc_id"] for line in lines]),
        engine=_text_or_none(settings.get("model")),
        dtype=_text_or_none(arguments.get("dtype")) if isinstance(arguments, dict) else None,
        device=_text_or_none(settings.get("device")),
        template_sha256=_text_or_none(found.get("chat_template_sha")),
        max_tokens=_count_or_none(config.get("generation_kwargs", {}).get("max_gen_toks")),
        results_sha256=hashlib.sha256(options.file.read_bytes()).hexdigest(),
        samples_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _read_results(path: Path) -> Mapping[str, Any]:
    """The results file as far as it is read here: each part that is there is an object."""
    if not path.is_file():
        raise BenchError(f"no file {path}", _FILE_ADVICE)
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise BenchError(f"{path} is not JSON ({error})", _FILE_ADVICE) from error
    parts = ("results", "configs", "versions", "n-shot", "n-samples", "config")
    whole = isinstance(found, dict) and bool(found.get("results")) and isinstance(found.get("date"), int | float)
    whole = whole and all(isinstance(found.get(part, {}), dict) for part in parts)
    if not whole or not all(isinstance(each, dict) for part in parts[:2] for each in found.get(part, {}).values()):
        raise BenchError(f"{path} is no results file of lm-eval", _FILE_ADVICE)
    return found


def _choose_one(asked: str | None, there: Sequence[str], several: str, option: str) -> str:
    named = "; ".join(there) or "none"
    if asked is None and len(there) == 1:
        return there[0]
    if asked is None:
        raise BenchError(several if there else f"there is nothing for {option}", f"name one with {option}: {named}")
    if asked not in there:
        raise BenchError(f"no '{asked}'", f"there is {named}")
    return asked


def _find_samples_file(results: Path, task: str) -> Path:
    """lm-eval gives both files of a run the same time."""
    path = results.with_name(f"samples_{task}_{results.stem.removeprefix('results_')}.jsonl")
    if not path.is_file():
        raise BenchError(f"no samples beside {results}: no {path.name}", "run lm-eval with --log_samples, or --samples")
    return path


def _read_samples(path: Path, metric: str, chosen: str) -> list[dict[str, Any]]:
    """The lines of one filter, in the order of their items; older versions of lm-eval name no filter."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} holds no JSON lines ({error})", _FILE_ADVICE) from error
    if not all(isinstance(line, dict) and type(line.get("doc_id")) is int for line in lines):
        raise BenchError(f"{path} is no samples file of lm-eval", _FILE_ADVICE)
    mine = sorted(
        (line for line in lines if line.get("filter", chosen) == chosen), key=lambda line: int(line["doc_id"])
    )
    if not mine or any(metric not in line for line in mine):
        raise BenchError(f"{path} tells no {metric} of each item under the filter {chosen}", _FILE_ADVICE)
    if len({line["doc_id"] for line in mine}) != len(mine):
        raise BenchError(f"{path} tells an item twice", "give the samples of one run")
    return mine


def _parse_bit(value: object, path: Path) -> bool:
    if value not in (0, 1):
        raise BenchError(f"{path}: a score of {value!r} is neither right nor wrong", "give a metric of 0 and 1")
    return bool(value)


def _find_model_name(found: Mapping[str, Any]) -> str:
    """The model's name; of a folder its last part alone, for the rest says something of a machine."""
    name = _text_or_none(found.get("model_name")) or "unnamed"
    return Path(name).name if name.startswith((".", "/", "~")) else name


def _text_or_none(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _count_or_none(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
