"""`bench export hf`: write an entry as results of the Hugging Face hub, into a model's own repository.

Model pages and data sets' leaderboards read `.eval_results/*.yaml`; the model index in the card's metadata is the
older form of the same. huggingface_hub's own classes build both.
"""

from dataclasses import dataclass
from pathlib import Path

from baseline_bench.analysis.statistics import wilson_interval
from baseline_bench.core import plugins
from baseline_bench.core.command_options import ENTRY, argument, board_option, leaderboards_option, option
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError, first_line
from baseline_bench.core.records import write_atomically
from baseline_bench.core.untrusted import read_text
from baseline_bench.evaluation import runs
from baseline_bench.rendering.page import describe_sampling
from baseline_bench.results import entries, lookup
from baseline_bench.results.entry import Entry, Result
from baseline_bench.results.lookup import FoundEntry
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # it is public, and not listed

RESULTS_FOLDER, CARD_FILE = ".eval_results", "README.md"
_METRIC = "exact_match"
_CARD_ADVICE = "correct the YAML at the top of the card"


@dataclass(frozen=True, kw_only=True)
class Options:
    """An entry, and the folder of the repository that it goes into."""

    entry: str = argument(ENTRY, "ENTRY")
    out: Path = argument("the folder of the model's repository; it is created if need be", "DIR")
    task_id: str | None = option("--task-id", "of the data set's eval.yaml (default: the data set's own name)", "ID")
    source: str | None = option("--source", "where the entry can be read by anybody", "URL")
    leaderboards: Path = leaderboards_option()
    board: str | None = board_option()


def run(options: Options, console: Console) -> int:
    """Write both forms and print the file names.

    Raises:
        BenchError: an entry that is withdrawn or covers a subset, a task without a data set on the hub, or a card
            whose metadata cannot be read.
    """
    console.say(f"looking for {options.entry} in {options.leaderboards}")
    chosen = lookup.find_entry(options.entry, options.leaderboards, options.board)
    data = _find_data_set(chosen)
    entry = chosen.entry
    results = options.out / RESULTS_FOLDER / f"{entries.slugify(entry.result.task.name)}.yaml"
    card = options.out / CARD_FILE
    text = _update_card(card, entry, data, options.source)
    with runs.explaining_write_errors(options.out):
        results.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(results, _render_results(entry, data, options).encode())
        write_atomically(card, text.encode())
    console.write(f"{results}\n{card}\n")
    return 0


def _find_data_set(chosen: FoundEntry) -> str:
    """Return the hub's data set of an entry's task; refuse an entry that is withdrawn or covers only a part."""
    result = chosen.entry.result
    if chosen.retraction is not None:
        raise BenchError(f"{chosen.path.name} was withdrawn: {chosen.retraction.why}", "export a row that counts")
    if result.selection.limit is not None:
        coverage = f"{result.selection.scored} of {result.selection.total} items"
        raise BenchError(f"{chosen.path.name} covers {coverage}, and would be shown as the whole", "score every item")
    name = result.task.name
    task = plugins.load_task(name) if name in plugins.list_names("task") else None
    repository: str | None = getattr(task, "REPOSITORY", None)
    if repository is None:
        raise BenchError(f"{name} is no data set of the hub", "export a row of a task that is (bench list tasks)")
    return repository


def score_percent(result: Result) -> float:
    """Return the exact match in percent, two decimals; raise BenchError if items are not right or wrong."""
    result.require_bits()
    return round(100 * result.counts.correct / result.counts.total, 2)


def _render_results(entry: Entry, data: str, options: Options) -> str:
    """Render the one-element list of an `.eval_results` file; https://huggingface.co/docs/hub/eval-results."""
    eval_result = EvalResultEntry(
        dataset_id=data,
        task_id=options.task_id or data.partition("/")[2],
        value=score_percent(entry.result),
        date=entry.created,
        source_url=options.source,
        source_name=None if options.source is None else "bench entry",
        notes=_describe_result(entry),
    )
    return str(yaml_dump(eval_result_entries_to_yaml([eval_result])))


def _describe_result(entry: Entry) -> str:
    """Describe in one line how the number was measured, so that readers know what it compares with."""
    result, counts = entry.result, entry.result.counts
    interval = wilson_interval(counts.correct, counts.total)
    return (
        f"{result.task.measure} in %, {counts.correct} of {counts.total}, 95 % interval {100 * interval.low:.1f} to "
        f"{100 * interval.high:.1f}; {result.task.label}, reader {result.task.reader}, "
        f"{describe_sampling(result.sampling)}, "
        f"at most {result.sampling.max_tokens} tokens, prompt style {result.model.prompt_style}; "
        f"{result.engine.version} on {result.provenance.device}; bench {result.provenance.bench}, "
        f"result {entry.result_sha256[:12]}"
    )


def _update_card(path: Path, entry: Entry, data: str, source: str | None) -> str:
    """Add the result to the card's metadata; keep other results and the text as they are."""
    result = entry.result
    eval_result = EvalResult(
        task_type="text-generation",
        dataset_type=data,
        dataset_name=result.task.label,
        dataset_config="main",
        dataset_split="test",
        metric_type=_METRIC,
        metric_name=f"{result.task.measure} (%)",
        metric_value=score_percent(result),
        source_url=source,
        source_name=None if source is None else "bench entry",
    )
    if not path.is_file():
        card_data = ModelCardData(
            model_name=result.candidate, eval_results=[eval_result], base_model=_find_base_model(result)
        )
        return f"---\n{card_data.to_yaml()}\n---\n"
    card = _read_card(path)
    metadata = card.data
    if not isinstance(metadata, ModelCardData):
        raise BenchError(f"{path} is no model's card", _CARD_ADVICE)
    other_results = [other for other in metadata.eval_results or [] if not other.is_equal_except_value(eval_result)]
    metadata.model_name = metadata.model_name or result.candidate
    metadata.eval_results = [*other_results, eval_result]
    return str(card)


def _read_card(path: Path) -> ModelCard:
    import yaml

    text = read_text(path, _CARD_ADVICE)
    try:
        return ModelCard(text, ignore_metadata_errors=False)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise BenchError(f"{path}: its metadata cannot be read ({first_line(error)})", _CARD_ADVICE) from error


def _find_base_model(result: Result) -> str | None:
    if result.trained is None or not result.trained.base.source.startswith("hub:"):
        return None
    return result.trained.base.source.removeprefix("hub:")
