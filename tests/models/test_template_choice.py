"""Another chat template, or another value of a variable that it reads, is another model to every command."""

import json
import os
from contextlib import chdir
from pathlib import Path

import pytest
import tiny
from baseline_bench import cli
from baseline_bench.analysis.differences import list_differences
from baseline_bench.core.errors import BenchError
from baseline_bench.core.options import format_settings
from baseline_bench.core.types import Message
from baseline_bench.evaluation import runs
from baseline_bench.models import registry, tokenizer, tokens
from baseline_bench.models.template_choice import TemplateChoice
from corpus import templates
from tiny_study import bench, rows

ASKED = (Message("user", "2+3?"),)
# Qwen3's switch, and a variable that no other template reads.
SWITCH = templates.turns(
    templates._USER,
    templates._ASSISTANT,
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% if effort is defined %}{{ effort }}{% endif %}{% endif %}",
)
SCORE = ("score", "model", "--task", "word-problems", "--limit", "3", "--engine", "scripted", "--name", "it")


def prompt(folder: Path, name: str | None = None, *pairs: str) -> str:
    """The prompt that a model sees under a choice."""
    model = registry.resolve_model(str(folder), folder / "cache")
    one = tokenizer.load_tokenizer(model, TemplateChoice.parse(name, pairs))
    return tokens.render_prompt(one.tokenizer, ASKED)


@pytest.fixture
def switched(tmp_path) -> Path:
    """A model whose template reads enable_thinking and effort."""
    return templates.template(SWITCH, tmp_path / "model", manner="chatml")


@pytest.fixture
def named(tmp_path) -> Path:
    """A model with two named templates, of which one says more."""
    folder = templates.named(("default", "brief"), tmp_path / "model")
    config = folder / "tokenizer_config.json"
    held = json.loads(config.read_text())
    held["chat_template"][1]["template"] = templates.CHATML.replace("assistant\n", "assistant\nIn brief: ")
    config.write_text(json.dumps(held))
    return folder


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("false", False),
        ("true", True),
        ("null", None),
        ("3", 3),
        ("0.5", 0.5),
        ('"3"', "3"),
        ("high", "high"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ("", ""),
    ],
)
def test_a_value_is_json_or_the_text_itself(text, value):
    """And its text is read as the same value again."""
    arguments = TemplateChoice.parse(None, [f"key={text}"]).arguments
    assert arguments == {"key": value}
    assert type(arguments["key"]) is type(value)
    assert TemplateChoice.parse(None, format_settings(arguments)).arguments == arguments


@pytest.mark.parametrize(
    "pairs", [["key"], ["=1"], ["a b=1"], ["a=1", "a=2"], ["a=[1]"], ['a={"b": 1}'], ["a=" + "[" * 9999]]
)
def test_what_is_no_argument_is_refused(pairs):
    """In one line."""
    if pairs[0].endswith("[[["):  # too deep for JSON: a text like any other
        assert TemplateChoice.parse(None, pairs).arguments["a"].startswith("[[")
        return
    with pytest.raises(BenchError, match="--template-arg"):
        TemplateChoice.parse(None, pairs)


def test_a_named_template_asks(named):
    """Without a name, and by the name default, it is the default one."""
    assert prompt(named) == prompt(named, "default") != prompt(named, "brief")
    assert prompt(named, "brief").endswith("In brief: ")


def test_a_template_beside_the_first_asks(tmp_path):
    """As save_pretrained writes them today."""
    folder = tiny.build(tmp_path / "model") / "additional_chat_templates"
    folder.mkdir()
    (folder / "brief.jinja").write_text(templates.CHATML.replace("assistant\n", "assistant\nIn brief: "))
    assert prompt(folder.parent, "brief").endswith("In brief: ")
    assert prompt(folder.parent).endswith("assistant\n")


