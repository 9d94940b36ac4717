"""The checks of weights and adapters: the same findings in score and doctor, before anything is loaded or merged."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_families
import tiny_lora
import torch
from announced import unannounced
from baseline_bench.core import findings
from baseline_bench.core.errors import BenchError
from baseline_bench.core.types import Model
from baseline_bench.engines import scripted, vllm
from baseline_bench.evaluation import plan
from baseline_bench.models import adapter, diagnose, tensor_check, weights
from baseline_bench.models.weights import SINGLE_FILE
from baseline_bench.rendering import formatting
from baseline_bench.results import audit, completions, entries
from baseline_bench.results.completions import CommittedCompletion
from corpus import adapters, candidates
from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
from safetensors.torch import load_file, save_file
from tiny_study import REAL, SCRIPTED, bench, rows
from transformers import AutoModelForCausalLM
from transformers.utils import logging

pytestmark = pytest.mark.usefixtures("forked_children")

ASK = ("--task", "word-problems")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A whole tiny model."""
    return tiny.build(tmp_path_factory.mktemp("weights") / "base")


def model(folder: Path, revision: str | None = None) -> Model:
    """A model of a folder."""
    return Model("base", "folder", revision, folder, None, weights.digest_weights(folder))


def codes(found) -> tuple[tuple[str, str], ...]:
    """Code and severity of each."""
    return tuple((one.code, one.severity) for one in found)


