"""lm-eval's tasks that measure a likelihood beside the answer: judged where no number depends on it."""

import importlib.util
import json
import sys

import pytest
import tiny
from lm_eval_side import asked_by_lm_eval, held_ids, hub_folder, our_prompt, sides

from harness import plugins
from harness.cli import main
from harness.errors import BenchError
from harness.types import Completion, Problem, Split

LM_EVAL = importlib.util.find_spec("lm_eval") is not None
pytestmark = pytest.mark.skipif(not LM_EVAL, reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'")

# A metric of the kind that lm-eval's squadv2 loads: degrees of 100, the best ones by a threshold of the likelihood.
METRIC = '''
import datasets
import evaluate


def words(text):
    return [word for word in "".join(c if c.isalnum() else " " for c in text.lower()).split() if word != "the"]


def exact(said, golds):
    return float(any(words(said) == words(gold) for gold in golds or [""]))


def overlap(said, golds):
    degrees = []
    for gold in golds or [""]:
        common = len(set(words(said)) & set(words(gold)))
        total = len(words(said)) + len(words(gold))
        degrees.append(2 * common / total if total else 1.0)
    return max(degrees)


def best(rows):
    """Of answers in the order of their likelihood, those behind the best threshold are taken as no answer."""
    found = most = sum(not golds for _, golds, _, _ in rows)
    for said, golds, _, degree in sorted(rows, key=lambda row: row[2]):
        found += degree if golds else -bool(said.strip())
        most = max(most, found)
    return most


class SquadV2(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        answers = {"text": [text], "answer_start": [datasets.Value("int32")]}
        said = {"id": text, "prediction_text": text, "no_answer_probability": datasets.Value("float32")}
        features = datasets.Features({"predictions": said, "references": {"id": text, "answers": answers}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        told = {}
        for name, degree in (("exact", exact), ("f1", overlap)):
            rows = []
            for said, gold in zip(predictions, references):
                golds, text = gold["answers"]["text"], said["prediction_text"]
                rows.append((text, golds, said["no_answer_probability"], degree(text, golds)))
            answered = {
                "": rows,
                "HasAns_": [row for row in rows if row[1]],
                "NoAns_": [row for row in rows if not row[1]],
            }
            told |= {
                kind + name: 100 * sum(row[3] for row in some) / len(some) for kind, some in answered.items() if some
            }
            told[f"best_{name}"] = 100 * best(rows) / len(rows)
        return told
'''
ROWS = [
    {
        "id": "a",
        "question": "What boils at 100 C?",
        "answers": {"text": ["Water", "the water"], "answer_start": [0, 0]},
    },
    {"id": "b", "question": "Who drinks it?", "answers": {"text": [], "answer_start": []}},
    {"id": "c", "question": "What is ice?", "answers": {"text": ["frozen water"], "answer_start": [21]}},
]
TEXTS = (" the Water.", " Mia", " water", "")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Offline, with a metric of that name in the current folder, where the library looks for it first."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "squad_v2").mkdir()
    (tmp_path / "squad_v2" / "squad_v2.py").write_text(METRIC)
    monkeypatch.chdir(tmp_path)
    # The library keeps every metric that it loads, and takes it from there for whoever is offline later.
    config, kept = plugins.room("evaluate.config"), tmp_path / "kept"
    monkeypatch.setattr(config, "HF_MODULES_CACHE", kept / "modules")
    monkeypatch.setattr(config, "HF_METRICS_CACHE", kept / "metrics")
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("evaluate_modules")}
    yield
    for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
        del sys.modules[name]
    sys.modules.update(known)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Questions of our own in the hub's layout: two have an answer, one has none."""
    place = tmp_path_factory.mktemp("mirror")
    rows = [{"title": "Water", "context": "Water boils at 100 C. Ice is frozen water.", **row} for row in ROWS]
    hub_folder(place, "lighteval/squad_v2", "default", {"train": rows, "validation": rows})
    return place


def said(task, problem, text):
    """The verdict on one text, from what a committed answer holds."""
    return task.grade(Problem(problem.id, "", problem.answer, ""), Completion(text, None, "stop"))


def evaluated(task, texts, likely):
    """What lm-eval's evaluator tells of a model that writes these texts, and finds "unanswerable" so likely."""
    model = plugins.room("lm_eval.api.model")

    class Writer(model.LM):
        def generate_until(self, requests, disable_tqdm=False):
            return list(texts)

        def loglikelihood(self, requests, disable_tqdm=False):
            return [(each, False) for each in likely]

        loglikelihood_rolling = loglikelihood

    evaluate = plugins.room("lm_eval.evaluator").evaluate
    return evaluate(lm=Writer(), task_dict={"squadv2": task}, bootstrap_iters=0)["results"]["squadv2"]


@pytest.mark.parametrize("manner", ["chatml", "plain"])
def test_a_task_that_measures_a_likelihood_as_well_asks_what_it_asks_in_lm_eval(manner, tmp_path, mirror):
    """The question whose answer is generated, text for text and id for id, with its stop."""
    held, speech = sides(tmp_path / "model", manner)
    task = plugins.task("lm-eval:squadv2,exact=100")
    problems = task.problems(Split("test", mirror=mirror))
    theirs = plugins.room("tasks._lm_eval.definition").load("squadv2", str(mirror / "lighteval/squad_v2"))
    asked = asked_by_lm_eval(theirs, held, speech.manner.style == "template", len(problems))[::2]
    expected = [our_prompt(task, speech, problem) for problem in problems]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    assert (task.SAMPLING.stop, task.SAMPLING.max_tokens) == (tuple(asked[0][1]["until"]), held.max_gen_toks)


