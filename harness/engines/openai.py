"""Generate through any server that speaks OpenAI's completions protocol, such as a cluster behind `vllm serve`.

Sends prompts as token ids, so that the server cannot change them. Retries after transport errors and from busy servers
(429, 502, 503, 504). A request that the server refuses stops the run, since grading it as wrong would score the server.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import httpx2
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, Model, Request, Sampling, TokenLogprobs, TrainingExample, Value
from baseline_bench.models.tokens import decode_completion
from transformers import AutoTokenizer

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
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
        timeout: seconds to wait for one answer.
        key: the bearer token, if the server wants one; never recorded.
    """

    endpoint: str = "http://127.0.0.1:8000/v1"
    served: str | None = None
    send: str = "ids"
    concurrency: int = field(default=32, metadata=NEUTRAL)
    tries: int = field(default=5, metadata=NEUTRAL)
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

    def __init__(self, client: httpx2.Client, tokenizer: Any, options: Options, served_model: "_ServedModel") -> None:
        self._client = client
        self._tokenizer = tokenizer
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
        answer = _send_request(self._client, "POST", "completions", self._options.tries, body)
        try:
            prompt_logprobs = answer["choices"][0].get("prompt_logprobs")
            if prompt_logprobs is None:
                raise BenchError(
                    "the server returns no prompt_logprobs", "take a vLLM server, or --engine transformers"
                )
            start = row.start
            position_logprobs = [
                {int(name): float(value["logprob"]) for name, value in position.items()}
                for position in prompt_logprobs[start:]
            ]
            return TokenLogprobs.of(row.token_ids[start:], position_logprobs)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
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
            "stop": list(sampling.stop) or None,
            "seed": sampling.seed_of(request.id),
            "stop_token_ids": list(stop_ids),
            "return_token_ids": True,
            "add_special_tokens": False,
        }
        answer = _send_request(self._client, "POST", "completions", self._options.tries, body)
        _require_prompt_as_sent(answer, request)
        return self._completion(answer, request, sampling, stop_ids)

    def _completion(self, answer: Any, request: Request, sampling: Sampling, stop_ids: tuple[int, ...]) -> Completion:
        try:
            choice = answer["choices"][0]
            text, finish, ids = choice["text"], choice["finish_reason"], choice.get("token_ids")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _protocol_error(request.id, answer) from error
        sound = ids is None or (isinstance(ids, list) and all(type(i) is int and 0 <= i < 2**31 for i in ids) and ids)
        if not isinstance(text, str) or finish not in ("stop", "length") or not sound:
            raise _protocol_error(request.id, answer)
        if ids is None:
            cuts = [position for position in (text.find(mark) for mark in sampling.stop) if position >= 0]
            return Completion(text[: min(cuts)] if cuts else text, None, finish)
        return Completion(decode_completion(self._tokenizer, ids, stop_ids, sampling.stop), tuple(ids), finish)


def _require_prompt_as_sent(answer: Any, request: Request) -> None:
    """Refuse a server that adds tokens to the prompt, such as a second BOS; many report how many they read.

    Fewer may be reported, where the server had read the rest before.

    Raises:
        BenchError: it read more tokens than the prompt has.
    """
    usage = answer.get("usage") if isinstance(answer, dict) else None
    count = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if type(count) is int and count > len(request.token_ids):
        raise BenchError(
            f"the server read {count:,} tokens for {request.id}, whose prompt has {len(request.token_ids):,}: it adds "
            "some, such as a second BOS",
            "let it add none, or take a server that is sent token ids (without -o send=text)",
        )


@dataclass(frozen=True, slots=True)
class _ServedModel:
    """What a server reports about itself."""

    name: str
    version: str
    context: int


def measures(options: Options) -> bool:
    """Return False: never measure worked solutions on a server; tasks that need log-probabilities still get them."""
    return False


def load(model: Model, options: Options) -> ServerGenerator:
    """Find the model on the server.

    Raises:
        BenchError: no server answers, or it serves another model or several.
    """
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    base = options.endpoint.rstrip("/") + "/"
    client = httpx2.Client(base_url=base, headers=headers, timeout=options.timeout, trust_env=False)
    listed = _send_request(client, "GET", "models", options.tries, None)
    try:
        served = {str(card["id"]): card for card in listed["data"]}
    except (KeyError, TypeError) as error:
        raise _protocol_error("the list of models", listed) from error
    name = options.served or (next(iter(served)) if len(served) == 1 else "")
    if name not in served:
        raise BenchError(f"{options.endpoint} serves {', '.join(served) or 'nothing'}", "name one: -o served=NAME")
    context = served[name].get("max_model_len") or 1_000_000
    if type(context) is not int:
        raise _protocol_error("the list of models", listed)
    tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True)
    return ServerGenerator(client, tokenizer, options, _ServedModel(name, _read_version(client), context))


def _read_version(client: httpx2.Client) -> str:
    try:
        value = client.get("../version").json()
        return f"vllm {value['version']} (server)"
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        return "openai-compatible server"


def _send_request(client: httpx2.Client, method: str, path: str, tries: int, body: object) -> Any:
    """Send one request and return its JSON answer; retry transport failures and busy servers with growing pauses."""
    for attempt in range(1, tries + 1):
        try:
            answer = client.request(method, path, json=body)
        except httpx2.TransportError as error:
            if attempt == tries:
                raise BenchError(
                    f"no answer from {client.base_url} after {tries} tries: {error or type(error).__name__}",
                    "start the server (vllm serve FOLDER) or give -o endpoint=http://HOST:PORT/v1",
                ) from error
        except httpx2.DecodingError as error:
            raise _protocol_error(path, error) from error
        else:
            if answer.status_code not in RETRIED_STATUSES or attempt == tries:
                return _parse_response(answer)
        time.sleep(random.uniform(0.5, 1.0) * min(2 ** (attempt - 1), 30))
    raise AssertionError("tries is at least 1")


def _parse_response(answer: httpx2.Response) -> Any:
    if answer.status_code >= 400:
        raise BenchError(
            f"the server refused with {answer.status_code}: {' '.join(answer.text.split())[:300]}",
            "nothing was graded; finished answers are kept. Servers without token ids: -o send=text",
        )
    try:
        return answer.json()
    except ValueError as error:
        raise _protocol_error(str(answer.url), answer.text) from error


def _protocol_error(what: str, answer: object) -> BenchError:
    return BenchError(
        f"the server's answer for {what} is not the completions protocol: {str(answer)[:200]}",
        "check the endpoint; it should end in /v1",
    )
