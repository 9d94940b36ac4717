"""`bench import lm-eval`: import a result of lm-eval as an unverified record of a board, with its bits."""

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
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.records import digest
from baseline_bench.evaluation import runs
from baseline_bench.rendering import leaderboard
from baseline_bench.results import foreign
from baseline_bench.results.bits import bits_to_hex
from baseline_bench.results.foreign import ExternalResult

_FILE_ADVICE = "give a results_*.json that `lm_eval run --log_samples --output_path` wrote"
# lm-eval prints its score in full precision, so one item more or less would differ by more than this.
_SCORE_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Options:
    """The result to import, and the board that shows it."""

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
    """Write the record, render the pages, print every changed file, and warn about what is unknown.

    Raises:
        BenchError: files that are not lm-eval's, samples that do not yield the score, or no such board.
    """
    known = leaderboard.list_boards(options.leaderboards)
    if options.board not in known:
        way_out = suggest_name(options.board, known, "score a model first, for a board is made of rows")
        raise BenchError(f"no board '{options.board}' in {options.leaderboards}", way_out)
    record = _build_result(options)
    with runs.explaining_write_errors(options.leaderboards), FolderLock(options.leaderboards, wait=True):
        written = foreign.write_record(record, options.leaderboards / options.board)
        changed = leaderboard.update_pages(options.leaderboards)
    console.write("".join(f"{file}\n" for file in (written, *changed)))
    console.warn(
        f"{record.candidate} is not verified and compared with nothing; not known: {', '.join(record.unknown)}"
    )
    return 0


def _build_result(options: Options) -> ExternalResult:
    results = _read_results(options.file)
    task = _choose_one(options.of_task, list(results["results"]), f"{options.file} holds several tasks", "--task")
    scores, config = results["results"][task], results.get("configs", {}).get(task, {})
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
    counts, settings = results.get("n-samples", {}).get(task, {}), results.get("config", {})
    arguments = settings.get("model_args")
    return ExternalResult(
        schema=1,
        created=datetime.fromtimestamp(int(results["date"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        candidate=options.name or _find_model_name(results),
        tool=f"lm-eval {results.get('lm_eval_version') or 'of an unknown version'}",
        task=task,
        version=_text_or_none(results.get("versions", {}).get(task)),
        metric=metric.partition(",")[0],
        filter=metric.partition(",")[2],
        shots=_count_or_none(results.get("n-shot", {}).get(task)),
        total=_count_or_none(counts.get("original")),
        items=len(right),
        correct=bits_to_hex(right),
        ids_sha256=digest([line["doc_id"] for line in lines]),
        engine=_text_or_none(settings.get("model")),
        dtype=_text_or_none(arguments.get("dtype")) if isinstance(arguments, dict) else None,
        device=_text_or_none(settings.get("device")),
        template_sha256=_text_or_none(results.get("chat_template_sha")),
        max_tokens=_count_or_none(config.get("generation_kwargs", {}).get("max_gen_toks")),
        results_sha256=hashlib.sha256(options.file.read_bytes()).hexdigest(),
        samples_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _read_results(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise BenchError(f"no file {path}", _FILE_ADVICE)
    try:
        results: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise BenchError(f"{path} is not JSON ({error})", _FILE_ADVICE) from error
    parts = ("results", "configs", "versions", "n-shot", "n-samples", "config")
    complete = (
        isinstance(results, dict) and bool(results.get("results")) and isinstance(results.get("date"), int | float)
    )
    complete = complete and all(isinstance(results.get(part, {}), dict) for part in parts)
    if not complete or not all(
        isinstance(value, dict) for part in parts[:2] for value in results.get(part, {}).values()
    ):
        raise BenchError(f"{path} is no results file of lm-eval", _FILE_ADVICE)
    return results


def _choose_one(name: str | None, choices: Sequence[str], several: str, option: str) -> str:
    listed = "; ".join(choices) or "none"
    if name is None and len(choices) == 1:
        return choices[0]
    if name is None:
        raise BenchError(several if choices else f"there is nothing for {option}", f"name one with {option}: {listed}")
    if name not in choices:
        raise BenchError(f"no '{name}'", f"there is {listed}")
    return name


def _find_samples_file(results: Path, task: str) -> Path:
    """Find the samples by the timestamp, which lm-eval gives to both files of a run."""
    path = results.with_name(f"samples_{task}_{results.stem.removeprefix('results_')}.jsonl")
    if not path.is_file():
        raise BenchError(
            f"no samples next to {results}: no {path.name}", "run lm-eval with --log_samples, or --samples"
        )
    return path


def _read_samples(path: Path, metric: str, chosen: str) -> list[dict[str, Any]]:
    """Read the lines of one filter in item order; lines of older lm-eval versions name no filter and count too."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} holds no JSON lines ({error})", _FILE_ADVICE) from error
    if not all(isinstance(line, dict) and type(line.get("doc_id")) is int for line in lines):
        raise BenchError(f"{path} is no samples file of lm-eval", _FILE_ADVICE)
    matching = sorted(
        (line for line in lines if line.get("filter", chosen) == chosen), key=lambda line: int(line["doc_id"])
    )
    if not matching or any(metric not in line for line in matching):
        raise BenchError(f"{path} has no {metric} for each item under the filter {chosen}", _FILE_ADVICE)
    if len({line["doc_id"] for line in matching}) != len(matching):
        raise BenchError(f"{path} has an item twice", "give the samples of one run")
    return matching


def _parse_bit(value: object, path: Path) -> bool:
    if value not in (0, 1):
        raise BenchError(f"{path}: a score of {value!r} is neither right nor wrong", "give a metric of 0 and 1")
    return bool(value)


def _find_model_name(results: Mapping[str, Any]) -> str:
    """Return the model's name; of a folder the last part alone, since the rest is specific to a machine."""
    name = _text_or_none(results.get("model_name")) or "unnamed"
    return Path(name).name if name.startswith((".", "/", "~")) else name


def _text_or_none(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _count_or_none(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
