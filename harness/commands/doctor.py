"""`bench doctor`: look at one model before its score is believed: files, prompt, BOS, stop ids, and a few answers."""

from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path

from baseline_bench.core import options, plugins
from baseline_bench.core.contracts import Task
from baseline_bench.core.display import Screen, plain, table
from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, finding
from baseline_bench.core.records import pretty
from baseline_bench.core.types import Completion, Model, Problem, Split
from baseline_bench.evaluation import evaluate, plan
from baseline_bench.evaluation.multi_sample import Draws
from baseline_bench.models import diagnose, registry, weights
from baseline_bench.models.tokens import Answers, Speech, question, requests, thought
from baseline_bench.results import candidate
from baseline_bench.training import merging, resolve_candidate
from baseline_bench.training.resolve_candidate import Found
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Doctor:
    """Which model to look at, with whose prompts, and how many answers to generate; `base` is what it came from."""

    model: str
    base: str | None
    task: str
    answers: int
    engine: str | None
    options: list[str]
    mirror: Path | None
    cache: Path
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class _Looked:
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


def doctor(order: Doctor, screen: Screen) -> int:
    """Print what was found; exit status 1 where something would make the model score wrongly."""
    task = plugins.task(order.task)
    _, chosen = evaluate.choose(task, Split("test", mirror=order.mirror), max(order.answers, 1), 0)
    looked = _files(order, _found(order, screen), screen)
    if not order.as_json:
        screen.print(*(Text(plain(f"{what}: {place}")) for what, place in looked.files.items() if place), Text(""))
    found = [*looked.findings, *_model(order, task, looked, chosen, screen)]
    if order.as_json:
        screen.write(pretty({"model": order.model, "files": looked.files, "findings": found}).decode())
        return 1 if found else 0
    screen.print(Text("\nfindings:", style="bold"))
    for one in found:
        screen.print(Text(f"- {one.severity} [{one.code}] {plain(one.message)}", style="red"))
    if not found:
        screen.print(Text("- nothing that would make this model score wrongly", style="green"))
    return 1 if found else 0


def _model(order: Doctor, task: Task, looked: _Looked, problems: list[Problem], screen: Screen) -> list[Finding]:
    """The checks that every score runs, the prompt, and a few answers where nothing refuses the model."""
    if (model := looked.model) is None:
        return []
    name = order.engine or plan.default_engine()[0]
    from baseline_bench.models import tokenizer  # loads transformers

    try:
        speech = tokenizer.load(model)
    except BenchError as error:
        return [finding("unusable", str(error))]
    if not order.as_json:
        ids = question(speech.tokenizer, speech.manner, task, problems[0]).token_ids
        _show(model, speech, ids, screen)
    found = diagnose.model(model, speech, name)
    sound = all(one.severity == "warn" for one in found)
    if looked.base is not None and looked.named:
        found += _from_base(model.folder, looked.base, changed=sound)
    if order.answers > 0 and sound:
        found += _answers(order, task, model, speech, problems, screen)
    return found


def _found(order: Doctor, screen: Screen) -> Found:
    """What is to be looked at; a name of the list, or one that nobody knows, is left to `models.resolve`."""
    name = order.model
    is_place = Path(name).expanduser().is_dir() or ("/" in name and not name.startswith((".", "/", "~")))
    if name not in registry.names() and is_place:
        return resolve_candidate.find(name, order.cache, screen)
    return Found("whole", name, None, name)


def _files(order: Doctor, found: Found, screen: Screen) -> _Looked:
    if found.kind == "training":
        return _trained(order, Path(found.name), screen)
    if found.kind == "adapter" and found.folder is not None:
        return _adapter(order, found, found.folder, screen)
    if found.folder is not None:
        try:
            weights.inspect(found.folder)
        except BenchError as error:
            return _Looked(None, [finding("unusable", str(error))], found.folder)
    model = resolve_candidate.whole(found, order.cache)
    if order.base is None:
        return _Looked(model, [], model.folder)
    return _Looked(model, [], model.folder, resolve_candidate.resolved(order.base, order.cache), named=True)


