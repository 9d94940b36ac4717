"""lm-eval's tasks that draw several answers to a question: asked, kept and judged together, as lm-eval judges them."""

import importlib.util
import io
import json
import re
from collections import defaultdict
from dataclasses import replace

import pytest
import samples
import tiny
from lm_eval_side import hub_folder, scored_twice

from harness import draws, plugins, protocol, runs
from harness.cli import main
from harness.display import Screen
from harness.errors import BenchError
from harness.store import completions, noise
from harness.types import Completion, Problem, Request, Sampling, Split, Verdict

LM_EVAL = importlib.util.find_spec("lm_eval") is not None
needs_lm_eval = pytest.mark.skipif(
    not LM_EVAL, reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'"
)
NAME = "gsm8k_cot_self_consistency"
ROWS = [
    {"question": "Sam has 3 boxes of 4 pens. How many pens?", "answer": "3 x 4 = 12\n#### 12"},
    {"question": "Mia had 9 eggs and ate 2. How many are left?", "answer": "9 - 2 = 7\n#### 7"},
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Two questions of our own under GSM8K's name, in the hub's layout."""
    place = tmp_path_factory.mktemp("mirror")
    hub_folder(place, "openai/gsm8k", "main", {"train": ROWS, "test": ROWS})
    return place


def draw(text, *ids, cut=False):
    """One answer."""
    return Completion(text, ids or None, "length" if cut else "stop")


def test_draws_are_gathered_in_their_order_whatever_order_they_are_finished_in():
    """The first bears the question's own name; a question is whole with its last draw and not before."""
    gathered = draws.Draws([Request("a", (1,)), Request("b", (2,))], 3)
    asked = [(request.id, request.token_ids) for request in gathered.requests]
    assert asked[:3] == [("a", (1,)), ("a, draw 2", (1,)), ("a, draw 3", (1,))]
    assert gathered.add("a, draw 3", draw("three")) is None
    assert gathered.add("a", draw("one")) is None
    assert gathered.add("b, draw 2", draw("other")) is None
    assert gathered.waiting == 2
    whole = replace(draw("one"), more=(draw("two"), draw("three")))
    assert gathered.add("a, draw 2", draw("two")) == ("a", whole)
    assert gathered.waiting == 1


def test_each_draw_is_drawn_by_a_seed_of_its_own():
    """One seed for all would draw one answer so many times; a greedy answer is drawn by none."""
    sampling = Sampling(8, 0.7, seed=5, draws=3)
    seeds = {sampling.seed_of(name) for name in ("a", "a, draw 2", "b")}
    assert len(seeds) == 3
    assert sampling.seed_of("a") in seeds
    assert replace(sampling, seed=6).seed_of("a") not in seeds
    assert Sampling(8).seed_of("a") is None


def test_draws_are_kept_in_a_run_and_beside_an_entry(tmp_path):
    """Texts of all, tokens of all; an answer is cut where any draw was."""
    completion = Completion("one", (1, 2), "stop", (draw("two", 3, cut=True), draw("three", 4, 5, 6)))
    assert (completion.finish, len(completion.draws)) == ("length", 3)
    with runs.Run(tmp_path, {"task": "t"}) as run:
        run.append("a", completion)
        run.append("b", draw("alone", 9))
    assert runs.read_completions(tmp_path) == {"a": completion, "b": draw("alone", 9)}
    assert '"more"' not in (tmp_path / "completions.jsonl").read_text().splitlines()[1]

    line = completions.commit(Problem("a", "q", "1", ""), completion)
    assert (line.tokens, line.finish, line.more) == (6, "length", ("two", "three"))
    assert completions.from_lines(completions.to_lines([line]), "here") == (line,)
    assert [each.text for each in completions.written(line).draws] == ["one", "two", "three"]
    other = completions.commit(Problem("a", "q", "1", ""), replace(completion, more=(draw("two", 3, cut=True),) * 2))
    assert other.ids_sha256 != line.ids_sha256
    silent = completions.commit(Problem("a", "q", "1", ""), replace(completion, more=(draw("two"),)))
    assert (silent.tokens, silent.ids_sha256) == (None, None)
    assert noise.trace(silent) != noise.trace(replace(silent, more=("three",)))


@needs_lm_eval
def test_a_filter_is_named_as_lm_eval_names_it(mirror):
    """Of the filters of one task each gives a board of its own; what it has is told where another is asked for."""
    first, most = (plugins.task(f"lm-eval:{NAME}{said}") for said in ("", ",exact_match,maj@64"))
    assert Sampling(256, 0.2, ("Q:", "\n\n"), seed=1234, draws=64) == first.SAMPLING
    assert (f"lm-eval/{NAME}@2.0", f"lm-eval/{NAME},exact_match,maj@64@2.0") == (first.LABEL, most.LABEL)
    assert first.READER.startswith("lm-eval/exact_match,score-first@")
    assert most.READER.startswith("lm-eval/exact_match,maj@64@")
    assert plugins.task_name("any", most.LABEL) == f"lm-eval:{NAME},exact_match,maj@64"
    items = [task.problems(Split("test", mirror=mirror)) for task in (first, most)]
    assert protocol.digest(first, items[0]) != protocol.digest(most, items[1])
    with pytest.raises(BenchError, match="no filter 'maj@7'") as caught:
        plugins.task(f"lm-eval:{NAME},exact_match,maj@7")
    assert "score-first, maj@64, maj@8" in str(caught.value)


@needs_lm_eval
def test_the_draws_of_a_question_are_judged_as_lm_eval_s_own_evaluator_judges_them(mirror):
    """The same 64 texts to each question; every filter gives what `lm_eval run` would tell."""
    name, said = f"lm-eval:{NAME},exact_match,maj@64", "The answer is {}."
    texts = {
        # The first draw is wrong, most of 64 are right, most of the first 8 are wrong.
        "Sam has": [said.format(5)] * 6 + [said.format(12)] * 58,
        # The first draw is right, and few others; some say nothing.
        "Mia had": [said.format(7)] * 6 + ["No idea."] * 20 + [said.format(11)] * 38,
    }
    task = plugins.task(name)
    problems = task.problems(Split("test", mirror=mirror))
    drawn = [next(each for key, each in texts.items() if key in problem.question) for problem in problems]
    verdicts = []
    for problem, (first, *others) in zip(problems, drawn, strict=True):
        verdicts.append(task.grade(problem, replace(draw(first), more=tuple(map(draw, others)))))
    assert [(one.answer, one.correct, one.rule) for one in verdicts] == [
        ("12", True, "maj@64"),
        ("11", False, "maj@64"),
    ]

    theirs = plugins.room("tasks._lm_eval.definition").load(NAME, str(mirror / "openai" / "gsm8k"))
    told = _evaluated(theirs, texts)
    written = [(problem.answer, each) for problem, each in zip(problems, drawn, strict=True)]
    ours = task.totals(written)
    assert ours == {key: told[key] for key in ours}
    assert ours == {"exact_match,score-first": 0.5, "exact_match,maj@64": 0.5, "exact_match,maj@8": 0.5}
    assert [task.readings(pair[0], *pair[1])["score-first"].correct for pair in written] == [False, True]
    assert [task.readings(pair[0], *pair[1])["maj@8"].correct for pair in written] == [False, True]


def _evaluated(task, texts):
    """What lm-eval's evaluator tells of a model that writes these texts, one after another, to a question."""
    model, asked = plugins.room("lm_eval.api.model"), defaultdict(int)

    class Writer(model.LM):
        def generate_until(self, requests, disable_tqdm=False):
            answers = []
            for request in requests:
                question = request.args[0].rpartition("Q: ")[2]
                key = next(key for key in texts if key in question)
                answers.append(texts[key][asked[key]])
                asked[key] += 1
            return answers

        def loglikelihood(self, requests):
            raise AssertionError("nothing is measured")

        loglikelihood_rolling = loglikelihood

    evaluate = plugins.room("lm_eval.evaluator").evaluate
    return evaluate(lm=Writer(), task_dict={NAME: task}, bootstrap_iters=0)["results"][NAME]


@needs_lm_eval
def test_a_row_of_several_draws_is_made_shown_checked_and_exported(tmp_path, mirror, monkeypatch, capfd):
    """Real answers of a tiny model: eight draws a question differ, one seed gives one row, every page says so."""
    name = f"lm-eval:{NAME},exact_match,maj@64"
    task = plugins.task(name)
    model = tiny.build(tmp_path / "model", "chatml")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))  # eight shots are long
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(task, "SAMPLING", Sampling(6, 0.8, (), seed=1234, draws=8))
    row, words = scored_twice(model, name, mirror, capfd)
    assert row["sampling"]["draws"] == 8
    found = runs.read_completions(tmp_path / "run-one")
    assert [len({each.token_ids for each in answer.draws}) for answer in found.values()] == [8, 8]

    assert main(["show", "run-one"]) == 0
    shown = capfd.readouterr().out
    assert shown.count("draw 8 of 8") == 2
    page = next((tmp_path / "one").glob("lm-eval-*.md")).read_text()
    assert "temperature 0.80, 8 draws an item judged together" in page
    assert main(["board", "--check", "--leaderboards", "one", "--datasets", str(mirror)]) == 0
    entry = next((tmp_path / "one").glob("*/*.json"))
    assert main(["verify", "--level", "1", str(entry), "--datasets", str(mirror)]) == 0
    assert main(["verify", "--against", "lm-eval", str(entry)]) == 0
    assert "exact_match,maj@8" in capfd.readouterr().out
    assert main(["doctor", str(model), *words, "--answers", "1"]) in (0, 1)  # a tiny model's answers are strange
    assert re.search(r"test-\d+: (right|wrong), read .* by (maj@64|nothing-matched), ", capfd.readouterr().out)


