"""Generate an entry's answers again with the same weights, and check whether the tokens are the same.

Every difference of the setup (a library, a setting, a device) is reported; equal tokens count all the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING

from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.options import format_settings
from baseline_bench.core.types import Completion, Model, Problem, Value
from baseline_bench.evaluation import entry_builder, evaluate, pipeline, plan, regrading, repeat, runs
from baseline_bench.evaluation.engine_pool import EnginePool
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions
from baseline_bench.models import registry
from baseline_bench.models.tokens import decode_completion
from baseline_bench.results import entries, retractions
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry
from baseline_bench.training import merging
from baseline_bench.training import resolve_candidate as candidates
from baseline_bench.training.train import REQUEST_FILE

if TYPE_CHECKING:
    from baseline_bench.commands.verify import Options

# Settings that say which weights answered, which their digest proves, and how they got there, which does not matter.
_WEIGHT_SETTINGS = ("weights", "adapter")
_WEIGHTS_HINT = "give --model: the folder of the weights, or the training's run"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The result of generating an entry's answers again.

    Attributes:
        departs: for each answer with different tokens, the first token, counted from 1, where the text differs; None
            if the texts are the same.
        altered: number of answers with equal tokens that are committed with another text, gold answer or ending.
        right: number of items answered right this time.
        unlike: differences from the entry's setup, one line each.
        hardware, driver: of this generation.
    """

    total: int
    departs: tuple[int | None, ...]
    altered: int
    right: int
    unlike: tuple[str, ...]
    hardware: str
    driver: Value


def plan_reproduction(path: Path, entry: Entry, options: "Options", console: Console) -> EvaluationPlan:
    """Plan to run the entry's model on the entry's task, and verify that both are the same.

    Raises:
        BenchError: other weights or configuration, other prompts, another task, or something is not available; the
            error says what to do.
    """
    result = entry.result
    if result.model.weights_sha256 is None:
        raise BenchError(
            "this entry has no weights digest: it came from a remote server", "score the model, by another engine"
        )
    scoring_options = _build_scoring_options(path, entry, options)
    task_plan = plan.plan_task(scoring_options)
    task = regrading.select_version(task_plan.task, result.task) or task_plan.task
    task_plan = replace(task_plan, task=task)
    model = _find_model(entry, options, console)
    entry_plan = plan.plan_model(scoring_options, console, model, result.training, task_plan)
    if unlike := entry_plan.identity.unlike(result.model.identity) if entry_plan.identity is not None else "":
        raise BenchError(f"the model has the entry's weights, and another {unlike}", _WEIGHTS_HINT)
    for what, current, stored in (
        ("protocol", entry_plan.prepared_task.protocol_sha256, result.task.protocol_sha256),
        ("prompts as token ids", entry_plan.settings["prompts"], result.prompts_sha256),
        ("stop tokens", entry_plan.model_tokenizer.prompt_format.stop_ids, result.model.stop_ids),
    ):
        if current != stored:
            text = f"{what} are {str(current)[:24]} here and {str(stored)[:24]} in the entry"
            raise BenchError(text, "use the program, task and tokenizer of the entry's own time (see its provenance)")
    return entry_plan


def _build_scoring_options(path: Path, entry: Entry, options: "Options") -> ScoringOptions:
    """Build the options of the command that scored the entry; they add no row."""
    result = entry.result
    return ScoringOptions(
        model="",
        task=options.task,
        name=result.candidate,
        engine=result.engine.name,
        options=_combine_engine_options(entry, options.options),
        limit=result.selection.limit,
        template=result.model.template_name,
        template_arguments=format_settings(result.model.template_arguments),
        seed=result.selection.seed or 0,
        leaderboards=path.parent / retractions.VERIFICATIONS_FOLDER,
        runs=options.runs,
        accept=_list_accepted_codes(entry),
        mirror=options.mirror,
        cache=options.cache,
        words=options.words,
        commit=options.commit,
    )


