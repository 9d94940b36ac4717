"""lm-eval's generate-until tasks of every kind: begun answers, degrees, choices, drawn answers, programs, consent."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from lm_eval_side import asked_by_lm_eval, held_ids, hub_folder, our_prompt, scored_twice, sides

from harness import plugins, protocol, tokens
from harness.cli import main
from harness.errors import BenchError
from harness.types import Completion, Model, Problem, Sampling, Split

LM_EVAL = importlib.util.find_spec("lm_eval") is not None
pytestmark = pytest.mark.skipif(not LM_EVAL, reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'")

LETTERS = ["A", "B", "C", "D"]
CAPITALS = [("France", "Paris"), ("Spain", "Madrid"), ("Italy", "Rome"), ("Japan", "Tokyo"), ("Peru", "Lima")]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def both(request, tmp_path_factory):
    """A tiny model as lm-eval holds it, and its tokenizer as we speak to it."""
    return sides(tmp_path_factory.mktemp("model") / request.param, request.param)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Data sets of a few rows, in the hub's layout."""
    place = tmp_path_factory.mktemp("mirror")
    towns = [town for _, town in CAPITALS]
    chosen = [
        {"question": f"The capital of {land}?", "choices": towns[:4], "answer": number % 4}
        for number, (land, _) in enumerate(CAPITALS)
    ]
    hub_folder(place, "hails/mmlu_no_train", "abstract_algebra", {"test": chosen[:3], "dev": chosen})
    science = [
        {
            "id": str(number),
            "question": row["question"],
            "choices": {"text": row["choices"], "label": LETTERS},
            "answerKey": LETTERS[row["answer"]],
        }
        for number, row in enumerate(chosen)
    ]
    hub_folder(place, "allenai/ai2_arc", "ARC-Challenge", {"test": science})
    pairs = [
        {"translation": {"en": "The house is small and old.", "de": "Das Haus ist klein und alt."}},
        {"translation": {"en": "We drink water every morning.", "de": "Wir trinken jeden Morgen Wasser."}},
    ]
    hub_folder(place, "wmt/wmt16", "de-en", {"train": pairs, "validation": pairs, "test": pairs})
    copa = [
        {"premise": "It rained.", "question": "effect", "choice1": "It got wet.", "choice2": "It burned.", "label": 1}
    ]
    hub_folder(place, "aps/super_glue", "copa", {"train": copa, "validation": copa})
    drawn = [{"prompt": "Pick.", **{f"solution{n}": letter for n, letter in enumerate(LETTERS)}, "label": 2}]
    hub_folder(place, "mrlbenchmarks/global-piqa-parallel", "zul_latn", {"test": drawn})
    facts = [
        {"text": "The device is a pump.\nDevice:", "value": "pump"},
        {"text": "It was cleared in May.\nMonth:", "value": "May"},
    ]
    code = [
        {"code_tokens": ["def", "add", "(", "a", ",", "b", ")"], "docstring_tokens": ["Adds", "two", "numbers", "."]},
        {"code_tokens": ["def", "names"], "docstring_tokens": ["All", "names", "in", "their", "order"]},
    ]
    hub_folder(place, "CM/codexglue_code2text_ruby", "default", dict.fromkeys(("train", "validation", "test"), code))
    hub_folder(place, "hazyresearch/based-fda", "default", {"validation": facts})
    hub_folder(place, "hazyresearch/based-squad", "default", {"validation": facts})
    return place


def said(task, problem, text):
    """The verdict on one text."""
    return task.grade(Problem(problem.id, "", problem.answer, ""), Completion(text, None, "stop"))