def _trained(order: Doctor, folder: Path, screen: Screen) -> _Looked:
    """A training run: what it made, merged where it is an adapter, beside the base of its own record."""
    made = candidate.read(folder)
    base = merging.base(made, folder, order.cache)
    place = folder / made.weights
    findings = diagnose.lora(place, base) if made.kind == "adapter" else []
    model = None if findings else merging.whole(folder, None, order.cache, screen).model
    return _Looked(model, findings, place, base)


def _adapter(order: Doctor, found: Found, folder: Path, screen: Screen) -> _Looked:
    """An adapter beside its base; merged where answers are asked for and nothing is wrong with it."""
    base = resolve_candidate.base_of(folder, order.base, order.cache)
    findings = resolve_candidate.checked(folder, order.base, base)
    if any(one.severity == "refuse" for one in findings):
        return _Looked(None, findings, folder, base)
    if order.answers > 0:
        model = resolve_candidate.merged(found, order.base, order.cache, screen).model
    else:
        model = replace(base, name=f"{base.name}, for {found.label}")
    return _Looked(model, findings, folder, base)


def _from_base(folder: Path, base: Model, *, changed: bool) -> list[Finding]:
    """What the comparison with its base shows, `changed` asking whether whole weights learned anything."""
    findings = []
    if changed:
        from baseline_bench.models import weight_checks  # loads torch

        try:
            weight_checks.full(folder, base.folder)
        except BenchError as error:
            findings.append(finding("not-of-base", str(error)))
    if weights.has_tokenizer(folder):
        from baseline_bench.models import tokenizer  # loads transformers

        load = tokenizer.load
        findings += diagnose.speech(load(replace(base, folder=folder)), load(base))
    return findings


def _show(model: Model, speech: Speech, ids: tuple[int, ...], screen: Screen) -> None:
    screen.print(table(f"{model.name} ({model.source}, {model.revision or 'no revision'})", _facts(speech, ids)))
    screen.print(Text("\nthe prompt, as the model sees it:", style="bold"))
    screen.print(Text(plain(speech.tokenizer.decode(list(ids), skip_special_tokens=False))))


def _facts(speech: Speech, ids: tuple[int, ...]) -> list[tuple[str, str]]:
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


def _answers(
    order: Doctor, task: Task, model: Model, speech: Speech, problems: list[Problem], screen: Screen
) -> list[Finding]:
    name = order.engine or plan.default_engine()[0]
    engine = plugins.engine(name)
    plan.require_able(task, name, engine)
    screen.say(f"engine {name}: loading {model.name}")
    generator = engine.load(model, options.parse(engine.Options, order.options, f"engine {name}"))
    how = speech.manner
    asked = (request for p in problems for request in requests(speech, task, p))
    draws = Draws(asked, task.SAMPLING.draws or 1)
    try:
        found = evaluate.answered(draws.requests, generator, task.SAMPLING, how.stop_ids)
        written = dict(filter(None, starmap(draws.add, found)))
    finally:
        generator.close()
    findings, answers = [], Answers(speech, task.SAMPLING.stop)
    for problem in problems:
        completion = answers.started(written[problem.id], thought(how, task, problem))
        verdict = evaluate.judge(task, problem, completion)
        judged = "right" if verdict.correct else "wrong"
        draws_shown = () if completion.likelihoods else completion.draws
        if not order.as_json:
            heading = f"\n{problem.id}: {judged}, read {verdict.answer} by {verdict.rule}, {verdict.finish}"
            screen.print(Text(heading, style="bold"), *(Text(plain(draw.text)) for draw in draws_shown))
        for draw in draws_shown:
            findings += _strange(problem, draw, speech)
    if all(draw.finish_reason == "length" for completion in written.values() for draw in completion.draws):
        findings.append(finding("answers-endless", _endless(speech)))
    return findings


def _endless(speech: Speech) -> str:
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


def _strange(problem: Problem, completion: Completion, speech: Speech) -> list[Finding]:
    if not completion.text.strip():
        message = f"{problem.id}: the answer is empty: read the prompt above, its end above all"
        return [finding("answers-empty", message)]
    if completion.token_ids is None:
        return []
    special = [i for i in completion.token_ids[:-1] if i in set(speech.tokenizer.all_special_ids)]
    if not special:
        return []
    message = (
        f"{problem.id}: special tokens {special} inside the answer: if one of them ends it, add it to the stop ids"
    )
    return [finding("answers-special-tokens", message)]
