"""The one place where a conversation becomes token ids, for training and scoring alike.

Two paths to token ids would sooner or later differ by a BOS, a space or a stop token, and the score would be about
the difference. Engines and trainers therefore receive ids from here and never text.
"""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import groupby
from typing import Any, Literal, Protocol

from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import BosRule, Completion, Message, Problem, Request
from baseline_bench.models import thoughts

PromptStyle = Literal["template", "text"]

_SENTINEL = "Qxjzv"
# No stop text takes more tokens.
_TAIL_TOKENS = 16
# A conversation where there is no chat template.
_TEXT_STYLE = {"system": "{}\n\n", "user": "Question: {}\nAnswer:", "assistant": " {}\n\n"}
_SURROGATE = re.compile("[\ud800-\udfff]")
# A macro of this name hides the function that would print today's date.
_FIXED_DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%y": "24", "%Y": "2024", "%A": "Friday", "%a": "Fri"}
_FIXED_DATE_MACRO = (
    "{%- macro strftime_now(form) -%}{{ form"
    + "".join(f" | replace('{code}', '{text}')" for code, text in _FIXED_DATE.items())
    + " }}{%- endmacro -%}"
)


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    bos_token_id: int | None
    eos_token_id: int | None
    all_special_ids: list[int]
    added_tokens_decoder: dict[int, Any]
    chat_template: str | None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...

    def apply_chat_template(self, conversation: list[dict[str, Any]], **kwargs: Any) -> str: ...


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How one model wants to be spoken to; a property of the model, recorded in the entry, not of the task.

    Attributes:
        style: "template" renders with the model's own chat template, "text" writes `Question: ...` / `Answer:`.
        bos: "separate" puts one BOS before everything; "template" and "none" add nothing.
        bos_id: the id of BOS where the rule is "separate", else None.
        stop_ids: every id that ends an answer, ascending.
        end_id: the one of them that a trained answer ends with: the template's end of turn, else eos.
        template_sha256: of the template's text; None in the text style.
        thought: the family, as `thoughts` names it, of the thought that the template opens where the answer
            begins; None where it opens none.
    """

    style: PromptStyle
    bos: BosRule
    bos_id: int | None
    stop_ids: tuple[int, ...]
    end_id: int
    template_sha256: str | None
    thought: str | None = None


@dataclass(frozen=True, slots=True)
class ModelTokenizer:
    """A model's tokenizer with what was worked out about it.

    Attributes:
        manner: how the model is prompted and where its answers end.
        context: the most tokens its configuration allows; None where it names no limit.
        tokenizer_sha256: over the bytes of its vocabulary files.
    """

    tokenizer: Tokenizer
    manner: PromptFormat
    context: int | None
    tokenizer_sha256: str


def detect_prompt_format(
    tokenizer: Tokenizer, declared_bos: BosRule | None, eos_ids: Sequence[int], model_type: str
) -> PromptFormat:
    """Work out how a model is prompted and where its answers end.

    Args:
        tokenizer: the model's own.
        declared_bos: the rule of models.toml; None derives it from template and tokenizer.
        eos_ids: eos ids of the model's config and generation config.
        model_type: as in config.json; Gemma models need a separate BOS whatever their tokenizer does.

    Raises:
        BenchError: the declared rule needs a BOS the tokenizer lacks, nothing could ever end an answer, or the template
            holds a lone surrogate.
    """
    require_encodable("the chat template", tokenizer.chat_template or "")
    style: PromptStyle = "template" if tokenizer.chat_template else "text"
    rule = declared_bos or _derive_bos_rule(tokenizer, style, model_type)
    if rule == "separate" and tokenizer.bos_token_id is None:
        raise BenchError("the model needs a separate BOS, but its tokenizer has none", "check tokenizer_config.json")
    stop = set(eos_ids)
    if tokenizer.eos_token_id is not None:
        stop.add(tokenizer.eos_token_id)
    end_of_turn = _find_end_of_turn(tokenizer) if style == "template" else None
    if end_of_turn is not None:
        stop.add(end_of_turn)
    if not stop:
        raise BenchError(
            "neither tokenizer, generation config nor template names a token that ends an answer",
            "add eos_token_id to generation_config.json",
        )
    template = tokenizer.chat_template
    ends = (end_of_turn, tokenizer.eos_token_id, min(stop))
    return PromptFormat(
        style=style,
        bos=rule,
        bos_id=tokenizer.bos_token_id if rule == "separate" else None,
        stop_ids=tuple(sorted(stop)),
        end_id=next(token for token in ends if token is not None),
        template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
        thought=_find_template_thought(tokenizer) if style == "template" else None,
    )


def render_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    """The whole prompt as text, up to where the model's answer begins, without a trailing space in the text style.

    Where the last turn is the assistant's, the answer begins with it: the prompt ends behind its last word, and the
    turn is left open.

    Templates that print today's date (Llama 3.2 does) get one fixed day, else a prompt would change overnight.

    Raises:
        BenchError: the conversation opens with a system turn, and the model's template takes none (Gemma's does not).
    """
    if not tokenizer.chat_template:
        told = "".join(_TEXT_STYLE[m.role].format(m.content) for m in messages)
        return told.removesuffix("\n\n") if starts_answer(messages) else told
    try:
        return render_conversation(
            tokenizer, messages, generation=not starts_answer(messages), goes_on=starts_answer(messages)
        )
    except import_module("jinja2").TemplateError as error:  # only where a tokenizer is, which a board does not need
        if all(m.role != "system" for m in messages):
            raise
        raise BenchError(
            f"the task opens with a system turn, and the model's chat template takes none: {error}",
            "ask by a task whose first question holds these words, or another model",
        ) from error


def starts_answer(messages: Sequence[Message]) -> bool:
    """Whether a conversation begins the model's answer for it."""
    return messages[-1].role == "assistant"