@pytest.mark.parametrize("name", ["mmlu_llama_abstract_algebra", "arc_challenge_llama"])
def test_an_answer_that_the_task_begins_is_asked_as_in_lm_eval(both, name, mirror):
    """Its first words close the prompt, the turn left open: text for text and id for id, with shots and without."""
    held, speech = both
    task = plugins.task(f"lm-eval:{name}")
    problems = task.problems(Split("test", mirror=mirror))
    assert task.messages(problems[0])[-1].role == "assistant"
    assert problems[0].question.startswith("Given the following question")
    real = plugins.room("tasks._lm_eval.definition").load(name, str(mirror / task.REPOSITORY))
    asked = asked_by_lm_eval(real, held, speech.manner.style == "template", len(problems))
    expected = [our_prompt(task, speech, problem) for problem in problems]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    assert all(text.endswith("The best answer is") for text, _ in expected)


def test_a_begun_answer_is_measured_and_judged_from_where_it_goes_on(tmp_path, mirror, monkeypatch, capfd):
    """The worked solution is what stands behind the first words, its space included; a row, its board and its check."""
    task = plugins.task("lm-eval:mmlu_llama_abstract_algebra")
    problems = task.problems(Split("test", mirror=mirror))
    assert [problem.solution for problem in problems] == [" A.", " B.", " C."]
    assert [said(task, problems[1], text).correct for text in (" B", "B.", " b", " C", "")] == [True] * 3 + [False] * 2
    model = tiny.build(tmp_path / "model", "chatml")
    monkeypatch.chdir(tmp_path)
    words = ["--task", "lm-eval:mmlu_llama_abstract_algebra", "--datasets", str(mirror), "--json"]
    assert main(["baseline", str(model), "--engine", "transformers", "-o", "solutions=true", *words]) == 0
    result = json.loads(capfd.readouterr().out)["result"]
    tokenizer = plugins.room("transformers").AutoTokenizer.from_pretrained(model)
    written = [tokenizer.encode(problem.solution, add_special_tokens=False) for problem in problems]
    # Every solution is followed by the token that ends a turn.
    assert result["solutions"]["tokens"] == sum(map(len, written)) + len(written)
    assert main(["board", "--check", "--datasets", str(mirror)]) == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wmt16-en-de", r"judged by degrees \(bleu, ter, chrf\).*"),
        ("wmt16-en-de,rouge=0.5", "has no metric 'rouge'"),
        ("wmt16-en-de,chrf=much", "'much' is no number"),
    ],
)
def test_degrees_without_a_sound_bar_are_refused_with_the_way_out(name, told):
    """Before any data is read."""
    with pytest.raises(BenchError, match=told) as refused:
        plugins.task(f"lm-eval:{name}")
    if "judged by degrees" in told:
        assert "--task lm-eval:wmt16-en-de,bleu=0.5" in refused.value.way_out


def test_a_bar_makes_right_and_wrong_of_degrees(mirror):
    """From the bar on where more is better, up to it where less is; what lm-eval sums over a corpus is one answer's."""
    better, less = plugins.task("lm-eval:wmt16-en-de,chrf=50"), plugins.task("lm-eval:wmt16-en-de,ter=20")
    problem, _ = better.problems(Split("test", mirror=mirror))
    texts = ("Das Haus ist klein und alt.", "Das Haus ist klein.", "Ein Hund.", "")
    chrf = plugins.room("sacrebleu").sentence_chrf
    degrees = [chrf(text, ["Das Haus ist klein und alt."]).score for text in texts]
    assert [degree >= 50 for degree in degrees] == [True, True, False, False]
    assert [said(better, problem, text).correct for text in texts] == [True, True, False, False]
    assert [said(better, problem, text).rule for text in texts] == [f"chrf {degree:.4g}" for degree in degrees]
    assert [said(less, problem, text).correct for text in texts] == [True, False, False, False]


