"""Our own likelihood tasks: choices measured behind the prompt by each engine that can; the likeliest is judged."""

import http.server
import json
import threading
from contextlib import suppress

import pytest
import tiny
from announced import unannounced
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Completion, LogLikelihood, Message, Model, Problem, Split
from baseline_bench.evaluation import protocol
from baseline_bench.models import tokenizer
from baseline_bench.models.tokens import build_requests
from baseline_bench.results.completions import read_completions
from baseline_bench.tasks import _choices as likeliest

FRUIT = '''"""Which fruit? The likeliest of three words."""

from baseline_bench.core.types import Message, Problem
from baseline_bench.tasks._choices import SAMPLING, build_grade, build_reader_name

LABEL, READER = "fruit@v1", build_reader_name("character")
WORDS = ("apples", "eggs and birds", "trees")


def problems(split):
    return [Problem(f"test-{n}", f"Tom has {n} of them. What?", WORDS[n % 3], "") for n in range(6)]


def messages(problem):
    return (Message("user", problem.question),)


def choices(problem):
    return WORDS


grade = build_grade(choices, "character")
'''


@pytest.fixture
def task(tmp_path):
    """The task of the file above."""
    (tmp_path / "fruit.py").write_text(FRUIT)
    return plugins.load_task(str(tmp_path / "fruit.py"))


def speech_of(folder):
    """A model's tokenizer as we speak to it."""
    return tokenizer.load_tokenizer(Model("tiny", "folder", None, folder, None, None))


def test_a_choice_stands_where_a_training_would_put_it(task, tmp_path):
    """Behind the very prompt that is asked, by the seam of training, without the token that ends an answer."""
    model_tokenizer = speech_of(tiny.build(tmp_path / "model", "plain"))
    (first, *_), problem = task.problems(Split()), task.problems(Split())[0]
    asked = build_requests(model_tokenizer, task, problem)
    assert [each.item for each in asked] == [first.id] * 3
    prompt = model_tokenizer.tokenizer.decode(asked[0].token_ids[: asked[0].start], skip_special_tokens=False)
    texts = [
        model_tokenizer.tokenizer.decode(each.token_ids[each.start :], skip_special_tokens=False) for each in asked
    ]
    assert prompt.endswith("Answer:")
    assert texts == [" apples", " eggs and birds", " trees"]


@pytest.mark.parametrize(("per", "chosen"), [("text", "b"), ("token", "a"), ("character", "four"), ("byte", "four")])
def test_normalisation_decides_and_the_first_of_equals_counts(per, chosen):
    """Each divides by its own number; of equally likely choices the first one is taken, as in lm-eval."""
    words = ("four", "b", "a")
    found = tuple(LogLikelihood(value, False, tokens) for value, tokens in ((-4.0, 1), (-2.0, 1), (-3.0, 9)))
    grade = likeliest.build_grade(lambda problem: words, per)
    verdict = grade(Problem("test-0", "", "four", ""), Completion("", (), "stop", likelihoods=found))
    assert (verdict.answer, verdict.correct) == (chosen, chosen == "four")
    tied = tuple(LogLikelihood(-2.0, False, 1) for _ in words)
    first = likeliest.build_grade(lambda problem: words)(
        Problem("test-0", "", "four", ""), Completion("", (), "stop", likelihoods=tied)
    )
    assert first.answer == "four"


def test_choices_and_normalisation_are_part_of_the_protocol(task):
    """Another word, another order or another normalisation is another task."""
    problems = task.problems(Split())
    before = protocol.digest_protocol(task, problems)
    digests = {before}
    for name, value in (
        ("choices", lambda problem: task.WORDS[::-1]),
        ("choices", lambda problem: ("a", "b")),
        ("READER", likeliest.build_reader_name("byte")),
    ):
        kept, _ = getattr(task, name), setattr(task, name, value)
        digests.add(protocol.digest_protocol(task, problems))
        setattr(task, name, kept)
    assert len(digests) == 4
    assert protocol.digest_protocol(task, problems) == before