def encode_prompt(tokenizer: Tokenizer, how: PromptFormat, messages: Sequence[Message]) -> tuple[int, ...]:
    """The ids of the whole prompt, BOS by the family's rule.

    Raises:
        BenchError: it holds a lone surrogate.
    """
    return encode_with_bos(tokenizer, how, render_prompt(tokenizer, messages))


def build_request(tokenizer: Tokenizer, how: PromptFormat, task: Task, problem: Problem) -> Request:
    """What asks one problem of a task: its conversation, or its own text where a model has no template.

    Raises:
        BenchError: it holds a lone surrogate.
    """
    text = getattr(task, "text", None) if how.style == "text" else None
    told = render_prompt(tokenizer, task.messages(problem)) if text is None else text(problem)
    return Request(problem.id, encode_with_bos(tokenizer, how, told, problem.id))


def build_requests(speech: ModelTokenizer, task: Task, problem: Problem) -> tuple[Request, ...]:
    """All that a model is asked for one problem, in an order that its task knows.

    Raises:
        BenchError: as `question`, or the task's own.
    """
    if (own := getattr(task, "requests", None)) is not None:
        return tuple(own(problem, speech))
    asked = build_request(speech.tokenizer, speech.manner, task, problem)
    if (choices := getattr(task, "choices", None)) is None:
        return (asked,)
    return _build_choice_requests(asked, tuple(choices(problem)), speech, goes_on=starts_answer(task.messages(problem)))


def _build_choice_requests(
    prompt: Request, choices: Sequence[str], speech: ModelTokenizer, *, goes_on: bool
) -> tuple[Request, ...]:
    """Each choice behind the prompt, where a training would put it, without the token that ends an answer.

    Raises:
        BenchError: there are fewer than two, or one is empty or the same as another.
    """
    texts = [encode_completion(speech.tokenizer, speech.manner, choice, goes_on=goes_on)[:-1] for choice in choices]
    empty = [choice for choice, ids in zip(choices, texts, strict=True) if not choice.strip() or not ids]
    if len(texts) < 2 or empty or len(set(texts)) < len(texts):
        why = "an empty one" if empty else "fewer than two" if len(texts) < 2 else "two that are equal"
        raise BenchError(f"the choices of {prompt.id} are {why}", "correct the task's choices(problem)")
    start = len(prompt.token_ids)
    return tuple(
        Request(f"{prompt.id}, choice {number}", prompt.token_ids + ids, start, prompt.id)
        for number, ids in enumerate(texts, 1)
    )


def find_open_thought(how: PromptFormat, task: Task, problem: Problem) -> str | None:
    """The family of the thought that a problem's prompt opens, by its template or its own last words; None for none."""
    messages, text = task.messages(problem), getattr(task, "text", None)
    if how.style == "text" and text is not None:
        return thoughts.find_open_family(text(problem))
    return thoughts.find_open_family(messages[-1].content) if starts_answer(messages) else how.thought


