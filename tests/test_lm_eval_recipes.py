"""lm-eval's tasks that Unitxt makes from a recipe: asked, judged and summed as lm-eval does, by the real Unitxt."""

import importlib.util
import json
import subprocess
import sys

import pytest
import tiny
import tiny_media
from lm_eval_side import asked_by_lm_eval, held_ids, hub_folder, our_prompt, sides

from harness import plugins
from harness.cli import main
from harness.errors import BenchError
from harness.types import Completion, Problem, Split

LM_EVAL = importlib.util.find_spec("lm_eval") is not None
pytestmark = pytest.mark.skipif(not LM_EVAL, reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'")
needs_unitxt = pytest.mark.skipif(
    importlib.util.find_spec("unitxt") is None, reason="Unitxt is not installed: pip install unitxt"
)

REPOSITORY = "PolyAI/banking77"
NAME = "lm-eval:banking77,accuracy=1"
# What customers ask, and the number of the intent: 0 is "activate my card", 1 is "age limit", 11 is "card arrival".
ASKED = [
    ("My new card is here. What now?", 0),
    ("Is my daughter old enough for an account?", 1),
    ("The post has not brought my card.", 11),
    ("How do I make the card work?", 0),
]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")


def put(place, asked):
    """The data set of the recipe, with rows of our own, in the hub's layout."""
    rows = [{"text": text, "label": label} for text, label in asked]
    hub_folder(place, REPOSITORY, "default", {"train": rows * 5, "test": rows})
    return place


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """A folder with the rows above."""
    return put(tmp_path_factory.mktemp("mirror"), ASKED)


@pytest.fixture(scope="module")
def theirs(mirror, tmp_path_factory):
    """lm-eval's own task, its data found by Unitxt itself in the folder that its settings name."""
    config = plugins.room("datasets").config
    before, config.HF_DATASETS_CACHE = config.HF_DATASETS_CACHE, tmp_path_factory.mktemp("kept")
    with plugins.room("unitxt").settings.context(hf_offline_datasets_path=str(mirror)):
        yield plugins.room("tasks._lm_eval.definition").load("banking77")
    config.HF_DATASETS_CACHE = before


@needs_unitxt
@pytest.mark.parametrize("manner", ["chatml", "plain"])
def test_a_recipe_asks_what_it_asks_in_lm_eval(manner, tmp_path, mirror, theirs):
    """In Unitxt's order and wording, text for text and id for id; a folder's documents are those of the hub's."""
    held, speech = sides(tmp_path / "model", manner)
    task = plugins.task(NAME)
    problems = task.problems(Split("test", mirror=mirror))
    asked = asked_by_lm_eval(theirs, held, speech.manner.style == "template", len(problems))
    expected = [our_prompt(task, speech, problem) for problem in problems]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    assert (task.SAMPLING.stop, task.SAMPLING.max_tokens) == (tuple(asked[0][1]["until"]), held.max_gen_toks)
    assert task.REPOSITORY == REPOSITORY
    assert [json.loads(each.answer)["lm-eval document"] for each in problems] == list(theirs.eval_docs)
    assert [each.solution for each in problems] == [document["target"] for document in theirs.eval_docs]
    assert "The post has not brought my card." in "".join(text for text, _ in expected)


@needs_unitxt
@pytest.mark.parametrize("metric", ["accuracy", "f1_micro", "f1_macro"])
def test_a_recipe_s_metric_says_of_each_answer_what_it_says_in_lm_eval(metric, mirror, theirs):
    """From the committed document alone, with Unitxt's own post-processing; the bar is reached or not."""
    task, verdicts = plugins.task(f"lm-eval:banking77,{metric}=1"), []
    problems = task.problems(Split("test", mirror=mirror))
    for problem, document in zip(problems, theirs.eval_docs, strict=True):
        for text in ("age limit", "Activate my card. Yes.", "\n\ncard arrival", "no idea", ""):
            ours = task.grade(Problem(problem.id, "", problem.answer, ""), Completion(text, None, "stop"))
            item = theirs.process_results(json.loads(json.dumps(document)), [text])[metric]
            assert (theirs.aggregation()[metric]([item]) >= 1) == ours.correct
            verdicts.append(ours.correct)
    assert verdicts.count(True) == len(ASKED)


@needs_unitxt
def test_a_row_of_a_recipe_is_made_checked_and_summed_as_lm_eval_sums_it(tmp_path, mirror, theirs, monkeypatch, capfd):
    """Its own words stay off the results; lm-eval's evaluator tells the same sums of the same texts."""
    model, script = tiny.build(tmp_path / "model", "chatml"), tmp_path / "script.jsonl"
    texts = ["age limit", "activate my card", "Card arrival.", "no idea"]
    lines = [json.dumps({"id": f"test-{number}", "text": text}) + "\n" for number, text in enumerate(texts)]
    script.write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    words = ["--engine", "scripted", "-o", f"script={script}", "--datasets", str(mirror), "--json"]
    capfd.readouterr()
    assert main(["baseline", str(model), "--task", NAME, *words]) == 0
    result = json.loads(capfd.readouterr().out)["result"]
    (entry,) = (tmp_path / "leaderboards" / "lm-eval-banking77-accuracy-1").glob("*.json")
    assert main(["verify", "--level", "1", str(entry), "--datasets", str(mirror)]) == 0
    assert main(["board", "--check", "--datasets", str(mirror)]) == 0
    capfd.readouterr()
    assert main(["verify", "--against", "lm-eval", str(entry)]) == 0
    rows = (line.split() for line in capfd.readouterr().out.splitlines())
    told = {row[0]: float(row[1]) for row in rows if row and row[0].endswith(",none")}

    class Writer(plugins.room("lm_eval.api.model").LM):
        def generate_until(self, requests, disable_tqdm=False):
            return list(texts)

        def loglikelihood(self, requests):
            raise AssertionError("nothing is measured")

        loglikelihood_rolling = loglikelihood

    evaluate = plugins.room("lm_eval.evaluator").evaluate
    sums = evaluate(lm=Writer(), task_dict={"banking77": theirs}, bootstrap_iters=0)["results"]["banking77"]
    assert set(told) == {f"{metric},none" for metric in ("accuracy", "f1_micro", "f1_macro")}
    assert told == {name: pytest.approx(sums[name], rel=1e-5) for name in told}
    assert result["counts"]["correct"] == sums["accuracy,none"] * len(ASKED)


@needs_unitxt
def test_a_folder_that_was_edited_is_read_anew(tmp_path):
    """Neither Unitxt's memory nor the library's folder answers with the rows of before."""
    definitions = plugins.room("tasks._lm_eval.definition")
    mirrors, folder, found = plugins.room("harness.mirrors"), tmp_path / REPOSITORY, []
    put(tmp_path, ASKED)
    for text in ("The post", "The neighbour"):
        file = folder / "test.jsonl"
        file.write_text(file.read_text().replace("The post", text))
        with mirrors.as_it_lies(folder):
            made = definitions.load("banking77", str(folder))
        found.append(sum(text in document["source"] for document in made.eval_docs))
    assert found == [1, 1]


@needs_unitxt
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("20_newsgroups", r"judged by degrees \(f1_micro, accuracy, f1_macro\)"),
        ("20_newsgroups,rouge=1", "has no metric 'rouge'"),
    ],
)
def test_a_recipe_that_cannot_be_a_row_is_refused_with_the_reason(name, why):
    """Before any data is read: what it is judged by stands in the catalogue."""
    with pytest.raises(BenchError, match=why):
        plugins.task(f"lm-eval:{name}")


