"""A config.json with a wrong value is named, with what is wrong in it, wherever a model is loaded."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from baseline_bench.core.errors import BenchError, describe_error
from baseline_bench.core.types import Model
from baseline_bench.engines import transformers as engine
from baseline_bench.models import model_config, tensor_check
from baseline_bench.models.tokenizer import load_tokenizer
from paths import ROOT
from tiny_study import bench

# Values that the configuration's class refuses, and values that only the network refuses.
OF_THE_CLASS: tuple[dict[str, Any], ...] = (
    {"rms_norm_eps": "x"},
    {"hidden_size": "64"},
    {"num_attention_heads": 0},
    {"num_hidden_layers": 2.5},
    {"rope_parameters": "x"},
    {"tie_word_embeddings": "maybe"},
    {"quantization_config": "x"},
    {"model_type": ["llama"]},
)
OF_THE_NETWORK: tuple[dict[str, Any], ...] = (
    {"hidden_act": "nope"},
    {"vocab_size": -3},
    {"pad_token_id": 10**9},
    {"rope_parameters": {"rope_type": "nope"}},
    {"rope_parameters": None, "rope_theta": None},
    {"text_config": {"a": 1}},
)
SOUND: tuple[dict[str, Any], ...] = ({"rms_norm_eps": 1e-5}, {"hidden_act": "gelu"}, {"model_type": "of-next-year"})

_LOADERS = ("from_pretrained", "from_config")
_AUTO_CLASSES = ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer", "AutoProcessor")


def _name(values: dict[str, Any]) -> str:
    return ",".join(values)


def build(folder: Path, values: dict[str, Any]) -> Model:
    """A tiny model with these keys in its config.json."""
    tiny.build(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return Model("it", "folder", None, folder, None, "0" * 64)


@pytest.mark.parametrize("values", OF_THE_CLASS, ids=_name)
def test_a_tokenizer_is_not_blamed_for_the_configuration(values, tmp_path):
    """Transformers reads config.json when it loads a tokenizer; the error names that file and the key."""
    with pytest.raises(BenchError) as raised:
        load_tokenizer(build(tmp_path / "model", values))
    assert raised.value.what.startswith(str(tmp_path / "model" / "config.json"))
    assert raised.value.way_out == model_config.RESTORE_CONFIG


@pytest.mark.parametrize("values", OF_THE_NETWORK, ids=_name)
def test_an_engine_names_the_configuration_that_builds_no_network(values, tmp_path):
    """Whatever type of error transformers raises: it is one line, about config.json."""
    model = build(tmp_path / "model", values)
    load_tokenizer(model)
    with pytest.raises(BenchError) as raised:
        engine.load(model, engine.Options(device="cpu"))
    assert str(tmp_path / "model" / "config.json") in raised.value.what
    assert model_config.RESTORE_CONFIG in str(raised.value.way_out)


@pytest.mark.parametrize("values", SOUND, ids=_name)
def test_a_sound_or_unknown_configuration_has_no_fault(values, tmp_path):
    """Another engine may know a model type that this transformers does not."""
    model = build(tmp_path / "model", values)
    load_tokenizer(model)
    assert model_config.find_config_fault(model.folder) is None


def test_without_a_fault_in_the_configuration_the_error_itself_is_told(tmp_path):
    """Its first line, and the way out that the caller knows."""
    model = build(tmp_path / "model", {})
    error = tensor_check.explain_load_error(model.folder, ValueError("no flash\nattention"), "use sdpa")
    assert error.what.endswith(f"{model.folder}: no flash")
    assert error.way_out == "use sdpa"


@pytest.mark.parametrize(("values", "codes"), [({"hidden_act": "nope"}, ["tensors-unchecked"]), ({}, [])], ids=str)
def test_unchecked_tensors_come_with_the_reason(values, codes, tmp_path):
    """What transformers says of the configuration; nothing where it builds the network."""
    folder = build(tmp_path / "model", values).folder
    found = tensor_check.check_tensors(folder, tensor_check.read_tensors(folder), "vllm")
    assert [one.code for one in found] == codes
    assert all("KeyError: 'nope'" in one.message for one in found)


@pytest.mark.parametrize("values", [{"hidden_act": "nope"}, {"rms_norm_eps": "x"}], ids=_name)
def test_a_training_names_the_configuration_of_its_base(values, tmp_path, capfd):
    """One line, and no trace of a program."""
    build(tmp_path / "base", values)
    assert bench(tmp_path, "train", "quickstart-lora", "--base", "./base") == 1
    (*_, last) = capfd.readouterr().err.splitlines()
    assert last.startswith("bench: ")
    assert "base/config.json" in last


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("nope"), "KeyError: 'nope'"),
        (ValueError(), "ValueError"),
        (ValueError("a\n  b"), "ValueError: a b"),
        (ValueError("a" * 500), "ValueError: " + "a" * 288),
    ],
    ids=["its text is a key", "no text", "two lines", "long"],
)
def test_an_error_is_one_line_with_its_class(error, text):
    """A KeyError's text alone says nothing."""
    assert describe_error(error) == text


def test_code_from_a_model_s_folder_never_runs(tmp_path, monkeypatch):
    """Transformers would ask on the terminal, and run it for a "y": every engine and check refuses it."""
    mark = tmp_path / "ran"
    model = build(tmp_path / "model", {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}})
    (model.folder / "own.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom transformers import PreTrainedConfig\n"
        "class Config(PreTrainedConfig): model_type = 'own'\n"
    )
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    load_tokenizer(model)
    with pytest.raises(BenchError):
        engine.load(model, engine.Options(device="cpu"))
    assert (asked, mark.exists()) == ([], False)


def test_every_model_is_loaded_without_its_own_code():
    """Each call of transformers' Auto classes says so, since their default asks on the terminal."""
    files = [file for part in ("harness", "tasks", "trainers") for file in (ROOT / part).rglob("*.py")]
    calls = [
        (file.name, node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOADERS
        if isinstance(node.func.value, ast.Name) and node.func.value.id in _AUTO_CLASSES
    ]
    assert len(calls) > 10
    assert [
        (name, call.lineno)
        for name, call in calls
        if ("trust_remote_code", "False") not in [(word.arg, ast.unparse(word.value)) for word in call.keywords]
    ] == []
