"""models.template_checks: how a model is prompted and stopped, by its tokenizer and chat template alone."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny
from announced import unannounced
from baseline_bench import cli
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Message, Model
from baseline_bench.models import registry, template_checks, tokenizer, tokens
from corpus import data, templates
from tiny_study import bench, build

pytestmark = pytest.mark.usefixtures("forked_children")


def model_tokenizer(folder: Path) -> tokens.ModelTokenizer:
    """Of a model's folder."""
    return tokenizer.load_tokenizer(registry.resolve_model(str(folder), folder / "cache"))


def codes(folder: Path) -> list[tuple[str, str]]:
    """What the checks find in a model's folder."""
    model = registry.resolve_model(str(folder), folder / "cache")
    return sorted(
        (one.code, one.severity) for one in template_checks.check_prompt_format(tokenizer.load_tokenizer(model), model)
    )


@pytest.mark.parametrize(("declared", "expected"), [("none", {"bos-declared", "bos-missing"}), ("separate", set())])
def test_a_bos_rule_of_models_toml_is_held_to_the_tokenizer(tmp_path, declared, expected):
    """Gemma's tokenizer adds a BOS: prompts without one are found, and the rule that says otherwise."""
    folder = tiny.build(tmp_path / "model", "gemma")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ bos_token }}", ""))
    model = replace(registry.resolve_model(str(folder), tmp_path), bos=declared)
    assert {one.code for one in template_checks.check_prompt_format(tokenizer.load_tokenizer(model), model)} == expected


@pytest.mark.parametrize("manner", ["chatml", "gemma", "plain"])
def test_the_tiny_models_have_no_findings(tmp_path, manner):
    """Each family's manner is sound, and none of them opens a thought."""
    folder = tiny.build(tmp_path / "model", manner)
    assert codes(folder) == []
    assert model_tokenizer(folder).prompt_format.thought is None


def test_a_doubled_bos_is_refused_and_may_be_accepted(tmp_path, capfd):
    """`score` ends before an engine starts; with --accept it asks with both, and the entry says so."""
    templates.doubled(tmp_path / "model")
    words = ("score", "model", "--task", "word-problems", "--limit", "2", "--engine", "scripted", "--json")
    assert bench(tmp_path, *words) == 1
    assert [one["code"] for one in json.loads(capfd.readouterr().out)["findings"]] == ["template-bos-doubled"]
    assert bench(tmp_path, *words, "--accept", "template-bos-doubled") == 0
    assert json.loads(capfd.readouterr().out)["result"]["checks"]["accepted"] == ["template-bos-doubled"]


@pytest.mark.parametrize("name", ["bos-doubled", "bos-doubled-by-template"])
def test_a_training_refuses_a_doubled_bos(tmp_path, capfd, name):
    """A recipe's rows are not made of such prompts, whoever writes the second BOS."""
    build(tmp_path)
    case = next(case for case in templates.CASES if case.name == name)
    case.build(tmp_path / "other")
    capfd.readouterr()
    assert bench(tmp_path, "train", "lora.toml", "--base", "./other", "--seed", "0") == 1
    (line,) = unannounced(capfd.readouterr().err)
    assert "BOS twice" in line


def test_an_end_of_turn_that_is_not_special_stops_an_answer(tmp_path):
    """The added token is a stop token and what trained answers end with; beside a special one it is not."""
    own = model_tokenizer(templates.template(templates.PHI, tmp_path / "a", tokens={"<|end|>": False}))
    (end,) = own.tokenizer.encode("<|end|>", add_special_tokens=False)
    assert own.prompt_format.stop_ids == (own.tokenizer.eos_token_id, end)
    assert own.prompt_format.end_id == end
    both = templates.PHI.replace("<|end|>", "<|end|></s>")
    other = model_tokenizer(templates.template(both, tmp_path / "b", tokens={"<|end|>": False}))
    assert other.prompt_format.stop_ids == (other.tokenizer.eos_token_id,)


def test_a_blank_added_token_ends_no_turn(tmp_path):
    """Some tokenizers have tokens of their own for runs of blanks, which every answer holds."""
    own = model_tokenizer(templates.template(templates.ALPACA, tmp_path / "model", tokens={"\n\n": False}))
    assert own.prompt_format.stop_ids == (own.tokenizer.eos_token_id,)
    assert codes(tmp_path / "model") == []


def test_words_that_a_template_drops_end_no_turn(tmp_path):
    """Nothing of the rest of the prompt becomes a stop token."""
    dropped = templates.CHATML.replace(templates._ASSISTANT, "")
    own = model_tokenizer(templates.template(dropped, tmp_path / "model", manner="chatml"))
    assert own.prompt_format.stop_ids == (own.tokenizer.eos_token_id,)
    assert codes(tmp_path / "model") == [("template-drops-turn", "warn")]


