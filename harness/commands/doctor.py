"""`bench doctor`: inspect one model before trusting its score: files, prompt, BOS, stop ids, and a few answers."""

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
    template_arguments_option,
    template_option,
)
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Console, build_facts_table
from baseline_bench.core.errors import BenchError, list_first
from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.core.records import encode_indented, write_atomically
from baseline_bench.core.types import Completion, Model, Problem, Split
from baseline_bench.evaluation import bug_bundle, evaluate, plan, runs
from baseline_bench.evaluation.evaluate import SampleCollector
from baseline_bench.models import diagnose, registry, weights
from baseline_bench.models.template_choice import TemplateChoice
from baseline_bench.models.tokens import AnswerLocator, ModelTokenizer, build_request, build_requests, find_open_thought
from baseline_bench.results import candidate
from baseline_bench.training import merging, resolve_candidate
from baseline_bench.training.resolve_candidate import CandidateSource
from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Options:
    """The model to inspect, the task whose prompts to use, and how many answers to generate."""

    model: str = argument(
        "a name of `bench list models`, org/name[@revision], a folder of weights, an adapter, or a training run; "
        "with --bundle, a run's folder",
        "MODEL",
        "",
    )
    bundle: Path | None = option(
        "--bundle", "write versions, machine and a run's records for an issue, without secrets; inspect nothing", "FILE"
    )
    base: str | None = option("--base", "what it was trained from (default: as an adapter names it)", "MODEL")
    task: str = option("--task", "whose prompts to look at", "NAME", "word-problems")
    answers: int = option("--answers", "answers to generate (default: %(default)s)", "N", 3)
    as_json: bool = option("--json", "print the findings alone, as JSON", default=False)
    template: str | None = template_option()
    template_arguments: list[str] = template_arguments_option()
    engine: str | None = engine_option()
    options: list[str] = engine_settings_option()
    mirror: Path | None = datasets_option()
    cache: Path = cache_option()
    words: str = ""
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class _InspectedFiles:
    """The result of inspecting a model's files.

    Attributes:
        model: whole weights to check further; an adapter's base if no answers are requested, None if they are unusable.
        folder: the inspected folder; for a trainer's output, the checkpoint that was chosen.
        base: the model that this one is compared with or merged into, or None.
        named: whether the user named the base of whole weights, which are then compared with it.
    """

    model: Model | None
    findings: list[Finding]
    folder: Path
    base: Model | None = None
    named: bool = False

    @property
    def files(self) -> dict[str, str | None]:
        """Return the inspected folders, for the user."""
        folders = {"model": self.folder, "base": None if self.base is None else self.base.folder}
        return {what: None if folder is None else str(folder.resolve()) for what, folder in folders.items()}


def run(options: Options, console: Console) -> int:
    """Print the findings; exit with 1 if one of them would make the model score wrongly."""
    if options.bundle is not None:
        return _write_bundle(options, options.bundle, console)
    if not options.model:
        raise BenchError("no MODEL is given", "name the model to inspect, or give --bundle FILE")
    console.say(f"checking {options.model}")
    task = plugins.load_task(options.task)
    problems = evaluate.select_problems(task, Split("test", mirror=options.mirror), max(options.answers, 1), 0)
    inspected = _inspect_files(options, _find_source(options, console), console)
    if not options.as_json:
        for what, folder in inspected.files.items():
            if folder:
                console.print(Text(f"{what}: {folder}"))
        console.print(Text(""))
    findings = [*inspected.findings, *_check_model(options, task, inspected, problems, console)]
    if options.as_json:
        console.write(
            encode_indented({"model": options.model, "files": inspected.files, "findings": findings}).decode()
        )
        return 1 if findings else 0
    console.print(Text("\nfindings:", style="bold"))
    for finding in findings:
        console.print(Text(f"- {finding.severity} [{finding.code}] {finding.message}", style="red"))
    if not findings:
        console.print(Text("- nothing that would make this model score wrongly", style="green"))
    return 1 if findings else 0


def _write_bundle(options: Options, path: Path, console: Console) -> int:
    run_folder = Path(options.model) if options.model else None
    sections = bug_bundle.collect_sections(options.words, options.commit, run_folder)
    text = "\n".join(f"== {name} ==\n{part}" for name, part in sections.items())
    with runs.explaining_write_errors(path):
        write_atomically(path, text.encode())
    for name, part in sections.items():
        console.write(f"{name}: {len(part.splitlines())} lines\n")
    console.say(f"{path} is written: read it before you attach it to an issue")
    return 0


