"""`bench doctor`: look at one model before its score is believed: files, prompt, BOS, stop ids, and a few answers."""

from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path

from baseline_bench.core import plugins
from baseline_bench.core.command_options import (
    argument,
    cache_option,
    datasets_option,
    engine_option,
    engine_settings_option,
    option,
)
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console, build_facts_table, replace_control_characters
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.core.options import parse_options
from baseline_bench.core.records import encode_indented
from baseline_bench.core.types import Completion, Model, Problem, Split
from baseline_bench.evaluation import evaluate, plan
from baseline_bench.evaluation.multi_sample import SampleCollector
from baseline_bench.models import diagnose, registry, weights
from baseline_bench.models.tokens import AnswerLocator, ModelTokenizer, build_request, build_requests, find_open_thought
from baseline_bench.results import candidate
from baseline_bench.training import merging, resolve_candidate
from baseline_bench.training.resolve_candidate import CandidateSource
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which model to examine, with whose prompts, and how many answers to generate."""

    model: str = argument(
        "a name of `bench list models`, org/name[@revision], a folder of weights, an adapter, or a training run",
        "MODEL",
    )
    base: str | None = option("--base", "what it was trained from (default: as an adapter names it)", "MODEL")
    task: str = option("--task", "whose prompts to look at", "NAME", "word-problems")
    answers: int = option("--answers", "answers to generate (default: %(default)s)", "N", 3)
    as_json: bool = option("--json", "print the findings alone, as JSON", default=False)
    engine: str | None = engine_option()
    options: list[str] = engine_settings_option()
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()


@dataclass(frozen=True, slots=True)
class _InspectedFiles:
    """What the files show.

    Attributes:
        model: whole weights to go on with; an adapter's base where no answers are asked for, None where they are unfit.
        folder: of the files that were looked at: of a trainer's output the checkpoint that was taken.
        base: what the model is compared with, or is merged into, where there is one.
        named: the user names the base of whole weights, which are then compared with it.
    """

    model: Model | None
    findings: list[Finding]
    folder: Path
    base: Model | None = None
    named: bool = False

    @property
    def files(self) -> dict[str, str | None]:
        """Which folders were looked at, for the user."""
        places = {"model": self.folder, "base": None if self.base is None else self.base.folder}
        return {what: None if place is None else str(place.resolve()) for what, place in places.items()}


def run(options: Options, console: Console) -> int:
    """Print what was found; exit status 1 where something would make the model score wrongly."""
    task = plugins.load_task(options.task)
    _, chosen = evaluate.select_problems(task, Split("test", mirror=options.mirror), max(options.answers, 1), 0)
    looked = _inspect_files(options, _find_source(options, console), console)
    if not options.as_json:
        console.print(
            *(Text(replace_control_characters(f"{what}: {place}")) for what, place in looked.files.items() if place),
            Text(""),
        )
    found = [*looked.findings, *_check_model(options, task, looked, chosen, console)]
    if options.as_json:
        console.write(encode_indented({"model": options.model, "files": looked.files, "findings": found}).decode())
        return 1 if found else 0
    console.print(Text("\nfindings:", style="bold"))
    for one in found:
        console.print(Text(f"- {one.severity} [{one.code}] {replace_control_characters(one.message)}", style="red"))
    if not found:
        console.print(Text("- nothing that would make this model score wrongly", style="green"))
    return 1 if found else 0


def _check_model(
    options: Options, task: Task, looked: _InspectedFiles, problems: list[Problem], console: Console
) -> list[Finding]:
    """The checks that every score runs, the prompt, and a few answers where nothing refuses the model."""
    if (model := looked.model) is None:
        return []
    name = options.engine or plan.choose_default_engine()[0]
    from baseline_bench.models import tokenizer  # loads transformers

    try:
        speech = tokenizer.load_tokenizer(model)
    except BenchError as error:
        return [build_finding("unusable", str(error))]
    if not options.as_json:
        ids = build_request(speech.tokenizer, speech.manner, task, problems[0]).token_ids
        _print_prompt(model, speech, ids, console)
    found = diagnose.diagnose_model(model, speech, name)
    sound = all(one.severity == "warn" for one in found)
    if looked.base is not None and looked.named:
        found += _compare_with_base(model.folder, looked.base, changed=sound)
    if options.answers > 0 and sound:
        found += _check_answers(options, task, model, speech, problems, console)
    return found


def _find_source(options: Options, console: Console) -> CandidateSource:
    """What is to be looked at; a name of the list, or one that nobody knows, is left to `models.resolve`."""
    name = options.model
    is_place = Path(name).expanduser().is_dir() or ("/" in name and not name.startswith((".", "/", "~")))
    if name not in registry.list_names() and is_place:
        return resolve_candidate.find_source(name, options.cache, console)
    return CandidateSource("whole", name, None, name)


def _inspect_files(options: Options, found: CandidateSource, console: Console) -> _InspectedFiles:
    if found.kind == "training":
        return _inspect_training(options, Path(found.name), console)
    if found.kind == "adapter" and found.folder is not None:
        return _inspect_adapter(options, found, found.folder, console)
    if found.folder is not None:
        try:
            weights.inspect_checkpoint(found.folder)
        except BenchError as error:
            return _InspectedFiles(None, [build_finding("unusable", str(error))], found.folder)
    model = resolve_candidate.load_whole_weights(found, options.cache)
    if options.base is None:
        return _InspectedFiles(model, [], model.folder)
    return _InspectedFiles(
        model, [], model.folder, resolve_candidate.resolve_model_locked(options.base, options.cache), named=True
    )


def _inspect_training(options: Options, folder: Path, console: Console) -> _InspectedFiles:
    """A training run: what it made, merged where it is an adapter, beside the base of its own record."""
    made = candidate.read_candidate(folder)
    base = merging.find_base(made, folder, options.cache)
    place = folder / made.weights
    findings = diagnose.check_adapter(place, base) if made.kind == "adapter" else []
    model = None if findings else merging.make_whole_weights(folder, None, options.cache, console).model
    return _InspectedFiles(model, findings, place, base)


def _inspect_adapter(options: Options, found: CandidateSource, folder: Path, console: Console) -> _InspectedFiles:
    """An adapter beside its base; merged where answers are asked for and nothing is wrong with it."""
    base = resolve_candidate.resolve_base(folder, options.base, options.cache)
    findings = resolve_candidate.check_adapter(folder, options.base, base)
    if any(one.severity == "refuse" for one in findings):
        return _InspectedFiles(None, findings, folder, base)
    if options.answers > 0:
        model = resolve_candidate.merge_adapter(found, options.base, options.cache, console).model
    else:
        model = replace(base, name=f"{base.name}, for {found.label}")
    return _InspectedFiles(model, findings, folder, base)


def _compare_with_base(folder: Path, base: Model, *, changed: bool) -> list[Finding]:
    """What the comparison with its base shows, `changed` asking whether whole weights learned anything."""
    findings = []
    if changed:
        from baseline_bench.models import weight_checks  # loads torch

        try:
            weight_checks.check_full_weights(folder, base.folder)
        except BenchError as error:
            findings.append(build_finding("not-of-base", str(error)))
    if weights.has_tokenizer(folder):
        from baseline_bench.models import tokenizer  # loads transformers

        load = tokenizer.load_tokenizer
        findings += diagnose.compare_tokenizers(load(replace(base, folder=folder)), load(base))
    return findings


def _print_prompt(model: Model, speech: ModelTokenizer, ids: tuple[int, ...], console: Console) -> None:
    console.print(
        build_facts_table(
            f"{model.name} ({model.source}, {model.revision or 'no revision'})", _list_prompt_facts(speech, ids)
        )
    )
    console.print(Text("\nthe prompt, as the model sees it:", style="bold"))
    console.print(Text(replace_control_characters(speech.tokenizer.decode(list(ids), skip_special_tokens=False))))


def _list_prompt_facts(speech: ModelTokenizer, ids: tuple[int, ...]) -> list[tuple[str, str]]:
    how, decode = speech.manner, speech.tokenizer.decode
    bos = "" if how.bos_id is None else f" ({how.bos_id} {decode([how.bos_id], skip_special_tokens=False)})"
    stops = ", ".join(f"{i} {decode([i], skip_special_tokens=False)}" for i in how.stop_ids)
    return [
        ("prompt", "chat template" if how.style == "template" else "text (the model has no chat template)"),
        ("template sha256", how.template_sha256 or "-"),
        ("BOS", how.bos + bos),
        ("stop ids", stops),
        ("context", str(speech.context) if speech.context else "not stated"),
        ("first ids", " ".join(map(str, ids[:12]))),
    ]


def _check_answers(
    options: Options, task: Task, model: Model, speech: ModelTokenizer, problems: list[Problem], console: Console
) -> list[Finding]:
    name = options.engine or plan.choose_default_engine()[0]
    engine = plugins.load_engine(name)
    plan.require_measuring_engine(task, name, engine)
    console.say(f"engine {name}: loading {model.name}")
    generator = engine.load(model, parse_options(engine.Options, options.options, f"engine {name}"))
    how = speech.manner
    asked = (request for p in problems for request in build_requests(speech, task, p))
    draws = SampleCollector(asked, task.SAMPLING.draws or 1)
    try:
        found = evaluate.stream_completions(draws.requests, generator, task.SAMPLING, how.stop_ids)
        written = dict(filter(None, starmap(draws.add, found)))
    finally:
        generator.close()
    findings, answers = [], AnswerLocator(speech, task.SAMPLING.stop)
    for problem in problems:
        completion = answers.started(written[problem.id], find_open_thought(how, task, problem))
        verdict = evaluate.judge_completion(task, problem, completion)
        judged = "right" if verdict.correct else "wrong"
        draws_shown = () if completion.likelihoods else completion.draws
        if not options.as_json:
            heading = f"\n{problem.id}: {judged}, read {verdict.answer} by {verdict.rule}, {verdict.finish}"
            console.print(
                Text(heading, style="bold"), *(Text(replace_control_characters(draw.text)) for draw in draws_shown)
            )
        for draw in draws_shown:
            findings += _find_strange_answers(problem, draw, speech)
    if all(draw.finish_reason == "length" for completion in written.values() for draw in completion.draws):
        findings.append(build_finding("answers-endless", _explain_endless_answers(speech)))
    return findings


def _explain_endless_answers(speech: ModelTokenizer) -> str:
    """Why answers may run on to the limit, and what to do."""
    end = speech.manner.end_id
    token = f"{end} {speech.tokenizer.decode([end], skip_special_tokens=False)}"
    if getattr(speech.tokenizer, "pad_token_id", None) == end:
        return (
            f"no answer ended by itself: {token} ends answers and is the padding too, which trainers leave out of the "
            "loss, so that it may never have been trained: train with another pad token"
        )
    return (
        f"no answer ended by itself: {token} was never learned, or the token that it ends with is not among the stop "
        "ids: supervise the end of each answer, or add its token to generation_config.json"
    )


def _find_strange_answers(problem: Problem, completion: Completion, speech: ModelTokenizer) -> list[Finding]:
    if not completion.text.strip():
        message = f"{problem.id}: the answer is empty: read the prompt above, its end above all"
        return [build_finding("answers-empty", message)]
    if completion.token_ids is None:
        return []
    special = [i for i in completion.token_ids[:-1] if i in set(speech.tokenizer.all_special_ids)]
    if not special:
        return []
    message = (
        f"{problem.id}: special tokens {special} inside the answer: if one of them ends it, add it to the stop ids"
    )
    return [build_finding("answers-special-tokens", message)]