def test_an_entry_with_fewer_draws_than_it_says_is_refused():
    """Whoever drops the draws that lost the vote is told."""
    audit = plugins.room("harness.store.audit")
    line = completions.commit(Problem("a", "q", "1", ""), replace(draw("one"), more=(draw("two"),)))
    sample = samples.entry()
    problems = []
    for count in (2, 3, None):
        sampling = replace(sample.result.sampling, draws=count)
        changed = replace(sample, result=replace(sample.result, sampling=sampling))
        problems.append(audit.completions(changed, [line], b""))
    assert [any("number of draws" in problem for problem in found) for found in problems] == [False, True, True]


OWN = '''"""Two answers to a question, drawn."""

from harness.types import Sampling
from tasks.word_problems import READER, grade, messages, problems

LABEL = "drawn@v1"
SAMPLING = Sampling(24, temperature=0.5, seed=1, draws=3)
'''


def test_a_number_task_of_one_s_own_is_judged_by_the_answer_that_is_read_most_often(tmp_path, monkeypatch, capfd):
    """Not by the first draw; and where a later draw alone was cut, the answer counts as cut."""
    task = plugins.task("word-problems")
    problem = Problem("a", "q", "12", "")
    said = [draw("#### 5"), draw("no number"), draw("So 12.", cut=True), draw("#### 12")]
    verdict = task.grade(problem, replace(said[0], more=tuple(said[1:])))
    assert (verdict.answer, verdict.correct, verdict.strict, verdict.finish) == ("12", True, False, "length")
    assert task.grade(problem, replace(said[0], more=(said[3],))).answer == "5"
    assert task.grade(problem, replace(said[1], more=(said[1],))).answer is None

    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    chosen = protocol.select(task.problems(Split()), 1, 0)[0]
    texts = ["#### 5", f"#### {chosen.answer}", f"#### {chosen.answer} and on and on and on"]
    names = [chosen.id, f"{chosen.id}, draw 2", f"{chosen.id}, draw 3"]
    lines = [json.dumps({"id": name, "text": text}) for name, text in zip(names, texts, strict=True)]
    (tmp_path / "script.jsonl").write_text("\n".join(lines) + "\n")
    model = tiny.build(tmp_path / "model", "chatml")
    words = ["--task", "./own.py", "--limit", "1", "--engine", "scripted", "-o", "script=script.jsonl", "--json"]
    assert main(["baseline", str(model), *words]) == 0
    counts = json.loads(capfd.readouterr().out)["result"]["counts"]
    assert (counts["correct"], counts["strict"], counts["cut"]) == (1, 1, 1)
    (entry,) = (tmp_path / "leaderboards" / "own").glob("*.json")
    assert main(["verify", "--level", "1", str(entry), "--task", "./own.py"]) == 0
    if LM_EVAL:
        assert main(["verify", "--against", "lm-eval", str(next(tmp_path.glob("runs/*")))]) == 1
        assert "several draws are judged together" in capfd.readouterr().err
    assert main(["export", "lm-eval", "./own.py"]) == 1
    assert "draws several answers" in capfd.readouterr().err


