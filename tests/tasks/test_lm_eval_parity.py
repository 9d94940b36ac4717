"""Our engines as a model of lm-eval, held to lm-eval's own `hf` model in float32: likelihoods, texts, item metrics."""

import importlib.util
import json
from itertools import chain

import lm_eval_side as side
import pytest
import tiny
from baseline_bench.cli import main
from baseline_bench.engines import _teacher_forcing
from baseline_bench.results.completions import read_completions

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'",
)
CLOSE = 1e-4
KINDS = ("letters", "endings", "last_words", "whole", "sums", "votes")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in side.OFFLINE:
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """The data sets of the task files."""
    return side.data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=["chatml", "plain"])
def model(request, tmp_path_factory):
    """A tiny model with a chat template, and one without."""
    return tiny.build(tmp_path_factory.mktemp("model") / request.param, request.param)


def by_item(samples, filter_name):
    """lm-eval's samples of one filter, in item order."""
    return sorted((each for each in samples if each["filter"] == filter_name), key=lambda each: each["doc_id"])


def same(one, other):
    """Two responses of lm-eval's: a text, a sum, or (log-likelihood, is greedy)."""
    if isinstance(one, str):
        return one == other
    if isinstance(one, tuple):
        return one[0] == pytest.approx(other[0], abs=CLOSE) and one[1] == other[1]
    return one == pytest.approx(other, abs=CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_lm_eval_s_evaluator_finds_the_same_with_our_engine_as_with_its_own_model(kind, model, mirror):
    """Every response and every metric of every item, with its evaluator around both."""
    chat = side.speech_of(model).prompt_format.style == "template"
    theirs, their_samples = side.evaluated(side.held(model), kind, mirror, chat=chat)
    ours, our_samples = side.evaluated(side.ours(model, side.sampling_of(kind)), kind, mirror, chat=chat)
    assert [len(our_samples), our_samples[0]["filter"]] == [len(their_samples), their_samples[0]["filter"]]
    for our, their in zip(our_samples, their_samples, strict=True):
        assert our["arguments"] == their["arguments"]
        pairs = zip(chain(*our["resps"]), chain(*their["resps"]), strict=True)
        assert all(same(one, other) for one, other in pairs)
        for metric in their["metrics"]:
            assert our[metric] == pytest.approx(their[metric], rel=CLOSE)
    for name, value in theirs.items():
        assert ours[name] == (pytest.approx(value, rel=CLOSE) if isinstance(value, float) else value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_holds_what_lm_eval_s_own_model_finds(kind, model, mirror, tmp_path, monkeypatch, capfd):
    """`bench baseline` over the same file: committed responses, likelihoods, metrics, bits, and level 1 of it."""
    monkeypatch.chdir(tmp_path)
    words = ["--engine", "transformers", "-o", "dtype=float32", "--datasets", str(mirror)]
    assert main(["baseline", str(model), "--task", side.named(kind), *words, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)["result"]
    (entry,) = (tmp_path / "leaderboards").glob("*/*.json")
    lines = read_completions(entry.with_suffix(".jsonl.gz"))
    chat = result["model"]["prompt_style"] == "template"
    theirs, samples = side.evaluated(side.held(model), kind, mirror, chat=chat)
    by_filter = {each["filter"]: by_item(samples, each["filter"]) for each in samples}
    first = next(iter(by_filter.values()))
    for line, sample in zip(lines, first, strict=True):
        responses = list(chain(*sample["resps"]))
        if line.likelihoods is None:
            assert [line.text, *(line.more or ())] == responses
        elif isinstance(responses[0], tuple):
            assert [(each.single, each.greedy) for each in line.likelihoods] == [
                (pytest.approx(logprob, abs=CLOSE), greedy) for logprob, greedy in responses
            ]
        else:
            assert sum(each.single for each in line.likelihoods) == pytest.approx(responses[0], abs=CLOSE)
    for key, value in {(f"{m},{f}", m): by_filter[f] for f in by_filter for m in first[0]["metrics"]}.items():
        if all(isinstance(each[key[1]], int | float) for each in value):
            assert [line.metrics[key[0]] for line in lines] == pytest.approx(
                [each[key[1]] for each in value], rel=CLOSE
            )
    if kind == "whole":
        assert result["aggregates"] == {name: pytest.approx(theirs[name], rel=CLOSE) for name in result["aggregates"]}
        assert {"word_perplexity,none", "byte_perplexity,none", "bits_per_byte,none"} <= set(result["aggregates"])
    else:
        counted = result["task"]["reader"].removeprefix("lm-eval/").rpartition("@")[0]
        assert result["counts"]["correct"] / len(lines) == pytest.approx(theirs[counted])
    verify = ["verify", str(entry), "--level", "1", "--datasets", str(mirror), "--task", side.named(kind)]
    assert main(verify) == 0
    assert main(["board", "--check", "--datasets", str(mirror), "--task", side.named(kind)]) == 0


def test_ties_are_decided_as_lm_eval_s_model_decides_them(tmp_path):
    """Of equally likely tokens the lowest id is greedy, and equal choices of one context come out equal."""
    import torch
    from lm_eval.api import instance

    teacher = _teacher_forcing
    logits = torch.zeros(1, 8)
    logits[0, 5] = logits[0, 3] = 2.0
    assert [teacher._read_logprobs(logits, [token]).greedy for token in (3, 5, 0)] == [True, False, False]
    folder = tiny.build(tmp_path / "model", "plain")
    lm, task = side.ours(folder, side.sampling_of("letters")), instance.Instance
    pair = [task("loglikelihood", {}, ("Answer:", " A"), n, ("t", 0, 1)) for n in range(2)]
    (first, second) = lm.loglikelihood(pair)
    assert first == second