def fp8(change: Callable[[dict[str, torch.Tensor]], None] | None = None, family: str = "SmolLM2") -> Any:
    """What builds a checkpoint as vLLM's fp8 stores it, a scale next to each linear layer, and changes its tensors."""

    def build(folder: Path) -> Path:
        tiny_families.build(folder, family)
        tensors = load_file(folder / SINGLE_FILE)
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            tensors[name] = tensors[name].to(torch.float8_e4m3fn)
            tensors[f"{name}_scale"] = torch.ones(1)
            tensors[f"{name.removesuffix('weight')}input_scale"] = torch.ones(1)
        if change is not None:
            change(tensors)
        save_file(tensors, folder / SINGLE_FILE, {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
        return folder

    return build


def add(*names: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """What adds tensors of these names."""
    return lambda tensors: tensors.update({name: torch.ones(4) for name in names})


def drop(name: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """What loses a tensor and those that are packed with it."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for one in [one for one in tensors if one.startswith(name)]:
            del tensors[one]

    return change


LAYER = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (candidates.changed(candidates._add_lora), ["weights-unused"]),
        (candidates.gptq("gptq"), []),
        (candidates.bitsandbytes, []),
        *((fp8(family=family), []) for family in ("SmolLM2", "Qwen2", "Gemma 2", "multimodal Gemma 3")),
        (fp8(add("model.layers.0.self_attn.k_scale", "model.layers.0.self_attn.attn.v_scale")), []),
        (fp8(add(f"{LAYER}.lora_A.default.weight", f"{LAYER}.lora_B.default.weight")), ["weights-unused"]),
        (fp8(add(f"{LAYER}.lora_A.weight")), ["weights-unused"]),
        (fp8(add("model.layers.2.mlp.up_proj.weight_scale")), ["weights-unused"]),
        (fp8(add("model.layers.2.mlp.up_proj.weight")), ["weights-unused"]),
        (fp8(add(f"{LAYER}.bias")), ["weights-unused"]),
        (fp8(lambda tensors: tensors.update({f"{LAYER}.bias": torch.zeros(4)})), []),
        (fp8(drop(LAYER)), ["weights-missing"]),
        (fp8(drop("model.norm")), ["weights-missing"]),
        (candidates.saved(candidates._mixture, candidates._scale_experts, quantization_config={"quant_method": "fp8"}),
         ["tensors-unchecked"]),
    ],
)  # fmt: skip
def test_other_engines_compare_plain_tensors_and_the_names_of_quantised_ones(tmp_path, build, expected):
    """An engine like vLLM brings its own kernels, and a format its own tensors for each module."""
    assert [one.code for one in diagnose.check_weights(build(tmp_path / "model"), "vllm")] == expected


def test_quantised_tensors_that_transformers_cannot_build_without_a_device_are_compared_by_name(tmp_path):
    """As bitsandbytes' are."""
    folder = candidates.bitsandbytes(tmp_path / "model")
    assert diagnose.check_weights(folder, "transformers") == []
    tensors = load_file(folder / SINGLE_FILE)
    save_file({**tensors, f"{LAYER}.lora_A.weight": torch.ones(4)}, folder / SINGLE_FILE, {"format": "pt"})
    assert [one.code for one in diagnose.check_weights(folder, "transformers")] == ["weights-unused"]


UNKNOWN = {"model_type": "nobody-knows", "architectures": ["Nobody"]}


@pytest.mark.parametrize(
    ("change", "config", "expected"),
    [
        (None, {}, ["tensors-unchecked"]),
        (add(f"{LAYER}.lora_A.weight"), {}, ["weights-unused", "tensors-unchecked"]),
        (add(f"{LAYER}.base_layer.weight"), {}, ["weights-unused", "tensors-unchecked"]),
        (add(f"{LAYER}.lora_A.vision.weight"), {"vision_lora": {"r": 4}}, ["tensors-unchecked"]),
        (candidates._train_head, {"tie_word_embeddings": True}, ["tensors-unchecked", "head-dropped"]),
        (candidates._save_head, {"tie_word_embeddings": True}, ["tensors-unchecked"]),
    ],
)
def test_an_architecture_that_transformers_does_not_know_is_unchecked(tmp_path, change, config, expected):
    """Only names of an adapter, numbers and the head are checked, and the row says so."""
    folder = candidates.changed(change, **UNKNOWN, **config)(tmp_path / "model")
    assert [one.code for one in diagnose.check_weights(folder, "vllm")] == expected


def test_an_adapter_of_a_base_that_transformers_does_not_know_is_unchecked(tmp_path):
    """Nobody knows which layers it leaves out."""
    folder = adapters.made()(tmp_path)
    base = tmp_path / "base"
    assert diagnose.check_adapter(folder, model(base)) == []
    (base / "config.json").write_text(json.dumps(json.loads((base / "config.json").read_text()) | UNKNOWN))
    assert [one.code for one in diagnose.check_adapter(folder, model(base))] == ["tensors-unchecked"]


@pytest.mark.parametrize("tied", [True, False])
def test_a_text_tower_that_transformers_does_not_know_says_whether_its_head_is_tied(tmp_path, tied):
    """Where the model around it does not."""
    (tmp_path / "config.json").write_text(json.dumps({**UNKNOWN, "text_config": {"tie_word_embeddings": tied}}))
    assert weights.is_head_tied(tmp_path) is tied


def test_without_torch_nothing_is_compared_in_silence(base, monkeypatch):
    """A server's weights, seen from a computer without torch."""
    monkeypatch.setattr(diagnose.importlib.util, "find_spec", lambda _: None)
    assert [one.code for one in diagnose.check_weights(base, "openai")] == ["tensors-unchecked"]


def test_the_check_is_silent_and_restores_what_was_set(base, capfd):
    """Neither bars nor a report of unused tensors reach the screen."""
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    tensor_check.check_tensors(base, weights.read_tensors(base), "transformers")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize("command", [("score", "./model", *ASK, *REAL), ("baseline", "./model", *ASK, *REAL)])
def test_a_refusal_is_one_line_and_an_accepted_one_is_recorded(tmp_path, capfd, command):
    """`--accept` goes on with the model, and the entry says so."""
    candidates.changed(candidates._add_lora)(tmp_path / "model")
    capfd.readouterr()
    assert bench(tmp_path, *command, "--limit", "4", "--json") == 1
    out, err = capfd.readouterr()
    assert [one["code"] for one in json.loads(out)["findings"]] == ["weights-unused"]
    assert len(unannounced(err)) == 1
    assert "--accept weights-unused" in err
    assert bench(tmp_path, *command, "--limit", "4", "--accept", "weights-unused") == 0
    (row,) = rows(tmp_path)
    assert row.result.checks.accepted == ("weights-unused",)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_quantised_weights_without_their_library_are_one_line_everywhere(tmp_path, capfd, method):
    """It names the method and the package, in score and doctor; accepted, the engine says the same."""
    candidates.gptq(method)(tmp_path / "model")
    for words in (("score", "./model", *ASK, *REAL), ("doctor", "./model"), ("baseline", "./model", *ASK, *REAL)):
        assert bench(tmp_path, *words) == 1
        told = " ".join(capfd.readouterr())
        assert "weights-quantised" in told
        assert re.search(rf"{method}.*(optimum|gptqmodel)", told)
    assert bench(tmp_path, "score", "./model", *ASK, *REAL, "--accept", "weights-quantised") == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith("bench: transformers ")


def test_quantised_weights_are_described_as_such(tmp_path, capfd):
    """In the entry and on the board, whatever dtype computes; and an adapter over them is sent to another base."""
    candidates.bitsandbytes(tmp_path / "model")
    assert bench(tmp_path, "score", "./model", *ASK, *REAL, "--limit", "1") == 0
    (row,) = rows(tmp_path)
    assert row.result.engine.settings["quantised"] == "bitsandbytes 4-bit"
    assert formatting.find_dtype(row.result) == "float32 over bitsandbytes 4-bit"
    folder = adapters.made()(tmp_path)
    (found,) = diagnose.check_adapter(folder, model(tmp_path / "model"))
    assert (found.code, "quantised (bitsandbytes 4-bit)" in found.message) == ("unusable", True)


@pytest.mark.parametrize(
    ("stated", "described"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq 4-bit"),
        ({"quant_method": "awq", "w_bit": 4}, "awq 4-bit"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes 8-bit"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"bits": "four"}, "unknown"),
        ([1], "unknown"),
        (None, None),
    ],
)
@pytest.mark.parametrize("inner", [False, True])
def test_any_quantisation_has_a_description(tmp_path, stated, described, inner):
    """Of the model, or of its text tower."""
    config = {"quantization_config": stated}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": config} if inner else config))
    assert weights.describe_quantisation(tmp_path) == described


@pytest.mark.parametrize("wrapped", ["_orig_mod.{}", "module.{}", "{}"])
def test_names_of_a_wrapper_are_the_cause_that_is_named(tmp_path, wrapped):
    """Not a configuration of other weights."""
    rename = {name: wrapped.format(name) for name in load_file(tiny.build(tmp_path / "model") / SINGLE_FILE)}
    if wrapped == "{}":
        rename = {name: name.replace("layers.1.", "layers.1._fsdp_wrapped_module.") for name in rename}
    candidates.renamed(tmp_path / "model", rename)
    found = diagnose.check_weights(tmp_path / "model", "transformers")
    assert {one.code for one in found} == {"weights-unused", "weights-missing"}
    assert all("unwrap" in one.message for one in found)


def test_weights_that_are_missing_are_never_filled_up_with_random_numbers(tmp_path, capfd):
    """Not even where the user accepts the finding."""
    candidates.changed(candidates._reshape)(tmp_path / "model")
    assert bench(tmp_path, "score", "./model", *ASK, *REAL, "--accept", "weights-missing") == 1
    assert "asks for 1 tensors" in capfd.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("leaderboards/*/*.json"))


def test_score_merge_and_doctor_find_the_same_in_an_adapter_before_it_is_merged(tmp_path, capfd):
    """And the row of an accepted one records it."""
    folder = next(case for case in adapters.CASES if case.name == "half of the layers").build(tmp_path)
    named = (folder, "--base", folder.parent / "base")
    for words in (("score", *ASK, *REAL), ("doctor",)):
        assert bench(tmp_path, words[0], *named, *words[1:], "--json") == 1
        assert [one["code"] for one in json.loads(capfd.readouterr().out)["findings"]] == ["adapter-incomplete"]
    assert bench(tmp_path, "merge", *named) == 1
    assert not (folder / "merged").exists()
    accept = ("--accept", "adapter-incomplete")
    assert bench(tmp_path, "merge", *named, *accept) == 0
    assert bench(tmp_path, "score", *named, *ASK, *SCRIPTED, *accept) == 0
    (row,) = rows(tmp_path)
    assert row.result.checks.accepted == ("adapter-incomplete",)


def test_files_that_cannot_be_used_are_not_accepted(tmp_path, capfd):
    """No advice that leads nowhere: there is nothing to go on with."""
    folder = adapters.made()(tmp_path)
    (folder / adapter.WEIGHTS).write_bytes(b"")
    assert bench(tmp_path, "score", folder, "--base", tmp_path / "base", *ASK, *SCRIPTED) == 1
    assert "--accept" not in capfd.readouterr().err
    with pytest.raises(BenchError):
        findings.require_known_codes(["unusable"])


@pytest.mark.parametrize(
    ("revision", "named", "found"),
    [
        (adapters.COMMIT, None, ()),
        ("c" * 40, None, ("adapter-revision",)),
        (None, None, ("adapter-revision",)),
        (None, f"org/base@{adapters.COMMIT}", ()),
    ],
)
def test_the_revision_at_hand_is_the_one_that_the_adapter_names(base, tmp_path, revision, named, found):
    """By the hub's commit, or by the name that the user gives."""
    folder = adapters.made(config={"revision": adapters.COMMIT})(tmp_path)
    assert tuple(one.code for one in diagnose.check_adapter(folder, model(base, revision), named)) == found


def test_the_base_of_the_hub_is_taken_at_the_revision_that_the_adapter_names(base, tmp_path, monkeypatch):
    """For the merge, and for the base's own row."""
    asked = []

    def resolve(name, cache):
        asked.append(name)
        return replace(model(base, adapters.COMMIT), source="hub:org/base")

    monkeypatch.setattr("baseline_bench.models.registry.resolve_model", resolve)
    folder = adapters.made(config={"revision": adapters.COMMIT, "base_model_name_or_path": "org/base"})(tmp_path)
    assert bench(tmp_path, "score", folder, *ASK, *SCRIPTED, "--with-base") == 0
    assert set(asked) == {f"org/base@{adapters.COMMIT}"}


_SELECTIONS = (
    {"target_modules": ["q_proj", "down_proj"]},
    {"target_modules": ["model.layers.1.self_attn.q_proj", "v_proj"]},
    {"target_modules": ["proj"]},
    {"target_modules": ["q_proj", "embed_tokens", "input_layernorm"]},
    {"target_modules": ["q_proj", "lm_head"]},
    {"target_modules": r".*\.1\.(mlp|self_attn)\.(up|q)_proj"},
    {"target_modules": "q_proj"},
    {"target_modules": "all-linear"},
    {"target_modules": "All-Linear", "exclude_modules": ["v_proj"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    {"target_modules": ["q_proj"], "layers_to_transform": []},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": 0},
    {"target_modules": ["q_proj"], "layers_to_transform": [0, 7], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "h"},
    {"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": ""},
    {"target_modules": ["q_proj", "k_proj"], "exclude_modules": r".*\.0\..*"},
    {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["layers.0.self_attn.k_proj"]},
    {"target_modules": ["q_proj", "lm_head"], "exclude_modules": ["lm_head"]},
)


@pytest.mark.parametrize("places", _SELECTIONS, ids=str)
def test_a_configuration_selects_the_layers_that_peft_selects(tmp_path, places):
    """PEFT's own function is the reference."""
    folder = tiny.build(tmp_path / "plain", "plain")
    layers = tensor_check.list_linear_layers(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    config = _maybe_include_all_linear_layers(LoraConfig(**places), network)
    ours = {name for name, is_head in layers.items() if adapter.selects_layer(places, name, is_head=is_head)}
    assert ours == {name for name in layers if check_target_module_exists(config, name)}


@pytest.mark.parametrize(
    "case", [case for case in adapters.CASES if case.source == adapters.EDITED], ids=lambda c: c.name
)
def test_pairs_that_peft_does_not_load_are_found(tmp_path, case):
    """PEFT's own unexpected keys are the reference; where it selects nothing, it loads nothing."""
    folder = case.build(tmp_path)
    network, config = AutoModelForCausalLM.from_pretrained(tmp_path / "base"), LoraConfig.from_pretrained(folder)
    pairs = load_peft_weights(folder)
    ignored = set(pairs)
    if config.target_modules:
        ignored = set(
            set_peft_model_state_dict(tiny_lora.wrapped(get_peft_model, network, config), pairs).unexpected_keys
        )
    (found,) = diagnose.check_adapter(folder, model(tmp_path / "base"))
    modules = sorted({name.split(".lora_")[0].removeprefix("base_model.model.") for name in ignored})
    assert (found.code, f"holds {len(modules)} pairs" in found.message) == ("adapter-unused", True)
    assert f"{modules[0]} first" in found.message


def test_an_adapter_that_selects_by_the_type_of_its_base_is_unchecked(tmp_path):
    """PEFT then selects by a table of its own."""
    folder = adapters.made(config={"target_modules": None})(tmp_path)
    assert [one.code for one in diagnose.check_adapter(folder, model(tmp_path / "base"))] == ["tensors-unchecked"]


@pytest.mark.parametrize(("kinds", "expected"), [(["q_proj", "w1"], []), (["q_proj"], ["adapter-unused"])])
def test_pairs_of_experts_that_transformers_merges_are_held_to_the_names_in_the_files(tmp_path, kinds, expected):
    """No layer of the network has such a name, and PEFT converts the pairs where the configuration selects them."""
    base, folder = candidates.saved(candidates._mixture)(tmp_path / "base"), tmp_path / "lora"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": kinds}
    (folder / weights.ADAPTER_CONFIG).write_text(json.dumps(settings))
    pairs = {}
    for tensor in weights.read_tensors(base):
        module = f"base_model.model.{tensor.name.removesuffix('.weight')}"
        if module.endswith(("q_proj", ".w1")):
            pairs[f"{module}.lora_A.weight"] = torch.ones(1, tensor.shape[1])
            pairs[f"{module}.lora_B.weight"] = torch.ones(tensor.shape[0], 1)
    save_file(pairs, folder / adapter.WEIGHTS)
    assert [one.code for one in diagnose.check_adapter(folder, model(base))] == expected


def test_an_expression_that_is_none_is_told(tmp_path):
    """Instead of a traceback."""
    folder = adapters.made(config={"target_modules": "(q_proj"})(tmp_path)
    with pytest.raises(BenchError, match="target_modules is not a regular expression"):
        adapter.read_adapter(folder)


def overflowing(folder: Path, factor: float) -> Path:
    """A model with finite weights whose logits are the larger, the larger the factor."""
    tiny.build(folder)
    tensors = load_file(folder / SINGLE_FILE)
    tensors["model.norm.weight"].fill_(factor)
    save_file(tensors, folder / SINGLE_FILE, {"format": "pt"})
    return folder


SUMS = '''"""Sums, answered by the likeliest tokens or by draws."""
from baseline_bench.core.types import Message, Problem, Sampling
from baseline_bench.tasks._answers import READER, grade
LABEL, SAMPLING = "sums@v1", Sampling(max_tokens=4, {sampling})
def problems(split):
    return [Problem(f"test-{{n}}", f"What is {{n}}+3?", str(n + 3), f"#### {{n + 3}}") for n in range(5)]
def messages(problem):
    return (Message("user", problem.question),)
'''


@pytest.mark.parametrize("sampling", ["", "temperature=0.7", "temperature=0.7, top_p=0.9"])
def test_logits_that_are_not_finite_end_the_run(tmp_path, capfd, sampling):
    """However the tokens are chosen; a twin with large and finite logits is scored, and its entry says so."""
    (tmp_path / "sums.py").write_text(SUMS.format(sampling=sampling))
    overflowing(tmp_path / "wild", 3e38)
    overflowing(tmp_path / "sound", 1e4)
    assert bench(tmp_path, "score", "./wild", "--task", "sums.py", *REAL) == 1
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "NaN or infinite" in err.splitlines()[-1]
    assert bench(tmp_path, "score", "./sound", "--task", "sums.py", *REAL) == 0
    (row,) = rows(tmp_path)
    assert row.result.checks.logits == "finite"


def lines(*texts: str) -> list[CommittedCompletion]:
    """Committed completions of these texts."""
    return [CommittedCompletion(f"test-{n}", "1", "stop", 1, None, text) for n, text in enumerate(texts)]


def test_an_entry_whose_findings_do_not_follow_from_its_completions_is_a_problem(tmp_path):
    """Either way: a finding that is left out, and one that nothing shows."""
    tiny.build(tmp_path / "model")
    (tmp_path / "script").write_text("".join(json.dumps({"id": f"test-{n}", "text": ""}) + "\n" for n in range(256)))
    script = ("--limit", "6", "--engine", "scripted", "-o", "script=script")
    assert bench(tmp_path, "score", "./model", *ASK, *script) == 0
    (path,) = tmp_path.glob("leaderboards/*/*.json")
    entry = entries.read_entry(path)
    assert entry.result.checks.findings == ("answers-empty",)
    assert entries.verify_entry(path) == []
    written = completions.read_completions(entries.completions_path(path))
    spoken = [replace(line, text=f"It is {number}.") for number, line in enumerate(written)]
    silent = replace(entry, result=replace(entry.result, checks=replace(entry.result.checks, findings=())))
    problem = "findings do not follow from the completions"
    assert problem in audit.check_completions(entry, spoken, b"")
    assert problem in audit.check_completions(silent, written, b"")
    assert problem not in audit.check_completions(silent, spoken, b"")


def test_an_adapter_that_the_engine_puts_beside_the_weights_is_checked_too(tmp_path):
    """As vLLM's option `adapter` does; an engine without such an option has nothing to check."""
    folder = next(case for case in adapters.CASES if case.name == "half of the layers").build(tmp_path)
    held = model(tmp_path / "base")
    beside = vllm.Options(adapter=str(folder))
    engines = [(vllm, beside), (vllm, vllm.Options()), (scripted, scripted.Options())]
    plans = [plan.TaskPlan(None, ([], []), plan.ResolvedEngine("any", *engine)) for engine in engines]
    found, *others = [plan._check_unmerged_adapter(each, held) for each in plans]
    assert [one.code for one in found] == ["adapter-incomplete"]
    assert others == [[], []]
