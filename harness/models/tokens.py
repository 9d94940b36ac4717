"""Turn conversations into token ids: the only place that does, for training and scoring alike.

Two implementations would sooner or later differ by a BOS, a space or a stop token, and the score would measure that
difference. Engines and trainers therefore receive ids from here and never text.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any, Literal, Protocol

from baseline_bench.core import records
from baseline_bench.core.contracts import Task
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import BosRule, Completion, Message, Problem, Request, Value
from baseline_bench.models import thoughts
from baseline_bench.models.template_choice import TemplateChoice

PromptStyle = Literal["template", "text"]

# Spaces, digits, accents and apostrophes, where tokenizer classes differ that read the same tokenizer.json.
SAMPLE_TEXT = "Tom's 12 eggs cost 3.5 € each.\n\n  1/2 of them?\tÄpfel, 你好 ; don't"
_SENTINEL = "Qxjzv"
# Upper bound on the tokens of a stop text.
_TAIL_TOKENS = 16
# How a model without a chat template is prompted.
_TEXT_STYLE = {"system": "{}\n\n", "user": "Question: {}\nAnswer:", "assistant": " {}\n\n"}
BOUNDARY = "\N{REPLACEMENT CHARACTER}"
"""What a dropped special token leaves between two words of an answer, so that no digits of two numbers meet."""
# Tokens that end or begin a text or a turn, whether or not tokenizer and template use them.
_TEXT_END = re.compile(
    r"</?s>|\W{1,2}(?:(?:(?:begin|start|end)[_▁]?of[_▁]?(?:text|turn|sentence|utterance|message|document))|endoftext|"
    r"im_(?:start|end)|(?:[be]os|eo[dmt]|pad)(?:_id|_token)?|/?inst|turn)\W{1,2}",
    re.IGNORECASE,
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# A macro of this name overrides the function with which templates print today's date.
_FIXED_DATE = {"%d": "26", "%b": "Jul", "%B": "July", "%m": "07", "%y": "24", "%Y": "2024", "%A": "Friday", "%a": "Fri"}
_FIXED_DATE_MACRO = (
    "{%- macro strftime_now(form) -%}{{ form"
    + "".join(f" | replace('{code}', '{text}')" for code, text in _FIXED_DATE.items())
    + " }}{%- endmacro -%}"
)


class TemplateError(BenchError):
    """A chat template that cannot write a conversation; what it raised is the cause."""


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    bos_token_id: int | None
    eos_token_id: int | None
    all_special_ids: list[int]
    added_tokens_decoder: dict[int, Any]
    chat_template: str | None

    def __len__(self) -> int: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...

    def apply_chat_template(self, conversation: list[dict[str, Any]], **kwargs: Any) -> str: ...


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How one model is prompted: a property of the model, not of the task, recorded in the entry.

    Attributes:
        style: "template" renders with the model's own chat template, "text" writes `Question: ...` / `Answer:`.
        bos: "separate" puts one BOS before everything; "template" and "none" add nothing.
        bos_id: the id of BOS where the rule is "separate", else None.
        stop_ids: every id that ends an answer, ascending.
        end_id: the stop id that ends a training answer: the template's end of turn, else eos.
        template_sha256: of the template's text, with its arguments if there are any; None in the text style.
        thought: the family, as `thoughts` names it, of the thought that the template opens at the start of the
            answer; None if it opens none.
        template_name: of a template that the user chose; None is the model's default.
        template_arguments: the values that the user set for variables of the template; None without any.
    """

    style: PromptStyle
    bos: BosRule
    bos_id: int | None
    stop_ids: tuple[int, ...]
    end_id: int
    template_sha256: str | None
    thought: str | None = None
    template_name: str | None = None
    template_arguments: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True)
class ModelTokenizer:
    """A model's tokenizer and what was detected about it.

    Attributes:
        prompt_format: how the model is prompted and where its answers end.
        context: the most tokens that its configuration allows; None if it names no limit.
        tokenizer_sha256: over the bytes of its vocabulary files.
    """

    tokenizer: Tokenizer
    prompt_format: PromptFormat
    context: int | None
    tokenizer_sha256: str


