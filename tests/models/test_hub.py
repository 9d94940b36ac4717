"""models.hub: one commit of a repository, from a hub that this test serves on the loopback."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tiny
import tiny_lora
from announced import unannounced
from baseline_bench.models import weights
from baseline_bench.results import entries
from hub_server import COMMIT, Hub
from transformers import AutoModelForCausalLM

SCRIPT = """\
import sys
from baseline_bench.models import hub
from baseline_bench.core.errors import BenchError
try:
    print(*hub.download_snapshot(sys.argv[1], sys.argv[2] or None))
except BenchError as error:
    print(f"BenchError {error}")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a sharded checkpoint, and what else a repository holds."""
    folder = tmp_path_factory.mktemp("source") / "model"
    single = tiny.build(tmp_path_factory.mktemp("source") / "single")
    shutil.copytree(single, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModelForCausalLM.from_pretrained(single).save_pretrained(folder, max_shard_size="500KB")
    extra = {"README.md": b"#", "pytorch_model.bin": b"x", "modeling_x.py": b"x", "onnx/config.json": b"{}"}
    return {path.name: path.read_bytes() for path in folder.iterdir()} | extra


@pytest.fixture
def hub(files):
    """A hub with good, bad and forbidden repositories."""
    texts = {name: data for name, data in files.items() if name.endswith((".json", ".jinja")) and "index" not in name}
    server = Hub(
        {
            "model": files,
            "gated": files,
            "huge": {**texts, weights.SINGLE_FILE: b"x"},
            "pickled": {**texts, "pytorch_model.bin": b"x"},
            "adapter": {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"},
            "incomplete": {name: data for name, data in files.items() if not name.startswith("model-00002")},
        }
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def download(home, repository, revision="", **settings):
    """What `hub.download_snapshot` gives in a process of its own, since the client reads its settings once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment = {**kept, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1", **settings}
    command = [sys.executable, "-c", SCRIPT, repository, revision]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def test_a_commit_is_downloaded_once_and_then_used_without_network(hub, files, tmp_path):
    """A branch is resolved to its commit; code, pickles and other folders stay on the hub; a commit is for ever."""
    folder, commit = download(tmp_path, "org/model", HF_ENDPOINT=hub.address).split()
    assert commit == COMMIT
    kept = {name for name in files if name.endswith((".json", ".jinja", ".safetensors")) and "/" not in name}
    assert {path.name for path in Path(folder).iterdir()} == kept
    assert weights.inspect_checkpoint(Path(folder)).parameters > 0
    hub.asked.clear()
    assert download(tmp_path, "org/model", COMMIT, HF_ENDPOINT=hub.address).split() == [folder, commit]
    assert download(tmp_path, "org/model", HF_HUB_OFFLINE="1").split() == [folder, commit]
    assert hub.asked == []
    unreachable = download(tmp_path, "org/model", HF_ENDPOINT="http://127.0.0.1:9")
    assert f"cannot be reached for org/model (ConnectError); this machine holds org/model@{COMMIT}: " in unreachable
    (Path(folder) / "config.json").unlink()
    assert "is not in the hub's cache" in download(tmp_path, "org/model", HF_HUB_OFFLINE="1")


@pytest.mark.parametrize(
    ("name", "revision", "told"),
    [
        (
            "gated",
            "",
            "org/gated is gated and this machine has no access: accept the licence on the model's page, then",
        ),
        ("missing", "", "the hub shows no model org/missing: check the spelling"),
        ("model", "v9", "org/model has no revision v9: name a branch, a tag or a full commit"),
        ("down", "", "the hub answered 503 for org/down: try again later"),
        ("pickled", "", "org/pickled: pickled weights (pytorch_model.bin) run code when they are loaded"),
        ("adapter", "", "org/adapter: an adapter, not a whole model: merge it"),
        ("incomplete", "", "org/incomplete: the repository lacks model-00002"),
        ("huge", "", "downloading org/huge needs "),
    ],
)
def test_what_cannot_work_is_told_before_any_weights_are_asked_for(hub, tmp_path, name, revision, told):
    """Access, names, kinds of weights and room are looked at first; each has one line with a way out."""
    answer = download(tmp_path, f"org/{name}", revision, HF_ENDPOINT=hub.address)
    assert answer.startswith(f"BenchError {told}")
    assert "\n" not in answer
    assert not [path for path in hub.asked if path.endswith((".safetensors", ".bin"))]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "org/model is not in the hub's cache, and HF_HUB_OFFLINE=1 forbids to ask"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached for org/model (ConnectError)"),
    ],
)
def test_without_network_the_ways_round_are_told(tmp_path, settings, told):
    """A folder, a wheel by name or a filled cache: the message has all three."""
    answer = download(tmp_path, "org/model", **settings)
    assert answer.startswith(f"BenchError {told}: name a folder instead, or a model that comes as a wheel")
    assert answer.endswith("HF_HUB_OFFLINE=1")


def test_an_adapter_of_the_hub_is_scored_over_the_base_that_it_names(hub, files, tmp_path):
    """By its own name, with the hub's base; merged in the cache, its commit in the row; then it is had offline."""
    base = tmp_path / "base"
    base.mkdir()
    for name, data in files.items():
        if "/" not in name and name not in ("pytorch_model.bin", "modeling_x.py"):
            (base / name).write_bytes(data)
    lora = tiny_lora.build(base, tmp_path / "lora", size=0.05)
    config = lora / weights.ADAPTER_CONFIG
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "org/model"}))
    hub.files["lora"] = {path.name: path.read_bytes() for path in lora.iterdir()} | {"optimizer.pt": b"x"}
    words = ["score", "org/lora", "--task", "word-problems", "--engine", "scripted", "--limit", "4", "--cache", "cache"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    home = {**kept, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "baseline_bench.cli", *words]
    asked = home | {"HF_ENDPOINT": hub.address}
    done = subprocess.run(command, cwd=tmp_path, env=asked, capture_output=True, text=True, check=False)
    assert (done.returncode, unannounced(done.stderr)) == (0, [])
    code = [
        sys.executable,
        "-c",
        "from baseline_bench.models import registry as models; print(*models.fetch_hub_adapter('org/lora'))",
    ]
    again = subprocess.run(code, env=home | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=True)
    assert again.stdout.split()[1:] == ["org/lora", COMMIT]
    (row,) = [entries.read_entry(path).result for path in tmp_path.glob("leaderboards/*/*.json")]
    assert row.candidate == f"org/model@{COMMIT[:8]}+lora@{row.training.merge.adapter_sha256[:8]}"
    assert (row.model.source, row.model.revision) == ("adapter:org/lora", COMMIT)
    assert row.training.merge.base_sha256 == weights.digest_weights(base)
    assert not [path for path in hub.asked if path.endswith("optimizer.pt")]
    assert list(tmp_path.glob("cache/merged/lora-*/*.safetensors"))
