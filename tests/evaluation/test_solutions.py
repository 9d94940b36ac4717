"""The worked solutions' log-probabilities: measured after the last answer, kept beside the entry, followed by audit."""

import gzip
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from baseline_bench import cli
from baseline_bench.core import plugins, records
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Split, TokenLogprobs
from baseline_bench.engines import transformers as engine
from baseline_bench.evaluation import pipeline
from baseline_bench.models import tokenizer
from baseline_bench.models.tokens import encode_completion, encode_prompt
from baseline_bench.results import entries
from baseline_bench.results import solutions as store
from baseline_bench.results.completions import decompress_file
from baseline_bench.results.entry import Entry, SolutionLikelihood
from baseline_bench.results.solutions import ItemLikelihood
from corpus import candidates
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT
from samples import answers, entry, regrade, result
from transformers import AutoModelForCausalLM

BOARDS = ROOT / "leaderboards"
ITEMS = 6
ENGINE = ("--engine", "transformers", "-o", "dtype=float32", "-o", "device=cpu")
SCORE = ("--task", "word-problems", "--limit", str(ITEMS), *ENGINE, "-o", "solutions=true")
WITHOUT = "the row has no record of its solutions' log-probabilities"

SUMS = '''"""Two sums; the second's solution names a word."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums@v1", Sampling(max_tokens=2)
def problems(split):
    return [Problem("test-1", "1+3?", "4", "#### 4"), Problem("test-2", "2+3?", "5", "#### 5{word}")]
def messages(problem):
    return (Message("user", problem.question),)
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A tiny real model."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny", "chatml")


@pytest.fixture(scope="module")
def scored(model, tmp_path_factory) -> Path:
    """A folder with one run of six items and its board."""
    here = tmp_path_factory.mktemp("scored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        assert cli.main(["score", str(model), *SCORE]) == 0
    return here


@pytest.fixture
def here(scored, tmp_path, monkeypatch) -> Path:
    """A copy of it, the current folder."""
    copy = shutil.copytree(scored, tmp_path / "here")
    monkeypatch.chdir(copy)
    return copy


def only(folder: Path, pattern: str) -> Path:
    """The one file there is."""
    (path,) = folder.glob(pattern)
    return path


def row(folder: Path) -> tuple[Path, Entry]:
    """The one entry of the board and its file."""
    path = only(folder, "leaderboards/*/*.json")
    return path, entries.read_entry(path)


def measured(folder: Path) -> tuple[ItemLikelihood, ...]:
    """What stands beside the one entry."""
    return store.parse_likelihoods(decompress_file(entries.solutions_path(row(folder)[0])), "beside")


def sample(total: int = 12) -> tuple[ItemLikelihood, ...]:
    """One likelihood for each of the samples' answers."""
    return tuple(ItemLikelihood(f"test-{i}", i + 1, -1.5 * (i + 1) - i / 1000) for i in range(total))


def told(lines: bytes) -> Entry:
    """The samples' entry with what it says of these lines."""
    return entry(replace(result(), solutions=store.summarise_likelihoods(lines, "here")))


def test_each_solution_is_measured_as_a_plain_forward_pass_would(model, scored):
    """Prompt and solution as a training would join them, the stop token counted, to a thousandth of a nat."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    model_tokenizer = tokenizer.load_tokenizer(engine.Model("tiny", "folder", None, model, None, None))
    task = plugins.load_task("word-problems")
    problems = {problem.id: problem for problem in task.problems(Split())}
    for item in measured(scored):
        prompt = encode_prompt(
            model_tokenizer.tokenizer, model_tokenizer.prompt_format, task.messages(problems[item.id])
        )
        solution = encode_completion(
            model_tokenizer.tokenizer, model_tokenizer.prompt_format, problems[item.id].solution
        )
        assert solution[-1] == model_tokenizer.prompt_format.end_id
        with torch.inference_mode():
            logprobs = network(torch.tensor([[*prompt, *solution]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        wanted = sum(float(logprobs[place, token]) for place, token in enumerate(solution))
        assert (item.tokens, item.logprob) == (len(solution), pytest.approx(wanted, abs=2e-3))


def test_a_row_says_what_its_lines_come_to(scored):
    """Mean and tokens are those of the lines, in the order of the completions, and the seconds are a phase."""
    path, made = row(scored)
    items, summed = measured(scored), made.result.solutions
    assert len(items) == ITEMS
    assert summed.tokens == sum(item.tokens for item in items)
    assert summed.mean_logprob == pytest.approx(sum(item.logprob for item in items) / summed.tokens, abs=1e-6)
    assert made.timings.phases["solutions"] >= 0
    assert entries.verify_entry(path) == []
    run = only(scored, "runs/*/solutions.jsonl")
    assert run.read_bytes() == decompress_file(entries.solutions_path(path))


def test_a_run_killed_before_or_while_it_measured_ends_in_the_unbroken_one_s_result(
    model, scored, tmp_path, monkeypatch
):
    """All answers are there and are not asked again; what was being measured is measured anew."""
    monkeypatch.chdir(tmp_path)
    original = engine.TransformersGenerator.logprobs

    def die(self, rows):
        yield next(original(self, rows))
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.TransformersGenerator, "logprobs", die)
    assert cli.main(["score", str(model), *SCORE]) == 130
    run = only(tmp_path, "runs/*")
    before = (run / "completions.jsonl").read_bytes()
    assert len(before.splitlines()) == ITEMS
    assert not (run / "solutions.jsonl").exists()
    monkeypatch.setattr(engine.TransformersGenerator, "logprobs", original)
    assert cli.main(["score", str(model), *SCORE]) == 0
    assert (run / "completions.jsonl").read_bytes() == before
    resumed, unbroken = row(tmp_path)[1], row(scored)[1]
    assert resumed.result.solutions == unbroken.result.solutions
    own = unbroken.result.provenance
    assert replace(resumed.result, provenance=own) == unbroken.result


def test_an_answered_run_whose_engine_no_longer_starts_is_a_row_without(model, here, monkeypatch, capfd):
    """Killed before it measured, given again where the engine cannot load: the answers are there, and they stand."""
    path, before = row(here)
    run = only(here, "runs/*")
    for lost in (run / "entry.json", run / "solutions.jsonl", path, entries.solutions_path(path)):
        lost.unlink()
    entries.completions_path(path).unlink()

    def refuse(*_asked):
        raise BenchError("no such device", "give -o device=cpu")

    monkeypatch.setattr(engine, "load", refuse)
    assert cli.main(["score", str(model), *SCORE]) == 0
    again = row(here)[1]
    assert (again.result.solutions, again.result.bits) == (None, before.result.bits)
    assert f"{WITHOUT}: no such device (give -o device=cpu)" in " ".join(capfd.readouterr().err.split())


def test_a_run_killed_after_it_measured_starts_no_engine(model, here, monkeypatch):
    """Only the entry was lacking: it comes from the lines that are there."""
    path, before = row(here)
    run = only(here, "runs/*")
    for lost in (run / "entry.json", path):
        lost.unlink()
    monkeypatch.setattr(pipeline, "generate_completions", None)
    assert cli.main(["score", str(model), *SCORE]) == 0
    again = entries.read_entry(run / "entry.json")
    assert again.result_sha256 == before.result_sha256


def test_the_same_command_again_changes_nothing(model, here):
    """A finished run is reported; what stands beside its entry stays as it is."""
    before = {path: path.read_bytes() for path in here.glob("leaderboards/*/*")}
    assert cli.main(["score", str(model), *SCORE]) == 0
    assert {path: path.read_bytes() for path in here.glob("leaderboards/*/*")} == before


def test_regrading_keeps_them(here, monkeypatch):
    """They hang on no reader: a new entry of the same run has them too, and its file stands beside it."""
    old, before = row(here)
    original = plugins.load_task("word-problems")
    wrong = {problem.id for problem in original.problems(Split())}

    def grade(problem, completion):
        return replace(original.grade(problem, completion), answer="0", correct=problem.id in wrong, strict=False)

    other = type("Task", (), {"LABEL": original.LABEL, "READER": original.READER, "grade": staticmethod(grade)})
    monkeypatch.setattr(plugins, "load_task", lambda name: other)
    assert cli.main(["regrade", str(only(here, "runs/*")), "--leaderboards", "leaderboards"]) == 0
    (new,) = set(here.glob("leaderboards/*/*.json")) - {old}
    assert entries.read_entry(new).result.counts.correct == ITEMS
    assert entries.read_entry(new).result.solutions == before.result.solutions
    assert entries.verify_entry(new) == []


def test_a_run_that_lost_them_is_told_so(here, capfd):
    """An entry that names lines never goes to a board without them."""
    only(here, "runs/*/solutions.jsonl").unlink()
    assert cli.main(["regrade", str(only(here, "runs/*")), "--leaderboards", "leaderboards"]) == 1
    assert "has lost its solutions.jsonl" in capfd.readouterr().err


@pytest.mark.parametrize("chosen", [("--engine", "scripted"), ENGINE, (*ENGINE, "-o", "solutions=false")])
def test_an_engine_that_does_not_measure_gives_a_row_without(model, tmp_path, monkeypatch, chosen):
    """One that cannot, a CPU where nobody asked, and one that was told not to: no entry speaks of solutions."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["score", str(model), "--task", "word-problems", "--limit", "4", *chosen]) == 0
    path, made = row(tmp_path)
    assert made.result.solutions is None
    assert b'"solutions":' not in path.read_bytes()
    assert not entries.solutions_path(path).exists()
    assert entries.verify_entry(path) == []


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_log_probabilities_that_are_not_finite_end_the_run(model, tmp_path, monkeypatch, capfd, number):
    """The answers come from the same numbers: there is no row, and the same command again makes none either."""
    monkeypatch.chdir(tmp_path)
    broken = lambda self, rows: iter([(row.id, TokenLogprobs((number, -1.0), False)) for row in rows])  # noqa: E731
    monkeypatch.setattr(engine.TransformersGenerator, "logprobs", broken)
    for _ in range(2):
        assert cli.main(["score", str(model), *SCORE]) == 1
        assert "NaN or infinite" in capfd.readouterr().err
    assert not list(tmp_path.glob("leaderboards/*/*.json"))


@pytest.mark.parametrize("unread", [True, False])
def test_a_solution_that_the_model_cannot_read_is_not_measured(tmp_path, monkeypatch, capfd, unread):
    """Its last word has the id after the embedding's last row; the prompts have lower ones, and the answers stand."""
    monkeypatch.chdir(tmp_path)
    word = "system" if unread else "apples"
    (tmp_path / "sums.py").write_text(SUMS.format(word=word))
    candidates.changed(partial(candidates.shorten, rows=511), "plain", vocab_size=511)(tmp_path / "model")
    assert cli.main(["score", "model", "--task", "sums.py", *ENGINE, "-o", "solutions=true"]) == 0
    assert (row(tmp_path)[1].result.solutions is None) == unread
    assert ("1 of 2 texts hold tokens" in capfd.readouterr().err) == unread


def test_what_cannot_be_measured_is_said_and_the_answers_stand(model, tmp_path, monkeypatch, capfd):
    """A row is about its answers: it is made, without the rest, and the terminal says why."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine.TransformersGenerator, "logprobs", lambda self, rows: _refuse())
    assert cli.main(["score", str(model), *SCORE]) == 0
    path, made = row(tmp_path)
    assert made.result.solutions is None
    assert "solutions" not in made.timings.phases
    assert entries.verify_entry(path) == []
    err = capfd.readouterr().err
    assert WITHOUT in err
    assert "out of memory" in err


def _refuse():
    raise BenchError("out of memory", "take less")


@pytest.mark.parametrize(("solution", "told"), [("word " * 5000, True), (" ", False)], ids=["too long", "none"])
def test_a_solution_that_is_absent_or_too_long_leaves_the_row_without(
    model, tmp_path, monkeypatch, capfd, solution, told
):
    """A mean over the other items would be one over others than the score's; a task that has none is no news."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.py").write_text(
        "from baseline_bench.core.types import Message, Problem, Sampling, Judgement\n"
        "LABEL, READER, SAMPLING = 'sums@v1', 'last@v1', Sampling(max_tokens=4)\n"
        f"def problems(split):\n    return [Problem('a', '1+1?', '2', '2'), Problem('b', '1+2?', '3', {solution!r})]\n"
        "def messages(problem):\n    return (Message('user', problem.question),)\n"
        "def grade(problem, completion):\n"
        "    return Judgement(problem.id, '0', 'last', False, False, completion.finish_reason)\n"
    )
    assert cli.main(["score", str(model), "--task", "./sums.py", *ENGINE, "-o", "solutions=true"]) == 0
    assert row(tmp_path)[1].result.solutions is None
    err = capfd.readouterr().err
    assert ("prompt and solution of b have" in err and WITHOUT in err) is told


def test_an_entry_is_written_with_them_and_read_back(tmp_path):
    """The lines lie beside it, compressed the same on every machine, and adding it again writes nothing."""
    lines = store.serialise_likelihoods(sample())
    path = entries.write_entry(told(lines), answers(), tmp_path, solutions=lines)
    beside = entries.solutions_path(path)
    assert beside.name == path.name.removesuffix(".json") + ".solutions.jsonl.gz"
    assert (entries.read_entry(path), decompress_file(beside)) == (told(lines), lines)
    assert entries.verify_entry(path, regrade) == []
    before = {item: item.stat().st_mtime_ns for item in tmp_path.iterdir()}
    assert entries.write_entry(told(lines), answers(), tmp_path, solutions=lines) == path
    assert {item: item.stat().st_mtime_ns for item in tmp_path.iterdir()} == before


@given(st.lists(st.tuples(st.text(), st.integers(1, 10**6), st.floats(-1e9, 0)), min_size=1, max_size=5))
def test_any_lines_survive(values):
    """Whatever ids a task gives, the lines give the items, and the items the lines."""
    items = tuple(
        ItemLikelihood(name, tokens, round(logprob, store.LOGPROB_DECIMALS)) for name, tokens, logprob in values
    )
    lines = store.serialise_likelihoods(items)
    assert store.parse_likelihoods(lines, "here") == items
    assert store.serialise_likelihoods(store.parse_likelihoods(lines, "here")) == lines


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{}", b"[]", b'["a",1]', b'["a",1,-1,2]', b"[1,1,-1]", b'["a",0,-1.5]', b'["a",true,-1]'),
        *(b'["a",1.5,-1]', b'["a",1,0.5]', b'["a",1,false]', b'["a",1,null]', b'["a",1,NaN]', b'["a",1,-1e999]'),
    ],
)
def test_what_is_no_line_is_named(line):
    """Its number stands in the error."""
    with pytest.raises(BenchError, match="here:2"):
        store.parse_likelihoods(b'["b",3,-2.5]\n' + line + b"\n", "here")


def test_a_certain_token_is_no_better_than_certain():
    """Rounding never makes a probability greater than one, and nothing at all has none."""
    assert store.build_item_likelihood("a", [1e-7, 1e-4, 0.01]) == ItemLikelihood("a", 3, 0)
    assert store.build_item_likelihood("a", [-0.12345, -1.0]) == ItemLikelihood("a", 2, -1.123)
    with pytest.raises(BenchError, match="no tokens"):
        store.build_item_likelihood("a", [])


def test_audit_finds_a_changed_line(tmp_path):
    """The digest no longer fits."""
    lines = store.serialise_likelihoods(sample())
    path = entries.write_entry(told(lines), answers(), tmp_path, solutions=lines)
    beside = entries.solutions_path(path)
    beside.write_bytes(gzip.compress(lines.replace(b"-1.5", b"-0.5", 1)))
    assert entries.verify_entry(path) == ["solutions.sha256 is not the digest of the solutions' log-probabilities"]
    beside.write_bytes(b"torn")
    assert "cannot be decompressed" in entries.verify_entry(path)[0]
    beside.unlink()
    assert entries.verify_entry(path) == ["lacks its solutions' log-probabilities"]
    beside.symlink_to(path)
    assert entries.verify_entry(path) == [f"{beside.name} is a link, not a file"]


def test_audit_finds_lines_that_no_entry_names(tmp_path):
    """An older entry stands without."""
    path = entries.write_entry(entry(), answers(), tmp_path)
    entries.solutions_path(path).write_bytes(gzip.compress(store.serialise_likelihoods(sample())))
    assert entries.verify_entry(path) == ["solutions' log-probabilities are stored next to it, but it names none"]


@pytest.mark.parametrize(
    ("over", "items", "what"),
    [
        ({"mean_logprob": -0.5}, sample(), "do not follow from their lines"),
        ({"tokens": 79}, sample(), "do not follow from their lines"),
        ({}, sample(11), "not those of the completions' items"),
        ({}, sample()[::-1], "not those of the completions' items"),
    ],
)
def test_numbers_that_do_not_follow_are_never_written(tmp_path, over, items, what):
    """Digests that fit do not help a forger."""
    lines = store.serialise_likelihoods(items)
    forged = entry(replace(result(), solutions=replace(store.summarise_likelihoods(lines, "here"), **over)))
    with pytest.raises(ValueError, match=what):
        entries.write_entry(forged, answers(), tmp_path, solutions=lines)
    assert list(tmp_path.iterdir()) == []


def test_lines_that_cannot_be_read_are_one_problem(tmp_path):
    """Even where the digest is theirs."""
    digest = store.summarise_likelihoods(store.serialise_likelihoods(sample()), "here")
    lines = b"[]\n"
    forged = replace(digest, sha256=records.hashlib.sha256(lines).hexdigest())
    with pytest.raises(ValueError, match="solutions:1: not"):
        entries.write_entry(entry(replace(result(), solutions=forged)), answers(), tmp_path, solutions=lines)


def test_the_rows_of_before_keep_their_bytes():
    """A committed entry that is older than the measurement is sound, reads as one without and is spelled as it was."""
    older = [path for path in sorted(BOARDS.glob("gsm8k/*.json")) if b'"solutions"' not in path.read_bytes()]
    assert len(older) >= 20
    for path in older:
        made = entries.read_entry(path)
        assert made.result.solutions is None
        assert records.encode_indented(made) == path.read_bytes()
        assert entries.verify_entry(path) == []


def test_an_entry_s_solutions_are_part_of_its_result():
    """Another mean is another result; none at all leaves the digest that an older program gave."""
    some = SolutionLikelihood(-1.5, 10, "0" * 64)
    assert entry(replace(result(), solutions=some)).result_sha256 != entry().result_sha256
    assert "solutions" not in json.loads(records.encode_canonical(result()))
