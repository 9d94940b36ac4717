"""lm-eval, both ways: its tasks through our engines, our tasks through it, and its verdicts beside ours."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from lm_eval_side import asked_by_lm_eval, held_ids, hub_folder, our_prompt, sides

from harness import plugins
from harness.cli import main
from harness.errors import BenchError
from harness.store.completions import from_lines, read_lines
from harness.types import Completion, Problem, Split

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
    definitions = plugins.room("tasks._lm_eval.definition")
    return definitions.load("gsm8k", str(gsm8k_mirror / "openai/gsm8k"))


@pytest.fixture(scope="module", params=["chatml", "gemma", "plain"])
def both(request, tmp_path_factory):
    """A tiny model as lm-eval holds it, and its tokenizer as we speak to it."""
    return sides(tmp_path_factory.mktemp("model") / request.param, request.param)


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


@pytest.mark.parametrize("name", ["bbh_cot_fewshot_navigate", "bbh_cot_zeroshot_navigate"])
def test_a_description_is_a_system_turn_as_in_lm_eval(both, name, tmp_path):
    """Text for text and id for id, with shots and without; a template that takes no system turn is told."""
    rows = [
        {"input": f"Turn left. Take {steps} steps.\nOptions:\n- Yes\n- No", "target": "No"} for steps in range(2, 5)
    ]
    hub_folder(tmp_path, "SaylorTwift/bbh", "navigate", {"test": rows})
    held, speech = both
    task = plugins.task(f"lm-eval:{name}")
    problems = task.problems(Split("test", mirror=tmp_path))
    assert task.messages(problems[0])[0].role == "system"
    if "no system role" in (speech.tokenizer.chat_template or ""):
        with pytest.raises(BenchError, match="opens with a system turn, and the model's chat template takes none"):
            our_prompt(task, speech, problems[0])
        return
    real = plugins.room("tasks._lm_eval.definition").load(name, str(tmp_path / "SaylorTwift/bbh"))
    asked = asked_by_lm_eval(real, held, speech.manner.style == "template", len(rows))
    expected = [our_prompt(task, speech, problem) for problem in problems]
    assert [text for text, _ in asked] == [text for text, _ in expected]
    assert [held_ids(held, text) for text, _ in asked] == [ids for _, ids in expected]
    assert "Given a series of navigation instructions" in expected[0][0]


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
    told = dict(line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines() if " " in line.strip())
    assert {name: told[f"exact_match,{name}"].strip() for name in ("flexible-extract", "strict-match")} == {
        "flexible-extract": "1",
        "strict-match": "1",
    }


def test_a_task_with_several_right_answers_takes_each_of_them(tmp_path):
    """Its gold is lm-eval's whole document, so that a committed text can be judged again without the data set."""
    rows = [
        {"question": "Where is the Louvre", "answer": {"aliases": ["Paris", "City of Light"]}},
        {"question": "Where is the Prado", "answer": {"aliases": ["Madrid"]}},
    ]
    hub_folder(tmp_path, "mandarjoshi/trivia_qa", "rc.nocontext", {"train": rows, "validation": rows})
    task = plugins.task("lm-eval:triviaqa")
    first, second = task.problems(Split("test", mirror=tmp_path))
    judged = [
        task.grade(Problem(each.id, "", each.answer, ""), Completion(text, None, "stop")).correct
        for each, text in ((first, " paris."), (first, "City of Light"), (first, "Madrid"), (second, "Madrid"))
    ]
    assert judged == [True, True, False, True]


def test_a_task_that_judges_by_its_own_function_is_judged_by_it():
    """`process_results` of lm-eval's task file is given the document that the gold holds."""
    task = plugins.task("lm-eval:hendrycks_math_algebra")
    document = {"problem": "2+2?", "solution": "It is $\\boxed{4}$.", "answer": "4"}
    gold = json.dumps({"lm-eval document": document}, separators=(", ", ":"))
    judged = [
        task.grade(Problem("test-0", "", gold, ""), Completion(text, None, "stop")).correct
        for text in ("$4$", "$5$", "")
    ]
    assert judged == [True, False, False]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hellaswag", "multiple_choice"),
        ("wikitext", "loglikelihood_rolling"),
        ("humaneval", "runs what a model wrote"),
        ("wmt16-en-de", "judged by degrees"),
        ("squadv2", "judged by degrees"),
    ],
)
def test_a_task_that_cannot_be_a_row_is_refused_with_the_reason(name, why):
    """Before any data is read or any model loaded."""
    with pytest.raises(BenchError, match=why):
        plugins.task(f"lm-eval:{name}")


WITHOUT = """
import sys
sys.modules["lm_eval"] = None
from harness.cli import main
entry = sys.argv[1]
assert main(["verify", "--against", "lm-eval", entry]) == 1
assert main(["export", "lm-eval", "word-problems"]) == 1
assert main(["baseline", "smollm2-135m-it-q4_1", "--task", "lm-eval:gsm8k"]) == 1
"""


def test_without_lm_eval_the_extra_is_named(tmp_path):
    """The core runs without it; what needs it says in one line how to get it."""
    entry = next(iter(sorted(ENTRIES.glob("*.json"))))
    command = [sys.executable, "-c", WITHOUT, str(entry)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert [line.endswith("pip install 'baseline-bench[lm-eval]'") for line in told] == [True, True, True]
    assert list(tmp_path.iterdir()) == []


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
    ("The answer is 6. She has 9 apples.", ["ours read 6 by cue, flexible-extract took '9' (the last match)"]),
    ("6...", ["took '6...' (the last match): the same number, which theirs compares as text"]),
    ("It is 6 ...", ["flexible-extract took '...' (the last match): theirs took signs without a digit"]),
]


def test_every_verdict_that_differs_is_listed_with_the_reason(tmp_path, monkeypatch, capfd):
    """One line a verdict: whose alone, what each of the two took, and why; a run will do as well as an entry."""
    model, script = tiny.build(tmp_path / "model", "chatml"), tmp_path / "script.jsonl"
    task = plugins.task("word-problems")
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
        "from harness.types import Message, Problem, Sampling, Verdict\n"
        "LABEL, READER, SAMPLING = 'words@v1', 'word@v1', Sampling(max_tokens=4)\n"
        "def problems(split): return [Problem('a', 'Say yes.', 'yes', 'yes')]\n"
        "def messages(problem): return (Message('user', problem.question),)\n"
        "def grade(p, c): return Verdict(p.id, c.text, 'all', c.text == p.answer, True, c.finish_reason)\n"
    )
    model = tiny.build(tmp_path / "model", "chatml")
    monkeypatch.chdir(tmp_path)
    assert main(["baseline", str(model), "--task", "./words.py", "--engine", "scripted", "--run", "here"]) == 0
    assert main(["verify", "--against", "lm-eval", "here"]) == 1
    assert "no number: yes" in capfd.readouterr().err