def detect_prompt_format(
    tokenizer: Tokenizer, declared_bos: BosRule | None, eos_ids: Sequence[int], model_type: str
) -> PromptFormat:
    """Detect how a model is prompted and where its answers end.

    Args:
        tokenizer: the model's own.
        declared_bos: the rule in models.toml; None derives it from template and tokenizer.
        eos_ids: eos ids of the model's config and generation config.
        model_type: as in config.json; Gemma models always need a separate BOS.

    Raises:
        BenchError: the declared rule needs a BOS that the tokenizer lacks, no token ends an answer, or the template
            holds a lone surrogate.
    """
    require_encodable("the chat template", tokenizer.chat_template or "")
    style: PromptStyle = "template" if tokenizer.chat_template else "text"
    rule = declared_bos or _derive_bos_rule(tokenizer, style, model_type)
    if rule == "separate" and tokenizer.bos_token_id is None:
        raise BenchError("the model needs a separate BOS, but its tokenizer has none", "check tokenizer_config.json")
    end_of_turn = _find_end_of_turn(tokenizer) if style == "template" else None
    stop = {*eos_ids, *(token for token in (tokenizer.eos_token_id, end_of_turn) if token is not None)}
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


def record_template_choice(prompt_format: PromptFormat, choice: TemplateChoice) -> PromptFormat:
    """Return the format with the user's choice of a template; equal texts with other arguments have other digests."""
    arguments = dict(choice.arguments) or None
    sha256 = prompt_format.template_sha256
    if arguments is not None:
        sha256 = records.digest([sha256, arguments])
    return replace(prompt_format, template_sha256=sha256, template_name=choice.name, template_arguments=arguments)


def render_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    """Render the whole prompt as text, up to the start of the model's answer; the text style leaves no trailing space.

    If the last turn is the assistant's, it begins the answer: the prompt ends after its last word and leaves the turn
    open.

    Templates that print today's date (Llama 3.2 does) get a fixed date, so that a prompt does not change overnight.

    Raises:
        TemplateError: the template cannot write the conversation; Gemma's refuses one that opens with a system turn.
    """
    if not tokenizer.chat_template:
        text = "".join(_TEXT_STYLE[m.role].format(m.content) for m in messages)
        return text.removesuffix("\n\n") if starts_answer(messages) else text
    try:
        return render_conversation(
            tokenizer, messages, generation=not starts_answer(messages), goes_on=starts_answer(messages)
        )
    except TemplateError as error:
        if all(m.role != "system" for m in messages):
            raise
        raise TemplateError(
            f"the task opens with a system turn, and the model's chat template takes none: {error.__cause__}",
            "ask by a task whose first question holds these words, or another model",
        ) from error


def starts_answer(messages: Sequence[Message]) -> bool:
    """Return whether a conversation ends with the beginning of the model's answer."""
    return messages[-1].role == "assistant"


def encode_prompt(tokenizer: Tokenizer, prompt_format: PromptFormat, messages: Sequence[Message]) -> tuple[int, ...]:
    """Encode the whole prompt, with BOS by the family's rule.

    Raises:
        BenchError: it holds a lone surrogate.
    """
    return encode_with_bos(tokenizer, prompt_format, render_prompt(tokenizer, messages))


def build_request(tokenizer: Tokenizer, prompt_format: PromptFormat, task: Task, problem: Problem) -> Request:
    """Build one problem's request: its conversation, or the task's own text if the model has no template.

    Raises:
        BenchError: it holds a lone surrogate.
    """
    text = getattr(task, "text", None) if prompt_format.style == "text" else None
    prompt = render_prompt(tokenizer, task.messages(problem)) if text is None else text(problem)
    return Request(problem.id, encode_with_bos(tokenizer, prompt_format, prompt, problem.id))


def build_requests(model_tokenizer: ModelTokenizer, task: Task, problem: Problem) -> tuple[Request, ...]:
    """Build all requests for one problem, in an order that its task knows.

    Raises:
        BenchError: as `build_request`, or the task's own.
    """
    if (task_requests := getattr(task, "requests", None)) is not None:
        return tuple(task_requests(problem, model_tokenizer))
    request = build_request(model_tokenizer.tokenizer, model_tokenizer.prompt_format, task, problem)
    if (choices := getattr(task, "choices", None)) is None:
        return (request,)
    return _build_choice_requests(
        request, tuple(choices(problem)), model_tokenizer, goes_on=starts_answer(task.messages(problem))
    )