def _check_model(
    options: Options,
    task: Task,
    inspected: _InspectedFiles,
    selected: tuple[list[Problem], list[Problem]],
    console: Console,
) -> list[Finding]:
    """Run the checks that precede every score; print the prompt and check a few answers if the model is usable.

    Args:
        selected: every problem, and those whose prompts and answers are checked.
    """
    everything, problems = selected
    if (model := inspected.model) is None:
        return []
    name = options.engine or plan.choose_default_engine()[0]
    console.say("checking its tokenizer, prompt and weights")
    from baseline_bench.models import tokenizer  # loads transformers

    try:
        choice = TemplateChoice.parse(options.template, options.template_arguments)
        model_tokenizer = tokenizer.load_tokenizer(model, choice)
    except BenchError as error:
        return [build_finding("unusable", str(error))]
    if not options.as_json:
        ids = build_request(model_tokenizer.tokenizer, model_tokenizer.prompt_format, task, problems[0]).token_ids
        _print_prompt(model, model_tokenizer, ids, console)
    requests = [request for problem in problems for request in build_requests(model_tokenizer, task, problem)]
    findings = diagnose.diagnose_model(model, model_tokenizer, name, requests)
    findings += evaluate.check_shots(task, everything)
    sound = all(finding.severity == "warn" for finding in findings)
    if inspected.base is not None and inspected.named:
        findings += _compare_with_base(model.folder, inspected.base, changed=sound)
    if options.answers > 0 and sound:
        findings += _check_answers(options, task, model, model_tokenizer, problems, console)
    return findings


def _find_source(options: Options, console: Console) -> CandidateSource:
    """Find what the name refers to; leave registered and unknown names to `registry.resolve_model`."""
    name = options.model
    is_place = Path(name).expanduser().is_dir() or ("/" in name and not name.startswith((".", "/", "~")))
    if name not in registry.list_names() and is_place:
        return resolve_candidate.find_source(name, options.cache, console)
    return CandidateSource("whole", name, None, name)


def _inspect_files(options: Options, source: CandidateSource, console: Console) -> _InspectedFiles:
    if source.kind == "training":
        return _inspect_training(options, Path(source.name), console)
    if source.kind == "adapter" and source.folder is not None:
        return _inspect_adapter(options, source, source.folder, console)
    if source.folder is not None:
        try:
            weights.inspect_checkpoint(source.folder)
        except BenchError as error:
            return _InspectedFiles(None, [build_finding("unusable", str(error))], source.folder)
    model = resolve_candidate.load_whole_weights(source, options.cache)
    if options.base is None:
        return _InspectedFiles(model, [], model.folder)
    return _InspectedFiles(
        model, [], model.folder, resolve_candidate.resolve_base_model(options.base, options.cache), named=True
    )


def _inspect_training(options: Options, folder: Path, console: Console) -> _InspectedFiles:
    """Inspect a training run: its candidate, merged if it is an adapter, and the base in its own record."""
    record = candidate.read_candidate(folder)
    base = merging.find_base(record, folder, options.cache)
    weights_folder = folder / record.weights
    findings = diagnose.check_adapter(weights_folder, base) if record.kind == "adapter" else []
    model = None if findings else merging.make_whole_weights(folder, None, options.cache, console).model
    return _InspectedFiles(model, findings, weights_folder, base)


def _inspect_adapter(options: Options, source: CandidateSource, folder: Path, console: Console) -> _InspectedFiles:
    """Inspect an adapter and its base; merge them if answers are requested and nothing refuses the adapter."""
    base = resolve_candidate.resolve_base(folder, options.base, options.cache)
    findings = resolve_candidate.check_adapter(folder, options.base, base)
    if any(finding.severity == "refuse" for finding in findings):
        return _InspectedFiles(None, findings, folder, base)
    if options.answers > 0:
        model = resolve_candidate.merge_adapter(source, options.base, options.cache, console).model
    else:
        model = replace(base, name=f"{base.name}, for {source.label}")
    return _InspectedFiles(model, findings, folder, base)


def _compare_with_base(folder: Path, base: Model, *, changed: bool) -> list[Finding]:
    """Compare a model with its base; `changed` also checks whether whole weights learned anything."""
    findings = []
    if changed:
        from baseline_bench.models import weight_checks  # loads torch

        try:
            weight_checks.check_full_weights(folder, base.folder)
            findings += weight_checks.check_tied_embedding(folder, base.folder)
            findings += weight_checks.check_direction(folder, base.folder)
        except BenchError as error:
            findings.append(build_finding("not-of-base", str(error)))
    from baseline_bench.models import identity  # loads transformers

    if differences := identity.list_config_differences(folder, base.folder):
        message = f"in config.json {list_first(differences)}: restore it, unless the model was trained so"
        findings.append(build_finding("config-not-base", message))
    return [*findings, *diagnose.check_own_tokenizer(folder, base)]


