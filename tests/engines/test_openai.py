"""A server's answers are read within limits, and a busy or failing server is asked again."""

import random
import threading
from contextlib import nullcontext

import pytest
import tiny
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model, Request, Sampling, TrainingExample
from baseline_bench.engines import openai
from fake_server import MODELS, serve

SAMPLING = Sampling(max_tokens=16)
CHOICE = {"text": "18", "finish_reason": "stop", "token_ids": [65, 66]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model, for its tokenizer."""
    folder = tiny.build(tmp_path_factory.mktemp("served") / "tiny")
    return Model("tiny", "folder", None, folder, None, None)


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The seconds that the engine would have waited before each new try."""
    waited = []
    monkeypatch.setattr(openai.time, "sleep", waited.append)
    return waited


def ask(model, endpoint, count=1, **options):
    """Complete `count` requests."""
    generator = openai.load(model, openai.Options(endpoint=endpoint, **options))
    requests = [Request(f"q{number}", (1, 2, 3)) for number in range(count)]
    try:
        return dict(generator.complete(requests, SAMPLING, [0])), generator
    finally:
        generator.close()


def answered(choice):
    """What answers each request with one choice."""
    return lambda handler: handler.send({"choices": [choice]})


BAD = {
    "too many ids": {"choices": [CHOICE | {"token_ids": [65] * 17}]},
    "two choices": {"choices": [CHOICE, CHOICE]},
    "no choice": {"choices": []},
    "an id outside the vocabulary": {"choices": [CHOICE | {"token_ids": [tiny.VOCABULARY]}]},
    "an id below 0": {"choices": [CHOICE | {"token_ids": [-1]}]},
    "true for an id": {"choices": [CHOICE | {"token_ids": [True]}]},
    "no id": {"choices": [CHOICE | {"token_ids": []}]},
    "an endless text": {"choices": [CHOICE | {"token_ids": None, "text": "x" * 5000}]},
    "not JSON": b"{",
    "not finite": b'{"choices": [{"text": "18", "finish_reason": "stop", "token_ids": [NaN]}]}',
    "deeply nested": b"[" * 100_000,
    "choices by name": {"choices": {"a": CHOICE}},
    "a list": [],
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_an_answer_that_breaks_the_protocol_is_refused(model, body):
    """One error, and nothing is graded; the sound twin is `test_a_sound_answer_is_read`."""
    with serve(lambda handler: handler.send(body)) as endpoint, pytest.raises(BenchError, match="completions protocol"):
        ask(model, endpoint)


@pytest.mark.parametrize("choice", [CHOICE, CHOICE | {"token_ids": [tiny.VOCABULARY - 1] * 16}])
def test_a_sound_answer_is_read(model, choice, pauses):
    """As many ids as were asked for, and the last of the vocabulary."""
    with serve(answered(choice), version="0.26.1") as endpoint:
        completions, generator = ask(model, endpoint)
    assert list(completions["q0"].token_ids) == choice["token_ids"]
    assert (generator.version, pauses) == ("vllm 0.26.1 (server)", [])


SHORT = CHOICE | {"finish_reason": "length"}
WITHOUT_IDS = {"text": "18", "finish_reason": "length"}
AT_CONTEXT_END = {"data": [{"id": "m", "max_model_len": 5}]}
CHANGED = {
    "a lower limit": ({"choices": [SHORT]}, MODELS),
    "a lower limit without ids": ({"choices": [WITHOUT_IDS], "usage": {"completion_tokens": 15}}, MODELS),
    "a prompt with more": ({"choices": [CHOICE], "usage": {"prompt_tokens": 4}}, MODELS),
    "a prompt with fewer": ({"choices": [CHOICE], "usage": {"prompt_tokens": 2}}, MODELS),
    "another model": ({"choices": [CHOICE], "model": "n"}, MODELS),
    "a long name": ({"choices": [CHOICE]}, {"data": [{"id": "m" * 201}]}),
    "an unprintable name": ({"choices": [CHOICE]}, {"data": [{"id": "m\x1b[31m"}]}),
}
AS_ASKED = {
    "the limit": ({"choices": [SHORT | {"token_ids": [65] * 16}]}, MODELS),
    "the limit without ids": ({"choices": [WITHOUT_IDS], "usage": {"completion_tokens": 16}}, MODELS),
    "the end of the context": ({"choices": [SHORT]}, AT_CONTEXT_END),
    "no usage": ({"choices": [WITHOUT_IDS], "usage": None}, MODELS),
    "the prompt and the model": ({"choices": [CHOICE], "usage": {"prompt_tokens": 3}, "model": "m"}, MODELS),
    "a name": ({"choices": [CHOICE]}, {"data": [{"id": "org/m" * 40}]}),
}


@pytest.mark.parametrize(("body", "models"), CHANGED.values(), ids=CHANGED.keys())
def test_a_server_that_changes_what_is_asked_is_refused(model, body, models):
    """A limit, a prompt or a model of its own gives another score."""
    with serve(lambda handler: handler.send(body), models=models) as endpoint, pytest.raises(BenchError) as refusal:
        ask(model, endpoint)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(("body", "models"), AS_ASKED.values(), ids=AS_ASKED.keys())
def test_a_server_that_answers_as_asked_is_read(model, body, models):
    """The sound twins."""
    with serve(lambda handler: handler.send(body), models=models) as endpoint:
        assert list(ask(model, endpoint)[0]) == ["q0"]


@pytest.mark.parametrize(("count", "is_sound"), [(3, True), (2, False)])
def test_a_row_whose_prompt_is_cut_is_not_measured(model, count, is_sound):
    """The same holds for likelihoods."""
    logprobs = [None, {"2": {"logprob": -0.5}}, {"3": {"logprob": -1.5}}]
    body = {"choices": [{"prompt_logprobs": logprobs}], "usage": {"prompt_tokens": count}}
    with serve(lambda handler: handler.send(body)) as endpoint:
        generator = openai.load(model, openai.Options(endpoint=endpoint))
        with nullcontext() if is_sound else pytest.raises(BenchError, match="cuts the prompt"):
            assert len(list(generator.logprobs([TrainingExample("a", (1, 2, 3), 1)]))) == 1
        generator.close()


def test_text_without_ids_may_hold_half_a_surrogate_pair(model):
    """A server that cuts an emoji in two is graded as it answers."""
    choice = CHOICE | {"token_ids": None, "text": "\ud83d 18\u2028"}
    with serve(answered(choice)) as endpoint:
        assert ask(model, endpoint)[0]["q0"].text == choice["text"]


@pytest.mark.parametrize("version", ["\x1b[2J", "x" * 100, {"a": 1}, 7, ""])
def test_a_version_that_is_none_is_not_recorded(model, version):
    """Neither escape sequences nor pages of text go into an entry."""
    with serve(answered(CHOICE), version=version) as endpoint:
        assert ask(model, endpoint)[1].version == "openai-compatible server"


def test_an_endless_body_ends_at_the_limit(model, monkeypatch):
    """The engine reads no more than the limit, whatever the server goes on to send."""
    monkeypatch.setattr(openai, "_ANSWER_LIMIT", 10_000)

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 1000)

    with serve(endless) as endpoint, pytest.raises(BenchError, match="more than 10,000 bytes"):
        ask(model, endpoint)


@pytest.mark.parametrize("in_body", [True, False])
def test_a_server_that_never_ends_its_answer_is_given_up(model, in_body):
    """The deadline is for the whole answer, headers included, and not for each byte."""
    ended = threading.Event()

    def trickle(handler):
        if in_body:
            handler.send_response(200)
            handler.end_headers()
        while not ended.wait(0.02):
            handler.wfile.write(b"x")

    with serve(trickle) as endpoint:
        with pytest.raises(BenchError, match=r"no answer .* after 2 tries: .* more than 0\.3 s"):
            ask(model, endpoint, tries=2, timeout=0.3)
        ended.set()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_a_busy_server_is_asked_again_after_the_time_that_it_names(model, status, pauses):
    """Retry-After is followed up to a minute; anything else in it is ignored."""
    named = iter(["7", "100000", "tomorrow", "-1", None])

    def busy(handler):
        wait = next(named, "done")
        if wait == "done":
            handler.send({"choices": [CHOICE]})
        else:
            handler.send({}, status, **({} if wait is None else {"Retry_After": wait}))

    with serve(busy) as endpoint:
        assert ask(model, endpoint)[0]["q0"].text is not None
    assert pauses[:2] == [7.0, 60.0]
    assert len(pauses) == 5
    assert all(0 < pause <= 30 for pause in pauses[2:])


def test_a_server_that_always_fails_ends_the_run(model, pauses):
    """Tries are bounded, and the status is named."""
    down = serve(lambda handler: handler.send(b"\x1b[2J down", 500))
    with down as endpoint, pytest.raises(BenchError, match="refused with 500"):
        ask(model, endpoint, tries=3)
    assert len(pauses) == 2


def test_a_server_that_fails_at_random_needs_no_new_start(model):
    """Of 200 requests every tenth or so fails, each in its own way, and all are answered."""
    draw = random.Random(0)

    def flaky(handler):
        kind = draw.randrange(30)
        if kind == 0:
            handler.send({}, 500)
        elif kind == 1:
            handler.send({}, 429, Retry_After="1")
        elif kind == 2:
            handler.close_connection = True
        else:
            handler.send({"choices": [CHOICE]})

    with serve(flaky) as endpoint:
        assert len(ask(model, endpoint, count=200, concurrency=4)[0]) == 200