@needs_unitxt
@pytest.mark.skipif(importlib.util.find_spec("editdistance") is not None, reason="the library that lacks is installed")
def test_a_metric_that_lacks_a_library_is_told_with_the_way_to_get_it():
    """Before any data is read."""
    with pytest.raises(BenchError, match="'char_edit_dist_accuracy' needs editdistance") as refused:
        plugins.task("lm-eval:coedit_gec,char_edit_dist_accuracy=1")
    assert "pip install editdistance" in refused.value.way_out


@needs_unitxt
@pytest.mark.parametrize(
    ("times", "told"), [(5, 'Unknown split "test"'), (1, "too few rows: Stream 'validation' is empty")]
)
def test_what_unitxt_says_is_told_without_its_box(times, told, tmp_path):
    """Its own first line is the edge of the box."""
    rows = [{"text": text, "label": label} for text, label in ASKED]
    hub_folder(tmp_path, REPOSITORY, "default", {"train": rows * times})
    with pytest.raises(BenchError, match=f"cannot load {REPOSITORY} for .*: {told}"):
        plugins.task(NAME).problems(Split("test", mirror=tmp_path))


@needs_unitxt
def test_a_metric_of_a_corpus_that_has_no_number_for_one_answer_is_told(tmp_path):
    """A correlation needs two."""
    rows = [{"sentence1": f"One {n}", "sentence2": f"Two {n}", "label": float(n % 5), "idx": n} for n in range(20)]
    hub_folder(tmp_path, "nyu-mll/glue", "stsb", {"train": rows, "validation": rows, "test": rows})
    with pytest.raises(BenchError, match="cannot judge its own solution of test-0: no number for spearman"):
        plugins.task("lm-eval:stsb,spearman=1").problems(Split("test", mirror=tmp_path))


WITHOUT = """
import sys
sys.modules["unitxt"] = None
from harness.cli import main
sys.exit(main(["baseline", "smollm2-135m-it-q4_1", "--task", "lm-eval:ag_news,accuracy=1"]))
"""


def test_without_unitxt_the_way_to_get_it_is_named(tmp_path):
    """In one line, and nothing is left behind."""
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("unitxt is not installed: pip install unitxt")
    assert list(tmp_path.iterdir()) == []


@needs_unitxt
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:unitxt.*")
def test_a_picture_that_lm_eval_does_not_find_is_told(tmp_path):
    """Unitxt 1.26 marks pictures otherwise than lm-eval 0.4.13 looks for them: its own run would ask without."""
    answers = [{"question": "How many?", "answer": "two"}]
    rows = [{"image": tiny_media.picture(number), "qa": {"en": answers}} for number in range(30)]
    tiny_media.hub_folder(tmp_path, "cmarkea/doc-vqa", "default", {"train": rows, "test": rows})
    task = plugins.task("lm-eval:doc_vqa,anls=0.5")
    with pytest.raises(BenchError, match="shows no picture and plays no sound with test-0"):
        task.problems(Split("test", mirror=tmp_path))
