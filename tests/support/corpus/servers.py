"""Answers of servers that are none, or answer something else than was asked, and sound ones that look alike.

A server has no codes: the run ends in one error and nothing is graded, or a version that is none is not recorded.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Model, Request, Sampling
from baseline_bench.engines import openai
from baseline_bench.evaluation import evaluate
from fake_server import MODELS, Handler, Reply, serve

from corpus.cases import REFUSED, Case, Check, Found, Run, finds

SAMPLING = Sampling(max_tokens=16)
CHOICE = {"text": "18", "finish_reason": "stop", "token_ids": [65, 66]}
SOUND = {"choices": [CHOICE]}
UNKNOWN = (("version-unknown", "note"),)


@dataclass(frozen=True)
class Served:
    """A server, and what it is asked: a completion, or the likelihoods of a row.

    Attributes:
        reply: answers each request, but the first one if `first` does.
    """

    reply: Reply
    version: Any = None
    models: Any = field(default_factory=lambda: MODELS)
    measured: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    first: Reply | None = None
    folder: Path = Path()

    def complete(self) -> Reply:
        """Answer the first request in its own way if there is one, the others as `reply` does."""
        waiting = [self.first] if self.first else []

        def complete(handler: Handler) -> None:
            reply = waiting.pop() if waiting else self.reply
            reply(handler)

        return complete


def look(served: Served, run: Run) -> list[Found]:
    """Ask the server by the engine, which never waits between two tries."""
    asked: list[float] = []
    with serve(served.complete(), served.version, served.models) as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai.time, "sleep", asked.append)
        try:
            version = _ask(served, endpoint)
        except BenchError:
            return list(REFUSED)
    found = [("waits", "fault")] if max(asked, default=0) > 60 else []
    return found + (list(UNKNOWN) if served.version is not None and not version.startswith("vllm ") else [])


def _ask(served: Served, endpoint: str) -> str:
    model = Model("tiny", "folder", None, served.folder, None, None)
    generator = openai.load(model, openai.Options(**{"endpoint": endpoint, "tries": 2, **served.options}))
    try:
        if served.measured:
            list(evaluate.stream_completions([Request("a", (1, 2, 3), 1)], generator, SAMPLING, ()))
        else:
            list(generator.complete([Request("a", (1, 2, 3))], SAMPLING, [0]))
        return generator.version
    finally:
        generator.close()


def _built(served: Served, folder: Path) -> Served:
    return replace(served, folder=tiny.build(folder))


def answers(body: Any, status: int = 200) -> Reply:
    """Every completion is this."""
    return lambda handler: handler.send(body, status)


def choice(**values: Any) -> Reply:
    """A sound completion with these values."""
    return answers({"choices": [CHOICE | values]})


def streams(parts: Iterable[bytes], pause: float = 0.0) -> Reply:
    """A sound completion after blanks that are sent one by one."""

    def reply(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for part in parts:
            handler.wfile.write(part)
            threading.Event().wait(pause)
        handler.wfile.write(b'{"choices": [{"text": "18", "finish_reason": "stop"}]}')

    return reply


def _drip_head(handler: Handler) -> None:
    """A sound completion whose headers come byte by byte."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
    for _ in range(30):
        handler.wfile.write(b"x")
        threading.Event().wait(0.02)
    handler.wfile.write(b'\r\n\r\n{"choices": [{"text": "18", "finish_reason": "stop"}]}')


def _hang_up(handler: Handler) -> None:
    handler.close_connection = True


def _zip_falsely(handler: Handler) -> None:
    handler.send(SOUND, Content_Encoding="gzip")


def _read_without_deadline(client: Any, method: str, path: str, body: object) -> tuple[int, bytes, float]:
    """As `_Client._try`, however long the answer takes."""
    client._http.timeout = None
    read: list[Any] = []
    client._read(method, path, body, read, threading.Event())
    return read[0]


def _answer_soundly(*words: Any) -> Any:
    return MODELS if "models" in words else {**SOUND, "version": "1"}