def reproduce_completions(
    entry_plan: EvaluationPlan,
    path: Path,
    stored: Sequence[CommittedCompletion],
    options: "Options",
    console: Console,
) -> Reproduction:
    """Generate every answer and compare it with the committed one; resume an unfinished run of this entry.

    Args:
        entry_plan: from `plan_reproduction`, with the same `options`.

    Raises:
        BenchError: whatever an engine raises; finished answers are kept.
    """
    folder, prepared = _choose_run_folder(path, options), entry_plan.prepared_task
    with runs.Run(folder, {**entry_plan.settings, "verifies": path.name}) as run:
        runs.write_problems(folder, prepared.problems)
        if not repeat.is_complete(folder, prepared.problems):
            with EnginePool(entry_plan.engine, console) as engines:
                pipeline.generate_completions(entry_plan, run, engines, console)
        resolved = run.resolved
        judgements = evaluate.judge_completions(prepared.task, prepared.problems, run.finished)
        runs.write_judgements(folder, judgements)
        completions = dict(run.finished)
    entry = entries.read_entry(path)
    decode = _build_decoder(entry_plan)
    in_stored_form = {line.id: _match_stored_text(decode, line, completions[line.id]) for line in stored}
    regenerated = entry_builder.commit_completions(prepared.problems, in_stored_form, entry_plan)
    return Reproduction(
        total=len(completions),
        departs=tuple(_find_divergences(decode, prepared.problems, stored, completions)),
        altered=_count_altered_lines(stored, regenerated, starts=entry.result.checks is not None),
        right=sum(judgement.correct for judgement in judgements),
        unlike=tuple(_list_differences(entry, resolved)),
        hardware=str(resolved["hardware"]),
        driver=resolved["driver"],
    )


def describe_reproduction(outcome: Reproduction) -> str:
    """Describe in one line how many answers differ, and from which token on."""
    if not outcome.departs:
        return f"all {outcome.total:,} answers came out token for token again"
    line = f"{len(outcome.departs):,} of {outcome.total:,} answers differ in their tokens"
    positions = [position for position in outcome.departs if position is not None]
    if not positions:
        return f"{line}, none of them in its text"
    earliest, median = min(positions), median_low(positions)
    return f"{line}, the earliest from token {earliest:,} on, half of them from token {median:,} or before"


def _combine_engine_options(entry: Entry, overrides: Sequence[str]) -> list[str]:
    """Combine the entry's settings that its engine accepts with the command line's, which override them."""
    engine = entry.result.engine.name
    settings = {**getattr(plugins.load_engine(engine), "ABSENT", {}), **entry.result.engine.settings}
    if settings.get("adapter") and not any(word.startswith("adapter=") for word in overrides):
        raise BenchError("an adapter was served next to its weights", "give -o adapter=FOLDER")
    known = [field.name for field in fields(plugins.load_engine(engine).Options) if field.name not in _WEIGHT_SETTINGS]
    return [*(f"{name}={_format_option(settings[name])}" for name in known if name in settings), *overrides]


def _list_accepted_codes(entry: Entry) -> list[str]:
    return [] if entry.result.checks is None else list(entry.result.checks.accepted)


def _format_option(value: Value) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _find_model(entry: Entry, options: "Options", console: Console) -> Model:
    """Find the entry's weights on this machine, check their digest, and return them as the entry names them."""
    record = entry.result.model
    name = options.model or _find_public_name(entry)
    accept = _list_accepted_codes(entry)
    console.say(f"model {name}: looking for it, fetching what is missing")
    if (Path(name) / REQUEST_FILE).is_file():
        training = entry.result.training
        step = training.step if training else None
        model = merging.make_whole_weights(Path(name), step, options.cache, console, accept).model
    elif Path(name).is_dir() or record.source.startswith("adapter"):
        model = candidates.load_or_merge_weights(
            candidates.find_source(name, options.cache, console), options.cache, console, accept
        )
    else:
        model = candidates.resolve_base_model(name, options.cache)
    if model.weights_sha256 != record.weights_sha256:
        actual = str(model.weights_sha256)[:12]
        what = f"{name} holds weights {actual}, the entry's are {str(record.weights_sha256)[:12]}"
        raise BenchError(what, _WEIGHTS_HINT)
    return replace(model, source=record.source, revision=record.revision, bos=record.bos)


