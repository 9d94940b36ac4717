"""Generate an entry's answers again with the same weights, and see whether they come out token for token.

Whatever could not be had alike (a library, a setting, a device) is named; equal tokens count all the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median_low

from baseline_bench.core import plugins
from baseline_bench.core.display import Console
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Model, Value
from baseline_bench.evaluation import entry_builder, evaluate, pipeline, plan, repeat, runs
from baseline_bench.evaluation.plan import EvaluationPlan, ScoringOptions
from baseline_bench.models import registry
from baseline_bench.models.tokens import decode_completion
from baseline_bench.results import entries, retractions
from baseline_bench.results.completions import CommittedCompletion
from baseline_bench.results.entry import Entry
from baseline_bench.training import merging
from baseline_bench.training import resolve_candidate as candidates
from baseline_bench.training.train import REQUEST_FILE

# Settings that say which weights answered and how they came there: the one is proved by digest, the other no matter.
_WEIGHT_SETTINGS = ("weights", "adapter")
_WEIGHTS_HINT = "give --model: the folder of the weights, or the training's run"


@dataclass(frozen=True, slots=True)
class ReproductionOptions:
    """What generating again needs from the command line.

    Attributes:
        model: a name, a folder, or a training's run; None follows the entry.
        options: of the engine, over the settings that the entry names.
        task: the task's name, or the file of one that is none of ours.
        again: start anew, even where an unfinished run of this entry lies.
    """

    model: str | None
    options: list[str]
    task: str
    again: bool
    runs: Path
    mirror: Path | None
    cache: Path
    words: str
    commit: str | None


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of it.

    Attributes:
        total: answers.
        departs: for each answer whose tokens differ the first token, counted from 1, whose text is another; None where
            the texts are the same.
        altered: answers whose tokens are the same and that are committed with another text, gold answer or ending.
        right: items answered right this time.
        unlike: what was not as it was for the entry, one line each.
        hardware, driver: what generated.
    """

    total: int
    departs: tuple[int | None, ...]
    altered: int
    right: int
    unlike: tuple[str, ...]
    hardware: str
    driver: Value


def plan_reproduction(path: Path, entry: Entry, where: ReproductionOptions, console: Console) -> EvaluationPlan:
    """The entry's model before the entry's exam, proved to be both.

    Raises:
        BenchError: other weights or configuration, other prompts, another task, or something is not at hand; and what
            to do about it.
    """
    result = entry.result
    if result.model.weights_sha256 is None:
        raise BenchError("nobody has seen the weights that its server held", "score the model, by another engine")
    options = ScoringOptions(
        model="",
        task=where.task,
        name=result.candidate,
        engine=result.engine.name,
        options=_combine_engine_options(entry, where.options),
        gpus=None,
        limit=result.selection.limit,
        seed=result.selection.seed or 0,
        leaderboards=path.parent
        / retractions.VERIFICATIONS_FOLDER,  # no row is added, and this name is the entry's own
        runs=where.runs,
        run=None,
        again=False,
        accept=_list_accepted_codes(entry),
        as_json=False,
        mirror=where.mirror,
        cache=where.cache,
        words=where.words,
        commit=where.commit,
    )
    asked = plan.plan_task(options)
    made = plan.plan_model(options, console, _find_model(entry, where, console), result.training, asked)
    if unlike := made.identity.unlike(result.model.identity) if made.identity is not None else "":
        raise BenchError(f"the model has the entry's weights, and another {unlike}", _WEIGHTS_HINT)
    for what, now, then in (
        ("protocol", made.exam.protocol_sha256, result.task.protocol_sha256),
        ("prompts as token ids", made.settings["prompts"], result.prompts_sha256),
        ("stop tokens", made.speech.manner.stop_ids, result.model.stop_ids),
    ):
        if now != then:
            told = f"{what} are {str(now)[:24]} here and {str(then)[:24]} in the entry"
            raise BenchError(told, "use the program, task and tokenizer of the entry's own time (see its provenance)")
    return made