@pytest.mark.parametrize(("metric", "bar"), [("exact", 100), ("f1", 60), ("HasAns_f1", 60), ("NoAns_exact", 100)])
def test_a_metric_that_does_not_look_at_the_likelihood_says_of_each_answer_what_lm_eval_says(metric, bar, mirror):
    """Whatever likelihood lm-eval's model measures, its number for that answer alone reaches the bar or does not."""
    task = plugins.task(f"lm-eval:squadv2,{metric}={bar}")
    theirs = plugins.room("tasks._lm_eval.definition").load("squadv2", str(mirror / "lighteval/squad_v2"))
    verdicts = set()
    for problem, document in zip(task.problems(Split("test", mirror=mirror)), theirs.eval_docs, strict=True):
        for text in TEXTS:
            ours = said(task, problem, text).correct
            for likely in (-0.01, -20.0):
                item = theirs.process_results(document, [text, (likely, False)])[metric]
                assert (theirs.aggregation()[metric]([item]) >= bar) == ours
            verdicts.add(ours)
    assert verdicts == {True, False}


def test_a_metric_that_looks_at_the_likelihood_is_refused_before_anything_is_generated(mirror):
    """Over one answer no threshold is seen; over some, those of the task's own, it is."""
    with pytest.raises(BenchError, match=r"best_exact looks at a likelihood .* and none is measured here") as refused:
        plugins.task("lm-eval:squadv2,best_exact=100").problems(Split("test", mirror=mirror))
    for name in ("exact", "f1", "HasAns_exact", "NoAns_f1"):
        assert f" {name}" in refused.value.way_out
    assert "best" not in refused.value.way_out
    with pytest.raises(BenchError, match="judged by degrees") as unsaid:
        plugins.task("lm-eval:squadv2")
    assert "exact" in unsaid.value.way_out


def test_a_metric_that_cannot_be_had_is_told_by_its_name(tmp_path, mirror):
    """lm-eval asks the hub for it; what stood in the way is said, and not that a number is missing."""
    (tmp_path / "squad_v2" / "squad_v2.py").unlink()
    with pytest.raises(BenchError, match=r"cannot judge its own solution of test-0: .*squad_v2"):
        plugins.task("lm-eval:squadv2,exact=50").problems(Split("test", mirror=mirror))


def test_a_metric_that_looks_at_the_likelihood_of_one_answer_gives_it_no_verdict(tmp_path, monkeypatch):
    """Were a likelihood assumed in silence, the verdict would be an invention."""
    task = plugins.task("lm-eval:squadv2,exact=100")
    surer = METRIC.replace(
        "degree(text, golds)))", "degree('' if said['no_answer_probability'] > 0.5 else text, golds)))"
    )
    assert surer != METRIC
    (tmp_path / "squad_v2" / "squad_v2.py").write_text(surer)
    gold = json.dumps({"lm-eval document": {"title": "", "context": "", **ROWS[0]}}, separators=(", ", ":"))
    with pytest.raises(BenchError, match="exact looks at a likelihood"):
        task.readings(gold, "Water")
    assert not task.readings(gold, "Milk")["none"].correct


def test_a_row_of_such_a_task_is_made_checked_and_summed_as_lm_eval_sums_it(tmp_path, mirror, capfd):
    """Sums that depend on no likelihood are lm-eval's own, and the others are not told."""
    model, script = tiny.build(tmp_path / "model", "chatml"), tmp_path / "script.jsonl"
    texts = [" Water", " Mia", " water"]
    lines = [json.dumps({"id": f"test-{number}", "text": text}) + "\n" for number, text in enumerate(texts)]
    script.write_text("".join(lines))
    words = ["--engine", "scripted", "-o", f"script={script}", "--datasets", str(mirror), "--json"]
    assert main(["baseline", str(model), "--task", "lm-eval:squadv2,exact=100", *words]) == 0
    assert json.loads(capfd.readouterr().out)["result"]["counts"]["correct"] == 1
    (entry,) = (tmp_path / "leaderboards" / "lm-eval-squadv2-exact-100").glob("*.json")
    assert main(["verify", "--level", "1", str(entry), "--datasets", str(mirror)]) == 0
    capfd.readouterr()
    assert main(["verify", "--against", "lm-eval", str(entry)]) == 0
    rows = (line.split() for line in capfd.readouterr().out.splitlines())
    told = {row[0]: float(row[1]) for row in rows if row and row[0].endswith(",none")}
    theirs = plugins.room("tasks._lm_eval.definition").load("squadv2", str(mirror / "lighteval/squad_v2"))
    sums = [evaluated(theirs, texts, likely) for likely in ((-9.0, -0.1, -9.0), (-0.1, -9.0, -0.1))]
    assert sums[0]["best_exact,none"] != sums[1]["best_exact,none"]
    assert set(told) == {f"{kind}{name},none" for kind in ("", "HasAns_", "NoAns_") for name in ("exact", "f1")}
    assert told == {name: pytest.approx(sums[0][name], rel=1e-5) for name in told}


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_of_any_two_likelihoods_each_is_once_the_greater(count):
    """And all of them are once certain and once impossible together."""
    found = list(plugins.room("tasks._lm_eval.likelihoods").extremes(count))
    assert all(len(each) == count for each in found)
    assert len(found) == (1 if count == 0 else 2 + 2 * (count - 1).bit_length())
    pairs = {(one, other) for one in range(count) for other in range(count) if one != other}
    assert {(one, other) for one, other in pairs for each in found if each[one] > each[other]} == pairs
    assert {len(set(each)) for each in found[:2]} == ({0} if count == 0 else {1})