def test_a_bar_is_part_of_the_board_the_label_and_the_reader(tmp_path, mirror, monkeypatch, capfd):
    """Two bars are two exams; a row is found again by its label, and lm-eval's own sums over it are a command away."""
    task = plugins.task("lm-eval:wmt16-en-de,chrf=50")
    assert task.LABEL == "lm-eval/wmt16-en-de,chrf=50@1.0"
    assert task.READER.startswith("lm-eval/chrf=50,none@")
    other = plugins.task("lm-eval:wmt16-en-de,chrf=60")
    digests = {protocol.digest(each, each.problems(Split("test", mirror=mirror))) for each in (task, other)}
    assert len(digests) == 2
    model, script = tiny.build(tmp_path / "model", "chatml"), tmp_path / "script.jsonl"
    texts = ["Das Haus ist klein.", "Wir trinken Tee."]
    script.write_text("".join(json.dumps({"id": f"test-{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    monkeypatch.chdir(tmp_path)
    words = ["--engine", "scripted", "-o", f"script={script}", "--datasets", str(mirror), "--json"]
    assert main(["baseline", str(model), "--task", "lm-eval:wmt16-en-de,chrf=50", *words]) == 0
    assert json.loads(capfd.readouterr().out)["result"]["counts"]["correct"] == 1
    (entry,) = (tmp_path / "leaderboards" / "lm-eval-wmt16-en-de-chrf-50").glob("*.json")
    assert main(["board", "--check", "--datasets", str(mirror)]) == 0
    capfd.readouterr()
    page = (tmp_path / "leaderboards" / "lm-eval-wmt16-en-de-chrf-50.md").read_text()
    assert "Right is `chrf` that reaches `50`" in page
    assert "|right %|" in page
    assert "exact match %" not in page
    assert main(["verify", "--against", "lm-eval", str(entry)]) == 0
    told = dict(words[:2] for line in capfd.readouterr().out.splitlines() if len(words := line.split()) > 1)
    sacrebleu = plugins.room("sacrebleu")
    golds = [[row["translation"]["de"] for row in mirrored(mirror)]]
    assert float(told["chrf,none"]) == pytest.approx(sacrebleu.corpus_chrf(texts, golds).score, rel=1e-5)
    assert float(told["bleu,none"]) == pytest.approx(sacrebleu.corpus_bleu(texts, golds).score, rel=1e-5)


def mirrored(mirror):
    """The rows of the translations."""
    return [json.loads(line) for line in (mirror / "wmt/wmt16/test.jsonl").read_text().splitlines()]


def test_a_choice_is_looked_up_in_the_document(mirror):
    """The target is a number there, and the answer that it stands for is what is judged."""
    task = plugins.task("lm-eval:super_glue-copa-t5-prompt")
    (problem,) = task.problems(Split("test", mirror=mirror))
    assert problem.solution == "choice2"
    assert [said(task, problem, text).correct for text in ("choice2", "Choice2.", "choice1", "1")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_task_that_draws_its_answers_draws_them_by_lm_eval_s_seed(tmp_path, mirror, monkeypatch, capfd):
    """Temperature and top_p are the task's; one seed gives one row, and the page says how it was drawn."""
    name = "lm-eval:global_piqa_parallel_generation_zul_latn"
    task = plugins.task(name)
    assert Sampling(2048, 0.8, (), seed=1234, top_p=0.95) == task.SAMPLING
    model = tiny.build(tmp_path / "model", "chatml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(task, "SAMPLING", Sampling(12, 0.8, (), seed=1234, top_p=0.95))
    row, _ = scored_twice(model, name, mirror, capfd)
    assert row["sampling"]["top_p"] == 0.95
    assert "temperature 0.80, top_p 0.95" in next((tmp_path / "one").glob("lm-eval-*.md")).read_text()


@pytest.mark.parametrize(("name", "stop"), [("fda", "\n"), ("squad_completion", "\n\n")])
def test_a_task_that_is_a_python_class_asks_and_judges_as_in_lm_eval(both, name, stop, mirror):
    """Prompts text for text and id for id, stops and limit as the class says them; its judge needs no data set."""
    held, speech = both
    task = plugins.task(f"lm-eval:{name}")
    problems = task.problems(Split("test", mirror=mirror))
    real = plugins.room("tasks._lm_eval.definition").load(name, str(mirror / task.REPOSITORY))
    asked = asked_by_lm_eval(real, held, speech.manner.style == "template", len(problems))
    expected = [our_prompt(task, speech, problem) for problem in problems]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    assert (task.SAMPLING.stop, task.SAMPLING.max_tokens) == ((stop,), asked[0][1]["max_gen_toks"])
    texts = (" a PUMP of steel", " a drum", "")
    assert [said(task, problems[0], text).correct for text in texts] == [True, False, False]
    theirs = [real.process_results(real.eval_docs[0], [text])["contains"] for text in texts]
    assert theirs == [1, 0, 0]


PROGRAM = """\
task: made_up
dataset_path: none
output_type: generate_until
custom_dataset: !function made.questions
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs:
  until: ["\\n"]
metadata:
  version: 1.0
"""
QUESTIONS = """\
import datasets

def questions(**_):
    rows = [{"question": f"{n} + {n}?", "answer": str(2 * n)} for n in range(4)]
    return {"test": datasets.Dataset.from_list(rows)}

def passes(references, predictions):
    return {"pass@1": float(eval(predictions[0]) == eval(references[0]))}
"""


UNSURE = """\
def sure(references, predictions):
    return 1.0 if predictions[0] == references[0] else float("nan")

def lost(references, predictions):
    return float("nan")
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A folder that stands for lm-eval's own tasks."""
    definitions = plugins.room("tasks._lm_eval.definition")
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "made.py").write_text(QUESTIONS)
    monkeypatch.setattr(definitions, "LIBRARY", folder)
    yield folder
    definitions._manager.cache_clear()
    plugins.room("tasks._lm_eval.task").task.cache_clear()


def test_questions_that_a_program_makes_are_asked(library, tmp_path, mirror):
    """They need no folder of data sets; a task without a metric of its own is judged by lm-eval's default."""
    (library / "made_up.yaml").write_text(PROGRAM)
    task = plugins.task("lm-eval:made_up")
    assert task.REPOSITORY is None
    problems = task.problems(Split("test", mirror=mirror))
    assert [(problem.question, problem.answer) for problem in problems[:2]] == [("0 + 0?", "0"), ("1 + 1?", "2")]
    assert [said(task, problems[1], text).correct for text in ("2", "3")] == [True, False]


def test_a_program_is_given_what_stands_behind_the_name(library, capfd):
    """As by lm-eval's --metadata; it is part of the label. What it prints is not ours, and what it lacks is told."""
    made = (
        "\n\ndef wanted(first=None, lengths=(1,), **_):\n    assert first is not None, 'no first'\n    print('made')\n"
    )
    made += "    rows = [{'question': f'{first}, {each}?', 'answer': str(each)} for each in lengths]\n"
    made += "    return {'test': datasets.Dataset.from_list(rows)}\n"
    (library / "made.py").write_text(QUESTIONS + made)
    (library / "made_up.yaml").write_text(PROGRAM.replace("made.questions", "made.wanted"))
    task = plugins.task("lm-eval:made_up?first=./base&lengths=[7,8],exact_match=1")
    assert task.LABEL == "lm-eval/made_up?first=./base&lengths=[7,8],exact_match=1@1.0"
    problems = task.problems(Split("test"))
    assert [(each.question, each.answer) for each in problems] == [("./base, 7?", "7"), ("./base, 8?", "8")]
    assert capfd.readouterr().out == ""
    with pytest.raises(BenchError, match=r"the program of .* makes no questions: no first") as refused:
        plugins.task("lm-eval:made_up").problems(Split("test"))
    assert "lm-eval:NAME?tokenizer=FOLDER" in refused.value.way_out


def test_a_text_without_a_number_reaches_no_bar_and_a_solution_without_one_is_told(library):
    """Judging never fails for what a model wrote; what cannot judge even a solution fails before anything is asked."""
    (library / "made.py").write_text(QUESTIONS + UNSURE)
    both = "".join(f"  - metric: !function made.{name}\n    aggregation: mean\n" for name in ("sure", "lost"))
    (library / "made_up.yaml").write_text(PROGRAM + "metric_list:\n" + both)
    task = plugins.task("lm-eval:made_up,sure=0.5")
    problems = task.problems(Split("test"))
    assert [said(task, problems[1], text).correct for text in ("2", "3")] == [True, False]
    with pytest.raises(BenchError, match="cannot judge its own solution of test-0: no number for lost"):
        plugins.task("lm-eval:made_up,lost=0.5").problems(Split("test"))


def test_what_a_model_wrote_is_run_by_consent_alone(library, monkeypatch):
    """The consent is that of Hugging Face's own code_eval; what a metric's function gives is asked for by its name."""
    code = "unsafe_code: true\nmetric_list:\n  - metric: !function made.passes\n    aggregation: mean\n"
    (library / "made_up.yaml").write_text(PROGRAM + code)
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    with pytest.raises(BenchError, match="runs what a model wrote as a program") as refused:
        plugins.task("lm-eval:made_up,pass@1")
    assert "HF_ALLOW_CODE_EVAL=1 allows it" in refused.value.way_out
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")
    with pytest.raises(BenchError, match=r"gives no passes for an answer: it gives pass@1: name one"):
        plugins.task("lm-eval:made_up,passes").problems(Split("test"))
    task = plugins.task("lm-eval:made_up,pass@1")
    problems = task.problems(Split("test"))
    assert [said(task, problems[2], text).correct for text in ("2 + 2", "5")] == [True, False]


def test_a_search_with_beams_writes_what_lm_eval_s_own_model_writes(both, mirror, tmp_path, monkeypatch, capfd):
    """Ten beams in float32, the same texts; an engine that follows one beginning alone is refused."""
    held, speech = both
    task = plugins.task("lm-eval:code2text_ruby,smoothed_bleu_4=10")
    assert Sampling(128, stop=("</s>",), beams=10) == task.SAMPLING
    problems = task.problems(Split("test", mirror=mirror))
    theirs = plugins.room("tasks._lm_eval.definition").load(
        "code2text_ruby", str(mirror / "CM" / "codexglue_code2text_ruby")
    )
    asked_by_lm_eval(theirs, held, speech.manner.style == "template", 2)
    for instance in theirs.instances:
        instance.args[1]["max_gen_toks"] = 24
    wanted = held.generate_until(theirs.instances, disable_tqdm=True)
    generator = plugins.engine("transformers").load(
        Model("tiny", "folder", None, Path(held.tokenizer.name_or_path), None, None),
        plugins.engine("transformers").Options(dtype="float32", device="cpu"),
    )
    requests = [tokens.question(speech.tokenizer, speech.manner, task, each) for each in problems]
    found = dict(generator.complete(requests, replace(task.SAMPLING, max_tokens=24), [held.eot_token_id]))
    assert [found[each.id].text for each in problems] == wanted
    monkeypatch.chdir(tmp_path)
    words = ["--engine", "scripted", "--task", "lm-eval:code2text_ruby,smoothed_bleu_4=10", "--datasets", str(mirror)]
    assert main(["baseline", held.tokenizer.name_or_path, *words]) == 1
    assert "searches with 10 beams, which the engine 'scripted' does not" in capfd.readouterr().err


def test_a_filter_that_looks_at_the_question_is_given_it(tmp_path):
    """The filter of bbh knows a choice by its words, which stand in the document alone."""
    row = {"input": "Which day?\nOptions:\n(A) Monday\n(B) Sunday", "target": "(B)"}
    hub_folder(tmp_path, "SaylorTwift/bbh", "date_understanding", {"test": [row]})
    task = plugins.task("lm-eval:bbh_cot_zeroshot_date_understanding")
    (problem,) = task.problems(Split("test", mirror=tmp_path))
    verdicts = [said(task, problem, text) for text in ("It must be Sunday then.", "So (B).", "It is Monday.")]
    assert [(one.answer, one.correct) for one in verdicts] == [("(B)", True), ("(B)", True), ("(A)", False)]