def reproduce_completions(
    made: EvaluationPlan,
    path: Path,
    before: Sequence[CommittedCompletion],
    where: ReproductionOptions,
    console: Console,
) -> Reproduction:
    """Generate every answer and compare it with the committed one; an unfinished run of this entry is gone on with.

    Args:
        made: from `seat`.
        path: of the entry.
        before: its committed completions.
        where: as for `seat`.
        console: where to talk.

    Raises:
        BenchError: whatever an engine raises; finished answers are kept.
    """
    folder, exam = _choose_run_folder(path, where), made.exam
    with runs.Run(folder, {**made.settings, "verifies": path.name}) as run:
        runs.write_problems(folder, exam.problems)
        if not repeat.is_complete(folder, exam.problems):
            engine = pipeline.EnginePool([made], console)
            try:
                pipeline.generate_completions(made, run, engine, console)
            finally:
                engine.close()
        resolved: dict[str, Value] = runs.read_json(folder / "engine.json")
        verdicts = evaluate.judge_completions(exam.task, exam.problems, run.finished)
        runs.write_judgements(folder, verdicts)
        written = dict(run.finished)
    entry, again = entries.read_entry(path), entry_builder.commit_completions(exam.problems, written, made)
    return Reproduction(
        total=len(written),
        departs=tuple(_find_divergences(made, before, written)),
        altered=_count_altered_lines(before, again, starts=entry.result.checks is not None),
        right=sum(verdict.correct for verdict in verdicts),
        unlike=tuple(_list_differences(entry, resolved)),
        hardware=str(resolved["hardware"]),
        driver=resolved["driver"],
    )


def describe_reproduction(outcome: Reproduction) -> str:
    """How many answers differ, and from which token on, in one line."""
    if not outcome.departs:
        return f"all {outcome.total:,} answers came out token for token again"
    line = f"{len(outcome.departs):,} of {outcome.total:,} answers differ in their tokens"
    places = [place for place in outcome.departs if place is not None]
    if not places:
        return f"{line}, none of them in its text"
    return (
        f"{line}, the earliest from token {min(places):,} on, half of them from token {median_low(places):,} or before"
    )


def _combine_engine_options(entry: Entry, given: Sequence[str]) -> list[str]:
    """The entry's settings as far as its engine takes them, then what the command line says instead."""
    engine = entry.result.engine.name
    settings = {**getattr(plugins.load_engine(engine), "ABSENT", {}), **entry.result.engine.settings}
    if settings.get("adapter") and not any(word.startswith("adapter=") for word in given):
        raise BenchError("an adapter stood beside its weights", "give -o adapter=FOLDER")
    known = [field.name for field in fields(plugins.load_engine(engine).Options) if field.name not in _WEIGHT_SETTINGS]
    return [*(f"{name}={_format_option(settings[name])}" for name in known if name in settings), *given]


def _list_accepted_codes(entry: Entry) -> list[str]:
    """The findings that would refuse the entry's model, and that its user accepted."""
    return [] if entry.result.checks is None else list(entry.result.checks.accepted)


def _format_option(value: Value) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _find_model(entry: Entry, where: ReproductionOptions, console: Console) -> Model:
    """The entry's weights on this machine's disk, told by their digest and spoken to as the entry's were."""
    record = entry.result.model
    named = where.model or _find_public_name(entry)
    accept = _list_accepted_codes(entry)
    console.say(f"model {named}: looking for it, fetching what is missing")
    if (Path(named) / REQUEST_FILE).is_file():
        training = entry.result.training
        step = training.step if training else None
        found = merging.make_whole_weights(Path(named), step, where.cache, console, accept).model
    elif Path(named).is_dir() or record.source.startswith("adapter"):
        found = candidates.load_or_merge_weights(
            candidates.find_source(named, where.cache, console), where.cache, console, accept
        )
    else:
        with runs.explaining_write_errors(where.cache):
            found = registry.resolve_model(named, where.cache)
    if found.weights_sha256 != record.weights_sha256:
        here = str(found.weights_sha256)[:12]
        raise BenchError(
            f"{named} holds weights {here}, the entry's are {str(record.weights_sha256)[:12]}", _WEIGHTS_HINT
        )
    return replace(found, source=record.source, revision=record.revision, bos=record.bos)