def has_doubled_bos(tokenizer: Tokenizer, ids: Sequence[int]) -> bool:
    """Whether a prompt begins with two BOS tokens, whoever wrote them; in ChatML one opens every turn, which is sound.

    No model has seen this in its training.
    """
    return tokenizer.bos_token_id is not None and tuple(ids[:2]) == (tokenizer.bos_token_id,) * 2


def require_encodable(whose: str, text: str) -> None:
    """Refuse a text that no tokenizer takes: one with half of a surrogate pair, as JSON's escapes can spell it.

    Raises:
        BenchError: naming whose text it is.
    """
    if found := _SURROGATE.search(text):
        escaped = found[0].encode("ascii", "backslashreplace").decode()
        what = f"{whose} holds {escaped}, half of a surrogate pair, which is no character"
        raise BenchError(what, "remove it, or write both halves; it is often an emoji that was cut in two")


def encode_with_bos(tokenizer: Tokenizer, how: PromptFormat, text: str, whose: str = "a prompt") -> tuple[int, ...]:
    """The ids of a whole prompt's text, BOS by the family's rule.

    Raises:
        BenchError: it holds a lone surrogate; `whose` text it is opens the message.
    """
    require_encodable(whose, text)
    ids = tokenizer.encode(text, add_special_tokens=False)
    if how.bos_id is not None and ids[:1] != [how.bos_id]:
        ids.insert(0, how.bos_id)
    return tuple(ids)


def encode_completion(
    tokenizer: Tokenizer, how: PromptFormat, solution: str, *, goes_on: bool = False
) -> tuple[int, ...]:
    """The ids a model is trained to write after `prompt_ids`: the solution and the id that ends it.

    Prompt and completion are tokenised apart, in training as in scoring, where the prompt's last id is given and the
    model writes the next one: the seam is the same. In the text style an answer begins with a space, as shots do; one
    that goes on where the prompt has begun it is taken as it stands.

    Raises:
        BenchError: it holds a lone surrogate.
    """
    require_encodable("a solution", solution)
    text = solution if goes_on or how.style == "template" else f" {solution}"
    return (*tokenizer.encode(text, add_special_tokens=False), how.end_id)


def decode_completion(
    tokenizer: Tokenizer, token_ids: Sequence[int], stop_ids: Sequence[int], stop: Sequence[str]
) -> str:
    """What the generated ids say: special tokens dropped, cut before the first stop text.

    The first id of `stop_ids` ends the answer; what an engine may have generated beyond is not read. The text style's
    leading space is kept, so that ids and text tell the same.
    """
    text = tokenizer.decode(_cut_at_stop(token_ids, stop_ids), skip_special_tokens=True)
    found = [place for place in (text.find(mark) for mark in stop) if place >= 0]
    return text[: min(found)] if found else text


def is_answer_finished(
    tokenizer: Tokenizer, written: Sequence[int], stop_ids: Collection[int], stop: Sequence[str]
) -> bool:
    """Whether an answer ends with the last token that is written: a stop token, or one that completes a stop text."""
    if written[-1] in stop_ids:
        return True
    tail = tokenizer.decode(list(written[-_TAIL_TOKENS:]), skip_special_tokens=True) if stop else ""
    return any(mark in tail for mark in stop)


class AnswerLocator:
    """Finds where the answer starts in what one model writes; see `baseline_bench.models.thoughts`.

    Args:
        speech: the model's tokenizer and manner.
        stop: texts that end an answer.
    """

    def __init__(self, speech: ModelTokenizer, stop: Sequence[str]) -> None:
        self._tokenizer, self._how, self._stop = speech.tokenizer, speech.manner, stop
        self._special = collect_special_ids(speech.tokenizer)
        self._delimiters = {i for i in self._special if thoughts.is_delimiter(self._spelled([i]))}

    def started(self, completion: Completion, thought: str | None) -> Completion:
        """The same completion, each of its draws with the place where its answer starts.

        Token ids that are not the tokenizer's own (a rehearsal's) say nothing; then the text alone is read.

        Args:
            completion: as an engine gives it.
            thought: what its prompt opened, by `thought`.
        """
        more = tuple(self.started(draw, thought) for draw in completion.more)
        ids = completion.token_ids or ()
        if thought is None and self._delimiters.isdisjoint(ids):
            return replace(completion, more=more)
        said = decode_completion(self._tokenizer, ids, self._how.stop_ids, self._stop)
        pieces = self._pieces(ids) if ids and said == completion.text else [thoughts.TextPiece(completion.text)]
        start = min(thoughts.find_answer_start(pieces, thought), len(completion.text))
        return replace(completion, more=more, answer_start=start)

    def _pieces(self, ids: Sequence[int]) -> list[thoughts.TextPiece]:
        """What the ids say, cut at every special token."""
        pieces: list[thoughts.TextPiece] = []
        before: list[int] = []  # some tokenizers drop the space of a first token
        for special, run in groupby(_cut_at_stop(ids, self._how.stop_ids), self._special.__contains__):
            if special:
                pieces += [thoughts.TextPiece(self._spelled([i]), special=True) for i in run]
            else:
                told = list(run)
                text = self._spelled([*before, *told])[len(self._spelled(before)) :]
                pieces.append(thoughts.TextPiece(text))
                before = told[-1:]
        return pieces

    def _spelled(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)