def _print_prompt(model: Model, model_tokenizer: ModelTokenizer, ids: tuple[int, ...], console: Console) -> None:
    title = f"{model.name} ({model.source}, {model.revision or 'no revision'})"
    console.print(build_facts_table(title, _list_prompt_facts(model_tokenizer, ids)))
    console.print(Text("\nthe prompt, as the model sees it:", style="bold"))
    console.print(Text(model_tokenizer.tokenizer.decode(list(ids), skip_special_tokens=False)))


def _list_prompt_facts(model_tokenizer: ModelTokenizer, ids: tuple[int, ...]) -> list[tuple[str, str]]:
    prompt_format, decode = model_tokenizer.prompt_format, model_tokenizer.tokenizer.decode
    bos = (
        ""
        if prompt_format.bos_id is None
        else f" ({prompt_format.bos_id} {decode([prompt_format.bos_id], skip_special_tokens=False)})"
    )
    stops = ", ".join(f"{i} {decode([i], skip_special_tokens=False)}" for i in prompt_format.stop_ids)
    return [
        ("prompt", "chat template" if prompt_format.style == "template" else "text (the model has no chat template)"),
        ("template sha256", prompt_format.template_sha256 or "-"),
        ("BOS", prompt_format.bos + bos),
        ("stop ids", stops),
        ("context", str(model_tokenizer.context) if model_tokenizer.context else "not stated"),
        ("first ids", " ".join(map(str, ids[:12]))),
    ]


def _check_answers(
    options: Options,
    task: Task,
    model: Model,
    model_tokenizer: ModelTokenizer,
    problems: list[Problem],
    console: Console,
) -> list[Finding]:
    engine = plan.resolve_engine(options.engine, options.options, None)
    plan.require_measuring_engine(task, engine)
    console.say(f"engine {engine.name}: loading {model.name}")
    generator = engine.module.load(model, engine.options)
    console.say(f"asking {len(problems):,} questions")
    prompt_format = model_tokenizer.prompt_format
    requests = (request for p in problems for request in build_requests(model_tokenizer, task, p))
    collector = SampleCollector(requests, task.SAMPLING.draws or 1)
    try:
        completions = evaluate.stream_completions(collector.requests, generator, task.SAMPLING, prompt_format.stop_ids)
        completions_by_id = dict(filter(None, starmap(collector.add, completions)))
    finally:
        generator.close()
    findings, answers = [], AnswerLocator(model_tokenizer, task.SAMPLING.stop)
    for problem in problems:
        completion = answers.started(completions_by_id[problem.id], find_open_thought(prompt_format, task, problem))
        judgement = evaluate.judge_completion(task, problem, completion)
        judged = "right" if judgement.correct else "wrong"
        shown_draws = () if completion.likelihoods else completion.draws
        if not options.as_json:
            heading = f"\n{problem.id}: {judged}, read {judgement.answer} by {judgement.rule}, {judgement.finish}"
            console.print(Text(heading, style="bold"), *(Text(draw.text) for draw in shown_draws))
        for draw in shown_draws:
            findings += _find_strange_answers(problem, draw, model_tokenizer)
    if all(draw.finish_reason == "length" for completion in completions_by_id.values() for draw in completion.draws):
        findings.append(build_finding("answers-endless", _explain_endless_answers(model_tokenizer)))
    return findings


def _explain_endless_answers(model_tokenizer: ModelTokenizer) -> str:
    """Explain why answers may run on to the limit, and what to do."""
    end = model_tokenizer.prompt_format.end_id
    token = f"{end} {model_tokenizer.tokenizer.decode([end], skip_special_tokens=False)}"
    if getattr(model_tokenizer.tokenizer, "pad_token_id", None) == end:
        return (
            f"no answer ended by itself: {token} ends answers and is the padding too, which trainers leave out of the "
            "loss, so that it may never have been trained: train with another pad token"
        )
    return (
        f"no answer ended by itself: {token} was never learned, or the token that it ends with is not among the stop "
        "ids: supervise the end of each answer, or add its token to generation_config.json"
    )


def _find_strange_answers(problem: Problem, completion: Completion, model_tokenizer: ModelTokenizer) -> list[Finding]:
    if not completion.text.strip():
        message = f"{problem.id}: the answer is empty: read the prompt above, its end above all"
        return [build_finding("answers-empty", message)]
    if completion.token_ids is None:
        return []
    special = [i for i in completion.token_ids[:-1] if i in set(model_tokenizer.tokenizer.all_special_ids)]
    if not special:
        return []
    message = (
        f"{problem.id}: special tokens {special} inside the answer, which ends at the first that ends a text or turn: "
        "add that one to the stop ids"
    )
    return [build_finding("answers-special-tokens", message)]