def _build_choice_requests(
    prompt: Request, choices: Sequence[str], model_tokenizer: ModelTokenizer, *, goes_on: bool
) -> tuple[Request, ...]:
    """Append each choice to the prompt as training would, without the token that ends an answer.

    Raises:
        BenchError: fewer than two choices, an empty one, or two equal ones.
    """
    texts = [
        encode_completion(model_tokenizer.tokenizer, model_tokenizer.prompt_format, choice, goes_on=goes_on)[:-1]
        for choice in choices
    ]
    empty = [choice for choice, ids in zip(choices, texts, strict=True) if not choice.strip() or not ids]
    if len(texts) < 2 or empty or len(set(texts)) < len(texts):
        fault = "an empty one" if empty else "fewer than two" if len(texts) < 2 else "two that are equal"
        raise BenchError(f"the choices of {prompt.id} are {fault}", "correct the task's choices(problem)")
    start = len(prompt.token_ids)
    return tuple(
        Request(f"{prompt.id}, choice {number}", prompt.token_ids + ids, start, prompt.id)
        for number, ids in enumerate(texts, 1)
    )


def find_open_thought(prompt_format: PromptFormat, task: Task, problem: Problem) -> str | None:
    """Return the family of the thought that a problem's prompt opens, by template or own last words, or None."""
    messages, text = task.messages(problem), getattr(task, "text", None)
    if prompt_format.style == "text" and text is not None:
        return thoughts.find_open_family(text(problem))
    return thoughts.find_open_family(messages[-1].content) if starts_answer(messages) else prompt_format.thought


def has_doubled_bos(tokenizer: Tokenizer, ids: Sequence[int]) -> bool:
    """Return whether a prompt begins with two BOS tokens, which no model has seen in training.

    ChatML opens every turn with one, which is fine.
    """
    return tokenizer.bos_token_id is not None and tuple(ids[:2]) == (tokenizer.bos_token_id,) * 2


def require_encodable(whose: str, text: str) -> None:
    """Refuse a text with a lone surrogate (JSON escapes can spell one), which no tokenizer accepts.

    Raises:
        BenchError: the text holds one; the message begins with `whose`.
    """
    if match := _SURROGATE.search(text):
        escaped = match[0].encode("ascii", "backslashreplace").decode()
        what = f"{whose} holds {escaped}, a lone surrogate"
        raise BenchError(what, "remove it, or write both halves; it is often an emoji that was cut in two")


def encode_with_bos(
    tokenizer: Tokenizer, prompt_format: PromptFormat, text: str, whose: str = "a prompt"
) -> tuple[int, ...]:
    """Encode a whole prompt's text, with BOS by the family's rule.

    Raises:
        BenchError: it holds a lone surrogate; the message begins with `whose`.
    """
    require_encodable(whose, text)
    ids = tokenizer.encode(text, add_special_tokens=False)
    if prompt_format.bos_id is not None and ids[:1] != [prompt_format.bos_id]:
        ids.insert(0, prompt_format.bos_id)
    return tuple(ids)


def encode_completion(
    tokenizer: Tokenizer, prompt_format: PromptFormat, solution: str, *, goes_on: bool = False
) -> tuple[int, ...]:
    """Encode the ids that a model is trained to write after `encode_prompt`'s: the solution and the id that ends it.

    Training tokenises prompt and completion separately, because scoring does: there the model continues after the
    prompt's last id. In the text style an answer begins with a space, as shots do; an answer that continues one begun
    in the prompt (`goes_on`) is encoded unchanged.

    Raises:
        BenchError: it holds a lone surrogate.
    """
    require_encodable("a solution", solution)
    text = solution if goes_on or prompt_format.style == "template" else f" {solution}"
    return (*tokenizer.encode(text, add_special_tokens=False), prompt_format.end_id)


def decode_completion(
    tokenizer: Tokenizer, token_ids: Sequence[int], stop_ids: Sequence[int], stop: Sequence[str]
) -> str:
    """Decode generated ids without special tokens, and cut before the first stop text.

    The first id of `stop_ids` ends the answer; ids after it are ignored. Keeps the text style's leading space, so that
    ids and text agree.
    """
    text = tokenizer.decode(_cut_at_stop(token_ids, stop_ids), skip_special_tokens=True)
    positions = [position for position in (text.find(mark) for mark in stop) if position >= 0]
    return text[: min(positions)] if positions else text


def is_answer_finished(
    tokenizer: Tokenizer, written: Sequence[int], stop_ids: Collection[int], stop: Sequence[str]
) -> bool:
    """Return whether the last written token ends the answer: a stop token, or one that completes a stop text."""
    if written[-1] in stop_ids:
        return True
    tail = tokenizer.decode(list(written[-_TAIL_TOKENS:]), skip_special_tokens=True) if stop else ""
    return any(mark in tail for mark in stop)


