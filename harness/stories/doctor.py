"""`bench doctor`: look at one model before its score is believed: files, prompt, BOS, stop ids, and a few answers."""

from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path

from rich.text import Text

from harness import evaluate, named, options, plugins, sitting
from harness.checkpoints import examination, models, weights
from harness.contracts import Task
from harness.display import Screen, plain, table
from harness.draws import Draws
from harness.errors import BenchError
from harness.named import Found
from harness.store import candidate
from harness.tokens import Speech, prompt_ids, prompt_text, question, requests
from harness.training import merging
from harness.types import Completion, Message, Model, Problem, Split


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


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the files show.

    Attributes:
        model: whole weights to go on with; an adapter's base where no answers are asked for, None where they are unfit.
        findings: one line each.
    """

    model: Model | None
    findings: list[str]


def doctor(order: Doctor, screen: Screen) -> int:
    """Print what was found; exit status 1 where something would make the model score wrongly."""
    task = plugins.task(order.task)
    _, chosen = evaluate.choose(task, Split("test", mirror=order.mirror), max(order.answers, 1), 0)
    looked = _files(order, _found(order, screen), screen)
    findings = looked.findings
    if looked.model is not None:
        speech = plugins.room("harness.tokenizer").load(looked.model)
        _show(looked.model, speech, question(speech.tokenizer, speech.manner, task, chosen[0]).token_ids, screen)
        findings += prompts(speech, looked.model) + examination.end_of_answer(looked.model.folder, speech)
        if order.answers > 0:
            findings += _answers(order, task, looked.model, speech, chosen, screen)
    screen.print(Text("\nfindings:", style="bold"))
    for finding in findings or ["nothing that would make this model score wrongly"]:
        screen.print(Text(f"- {plain(finding)}", style="red" if findings else "green"))
    return 1 if findings else 0


def _found(order: Doctor, screen: Screen) -> Found:
    """What is to be looked at; a name of the list, or one that nobody knows, is left to `models.resolve`."""
    name = order.model
    is_place = Path(name).expanduser().is_dir() or ("/" in name and not name.startswith((".", "/", "~")))
    if name not in models.names() and is_place:
        return named.find(name, order.cache, screen)
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
            return _Looked(None, [str(error)])
    model = named.whole(found, order.cache)
    findings = examination.whole(model.folder)
    if order.base is None:
        return _Looked(model, findings)
    base = named.resolved(order.base, order.cache)
    return _Looked(model, findings + _from_base(model.folder, base, changed=not findings))


def _trained(order: Doctor, folder: Path, screen: Screen) -> _Looked:
    """A training run: what it made, merged where it is an adapter, beside the base of its own record."""
    made = candidate.read(folder)
    base = merging.base(made, folder, order.cache)
    place = folder / made.weights
    findings = examination.lora(place, base.folder) if made.kind == "adapter" else examination.whole(place)
    if findings:
        return _Looked(None, findings)
    return _Looked(merging.whole(folder, None, order.cache, screen).model, [])


def _adapter(order: Doctor, found: Found, folder: Path, screen: Screen) -> _Looked:
    """An adapter beside its base; merged where answers are asked for and nothing is wrong with it."""
    base = named.base_of(folder, order.base, order.cache)
    findings = examination.lora(folder, base.folder)
    if order.base is not None and (told := named.other_base(folder, order.base, base)) is not None:
        findings.append(f"{told}, and not on {order.base}: leave --base out, or name that model")
    broken = bool(findings)
    findings += _from_base(folder, base, changed=False)
    if broken:
        return _Looked(None, findings)
    if order.answers > 0:
        return _Looked(named.merged(found, order.base, order.cache, screen).model, findings)
    return _Looked(replace(base, name=f"{base.name}, for {found.label}"), findings)


def _from_base(folder: Path, base: Model, *, changed: bool) -> list[str]:
    """What the comparison with its base shows, `changed` asking whether whole weights learned anything."""
    findings = []
    if changed:
        try:
            plugins.room("harness.checkpoints.soundness").full(folder, base.folder)
        except BenchError as error:
            findings.append(str(error))
    if weights.has_tokenizer(folder):
        load = plugins.room("harness.tokenizer").load
        findings += examination.speech(load(replace(base, folder=folder)), load(base))
    return findings


def _show(model: Model, speech: Speech, ids: tuple[int, ...], screen: Screen) -> None:
    screen.print(table(f"{model.name} ({model.source}, {model.revision or 'no revision'})", _facts(speech, ids)))
    screen.print(Text("\nthe prompt, as the model sees it:", style="bold"))
    screen.print(Text(plain(speech.tokenizer.decode(list(ids), skip_special_tokens=False))))


def prompts(speech: Speech, model: Model) -> list[str]:
    """What is wrong with how this model is prompted and stopped, by its tokenizer and template alone."""
    tokenizer, how = speech.tokenizer, speech.manner
    turns = (Message("user", "What is 2+3?"), Message("assistant", "#### 5"), Message("user", "What is 4+5?"))
    text, findings = prompt_text(tokenizer, turns), []
    if text != text.rstrip(" "):
        findings.append(
            "the prompt ends with a space, so that every answer begins with an odd token: mend the end of its template"
        )
    lost = [turn.content for turn in turns if turn.content not in text]
    findings += [
        f"the template drops or changes a turn, {content!r} is not in the prompt: restore it from its base"
        for content in lost
    ]
    bos = tokenizer.bos_token_id
    ids = prompt_ids(tokenizer, how, turns)
    if how.bos == "none" and bos is not None and bos in tokenizer.encode("a", add_special_tokens=True):
        findings.append(
            "its tokenizer adds a BOS to plain text, but its prompts begin without one: let the template write it"
        )
    if how.bos == "separate" and ids.count(how.bos_id or -1) != 1:
        findings.append(f"BOS stands {ids.count(how.bos_id or -1)} times in the prompt: mend its template")
    if model.bos is not None and not _agrees(speech, model):
        findings.append(
            f"models.toml says bos = {model.bos}, its tokenizer and template say otherwise: models.toml is followed"
        )
    if how.style == "text" and "it" in model.name.split("-"):
        findings.append("an instruction-tuned name without a chat template: copy chat_template.jinja of its original")
    spoken = tokenizer.decode(list(how.stop_ids), skip_special_tokens=False)
    if tokenizer.eos_token_id not in how.stop_ids:
        findings.append(f"its eos token is not among the stop ids {spoken}: add it to generation_config.json")
    return findings


def _agrees(speech: Speech, model: Model) -> bool:
    """The declared rule is what tokenizer and template do; the tokenizer of a Gemma GGUF, which adds no BOS, is not."""
    tokenizer = speech.tokenizer
    adds = tokenizer.encode("a", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
    writes = bool(tokenizer.chat_template) and prompt_ids(tokenizer, speech.manner, [Message("user", "a")])[:1] == (
        tokenizer.bos_token_id,
    )
    return {"separate": adds or writes, "template": writes and not adds, "none": not adds}[model.bos or "none"]


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
) -> list[str]:
    name = order.engine or sitting.default_engine()[0]
    engine = plugins.engine(name)
    sitting.require_able(task, name, engine)
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
    findings = []
    for problem in problems:
        completion = written[problem.id]
        verdict = evaluate.judge(task, problem, completion)
        judged = "right" if verdict.correct else "wrong"
        screen.print(
            Text(f"\n{problem.id}: {judged}, read {verdict.answer} by {verdict.rule}, {verdict.finish}", style="bold")
        )
        for draw in () if completion.likelihoods else completion.draws:
            screen.print(Text(plain(draw.text)))
            findings += _strange(problem, draw, speech)
    if all(draw.finish_reason == "length" for completion in written.values() for draw in completion.draws):
        findings.append(_endless(speech))
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


def _strange(problem: Problem, completion: Completion, speech: Speech) -> list[str]:
    if not completion.text.strip():
        return [f"{problem.id}: the answer is empty: read the prompt above, its end above all"]
    if completion.token_ids is None:
        return []
    special = [i for i in completion.token_ids[:-1] if i in set(speech.tokenizer.all_special_ids)]
    if not special:
        return []
    return [f"{problem.id}: special tokens {special} inside the answer: if one of them ends it, add it to the stop ids"]