@pytest.mark.parametrize("words", [("one",), ("one", ""), ("one", " "), ("one", "one")])
def test_choices_that_mean_nothing_are_refused(words, task, tmp_path):
    """Fewer than two, an empty one or two equal ones: one line that names the item."""
    model_tokenizer, problem = speech_of(tiny.build(tmp_path / "model", "plain")), task.problems(Split())[0]
    task.choices = lambda problem: words
    with pytest.raises(BenchError, match="test-0") as caught:
        build_requests(model_tokenizer, task, problem)
    assert "\n" not in str(caught.value)


class Telling(http.server.BaseHTTPRequestHandler):
    """A server of completions with prompt_logprobs: -1 of even tokens, -2 of odd ones; token 0 is the likeliest."""

    tells = True

    def do_GET(self):
        """The one model that is served."""
        self.say({"data": [{"id": "tiny", "max_model_len": 4096}]} if "models" in self.path else {"version": "1"})

    def do_POST(self):
        """Log-probabilities of the prompt, as vLLM's server spells them."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = [None] + [
            {str(token): {"logprob": -1.0 - token % 2, "rank": 2}, "0": {"logprob": -0.5, "rank": 1}}
            for token in asked["prompt"][1:]
        ]
        self.say(
            {"choices": [{"text": "", "finish_reason": "length", **({"prompt_logprobs": told} if self.tells else {})}]}
        )

    def say(self, value):
        """One JSON answer; who asked may be gone by then."""
        data = json.dumps(value).encode()
        with suppress(ConnectionError):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *words):
        """Nothing."""


@pytest.fixture
def server():
    """The server, on the loopback."""
    Telling.tells = True
    held = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Telling)
    held.handle_error = lambda *_: None  # a client that hangs up prints no traceback into the command's messages
    thread = threading.Thread(target=held.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{held.server_port}/v1"
    held.shutdown()
    thread.join()
    held.server_close()


def test_a_server_that_returns_prompt_logprobs_measures_choices(task, server, tmp_path, monkeypatch, capfd):
    """The row holds its sums; a server that returns none is told in one line."""
    model = tiny.build(tmp_path / "model", "chatml")
    monkeypatch.chdir(tmp_path)
    words = ["baseline", str(model), "--task", "./fruit.py", "--engine", "openai", "-o", f"endpoint={server}"]
    words += ["-o", "timeout=5", "-o", "tries=1"]  # a request that is in flight when the server ends must end too
    assert main([*words, "--json"]) == 0
    capfd.readouterr()
    (entry,) = (tmp_path / "leaderboards" / "fruit").glob("*.json")
    model_tokenizer = speech_of(model)
    for line, problem in zip(read_completions(entry.with_suffix(".jsonl.gz")), task.problems(Split()), strict=True):
        texts = [each.token_ids[each.start :] for each in build_requests(model_tokenizer, task, problem)]
        assert [each.logprob for each in line.likelihoods] == [-sum(1 + token % 2 for token in ids) for ids in texts]
        assert not any(each.greedy for each in line.likelihoods)
    Telling.tells = False
    assert main([*words, "--name", "other", "--leaderboards", "others"]) == 1
    (told,) = unannounced(capfd.readouterr().err)
    assert "prompt_logprobs" in told


def test_a_row_of_choices_is_measured_judged_again_and_checked(task, tmp_path, monkeypatch, capfd):
    """By transformers: what `grade` says of the committed likelihoods is what the row says, and the board checks."""
    model = tiny.build(tmp_path / "model", "chatml")
    monkeypatch.chdir(tmp_path)
    words = ["baseline", str(model), "--task", "./fruit.py", "--engine", "transformers", "-o", "dtype=float32"]
    assert main([*words, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)["result"]
    (entry,) = (tmp_path / "leaderboards" / "fruit").glob("*.json")
    lines = read_completions(entry.with_suffix(".jsonl.gz"))
    judged = [
        task.grade(Problem(line.id, "", line.gold, ""), Completion("", (), "stop", likelihoods=line.likelihoods))
        for line in lines
    ]
    assert result["counts"]["correct"] == sum(verdict.correct for verdict in judged)
    assert result["sampling"]["max_tokens"] == 0
    assert main(["board", "--check", "--task", "./fruit.py"]) == 0
    assert main(["verify", str(entry), "--level", "1", "--task", "./fruit.py"]) == 0
    assert task.messages(task.problems(Split())[0]) == (Message("user", "Tom has 0 of them. What?"),)