class AnswerLocator:
    """A finder of where the answer starts and ends in one model's completions; see `baseline_bench.models.thoughts`.

    Args:
        model_tokenizer: the model's tokenizer and prompt format.
        stop: texts that end an answer.
    """

    def __init__(self, model_tokenizer: ModelTokenizer, stop: Sequence[str]) -> None:
        self._tokenizer, self._how, self._stop = model_tokenizer.tokenizer, model_tokenizer.prompt_format, stop
        self._special = {i: self._spelled([i]) for i in collect_special_ids(model_tokenizer.tokenizer)}
        self._delimiters = any(map(thoughts.is_delimiter, self._special.values()))
        named = (i for i, token in self._special.items() if _TEXT_END.fullmatch(token))
        self._ends = {*named, *collect_control_tokens(model_tokenizer.tokenizer, model_tokenizer.prompt_format)}

    def started(self, completion: Completion, thought: str | None) -> Completion:
        """Return the completion with `answer_start` set and cut where the answer ends, in each of its draws too.

        The answer ends at the first special token that ends a text or a turn, stop id or not. Any other special token
        between two words leaves `BOUNDARY`. Reads the text alone if the token ids are not the tokenizer's own, as in a
        rehearsal; special tokens in the text of a server that reports no ids count too.

        Args:
            completion: as an engine yields it.
            thought: the thought that its prompt opened, by `find_open_thought`.

        Raises:
            BenchError: the text may have lost the special tokens around a thought, and no ids show them.
        """
        more = tuple(self.started(draw, thought) for draw in completion.more)
        ids = completion.token_ids
        if ids is None and self._delimiters and not thoughts.has_delimiter(completion.text):
            raise BenchError(
                "the server reports no token ids, and this model's thoughts begin and end with special tokens, which "
                "a text leaves out: a thought could be graded",
                "take a server that returns token ids, as vLLM's does, or --engine vllm or transformers",
            )
        pieces = self._split(completion.text) if ids is None else self._pieces(ids, completion.text)
        text = "".join(p.text for p in pieces if not p.special) if ids is None else completion.text
        start, end = thoughts.find_answer(pieces, thought)
        start = min(start, len(text))
        return replace(completion, text=_bound(text, pieces, start, end), more=more, answer_start=start)

    def _pieces(self, ids: Sequence[int], written: str) -> list[thoughts.TextPiece]:
        """Decode the ids, cut at every special token; return the text that an engine decoded if it is not theirs."""
        no_special = self._special.keys().isdisjoint(_cut_at_stop(ids, self._how.stop_ids))
        if no_special or decode_completion(self._tokenizer, ids, self._how.stop_ids, self._stop) != written:
            return [thoughts.TextPiece(written)]
        pieces: list[thoughts.TextPiece] = []
        prefix: list[int] = []  # some tokenizers drop the space of a first token
        for special, run in groupby(_cut_at_stop(ids, self._how.stop_ids), self._special.__contains__):
            if special:
                pieces += map(self._special_piece, run)
            else:
                run_ids = list(run)
                text = self._spelled([*prefix, *run_ids])[len(self._spelled(prefix)) :]
                pieces.append(thoughts.TextPiece(text))
                prefix = run_ids[-1:]
        return pieces

    def _split(self, text: str) -> list[thoughts.TextPiece]:
        """Cut a text at every special token that is written out in it."""
        ids = {token: i for i, token in self._special.items() if token.strip()}
        spelled = "|".join(map(re.escape, sorted(ids, key=len, reverse=True)))
        parts = re.split(f"({spelled})", text) if spelled else [text]
        return [self._special_piece(ids[p]) if number % 2 else thoughts.TextPiece(p) for number, p in enumerate(parts)]

    def _special_piece(self, token_id: int) -> thoughts.TextPiece:
        return thoughts.TextPiece(self._special[token_id], special=True, ends=token_id in self._ends)

    def _spelled(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)


def _bound(text: str, pieces: Sequence[thoughts.TextPiece], start: int, end: int) -> str:
    """Cut a text without special tokens at `end`; write `BOUNDARY` for those of its answer that join two words."""
    places, place = set[int](), 0
    for piece in pieces:
        if piece.special:
            places.add(place)
        else:
            place += len(piece.text)
    text = text[:end]
    inside = (i for i in sorted(places) if start < i < len(text))
    borders = [0, *(i for i in inside if not (text[i - 1].isspace() or text[i].isspace())), len(text)]
    return BOUNDARY.join(text[i:j] for i, j in pairwise(borders))