@needs_lm_eval
@pytest.mark.parametrize(
    "name", ["gsm8k", "gsm8k,exact_match", "gsm8k,exact_match,strict-match", "t,chrf=50", "t,m,f=0.1234567"]
)
def test_what_is_asked_of_lm_eval_is_found_again_by_its_own_words(name):
    """A label is made of them; a filter stands behind its metric."""
    settings = plugins.room("tasks._lm_eval.settings")
    assert str(settings.parse(name)) == name
    with pytest.raises(BenchError, match="names a filter and no metric"):
        settings.parse("gsm8k,,strict-match")


@needs_lm_eval
def test_a_share_of_right_draws_is_told_before_anything_is_generated(tmp_path, monkeypatch):
    """pass@1 of ten draws is no verdict without a bar; with one, lm-eval's program runs what was written."""
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")
    row = {"id": "s", "code": "def f(x):\n    return x + 1", "input": "1", "output": "2"}
    hub_folder(tmp_path, "cruxeval-org/cruxeval", "default", {"test": [row, row, row]})
    with pytest.raises(BenchError, match=r"10 draws by the share.*such as pass@1=0\.5"):
        plugins.task("lm-eval:cruxeval_output,pass@1").problems(Split("test", mirror=tmp_path))
    task = plugins.task("lm-eval:cruxeval_output,pass@1=0.5")
    problem = task.problems(Split("test", mirror=tmp_path))[0]
    right, wrong = draw("\nassert f(1) == 2\n"), draw("\nassert f(1) == 3\n")
    assert task.grade(problem, replace(right, more=(right,) * 5 + (wrong,) * 4)).correct
    assert not task.grade(problem, replace(right, more=(wrong,) * 9)).correct