def collect_special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that the text of an answer does not show."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset((*tokenizer.all_special_ids, *added))


def digest_prompts(requests: Sequence[Request]) -> str:
    """One digest over all that an engine is asked, order and borders included; names of requests are no part of it."""
    return digest_id_sequences(
        [(*each.token_ids, *([] if each.start is None else [f"from {each.start}"])) for each in requests]
    )


def digest_id_sequences(sequences: Sequence[Sequence[int | str]]) -> str:
    """One digest over many id sequences, order and borders included."""
    digest = hashlib.sha256()
    for ids in sequences:
        digest.update(json.dumps(list(ids), separators=(",", ":")).encode())
    return digest.hexdigest()


def render_conversation(
    tokenizer: Tokenizer, messages: Sequence[Message], *, generation: bool, goes_on: bool = False
) -> str:
    """What the chat template makes of a conversation, with a fixed day for templates that print today's date.

    Args:
        tokenizer: of a model with a template.
        messages: the conversation.
        generation: the assistant's turn is opened behind it.
        goes_on: its last turn, the assistant's, is left open.
    """
    template = tokenizer.chat_template or ""
    return tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages],
        chat_template=_FIXED_DATE_MACRO + template if "strftime_now" in template else template,
        tokenize=False,
        add_generation_prompt=generation,
        continue_final_message=goes_on,
    )


def find_turn_ending(tokenizer: Tokenizer) -> tuple[str, tuple[int, ...]]:
    """What the template writes after an assistant's words, and those of its tokens that can end a turn.

    These are the special ones, else the added ones that are not blank: some tokenizers do not mark their end of turn as
    special.
    """
    turns = (Message("user", "Hello"), Message("assistant", _SENTINEL))
    _, found, tail = render_conversation(tokenizer, turns, generation=False).rpartition(_SENTINEL)
    ids = tokenizer.encode(tail, add_special_tokens=False) if found else []
    special = collect_special_ids(tokenizer)
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if str(token).strip()}
    return (tail if found else ""), tuple([i for i in ids if i in special] or [i for i in ids if i in added])


def _find_end_of_turn(tokenizer: Tokenizer) -> int | None:
    """The token with which a template ends an assistant's turn.

    gemma-2b-it names only `<eos>` in its configuration while its template ends turns with `<end_of_turn>`: without
    this id every answer would run on.
    """
    return next(iter(find_turn_ending(tokenizer)[1]), None)


def _find_template_thought(tokenizer: Tokenizer) -> str | None:
    """What the template alone opens: only what it writes behind the user's words is looked at."""
    prompt = render_conversation(tokenizer, (Message("user", _SENTINEL),), generation=True)
    return thoughts.find_open_family(prompt.rpartition(_SENTINEL)[2])


def _cut_at_stop(token_ids: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    ends = set(stop_ids)
    length = next((place for place, token in enumerate(token_ids) if token in ends), len(token_ids))
    return list(token_ids[:length])


def _derive_bos_rule(tokenizer: Tokenizer, style: PromptStyle, model_type: str) -> BosRule:
    bos = tokenizer.bos_token_id
    if bos is None:
        return "none"
    if model_type.startswith("gemma"):
        return "separate"
    if style == "template":
        turns = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
        ids = tokenizer.encode(render_conversation(tokenizer, turns, generation=True), add_special_tokens=False)
        if ids.count(bos) > 1:
            return "template"
        if ids[:1] == [bos]:
            return "separate"
    return "separate" if tokenizer.encode("a", add_special_tokens=True)[:1] == [bos] else "none"
