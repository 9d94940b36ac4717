"""Check how a model is prompted and stopped, from its tokenizer and chat template alone."""

import re
from collections.abc import Iterator

from baseline_bench.core.errors import BenchError
from baseline_bench.core.findings import Finding, build_finding
from baseline_bench.core.types import Message, Model
from baseline_bench.core.untrusted import read_object
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
TURNS = (Message("user", "What is 2+3?"), Message("assistant", "#### 5"), Message("user", "What is 4+5?"))


def check_prompt_format(model_tokenizer: ModelTokenizer, model: Model) -> list[Finding]:
    """Run every check of a model's prompt format."""
    return [
        *_check_turns_present(model_tokenizer),
        *_check_answer_start(model_tokenizer),
        *_check_end_of_turn(model_tokenizer),
        *_check_processor_template(model_tokenizer, model),
        *_check_bos(model_tokenizer, model),
        *_check_style(model_tokenizer, model),
    ]


def _check_turns_present(model_tokenizer: ModelTokenizer) -> Iterator[Finding]:
    """Check that every turn is in the prompt, and that the prompt does not end with a space."""
    text = render_prompt(model_tokenizer.tokenizer, TURNS)
    if text != text.rstrip(" "):
        message = (
            "the prompt ends with a space, so that every answer begins with an odd token: correct its template's end"
        )
        yield build_finding("prompt-trailing-space", message)
    for turn in TURNS:
        if turn.content not in text:
            message = f"the template drops or changes a turn, {turn.content!r} is not in the prompt: restore it"
            yield build_finding("template-drops-turn", message)


def _check_answer_start(model_tokenizer: ModelTokenizer) -> Iterator[Finding]:
    """Check that the prompt opens the assistant's turn as a whole conversation does, apart from an opened thought.

    A template may ignore `add_generation_prompt` if only blanks separate question and answer, as in Mistral's
    `[INST] question [/INST] answer`.
    """
    if model_tokenizer.prompt_format.style == "text":
        return
    question, answer = TURNS[:1], TURNS[1]
    prompt = render_prompt(model_tokenizer.tokenizer, question)
    whole = render_conversation(model_tokenizer.tokenizer, (*question, answer), generation=False)
    head, content, tail = prompt.rpartition(question[0].content)
    opened = (head + content + thoughts.cut_before_thought(tail)).rstrip()
    start, answer_text, _ = whole.rpartition(answer.content)
    if not answer_text:  # a turn that the template drops
        return
    if not start.startswith(opened):
        message = "a conversation with its answer does not begin as the prompt does: restore the model's own template"
        yield build_finding("template-not-prefix", message)
    elif prompt == render_conversation(model_tokenizer.tokenizer, question, generation=False):
        header = start[len(opened) :].strip()
        if header:
            message = (
                f"the prompt lacks {header!r}, which opens the assistant's turn: write it where add_generation_prompt "
                "is set"
            )
            yield build_finding("template-no-generation-prompt", message)


def _check_end_of_turn(model_tokenizer: ModelTokenizer) -> Iterator[Finding]:
    """Check that a single token ends the assistant's turn; a template that writes nothing there relies on eos."""
    if model_tokenizer.prompt_format.style == "text":
        return
    tail, tokens = find_turn_ending(model_tokenizer.tokenizer)
    if tail.strip() and not tokens:
        message = (
            f"its template ends a turn with {tail.strip()!r}, which its tokenizer splits into pieces, so that nothing "
            "stops an answer there: add it to the tokenizer as a special token"
        )
        yield build_finding("end-of-turn-not-token", message)


def _check_processor_template(model_tokenizer: ModelTokenizer, model: Model) -> Iterator[Finding]:
    """Check chat_template.json, which transformers reads only for images and audio, against the template in use."""
    path = model.folder / _PROCESSOR_TEMPLATE
    if not path.is_file() or model_tokenizer.prompt_format.template_name is not None:  # the user chose one
        return
    try:
        saved_template = read_object(path, None).get("chat_template")
    except BenchError:
        saved_template = None
    used_template = model_tokenizer.tokenizer.chat_template
    if not isinstance(saved_template, str) or saved_template.removesuffix("\n") != (used_template or "").removesuffix(
        "\n"
    ):
        asks = "the model is asked without a template" if used_template is None else "another template asks"
        message = (
            f"{_PROCESSOR_TEMPLATE} is not read, and {asks}: save the right one as chat_template.jinja, delete "
            "the other"
        )
        yield build_finding("template-unread", message)


def _check_bos(model_tokenizer: ModelTokenizer, model: Model) -> Iterator[Finding]:
    """Check that the prompt has as many BOS tokens as its family needs."""
    tokenizer, prompt_format = model_tokenizer.tokenizer, model_tokenizer.prompt_format
    bos = tokenizer.bos_token_id
    ids = encode_prompt(tokenizer, prompt_format, TURNS)
    if prompt_format.bos == "none" and bos is not None and bos in tokenizer.encode("a", add_special_tokens=True):
        message = "its tokenizer adds a BOS to plain text, but its prompts begin without one: let the template write it"
        yield build_finding("bos-missing", message)
    if has_doubled_bos(tokenizer, ids) or (prompt_format.bos == "separate" and ids.count(prompt_format.bos_id) != 1):
        message = (
            f"the prompt has {ids.count(bos)} BOS tokens: write it once, in the template or by add_bos_token in "
            "tokenizer_config.json"
        )
        yield build_finding("template-bos-doubled", message)
    if model.bos is not None and not _follows_declared_bos(model_tokenizer, model):
        message = f"models.toml says bos = {model.bos}, its tokenizer and template differ: models.toml is followed"
        yield build_finding("bos-declared", message)


def _check_style(model_tokenizer: ModelTokenizer, model: Model) -> Iterator[Finding]:
    """Check that a chat model has its template."""
    if model_tokenizer.prompt_format.style == "text" and not {"it", "instruct", "chat"}.isdisjoint(
        re.split("[-_/@]", model.name.lower())
    ):
        message = "an instruction-tuned name without a chat template: copy chat_template.jinja of its original"
        yield build_finding("template-missing", message)


def _follows_declared_bos(model_tokenizer: ModelTokenizer, model: Model) -> bool:
    """Return whether tokenizer and template follow the declared BOS rule; a Gemma GGUF's tokenizer adds no BOS."""
    tokenizer = model_tokenizer.tokenizer
    adds = tokenizer.encode("a", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
    writes = bool(tokenizer.chat_template) and encode_prompt(
        tokenizer, model_tokenizer.prompt_format, [Message("user", "a")]
    )[:1] == (tokenizer.bos_token_id,)
    return {"separate": adds or writes, "template": writes and not adds, "none": not adds}[model.bos or "none"]
