"""lm-eval, both ways: its tasks through our engines, our tasks through it, and its verdicts beside ours."""

import importlib.util
import json
from pathlib import Path

import pytest
import tiny

from harness import plugins, tokens
from harness.cli import main
from harness.store.completions import from_lines, read_lines
from harness.types import Completion, Model, Split

ENTRIES = Path(__file__).resolve().parent.parent / "leaderboards" / "gsm8k"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
FEW = 12

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'",
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in OFFLINE:
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def task():
    """lm-eval's gsm8k as one of ours."""
    return plugins.task("lm-eval:gsm8k")


@pytest.fixture(scope="module")
def theirs(task, gsm8k_mirror):
    """lm-eval's own gsm8k on the mirror, loaded as `lm_eval run` loads it."""
    definitions = plugins.room("tasks._lm_eval_definition")
    return definitions.load("gsm8k", dataset_path=str(gsm8k_mirror / "openai/gsm8k"))


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def both(request, tmp_path_factory):
    """A tiny model as lm-eval holds it, and its tokenizer as we speak to it."""
    folder = tiny.build(tmp_path_factory.mktemp("model") / request.param, request.param)
    speech = plugins.room("harness.tokenizer").load(Model("tiny", "folder", None, folder, None, None))
    held = plugins.room("lm_eval.models.huggingface").HFLM(pretrained=str(folder), device="cpu")
    return held, speech


def asked_by_lm_eval(task, held, chat, limit):
    """(prompt, generation settings) of the first questions, as lm-eval's evaluator has them built."""
    task.set_fewshot_seed(1234)
    manner = {"apply_chat_template": chat, "fewshot_as_multiturn": chat}
    task.build_all_requests(limit=limit, **manner, chat_template=held.apply_chat_template if chat else None)
    return [instance.args for instance in task.instances]


def our_prompt(task, speech, problem):
    """The prompt as an engine's decoder would show it, and its ids."""
    chat = speech.manner.style == "template"
    text = getattr(task, "text", None)
    told = text(problem) if text and not chat else tokens.prompt_text(speech.tokenizer, task.messages(problem))
    return told, list(tokens.question_ids(speech.tokenizer, speech.manner, task, problem))


def held_ids(held, text):
    """The ids that lm-eval gives its model."""
    return held.tok_batch_encode([text])[0][0].tolist()


def exported(tmp_path, name, chat):
    """A task of ours as the real lm-eval reads it from the files that we write."""
    manager = plugins.room("lm_eval.tasks").TaskManager(include_path=str(tmp_path), include_defaults=False)
    task = next(each for each in manager.all_subtasks if name in each and each.endswith("_text") != chat)
    return manager.load(task)["tasks"][task]


@pytest.mark.parametrize("name", ["gsm8k", "word-problems"])
def test_an_exported_task_asks_in_lm_eval_what_bench_asks(name, both, tmp_path, request, capfd):
    """Same shot, same prompt, same stops and limit: text for text and id for id, with a chat template and without."""
    mirror = request.getfixturevalue("gsm8k_mirror") if name == "gsm8k" else None
    held, speech = both
    chat = speech.manner.style == "template"
    assert main(["export", "lm-eval", name, str(tmp_path), *(["--datasets", str(mirror)] if mirror else [])]) == 0
    ours = plugins.task(name)
    asked = asked_by_lm_eval(exported(tmp_path, name.replace("-", "_"), chat), held, chat, FEW)
    problems = ours.problems(Split("test", mirror=mirror))[:FEW]
    expected = [our_prompt(ours, speech, problem) for problem in problems]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    settings = asked[0][1]
    assert (tuple(settings["until"]), settings["max_gen_toks"]) == (ours.SAMPLING.stop, ours.SAMPLING.max_tokens)
    assert (settings["do_sample"], settings["temperature"]) == (False, 0.0)


def test_a_task_of_lm_eval_asks_through_bench_what_it_asks_in_lm_eval(both, task, theirs, gsm8k_mirror):
    """Five shots of lm-eval's own drawing, its wording and its delimiters, text for text and id for id."""
    held, speech = both
    problems = task.problems(Split("test", mirror=gsm8k_mirror))
    asked = asked_by_lm_eval(theirs, held, speech.manner.style == "template", FEW)
    expected = [our_prompt(task, speech, problem) for problem in problems[:FEW]]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    assert (tuple(asked[0][1]["until"]), held.max_gen_toks) == (task.SAMPLING.stop, task.SAMPLING.max_tokens)


def test_verdicts_of_a_task_of_lm_eval_are_lm_eval_s_own(task, theirs, gsm8k_mirror):
    """On 1,319 stored texts both filters say of each what lm-eval's evaluator says, from the golds alone."""
    file = next(iter(sorted(ENTRIES.glob("*smollm2-135m-it-q4_1-full-main-s2-*.json"))))
    written = from_lines(read_lines(file.with_suffix(".jsonl.gz")), file.name)
    instance = plugins.room("lm_eval.api.instance").Instance
    documents = list(theirs.eval_docs)
    theirs._instances = [
        instance("generate_until", document, ("", {}), 0, ("gsm8k", number, 1), [line.text])
        for number, (document, line) in enumerate(zip(documents, written, strict=True))
    ]
    theirs.apply_filters()
    said = {
        name: [
            theirs.process_results(each.doc, [each.filtered_resps[name]])["exact_match"] == 1
            for each in theirs.instances
        ]
        for name in ("flexible-extract", "strict-match")
    }
    problems = task.problems(Split("test", mirror=gsm8k_mirror))
    verdicts = [
        task.grade(problem, Completion(line.text, None, line.finish))
        for problem, line in zip(problems, written, strict=True)
    ]
    assert [verdict.correct for verdict in verdicts] == said["flexible-extract"]
    assert [verdict.strict for verdict in verdicts] == said["strict-match"]
    assert sum(said["flexible-extract"]) == 74


def test_a_row_on_a_task_of_lm_eval_has_its_own_board_and_verifies(tmp_path, gsm8k_mirror, monkeypatch, capfd):
    """`--task lm-eval:gsm8k` gives an entry that grades again to its own bits, and a board that checks."""
    model, script = tiny.build(tmp_path / "model", "plain"), tmp_path / "script.jsonl"
    task = plugins.task("lm-eval:gsm8k")
    golds = {problem.id: problem.solution for problem in task.problems(Split("test", mirror=gsm8k_mirror))}
    script.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in golds.items()))
    monkeypatch.chdir(tmp_path)
    words = ["--engine", "scripted", "-o", f"script={script}", "--limit", "8", "--datasets", str(gsm8k_mirror)]
    assert main(["baseline", str(model), "--task", "lm-eval:gsm8k", *words, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)["result"]
    assert (result["task"]["name"], result["task"]["label"]) == ("lm-eval-gsm8k", task.LABEL)
    assert (result["counts"]["correct"], result["counts"]["strict"]) == (8, 8)
    entry = next((tmp_path / "leaderboards" / "lm-eval-gsm8k").glob("*.json"))
    assert main(["verify", str(entry), "--level", "1", "--datasets", str(gsm8k_mirror)]) == 0
    assert "level reached  1" in capfd.readouterr().out
    assert main(["board", "--check", "--datasets", str(gsm8k_mirror)]) == 0
    assert main(["verify", "--against", "lm-eval", str(entry)]) == 0
    assert "8 right, flexible-extract 8; apart on 0" in capfd.readouterr().out