def collect_special_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids of the tokens that decoded answers leave out."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset((*tokenizer.all_special_ids, *added))


def collect_control_tokens(tokenizer: Tokenizer, prompt_format: PromptFormat) -> dict[int, str]:
    """Return id and text of the tokens that begin, end and pad texts and turns; delimiters of thoughts are left out."""
    turns = (Message("user", "Hello"), Message("assistant", "b"))
    written = render_conversation(tokenizer, turns, generation=False) if prompt_format.style == "template" else ""
    special = collect_special_ids(tokenizer)
    roles = (getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "pad"))
    ids = {*special.intersection(tokenizer.encode(written, add_special_tokens=False)), *prompt_format.stop_ids}
    ids.update(i for i in roles if i is not None)
    tokens = {i: tokenizer.decode([i], skip_special_tokens=False) for i in sorted(ids)}
    return {i: token for i, token in tokens.items() if not thoughts.is_delimiter(token)}


def digest_prompts(requests: Sequence[Request]) -> str:
    """Digest all requests to an engine, including order and boundaries, without their ids."""
    return digest_id_sequences(
        [(*each.token_ids, *([] if each.start is None else [f"from {each.start}"])) for each in requests]
    )


def digest_id_sequences(sequences: Sequence[Sequence[int | str]]) -> str:
    """Digest many id sequences, including order and boundaries."""
    digest = hashlib.sha256()
    for ids in sequences:
        digest.update(json.dumps(list(ids), separators=(",", ":")).encode())
    return digest.hexdigest()


def render_conversation(
    tokenizer: Tokenizer, messages: Sequence[Message], *, generation: bool, goes_on: bool = False
) -> str:
    """Render a conversation by the chat template, with a fixed date for templates that print today's.

    Args:
        tokenizer: of a model with a template.
        messages: the conversation.
        generation: open the assistant's turn after it.
        goes_on: leave its last turn, the assistant's, open.

    Raises:
        TemplateError: the template cannot write the conversation.
        BenchError: it takes too much time or memory.
    """
    template = tokenizer.chat_template or ""
    try:
        return tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            chat_template=_FIXED_DATE_MACRO + template if "strftime_now" in template else template,
            tokenize=False,
            add_generation_prompt=generation,
            continue_final_message=goes_on,
        )
    except BenchError:
        raise
    except Exception as error:  # a template is a program of its author and can raise anything
        what = f"the chat template cannot write a conversation: {str(error) or type(error).__name__:.300}"
        raise TemplateError(what, "restore it from its model") from error


def find_turn_ending(tokenizer: Tokenizer) -> tuple[str, tuple[int, ...]]:
    """Return what the template writes after an assistant's words, and its tokens that can end a turn.

    These are the special tokens, else the added ones that are not blank: some tokenizers do not mark their end of turn
    as special.
    """
    turns = (Message("user", "Hello"), Message("assistant", _SENTINEL))
    _, sentinel, tail = render_conversation(tokenizer, turns, generation=False).rpartition(_SENTINEL)
    ids = tokenizer.encode(tail, add_special_tokens=False) if sentinel else []
    special = collect_special_ids(tokenizer)
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if str(token).strip()}
    return (tail if sentinel else ""), tuple([i for i in ids if i in special] or [i for i in ids if i in added])


def _find_end_of_turn(tokenizer: Tokenizer) -> int | None:
    """Return the token with which a template ends an assistant's turn.

    gemma-2b-it names only `<eos>` in its configuration while its template ends turns with `<end_of_turn>`: without
    this id every answer would run on.
    """
    return next(iter(find_turn_ending(tokenizer)[1]), None)


def _find_template_thought(tokenizer: Tokenizer) -> str | None:
    """Return the family of the thought that the template opens after the user's words, or None."""
    prompt = render_conversation(tokenizer, (Message("user", _SENTINEL),), generation=True)
    return thoughts.find_open_family(prompt.rpartition(_SENTINEL)[2])


def _cut_at_stop(token_ids: Sequence[int], stop_ids: Sequence[int]) -> list[int]:
    ends = set(stop_ids)
    length = next((position for position, token in enumerate(token_ids) if token in ends), len(token_ids))
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
