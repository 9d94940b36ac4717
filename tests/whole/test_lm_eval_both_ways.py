"""Our tasks in lm-eval, and its verdicts beside ours: `bench export lm-eval` and `bench verify --against lm-eval`."""

import importlib.util
import json

import lm_eval_side as side
import pytest
import tiny
from baseline_bench.cli import main
from baseline_bench.core import plugins
from baseline_bench.core.types import Split

FEW = 12

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-eval is not installed: pip install 'baseline-bench[lm-eval]'",
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    for name in side.OFFLINE:
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def both(request, tmp_path_factory):
    """A tiny model as lm-eval holds it, and its tokenizer as we speak to it."""
    folder = tiny.build(tmp_path_factory.mktemp("model") / request.param, request.param)
    return side.held(folder), side.speech_of(folder)


def exported(tmp_path, name, chat):
    """A task of ours as the real lm-eval reads it from the files that we write."""
    from lm_eval import tasks

    manager = tasks.TaskManager(include_path=str(tmp_path), include_defaults=False)
    task = next(each for each in manager.all_subtasks if name in each and each.endswith("_text") != chat)
    return manager.load(task)["tasks"][task]


def asked_by_lm_eval(task, held, chat, limit):
    """(prompt, generation settings) of the first questions, as lm-eval's evaluator has them built."""
    task.set_fewshot_seed(1234)
    manner = {"apply_chat_template": chat, "fewshot_as_multiturn": chat}
    task.build_all_requests(limit=limit, **manner, chat_template=held.apply_chat_template if chat else None)
    return [instance.args for instance in task.instances]


def held_ids(held, text):
    """The ids that lm-eval gives its model."""
    return held.tok_batch_encode([text])[0][0].tolist()


@pytest.mark.parametrize("name", ["gsm8k", "word-problems"])
def test_an_exported_task_asks_in_lm_eval_what_bench_asks(name, both, tmp_path, request, capfd):
    """Same shot, same prompt, same stops and limit: text for text and id for id, with a chat template and without."""
    mirror = request.getfixturevalue("gsm8k_mirror") if name == "gsm8k" else None
    held, model_tokenizer = both
    chat = model_tokenizer.prompt_format.style == "template"
    assert main(["export", "lm-eval", name, str(tmp_path), *(["--datasets", str(mirror)] if mirror else [])]) == 0
    ours = plugins.load_task(name)
    asked = asked_by_lm_eval(exported(tmp_path, name.replace("-", "_"), chat), held, chat, FEW)
    problems = ours.problems(Split("test", mirror=mirror))[:FEW]
    expected = [side.our_prompt(ours, model_tokenizer, problem) for problem in problems]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    settings = asked[0][1]
    assert (tuple(settings["until"]), settings["max_gen_toks"]) == (ours.SAMPLING.stop, ours.SAMPLING.max_tokens)
    assert (settings["do_sample"], settings["temperature"]) == (False, 0.0)


# What a model wrote for a gold of 6, and what `--against` says of it: the exact match, then the strict one.
APART = [
    ("#### 6", []),
    (
        "It is six.",
        ["exact match, right for ours alone: gold 6, ours read 6 by number-word, flexible-extract found no match"],
    ),
    ("#### 6.00", ["exact match, right for ours alone", "strict, right for ours alone"]),
    ("She ate 5/6 of it", ["exact match, right for theirs alone", "theirs takes a fraction apart"]),
    ("#### 6\n#### 7", ["strict, right for theirs alone", "several ####: theirs takes the first, ours the last"]),
    ("The answer is 6. She has 9 apples.", ["ours read 6 by cue, flexible-extract took '9'"]),
    ("6...", ["took '6...': the same number, which theirs compares as text"]),
    ("It is 6 ...", ["flexible-extract took '...': theirs took signs without a digit"]),
]


def test_every_verdict_that_differs_is_listed_with_the_reason(tmp_path, monkeypatch, capfd):
    """One line a verdict: whose alone, what each of the two took, and why; a run will do as well as an entry."""
    model, script = tiny.build(tmp_path / "model", "chatml"), tmp_path / "script.jsonl"
    task = plugins.load_task("word-problems")
    problems = task.problems(Split())
    sixes = [each.id for each in problems if each.answer == "6"][: len(APART)]
    texts = {each.id: f"#### {each.answer}" for each in problems}
    texts |= dict(zip(sixes, (text for text, _ in APART), strict=True))
    script.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    monkeypatch.chdir(tmp_path)
    words = ["--task", "word-problems", "--engine", "scripted", "-o", f"script={script}", "--run", "here"]
    assert main(["baseline", str(model), *words]) == 0
    capfd.readouterr()
    assert main(["verify", "--against", "lm-eval", "here"]) == 0
    told = capfd.readouterr().out.splitlines()
    assert {line.partition(":")[0] for line in told if line.startswith("test-")} <= set(sixes)
    for name, (_, expected) in zip(sixes, APART, strict=True):
        found = " / ".join(line for line in told if line.startswith(f"{name}: "))
        assert bool(found) == bool(expected)
        assert [part for part in expected if part not in found] == []


def test_answers_that_are_no_numbers_are_not_judged_by_gsm8k(tmp_path, monkeypatch, capfd):
    """lm-eval's gsm8k would call every such answer wrong."""
    (tmp_path / "words.py").write_text(
        "from baseline_bench.core.types import Message, Problem, Sampling, Judgement\n"
        "LABEL, READER, SAMPLING = 'words@v1', 'word@v1', Sampling(max_tokens=4)\n"
        "def problems(split): return [Problem('a', 'Say yes.', 'yes', 'yes')]\n"
        "def messages(problem): return (Message('user', problem.question),)\n"
        "def grade(p, c): return Judgement(p.id, c.text, 'all', c.text == p.answer, True, c.finish_reason)\n"
    )
    model = tiny.build(tmp_path / "model", "chatml")
    monkeypatch.chdir(tmp_path)
    assert main(["baseline", str(model), "--task", "./words.py", "--engine", "scripted", "--run", "here"]) == 0
    assert main(["verify", "--against", "lm-eval", "here"]) == 1
    assert "no number: yes" in capfd.readouterr().err