@pytest.mark.parametrize("held", ["{", "[]", "{}", '{"chat_template": 7}'])
def test_a_chat_template_json_that_says_nothing_is_reported(tmp_path, held):
    """Whatever its content, it is not what asks."""
    (tiny.build(tmp_path / "model") / "chat_template.json").write_text(held)
    assert codes(tmp_path / "model") == [("template-unread", "refuse")]


def test_of_named_templates_the_default_asks(tmp_path):
    """The prompt and its digest are those of the same template without a name."""
    one, other = (
        model_tokenizer(templates.named(("default", "rag"), tmp_path / "a")),
        model_tokenizer(tiny.build(tmp_path / "b")),
    )
    asked = [Message("user", "2+3?")]
    assert one.prompt_format == other.prompt_format
    assert tokens.encode_prompt(one.tokenizer, one.prompt_format, asked) == tokens.encode_prompt(
        other.tokenizer, other.prompt_format, asked
    )


@pytest.mark.parametrize("command", ["score", "doctor"])
def test_named_templates_without_a_default_end_in_one_line(tmp_path, capfd, command):
    """It names the templates that there are."""
    templates.named(("rag", "tool_use"), tmp_path / "model")
    words = ("--task", "word-problems", "--engine", "scripted", *(("--json",) if command == "doctor" else ()))
    assert bench(tmp_path, command, "model", *words) == 1
    captured = capfd.readouterr()
    if command == "doctor":
        assert [one["code"] for one in json.loads(captured.out)["findings"]] == ["unusable"]
    else:
        assert "rag, tool_use" in captured.err.splitlines()[-1]
        assert "Traceback" not in captured.err


@pytest.mark.parametrize("case", data.CASES, ids=lambda case: case.name)
def test_a_row_that_no_tokenizer_takes_is_named(tmp_path, capfd, case):
    """`train` ends in one line that names the row, as `check` does; sound ones are trained on."""
    build(tmp_path)
    case.build(tmp_path)
    assert bench(tmp_path, "train", "lora.toml") == (1 if case.expected else 0)
    captured = capfd.readouterr()
    named = re.search("rows-1 holds |rows-1 spells |line 1 has ", captured.out + captured.err)
    assert (named is not None) == bool(case.expected)
    assert "Traceback" not in captured.err


TASK = '''
"""A task with text of its own."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "own@v1", Sampling(max_tokens=8)
def problems(split):
    return [Problem({id}, {question}, "3", {solution}), Problem("b", "2+3?", "5", "#### 5")]
def messages(problem):
    return (Message("user", problem.question),)
'''
HALF = r'"Tom \ud83d"'


@pytest.mark.parametrize("held", ["id", "question"])
def test_an_item_that_no_tokenizer_takes_is_named(tmp_path, capfd, held):
    """Before anything is generated, in one line."""
    tiny.build(tmp_path / "model")
    given = {"id": '"a"', "question": '"1+2?"', "solution": '"#### 3"'} | {held: HALF}
    (tmp_path / "own.py").write_text(TASK.format(**given))
    capfd.readouterr()
    assert bench(tmp_path, "score", "model", "--task", "./own.py", "--engine", "scripted") == 1
    assert len(unannounced(capfd.readouterr().err)) == 1


def test_a_solution_that_no_tokenizer_takes_is_not_measured(tmp_path, capfd):
    """The answers are worth a row all the same."""
    tiny.build(tmp_path / "model")
    (tmp_path / "own.py").write_text(TASK.format(id='"a"', question='"1+2?"', solution=HALF))
    assert bench(tmp_path, "score", "model", "--task", "./own.py", "--engine", "transformers", "--json") == 0
    assert json.loads(capfd.readouterr().out)["result"].get("solutions") is None


def test_a_template_with_half_a_character_ends_in_one_line(tmp_path):
    """As JSON's escapes can spell it."""
    folder = templates.named(("default",), tmp_path / "model")
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text().replace("system", r"\ud83d", 1))
    with pytest.raises(BenchError, match="a lone surrogate"):
        tokenizer.load_tokenizer(Model("a", "folder", None, folder, None, None))


def test_half_a_character_in_a_script_or_a_name_is_kept(tmp_path):
    """A server may answer it, and a file system may name it: row and page are made all the same."""
    tiny.build(tmp_path / "model")
    (tmp_path / "own.py").write_text(TASK.format(id='"a"', question='"1+2?"', solution='"#### 3"'))
    lines = [json.dumps({"id": name, "text": "\ud83d #### 3"}) for name in "ab"]
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    run = partial(bench, tmp_path)
    words = ("--engine", "scripted", "-o", "script=s.jsonl", "--name", "odd\udcff")
    assert run("score", "model", "--task", "./own.py", *words) == 0
    (entry,) = tmp_path.glob("leaderboards/own/*.json")
    assert cli.main(["show", str(entry)]) == 0
    assert run("board", "--check", "--task", "./own.py") == 0
