"""Generate through any server that speaks OpenAI's completions protocol, such as a cluster behind `vllm serve`.

Sends prompts as token ids, so that the server cannot change them. Retries after transport errors and from busy or
failing servers (429 and every 5xx). A request that the server refuses stops the run, since grading it as wrong would
score the server. Every answer has a deadline and a size limit.
"""

import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import httpx2
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Model, Request, Sampling, TokenLogprobs, TrainingExample, Value
from baseline_bench.core.untrusted import parse_json, read_object
from baseline_bench.models.tokens import decode_completion
from baseline_bench.models.weights import get_text_config
from transformers import AutoTokenizer

# Bytes of one answer: prompt_logprobs of 128,000 tokens.
_ANSWER_LIMIT = 32 * 2**20
# Seconds before the next try, and the characters that one token may decode to.
_LONGEST_PAUSE, _TOKEN_CHARACTERS = 60.0, 256
_LARGEST_LOGPROB = 1e9
# A server may take what a request leaves out from the model's generation_config.json, as `vllm serve` does. A top_k of
# -1 keeps every token.
_UNCHANGED_LOGITS = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
# What vLLM's server writes for minus infinity, because JSON has no such number.
_ZERO_LIKELIHOOD = -9999.0
_NAME_CHARACTERS = 200
_CHECK_ENDPOINT = "check the endpoint; it should end in /v1"
_VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,60}")
Item = TypeVar("Item", Request, TrainingExample)
Answer = TypeVar("Answer")
NEUTRAL = {"neutral": True}  # changes no answer: a resumed run may use another value


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the openai engine.

    Attributes:
        endpoint: the address up to and with /v1, such as http://127.0.0.1:8000/v1.
        served: the server's name for the model; none takes the only one it serves.
        send: ids, or text for servers that take no token ids (decodes the prompt; the server then decides about BOS).
        concurrency: requests in flight at most.
        tries: how often to send one request when the connection or the server fails.
        timeout: seconds from sending a request to the last byte of its answer.
        key: the bearer token, if the server wants one; never recorded.
    """

    endpoint: str = "http://127.0.0.1:8000/v1"
    served: str | None = None
    send: str = "ids"
    concurrency: int = field(default=32, metadata=NEUTRAL)
    tries: int = field(default=7, metadata=NEUTRAL)
    timeout: float = field(default=600.0, metadata=NEUTRAL)
    key: str | None = field(default=None, repr=False, metadata={"secret": True})

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint must begin with http:// or https://, not '{self.endpoint}'")
        if self.send not in ("ids", "text"):
            raise ValueError(f"send must be ids or text, not '{self.send}'")
        if self.concurrency < 1 or self.tries < 1 or self.timeout <= 0:
            raise ValueError("concurrency, tries and timeout must be above 0")


class ServerGenerator:
    """A model that a server runs."""

    def __init__(self, client: "_Client", tokenizer: Any, options: Options, served_model: "_ServedModel") -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._vocabulary = served_model.vocabulary
        self._options = options
        self._served = served_model.name
        self.version = served_model.version
        self.context = served_model.context
        self.settings: dict[str, Value] = {"served": served_model.name, "send": options.send, "device": "server"}

    def complete(
        self, requests: Sequence[Request], sampling: Sampling, stop_ids: Sequence[int]
    ) -> Iterator[tuple[str, Completion]]:
        """Keep `concurrency` requests in flight and yield each answer as it arrives.

        Raises:
            BenchError: a request is refused, cannot be delivered, or is answered with nonsense.
        """
        yield from self._flying(requests, lambda request: self._one(request, sampling, tuple(stop_ids)))

    def logprobs(self, rows: Sequence[TrainingExample]) -> Iterator[tuple[str, TokenLogprobs]]:
        """Send whole rows as prompts, whose log-probabilities the server returns (`prompt_logprobs`, as vLLM does).

        Raises:
            BenchError: as `complete`, or the server returns none, or `send` is text.
        """
        if self._options.send != "ids":
            raise BenchError("likelihoods are measured of token ids, and -o send=text sends none", "leave it out")
        yield from self._flying(rows, self._measured)

    def _flying(self, items: Sequence[Item], ask: Callable[[Item], Answer]) -> Iterator[tuple[str, Answer]]:
        remaining = iter(items)
        pool = ThreadPoolExecutor(self._options.concurrency)
        flight = {pool.submit(ask, item): item for item in islice(remaining, self._options.concurrency)}
        try:
            while flight:
                done, _ = wait(flight, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda each: each.exception() is not None):
                    item = flight.pop(future)
                    yield item.id, future.result()
                    for following in islice(remaining, 1):
                        flight[pool.submit(ask, following)] = following
        except BaseException:
            self._client.close()  # ends what is still in flight after a refusal or an interruption
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _measured(self, row: TrainingExample) -> TokenLogprobs:
        body = {
            "model": self._served,
            "prompt": list(row.token_ids),
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 1,
            "add_special_tokens": False,
        }
        answer = self._client.send("POST", "completions", body)
        _require_as_asked(answer, row, self._served)
        try:
            (choice,) = answer["choices"]
            prompt_logprobs = choice.get("prompt_logprobs")
            if prompt_logprobs is None:
                what = "the server returns no prompt_logprobs"
                raise BenchError(what, "take a vLLM server, or --engine transformers")
            start = row.start
            position_logprobs = [
                {int(name): _parse_logprob(value["logprob"]) for name, value in position.items()}
                for position in prompt_logprobs[start:]
            ]
            return TokenLogprobs.of(row.token_ids[start:], position_logprobs)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise _protocol_error(row.id, answer) from error

    def close(self) -> None:
        """Close the connections; the server stays."""
        self._client.close()

    def _one(self, request: Request, sampling: Sampling, stop_ids: tuple[int, ...]) -> Completion:
        prompt: list[int] | str = list(request.token_ids)
        if self._options.send == "text":
            prompt = self._tokenizer.decode(prompt, skip_special_tokens=False)
        body = {
            "model": self._served,
            "prompt": prompt,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p or 1.0,
            **_UNCHANGED_LOGITS,
            "stop": list(sampling.stop) or None,
            "seed": sampling.seed_of(request.id),
            "stop_token_ids": list(stop_ids),
            "return_token_ids": True,
            "skip_special_tokens": False,  # of a server without token ids they show where an answer ends
            "add_special_tokens": False,
        }
        answer = self._client.send("POST", "completions", body)
        _require_as_asked(answer, request, self._served)
        return self._completion(answer, request, sampling, stop_ids)

    def _completion(self, answer: Any, request: Request, sampling: Sampling, stop_ids: tuple[int, ...]) -> Completion:
        try:
            (choice,) = answer["choices"]
            text, finish, ids = choice["text"], choice["finish_reason"], choice.get("token_ids")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise _protocol_error(request.id, answer) from error
        fits = isinstance(text, str) and len(text) <= _TOKEN_CHARACTERS * (sampling.max_tokens + 1)
        if not (fits and finish in ("stop", "length") and (ids is None or self._are_ids(ids, sampling))):
            raise _protocol_error(request.id, answer)
        count = _read_usage(answer, "completion_tokens") if ids is None else len(ids)
        limit = min(sampling.max_tokens, self.context - len(request.token_ids))
        if finish == "length" and count is not None and count < limit:
            what = f"the server cut {request.id} at {count:,} tokens, although {limit:,} were requested"
            raise BenchError(what, "raise the server's own limit of tokens per answer")
        if ids is None:
            cuts = [position for position in (text.find(mark) for mark in sampling.stop) if position >= 0]
            return Completion(text[: min(cuts)] if cuts else text, None, finish)
        return Completion(decode_completion(self._tokenizer, ids, stop_ids, sampling.stop), tuple(ids), finish)

    def _are_ids(self, ids: Any, sampling: Sampling) -> bool:
        """Return whether these are one or more ids of the vocabulary, and no more than were asked for."""
        if not isinstance(ids, list) or not 0 < len(ids) <= sampling.max_tokens:
            return False
        return all(type(i) is int and 0 <= i < self._vocabulary for i in ids)


def _require_as_asked(answer: Any, item: Request | TrainingExample, served: str) -> None:
    """Refuse a server that adds tokens to the prompt, such as a second BOS, cuts it, or answers with another model.

    Many servers report how many tokens they read; the protocol counts those of a cached prefix too.

    Raises:
        BenchError: it read more or fewer tokens than the prompt has, or names another model.
    """
    count, sent = _read_usage(answer, "prompt_tokens"), len(item.token_ids)
    if count is not None and count != sent:
        how = "adds some, such as a second BOS" if count > sent else "cuts the prompt"
        what = f"the server read {count:,} tokens for {item.id}, whose prompt has {sent:,}: it {how}"
        raise BenchError(what, "let it read the prompt as sent, or send token ids (without -o send=text)")
    model = answer.get("model", served) if isinstance(answer, dict) else served
    if not str(model).startswith(served):  # a gateway may add a version to the name
        raise BenchError(f"the server answers as {model!r:.200} where {served!r} was asked", "name it: -o served=NAME")


def _read_usage(answer: Any, name: str) -> int | None:
    """Return a count of tokens that the server reports, if it does."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int else None