_ENGINE = "engines.openai:"
_IDS = finds(_ENGINE + "ServerGenerator._are_ids", True)
_ANSWER = finds(_ENGINE + "ServerGenerator._completion", Completion("18", (65, 66), "stop"))
_ASKED = finds(_ENGINE + "_require_as_asked")
_NAME = finds(_ENGINE + "_choose_served", ("m", 4096))
_STATUS = Check(_ENGINE + "_parse_response", _answer_soundly)
_ZERO = Check(_ENGINE + "_ZERO_LIKELIHOOD", None)
_SENT = Check(_ENGINE + "_Client.send", lambda _, *words: _answer_soundly(*words))
_SIZE = Check(_ENGINE + "_ANSWER_LIMIT", 2**40)
_TIME = Check(_ENGINE + "_Client._try", _read_without_deadline)
_PAUSE = Check(_ENGINE + "_LONGEST_PAUSE", 1e9)
_VERSION = finds(_ENGINE + "_Client.read_version", "vllm 1 (server)")
_HAND, _SERVER = "found by hand", "servers with a limit or a template of their own"


def _bad(name: str, reply: Reply, check: Check, twin: str = "an answer", source: str = _HAND, **more: Any) -> Case:
    return Case(name, source, partial(_built, Served(reply, **more)), REFUSED, twin, (check,))


def _sound(name: str, reply: Reply, twin: str, *checks: Check, **more: Any) -> Case:
    return Case(name, "vLLM answers so", partial(_built, Served(reply, **more)), (), twin, checks)


def _unknown(name: str, version: Any) -> Case:
    return Case(name, _HAND, partial(_built, Served(choice(), version)), UNKNOWN, "a version", (_VERSION,))


def _used(value: Any = None, **usage: int) -> Reply:
    return answers({"choices": [value or CHOICE], "usage": usage})


def _measured(count: int, last: float = -1.5) -> Reply:
    logprobs = [None, {"2": {"logprob": -0.5}}, {"3": {"logprob": last}}]
    return answers({"choices": [{"prompt_logprobs": logprobs}], "usage": {"prompt_tokens": count}})


def _cut(**values: Any) -> dict[str, Any]:
    return {**CHOICE, "finish_reason": "length", **values}


