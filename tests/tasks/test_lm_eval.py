"""lm-eval's tasks as rows: groups, resumption, what an entry proves by itself, and what is refused."""

import gzip
import hashlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace

import lm_eval_side as side
import pytest
import tiny
from announced import unannounced
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError, suggest_extra
from baseline_bench.core.types import Completion, Sampling, Split, TokenLogprobs
from baseline_bench.evaluation import evaluate, runs
from baseline_bench.results import audit, entries
from baseline_bench.results.completions import read_completions
from baseline_bench.tasks import _lm_eval_files

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'",
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in side.OFFLINE:
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """The data sets of the task files."""
    return side.data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model with a chat template."""
    return tiny.build(tmp_path_factory.mktemp("model") / "chatml", "chatml")


def scored(model, file, mirror, capfd, *more):
    """The result and the entry's file of one row over a task file."""
    words = ["--engine", "transformers", "-o", "dtype=float32", "--datasets", str(mirror), "--json", *more]
    assert main(["baseline", str(model), "--task", side.named(file), *words]) == 0
    result = json.loads(capfd.readouterr().out)["result"]
    return result, next(path for path in runs.Path("leaderboards").glob(f"*{file.replace('_', '-')}*/*.json"))


def test_a_group_that_shares_a_metric_is_one_row_weighted_by_size(model, mirror, capfd):
    """Its items are those of all members, and its share is what lm-eval weights by size."""
    result, entry = scored(model, "both", mirror, capfd)
    parts = [
        side.evaluated(side.held(model), kind, mirror, chat=True)[0]["acc,none"] for kind in ("letters", "endings")
    ]
    lines = read_completions(entry.with_suffix(".jsonl.gz"))
    assert (result["task"]["label"], result["counts"]["total"]) == ("lm-eval/tiny_both@2.0", 18)
    assert result["counts"]["correct"] / 18 == pytest.approx(sum(parts) / 2)
    assert [line.id for line in lines][8:10] == ["tiny_letters-8", "tiny_endings-0"]


@pytest.mark.parametrize(("split", "found"), [("", ["shots-leak"]), ("fewshot_split: train\n", [])])
def test_a_task_that_draws_its_examples_from_what_it_scores_is_marked(split, found, model, mirror, tmp_path, capfd):
    """Without fewshot_split lm-eval falls back to the scored split, and does not leave the document out."""
    text = (
        (side.FILES / "sums.yaml").read_text().replace("fewshot_split: train\n", split).replace("tiny_sums", "fallen")
    )
    (tmp_path / "fallen.yaml").write_text(text)
    sums = [json.loads(line) for line in (mirror / "tiny/sums/test.jsonl").read_text().splitlines()]
    side.hub_folder(
        tmp_path / "data", "tiny/sums", "default", {"test": sums, **({"train": [_OTHER] * 9} if split else {})}
    )
    words = ("--engine", "scripted", "--datasets", str(tmp_path / "data"), "--json")
    assert main(["baseline", str(model), "--task", f"lm-eval:{tmp_path / 'fallen.yaml'}", *words]) == 0
    codes = [one["code"] for one in json.loads(capfd.readouterr().out)["findings"]]
    assert [code for code in codes if not code.startswith("answers-")] == found


_OTHER = {"question": "What is 90 + 92?", "answer": "182"}


def test_a_group_without_a_shared_metric_is_refused_with_its_members():
    """Before any data is read; each member can be named by itself."""
    with pytest.raises(BenchError) as caught:
        plugins.load_task(side.named("mixed"))
    told = str(caught.value)
    assert "\n" not in told
    assert all(word in told for word in ("tiny_mixed", "tiny_letters (acc,none)", "tiny_sums (exact_match,digits)"))


class Breaking:
    """A generator that measures and writes a few requests, and then breaks."""

    version, settings, context = "breaking 1", {}, 4096

    def __init__(self, most):
        self.most = most
        self.asked = []

    def logprobs(self, rows):
        """A number that follows from the text, for the first few rows."""
        for row in self.first(rows):
            yield row.id, TokenLogprobs((-float(sum(row.token_ids[row.start :])) / 7,), greedy=False)

    def complete(self, requests, sampling, stop_ids):
        """The request's own name, for the first few."""
        for request in self.first(requests):
            yield request.id, Completion(request.id, (1,), "stop")

    def first(self, requests):
        """So many as it answers."""
        self.asked = [request.id for request in requests]
        return requests[: self.most]

    def close(self):
        """Nothing to give back."""