@dataclass(frozen=True, slots=True)
class _ServedModel:
    """What a server reports about itself."""

    name: str
    version: str
    context: int
    vocabulary: int


def measures(options: Options) -> bool:
    """Return False: never measure worked solutions on a server; tasks that need log-probabilities still get them."""
    return False


def load(model: Model, options: Options) -> ServerGenerator:
    """Find the model on the server; BenchError if no server answers, or it serves another model or several."""
    client = _Client(options)
    name, context = _choose_served(client.send("GET", "models", None), options)
    tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True, trust_remote_code=False)
    vocabulary = max(len(tokenizer), _read_vocabulary_size(model))
    return ServerGenerator(client, tokenizer, options, _ServedModel(name, client.read_version(), context, vocabulary))


def _choose_served(listed: Any, options: Options) -> tuple[str, int]:
    """Return the name and the context of the model to ask, from the server's list."""
    try:
        served = {str(card["id"]): card for card in listed["data"]}
    except (KeyError, TypeError) as error:
        raise _protocol_error("the list of models", listed) from error
    name = options.served or (next(iter(served)) if len(served) == 1 else "")
    if name not in served:
        shown = ", ".join(served)[:300] or "nothing"
        raise BenchError(f"{options.endpoint} serves {shown}", "name one: -o served=NAME")
    if not name.isprintable() or len(name) > _NAME_CHARACTERS:
        what = f"the server's name of the model has over {_NAME_CHARACTERS} characters or unprintable ones"
        raise BenchError(what, "serve it under a short name (vllm serve --served-model-name)")
    context = served[name].get("max_model_len") or 1_000_000
    if type(context) is not int or not 0 < context < 2**31:
        raise _protocol_error("the list of models", listed)
    return name, context


