"""What is wrong with how a model is prompted and stopped, by its tokenizer and chat template alone."""

from collections.abc import Iterator

from harness.findings import Finding, finding
from harness.tokens import Speech, prompt_ids, prompt_text
from harness.types import Message, Model

_TURNS = (Message("user", "What is 2+3?"), Message("assistant", "#### 5"), Message("user", "What is 4+5?"))


def findings(speech: Speech, model: Model) -> list[Finding]:
    """Every check of the prompts' manner.

    Args:
        speech: the model's tokenizer and manner.
        model: for its name, its files and the BOS rule that models.toml declares.
    """
    return [*_text(speech), *_bos(speech, model), *_style(speech, model)]


def _text(speech: Speech) -> Iterator[Finding]:
    """Whether every turn is in the prompt, and the prompt ends where an answer can begin."""
    text = prompt_text(speech.tokenizer, _TURNS)
    if text != text.rstrip(" "):
        message = (
            "the prompt ends with a space, so that every answer begins with an odd token: correct its template's end"
        )
        yield finding("prompt-trailing-space", message)
    for turn in _TURNS:
        if turn.content not in text:
            message = f"the template drops or changes a turn, {turn.content!r} is not in the prompt: restore it"
            yield finding("template-drops-turn", message)


def _bos(speech: Speech, model: Model) -> Iterator[Finding]:
    """Whether the prompt begins with BOS as often as its family wants."""
    tokenizer, how = speech.tokenizer, speech.manner
    bos = tokenizer.bos_token_id
    ids = prompt_ids(tokenizer, how, _TURNS)
    if how.bos == "none" and bos is not None and bos in tokenizer.encode("a", add_special_tokens=True):
        message = "its tokenizer adds a BOS to plain text, but its prompts begin without one: let the template write it"
        yield finding("bos-missing", message)
    if how.bos == "separate" and ids.count(how.bos_id or -1) != 1:
        message = f"the prompt has {ids.count(how.bos_id or -1)} BOS tokens: correct its template"
        yield finding("template-bos-doubled", message)
    if model.bos is not None and not _agrees(speech, model):
        message = f"models.toml says bos = {model.bos}, its tokenizer and template differ: models.toml is followed"
        yield finding("bos-declared", message)


def _style(speech: Speech, model: Model) -> Iterator[Finding]:
    """Whether a chat model has its template, and answers can end with eos."""
    tokenizer, how = speech.tokenizer, speech.manner
    if how.style == "text" and "it" in model.name.split("-"):
        message = "an instruction-tuned name without a chat template: copy chat_template.jinja of its original"
        yield finding("template-missing", message)
    if tokenizer.eos_token_id not in how.stop_ids:
        spoken = tokenizer.decode(list(how.stop_ids), skip_special_tokens=False)
        message = f"its eos token is not among the stop ids {spoken}: add it to generation_config.json"
        yield finding("eos-not-stop", message)


def _agrees(speech: Speech, model: Model) -> bool:
    """The declared rule is what tokenizer and template do; the tokenizer of a Gemma GGUF, which adds no BOS, is not."""
    tokenizer = speech.tokenizer
    adds = tokenizer.encode("a", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
    writes = bool(tokenizer.chat_template) and prompt_ids(tokenizer, speech.manner, [Message("user", "a")])[:1] == (
        tokenizer.bos_token_id,
    )
    return {"separate": adds or writes, "template": writes and not adds, "none": not adds}[model.bos or "none"]
