"""`bench doctor`: look at one model before its score is believed: prompt, BOS, stop ids, and a few answers."""

from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from harness import evaluate, options, plugins, runs, sitting
from harness.checkpoints import models
from harness.contracts import Task
from harness.display import Screen, plain, table
from harness.tokens import Speech, prompt_ids, prompt_text, question_ids
from harness.types import Completion, Message, Model, Problem, Request, Split


@dataclass(frozen=True, slots=True)
class Doctor:
    """Which model to look at, with whose prompts, and how many answers to generate."""

    model: str
    task: str
    answers: int
    engine: str | None
    options: list[str]
    mirror: Path | None
    cache: Path


def doctor(order: Doctor, screen: Screen) -> int:
    """Print what was found; exit status 1 where something would make the model score wrongly."""
    task = plugins.task(order.task)
    _, chosen = evaluate.choose(task, Split("test", mirror=order.mirror), max(order.answers, 1), 0)
    with runs.writing(order.cache):
        model = models.resolve(order.model, order.cache)
    speech = plugins.room("harness.tokenizer").load(model)
    ids = question_ids(speech.tokenizer, speech.manner, task, chosen[0])
    screen.print(table(f"{model.name} ({model.source}, {model.revision or 'no revision'})", _facts(speech, ids)))
    screen.print(Text("\nthe prompt, as the model sees it:", style="bold"))
    screen.print(Text(plain(speech.tokenizer.decode(list(ids), skip_special_tokens=False))))
    findings = prompts(speech, model)
    if order.answers > 0:
        findings += _answers(order, task, model, speech, chosen, screen)
    screen.print(Text("\nfindings:", style="bold"))
    for finding in findings or ["nothing that would make this model score wrongly"]:
        screen.print(Text(f"- {plain(finding)}", style="red" if findings else "green"))
    return 1 if findings else 0


def prompts(speech: Speech, model: Model) -> list[str]:
    """What is wrong with how this model is prompted and stopped, by its tokenizer and template alone."""
    tokenizer, how = speech.tokenizer, speech.manner
    turns = (Message("user", "What is 2+3?"), Message("assistant", "#### 5"), Message("user", "What is 4+5?"))
    text, findings = prompt_text(tokenizer, turns), []
    if text != text.rstrip(" "):
        findings.append("the prompt ends with a space: the first token of every answer will be an odd one")
    lost = [turn.content for turn in turns if turn.content not in text]
    findings += [f"the template drops or changes a turn: {content!r} is not in the prompt" for content in lost]
    bos = tokenizer.bos_token_id
    ids = prompt_ids(tokenizer, how, turns)
    if how.bos == "none" and bos is not None and bos in tokenizer.encode("a", add_special_tokens=True):
        findings.append("its tokenizer adds a BOS to plain text, but its prompts begin without one")
    if how.bos == "separate" and ids.count(how.bos_id or -1) != 1:
        findings.append(f"BOS stands {ids.count(how.bos_id or -1)} times in the prompt")
    if model.bos is not None and not _agrees(speech, model):
        findings.append(
            f"models.toml says bos = {model.bos}, its tokenizer and template say otherwise; models.toml is followed"
        )
    if how.style == "text" and "it" in model.name.split("-"):
        findings.append("an instruction-tuned name without a chat template: the template may have been lost")
    spoken = tokenizer.decode(list(how.stop_ids), skip_special_tokens=False)
    if tokenizer.eos_token_id not in how.stop_ids:
        findings.append(f"its eos token is not among the stop ids {spoken}")
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
    screen.say(f"engine {name}: loading {model.name}")
    generator = engine.load(model, options.parse(engine.Options, order.options, f"engine {name}"))
    how = speech.manner
    requests = [Request(p.id, question_ids(speech.tokenizer, how, task, p)) for p in problems]
    try:
        written = dict(generator.complete(requests, task.SAMPLING, how.stop_ids))
    finally:
        generator.close()
    findings = []
    for problem in problems:
        completion = written[problem.id]
        verdict = task.grade(problem, completion)
        judged = "right" if verdict.correct else "wrong"
        screen.print(
            Text(f"\n{problem.id}: {judged}, read {verdict.answer} by {verdict.rule}, {verdict.finish}", style="bold")
        )
        screen.print(Text(plain(completion.text)))
        findings += _strange(problem, completion, speech)
    if all(c.finish_reason == "length" for c in written.values()):
        findings.append("no answer ended by itself: its stop token may be missing from the stop ids")
    return findings


def _strange(problem: Problem, completion: Completion, speech: Speech) -> list[str]:
    if not completion.text.strip():
        return [f"{problem.id}: the answer is empty"]
    if completion.token_ids is None:
        return []
    special = [i for i in completion.token_ids[:-1] if i in set(speech.tokenizer.all_special_ids)]
    return [f"{problem.id}: special tokens {special} inside the answer"] if special else []