def _find_public_name(entry: Entry) -> str:
    record = entry.result.model
    if record.name in registry.list_names():
        return record.name
    kind, _, repository = record.source.partition(":")
    if kind in ("hub", "adapter") and repository:
        return repository + (f"@{record.revision}" if record.revision else "")
    raise BenchError(f"the weights of {record.name} ({record.source}) have no public name", _WEIGHTS_HINT)


def _choose_run_folder(path: Path, options: "Options") -> Path:
    """Return the folder of this entry's unfinished run, or the next free one."""
    stem, number = f"verify-{path.name.removesuffix('.json')}", 1
    folder = options.runs / stem
    while (folder / "verdicts.jsonl").is_file() or (options.again and (folder / "run.json").is_file()):
        number += 1
        folder = options.runs / f"{stem}-{number}"
    return folder


def _count_altered_lines(
    stored_lines: Sequence[CommittedCompletion], new_lines: Sequence[CommittedCompletion], *, starts: bool
) -> int:
    """Count lines that differ though their tokens are equal: editing a line can leave its digest intact.

    Without `starts`, lines of an older entry may lack where their answer starts.
    """
    return sum(
        new.ids_sha256 is not None
        and (new.ids_sha256, new.likelihoods) == (stored.ids_sha256, stored.likelihoods)
        and (new if starts or stored.answer_starts is not None else replace(new, answer_starts=None)) != stored
        for stored, new in zip(stored_lines, new_lines, strict=True)
    )


def _build_decoder(entry_plan: EvaluationPlan) -> Callable[[Sequence[int]], str]:
    stop_ids, stop = entry_plan.model_tokenizer.prompt_format.stop_ids, entry_plan.prepared_task.task.SAMPLING.stop
    return lambda ids: decode_completion(entry_plan.model_tokenizer.tokenizer, ids, stop_ids, stop)


def _match_stored_text(
    decode: Callable[[Sequence[int]], str], stored: CommittedCompletion, completion: Completion
) -> Completion:
    """Return the completion with the stored text where its ids decode to that.

    An older entry did not end its answers at special tokens.
    """
    first, *more = (
        replace(draw, text=text) if draw.text != text == decode(draw.token_ids or ()) else draw
        for draw, (_, text) in zip(completion.draws, stored.draws, strict=True)
    )
    return replace(first, more=tuple(more))


def _find_divergences(
    decode: Callable[[Sequence[int]], str],
    problems: Sequence[Problem],
    stored_lines: Sequence[CommittedCompletion],
    completions: Mapping[str, Completion],
) -> Iterator[int | None]:
    new_lines = entry_builder.commit_completions(problems, completions)
    for stored, new in zip(stored_lines, new_lines, strict=True):
        if new.ids_sha256 is None or (new.ids_sha256, new.likelihoods) != (stored.ids_sha256, stored.likelihoods):
            draws = zip(completions[new.id].draws, (stored.text, *(stored.more or ())), strict=True)
            positions = (find_divergence(decode, draw.token_ids or (), text) for draw, text in draws)
            yield next((position for position in positions if position is not None), None)


def find_divergence(decode: Callable[[Sequence[int]], str], ids: Sequence[int], text: str) -> int | None:
    """Return the first token, counted from 1, after which the decoded ids no longer match the start of `text`.

    Entries keep only a digest of their ids, so the texts are compared. An answer that only ends earlier diverges at
    its last token.

    Returns:
        None if the texts are equal.
    """
    if decode(ids) == text:
        return None
    # A token may end inside a character, which decodes to a replacement mark until the next token completes it.
    return next(
        (count for count in range(1, len(ids)) if not text.startswith(decode(ids[:count]).rstrip("\ufffd"))), len(ids)
    )


def _list_differences(entry: Entry, resolved: Mapping[str, Value]) -> Iterator[str]:
    """Yield each difference from the entry's setup: versions, settings, hardware."""
    result = entry.result
    stored = {
        "version": result.engine.version,
        "hardware": result.provenance.device,
        "driver": result.provenance.driver,
        **{f"setting {name}": value for name, value in result.engine.settings.items()},
        **{f"library {name}": version for name, version in result.provenance.libraries.items()},
    }
    for name in sorted({*stored, *resolved} - {runs.WEIGHTS_SETTING}):
        if stored.get(name) != resolved.get(name):
            yield f"{name}: {stored.get(name)} for the entry, {resolved.get(name)} here"
