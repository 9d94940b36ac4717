"""`bench import lm-eval`: import a result of lm-eval as an unverified record of a board, with its bits."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from baseline_bench.core.command_options import argument, leaderboards_option, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.locks import FolderLock
from baseline_bench.core.records import digest
from baseline_bench.core.untrusted import DATA_LIMIT, parse_json, read_bytes
from baseline_bench.evaluation import runs
from baseline_bench.interop.sample_logs import UNNAMED_FILTER, look_up, read_lm_eval_samples
from baseline_bench.rendering import leaderboard
from baseline_bench.results import foreign
from baseline_bench.results.bits import bits_to_hex
from baseline_bench.results.foreign import ExternalResult

_FILE_ADVICE = "give a results_*.json that `lm_eval run --log_samples --output_path` wrote"
# lm-eval prints its score in full precision, so one item more or less would differ by more than this.
_SCORE_TOLERANCE = 1e-9
_LATEST_TIME = 2**37  # seconds since 1970: the year 6325


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
    board: str = option("--board", "the board that shows it, made if need be (default: %(default)s)", "NAME", "gsm8k")
    leaderboards: Path = leaderboards_option()


def run(options: Options, console: Console) -> int:
    """Write the record, render the pages, print every changed file, and warn about what is unknown.

    Raises:
        BenchError: files that are not lm-eval's, samples that do not yield the score, or no name for a board.
    """
    leaderboard.require_board_name(options.board)
    console.say(f"importing {options.file}, rendering the pages of {options.leaderboards}")
    record, board = _build_result(options), options.leaderboards / options.board
    with runs.explaining_write_errors(options.leaderboards):
        board.mkdir(parents=True, exist_ok=True)
        with FolderLock(options.leaderboards, wait=True):
            written = foreign.write_record(record, board)
            changed = leaderboard.update_pages(options.leaderboards)
    console.write("".join(f"{file}\n" for file in (written, *changed)))
    console.warn(
        f"{record.candidate} is not verified and compared with nothing; not known: {', '.join(record.unknown)}"
    )
    return 0


def _build_result(options: Options) -> ExternalResult:
    data = read_bytes(options.file, _FILE_ADVICE, DATA_LIMIT)
    results = _parse_results(data, options.file)
    task = _choose_one(options.of_task, list(results["results"]), f"{options.file} holds several tasks", "--task")
    scores = results["results"][task]
    names = [name for name in scores if "," in name and not name.partition(",")[0].endswith("_stderr")]
    metric = _choose_one(options.metric, names, f"{task} has several scores", "--metric")
    path = options.samples or _find_samples_file(options.file, task)
    items = read_lm_eval_samples(path, _spell_metric(metric, names)).items
    ids = sorted(map(int, items))
    right = [items[str(number)].correct for number in ids]
    score = scores[metric]
    if type(score) not in (int, float) or not abs(sum(right) / len(right) - score) <= _SCORE_TOLERANCE:
        what = f"{path} gives {sum(right)} of {len(right)} right, {options.file} says {score!r:.60}"
        raise BenchError(what, "give the samples of that very run with --samples FILE")
    return ExternalResult(
        schema=1,
        created=datetime.fromtimestamp(int(results["date"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        candidate=options.name or _find_model_name(results),
        tool=f"lm-eval {results.get('lm_eval_version') or 'of an unknown version'}",
        task=task,
        version=_text_or_none(look_up(results, "versions", task)),
        metric=metric.partition(",")[0],
        filter=metric.partition(",")[2],
        shots=_count_or_none(look_up(results, "n-shot", task)),
        total=_count_or_none(look_up(results, "n-samples", task, "original")),
        items=len(right),
        correct=bits_to_hex(right),
        ids_sha256=digest(ids),
        engine=_text_or_none(look_up(results, "config", "model")),
        dtype=_text_or_none(look_up(results, "config", "model_args", "dtype")),
        device=_text_or_none(look_up(results, "config", "device")),
        template_sha256=_text_or_none(results.get("chat_template_sha")),
        max_tokens=_count_or_none(look_up(results, "configs", task, "generation_kwargs", "max_gen_toks")),
        results_sha256=hashlib.sha256(data).hexdigest(),
        samples_sha256=hashlib.sha256(read_bytes(path, _FILE_ADVICE, DATA_LIMIT)).hexdigest(),
    )


def _parse_results(data: bytes, path: Path) -> Mapping[str, Any]:
    """Parse the results file and check that every part in use is an object."""
    results: Any = parse_json(data, str(path), _FILE_ADVICE)
    scores, date = look_up(results, "results"), look_up(results, "date")
    complete = isinstance(scores, dict) and bool(scores) and all(isinstance(value, dict) for value in scores.values())
    if not complete or type(date) not in (int, float) or not 0 <= date < _LATEST_TIME:
        raise BenchError(f"{path} is no results file of lm-eval", _FILE_ADVICE)
    return dict(results)


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
        what = f"no samples next to {results}: no {path.name}"
        raise BenchError(what, "run lm-eval with --log_samples, or --samples")
    return path


def _spell_metric(metric: str, names: Sequence[str]) -> tuple[str, str]:
    """Spell a metric as samples may name it: versions before 0.4.3 number the filters, in the order of the scores."""
    name, _, chosen = metric.partition(",")
    filters = list(dict.fromkeys(each.partition(",")[2] for each in names))
    return metric, f"{name},{UNNAMED_FILTER}-{filters.index(chosen) + 1}"


def _find_model_name(results: Mapping[str, Any]) -> str:
    """Return the model's name; of a folder the last part alone, since the rest is specific to a machine."""
    name = _text_or_none(results.get("model_name")) or "unnamed"
    return Path(name).name if name.startswith((".", "/", "~")) else name


def _text_or_none(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _count_or_none(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