def test_a_file_asks(tmp_path):
    """Even a model without a template of its own; the file's folder is nobody's business."""
    folder, file = tiny.build(tmp_path / "model", "plain"), tmp_path / "short.jinja"
    file.write_text("{% for message in messages %}Q: {{ message['content'] }}\nA:{% endfor %}")
    assert prompt(folder, str(file)) == "Q: 2+3?\nA:"
    assert TemplateChoice.parse(str(file), ()).name == "short.jinja"


def test_a_pipe_is_no_template(tmp_path):
    """Nobody waits for its writer; `test_a_file_asks` is the sound twin."""
    os.mkfifo(tmp_path / "pipe.jinja")
    with pytest.raises(BenchError, match="not a regular file"):
        TemplateChoice.parse(str(tmp_path / "pipe.jinja"), ())


@pytest.mark.parametrize(
    "words",
    [
        ("--template", "other"),
        ("--template", "nowhere.jinja"),
        ("--template-arg", "enable_thinkin=false"),
        ("--template-arg", "messages=1"),
        ("--template-arg", "add_generation_prompt=false"),
    ],
)
def test_what_a_template_does_not_have_is_refused(switched, capfd, words):
    """A misspelt name would change nothing, in silence."""
    assert bench(switched.parent, *SCORE, *words) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith("bench: ")
    assert not list(switched.parent.glob("leaderboards/*/*.json"))


def test_a_variable_changes_the_prompt_and_the_thought(switched):
    """Of this model alone: the next one without it is asked as before."""
    assert prompt(switched, None, "enable_thinking=false").endswith("</think>\n\n")
    assert prompt(switched, None, "effort=3", "enable_thinking=true").endswith("assistant\n3")
    assert prompt(switched).endswith("assistant\n")


def test_the_entry_holds_the_choice_and_nothing_where_there_is_none(switched, capfd):
    """`compare` names it; rows of one name with two choices are refused; board and verify take the row."""
    place, off = switched.parent, ("--template-arg", "enable_thinking=false")
    assert bench(place, *SCORE) == 0
    assert bench(place, *SCORE, *off) == 1
    assert "another chat template" in capfd.readouterr().err
    assert bench(place, *SCORE[:-1], "off", *off) == 0
    plain, chosen = sorted(rows(place), key=lambda row: row.result.candidate)  # "it" before "off"
    assert chosen.result.model.template_arguments == {"enable_thinking": False}
    files = {path.name: path.read_text() for path in place.glob("leaderboards/word-problems/*.json")}
    assert sum("template_arguments" in text for text in files.values()) == 1
    assert not any("template_name" in text for text in files.values())
    assert {"chat template", "chat template's arguments"} <= {one.what for one in list_differences(plain, chosen)}
    assert bench(place, "board", "--check") == 0
    assert (place / "leaderboards" / "word-problems.md").read_text().count(
        "prompt template, `enable_thinking=false`"
    ) == 1
    (path,) = place.glob("leaderboards/word-problems/*-off-*.json")
    with chdir(place):
        assert cli.main(["verify", str(path), "--level", "2", "--model", "model", "--cache", "cache"]) == 0


def test_a_killed_run_goes_on_with_the_same_choice_only(switched, capfd):
    """Other values would mix two prompts in one row."""
    place, off = switched.parent, ("--template-arg", "enable_thinking=false", "--run", "run")
    assert bench(place, *SCORE, *off) == 0
    for path in (place / "run" / "entry.json", *place.glob("leaderboards/*/*.json")):
        path.unlink()
    assert bench(place, *SCORE, "--run", "run") == 1
    assert "template arguments" in capfd.readouterr().err
    assert runs.read_json(place / "run" / "run.json")["settings"]["template arguments"] == "enable_thinking=false"
    assert bench(place, *SCORE, *off) == 0


def test_doctor_shows_the_prompt_of_the_choice(named, capfd):
    """What a row of it would ask."""
    words = ("doctor", "model", "--answers", "0", "--engine", "scripted")
    assert bench(named.parent, *words) == 0
    assert "In brief" not in capfd.readouterr().out
    bench(named.parent, *words, "--template", "brief")
    assert "In brief: " in capfd.readouterr().out