_WITHOUT_IDS = _cut(token_ids=None)
_ALL, _LAST = [65] * 16, [tiny.VOCABULARY - 1] * 16
_ONE_BY_ONE = {"options": {"timeout": 0.3}}
CASES: tuple[Case, ...] = (
    _bad("too many ids", choice(token_ids=[65] * 17), _IDS, "as many ids as asked"),
    _bad("an id outside the vocabulary", choice(token_ids=[tiny.VOCABULARY]), _IDS, "as many ids as asked"),
    _bad("an id below 0", choice(token_ids=[-1]), _ANSWER, "as many ids as asked"),
    _bad("true for an id", choice(token_ids=[True]), _IDS, "as many ids as asked"),
    _bad("no id", choice(token_ids=[]), _IDS),
    _bad("two choices", answers({"choices": [CHOICE, CHOICE]}), _ANSWER),
    _bad("no choice", answers({"choices": []}), _ANSWER),
    _bad("choices by name", answers({"choices": {"a": CHOICE}}), _ANSWER),
    _bad("a list", answers([]), _ANSWER),
    _bad("a text without end", choice(token_ids=None, text="x" * 5000), _ANSWER, "half a pair of surrogates"),
    _bad("not JSON", answers(b"{"), _STATUS),
    _bad("not finite", answers(b'{"choices": [{"text": "1", "finish_reason": "stop", "token_ids": [NaN]}]}'), _STATUS),
    _bad("deeply nested", answers(b"[" * 100_000), _STATUS),
    _bad("a false package", _zip_falsely, _SENT),
    _bad("a body without end", streams([b" " * 2**20] * 33), _SIZE, "a long body"),
    _bad("one byte at a time", streams([b" "] * 30, 0.02), _TIME, "one byte at a time, in time", **_ONE_BY_ONE),
    _bad("one byte of a header at a time", _drip_head, _TIME, "one byte at a time, in time", **_ONE_BY_ONE),
    _bad("a limit of its own", answers({"choices": [_cut()]}), _ANSWER, "the limit", _SERVER),
    _bad("a limit of its own, without ids", _used(_WITHOUT_IDS, completion_tokens=15), _ANSWER, "the limit", _SERVER),
    _bad("an added BOS", _used(prompt_tokens=4), _ASKED, "the prompt as sent", "servers that read text add one"),
    _bad("a prompt that is cut", _used(prompt_tokens=2), _ASKED, "the prompt as sent", _SERVER),
    _bad("a measured prompt that is cut", _measured(2), _ASKED, "a measured prompt", _SERVER, measured=True),
    _bad("another model", answers({**SOUND, "model": "n"}), _ASKED, "the model by its name", "gateways choose one"),
    _bad("a long name", choice(), _NAME, "a name of 200", models={"data": [{"id": "m" * 201}]}),
    _bad("an escape sequence as name", choice(), _NAME, "a name of 200", models={"data": [{"id": "m\x1b[31m"}]}),
    _bad("no list of models", choice(), _NAME, models=[]),
    _bad("a context that is no number", choice(), _NAME, models={"data": [{"id": "m", "max_model_len": "9e9"}]}),
    _bad("always 500", answers(b"\x1b[2J down", 500), _STATUS, "500 once", options={"tries": 3}),
    _bad("a refusal", answers({}, 400), _STATUS, "500 once"),
    _bad("always hangs up", _hang_up, _SENT, "hangs up once"),
    _unknown("an escape sequence as version", "\x1b[2J"),
    _unknown("a page as version", "x" * 100),
    _unknown("an object as version", {"a": 1}),
    _unknown("a number as version", 7),
    _unknown("an empty version", ""),
    _sound("an answer", choice(), "no id"),
    _sound("as many ids as asked", choice(token_ids=_LAST), "too many ids"),
    _sound("half a pair of surrogates", choice(token_ids=None, text="\ud83d 18\u2028"), "a text without end"),
    _sound("a long body", streams([b" " * 2**20] * 8), "a body without end"),
    _sound("one byte at a time, in time", streams([b" "] * 30), "one byte at a time"),
    _sound("the limit", answers({"choices": [_cut(token_ids=_ALL)]}), "a limit of its own"),
    _sound("the limit, without ids", _used(_WITHOUT_IDS, completion_tokens=16), "a limit of its own, without ids"),
    _sound("no usage", answers({"choices": [_WITHOUT_IDS], "usage": None}), "a limit of its own, without ids"),
    _sound("the end of the context", answers({"choices": [_cut()]}), "a limit of its own",
           models={"data": [{"id": "m", "max_model_len": 5}]}),
    _sound("the prompt as sent", _used(prompt_tokens=3), "an added BOS"),
    _bad("a token without any likelihood", _measured(3, -9999.0), _ZERO, "an unlikely token", "vLLM", measured=True),
    _sound("an unlikely token", _measured(3, -9998.0), "a token without any likelihood", measured=True),
    _sound("a measured prompt", _measured(3), "a measured prompt that is cut", measured=True),
    _sound("the model by its name", answers({**SOUND, "model": "m"}), "another model"),
    _sound("a name of 200", choice(), "a long name", models={"data": [{"id": "org/m" * 40}]}),
    _sound("500 once", choice(), "always 500", first=answers({}, 500)),
    _sound("asks to wait for a day", choice(), "always 500", _PAUSE,
           first=lambda handler: handler.send({}, 429, Retry_After="86400")),
    _sound("hangs up once", choice(), "always hangs up", first=_hang_up),
    _sound("a version", choice(), "an escape sequence as version", version="0.26.1"),
)  # fmt: skip
