"""A server's answers are read as they are, and a busy or failing server is asked again.

What is refused: tests/support/corpus/servers.py.
"""

import random

import pytest
import tiny
from baseline_bench.core.types import Model, Request, Sampling
from baseline_bench.engines import openai
from fake_server import serve

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


@pytest.mark.parametrize("choice", [CHOICE, CHOICE | {"token_ids": [tiny.VOCABULARY - 1] * 16}])
def test_a_sound_answer_is_read(model, choice, pauses):
    """As many ids as were asked for, and the last of the vocabulary."""
    with serve(answered(choice), version="0.26.1") as endpoint:
        completions, generator = ask(model, endpoint)
    assert list(completions["q0"].token_ids) == choice["token_ids"]
    assert (generator.version, pauses) == ("vllm 0.26.1 (server)", [])


def test_a_server_is_asked_to_leave_the_logits_as_they_are(model):
    """Else `vllm serve` takes penalties from the model's generation_config.json, and no row would say so."""
    bodies = []
    with serve(lambda handler: (bodies.append(handler.asked), answered(CHOICE)(handler))) as endpoint:
        ask(model, endpoint)
    (body,) = bodies
    neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    assert neutral.items() <= body.items()
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.0, 1.0, 16)


def test_text_without_ids_may_hold_half_a_surrogate_pair(model):
    """A server that cuts an emoji in two is graded as it answers."""
    choice = CHOICE | {"token_ids": None, "text": "\ud83d 18\u2028"}
    with serve(answered(choice)) as endpoint:
        assert ask(model, endpoint)[0]["q0"].text == choice["text"]


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