def _find_public_name(entry: Entry) -> str:
    """What `bench` would call the entry's model."""
    record = entry.result.model
    if record.name in registry.list_names():
        return record.name
    kind, _, repository = record.source.partition(":")
    if kind in ("hub", "adapter") and repository:
        return repository + (f"@{record.revision}" if record.revision else "")
    raise BenchError(f"the weights of {record.name} ({record.source}) have no public name", _WEIGHTS_HINT)


def _choose_run_folder(path: Path, where: ReproductionOptions) -> Path:
    """Where the answers go: the unfinished run of this entry, else the next free number."""
    stem, number = f"verify-{path.name.removesuffix('.json')}", 1
    folder = where.runs / stem
    while (folder / "verdicts.jsonl").is_file() or (where.again and (folder / "run.json").is_file()):
        number += 1
        folder = where.runs / f"{stem}-{number}"
    return folder


def _count_altered_lines(
    before: Sequence[CommittedCompletion], after: Sequence[CommittedCompletion], *, starts: bool
) -> int:
    """Lines that say otherwise of the same tokens: their digest is kept by whoever edits the rest of a line."""
    return sum(
        now.ids_sha256 is not None
        and (now.ids_sha256, now.likelihoods) == (then.ids_sha256, then.likelihoods)
        and (now if starts else _match_stored_form(then, now)) != then
        for then, now in zip(before, after, strict=True)
    )


def _match_stored_form(then: CommittedCompletion, now: CommittedCompletion) -> CommittedCompletion:
    """A line as the entry keeps it: older entries do not say where their answers start."""
    return now if then.answer_starts is not None else replace(now, answer_starts=None)


def _find_divergences(
    made: EvaluationPlan, before: Sequence[CommittedCompletion], written: Mapping[str, Completion]
) -> Iterator[int | None]:
    """For every answer whose tokens differ, from which one on."""
    stop_ids, stop = made.speech.manner.stop_ids, made.exam.task.SAMPLING.stop

    def say(ids: Sequence[int]) -> str:
        return decode_completion(made.speech.tokenizer, ids, stop_ids, stop)

    after = entry_builder.commit_completions(made.exam.problems, written)
    for then, now in zip(before, after, strict=True):
        if now.ids_sha256 is None or (now.ids_sha256, now.likelihoods) != (then.ids_sha256, then.likelihoods):
            draws = zip(written[now.id].draws, (then.text, *(then.more or ())), strict=True)
            places = (find_divergence(say, draw.token_ids or (), text) for draw, text in draws)
            yield next((place for place in places if place is not None), None)


def find_divergence(say: Callable[[Sequence[int]], str], ids: Sequence[int], text: str) -> int | None:
    """The first token, counted from 1, after which `say` no longer gives the beginning of `text`.

    Entries keep a digest of the other answer's ids, not the ids: where the two part is read off the texts. An answer
    that only ends earlier parts at its last token.

    Returns:
        None where the texts are equal.
    """
    if say(ids) == text:
        return None
    # A token may end within a character, which decodes to a replacement mark until the rest is there.
    return next(
        (count for count in range(1, len(ids)) if not text.startswith(say(ids[:count]).rstrip("\ufffd"))), len(ids)
    )


def _list_differences(entry: Entry, resolved: Mapping[str, Value]) -> Iterator[str]:
    """What is not as it was for the entry: versions, settings, hardware."""
    result = entry.result
    then = {
        "version": result.engine.version,
        "hardware": result.provenance.device,
        "driver": result.provenance.driver,
        **{f"setting {name}": value for name, value in result.engine.settings.items()},
        **{f"library {name}": version for name, version in result.provenance.libraries.items()},
    }
    for name in sorted({*then, *resolved} - {runs.WEIGHTS_SETTING}):
        if then.get(name) != resolved.get(name):
            yield f"{name}: {then.get(name)} for the entry, {resolved.get(name)} here"
