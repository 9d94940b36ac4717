"""What is wrong with how a model is prompted and stopped, by its tokenizer and chat template alone."""

import json
import re
from collections.abc import Iterator

from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.core.types import Message, Model
from baseline_bench.models import thoughts
from baseline_bench.models.tokens import (
    ModelTokenizer,
    encode_prompt,
    find_turn_ending,
    has_doubled_bos,
    render_conversation,
    render_prompt,
)

_PROCESSOR_TEMPLATE = "chat_template.json"
_TURNS = (Message("user", "What is 2+3?"), Message("assistant", "#### 5"), Message("user", "What is 4+5?"))


def check_prompt_format(speech: ModelTokenizer, model: Model) -> list[Finding]:
    """Every check of the prompts' manner.

    Args:
        speech: the model's tokenizer and manner.
        model: for its name, its files and the BOS rule that models.toml declares.
    """
    return [
        *_check_turns_present(speech),
        *_check_answer_start(speech),
        *_check_end_of_turn(speech),
        *_check_processor_template(speech, model),
        *_check_bos(speech, model),
        *_check_style(speech, model),
    ]


def _check_turns_present(speech: ModelTokenizer) -> Iterator[Finding]:
    """Whether every turn is in the prompt, and the prompt ends where an answer can begin."""
    text = render_prompt(speech.tokenizer, _TURNS)
    if text != text.rstrip(" "):
        message = (
            "the prompt ends with a space, so that every answer begins with an odd token: correct its template's end"
        )
        yield build_finding("prompt-trailing-space", message)
    for turn in _TURNS:
        if turn.content not in text:
            message = f"the template drops or changes a turn, {turn.content!r} is not in the prompt: restore it"
            yield build_finding("template-drops-turn", message)


def _check_answer_start(speech: ModelTokenizer) -> Iterator[Finding]:
    """Whether the prompt opens the assistant's turn as a whole conversation has it; what opens a thought is no matter.

    A template that ignores `add_generation_prompt` is sound where nothing but blanks come between question and answer,
    as in Mistral's `[INST] question [/INST] answer`.
    """
    if speech.manner.style == "text":
        return
    asked, answer = _TURNS[:1], _TURNS[1]
    prompt = render_prompt(speech.tokenizer, asked)
    whole = render_conversation(speech.tokenizer, (*asked, answer), generation=False)
    head, said, tail = prompt.rpartition(asked[0].content)
    opened = (head + said + thoughts.cut_before_thought(tail)).rstrip()
    start, found, _ = whole.rpartition(answer.content)
    if not found:  # a turn that the template drops
        return
    if not start.startswith(opened):
        message = "a conversation with its answer does not begin as the prompt does: restore the model's own template"
        yield build_finding("template-not-prefix", message)
    elif prompt == render_conversation(speech.tokenizer, asked, generation=False):
        header = start[len(opened) :].strip()
        if header:
            message = (
                f"the prompt lacks {header!r}, which opens the assistant's turn: write it where add_generation_prompt "
                "is set"
            )
            yield build_finding("template-no-generation-prompt", message)


def _check_end_of_turn(speech: ModelTokenizer) -> Iterator[Finding]:
    """Whether a token of its own ends the assistant's turn; a template that writes nothing there leaves it to eos."""
    if speech.manner.style == "text":
        return
    tail, tokens = find_turn_ending(speech.tokenizer)
    if tail.strip() and not tokens:
        message = (
            f"its template ends a turn with {tail.strip()!r}, which its tokenizer splits into pieces, so that nothing "
            "stops an answer there: add it to the tokenizer as a special token"
        )
        yield build_finding("end-of-turn-not-token", message)


def _check_processor_template(speech: ModelTokenizer, model: Model) -> Iterator[Finding]:
    """Whether chat_template.json, which transformers reads for pictures and sounds alone, says something else."""
    path = model.folder / _PROCESSOR_TEMPLATE
    if not path.is_file():
        return
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        value = None
    held = value.get("chat_template") if isinstance(value, dict) else None
    used = speech.tokenizer.chat_template
    if not isinstance(held, str) or held.removesuffix("\n") != (used or "").removesuffix("\n"):
        asks = "the model is asked without a template" if used is None else "another template asks"
        message = (
            f"{_PROCESSOR_TEMPLATE} is not read, and {asks}: save the right one as chat_template.jinja, delete "
            "the other"
        )
        yield build_finding("template-unread", message)


def _check_bos(speech: ModelTokenizer, model: Model) -> Iterator[Finding]:
    """Whether the prompt begins with BOS as often as its family wants."""
    tokenizer, how = speech.tokenizer, speech.manner
    bos = tokenizer.bos_token_id
    ids = encode_prompt(tokenizer, how, _TURNS)
    if how.bos == "none" and bos is not None and bos in tokenizer.encode("a", add_special_tokens=True):
        message = "its tokenizer adds a BOS to plain text, but its prompts begin without one: let the template write it"
        yield build_finding("bos-missing", message)
    if has_doubled_bos(tokenizer, ids) or (how.bos == "separate" and ids.count(how.bos_id) != 1):
        message = (
            f"the prompt has {ids.count(bos)} BOS tokens: write it once, in the template or by add_bos_token in "
            "tokenizer_config.json"
        )
        yield build_finding("template-bos-doubled", message)
    if model.bos is not None and not _follows_declared_bos(speech, model):
        message = f"models.toml says bos = {model.bos}, its tokenizer and template differ: models.toml is followed"
        yield build_finding("bos-declared", message)


def _check_style(speech: ModelTokenizer, model: Model) -> Iterator[Finding]:
    """Whether a chat model has its template."""
    if speech.manner.style == "text" and not {"it", "instruct", "chat"}.isdisjoint(
        re.split("[-_/@]", model.name.lower())
    ):
        message = "an instruction-tuned name without a chat template: copy chat_template.jinja of its original"
        yield build_finding("template-missing", message)


def _follows_declared_bos(speech: ModelTokenizer, model: Model) -> bool:
    """The declared rule is what tokenizer and template do; the tokenizer of a Gemma GGUF, which adds no BOS, is not."""
    tokenizer = speech.tokenizer
    adds = tokenizer.encode("a", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
    writes = bool(tokenizer.chat_template) and encode_prompt(tokenizer, speech.manner, [Message("user", "a")])[:1] == (
        tokenizer.bos_token_id,
    )
    return {"separate": adds or writes, "template": writes and not adds, "none": not adds}[model.bos or "none"]