@pytest.mark.parametrize("kind", ["endings", "votes"])
def test_a_run_goes_on_request_by_request(kind, model, mirror, tmp_path):
    """Each answered choice and draw stays, the torn last line of a kill does not, and the end is the same."""
    task = plugins.load_task(side.named(kind))
    chosen = evaluate.select_problems(task, Split(mirror=mirror), None, 0)
    model_tokenizer = side.speech_of(model)
    prepared = evaluate.prepare_task(task, chosen, model_tokenizer, 0)
    first, rest, whole = Breaking(13), Breaking(99), Breaking(99)
    with runs.Run(tmp_path / "run", {}) as run, pytest.raises(BenchError, match="unanswered"):
        evaluate.generate_completions(prepared, first, run, model_tokenizer, lambda *progress: None)
    with (tmp_path / "run" / "requests.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')
    seen = []
    with runs.Run(tmp_path / "run", {}) as run:
        evaluate.generate_completions(prepared, rest, run, model_tokenizer, lambda *progress: seen.append(progress))
        resumed = run.finished
    with runs.Run(tmp_path / "whole", {}) as run:
        evaluate.generate_completions(prepared, whole, run, model_tokenizer, lambda *progress: None)
        assert resumed == run.finished
    assert rest.asked == first.asked[13:]
    assert [done for done, _ in (seen[0], seen[-1])] == [13, 27]


def test_whole_texts_have_aggregates_and_are_compared_with_nothing(model, mirror, capfd):
    """The board shows them; a comparison and an export of right items are refused."""
    _, entry = scored(model, "whole", mirror, capfd)
    page = (entry.parent.parent / f"{entry.parent.name}.md").read_text()
    assert "word_perplexity,none" in page
    assert "against base" not in page
    assert main(["compare", str(entry), str(entry)]) in (0, 1)
    assert "not comparable" in "".join(capfd.readouterr())
    assert main(["export", "csv", str(entry)]) == 1
    assert sum(line.startswith("bench: ") for line in capfd.readouterr().err.splitlines()) == 1


WITHOUT = """
import sys
sys.modules["lm_eval"] = None
from baseline_bench.cli import main
entry = sys.argv[1]
assert main(["board", "--check"]) == 0
assert main(["verify", entry, "--level", "0"]) == 0
assert main(["verify", "--against", "lm-eval", entry]) == 1
assert main(["export", "lm-eval", "word-problems"]) == 1
assert main(["baseline", "smollm2-135m-it-q4_1", "--task", "lm-eval:gsm8k"]) == 1
"""


def test_without_lm_eval_an_entry_s_own_evidence_is_checked_and_the_rest_is_unchecked(model, mirror, capfd, tmp_path):
    """No fault on the board, one line that says so; what needs lm-eval names the extra in one line."""
    _, entry = scored(model, "letters", mirror, capfd)
    command = [sys.executable, "-c", WITHOUT, str(entry)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    assert [line for line in told if "unchecked" in line and "lm-eval/tiny_letters@1.0" in line] == told[:1]
    assert [line.endswith(suggest_extra("lm-eval")) for line in told[-3:]] == [True, True, True]


def rewritten(entry, change):
    """The entry with changed committed lines and their new digest, and the lines."""
    lines = [change(line) for line in read_completions(entry.with_suffix(".jsonl.gz"))]
    result = entries.read_entry(entry).result
    digest = hashlib.sha256(entries.serialise_completions(lines)).hexdigest()
    made = entries.Entry.of(
        replace(result, completions_sha256=digest), "2026-11-30T00:00:00Z", entries.read_entry(entry).timings
    )
    return made, lines


def test_a_metric_that_contradicts_a_bit_is_a_fault_without_lm_eval(model, mirror, capfd):
    """The bits follow from the metrics that stand beside them."""
    _, entry = scored(model, "letters", mirror, capfd)
    made, lines = rewritten(entry, lambda line: replace(line, metrics={"acc,none": 1 - line.metrics["acc,none"]}))
    assert any("acc,none" in fault for fault in audit.check_item_metrics(made, lines))
    with pytest.raises(ValueError, match="acc,none"):
        entries.write_entry(made, lines, entry.parent)


def test_a_likelihood_that_contradicts_a_metric_is_a_fault_where_the_data_is(model, mirror, capfd):
    """Level 1 judges the stored likelihoods again; in another order other choices are the likeliest."""
    _, entry = scored(model, "letters", mirror, capfd)
    made, lines = rewritten(entry, lambda line: replace(line, likelihoods=(*line.likelihoods[1:], line.likelihoods[0])))
    forged = entries.write_entry(made, lines, entry.parent)
    verify = ["verify", str(forged), "--level", "1", "--task", side.named("letters")]
    assert main([*verify, "--datasets", str(mirror)]) == 1
    assert "wrong" in capfd.readouterr().out
    assert gzip.decompress(forged.with_suffix(".jsonl.gz").read_bytes()).count(b"\n") == len(lines)


def empty(path):
    """A data set with an empty choice."""
    rows = [{"question": "What?", "choices": ["one", second, "three"], "answer": 0} for second in ("two", "")]
    side.hub_folder(path, "tiny/letters", "default", {"test": rows, "train": rows})


def long(path):
    """A data set with a choice that no context takes."""
    row = {"question": "What?", "choices": ["one", "word " * 5000, "three"], "answer": 0}
    side.hub_folder(path, "tiny/letters", "default", {"test": [row], "train": [row]})


@pytest.mark.parametrize(
    ("task", "words", "data", "told"),
    [
        ("lm-eval:arc_esay", [], None, ["arc_esay", "'arc_easy'"]),
        (f"{side.named('endings')},acc_nrm", [], None, ["acc_nrm", "'acc_norm'"]),
        (f"{side.named('votes')},exact_match,maj@4", [], None, ["maj@4", "maj@3"]),
        ("lm-eval:wmt16-en-de", [], None, ["judged by degrees", "=0.5"]),
        ("lm-eval:squadv2", [], None, ["Python class"]),
        ("lm-eval:chartqa", [], None, ["pictures"]),
        ("lm-eval:humaneval", [], None, ["HF_ALLOW_CODE_EVAL"]),
        ("lm-eval:none.yaml", [], None, ["none.yaml"]),
        (side.named("letters"), [], "nowhere", ["tiny/letters", "--datasets"]),
        (side.named("letters"), ["--engine", "scripted"], side.data, ["scripted", "--engine vllm"]),
        (side.named("endings"), ["--engine", "transformers"], empty, ["empty choice"]),
        (side.named("endings"), ["--engine", "transformers"], long, ["too long", "4096"]),
    ],
)
def test_what_cannot_be_a_row_is_told_in_one_line(task, words, data, told, tmp_path, capfd):
    """The reason and the way out, before a model is loaded; nothing is written."""
    place, model = tmp_path / "sets", tiny.build(tmp_path / "model", "chatml")
    place.mkdir()
    if callable(data):
        data(place)
    capfd.readouterr()
    assert main(["baseline", str(model), "--task", task, *words, "--datasets", str(place)]) == 1
    said = unannounced(capfd.readouterr().err)
    assert len(said) == 1
    assert [part for part in told if part not in said[0]] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "sets"]


def test_a_bar_makes_degrees_right_and_wrong(model, mirror):
    """An item is right that reaches it, or stays below where less is better; the label and the reader name it."""
    task = plugins.load_task(f"{side.named('last_words')},perplexity=3")
    problem = task.problems(Split(mirror=mirror))[0]
    judged = [
        task.grade(
            problem, Completion("", (), "stop", likelihoods=(TokenLogprobs((logprob,), False).likelihood,))
        ).correct
        for logprob in (-0.5, -5.0)
    ]
    assert judged == [True, False]
    assert task.LABEL == "lm-eval/tiny_last_words,perplexity=3@1.0"
    assert ",less@" in task.READER


def test_ifeval_asks_for_nothing_that_is_not_at_hand(monkeypatch):
    """lm-eval's own file would download nltk's tokenizer; here that is one line."""
    import nltk

    files = _lm_eval_files
    before = nltk.download
    with files.use_packaged_nltk(), pytest.raises(BenchError, match="punkt_tab"):
        nltk.download("punkt_tab")
    assert nltk.download is before
    assert Sampling(0) == plugins.load_task(side.named("letters")).SAMPLING