def _read_vocabulary_size(model: Model) -> int:
    """Return the rows of the embedding, of which the tokenizer may leave the last ones unused."""
    config = read_object(model.folder / "config.json", "restore the file")
    size = get_text_config(config).get("vocab_size")
    return size if type(size) is int else 0


class _Client:
    """A connection to the server that waits, reads and tries again within limits."""

    def __init__(self, options: Options) -> None:
        headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
        self._tries, self._timeout = options.tries, options.timeout
        base = options.endpoint.rstrip("/") + "/"
        self._http = httpx2.Client(base_url=base, headers=headers, timeout=options.timeout, trust_env=False)

    def close(self) -> None:
        """Close the connections, which ends requests in flight."""
        self._http.close()

    def send(self, method: str, path: str, body: object) -> Any:
        """Send one request and return its JSON answer; try again after transport failures and from busy servers.

        Raises:
            BenchError: no try is answered, or the answer is a refusal, too long or not JSON.
        """
        for attempt in range(1, self._tries + 1):
            pause = random.uniform(0.5, 1.0) * min(2 ** (attempt - 1), 30)
            try:
                status, data, wait_time = self._try(method, path, body)
            except (httpx2.TransportError, TimeoutError) as error:
                if attempt == self._tries:
                    raise BenchError(
                        f"no answer from {self._http.base_url} after {attempt} tries: {error or type(error).__name__}",
                        "start the server (vllm serve FOLDER) or give -o endpoint=http://HOST:PORT/v1",
                    ) from error
            except httpx2.DecodingError as error:
                raise _protocol_error(path, error) from error
            else:
                if (status != 429 and status < 500) or attempt == self._tries:
                    return _parse_response(status, data, path)
                pause = max(pause, wait_time)
            time.sleep(pause)
        raise AssertionError("tries is at least 1")

    def read_version(self) -> str:
        """Read vLLM's version from /version, which other servers lack."""
        try:
            status, data, _ = self._try("GET", "../version", None)
            version = _parse_response(status, data, "the version")["version"]
        except (httpx2.HTTPError, TimeoutError, BenchError, KeyError, TypeError):
            version = None
        known = isinstance(version, str) and _VERSION.fullmatch(version) is not None
        return f"vllm {version} (server)" if known else "openai-compatible server"

    def _try(self, method: str, path: str, body: object) -> tuple[int, bytes, float]:
        """Send a request once and return the status, the body and the seconds that the server asks to wait.

        A thread of its own reads the answer, since a server can send the headers too a byte at a time.

        Raises:
            TimeoutError: the answer is not complete in time.
            httpx2.HTTPError: the connection fails.
            BenchError: the answer is too long.
        """
        answers: list[tuple[int, bytes, float] | Exception] = []
        given_up = threading.Event()
        arguments = (method, path, body, answers, given_up)
        reader = threading.Thread(target=self._read, args=arguments, daemon=True)
        reader.start()
        reader.join(self._timeout)
        if not answers:
            given_up.set()
            raise TimeoutError(f"the answer takes more than {self._timeout:g} seconds")
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def _read(
        self,
        method: str,
        path: str,
        body: object,
        answers: list[tuple[int, bytes, float] | Exception],
        given_up: threading.Event,
    ) -> None:
        data = bytearray()
        try:
            with self._http.stream(method, path, json=body) as response:
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > _ANSWER_LIMIT:
                        raise BenchError(f"the server's answer has more than {_ANSWER_LIMIT:,} bytes", _CHECK_ENDPOINT)
                    if given_up.is_set():
                        return
                answers.append((response.status_code, bytes(data), _parse_wait(response.headers.get("retry-after"))))
        except Exception as error:  # noqa: BLE001  # the caller's thread raises it
            answers.append(error)


def _parse_logprob(value: object) -> float:
    if not isinstance(value, int | float) or not abs(value) < _LARGEST_LOGPROB:
        raise ValueError(f"{value!r:.60} is not a log-probability")
    return -math.inf if value == _ZERO_LIKELIHOOD else float(value)


def _parse_wait(text: str | None) -> float:
    """Return the seconds of a Retry-After header, up to a bound; 0 for none and for a date."""
    return min(float(text), _LONGEST_PAUSE) if text is not None and re.fullmatch("[0-9]{1,9}", text.strip()) else 0.0


def _parse_response(status: int, data: bytes, path: str) -> Any:
    if status >= 400:
        what = f"the server refused with {status}: {' '.join(data[:1200].decode('utf-8', 'replace').split())[:300]}"
        raise BenchError(what, "nothing was graded; finished answers are kept. Servers without token ids: -o send=text")
    try:
        return parse_json(data, path, None, surrogates=True)
    except BenchError as error:
        raise _protocol_error(path, error) from None


def _protocol_error(what: str, answer: object) -> BenchError:
    return BenchError(
        f"the server's answer for {what} is not the completions protocol: {answer!s:.200}", _CHECK_ENDPOINT
    )