def test_beams_are_refused_with_a_temperature(tmp_path, monkeypatch, capfd):
    """One of the two would be left out in silence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN.replace("draws=3", "beams=3"))
    model = tiny.build(tmp_path / "model", "chatml")
    assert main(["baseline", str(model), "--task", "./own.py", "--engine", "transformers"]) == 1
    assert "asks for beams and a temperature" in capfd.readouterr().err


def test_what_is_shown_of_an_answer_is_what_a_reader_can_take_in():
    """Eight draws of many, and the beginning of a gold that is a whole document; both say how much more there is."""
    reading = plugins.room("harness.stories.reading")
    gold = '{"lm-eval document": "' + "x" * 1_000 + '"}'
    many = replace(draw("draw 1"), more=tuple(draw(f"draw {number}") for number in range(2, 21)))
    verdict = Verdict("a", "so " * 400, "none", False, False, "stop")
    answered = reading.Answered(Problem("a", "Which?", gold, ""), many, verdict)
    out = io.StringIO()
    reading._print(answered, Screen(out, out))
    shown = " ".join(out.getvalue().split())
    assert "draw 8 of 20 draw 8 12 more draws" in shown
    assert f"({len(gold):,} characters)" in shown
    assert "(1,200 characters)" in shown
    assert "x" * 400 not in shown.replace(" ", "")
